"""Turns the ONNX graph of swift-f0 0.3.0 into the named tensors that Syrinx embeds.

Usage: pip download --no-deps swift-f0==0.3.0; unzip the wheel; pip install onnx safetensors;
       python convert.py swift_f0/model.onnx swift_f0.safetensors
"""

import sys

import numpy as np
import onnx
from safetensors.numpy import save_file

RESIDUAL_BLOCKS = 6


def main(source: str, target: str) -> None:
    graph = onnx.load(source).graph
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    banks = [node for node in graph.node if node.op_type == "ScatterElements"]

    # In the graph's order: the stem, two convolutions a block, and the five of the heads.
    names = ["stem"]
    names += [f"blocks.{i}.{part}" for i in range(RESIDUAL_BLOCKS) for part in ("first", "second")]
    names += ["pitch.reduce", "voicing.evidence", "pitch.output", "voicing.hidden", "voicing.output"]
    assert len(convolutions) == len(names) and len(banks) == 3

    tensors = {}
    for name, node in zip(names, convolutions):
        tensors[f"{name}.weight"] = constants[node.input[1]]
        tensors[f"{name}.bias"] = constants[node.input[2]]
    for i, node in enumerate(banks):
        # Nonzero entries of the matrix [bins, 128]: bin * 128 + band, exact in f32.
        tensors[f"bank.{i}.index"] = constants[node.input[1]].astype(np.float32)
        tensors[f"bank.{i}.weight"] = constants[node.input[2]]
    pitches = next(node for node in graph.node if node.op_type == "GreaterOrEqual")
    tensors["pitch.frequencies"] = constants[pitches.input[0]]
    save_file({name: np.ascontiguousarray(t, np.float32) for name, t in tensors.items()}, target)


if __name__ == "__main__":
    main(*sys.argv[1:])

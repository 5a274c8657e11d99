"""Records a small encoder for streams: frames that are normalised one by one and attend to a span around them.

Usage: record_stream_encoder.py ../data   (needs torch, transformers and safetensors). The network is HuBERT as
`transformers` has it with `feat_extract_norm: "layer"`; the span is a mask of our own on its attention.
"""

import json
import sys
import wave
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import HubertConfig, HubertModel

LEFT, RIGHT = 7, 2
SIZES = {
    "conv_bias": True,
    "conv_dim": [12, 12, 14, 14, 16, 16, 18],
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "do_stable_layer_norm": False,
    "feat_extract_norm": "layer",
    "hidden_size": 24,
    "intermediate_size": 40,
    "layer_norm_eps": 1e-5,
    "num_attention_heads": 3,
    "num_conv_pos_embedding_groups": 2,
    "num_conv_pos_embeddings": 6,
    "num_hidden_layers": 2,
}


def seed(model: torch.nn.Module) -> None:
    torch.manual_seed(7)
    state = model.state_dict()
    for name, value in state.items():
        noise = torch.rand(value.shape) * 2 - 1
        if value.ndim >= 2 and not name.endswith("original0"):
            value.copy_((noise * (3 / value[0].numel()) ** 0.5).half().float())
        elif name.endswith("weight") or name.endswith("original0"):
            value.copy_((1 + 0.2 * noise).half().float())
        else:
            value.copy_((0.1 * noise).half().float())
    model.load_state_dict(state)


def main(target: str) -> None:
    folder = Path(target)
    config = HubertConfig(**SIZES, attn_implementation="eager", hidden_dropout=0, attention_dropout=0)
    model = HubertModel(config).eval()
    seed(model)
    final_proj = torch.nn.Linear(config.hidden_size, 10)
    seed(final_proj)
    with wave.open(str(folder / "audio" / "speech1.wav")) as clip:
        samples = np.frombuffer(clip.readframes(clip.getnframes()), "<i2").astype(np.float32) / 32768
    audio = torch.from_numpy(samples[16000 : 16000 + 16000].copy())
    with torch.no_grad():
        features = model.feature_extractor(audio[None])
        x = model.feature_projection(features.transpose(1, 2))
        x = model.encoder.layer_norm(x + model.encoder.pos_conv_embed(x))
        hidden = [x]
        at = torch.arange(x.shape[1])
        ahead = at[None] - at[:, None]
        seen = (ahead >= -LEFT) & (ahead <= RIGHT)
        mask = torch.zeros(seen.shape).masked_fill(~seen, float("-inf"))[None, None]
        for layer in model.encoder.layers:
            hidden.append(layer(hidden[-1], attention_mask=mask)[0])
        units = final_proj(hidden[-1])
    weights = {name: value.half() for name, value in model.state_dict().items() if name != "masked_spec_embed"}
    weights |= {f"final_proj.{name}": value.half() for name, value in final_proj.state_dict().items()}
    save_file(weights, folder / "hubert_stream.weights.safetensors")
    stated = SIZES | {"attention_left": LEFT, "attention_right": RIGHT}
    (folder / "hubert_stream.config.json").write_text(json.dumps(stated, indent=2) + "\n")
    recorded = {"in.wav": audio, "mid.conv_out": features[0], "out.v1": units[0]}
    recorded |= {f"out.hidden.{i}": value[0] for i, value in enumerate(hidden)}
    save_file({name: value.contiguous() for name, value in recorded.items()}, folder / "hubert_stream.safetensors")


if __name__ == "__main__":
    main(*sys.argv[1:])

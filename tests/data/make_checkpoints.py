"""Writes the checkpoints beside this script that torch can write and the recordings lack.

Run with torch, faiss and numpy installed: python make_checkpoints.py
Every tensor is seeded by its name (section "generator" of tests/golden/support.rs), so that the
files hold the same weights in every spelling and the tests compare them with each other.
"""

import collections
import math
import pathlib

import faiss
import numpy as np
import torch

HERE = pathlib.Path(__file__).parent
# A v1 voice at 8 kHz: hop 80 = 10 * 8, two stages, the smallest that the formats allow.
CONFIG = [513, 32, 4, 4, 6, 2, 1, 3, 0, "1", [3, 5], [[1, 3], [1, 3]], [10, 8], 8, [16, 16], 7, 3, 8000]


def uniform(name, shape):
    """Values in -1..1: splitmix64 seeded by FNV-1a of the name."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001B3 % 2**64
    count = math.prod(shape)
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    values = (z >> np.uint64(40)).astype(np.float64) / 2**24 * 2 - 1
    return torch.tensor(values.reshape(shape)).half()


def voice_shapes(has_f0):
    inter, hidden, filters, layers, kernel = CONFIG[2], CONFIG[3], CONFIG[4], CONFIG[6], CONFIG[7]
    kernels, dilations, rates, initial, up_kernels, gin = CONFIG[10], CONFIG[11], CONFIG[12], CONFIG[13], CONFIG[14], CONFIG[16]
    yield "enc_p.emb_phone", [hidden, 256], True, False
    if has_f0:
        yield "enc_p.emb_pitch", [256, hidden], False, False
    for layer in range(layers):
        for part in "qkvo":
            yield f"enc_p.encoder.attn_layers.{layer}.conv_{part}", [hidden, hidden, 1], True, False
        yield f"enc_p.encoder.ffn_layers.{layer}.conv_1", [filters, hidden, kernel], True, False
        yield f"enc_p.encoder.ffn_layers.{layer}.conv_2", [hidden, filters, kernel], True, False
    yield "enc_p.proj", [2 * inter, hidden, 1], True, False
    for flow in (0, 2, 4, 6):
        yield f"flow.flows.{flow}.pre", [hidden, inter // 2, 1], True, False
        yield f"flow.flows.{flow}.post", [inter // 2, hidden, 1], True, False
        yield f"flow.flows.{flow}.enc.cond_layer", [6 * hidden, gin, 1], True, True
    yield "enc_q.pre", [hidden, 513, 1], True, False
    yield "dec.conv_pre", [initial, inter, 7], True, False
    yield "dec.cond", [initial, gin, 1], True, False
    for stage, taps in enumerate(up_kernels):
        wide, narrow = initial >> stage, initial >> (stage + 1)
        yield f"dec.ups.{stage}", [wide, narrow, taps], True, True
        for block, size in enumerate(kernels):
            for step in range(len(dilations[block])):
                for part in ("convs1", "convs2"):
                    stem = f"dec.resblocks.{stage * len(kernels) + block}.{part}.{step}"
                    yield stem, [narrow, narrow, size], True, True
        if has_f0:
            stride = math.prod(rates[stage + 1 :])
            yield f"dec.noise_convs.{stage}", [narrow, 1, 2 * stride if stage + 1 < len(rates) else 1], True, False
    if has_f0:
        yield "dec.m_source.l_linear", [1, 1], True, False
    yield "dec.conv_post", [1, initial >> len(rates), 7], False, False
    yield "emb_g", [2, gin], False, False


def voice(has_f0=True, spelling=("weight_g", "weight_v"), dtype=torch.float16):
    weight = collections.OrderedDict()
    for stem, shape, has_bias, is_normed in voice_shapes(has_f0):
        out = shape[1] if stem.startswith("dec.ups") else shape[0]
        if has_bias:
            weight[f"{stem}.bias"] = uniform(f"{stem}.bias", [out]).to(dtype)
        if is_normed:
            g, v = spelling
            weight[f"{stem}.{g}"] = uniform(f"{stem}.weight_g", [shape[0], 1, 1]).to(dtype)
            weight[f"{stem}.{v}"] = uniform(f"{stem}.weight_v", shape).to(dtype)
        else:
            weight[f"{stem}.weight"] = uniform(f"{stem}.weight", shape).to(dtype)
    return {"weight": weight, "config": CONFIG, "info": "7epoch", "sr": "8k", "f0": int(has_f0), "version": "v1"}


def fairseq_names(name):
    table = [
        ("masked_spec_embed", "mask_emb"),
        ("feature_extractor.conv_layers.0.layer_norm.", "feature_extractor.conv_layers.0.2."),
        ("feature_projection.layer_norm.", "layer_norm."),
        ("feature_projection.projection.", "post_extract_proj."),
        ("encoder.pos_conv_embed.conv.", "encoder.pos_conv.0."),
        (".conv.weight", ".0.weight"),
        (".attention.", ".self_attn."),
        (".feed_forward.intermediate_dense.", ".fc1."),
        (".feed_forward.output_dense.", ".fc2."),
    ]
    for ours, theirs in table:
        if ours in name:
            return name.replace(ours, theirs)
    if name.startswith("encoder.layers.") and ".layer_norm." in name:
        return name.replace(".layer_norm.", ".self_attn_layer_norm.")
    return name


def encoder():
    """A HuBERT of one head of 64 values and two layers, under Hugging Face's names."""
    shapes = {"masked_spec_embed": [64], "final_proj.weight": [16, 64], "final_proj.bias": [16]}
    channels = 1
    for layer, taps in enumerate([10, 3, 3, 3, 3, 2, 2]):
        shapes[f"feature_extractor.conv_layers.{layer}.conv.weight"] = [4, channels, taps]
        channels = 4
    for name in ("weight", "bias"):
        shapes[f"feature_extractor.conv_layers.0.layer_norm.{name}"] = [4]
        shapes[f"feature_projection.layer_norm.{name}"] = [4]
        shapes[f"encoder.layer_norm.{name}"] = [64]
    shapes["feature_projection.projection.weight"] = [64, 4]
    shapes["feature_projection.projection.bias"] = [64]
    shapes["encoder.pos_conv_embed.conv.bias"] = [64]
    shapes["encoder.pos_conv_embed.conv.weight_g"] = [1, 1, 8]
    shapes["encoder.pos_conv_embed.conv.weight_v"] = [64, 4, 8]
    stem = "encoder.layers.0"
    for part in "qkv":
        shapes[f"{stem}.attention.{part}_proj.weight"] = [64, 64]
        shapes[f"{stem}.attention.{part}_proj.bias"] = [64]
    shapes[f"{stem}.attention.out_proj.weight"] = [64, 64]
    shapes[f"{stem}.attention.out_proj.bias"] = [64]
    for name in ("weight", "bias"):
        shapes[f"{stem}.layer_norm.{name}"] = [64]
        shapes[f"{stem}.final_layer_norm.{name}"] = [64]
    shapes[f"{stem}.feed_forward.intermediate_dense.weight"] = [8, 64]
    shapes[f"{stem}.feed_forward.intermediate_dense.bias"] = [8]
    shapes[f"{stem}.feed_forward.output_dense.weight"] = [64, 8]
    shapes[f"{stem}.feed_forward.output_dense.bias"] = [64]
    return {name: uniform(name, shape) for name, shape in shapes.items()}




def save(name, value, **options):
    torch.save(value, HERE / name, **options)


def main():
    save("voice_legacy.pth", voice(), _use_new_zipfile_serialization=False)
    save("voice_zip.pth", voice())
    save("voice_f32.pth", voice(dtype=torch.float32))
    save("voice_no_f0.pth", voice(has_f0=False))
    parametrized = voice(spelling=("parametrizations.weight.original0", "parametrizations.weight.original1"))
    parametrized |= {"embedder_model": "contentvec", "vocoder": "HiFi-GAN"}
    save("voice_parametrizations.pth", parametrized)
    views = voice()
    for name, tensor in views["weight"].items():
        if tensor.dim() >= 2:  # The same values behind reversed strides and an offset.
            room = torch.zeros([tensor.numel() + 3], dtype=tensor.dtype)
            order = list(range(tensor.dim()))[::-1]
            room[3:] = tensor.permute(order).reshape(-1)
            views["weight"][name] = room[3:].reshape([tensor.shape[i] for i in order]).permute(order)
    save("voice_views.pth", views)

    import argparse

    tensors = encoder()
    fairseq = {fairseq_names(name): tensor for name, tensor in tensors.items()}
    fairseq["label_embs_concat"] = uniform("label_embs_concat", [5, 16])
    args = argparse.Namespace(arch="hubert", task="hubert_pretraining")
    save("encoder_fairseq.pt", {"args": args, "cfg": None, "model": fairseq, "extra_state": {"epoch": 3}})
    save("encoder_hf.bin", {f"hubert.{name}": tensor for name, tensor in tensors.items() if "final_proj" not in name}
         | {name: tensor for name, tensor in tensors.items() if "final_proj" in name})

    rows = uniform("index.rows", [60, 8]).float().numpy()
    flat = faiss.IndexFlatL2(8)
    flat.add(rows)
    faiss.write_index(flat, str(HERE / "flat.index"))
    quantizer = faiss.IndexFlatL2(8)
    inverted = faiss.IndexIVFFlat(quantizer, 8, 16, faiss.METRIC_L2)
    inverted.cp.min_points_per_centroid = 1
    inverted.train(rows)
    faiss.write_index(inverted, str(HERE / "trained_empty.index"))
    inverted.add(rows[:3])
    inverted.make_direct_map()
    faiss.write_index(inverted, str(HERE / "sparse_mapped.index"))
    product = faiss.IndexPQ(8, 2, 4)
    product.train(rows)
    faiss.write_index(product, str(HERE / "product_quantized.index"))


if __name__ == "__main__":
    main()

"""Tiny random BitNet b1.58 models in every storage, with the logits that transformers' BitNet computes for them in f32.

    python scripts/reference/bitnet_models.py      (after tiny_models.py)

One network of random ternary weights is written as
  models/bitnet           safetensors of packed bytes, outputs multiplied by weight_scale (linear class autobitlinear, offline)
  models/bitnet-divided   the same, outputs divided by weight_scale (linear class bitlinear)
  gguf/bitnet.i2_s.gguf   GGUF's I2_S (type 36, which the gguf package does not write: its 32 bytes for 128 weights are made here),
                          architecture bitnet-b1.58, no tokenizer.ggml.pre
and another whose rows are multiples of 256 as gguf/bitnet256.tq1_0.gguf, .tq2_0.gguf and as models/bitnet-master, floats that
the layers themselves make ternary (linear class autobitlinear, online). Scales are powers of two, so that no storage rounds them.
The files beside them are those of tiny_models.py; `codes.safetensors` beside the I2_S file has the weights of one matrix.
"""

import os

os.environ["TORCHDYNAMO_DISABLE"] = "1"  # transformers compiles parts of BitNet

import json
import shutil

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as T
from gguf.gguf_writer import TensorInfo
from safetensors.torch import save_file
from transformers import BitNetConfig, BitNetForCausalLM
from transformers.integrations.bitnet import AutoBitLinear, pack_weights

import gguf_models
import toks
from common import FIXTURES, fill, pick_input, save_expected, size_of, write_json
from gguf_meta import add_hparams, add_tokenizer
from tiny_models import BASE, long_run, rope, write_tokenizer

NAMES = {**gguf_models.NAMES, "self_attn.attn_sub_norm": "attn_sub_norm", "mlp.ffn_sub_norm": "ffn_sub_norm"}


def projections(model):
    return {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and n != "lm_head"}


def ternary(model):
    """name -> (weights of -1, 0, 1; scale), a power of two near the mean magnitude."""
    out = {}
    for name, layer in projections(model).items():
        w = layer.weight.detach().float()
        scale = 2.0 ** round(float(torch.log2(w.abs().mean())))
        out[name] = ((w / w.abs().mean()).round().clamp(-1, 1), scale)
    return out


def reference(model, weights):
    """The model with transformers' own layers in place of its projections."""
    for name, (w, scale) in weights.items():
        parent, _, leaf = name.rpartition(".")
        layer = AutoBitLinear(w.shape[1], w.shape[0], bias=False)
        layer.weight.data = w.clone()
        layer.weight_scale = torch.tensor([scale])
        setattr(model.get_submodule(parent), leaf, layer)
    return model.eval()


def network(**sizes):
    spec = toks.llama3(320)
    config = BitNetConfig(
        **{
            **BASE, "bos_token_id": spec.id(spec.bos), "eos_token_id": spec.id(spec.eos), "num_key_value_heads": 2,
            "tie_word_embeddings": True, **sizes,
        },
        rope_parameters=rope(500000.0),
    )
    config._attn_implementation = "eager"
    model = fill(BitNetForCausalLM(config), seed=sizes["hidden_size"])
    with torch.no_grad():  # what every storage of the others holds exactly
        for p in model.parameters():
            p.copy_(p.to(torch.bfloat16).float())
    return model, spec


def expect(path, model, seed):
    """An activation next to a tie between two codes is decided by its last bits, in any engine: the input is one where none is,
    so that a correct engine agrees as closely as with other models."""
    while True:
        ids, logits, greedy, lead = pick_input(model, model.config.vocab_size, n=8, seed=seed, min_lead=0.2)
        if max(shaken(model, ids, logits, s) for s in range(4)) < 1e-4:
            break
        seed += 1000
    save_expected(path, ids, logits, greedy, **long_run(model))
    print(f"{path.parent.name}/{path.name}: logits std {logits.std():.2f}, greedy lead {lead:.3f}, seed {seed}")


def shaken(model, ids, logits, seed):
    """How far the logits move when the embedding of the input moves in its last bits."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        x = model.model.embed_tokens(torch.tensor([[int(i) for i in ids]]))
        x = x * (1 + 5e-7 * torch.randn(x.shape, generator=generator))
        return float(np.abs(model(inputs_embeds=x, use_cache=False).logits[0].numpy() - logits).max())


def others(model):
    """Everything but the projections, in bf16."""
    return {
        k: v.to(torch.bfloat16).contiguous()
        for k, v in model.state_dict().items()
        if k != "lm_head.weight" and not k.endswith("weight_scale") and not k.removesuffix(".weight") in projections(model)
    }


def folder(name, model, spec, weights, quantization, tensors):
    out = FIXTURES / "models" / name
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    write_tokenizer(out, spec)
    config = json.loads(model.config.to_json_string())
    config.update(architectures=["BitNetForCausalLM"], quantization_config={"quant_method": "bitnet", **quantization})
    write_json(out / "config.json", config)
    state = others(model)
    for layer, (w, scale) in weights.items():
        state.update(tensors(layer, w, scale))
    save_file(state, out / "model.safetensors", metadata={"format": "pt"})
    return out


def packed(divide):
    def tensors(layer, w, scale):
        scale = torch.tensor([1 / scale if divide else scale], dtype=torch.bfloat16)
        return {f"{layer}.weight": pack_weights(w.clone()), f"{layer}.weight_scale": scale}

    return tensors


def i2_s(values, scale):
    """128 weights in 32 bytes, the first 32 in the top bits; then the scale, in 32 bytes."""
    codes = (values.reshape(-1, 4, 32) + 1).astype(np.uint8)
    data = codes[:, 0] << 6 | codes[:, 1] << 4 | codes[:, 2] << 2 | codes[:, 3]
    tail = np.zeros(32, np.uint8)
    tail[:4] = np.frombuffer(np.float32(scale).tobytes(), np.uint8)
    return np.concatenate([data.reshape(-1), tail])


def write_gguf(name, model, spec, weights, kind, pre):
    path = FIXTURES / "gguf" / name
    arch = "bitnet-b1.58"
    w = gguf.GGUFWriter(path, arch)
    w.add_name(f"tiny random {name}")
    add_hparams(w, model.config, arch)
    add_tokenizer(w, spec, pre=pre)
    for full, values in model.state_dict().items():
        stem, leaf = full.rsplit(".", 1)
        if full == "lm_head.weight" or leaf == "weight_scale":
            continue
        layer = stem.split(".", 3) if stem.startswith("model.layers.") else None
        target = f"blk.{layer[2]}.{NAMES[layer[3]]}.weight" if layer else f"{NAMES[stem]}.weight"
        values = values.float().numpy()
        if stem not in weights:
            w.add_tensor(target, values.astype(np.float16 if values.ndim == 2 else np.float32))
            continue
        codes, scale = weights[stem]
        codes = codes.numpy().astype(np.int8)
        if kind is None:
            data = i2_s(codes, scale)
            # The package has no name for type 36, so its size is told here.
            w.tensors[-1][target] = TensorInfo(shape=codes.shape, dtype=36, nbytes=data.nbytes, tensor=data)
        else:
            w.add_tensor(target, gguf.quants.quantize(codes.astype(np.float32) * np.float32(scale), kind), raw_dtype=kind)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    print(f"{path.name}: {size_of(path) // 1024} KiB")
    return path


if __name__ == "__main__":
    model, spec = network(hidden_size=128, intermediate_size=192)
    weights = ternary(model)
    auto = {"linear_class": "autobitlinear", "quantization_mode": "offline"}
    first = folder("bitnet", model, spec, weights, auto, packed(False))
    second = folder("bitnet-divided", model, spec, weights, {"linear_class": "bitlinear", "quantization_mode": "offline"}, packed(True))
    file = write_gguf("bitnet.i2_s.gguf", model, spec, weights, None, pre=False)
    reference(model, weights)
    expect(first / "expected.safetensors", model, 1)
    for other in (second / "expected.safetensors", file.with_suffix(".expected.safetensors")):
        shutil.copy(first / "expected.safetensors", other)

    model, spec = network(hidden_size=256, intermediate_size=256, num_hidden_layers=1)
    weights = ternary(model)
    files = [write_gguf(f"bitnet256.{k.name.lower()}.gguf", model, spec, weights, k, pre=True) for k in (T.TQ1_0, T.TQ2_0)]
    # Master weights: what the layers make of them is found by the same rule, with the mean itself as the scale.
    master = {n: (l.weight.detach().clone(), 1.0) for n, l in projections(model).items()}
    online = {"linear_class": "autobitlinear", "quantization_mode": "online"}
    out = folder("bitnet-master", model, spec, master, online, lambda n, w, _: {f"{n}.weight": w.to(torch.bfloat16)})
    reference(model, weights)
    expect(files[0].with_suffix(".expected.safetensors"), model, 5)
    shutil.copy(files[0].with_suffix(".expected.safetensors"), files[1].with_suffix(".expected.safetensors"))
    for layer, (w, _) in master.items():
        own = model.get_submodule(layer)
        own.weight.data, own.online_quant = w, True
    expect(out / "expected.safetensors", model, 9)

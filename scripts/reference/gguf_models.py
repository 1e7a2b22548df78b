"""The tiny models as GGUF files, and logits that transformers computes from their dequantized weights.

    python scripts/reference/gguf_models.py      (after tiny_models.py)

Writes tests/fixtures/gguf/<model>.<type>.gguf and <model>.<type>.expected.safetensors (input_ids, logits, greedy_ids as in
tiny_models.py). The reference dequantizes with gguf.quants.dequantize and multiplies in f32, so an engine that keeps its
activations in f32 agrees to about 1e-4; one that quantizes activations to 8 bits differs by that error.
"""

import copy
import math
import shutil

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as T
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

import kquants
import toks
from common import FIXTURES, fill, pick_input, save_expected, size_of
from gguf_meta import add_hparams, add_tokenizer
from tiny_models import BASE, TINY_SPM, causal, load, rope

OUT = FIXTURES / "gguf"
FILE_TYPE = {
    T.F32: gguf.LlamaFileType.ALL_F32, T.F16: gguf.LlamaFileType.MOSTLY_F16, T.BF16: gguf.LlamaFileType.MOSTLY_BF16,
    T.Q8_0: gguf.LlamaFileType.MOSTLY_Q8_0, T.Q4_0: gguf.LlamaFileType.MOSTLY_Q4_0,
    T.Q4_K: gguf.LlamaFileType.MOSTLY_Q4_K_M, T.Q6_K: gguf.LlamaFileType.MOSTLY_Q6_K,
}
NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}


def gguf_name(name):
    stem, kind = name.rsplit(".", 1)
    if stem.startswith("model.layers."):
        _, _, layer, rest = stem.split(".", 3)
        return f"blk.{layer}.{NAMES[rest]}.{kind}"
    return f"{NAMES[stem]}.{kind}"


def permute(w, heads):
    """Rows of each head from (first half, second half) to interleaved pairs, as `llama` files store Q and K."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(w.shape)


def unpermute(w, heads):
    return w.reshape(heads, w.shape[0] // heads // 2, 2, -1).swapaxes(1, 2).reshape(w.shape)


def encode(w, kind):
    if kind in (T.F32, T.F16):
        return w.astype({T.F32: np.float32, T.F16: np.float16}[kind])
    if kind == T.Q4_K:
        return kquants.quantize_q4_k(w)
    if kind == T.Q6_K:
        return kquants.quantize_q6_k(w)
    return gguf.quants.quantize(w, kind)


def rope_factors(config):
    """Divisors of the rotary frequencies for rope type llama3: kept for short wavelengths, `factor` for long, between smooth."""
    p = config.rope_parameters
    dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    low = p["original_max_position_embeddings"] / p["low_freq_factor"]
    high = p["original_max_position_embeddings"] / p["high_freq_factor"]
    out = []
    for i in range(0, dim, 2):
        wave = 2 * math.pi * p["rope_theta"] ** (i / dim)
        if wave < high:
            out.append(1.0)
        elif wave > low:
            out.append(p["factor"])
        else:
            s = (p["original_max_position_embeddings"] / wave - p["low_freq_factor"]) / (p["high_freq_factor"] - p["low_freq_factor"])
            out.append(1.0 / ((1.0 - s) / p["factor"] + s))
    return np.array(out, np.float32)


def mixed(name, kind):
    """Q4_K files keep V, down and the output in Q6_K, as usual "Q4_K_M" files do in part of their layers."""
    return T.Q6_K if kind == T.Q4_K and any(k in name for k in ("attn_v", "ffn_down", "output.weight", "token_embd")) else kind


def write(name, arch, model, spec, kind):
    config, path = model.config, OUT / f"{name}.{kind.name.lower()}.gguf"
    w = gguf.GGUFWriter(path, arch)
    w.add_name(f"tiny random {name}")
    w.add_file_type(FILE_TYPE[kind])
    add_hparams(w, config, arch)
    add_tokenizer(w, spec)
    w.add_quantization_version(gguf.GGML_QUANT_VERSION)
    if config.rope_parameters["rope_type"] == "llama3":
        w.add_tensor("rope_freqs.weight", rope_factors(config))
    back = {}
    for full, p in model.state_dict().items():
        if full == "lm_head.weight" and config.tie_word_embeddings:
            continue
        values, target = p.float().numpy(), gguf_name(full)
        heads = {"attn_q.weight": config.num_attention_heads, "attn_k.weight": config.num_key_value_heads}
        turn = heads.get(target.split(".", 2)[-1]) if arch == "llama" else None
        if turn:
            values = permute(values, turn)
        as_kind = mixed(target, kind) if values.ndim == 2 else T.F32
        data = encode(np.ascontiguousarray(values), as_kind)
        w.add_tensor(target, data, raw_dtype=as_kind)
        read = gguf.quants.dequantize(data, as_kind) if as_kind not in (T.F32, T.F16) else data.astype(np.float32)
        back[full] = torch.from_numpy(np.ascontiguousarray(unpermute(read, turn) if turn else read))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    reference = copy.deepcopy(model)
    reference.load_state_dict(back, strict=False)
    reference.tie_weights()
    ids, logits, greedy, lead = pick_input(reference, config.vocab_size, n=24, seed=100, min_lead=0.1)
    save_expected(path.with_suffix(".expected.safetensors"), ids, logits, greedy)
    print(f"{path.name}: {size_of(path) // 1024} KiB, logits std {logits.std():.2f}, greedy lead {lead:.3f}")


def k_models():
    """Models whose rows are multiples of 256, as K-quants need: a llama and a qwen3, both with tied embeddings."""
    spm, qwen = toks.spm_llama(**TINY_SPM), toks.qwen2(320)
    base = dict(
        BASE, hidden_size=256, intermediate_size=256, num_attention_heads=4, num_key_value_heads=1, num_hidden_layers=1,
    )
    llama = LlamaConfig(
        **{**base, "vocab_size": spm.tok.get_vocab_size(), "num_hidden_layers": 2, "tie_word_embeddings": True},
        rope_parameters=rope(10000.0),
    )
    qwen3 = Qwen3Config(
        **{**base, "bos_token_id": None, "eos_token_id": qwen.id(qwen.eos), "num_attention_heads": 2, "tie_word_embeddings": True},
        head_dim=128, rope_parameters=rope(1000000.0),
    )
    out = []
    for name, arch, cls, config, spec in (
        ("llama256", "llama", LlamaForCausalLM, llama, spm), ("qwen3-256", "qwen3", Qwen3ForCausalLM, qwen3, qwen),
    ):
        config._attn_implementation = "eager"
        out.append((name, arch, fill(cls(config), seed=sum(name.encode())), spec))
    return out


if __name__ == "__main__":
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    models = causal()
    for name, arch, kinds in (
        ("llama2", "llama", (T.BF16, T.Q8_0, T.Q4_0)),
        ("llama3", "llama", (T.Q8_0,)),
        ("llama-linear-legacy", "llama", (T.Q8_0,)),
        ("qwen2", "qwen2", (T.F16, T.Q4_0)),
        ("qwen3", "qwen3", (T.Q8_0,)),
        ("smollm", "llama", (T.F32,)),
    ):
        for kind in kinds:
            write(name, arch, load(FIXTURES / "models" / name), models[name][2], kind)
    for name, arch, model, spec in k_models():
        write(name, arch, model, spec, T.Q4_K if arch == "llama" else T.Q6_K)

"""Tiny random models as Hugging Face folders, with the logits that transformers computes for them on the CPU in f32.

    python scripts/reference/tiny_models.py [name ...]

Writes tests/fixtures/models/<name>/: config.json, model.safetensors (or shards), tokenizer.json, tokenizer_config.json and
expected.safetensors (input_ids i32 [32], logits f32 [32, vocab], greedy_ids i32 [16], long_ids i32 [200], long_logits f32
[4, vocab]; for bert see `bert`).
"""

import json
import shutil
import sys

import numpy as np
import torch
from safetensors.numpy import save_file
from transformers import (
    AutoModelForCausalLM, BertConfig, BertModel, LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM,
    Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM,
)

import toks
from common import FIXTURES, fill, pick_input, save_expected, size_of, write_json

OUT = FIXTURES / "models"
BASE = dict(
    vocab_size=320, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4,
    max_position_embeddings=256, rms_norm_eps=1e-5, tie_word_embeddings=False, bos_token_id=1, eos_token_id=2,
)
TINY_SPM = dict(vocab=352, ascii_only=True)


def rope(theta, **scaling):
    return {"rope_type": scaling.pop("rope_type", "default"), "rope_theta": theta, **scaling}


LLAMA3_ROPE = rope(
    500000.0, rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64
)


def causal():
    """name -> (model class, configuration, tokenizer, save options)."""
    byte = toks.llama3(320)
    ids = dict(bos_token_id=byte.id(byte.bos), eos_token_id=byte.id(byte.eos))
    qwen = toks.qwen2(320)
    qids = dict(bos_token_id=None, eos_token_id=qwen.id(qwen.eos))
    smol = toks.smollm(320)
    spm = toks.spm_llama(**TINY_SPM)
    v = dict(vocab_size=spm.tok.get_vocab_size())
    sids = dict(bos_token_id=smol.id(smol.bos), eos_token_id=smol.id(smol.eos))
    return {
        # Llama 2: as many KV heads as heads.
        "llama2": (LlamaForCausalLM, LlamaConfig(**{**BASE, **v}, rope_parameters=rope(10000.0)), spm, {}),
        # Llama 3.1: grouped KV heads, rope scaling "llama3" whose three bands are all used at these lengths.
        "llama3": (
            LlamaForCausalLM,
            LlamaConfig(**{**BASE, **ids, "num_key_value_heads": 2}, rope_parameters=LLAMA3_ROPE),
            byte, {"legacy_copy": True},
        ),
        # Linear rope scaling, one KV head, bf16 weights, and the older form of config.json.
        "llama-linear-legacy": (
            LlamaForCausalLM,
            LlamaConfig(
                **{**BASE, **v, "num_key_value_heads": 1}, rope_parameters=rope(10000.0, rope_type="linear", factor=4.0)
            ),
            spm, {"legacy": True, "dtype": torch.bfloat16},
        ),
        # Mistral: a window (12) shorter than the input, grouped KV heads, bf16 weights in shards.
        "mistral": (
            MistralForCausalLM,
            MistralConfig(**{**BASE, **v, "num_key_value_heads": 2}, sliding_window=12, rope_parameters=rope(10000.0)),
            spm, {"max_shard_size": "100KB", "dtype": torch.bfloat16},
        ),
        # Qwen2: biases on Q, K and V.
        "qwen2": (
            Qwen2ForCausalLM,
            Qwen2Config(
                **{**BASE, **qids, "num_key_value_heads": 2, "rms_norm_eps": 1e-6, "intermediate_size": 64},
                use_sliding_window=False, rope_parameters=rope(1000000.0),
            ),
            qwen, {},
        ),
        # Qwen3: norms on Q and K, head_dim 24 where hidden/heads is 16; bf16 weights.
        "qwen3": (
            Qwen3ForCausalLM,
            Qwen3Config(
                **{**BASE, **qids, "num_key_value_heads": 2, "rms_norm_eps": 1e-6, "intermediate_size": 64},
                head_dim=24, rope_parameters=rope(1000000.0),
            ),
            qwen, {"dtype": torch.bfloat16},
        ),
        # SmolLM: llama with tied embeddings and an odd number of heads (9 and 3 in the real ones).
        "smollm": (
            LlamaForCausalLM,
            LlamaConfig(
                **{
                    **BASE, **sids, "hidden_size": 48, "num_attention_heads": 3, "num_key_value_heads": 1,
                    "tie_word_embeddings": True,
                },
                rope_parameters=rope(10000.0),
            ),
            smol, {"dtype": torch.bfloat16},
        ),
    }


def long_run(model, n=200, keep=4):
    """A longer input for chunked prefill and paged caches: its ids and the logits of its last `keep` positions."""
    ids = np.random.default_rng(9).integers(3, model.config.vocab_size, n)
    with torch.no_grad():
        logits = model(torch.from_numpy(ids)[None], use_cache=False).logits[0, -keep:].numpy()
    return {"long_ids": ids.astype(np.int32), "long_logits": np.ascontiguousarray(logits)}


def legacy_config(config):
    """The same configuration in the form that transformers 4 wrote."""
    out = dict(config)
    params = dict(out.pop("rope_parameters"))
    out["rope_theta"] = params.pop("rope_theta")
    kind = params.pop("rope_type", "default")
    if kind == "default":
        out["rope_scaling"] = None
    elif kind == "linear":
        out["rope_scaling"] = {"type": "linear", **params}
    else:
        out["rope_scaling"] = {"rope_type": kind, **params}
    out["torch_dtype"] = out.pop("dtype")
    out.pop("head_dim", None)  # to be derived from hidden_size and num_attention_heads
    out["transformers_version"] = "4.46.0"
    return out


def write_tokenizer(folder, spec):
    (folder / "tokenizer.json").write_text(toks.compact_json(spec.tok), encoding="utf-8")
    write_json(folder / "tokenizer_config.json", spec.tokenizer_config())


def make(name, cls, config, spec, legacy=False, legacy_copy=False, dtype=None, max_shard_size="5GB"):
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config._attn_implementation = "eager"
    model = fill(cls(config), seed=sum(name.encode()))
    if dtype:
        model = model.to(dtype)
    model.save_pretrained(folder, max_shard_size=max_shard_size)
    (folder / "generation_config.json").unlink(missing_ok=True)
    write_tokenizer(folder, spec)
    path = folder / "config.json"
    written = json.loads(path.read_text())
    if legacy:
        write_json(path, legacy_config(written))
    if legacy_copy:
        write_json(folder / "config.legacy.json", legacy_config(written))
    # Run what was written, not what is in memory: f32 arithmetic on the stored weights.
    stored = load(folder)
    ids, logits, greedy, lead = pick_input(stored, config.vocab_size, n=32, seed=1)
    save_expected(folder / "expected.safetensors", ids, logits, greedy, **long_run(stored))
    print(f"{name}: {size_of(folder) // 1024} KiB, logits std {logits.std():.2f}, greedy lead {lead:.3f}, greedy {greedy}")
    check_sensitive(name, stored, ids, logits)
    if legacy_copy:  # the older form must mean the same to transformers
        old = AutoModelForCausalLM.from_config(
            type(config)(**legacy_config(written)), dtype=torch.float32, attn_implementation="eager"
        )
        old.load_state_dict(stored.state_dict())
        with torch.no_grad():
            again = old.eval()(torch.tensor([ids.tolist()])).logits[0].numpy()
        assert np.abs(again - logits).max() == 0.0, "legacy config differs"


def check_sensitive(name, model, ids, logits):
    """The fixture must tell a wrong engine from a right one: leaving out rope scaling, the window, a bias or a norm shows."""
    faults = {}
    plain = dict(model.config.to_dict())
    if plain["rope_parameters"]["rope_type"] != "default":
        faults["rope scaling"] = {"rope_parameters": rope(plain["rope_parameters"]["rope_theta"])}
    if plain.get("sliding_window"):
        faults["window"] = {"sliding_window": None}
    faults["rope theta"] = {"rope_parameters": {**plain["rope_parameters"], "rope_theta": 20000.0}}
    for what, change in faults.items():
        other = AutoModelForCausalLM.from_config(
            type(model.config)(**{**plain, **change}), dtype=torch.float32, attn_implementation="eager"
        )
        other.load_state_dict(model.state_dict())
        difference(name, what, other.eval(), ids, logits)
    for part in ("q_proj.bias", "k_proj.bias", "v_proj.bias", "q_norm.weight", "k_norm.weight"):
        state = {k: v.clone() for k, v in model.state_dict().items()}
        hit = [k for k in state if k.endswith(part)]
        for k in hit:
            state[k].fill_(0.0 if part.endswith("bias") else 1.0)
        if hit:
            other = AutoModelForCausalLM.from_config(model.config, dtype=torch.float32, attn_implementation="eager")
            other.load_state_dict(state)
            difference(name, part, other.eval(), ids, logits)


def difference(name, what, other, ids, logits):
    with torch.no_grad():
        seen = np.abs(other(torch.tensor([[int(i) for i in ids]])).logits[0].numpy() - logits).max()
    print(f"    without the right {what}: logits differ by up to {seen:.3f}")
    assert seen > 0.05, (name, what)


def load(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def bert():
    """BERT encoder. expected.safetensors: input_ids, token_type_ids, attention_mask i32 [3, n] (rows padded at the right),
    last_hidden f32 [3, n, hidden], cls, mean f32 [3, hidden] and their L2-normalized forms cls_norm, mean_norm.
    Rows of last_hidden where the mask is 0 are set to zero: nobody should compare them."""
    folder = OUT / "bert"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    spec = toks.wordpiece(320)
    config = BertConfig(
        vocab_size=spec.tok.get_vocab_size(), hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128,
        max_position_embeddings=64, type_vocab_size=2, layer_norm_eps=1e-12, hidden_act="gelu", pad_token_id=0,
    )
    config._attn_implementation = "eager"
    model = fill(BertModel(config, add_pooling_layer=False), seed=7)
    model.save_pretrained(folder)
    write_tokenizer(folder, spec)
    texts = ["The device holds four models at once, and each has a quota.", "Memory is short.", "Größe 🙂 and 模型!"]
    rows = [spec.tok.encode(t).ids for t in texts]
    n = max(map(len, rows))
    ids = np.array([r + [0] * (n - len(r)) for r in rows], np.int32)
    mask = np.array([[1] * len(r) + [0] * (n - len(r)) for r in rows], np.int32)
    types = np.zeros_like(ids)
    types[0, n // 2 :] = 1  # so that the second segment's embedding is tested too
    stored = BertModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", add_pooling_layer=False).eval()
    with torch.no_grad():
        hidden = stored(
            input_ids=torch.from_numpy(ids).long(), attention_mask=torch.from_numpy(mask).long(),
            token_type_ids=torch.from_numpy(types).long(),
        ).last_hidden_state.numpy()
    hidden = hidden * mask[:, :, None]
    cls = hidden[:, 0]
    mean = hidden.sum(1) / mask.sum(1, keepdims=True)
    unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)  # noqa: E731
    tensors = dict(last_hidden=hidden, cls=cls, mean=mean, cls_norm=unit(cls), mean_norm=unit(mean))
    tensors = {k: np.ascontiguousarray(v, dtype=np.float32) for k, v in tensors.items()}
    save_file({**tensors, "input_ids": ids, "attention_mask": mask, "token_type_ids": types}, folder / "expected.safetensors")
    write_json(folder / "texts.json", texts)
    print(f"bert: {size_of(folder) // 1024} KiB, hidden std {hidden.std():.2f}, lengths {mask.sum(1)}")


if __name__ == "__main__":
    wanted = sys.argv[1:]
    for name, (cls, config, spec, options) in causal().items():
        if not wanted or name in wanted:
            assert spec.tok.get_vocab_size() == config.vocab_size, (name, spec.tok.get_vocab_size())
            make(name, cls, config, spec, **options)
    if not wanted or "bert" in wanted:
        bert()

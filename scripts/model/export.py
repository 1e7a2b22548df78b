#!/usr/bin/env python3
"""Writes model.pt (from train.py) and its tokenizer.json as one GGUF file, weights Q8_0 and norms F32, and copies the tokenizer beside it.

GGUF's `llama` rotates neighbouring pairs (0,1), (2,3), … while the training code rotates (i, i + half): the rows of Q and K of each head are
reordered accordingly. There is no output.weight: the embedding is tied.
"""
import argparse
import json
import pathlib
import shutil

import gguf
import numpy as np
import torch

from tokenizer import BOS, CHAT_TEMPLATE, END, EOS, SPECIAL


def interleave(w, heads):
    """Rows of a (heads·d, n) matrix from split halves to neighbouring pairs."""
    d = w.shape[0] // heads
    return w.reshape(heads, 2, d // 2, -1).swapaxes(1, 2).reshape(w.shape)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("tokenizer")
    p.add_argument("--out", default="cogniware-small.gguf")
    p.add_argument("--date", default="", help="recorded in the file as general.version")
    a = p.parse_args()
    saved = torch.load(a.model, map_location="cpu", weights_only=True)
    c, state = saved["config"], {k: v.float().numpy() for k, v in saved["state"].items()}
    with open(a.tokenizer, encoding="utf-8") as f:
        tok = json.load(f)["model"]

    w = gguf.GGUFWriter(a.out, "llama")
    w.add_name("Cogniware Small")
    w.add_description("A very small English model of simple stories, poems and explanations, trained on text written by the Cogniware project")
    w.add_license("MIT")
    w.add_size_label("7M")
    if a.date:
        w.add_version(a.date)
    w.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    w.add_quantization_version(gguf.GGML_QUANT_VERSION)
    w.add_context_length(c["context"])
    w.add_embedding_length(c["dim"])
    w.add_block_count(c["layers"])
    w.add_feed_forward_length(c["ffn"])
    w.add_head_count(c["heads"])
    w.add_head_count_kv(c["kv_heads"])
    w.add_rope_dimension_count(c["dim"] // c["heads"])
    w.add_rope_freq_base(c["theta"])
    w.add_layer_norm_rms_eps(c["eps"])
    w.add_vocab_size(c["vocab"])
    ids = sorted(tok["vocab"], key=tok["vocab"].get)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("llama-bpe")
    w.add_token_list(ids)
    w.add_token_types([gguf.TokenType.CONTROL if t in SPECIAL else gguf.TokenType.NORMAL for t in ids])
    w.add_token_merges([" ".join(m) if isinstance(m, list) else m for m in tok["merges"]])
    w.add_bos_token_id(BOS)
    w.add_eos_token_id(EOS)
    w.add_eot_token_id(END)
    w.add_add_bos_token(True)
    w.add_chat_template(CHAT_TEMPLATE)

    def add(name, x):
        if x.ndim == 1:
            w.add_tensor(name, x.astype(np.float32))
        else:
            w.add_tensor(name, gguf.quants.quantize(x, gguf.GGMLQuantizationType.Q8_0), raw_dtype=gguf.GGMLQuantizationType.Q8_0)

    add("token_embd.weight", state["embed.weight"])
    names = {"attn_norm": "attn_norm", "q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output", "ffn_norm": "ffn_norm", "gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down"}
    for i in range(c["layers"]):
        for ours, theirs in names.items():
            x = state[f"blocks.{i}.{ours}.weight"]
            x = interleave(x, c["heads"]) if ours == "q" else interleave(x, c["kv_heads"]) if ours == "k" else x
            add(f"blk.{i}.{theirs}.weight", x)
    add("output_norm.weight", state["norm.weight"])
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    beside = pathlib.Path(a.out).with_suffix(".tokenizer.json")
    if not (beside.exists() and beside.samefile(a.tokenizer)):
        shutil.copy(a.tokenizer, beside)
    print(f"{a.out}: {pathlib.Path(a.out).stat().st_size:,} bytes; {beside}")


if __name__ == "__main__":
    main()

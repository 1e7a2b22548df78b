#!/usr/bin/env python3
"""Checks the shipped model with an engine of its own: plain numpy, reading nothing but the GGUF.

Size, tensors and metadata; the tokenizer in the metadata (its own byte-level BPE here) against tokenizer.json; with --model model.pt the
logits against the training code; and, with --sample, some text. Exits 1 at the first thing that is wrong.
"""
import argparse
import json
import os

import gguf
import numpy as np


def check(ok, what):
    print("ok  " if ok else "FAIL", what)
    if not ok:
        raise SystemExit(1)


def field(reader, key):
    return reader.fields[key].contents()


class Engine:
    """A float32 forward pass of GGUF's llama with rotation of neighbouring pairs, one token at a time, with a KV cache."""

    def __init__(self, reader):
        self.w = {t.name: gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32) for t in reader.tensors}
        self.n, self.heads, self.kv = (int(field(reader, "llama." + k)) for k in ("block_count", "attention.head_count", "attention.head_count_kv"))
        self.d, self.theta, self.eps = int(field(reader, "llama.rope.dimension_count")), field(reader, "llama.rope.freq_base"), field(reader, "llama.attention.layer_norm_rms_epsilon")
        self.reset()

    def reset(self):
        self.cache = [([], []) for _ in range(self.n)]

    def norm(self, x, name):
        return x / np.sqrt((x * x).mean() + self.eps) * self.w[name]

    def rotate(self, x, pos):
        a = pos * self.theta ** (-np.arange(0, self.d, 2) / self.d)
        even, odd, out = x[:, 0::2], x[:, 1::2], np.empty_like(x)
        out[:, 0::2], out[:, 1::2] = even * np.cos(a) - odd * np.sin(a), odd * np.cos(a) + even * np.sin(a)
        return out

    def __call__(self, token):
        w, x = self.w, self.w["token_embd.weight"][token]
        for i in range(self.n):
            b, (keys, values) = f"blk.{i}.", self.cache[i]
            h = self.norm(x, b + "attn_norm.weight")
            q, k, v = ((w[f"{b}attn_{c}.weight"] @ h).reshape(-1, self.d) for c in "qkv")
            pos = len(keys)
            keys.append(self.rotate(k, pos))
            values.append(v)
            q, ks, vs = self.rotate(q, pos), np.array(keys), np.array(values)
            out = []
            for j in range(self.heads):
                g = j // (self.heads // self.kv)
                s = ks[:, g] @ q[j] / np.sqrt(self.d)
                s = np.exp(s - s.max())
                out.append(s / s.sum() @ vs[:, g])
            x = x + w[b + "attn_output.weight"] @ np.concatenate(out)
            h = self.norm(x, b + "ffn_norm.weight")
            gate = w[b + "ffn_gate.weight"] @ h
            x = x + w[b + "ffn_down.weight"] @ (gate / (1 + np.exp(-gate)) * (w[b + "ffn_up.weight"] @ h))
        return w["token_embd.weight"] @ self.norm(x, "output_norm.weight")


def bpe(word, rank, vocab):
    """Ids of one pre-split word in the byte alphabet; a word that is a token is taken whole."""
    if word in vocab:
        return [vocab[word]]
    parts = list(word)
    while len(parts) > 1:
        best = min(range(len(parts) - 1), key=lambda i: rank.get((parts[i], parts[i + 1]), 1 << 30))
        if (parts[best], parts[best + 1]) not in rank:
            break
        parts[best:best + 2] = [parts[best] + parts[best + 1]]
    return [vocab[x] for x in parts]


TEXTS = ["Once upon a time", "Hello, world! It's 12345 o'clock.\n\n  Two  spaces", "Ünïcode: 猫 sat — on the 🐟 mat", "\ttabs\r\nand CRLF  \n ", "WE'RE loud; don't shout...", "3.14159 + 2 = 5.14159", ""]
PROMPTS = [("", 0), ("Once upon a time", 0), ("The sun rose over the village", 0), ("My name is", 0), ("Tell me a story about a fox.", 1), ("What is a GPU?", 1),
           ("Explain how several models can share one device.", 1), ("Write a short poem about the sea.", 1), ("Hello!", 1), ("What is 7 + 5?", 1), ("Tell me a story about a lighthouse.", 1)]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("gguf")
    p.add_argument("tokenizer")
    p.add_argument("--model", help="model.pt of the training run, to compare logits")
    p.add_argument("--sample", type=int, default=0, help="write so many tokens for each prompt")
    p.add_argument("--temperature", type=float, default=0.0)
    a = p.parse_args()
    from tokenizers import Tokenizer
    reader, tok = gguf.GGUFReader(a.gguf), Tokenizer.from_file(a.tokenizer)
    check(os.path.getsize(a.gguf) <= 8_000_000, f"{os.path.getsize(a.gguf):,} bytes, at most 8,000,000")
    check(field(reader, "general.architecture") == "llama", "architecture llama")
    kinds = {}
    for t in reader.tensors:
        kinds.setdefault(t.tensor_type.name, []).append(t)
    check(set(kinds) == {"Q8_0", "F32"} and all("norm" in t.name for t in kinds["F32"]), f"{len(kinds['Q8_0'])} tensors Q8_0, {len(kinds['F32'])} norms F32")
    check(all(int(t.shape[0]) % 256 == 0 for t in kinds["Q8_0"]), "rows are multiples of 256, so that K-quants fit too")
    check("output.weight" not in {t.name for t in reader.tensors}, "embeddings tied")

    tokens, merges = field(reader, "tokenizer.ggml.tokens"), [tuple(m.split(" ")) for m in field(reader, "tokenizer.ggml.merges")]
    with open(a.tokenizer, encoding="utf-8") as f:
        saved = json.load(f)["model"]
    check(len(tokens) == len(kinds["Q8_0"][0].data) and {t: i for i, t in enumerate(tokens)} == saved["vocab"], f"{len(tokens)} tokens as in tokenizer.json")
    check(merges == [tuple(m) for m in saved["merges"]] and saved["ignore_merges"], f"{len(merges)} merges as in tokenizer.json")
    rank, vocab = {m: i for i, m in enumerate(merges)}, {t: i for i, t in enumerate(tokens)}
    for text in TEXTS:
        own = [i for word, _ in tok.pre_tokenizer.pre_tokenize_str(text) for i in bpe(word, rank, vocab)]
        ids = tok.encode(text, add_special_tokens=False).ids
        check(own == ids and tok.decode(ids) == text, f"tokens and round trip of {text!r}")
    bos, eos, end = (int(field(reader, f"tokenizer.ggml.{k}_token_id")) for k in ("bos", "eos", "eot"))
    check([tokens[i] for i in (bos, eos, end)] == ["<|bos|>", "<|eos|>", "<|end|>"] and tok.encode("a").ids[0] == bos, "bos, eos, eot")

    engine = Engine(reader)
    if a.model:
        import torch
        from model import Config, Llama
        saved = torch.load(a.model, map_location="cpu", weights_only=True)
        model = Llama(Config(**saved["config"]))
        model.load_state_dict({k: v.float() for k, v in saved["state"].items()})
        ids = [bos] + tok.encode("Once upon a time there was a little fox who lived in a castle on a hill.", add_special_tokens=False).ids
        with torch.no_grad():
            want = model(torch.tensor([ids]))[0].numpy()
        got = np.array([engine(i) for i in ids])
        error = np.linalg.norm(got - want) / np.linalg.norm(want)
        check(error < 0.02 and (got.argmax(1) == want.argmax(1)).mean() > 0.9, f"logits against the training code: relative error {error:.4f} (8-bit weights against 16-bit)")
    rng = np.random.default_rng(7)
    for text, chat in PROMPTS if a.sample else []:
        engine.reset()
        ids = [bos] + ([vocab["<|user|>"]] if chat else []) + tok.encode(text, add_special_tokens=False).ids + ([end, vocab["<|assistant|>"]] if chat else [])
        for i in ids:
            logits = engine(i)
        out = []
        while len(out) < a.sample and len(ids) + len(out) < 1024:
            if a.temperature:
                q = np.exp((logits - logits.max()) / a.temperature)
                t = int(rng.choice(len(q), p=q / q.sum()))
            else:
                t = int(logits.argmax())
            out.append(t)
            if t in (eos, end):
                break
            logits = engine(t)
        print(f"\n--- {'chat ' if chat else ''}{text!r} ({len(out)} tokens)\n{tok.decode(out, skip_special_tokens=False)}")


if __name__ == "__main__":
    main()

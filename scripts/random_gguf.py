"""Writes a GGUF with random weights of a real model's shape, for speed and memory measurements.

    python scripts/random_gguf.py --out model.gguf [--shape 1.1b] [--type q8_0] [--layers N] [--seed 0] [--vocab-kind spm|bpe]

Needs numpy only. Blocks are drawn directly in their stored form (random codes, scales that give weights of about
1/sqrt(row length)), a few MiB at a time, so memory stays small whatever the size. Types: f32, f16, bf16, q8_0, q4_0, q4_k,
q6_k; tq1_0, tq2_0 and i2_s for the shape bitnet-2b alone (architecture bitnet, an f16 embedding that is also the output; the
projections are ternary). Norms are f32 near 1. The vocabulary is synthetic but complete: bytes, and words that greedy text can show.
"""

import argparse
import itertools
import os
import struct
import sys
import time

import numpy as np

# hidden, layers, heads, KV heads, feed-forward, vocabulary, rope theta, context
SHAPES = {
    "tiny": (256, 2, 4, 2, 512, 1024, 10000.0, 512),
    "135m": (576, 30, 9, 3, 1536, 49152, 10000.0, 2048),
    "1.1b": (2048, 22, 32, 4, 5632, 32000, 10000.0, 2048),
    "3b": (3072, 28, 24, 8, 8192, 128256, 500000.0, 8192),
    "bitnet-2b": (2560, 30, 20, 5, 6912, 128256, 500000.0, 4096),
    "8b": (4096, 32, 32, 8, 14336, 128256, 500000.0, 8192),
}
# name -> (GGML type number, values per block, bytes per block, general.file_type)
TYPES = {
    "f32": (0, 1, 4, 0), "f16": (1, 1, 2, 1), "bf16": (30, 1, 2, 32), "q8_0": (8, 32, 34, 7), "q4_0": (2, 32, 18, 2),
    "q4_k": (12, 256, 144, 15), "q6_k": (14, 256, 210, 18), "tq1_0": (34, 256, 54, 36), "tq2_0": (35, 256, 66, 37),
    "i2_s": (36, 128, 32, 40),
}
ALIGN = 32
CHUNK = 4 << 20


def half(x):
    return np.asarray(x, np.float32).astype("<f2")


def blocks(rng, kind, n, std):
    """n blocks of type `kind` as bytes, whose values have a standard deviation of about `std`."""
    if kind == "f32":
        return rng.standard_normal(n, np.float32) * np.float32(std)
    if kind == "f16":
        return half(rng.standard_normal(n, np.float32) * np.float32(std))
    if kind == "bf16":
        bits = (rng.standard_normal(n, np.float32) * np.float32(std)).view(np.uint32)
        return (bits >> 16).astype("<u2")
    size = TYPES[kind][2]
    if kind in ("tq1_0", "tq2_0", "i2_s"):
        # Weights -1, 0 and 1 alike: std sqrt(2/3). I2_S has one scale behind all its blocks, which the caller writes.
        if kind == "tq1_0":
            digits = rng.integers(0, 3, (n, 52, 5), np.uint16)
            digits[:, 48:, 4] = 0
            number = digits @ np.array([81, 27, 9, 3, 1], np.uint16)
            codes = ((number.astype(np.uint32) * 256 + 242) // 243).astype(np.uint8)
        else:
            digits = rng.integers(0, 3, (n, 64 if kind == "tq2_0" else 32, 4), np.uint8)
            codes = digits[..., 0] | digits[..., 1] << 2 | digits[..., 2] << 4 | digits[..., 3] << 6
        if kind == "i2_s":
            return codes
        scale = np.broadcast_to(half(std / 0.8165).reshape(1, 1).view(np.uint8), (n, 2))
        return np.concatenate([codes, scale], axis=1)
    out = np.frombuffer(rng.bytes(n * size), np.uint8).reshape(n, size).copy()
    # Codes -8..7 have a mean of -0.5, which would add up over a row; scales of both signs cancel it.
    wobble = rng.uniform(0.8, 1.2, n).astype(np.float32) * (1.0 if kind == "q4_k" else rng.choice([-1.0, 1.0], n))
    if kind == "q8_0":  # uniform codes in -128..127: std 73.9
        out[:, :2] = half(std / 73.9 * wobble)[:, None].view(np.uint8)
    elif kind == "q4_0":  # uniform codes in -8..7: std 4.6
        out[:, :2] = half(std / 4.64 * wobble)[:, None].view(np.uint8)
    elif kind == "q4_k":  # scale 32..63, minimum so that codes 0..15 centre near zero
        scale, least = rng.integers(32, 64, (n, 8), np.uint8), rng.integers(24, 48, (n, 8), np.uint8)
        d = std / 5.2 / 47.5 * wobble
        out[:, :2] = half(d)[:, None].view(np.uint8)
        out[:, 2:4] = half(d * 7.5 * 47.5 / 35.5)[:, None].view(np.uint8)
        out[:, 4:8] = scale[:, :4] | ((scale[:, 4:] >> 4) << 6)
        out[:, 8:12] = least[:, :4] | ((least[:, 4:] >> 4) << 6)
        out[:, 12:16] = (scale[:, 4:] & 15) | ((least[:, 4:] & 15) << 4)
    elif kind == "q6_k":  # uniform codes in -32..31: std 18.5
        out[:, 192:208] = rng.integers(64, 128, (n, 16), np.uint8)
        out[:, 208:] = half(std / 18.5 / 95.5 * wobble)[:, None].view(np.uint8)
    return out


def string(s):
    b = s if isinstance(s, bytes) else s.encode("utf-8")
    return struct.pack("<Q", len(b)) + b


def u32(v):
    return struct.pack("<II", 4, v)


def f32(v):
    return struct.pack("<If", 6, v)


def boolean(v):
    return struct.pack("<I?", 7, v)


def text(v):
    return struct.pack("<I", 8) + string(v)


def array(kind, items):
    """kind 5: i32, 6: f32, 8: string."""
    head = struct.pack("<IIQ", 9, kind, len(items))
    if kind == 8:
        return head + b"".join(map(string, items))
    return head + np.asarray(items, {5: "<i4", 6: "<f4"}[kind]).tobytes()


def words():
    """An endless supply of different pronounceable words."""
    onsets = ["b", "d", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "st", "tr", "pl", "ch", "sh"]
    vowels = ["a", "e", "i", "o", "u", "ai", "ea", "ou"]
    syllables = [o + v for v in vowels for o in onsets]
    for n in itertools.count(1):
        for parts in itertools.product(syllables, repeat=n):
            yield "".join(parts)


def spm_vocab(size):
    """SentencePiece style: <unk> <s> </s>, 256 bytes, printable ASCII, then words with scores that fall."""
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)]
    types = [2, 3, 3] + [6] * 256
    plain = ["\u2581"] + [chr(c) for c in range(33, 127)]
    seen = set(plain)
    for w in words():
        for p in (w, "\u2581" + w):
            if p not in seen and len(tokens) + len(plain) < size:
                seen.add(p)
                plain.append(p)
        if len(tokens) + len(plain) >= size:
            break
    tokens += plain
    types += [1] * len(plain)
    scores = [0.0] * 259 + [-float(i) for i in range(len(plain))]
    return {
        "tokenizer.ggml.model": text("llama"), "tokenizer.ggml.pre": text("default"),
        "tokenizer.ggml.tokens": array(8, tokens), "tokenizer.ggml.scores": array(6, scores),
        "tokenizer.ggml.token_type": array(5, types), "tokenizer.ggml.bos_token_id": u32(1),
        "tokenizer.ggml.eos_token_id": u32(2), "tokenizer.ggml.unknown_token_id": u32(0),
        "tokenizer.ggml.add_bos_token": boolean(True), "tokenizer.ggml.add_eos_token": boolean(False),
    }


def bpe_vocab(size):
    """Byte-level BPE: 256 bytes, merges that spell words letter by letter, then two control tokens."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {b: chr(b) for b in kept}
    for i, b in enumerate(b for b in range(256) if b not in table):
        table[b] = chr(256 + i)
    tokens = [table[b] for b in range(256)]
    seen, merges = set(tokens), []
    for w in words():
        for piece in (w, table[32] + w):
            done = piece[0]
            for ch in piece[1:]:
                if done + ch not in seen and len(tokens) < size - 2:
                    seen.add(done + ch)
                    tokens.append(done + ch)
                    merges.append(f"{done} {ch}")
                if done + ch not in seen:
                    break
                done += ch
        if len(tokens) >= size - 2:
            break
    types = [1] * len(tokens) + [3, 3]
    tokens += ["<|begin_of_text|>", "<|end_of_text|>"]
    return {
        "tokenizer.ggml.model": text("gpt2"), "tokenizer.ggml.pre": text("llama-bpe"),
        "tokenizer.ggml.tokens": array(8, tokens), "tokenizer.ggml.token_type": array(5, types),
        "tokenizer.ggml.merges": array(8, merges), "tokenizer.ggml.bos_token_id": u32(size - 2),
        "tokenizer.ggml.eos_token_id": u32(size - 1), "tokenizer.ggml.add_bos_token": boolean(True),
        "tokenizer.ggml.add_eos_token": boolean(False),
    }


def plan(shape, layers, kind):
    """Tensors in file order: (name, dimensions fastest first, type)."""
    hidden, n, heads, kv, ffn, vocab, _, _ = shape
    kv_dim = hidden // heads * kv
    bitnet = shape == SHAPES["bitnet-2b"]
    yield "token_embd.weight", (hidden, vocab), "f16" if bitnet else kind
    for i in range(layers or n):
        for name, dims, k in (
            ("attn_norm", (hidden,), "f32"), ("attn_q", (hidden, hidden), kind), ("attn_k", (hidden, kv_dim), kind),
            ("attn_v", (hidden, kv_dim), kind), ("attn_output", (hidden, hidden), kind), ("ffn_norm", (hidden,), "f32"),
            ("ffn_gate", (hidden, ffn), kind), ("ffn_up", (hidden, ffn), kind), ("ffn_down", (ffn, hidden), kind),
        ):
            yield f"blk.{i}.{name}.weight", dims, k
        if bitnet:
            yield f"blk.{i}.attn_sub_norm.weight", (hidden,), "f32"
            yield f"blk.{i}.ffn_sub_norm.weight", (ffn,), "f32"
    yield "output_norm.weight", (hidden,), "f32"
    if not bitnet:
        yield "output.weight", (hidden, vocab), kind


def nbytes(dims, kind):
    _, per, size, _ = TYPES[kind]
    if dims[0] % per:
        sys.exit(f"rows of {dims[0]} values do not divide into {kind} blocks of {per}")
    return int(np.prod(dims, dtype=np.int64)) // per * size + (32 if kind == "i2_s" else 0)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", required=True)
    p.add_argument("--shape", choices=SHAPES, default="1.1b")
    p.add_argument("--type", choices=TYPES, default="q8_0")
    p.add_argument("--layers", type=int, help="fewer layers than the shape has")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--vocab-kind", choices=("spm", "bpe"), default="spm")
    a = p.parse_args()
    if (a.shape == "bitnet-2b") != (a.type in ("tq1_0", "tq2_0", "i2_s")):
        sys.exit("the shape bitnet-2b goes with the types tq1_0, tq2_0 and i2_s, and no other does")
    shape = SHAPES[a.shape]
    hidden, layers, heads, kv, ffn, vocab, theta, context = shape
    tensors = list(plan(shape, a.layers, a.type))
    for _, dims, kind in tensors:
        nbytes(dims, kind)  # refuse what does not fit before a file exists
    arch = "bitnet" if a.shape == "bitnet-2b" else "llama"
    meta = {
        "general.architecture": text(arch), "general.name": text(f"random {a.shape} {a.type}"),
        "general.file_type": u32(TYPES[a.type][3]), "general.quantization_version": u32(2), "general.alignment": u32(ALIGN),
        f"{arch}.context_length": u32(context), f"{arch}.embedding_length": u32(hidden), f"{arch}.block_count": u32(a.layers or layers),
        f"{arch}.feed_forward_length": u32(ffn), f"{arch}.attention.head_count": u32(heads),
        f"{arch}.attention.head_count_kv": u32(kv), f"{arch}.attention.layer_norm_rms_epsilon": f32(1e-5),
        f"{arch}.rope.freq_base": f32(theta), f"{arch}.rope.dimension_count": u32(hidden // heads), f"{arch}.vocab_size": u32(vocab),
        **(spm_vocab(vocab) if a.vocab_kind == "spm" else bpe_vocab(vocab)),
    }
    start = time.perf_counter()
    part = a.out + ".part"
    with open(part, "wb") as f:
        f.write(struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(meta)))
        for key, value in meta.items():
            f.write(string(key) + value)
        offset = 0
        for name, dims, kind in tensors:
            f.write(string(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, TYPES[kind][0], offset))
            offset += -(-nbytes(dims, kind) // ALIGN) * ALIGN
        f.write(bytes(-f.tell() % ALIGN))
        for index, (_, dims, kind) in enumerate(tensors):
            rng = np.random.Generator(np.random.SFC64([a.seed, index]))
            total = nbytes(dims, kind)
            if len(dims) == 1:
                f.write((1 + 0.1 * rng.standard_normal(dims[0])).astype("<f4").tobytes())
            else:
                size = TYPES[kind][2]
                std = 1.0 if index == 0 else (2.0 if index == len(tensors) - 1 else 1.0) / np.sqrt(dims[0])
                tail = 32 if kind == "i2_s" else 0
                left = (total - tail) // size
                while left:
                    n = min(left, CHUNK // size)
                    f.write(np.ascontiguousarray(blocks(rng, kind, n, std)).data)
                    left -= n
                if tail:
                    f.write(struct.pack("<f28x", std / 0.8165))
            f.write(bytes(-total % ALIGN))
        written = f.tell()
    os.replace(part, a.out)
    print(f"{a.out}: {written} bytes, {len(tensors)} tensors, {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()

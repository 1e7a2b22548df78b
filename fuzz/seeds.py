"""Writes the seeds of a fuzz target into a folder: python3 fuzz/seeds.py TARGET FOLDER (called by scripts/fuzz)."""

import json
import pathlib
import shutil
import struct
import sys

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "tests" / "fixtures"


def text(s):
    b = s.encode()
    return struct.pack("<Q", len(b)) + b


def value(v):
    if isinstance(v, bool):
        return 7, struct.pack("<?", v)
    if isinstance(v, int):
        return 4, struct.pack("<I", v)
    if isinstance(v, float):
        return 6, struct.pack("<f", v)
    if isinstance(v, str):
        return 8, text(v)
    kind = value(v[0])[0] if v else 8
    return 9, struct.pack("<IQ", kind, len(v)) + b"".join(value(x)[1] for x in v)


def tiny_gguf(arch, tokenizer):
    """A whole model of about 3 KB: small inputs make many runs a second."""
    dim, ffn = 4, 4
    keys = {"general.architecture": arch, f"{arch}.block_count": 1, f"{arch}.embedding_length": dim,
            f"{arch}.attention.head_count": 2, f"{arch}.feed_forward_length": ffn, f"{arch}.context_length": 64,
            f"{arch}.attention.layer_norm_rms_epsilon": 1e-5, f"{arch}.attention.layer_norm_epsilon": 1e-5,
            f"{arch}.rope.freq_base": 1e4, "tokenizer.chat_template": "{{ messages[0].content }}", **tokenizer}
    rows = len(tokenizer["tokenizer.ggml.tokens"])
    shapes = {"token_embd.weight": (rows, dim)}
    for m in ("attn_q", "attn_k", "attn_v", "attn_output"):
        shapes[f"blk.0.{m}.weight"] = (dim, dim)
    shapes |= {"blk.0.ffn_up.weight": (ffn, dim), "blk.0.ffn_down.weight": (dim, ffn)}
    if arch == "bert":
        shapes |= {"position_embd.weight": (64, dim), "token_embd_norm.weight": (dim,), "token_embd_norm.bias": (dim,)}
        for m in ("attn_q", "attn_k", "attn_v"):
            shapes[f"blk.0.{m}.bias"] = (dim,)
        for m in ("attn_output_norm", "layer_output_norm"):
            shapes |= {f"blk.0.{m}.weight": (dim,), f"blk.0.{m}.bias": (dim,)}
    else:
        shapes |= {"blk.0.ffn_gate.weight": (ffn, dim), "output_norm.weight": (dim,),
                   "blk.0.attn_norm.weight": (dim,), "blk.0.ffn_norm.weight": (dim,)}
    if arch == "qwen3":
        shapes |= {"blk.0.attn_q_norm.weight": (2,), "blk.0.attn_k_norm.weight": (2,)}
    head, table, data = b"", b"", b""
    for k, v in keys.items():
        kind, raw = value(v)
        head += text(k) + struct.pack("<I", kind) + raw
    for name, shape in shapes.items():
        count = 1
        for n in shape:
            count *= n
        table += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *reversed(shape))
        table += struct.pack("<IQ", 0, len(data))
        data += b"\0" * -(-4 * count // 32) * 32
    out = b"GGUF" + struct.pack("<IQQ", 3, len(shapes), len(keys)) + head + table
    return out + b"\0" * (-len(out) % 32) + data


def gguf(folder):
    t = "tokenizer.ggml."
    pieces = ["<unk>", "<s>", "</s>", "<0x0A>", "\u2581", "H", "e", "l", "o", "He", "lo", "\u2581H"]
    spm = {t + "model": "llama", t + "tokens": pieces, t + "scores": [-float(i) for i in range(len(pieces))],
           t + "token_type": [2, 3, 3, 6] + [1] * 8, t + "bos_token_id": 1, t + "eos_token_id": 2}
    letters = ["H", "e", "l", "o", "\u0120", "He", "lo", "<|im_end|>"]
    bpe = {t + "model": "gpt2", t + "pre": "qwen2", t + "tokens": letters, t + "token_type": [1] * 7 + [3],
           t + "merges": ["H e", "l o"], t + "eos_token_id": 7, t + "add_bos_token": False}
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "\u2581hello", "\u2581h", "ello"]
    wordpiece = {t + "model": "bert", t + "tokens": words, t + "token_type": [3] * 4 + [1] * 3}
    for arch, tokenizer in (("llama", spm), ("qwen3", bpe), ("bert", wordpiece)):
        (folder / f"tiny-{arch}").write_bytes(tiny_gguf(arch, tokenizer))
    shutil.copy(FIXTURES / "gguf" / "qwen2.q4_0.gguf", folder)


def safetensors(folder):
    for model in ("smollm", "qwen3", "bert", "llama-linear-legacy"):
        source = FIXTURES / "models" / model
        config, weights = (source / "config.json").read_bytes(), (source / "model.safetensors").read_bytes()
        (folder / model).write_bytes(struct.pack("<H", len(config)) + config + weights)


def tokenizer(folder):
    for source in (FIXTURES / "tokenizers").iterdir():
        shutil.copy(source / "tokenizer.json", folder / f"{source.name}.json")


def template(folder):
    for t in json.loads((FIXTURES / "chat_templates.json").read_text()):
        (folder / t["name"]).write_text(t["template"])


def ptx(folder):
    params = ".param .u64 .ptr .global .align 1 a, .param .f32 b, .param .align 4 .b8 c[12]"
    (folder / "kernels.ptx").write_text(f".version 8.0\n// x\n.visible .entry k({params})\n{{ ret; }}\n.entry n() {{ ret; }}\n")
    (folder / "cubin").write_bytes(b"\x7fELF\2\1\1".ljust(18, b"\0") + struct.pack("<H", 190) + b"\0" * 44)
    (folder / "fatbin").write_bytes(struct.pack("<IHHQ", 0xBA55ED50, 1, 16, 8) + b"\0" * 8)


if __name__ == "__main__":
    writers = {f.__name__: f for f in (gguf, safetensors, tokenizer, template, ptx)}
    if len(sys.argv) != 3 or sys.argv[1] not in writers:
        sys.exit(f"usage: seeds.py {{{','.join(writers)}}} FOLDER")
    writers[sys.argv[1]](pathlib.Path(sys.argv[2]))

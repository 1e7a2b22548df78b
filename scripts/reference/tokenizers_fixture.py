"""Small tokenizers of each family with expected ids, decoded text, streams and chat prompts.

    python scripts/reference/tokenizers_fixture.py

Writes tests/fixtures/tokenizers/<name>/: tokenizer.json, tokenizer_config.json, expected.json and, but for WordPiece,
vocab.gguf: metadata only (tokenizer and the hyperparameters that loaders ask for), no tensors. expected.json holds

cases: text; ids (no special tokens added) and ids_special (added as the tokenizer's template says), both from `tokenizers`,
  which turns the text of special tokens into their ids; decoded (special tokens skipped) and decoded_all, of `ids`;
  ids_llama_cpp and ids_sentencepiece where those libraries, asked for the same, give other ids than `ids`
  (llama-cpp-python reads vocab.gguf with parse_special; absent when it is not installed).
streams: ids, and pieces: the text that each token completes when UTF-8 is decoded as it arrives, tail: what is left at the
  end; bytes that cannot become a character turn into U+FFFD, one for each maximal part (as Rust's from_utf8_lossy does).
  Control tokens give no text. SentencePiece: one space at the very start is dropped.
token_bytes: the bytes of each token in hex (control tokens: their own text; SentencePiece: with the space that U+2581 means).
chat: messages, add_generation_prompt, text from transformers' apply_chat_template with the tokenizer's own template, or
  error: true where the template raises.
"""

import codecs
import importlib.metadata as md
import json
import shutil
import sys

import gguf
import sentencepiece as spm
import tokenizers
import transformers

import toks
from common import FIXTURES, ROOT, size_of, write_json
from gguf_meta import add_tokenizer

OUT = FIXTURES / "tokenizers"
MESSAGES = [
    [{"role": "user", "content": "Hello there"}],
    [
        {"role": "user", "content": " Größe? "}, {"role": "assistant", "content": "Vier 🙂"},
        {"role": "user", "content": "line one\nline two"},
    ],
    [{"role": "system", "content": "Answer briefly."}, {"role": "user", "content": "Why?"}],
]


def special_texts(spec):
    """Texts that contain the tokenizer's own special tokens, alone, doubled, glued to words and between spaces."""
    names = [t for t, k in zip(spec.tokens(), spec.types) if k in (toks.CONTROL, toks.USER_DEFINED)]
    out = []
    for n in names:
        out += [n, f"a{n}b", f" {n} "]
    a, b = names[0], names[-1]
    return out + [f"{a}{b}", f"{a}Hello{b}\n{a} world {b}", f"{a[:-1]}", f"x {a[1:]}"]


def unicode_to_byte():
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(b): b for b in kept}
    for i, b in enumerate(b for b in range(256) if b not in kept):
        table[chr(256 + i)] = b
    return table


def token_bytes(spec):
    table = unicode_to_byte()
    out = []
    for token, kind in zip(spec.tokens(), spec.types):
        if kind in (toks.CONTROL, toks.USER_DEFINED, toks.UNKNOWN):
            out.append(token.encode())
        elif kind == toks.BYTE:
            out.append(bytes([int(token[3:5], 16)]))
        elif spec.gguf_model == "llama":
            out.append(token.replace("\u2581", " ").encode())
        else:
            out.append(bytes(table[c] for c in token))
    return out


def stream(spec, raw, ids):
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    pieces, first = [], spec.gguf_model == "llama"
    for i in ids:
        if spec.types[i] in (toks.CONTROL, toks.UNKNOWN):
            pieces.append("")
            continue
        data = raw[i]
        if first:
            data, first = data.removeprefix(b" "), False
        pieces.append(decoder.decode(data))
    return {"ids": ids, "pieces": pieces, "tail": decoder.decode(b"", final=True)}


def streams(spec, raw):
    tok = spec.tok
    encode = lambda t: tok.encode(t, add_special_tokens=False).ids  # noqa: E731
    byte = {b: i for i, b in reversed(list(enumerate(raw))) if len(b) == 1}
    one = lambda *bs: [byte[bytes([b])] for b in bs]  # noqa: E731
    out = [stream(spec, raw, encode(t)) for t in ("Hello 🙂 world", "模型👨‍👩‍👧é", "नमस्ते", " lead", "  two", "plain ascii text.")]
    for s in out:  # the reference's own check: pieces together are the decoded text
        assert "".join(s["pieces"]) + s["tail"] == tok.decode(s["ids"], skip_special_tokens=True), s
    rocket = "🚀".encode()
    out.append(stream(spec, raw, one(*rocket[:3])))  # ends inside a character
    out.append(stream(spec, raw, one(*rocket[:2]) + encode("ok")))  # broken off by text
    out.append(stream(spec, raw, one(0x61, 0xFF, 0x62, 0x80, 0x63)))  # bytes that never are UTF-8
    out.append(stream(spec, raw, one(0xED, 0xA0, 0x80, 0x21)))  # a surrogate in UTF-8's clothes
    out.append(stream(spec, raw, one(0xF0, 0x9F, *rocket, 0xC3)))  # a start, then a whole character, then a start
    if spec.eos:
        out.append(stream(spec, raw, one(*rocket[:2]) + [spec.id(spec.eos)] + one(*rocket[2:])))  # a control token between bytes
    return out


def write_gguf(path, spec):
    w = gguf.GGUFWriter(path, "llama")
    w.add_name("vocabulary only")
    w.add_context_length(256)
    w.add_embedding_length(64)
    w.add_block_count(1)
    w.add_feed_forward_length(64)
    w.add_head_count(4)
    w.add_head_count_kv(4)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_rope_dimension_count(16)
    w.add_rope_freq_base(10000.0)
    w.add_vocab_size(spec.tok.get_vocab_size())
    w.add_file_type(gguf.LlamaFileType.ALL_F32)
    add_tokenizer(w, spec)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def peer(path):
    """llama.cpp's tokenizer for the file, or None when it is not installed."""
    try:
        md.version("llama-cpp-python")
    except md.PackageNotFoundError:
        return None
    import importlib.util

    spec = importlib.util.spec_from_file_location("peer_llama_cpp", ROOT / "benches" / "peers" / "llama_cpp.py")
    module = importlib.util.module_from_spec(spec)
    saved = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = saved
    return module.Engine(path, 1, 0, 0, vocab_only=True)


def chat(spec):
    if not spec.chat:
        return []
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=spec.tok, chat_template=spec.chat, bos_token=spec.bos, eos_token=spec.eos
    )
    out = []
    for messages in MESSAGES:
        for prompt in (False, True):
            case = {"messages": messages, "add_generation_prompt": prompt}
            try:
                case["text"] = fast.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
            except Exception:
                case["error"] = True
            out.append(case)
    return out


def make(name, spec):
    folder = OUT / name
    folder.mkdir(parents=True)
    (folder / "tokenizer.json").write_text(toks.compact_json(spec.tok), encoding="utf-8")
    write_json(folder / "tokenizer_config.json", spec.tokenizer_config())
    tok = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    other = sp = None
    if spec.gguf_model != "bert":
        write_gguf(folder / "vocab.gguf", spec)
        other = peer(folder / "vocab.gguf")
    if spec.sp_model:
        sp = spm.SentencePieceProcessor(model_proto=spec.sp_model)
    cases, differ = [], {"llama_cpp": 0, "sentencepiece": 0}
    plain = toks.texts()
    for text in plain + special_texts(spec):
        ids = tok.encode(text, add_special_tokens=False).ids
        case = {
            "text": text, "ids": ids, "ids_special": tok.encode(text).ids,
            "decoded": tok.decode(ids, skip_special_tokens=True), "decoded_all": tok.decode(ids, skip_special_tokens=False),
        }
        for key, seen in (
            ("llama_cpp", other and other.tokenize(text)), ("sentencepiece", sp.encode(text) if sp and text in plain else None),
        ):
            if seen is not None and seen != ids:
                case[f"ids_{key}"] = seen
                differ[key] += 1
        cases.append(case)
    made = {"tokenizers": tokenizers.__version__, "transformers": transformers.__version__}
    if other:
        made["llama-cpp-python"] = md.version("llama-cpp-python")
    if sp:
        made["sentencepiece"] = spm.__version__
    out = {"made_with": made, "vocab_size": tok.get_vocab_size(), "bos": spec.id(spec.bos), "eos": spec.id(spec.eos), "cases": cases}
    if spec.gguf_model != "bert":
        raw = token_bytes(spec)
        out |= {"streams": streams(spec, raw), "token_bytes": [b.hex() for b in raw], "chat": chat(spec)}
    lines = json.dumps(out, ensure_ascii=True, separators=(",", ":"))
    lines = lines.replace('{"text":', '\n{"text":').replace('{"ids":', '\n{"ids":').replace('{"messages":', '\n{"messages":')
    (folder / "expected.json").write_text(lines + "\n", encoding="utf-8")
    print(f"{name}: {len(cases)} cases, {size_of(folder) // 1024} KiB, others differ in {differ}")
    for c in cases:
        for key in ("ids_llama_cpp", "ids_sentencepiece"):
            if key in c:
                print("   ", key, ascii(c["text"]), c["ids"][:12], c[key][:12])


if __name__ == "__main__":
    shutil.rmtree(OUT, ignore_errors=True)
    for name, build in toks.ALL.items():
        make(name, build(800))

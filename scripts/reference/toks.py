"""Builds the small tokenizers of the fixtures. Deterministic: the same text gives the same vocabulary.

Each function returns a `Spec`: the `tokenizers` object, the tokenizer's kind, and what a GGUF file says of it.
"""

import io
import json
from collections import Counter
from dataclasses import dataclass, field

import sentencepiece as spm
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers.pre_tokenizers import ByteLevel

from corpus import TEXTS, TRAINING

# The split patterns are data that files of these families carry in `tokenizer.json`.
LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

# A ChatML template and a header template, written for this project in the shape that models of these families use.
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA3_CHAT = (
    "{{ bos_token }}{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' "
    "+ message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
LLAMA2_CHAT = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] + eos_token }}"
    "{% else %}{{ raise_exception('only user and assistant are supported') }}{% endif %}{% endfor %}"
)


@dataclass
class Spec:
    tok: Tokenizer
    gguf_model: str  # tokenizer.ggml.model
    pre: str | None = None  # tokenizer.ggml.pre
    bos: str | None = None
    eos: str | None = None
    unk: str | None = None
    pad: str | None = None
    add_bos: bool = False
    chat: str | None = None
    scores: list[float] | None = None
    types: list[int] = field(default_factory=list)
    sp_model: bytes | None = None  # the sentencepiece model, for a third opinion

    def id(self, token):
        return None if token is None else self.tok.token_to_id(token)

    def tokens(self):
        return [self.tok.id_to_token(i) for i in range(self.tok.get_vocab_size())]

    def tokenizer_config(self):
        out = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 256, "clean_up_tokenization_spaces": False}
        for key, value in (("bos_token", self.bos), ("eos_token", self.eos), ("unk_token", self.unk), ("pad_token", self.pad)):
            if value is not None:
                out[key] = value
        if self.chat:
            out["chat_template"] = self.chat
        return out


def _byte_level(pre, normalizer, vocab, specials, user_defined=(), ignore_merges=False):
    tok = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if normalizer:
        tok.normalizer = normalizer
    tok.pre_tokenizer = pre
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab - len(specials) - len(user_defined),
        initial_alphabet=sorted(ByteLevel.alphabet()),
        special_tokens=[],
        show_progress=False,
    )
    tok.train_from_iterator(TRAINING, trainer)
    tok.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in specials])
    tok.add_tokens([AddedToken(s, special=False, normalized=False) for s in user_defined])
    size = tok.get_vocab_size()
    n_plain = size - len(specials) - len(user_defined)
    return tok, [NORMAL] * n_plain + [CONTROL] * len(specials) + [USER_DEFINED] * len(user_defined)


def llama3(vocab=320):
    specials = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    pre = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(LLAMA3_SPLIT), "isolated"), ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tok, types = _byte_level(pre, None, vocab, specials, ignore_merges=True)
    bos = specials[0]
    tok.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single=f"{bos} $A", pair=f"{bos} $A {bos} $B:1", special_tokens=[(bos, tok.token_to_id(bos))]
            ),
        ]
    )
    return Spec(tok, "gpt2", "llama-bpe", bos=bos, eos="<|eot_id|>", add_bos=True, chat=LLAMA3_CHAT, types=types)


def qwen2(vocab=320):
    pre = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(QWEN2_SPLIT), "isolated"), ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tok, types = _byte_level(
        pre, normalizers.NFC(), vocab, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], ["<tool_call>", "</tool_call>"]
    )
    tok.post_processor = processors.ByteLevel(trim_offsets=False)
    return Spec(tok, "gpt2", "qwen2", eos="<|im_end|>", pad="<|endoftext|>", chat=CHATML, types=types)


def gpt2(vocab=320):
    tok, types = _byte_level(ByteLevel(add_prefix_space=False, use_regex=True), None, vocab, ["<|endoftext|>"])
    tok.post_processor = processors.ByteLevel(trim_offsets=False)
    end = "<|endoftext|>"
    return Spec(tok, "gpt2", "gpt-2", bos=end, eos=end, unk=end, types=types)


def smollm(vocab=320):
    pre = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), ByteLevel(add_prefix_space=False, use_regex=True)]
    )
    tok, types = _byte_level(pre, None, vocab, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    return Spec(
        tok, "gpt2", "smollm", bos="<|im_start|>", eos="<|im_end|>", unk="<|endoftext|>", pad="<|im_end|>", chat=CHATML, types=types
    )


def spm_llama(vocab=512, ascii_only=False):
    """A SentencePiece BPE model with byte fallback, and the `tokenizer.json` that says the same (llama 2 style)."""
    out = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(line for text in TRAINING for line in text.split("\n") if line and (line.isascii() or not ascii_only)),
        model_writer=out,
        model_type="bpe",
        vocab_size=vocab,
        byte_fallback=True,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        add_dummy_prefix=True,
        character_coverage=0.995,
        hard_vocab_limit=False,
        num_threads=1,
        minloglevel=2,
    )
    sp = spm.SentencePieceProcessor(model_proto=out.getvalue())
    n = sp.get_piece_size()
    pieces = [sp.id_to_piece(i) for i in range(n)]
    scores = [sp.get_score(i) for i in range(n)]
    types = []
    for i in range(n):
        types.append(UNKNOWN if sp.is_unknown(i) else CONTROL if sp.is_control(i) else BYTE if sp.is_byte(i) else NORMAL)
    ids = {p: i for i, p in enumerate(pieces)}
    merges = []
    # Every way to split a piece into two pieces is a merge; the better score of the result comes first.
    for p, i in sorted(((p, i) for p, i in ids.items() if types[i] == NORMAL), key=lambda x: -scores[x[1]]):
        local = [(p[:k], p[k:]) for k in range(1, len(p)) if p[:k] in ids and p[k:] in ids]
        merges += sorted(local, key=lambda ab: (ids[ab[0]], ids[ab[1]]))
    tok = Tokenizer(models.BPE(vocab=ids, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tok.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tok.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tok.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in ("<unk>", "<s>", "</s>")])
    tok.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B:1", special_tokens=[("<s>", ids["<s>"])]
    )
    return Spec(
        tok, "llama", "default", bos="<s>", eos="</s>", unk="<unk>", add_bos=True, chat=LLAMA2_CHAT,
        scores=scores, types=types, sp_model=out.getvalue(),
    )


def wordpiece(vocab=400):
    tok = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
    tok.normalizer = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=True)
    tok.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tok.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    # The library's WordPiece trainer numbers tokens differently at each run, so the vocabulary is counted here:
    # every character alone and as a continuation, then the most frequent pieces of at most six characters.
    count = Counter()
    for text in TRAINING:
        for word, _ in tok.pre_tokenizer.pre_tokenize_str(tok.normalizer.normalize_str(text)):
            for i in range(len(word)):
                for j in range(i + 1, min(i + 6, len(word)) + 1):
                    count[("##" if i else "") + word[i:j]] += 1
    by_count = sorted(count, key=lambda p: (-count[p], p))
    letters = [p for p in by_count if len(p.removeprefix("##")) == 1 and (p.isascii() or count[p] > 1)]
    longer = [p for p in by_count if len(p.removeprefix("##")) > 1]
    pieces = (specials + sorted(letters) + longer)[:vocab]
    tok.model = models.WordPiece(vocab={p: i for i, p in enumerate(pieces)}, unk_token="[UNK]", max_input_chars_per_word=100)
    tok.add_special_tokens([AddedToken(p, special=True, normalized=False) for p in specials])
    cls, sep = tok.token_to_id("[CLS]"), tok.token_to_id("[SEP]")
    tok.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", cls), ("[SEP]", sep)]
    )
    types = [CONTROL if t in specials else NORMAL for t in (tok.id_to_token(i) for i in range(tok.get_vocab_size()))]
    return Spec(tok, "bert", None, unk="[UNK]", pad="[PAD]", types=types)


ALL = {"llama3": llama3, "qwen2": qwen2, "gpt2": gpt2, "smollm": smollm, "spm_llama": spm_llama, "wordpiece": wordpiece}


def compact_json(tok):
    """The tokenizer as JSON on few lines (the library's pretty form is three times as large)."""
    return json.dumps(json.loads(tok.to_str()), ensure_ascii=False, separators=(",", ":")) + "\n"


def texts():
    return list(TEXTS)

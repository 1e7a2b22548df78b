#!/usr/bin/env python3
"""Trains the byte-level BPE tokenizer on a corpus from corpus.py and saves it as a Hugging Face tokenizer.json.

Words are split by the llama-3 rule (`tokenizer.ggml.pre = llama-bpe`). That rule comes with `ignore_merges`: a word that is a token itself
is taken whole, without replaying its merges; both files say so.
"""
import argparse
import json

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

SPECIAL = ["<|bos|>", "<|eos|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
BOS, EOS, SYSTEM, USER, ASSISTANT, END = range(6)
SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CHAT_TEMPLATE = ("{{ bos_token }}{% for message in messages %}{{ '<|' ~ message['role'] ~ '|>' ~ message['content'] ~ '<|end|>' }}{% endfor %}"
                 "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}")


def encode(tok, document):
    """Token ids of one corpus document, from BOS to EOS."""
    ids = [BOS]
    if len(document) == 1:
        ids += tok.encode(document[0], add_special_tokens=False).ids
    else:
        if document[0]:
            ids += [SYSTEM] + tok.encode(document[0], add_special_tokens=False).ids + [END]
        for i, turn in enumerate(document[1:]):
            ids += [ASSISTANT if i % 2 else USER] + tok.encode(turn, add_special_tokens=False).ids + [END]
    return ids + [EOS]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("corpus")
    p.add_argument("--vocab", type=int, default=3072)
    p.add_argument("--out", default="tokenizer.json")
    a = p.parse_args()
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(SPLIT), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=a.vocab, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    with open(a.corpus, encoding="utf-8") as f:
        tok.train_from_iterator((turn for line in f for turn in json.loads(line)), trainer)
    tok.model.ignore_merges = True
    tok.post_processor = processors.TemplateProcessing(single="<|bos|> $A", pair="<|bos|> $A <|bos|> $B", special_tokens=[("<|bos|>", BOS)])
    tok.save(a.out)
    print(f"{a.out}: {tok.get_vocab_size()} tokens")


if __name__ == "__main__":
    main()

"""A small text grammar: `[a|b|c]` picks one, `{name}` fills a slot, both nest.

Slots come from the text's own environment (the hero's name, say) and then from the word lists; `{^name}` capitalises.
After expansion `tidy` mends "a/an" and capital letters, so that templates can stay readable.
"""
import re
from functools import lru_cache

TOKEN = re.compile(r"([\[\]|]|\{\^?\w+\})")


@lru_cache(maxsize=None)
def parse(template):
    """A template as a tuple of parts: text, ("slot", name, capitalise) or a list of alternatives."""
    tokens = [t for t in TOKEN.split(template) if t]
    pos = 0

    def sequence(depth):
        nonlocal pos
        alternatives, parts = [], []
        while pos < len(tokens):
            t = tokens[pos]
            pos += 1
            if t == "[":
                parts.append(sequence(depth + 1))
            elif t == "|" and depth:
                alternatives.append(tuple(parts))
                parts = []
            elif t == "]":
                if not depth:
                    raise ValueError(f"stray ] in {template!r}")
                return alternatives + [tuple(parts)]
            elif t[0] == "{":
                parts.append(("slot", t.strip("{}^"), t[1] == "^"))
            else:
                parts.append(t)
        if depth:
            raise ValueError(f"missing ] in {template!r}")
        return tuple(parts)

    return sequence(0)


def expand(template, rng, env, lists):
    out = []

    def walk(parts):
        for p in parts:
            if isinstance(p, str):
                out.append(p)
            elif isinstance(p, list):
                walk(p[int(rng.random() * len(p))])
            else:
                value = env.get(p[1])
                if value is None:
                    words = lists[p[1]]
                    value = words[int(rng.random() * len(words))]
                if "[" in value or "{" in value:
                    value = expand(value, rng, env, lists)
                out.append(value[:1].upper() + value[1:] if p[2] else value)

    walk(parse(template))
    return "".join(out)


ARTICLE = re.compile(r"\b([Aa]) (?=[aeiouAEIOU])(?!(?:one|once|unicorn|uniform|unit|use|useful|usual|university|European|user)\b)")
HOUR = re.compile(r"\b([Aa]) (?=(?:hour|honest|honou?r)\b)")
SENTENCE = re.compile(r"(^|[.!?] |\n)([a-z])")


def tidy(text):
    text = HOUR.sub(r"\1n ", ARTICLE.sub(r"\1n ", re.sub(r"  +", " ", text)))
    text = text.replace(" ,", ",").replace(" .", ".")
    return SENTENCE.sub(lambda m: m.group(1) + m.group(2).upper(), text).strip()

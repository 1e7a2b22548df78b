#!/usr/bin/env python3
"""Writes the training text: one document a line, as JSON lists.

A document is a list of turns: ["text"] for plain prose, or ["", user, assistant, user, assistant, …] for a conversation (its first item
is the system line, which is mostly empty). Everything is made from the templates in this folder, which were written for this project (MIT).
"""
import argparse
import json
import multiprocessing as mp
import random

from facts import FACTS, GROUPS, QA, STEPS
from grammar import expand, tidy
from stories import KINDS, story
import talk
from words import ANIMALS, LISTS, Cast


def say(template, rng, env={}):
    return tidy(expand(template, rng, env, LISTS))


def name_of(names, rng):
    plural = [n[1:] for n in names if n[0] == "*"]
    single = [n for n in names if n[0] != "*"]
    return (rng.choice(plural), True) if plural and rng.random() < .3 else (rng.choice(single), False)


def fact(rng, few=None):
    names, first, more = rng.choice(FACTS)
    names = names.split("|")
    name, plural = name_of(names, rng)
    keep = sorted(rng.sample(range(len(more)), min(len(more), few if few is not None else rng.randint(1, len(more)))))
    answer = say(" ".join([first] + [more[i] for i in keep]), rng)
    be = "are" if plural else "is"
    bare = name.split(" ", 1)[1] if name.startswith(("a ", "an ", "the ")) else name
    ask = rng.choice([f"What {be} {name}?"] * 4 + [f"Tell me about {bare if plural else name}.", f"Explain what {name} {be}.", f"What do you know about {name}?", f"Can you explain what {name} {be}?",
                     f"What {be} {name}", f"what {be} {name}?", f"Explain {name}.", f"Please explain {name} in simple words.", f"Do you know what {name} {be}?", f"Describe {name}.", f"Tell me something about {name}."])
    return ask, answer, name


def qa(rng):
    questions, answers = rng.choice(QA[:3] if rng.random() < .15 else QA)
    return rng.choice(questions), say(rng.choice(answers), rng)


def steps(rng):
    names, lines = rng.choice(STEPS)
    name = rng.choice(names.split("|"))
    ask = rng.choice([f"How do I {name}?", f"How can I {name}?", f"How to {name}?", f"Tell me how to {name}.", f"Explain how to {name}.", f"Give me the steps to {name}."])
    if rng.random() < .6:
        return ask, rng.choice([f"Here is how to {name}:\n", f"To {name}, follow these steps:\n", ""]) + "\n".join(f"{i + 1}. {s}" for i, s in enumerate(lines))
    glue = ["First, ", "Then ", "After that, ", "Next, ", "Then ", "Next, "]
    return ask, " ".join((glue[i] if i < len(lines) - 1 else "Finally, ") + s[0].lower() + s[1:] for i, s in enumerate(lines))


def listing(rng):
    group = rng.choice(list(GROUPS))
    n = rng.randint(2, min(7, len(GROUPS[group])))
    word = ["two", "three", "four", "five", "six", "seven"][n - 2]
    items = rng.sample(GROUPS[group], n)
    ask = rng.choice([f"Name {word} {group}.", f"List {word} {group}.", f"Give me a list of {word} {group}.", f"Can you name {word} {group}?", f"Tell me {word} {group}.", f"Write a list of {word} {group}."])
    if rng.random() < .5:
        return ask, rng.choice([f"Here are {word} {group}:\n", ""]) + "\n".join(f"{i + 1}. {x[0].upper() + x[1:]}" for i, x in enumerate(items))
    return ask, rng.choice([f"Here are {word} {group}: ", f"{word.capitalize()} {group} are "]) + ", ".join(items[:-1]) + " and " + items[-1] + "."


def poem(rng):
    key = rng.choice(list(talk.POEMS))
    themes = key.split("|")
    theme = rng.choice(themes)
    lines = rng.sample(talk.POEMS[key], rng.randint(2, min(5, len(talk.POEMS[key]))))
    gap = rng.choice(["\n", "\n", "\n\n"])
    text = gap.join("\n".join(x[0].upper() + x[1:] for x in c.split("|")) for c in lines)
    title = ""
    if rng.random() < .3:
        bare = theme.split(" ", 1)[1] if theme.startswith(("a ", "the ", "my ")) else theme
        text = rng.choice(talk.TITLES).replace("{T}", bare.title()) + "\n\n" + text
    ask = rng.choice(["Write a short poem about {}.", "Write a poem about {}.", "Write me a poem about {}.", "Can you write a poem about {}?", "A poem about {}, please.", "Tell me a poem about {}.", "Please write a little poem about {}.", "I would like a poem about {}."])
    if rng.random() < .06:
        return rng.choice(["Write a poem.", "Tell me a poem.", "Write a short poem.", "Can you write a poem?"]), text
    return ask.format(theme), text


def tale(rng):
    kind = rng.choice(KINDS) if rng.random() < .8 else None
    text, kind, about, env = story(rng, LISTS, kind)
    x = rng.random()
    who = "a " + kind
    if x < .5:
        about_what = who
    elif x < .7:
        about_what = about if about.startswith(("a ", "the ")) or about.split()[0].endswith("ing") or " " not in about else about
    elif x < .8:
        about_what = f"{who} and a {env['Fkind']}"
    elif x < .88:
        about_what = f"a {env['Hfull']}" + (f" named {env['Hn']}" if env["Hn"] in text else "")
    elif x < .94:
        about_what = f"{who} in {env['place']}"
    else:
        return rng.choice(["Tell me a story.", "Tell me a short story.", "Can you tell me a story?", "I would like to hear a story.", "Write a story.", "Tell me a bedtime story.", "Story please."]), text
    ask = rng.choice(["Tell me a story about {}.", "Tell me a story about {}.", "Tell a story about {}.", "Write a story about {}.", "Write a short story about {}.", "Can you tell me a story about {}?", "I would like a story about {}.", "Please tell me a short story about {}.", "Make up a story about {}.", "tell me a story about {}"])
    return tidy(ask.format(about_what)), text


def scene(rng):
    env = Cast(rng).env
    parts = [rng.choice(s) for s in talk.SCENE]
    keep = [parts[0]] + [p for p in parts[1:-1] if rng.random() < .8] + [parts[-1]]
    return say(" ".join(keep), rng, env)


def diary(rng):
    cast = Cast(rng, rng.choice(["girl", "boy"]), rng.choice(["girl", "boy"]))
    env = dict(cast.env, Hn=cast.env["Hname"] or "Sam", fn=cast.env["Fname"] or "Mia", animal=rng.choice(ANIMALS))
    parts = [rng.choice(s) for s in talk.DIARY]
    if "Dear {fn}" in parts[0]:
        parts[4] = talk.DIARY[4][2]
    elif parts[4].startswith("Please"):
        parts[4] = talk.DIARY[4][0]
    return say(" ".join(p for i, p in enumerate(parts) if i in (0, 4) or rng.random() < .85), rng, env)


def essay(rng):
    title, parts = rng.choice(talk.ESSAY)
    body = say(" ".join(parts), rng)
    return rng.choice([f"Write a short text about {title[0].lower() + title[1:]}.", f"Tell me about {title[0].lower() + title[1:]}.", f"{title}"]), body


def small(rng):
    x = rng.random()
    if x < .4:
        return rng.choice(talk.HELLO), say(rng.choice(talk.HELLO_A), rng)
    if x < .55:
        return rng.choice(talk.WHO), say(rng.choice(talk.WHO_A), rng)
    if x < .65:
        return rng.choice(talk.CAN), say(rng.choice(talk.CAN_A), rng)
    if x < .75:
        q, a = rng.choice(talk.JOKES)
        return rng.choice(["Tell me a joke.", "Do you know a joke?", "Make me laugh.", "A joke, please."]), f"{q} {a}"
    if x < .87:
        thing, answers = rng.choice(talk.FAV)
        return rng.choice([f"What is your favorite {thing}?", f"Do you have a favorite {thing}?"]), f"I think I like {rng.choice(answers)}."
    return rng.choice(talk.UNKNOWN), say(rng.choice(talk.UNKNOWN_A), rng)


PAIRS = [(tale, .40), (fact, .20), (qa, .08), (poem, .08), (steps, .03), (listing, .05), (small, .09), (talk.arithmetic, .05), (essay, .02)]


def pair(rng):
    f = rng.choices([p[0] for p in PAIRS], [p[1] for p in PAIRS])[0]
    return f(rng)[:2]


def chat(rng):
    turns = [rng.choice(["You are a helpful assistant.", "You are a friendly story teller.", "Answer in simple words."]) if rng.random() < .1 else ""]
    n = rng.choice([1, 1, 1, 1, 1, 2, 2, 3])
    if n > 1 and rng.random() < .4:
        turns += [rng.choice(talk.HELLO), say(rng.choice(talk.HELLO_A), rng)]
    for _ in range(n):
        q, a = pair(rng)
        turns += [q, a]
        if n > 1 and rng.random() < .3:
            turns += [rng.choice(talk.THANKS), say(rng.choice(talk.THANKS_A), rng)]
    if n > 1 and rng.random() < .3:
        turns += [rng.choice(talk.BYE), say(rng.choice(talk.BYE_A), rng)]
    return turns


def document(rng):
    x = rng.random()
    if x < .40:
        return chat(rng)
    if x < .72:
        text = story(rng, LISTS, rng.choice(KINDS) if rng.random() < .3 else None)[0]
        if rng.random() < .08:
            title = rng.choice(["The Story of the Day", "A Good Day", "A Small Adventure", "Story Time"])
            text = title + "\n\n" + text
        return [text]
    if x < .77:
        return [" ".join(dict.fromkeys([fact(rng)[1]] + ([fact(rng)[1]] if rng.random() < .3 else [])))]
    if x < .90:                                   # a request and its answer without chat tokens
        q, a = pair(rng)
        return [rng.choice([q + "\n" + a, q + "\n\n" + a, q + " " + a, f"Question: {q}\nAnswer: {a}", f"Q: {q}\nA: {a}"])]
    if x < .93:
        return [scene(rng)]
    if x < .96:
        return [diary(rng)]
    if x < .98:
        return [poem(rng)[1]]
    q, a = essay(rng)
    return [rng.choice([a, q + "\n\n" + a if not q.endswith(".") else a])]


def shard(job):
    seed, count = job
    rng = random.Random(seed)
    return [json.dumps(document(rng), ensure_ascii=False) for _ in range(count)]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--documents", type=int, default=600_000)
    p.add_argument("--seed", type=int, default=1, help="another seed gives other documents; the held-out set uses its own")
    p.add_argument("--workers", type=int, default=mp.cpu_count())
    p.add_argument("--out", default="corpus.jsonl")
    a = p.parse_args()
    per = 1000
    jobs = [(a.seed * 1_000_003 + i, min(per, a.documents - i * per)) for i in range((a.documents + per - 1) // per)]
    with open(a.out, "w", encoding="utf-8") as f, mp.Pool(a.workers) as pool:
        for lines in pool.imap(shard, jobs):
            f.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

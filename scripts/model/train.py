#!/usr/bin/env python3
"""Trains the small model that ships with Cogniware.

The steps, from an empty folder (pip install -r requirements.txt):
  1. python corpus.py --documents 60000 --out tok.jsonl        text for the tokenizer
  2. python tokenizer.py tok.jsonl --out tokenizer.json        byte-level BPE, 3072 tokens
  3. python train.py --seconds 300 --compile                   writes its own documents, trains for so long, saves model.pt
  4. python export.py model.pt tokenizer.json --out cogniware-small.gguf
  5. python check.py cogniware-small.gguf cogniware-small.tokenizer.json --model model.pt --sample 200

The learning rate follows the clock: it warms up and then falls to zero when the time is over, so any budget gives a finished model.
One GPU with bf16 is expected; it also runs on a CPU, for a trial: --rows 2 --documents 2000 --layers 2.
"""
import argparse
import json
import math
import multiprocessing as mp
import random
import time

import numpy as np

from corpus import document
from tokenizer import ASSISTANT, BOS, END, EOS, SYSTEM, USER, encode

PROMPTS = ["", "Once upon a time", "The little robot", "The sun rose over the village", "What is a GPU?", "Tell me a story about a fox.", "Hello!", "My name is"]
CHATS = ["Tell me a story about a fox.", "What is a GPU?", "Explain how several models can share one device.", "Write a short poem about the sea.", "Hello!", "What is 7 + 5?", "Name five animals.",
         "Tell me a story about a brave little snail.", "How do I make tea?", "Who are you?"]
_tok = None


def rows(job):
    """Packed rows of context+1 ids; each begins with a document, the last one in a row is cut."""
    seed, count, path, context = job
    global _tok
    if _tok is None:
        from tokenizers import Tokenizer
        _tok = Tokenizer.from_file(path)
    rng, out, row = random.Random(seed), [], []
    for _ in range(count):
        row += encode(_tok, document(rng))
        if len(row) > context:
            out.append(row[:context + 1])
            row = []
    return np.array(out, dtype=np.uint16).reshape(-1, context + 1)


def orthogonal(g):
    """The nearest matrix with all singular values about 1 to each matrix of a stack, by five Newton-Schulz steps (the Muon update)."""
    x = g.bfloat16()
    wide = x.shape[-2] > x.shape[-1]
    x = x.mT if wide else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        y = x @ x.mT
        x = 3.4445 * x + (-4.7750 * y + 2.0315 * y @ y) @ x
    return (x.mT if wide else x).float()


class Muon:
    """Momentum whose step is made orthogonal, for the matrices inside the layers; equal shapes are done together."""

    def __init__(self, weights, momentum=0.95, decay=0.01):
        self.groups = {}
        for w in weights:
            self.groups.setdefault(tuple(w.shape), []).append(w)
        self.state = {s: 0.0 for s in self.groups}
        self.momentum, self.decay = momentum, decay

    def step(self, lr):
        import torch
        with torch.no_grad():
            for shape, ws in self.groups.items():
                g = torch.stack([w.grad for w in ws])
                m = self.state[shape] = self.momentum * self.state[shape] + (1 - self.momentum) * g
                u = orthogonal((1 - self.momentum) * g + self.momentum * m) * max(1, shape[0] / shape[1]) ** 0.5
                torch._foreach_mul_(ws, 1 - lr * self.decay)
                torch._foreach_add_(ws, list(u.unbind()), alpha=-lr)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--tokenizer", default="tokenizer.json")
    p.add_argument("--documents", type=int, default=2_000_000)
    p.add_argument("--seconds", type=float, default=300)
    p.add_argument("--until", type=float, default=0, help="end training at this time (seconds since 1970) if that is earlier")
    p.add_argument("--rows", type=int, default=64, help="rows of 1024 tokens in a batch")
    p.add_argument("--lr", type=float, default=2.5e-3, help="AdamW, for the embedding and the norms")
    p.add_argument("--muon-lr", type=float, default=0.02, help="for the matrices inside the layers; 0 uses AdamW for all")
    p.add_argument("--layers", type=int, default=8)
    p.add_argument("--compile", action="store_true", help="twice the speed after about a minute")
    p.add_argument("--workers", type=int, default=mp.cpu_count())
    p.add_argument("--out", default="model.pt", help="weights, f16")
    p.add_argument("--samples", type=int, default=200, help="length of the samples, 0 for none")
    a = p.parse_args()
    start = time.time()

    def log(*x):
        print(f"[{time.time() - start:6.1f} s]", *x, flush=True)

    context, per = 1024, 1000
    pool = mp.Pool(a.workers)                       # before the first CUDA call
    pending = pool.map_async(rows, [(i + 1, per, a.tokenizer, context) for i in range(max(1, a.documents // per))], chunksize=1)

    import torch
    import torch.nn.functional as F
    from model import Config, Llama, generate
    torch.manual_seed(1)
    torch.set_float32_matmul_precision("high")
    dev = "cuda" if torch.cuda.is_available() else "cpu"
    with open(a.tokenizer, encoding="utf-8") as f:
        c = Config(vocab=len(json.load(f)["model"]["vocab"]), layers=a.layers)
    model = Llama(c).to(dev)
    count = sum(w.numel() for w in model.parameters())
    log(f"{count:,} weights, {torch.cuda.get_device_name() if dev == 'cuda' else 'CPU'}")
    inner = [w for name, w in model.named_parameters() if w.ndim == 2 and a.muon_lr and not name.startswith("embed")]
    rest = [w for w in model.parameters() if not any(w is v for v in inner)]
    muon, adam = Muon(inner), torch.optim.AdamW(rest, lr=a.lr, betas=(0.9, 0.95), weight_decay=0.01, fused=dev == "cuda")

    def loss_of(x):
        ids, target = x[:, :-1], x[:, 1:].clone()
        # who speaks next is given, never guessed: a text that starts from nothing shall not start with a user's turn
        target[(target == USER) | (target == SYSTEM) | (target == ASSISTANT) | (target == BOS)] = -100
        with torch.autocast(dev, torch.bfloat16):
            logits = model(ids)
        return F.cross_entropy(logits.float().flatten(0, 1), target.flatten(), ignore_index=-100)

    def save(**info):
        torch.save({"config": vars(c), "state": {k: v.half() for k, v in model.state_dict().items()}, "info": info}, a.out)

    step_loss = torch.compile(loss_of) if a.compile else loss_of
    held = torch.from_numpy(rows((999_999_937, 3000, a.tokenizer, context)).astype(np.int64))
    step_loss(held[:1].repeat(a.rows, 1).to(dev)).backward()
    muon.step(0.0)
    model.zero_grad(set_to_none=True)
    log("first step done")
    data = torch.from_numpy(np.concatenate(pending.get()).astype(np.int16)).to(dev)
    pool.terminate()
    log(f"{data.shape[0]:,} rows, {data.numel() / 1e6:.0f} M tokens")

    begin, step, saved, shown, order = time.time(), 0, time.time(), time.time(), None
    left = a.until - begin
    seconds = min(a.seconds, max(left, 1)) if abs(left) < 3600 else a.seconds
    batches = max(1, len(data) // a.rows)
    while True:
        done = (time.time() - begin) / seconds
        if done >= 1:
            break
        if step % batches == 0:
            order = torch.randperm(len(data), device=dev)
        i = step % batches * a.rows
        scale = min(1, (step + 1) / 100) * min(1, (1 - done) / 0.7)     # warm up, hold, then fall to zero
        loss = step_loss(data[order[i:i + a.rows]].long())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(rest, 1.0)
        if inner:
            muon.step(a.muon_lr * scale)
        adam.param_groups[0]["lr"] = a.lr * scale
        adam.step()
        model.zero_grad(set_to_none=True)
        step += 1
        if step % 10 == 0:
            last = loss.item()                      # waits for the device, which keeps the clock honest
            if time.time() - shown > 5:
                shown = time.time()
                log(f"step {step} epoch {step / batches:.2f} rate {scale:.2f} loss {last:.4f} tokens/s {step * a.rows * context / (shown - begin):,.0f}")
            if time.time() - saved > 30:
                saved = time.time()
                save()
    save()
    spent = time.time() - begin
    log(f"{step} steps in {spent:.1f} s")
    with torch.no_grad():
        final = float(np.mean([loss_of(x.to(dev)).item() for x in held.split(16)]))
    info = {"weights": count, "steps": step, "rows": a.rows, "tokens_seen": step * a.rows * context, "training_tokens": data.numel(), "held_out_tokens": held.numel(),
            "held_out_loss": final, "held_out_perplexity": math.exp(final), "seconds": spent, "device": torch.cuda.get_device_name() if dev == "cuda" else "CPU"}
    save(**info)
    log(json.dumps(info))
    if not a.samples:
        return

    from tokenizers import Tokenizer
    tok = Tokenizer.from_file(a.tokenizer)
    for temperature in (0, 0.7):
        for text, chat in [(t, False) for t in PROMPTS] + [(t, True) for t in CHATS]:
            ids = tok.encode(text, add_special_tokens=False).ids
            ids = [BOS] + ([USER] + ids + [END, ASSISTANT] if chat else ids)
            out = generate(model, ids, a.samples, temperature, {EOS, END}, seed=7)
            log(f"T={temperature} {'chat ' if chat else ''}{text!r}\n    {tok.decode(out, skip_special_tokens=False)}")


if __name__ == "__main__":
    main()

"""What the fixture scripts share: where results go, weights that give lively logits, reference runs."""

import json
import pathlib

import numpy as np
import torch
from safetensors.numpy import save_file
from transformers.utils.logging import disable_progress_bar

ROOT = pathlib.Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests" / "fixtures"

disable_progress_bar()
torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)


def fill(model, seed, logit_std=2.0):
    """Overwrites every parameter with seeded random values scaled so that each layer matters.

    A fresh model's weights (std 0.02) give logits near zero and attention near uniform, which would hide wrong rotary
    angles or masks. Here matrices have std 1/sqrt(fan_in) (queries and keys more, so attention is peaked), and the output
    matrix gives logits of about `logit_std`.
    """
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            if p.dim() == 1:
                norm = "norm" in name.lower()
                values = rng.normal(1.0 if norm and name.endswith("weight") else 0.0, 0.2, p.shape)
            elif "embed" in name:
                values = rng.normal(0.0, 1.0, p.shape)
            else:
                gain = 1.6 if any(k in name for k in ("q_proj", "k_proj", "query", "key")) else 1.0
                values = rng.normal(0.0, gain / np.sqrt(p.shape[1]), p.shape)
            p.copy_(torch.from_numpy(values.astype(np.float32)))
        out = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
        if out is not None:
            probe = torch.arange(2, 26)[None] % model.config.vocab_size
            std = float(model(probe).logits.std())
            out.weight.mul_(logit_std / std)  # for tied embeddings this scales the input too; the norms absorb most of it
    return model.eval()


def run(model, ids, n_greedy=16):
    """Logits [n, vocab] of every position, and the ids of `n_greedy` greedy steps after `ids`, without a cache.

    Greedy steps must not be near ties, or a correct engine could differ: the smallest lead of best over second is returned.
    """
    ids = [int(i) for i in ids]
    with torch.no_grad():
        logits = model(torch.tensor([ids]), use_cache=False).logits[0].float().numpy()
        seq, lead = list(ids), np.inf
        for _ in range(n_greedy):
            last = model(torch.tensor([seq]), use_cache=False).logits[0, -1].float().numpy()
            top = np.sort(last)[-2:]
            lead = min(lead, float(top[1] - top[0]))
            seq.append(int(last.argmax()))
    return np.ascontiguousarray(logits), seq[len(ids) :], lead


def pick_input(model, vocab, n, seed, min_lead=0.05, low=3):
    """The first seeded random input whose greedy continuation has no near tie."""
    for s in range(seed, seed + 200):
        ids = np.random.default_rng(s).integers(low, vocab, n)
        logits, greedy, lead = run(model, ids)
        if lead >= min_lead and len(set(greedy)) > 3:
            return ids, logits, greedy, lead
    raise SystemExit("no input without near ties found")


def save_expected(path, ids, logits, greedy, **more):
    save_file(
        {
            "input_ids": np.asarray(ids, np.int32),
            "logits": np.ascontiguousarray(logits, dtype=np.float32),
            "greedy_ids": np.asarray(greedy, np.int32),
            **more,
        },
        path,
    )


def write_json(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def size_of(path):
    return sum(f.stat().st_size for f in path.rglob("*") if f.is_file()) if path.is_dir() else path.stat().st_size

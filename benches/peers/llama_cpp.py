"""llama.cpp (through llama-cpp-python) as the peer: speed on one GGUF file, or its logits, text and tokens for checks.

    python benches/peers/llama_cpp.py --model F --threads N --tokens T [--prompt-tokens P] [--runs R] [--json]
    python benches/peers/llama_cpp.py --model F --tokenize TEXT
    python benches/peers/llama_cpp.py --model F --ids 1,5,7 --greedy 16 [--logits out.npy]
    python benches/peers/llama_cpp.py --model F --check expected.safetensors [--kv f32]

Install: pip install cmake ninja scikit-build-core gguf && pip install --no-binary llama-cpp-python llama-cpp-python==0.3.36
(its default build uses this machine's instructions: look for AVX512_VNNI in `system`).

Speed: after one warm-up, `--runs` runs; each evaluates P prompt tokens in one batch, then T tokens one at a time (greedy,
through the C calls, so that no Python sampler is measured). The median of the runs is reported. `weight_bytes_per_second` is
decode tokens/s times the bytes of all tensors that one token reads (the embedding table counts only when it is also the output).
"""

import argparse
import ctypes
import json
import os
import statistics
import sys
import time

sys.path.pop(0)  # this file has the package's name; look for the package elsewhere
import llama_cpp as L  # noqa: E402
import numpy as np  # noqa: E402


class Engine:
    def __init__(self, path, threads, n_ctx, batch, kv="f16", flash=True, vocab_only=False, repack=True):
        self._log = L.llama_log_callback(lambda level, text, data: None)
        L.llama_log_set(self._log, ctypes.c_void_p(0))
        L.llama_backend_init()
        mp = L.llama_model_default_params()
        mp.n_gpu_layers, mp.vocab_only = 0, vocab_only
        mp.use_extra_bufts = repack  # kernels over weights repacked at load
        start = time.perf_counter()
        self.model = L.llama_model_load_from_file(os.fsencode(path), mp)
        self.load_seconds = time.perf_counter() - start
        if not self.model:
            raise SystemExit(f"llama.cpp cannot load {path}")
        self.vocab = L.llama_model_get_vocab(self.model)
        self.n_vocab = L.llama_vocab_n_tokens(self.vocab)
        self.ctx = None
        if vocab_only:
            return
        cp = L.llama_context_default_params()
        cp.n_ctx, cp.n_batch, cp.n_ubatch = n_ctx, batch, min(batch, 512)
        cp.n_threads = cp.n_threads_batch = threads
        cp.type_k = cp.type_v = {"f16": 1, "f32": 0}[kv]
        cp.flash_attn_type = -1 if flash else 0  # -1: it chooses
        self.ctx = L.llama_init_from_model(self.model, cp)
        if not self.ctx:
            raise SystemExit("llama.cpp cannot create a context")

    def clear(self):
        L.llama_memory_clear(L.llama_get_memory(self.ctx), True)

    def decode(self, ids, all_logits=False):
        """Evaluates `ids` after what is already in the cache; returns logits of the last (or every) position."""
        n = len(ids)
        batch = L.llama_batch_init(n, 0, 1)
        past = L.llama_memory_seq_pos_max(L.llama_get_memory(self.ctx), 0) + 1
        for i, t in enumerate(ids):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0] = int(t), past + i, 1, 0
            batch.logits[i] = 1 if all_logits or i == n - 1 else 0
        batch.n_tokens = n
        rc = L.llama_decode(self.ctx, batch)
        L.llama_batch_free(batch)
        if rc != 0:
            raise SystemExit(f"llama_decode answered {rc}")
        rows = range(n) if all_logits else (n - 1,)
        return np.stack([np.ctypeslib.as_array(L.llama_get_logits_ith(self.ctx, i), (self.n_vocab,)).copy() for i in rows])

    def greedy(self, ids, n):
        self.clear()
        out, logits = [], self.decode(ids)[0]
        for _ in range(n):
            out.append(int(logits.argmax()))
            logits = self.decode(out[-1:])[0]
        return out

    def tokenize(self, text, special=False, parse_special=True):
        data = text.encode("utf-8")
        room = len(data) + 16
        buf = (L.llama_token * room)()
        n = L.llama_tokenize(self.vocab, data, len(data), buf, room, special, parse_special)
        return list(buf[:n])

    def piece(self, token, special=True):
        buf = ctypes.create_string_buffer(256)
        n = L.llama_token_to_piece(self.vocab, token, buf, 256, 0, special)
        return buf.raw[:n]


def weight_bytes(path):
    """Bytes of the tensors that decoding one token reads."""
    from gguf import GGUFReader

    tensors = {t.name: int(t.n_bytes) for t in GGUFReader(path).tensors}
    if "output.weight" in tensors:
        tensors.pop("token_embd.weight", None)
    return sum(tensors.values())


def bench(a):
    e = Engine(a.model, a.threads, max(512, a.prompt_tokens + a.tokens + 8), max(a.prompt_tokens, 32), a.kv, repack=not a.no_repack)
    rng = np.random.default_rng(0)
    prompt = rng.integers(3, e.n_vocab, max(a.prompt_tokens, 1))
    decode, prefill, steps = [], [], []
    for r in range(a.runs + 1):
        e.clear()
        t0 = time.perf_counter()
        token = int(e.decode(prompt)[0].argmax())
        t1 = time.perf_counter()
        laps = []
        for _ in range(a.tokens if r else min(a.tokens, 4)):
            lap = time.perf_counter()
            batch = L.llama_batch_get_one(ctypes.pointer(L.llama_token(token)), 1)
            if L.llama_decode(e.ctx, batch) != 0:
                raise SystemExit("llama_decode failed")
            token = int(np.ctypeslib.as_array(L.llama_get_logits_ith(e.ctx, -1), (e.n_vocab,)).argmax())
            laps.append(time.perf_counter() - lap)
        if r:
            decode.append(a.tokens / sum(laps))
            prefill.append(len(prompt) / (t1 - t0))
            steps += laps
    bytes_ = weight_bytes(a.model)
    rate = statistics.median(decode)
    out = {
        "peer": f"llama-cpp-python {L.__version__}", "system": L.llama_print_system_info().decode().strip(),
        "model": os.path.basename(a.model), "threads": a.threads, "runs": a.runs, "tokens": a.tokens, "repack": not a.no_repack,
        "decode_tokens_per_second": round(rate, 3), "decode_runs": [round(x, 3) for x in decode],
        "step_ms_median": round(statistics.median(steps) * 1e3, 3),
        "step_ms_p99": round(sorted(steps)[max(0, int(len(steps) * 0.99) - 1)] * 1e3, 3),
        "prompt_tokens": len(prompt), "prefill_tokens_per_second": round(statistics.median(prefill), 3),
        "weight_bytes": bytes_, "weight_bytes_per_second": round(rate * bytes_), "load_seconds": round(e.load_seconds, 3),
    }
    if a.json:
        print(json.dumps(out))
    else:
        for k, v in out.items():
            print(f"{k:28} {v}")


def check(a):
    from safetensors.numpy import load_file

    want = load_file(a.check)
    e = Engine(a.model, a.threads, 512, 512, a.kv, flash=False, repack=not a.no_repack)
    logits = e.decode(want["input_ids"], all_logits=True)
    diff = np.abs(logits - want["logits"])
    greedy = e.greedy(want["input_ids"], len(want["greedy_ids"]))
    print(
        f"{os.path.basename(a.model)}: max |difference| {diff.max():.5f}, mean {diff.mean():.6f}, "
        f"argmax equal {np.mean(logits.argmax(1) == want['logits'].argmax(1)):.3f}, "
        f"greedy {'equal' if greedy == want['greedy_ids'].tolist() else 'differs'}"
    )


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", required=True)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--tokens", type=int, default=32)
    p.add_argument("--prompt-tokens", type=int, default=16)
    p.add_argument("--runs", type=int, default=3)
    p.add_argument("--kv", choices=("f16", "f32"), default="f16")
    p.add_argument("--no-repack", action="store_true", help="use the kernels over the file's own layout")
    p.add_argument("--json", action="store_true")
    p.add_argument("--tokenize", metavar="TEXT")
    p.add_argument("--ids", metavar="1,2,3")
    p.add_argument("--greedy", type=int, metavar="N", default=0)
    p.add_argument("--logits", metavar="OUT.npy")
    p.add_argument("--check", metavar="EXPECTED.safetensors")
    a = p.parse_args()
    if a.tokenize is not None:
        e = Engine(a.model, 1, 0, 0, vocab_only=True)
        ids = e.tokenize(a.tokenize, special=True)
        print(json.dumps({"ids": ids, "pieces": [e.piece(t).decode("utf-8", "replace") for t in ids]}, ensure_ascii=False))
    elif a.ids:
        ids = [int(x) for x in a.ids.split(",")]
        e = Engine(a.model, a.threads, len(ids) + a.greedy + 8, max(len(ids), 32), a.kv, flash=False)
        if a.logits:
            np.save(a.logits, e.decode(ids, all_logits=True))
        if a.greedy:
            out = e.greedy(ids, a.greedy)
            print(json.dumps({"ids": out, "text": b"".join(e.piece(t) for t in out).decode("utf-8", "replace")}, ensure_ascii=False))
    elif a.check:
        check(a)
    else:
        bench(a)


if __name__ == "__main__":
    main()

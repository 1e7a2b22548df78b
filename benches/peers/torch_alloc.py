"""PyTorch's caching allocator beside `cargo bench --bench alloc -- --device cuda`: nanoseconds for an allocation and its
release, as `torch.empty` (with the tensor around it) and as the allocator's own two calls."""
import statistics
import time

import torch


def measure(what, pair, times=20_000, rounds=11):
    pair()
    took = []
    for _ in range(rounds):
        begun = time.perf_counter()
        for _ in range(times):
            pair()
        took.append((time.perf_counter() - begun) / times * 1e9)
    print(f"{what:<56} wall {statistics.median(took):6.1f} ns")


if __name__ == "__main__":
    for size in (4096, 2 << 20):
        measure(f"torch.empty of {size} bytes, dropped", lambda: torch.empty(size, dtype=torch.uint8, device="cuda"))

        def pair():
            torch.cuda.caching_allocator_delete(torch.cuda.caching_allocator_alloc(size))

        measure(f"torch.cuda.caching_allocator_alloc + delete of {size}", pair)

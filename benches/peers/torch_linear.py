"""PyTorch's bf16 products (and those of 8-bit integers) with the projections of the BitNet 2B shape: 30 layers with weights of
their own, as one CUDA graph.

    python3 benches/peers/torch_linear.py [--rows 1,2,4,8,16,64,512]

The peer of `cargo bench --bench lowbit -- --device cuda`. Median of 50 replays between events.
"""

import statistics
import sys

import torch

SHAPES = [(3840, 2560), (2560, 2560), (13824, 2560), (2560, 6912)]
LAYERS = 30


def graph_ms(run):
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    times = []
    for _ in range(55):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times[5:])


def main():
    rows = sys.argv[sys.argv.index("--rows") + 1] if "--rows" in sys.argv else "1,2,4,8,16,64,512"
    weights = [[torch.randn(n, k, device="cuda", dtype=torch.bfloat16) for n, k in SHAPES] for _ in range(LAYERS)]
    bytes_wide = sum(w.numel() * 2 for layer in weights for w in layer)
    print(f"# PyTorch {torch.__version__}, {torch.cuda.get_device_name()}")
    print(f"{'rows':>5} {'bf16 ms':>10} {'GB/s':>8} {'int8 ms':>10}")
    whole = [[torch.randint(-1, 2, (n, k), device="cuda", dtype=torch.int8) for n, k in SHAPES] for _ in range(LAYERS)]
    for m in map(int, rows.split(",")):
        x = {k: torch.randn(m, k, device="cuda", dtype=torch.bfloat16) for _, k in SHAPES}
        bf16 = graph_ms(lambda: [x[w.shape[1]] @ w.t() for layer in weights for w in layer])
        int8 = "-"
        if m > 16:  # the least that torch._int_mm takes is 17
            y = {k: torch.randint(-128, 128, (m, k), device="cuda", dtype=torch.int8) for _, k in SHAPES}
            int8 = f"{graph_ms(lambda: [torch._int_mm(y[w.shape[1]], w.t()) for layer in whole for w in layer]):.3f}"
        print(f"{m:>5} {bf16:>10.3f} {bytes_wide / bf16 / 1e6:>8.0f} {int8:>10}")


main()

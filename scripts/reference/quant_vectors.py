"""Random valid blocks of each low-bit type and what gguf.quants.dequantize makes of them.

    python scripts/reference/quant_vectors.py

Writes tests/fixtures/quant/<type>.safetensors: `bytes` u8 [rows, bytes per row], `values` f32 [rows, values per row].
Rows cover ordinary blocks and extremes: f16 scales that are zero, negative, subnormal and the largest finite, all codes at
their ends. No NaN; infinities only in F16 and BF16. Each product of scale and code fits in f32 exactly and at most one
rounding follows, so any order of arithmetic must give these values bit for bit.
"""

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T
from safetensors.numpy import save_file

import kquants
from common import FIXTURES, size_of

OUT = FIXTURES / "quant"
EXTREME = np.array(
    [0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x83FF, 0x0400, 0x3C00, 0xBC00, 0x7BFF, 0xFBFF, 0x3555], np.uint16
).view(np.float16)


def scales(rng, n):
    """f16: the extremes first, then ordinary magnitudes of both signs."""
    out = (rng.normal(0, 1, n) * 10.0 ** rng.uniform(-4, 1, n)).astype(np.float16)
    out[: len(EXTREME)] = EXTREME
    return out


def codes(rng, n, width, top):
    """Random codes in 0..=top; the rows after the extremes of the scale hold only the lowest and only the highest code."""
    out = rng.integers(0, top + 1, (n, width)).astype(np.uint8)
    out[-1], out[-2] = top, 0
    return out


def half_like(rng, kind):
    """1024 values of F16 or BF16: specials, then random bit patterns without NaN."""
    bits = rng.integers(0, 1 << 16, 4096).astype(np.uint16)
    exp, frac = (0x7C00, 0x03FF) if kind == T.F16 else (0x7F80, 0x007F)
    special = [0, 0x8000, 1, 0x8001, frac, frac | 0x8000, frac + 1, exp, exp | 0x8000, exp - 1, (exp - 1) | 0x8000]
    bits = bits[~(((bits & exp) == exp) & ((bits & frac) != 0))]
    bits = np.concatenate([np.array(special, np.uint16), bits])[:1024].reshape(4, 256)
    return bits.astype("<u2").view(np.uint8)


def q8_0(rng, n=32):
    d = scales(rng, n)
    q = (codes(rng, n, 32, 255)).view(np.int8)
    return np.concatenate([d.astype("<f2")[:, None].view(np.uint8), q.view(np.uint8)], 1)


def q4_0(rng, n=32):
    d = scales(rng, n)
    c = codes(rng, n, 32, 15)
    return np.concatenate([d.astype("<f2")[:, None].view(np.uint8), c[:, :16] | (c[:, 16:] << 4)], 1)


def q4_k(rng, n=24):
    d, dmin = scales(rng, n), np.roll(scales(rng, n), 5)
    return kquants.pack_q4_k(d, dmin, codes(rng, n, 8, 63), codes(rng, n, 8, 63)[::-1].copy(), codes(rng, n, 256, 15))


def q6_k(rng, n=24):
    return kquants.pack_q6_k(scales(rng, n), codes(rng, n, 16, 255).view(np.int8), codes(rng, n, 256, 63))


def rows(blocks, per_row):
    """Several blocks to a row, as tensors have."""
    return np.ascontiguousarray(blocks.reshape(len(blocks) // per_row, -1))


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    for kind, make in (
        (T.F16, lambda r: half_like(r, T.F16)), (T.BF16, lambda r: half_like(r, T.BF16)),
        (T.Q8_0, lambda r: rows(q8_0(r), 4)), (T.Q4_0, lambda r: rows(q4_0(r), 4)),
        (T.Q4_K, lambda r: rows(q4_k(r), 2)), (T.Q6_K, lambda r: rows(q6_k(r), 2)),
    ):
        data = np.ascontiguousarray(make(np.random.default_rng(int(kind))))
        values = data.view(np.float16).astype(np.float32) if kind == T.F16 else gguf.quants.dequantize(data, kind)
        assert values.dtype == np.float32 and not np.isnan(values).any()
        assert kind in (T.F16, T.BF16) or np.isfinite(values).all()
        path = OUT / f"{kind.name.lower()}.safetensors"
        save_file({"bytes": data, "values": np.ascontiguousarray(values)}, path)
        print(f"{path.name}: {data.shape} -> {values.shape}, {size_of(path)} bytes, largest {np.abs(values[np.isfinite(values)]).max():g}")

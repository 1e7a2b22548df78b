"""Simple quantizers to valid Q4_K and Q6_K blocks (the `gguf` package only reads these). Not tuned for quality.

Layouts, per 256 values, little-endian:
Q4_K, 144 bytes: d f16, dmin f16, 12 bytes of 6-bit scales and minimums of 8 sub-blocks of 32, 128 bytes of 4-bit codes.
  value = d * scale[s] * code - dmin * minimum[s]. Codes: byte 32*g + i holds value 64*g + i (low) and 64*g + 32 + i (high).
Q6_K, 210 bytes: 128 bytes low 4 bits, 64 bytes high 2 bits, 16 int8 scales of sub-blocks of 16, d f16.
  value = d * scale[s] * (code - 32).
"""

import numpy as np


def pack_q4_k(d, dmin, scales, mins, codes):
    """d, dmin f16 [n]; scales, mins u8 < 64 [n, 8]; codes u8 < 16 [n, 256] -> bytes u8 [n, 144]."""
    n = len(d)
    six = np.zeros((n, 12), np.uint8)
    for j in range(4):
        six[:, j] = scales[:, j] | ((scales[:, j + 4] >> 4) << 6)
        six[:, j + 4] = mins[:, j] | ((mins[:, j + 4] >> 4) << 6)
        six[:, j + 8] = (scales[:, j + 4] & 15) | ((mins[:, j + 4] & 15) << 4)
    c = codes.reshape(n, 4, 2, 32)
    qs = (c[:, :, 0] | (c[:, :, 1] << 4)).reshape(n, 128)
    head = np.stack([d, dmin], 1).astype("<f2").view(np.uint8)
    return np.concatenate([head, six, qs], 1)


def pack_q6_k(d, scales, codes):
    """d f16 [n]; scales i8 [n, 16]; codes u8 < 64 [n, 256] -> bytes u8 [n, 210]."""
    n = len(d)
    c = codes.reshape(n, 2, 4, 32)
    low, high = c & 15, c >> 4
    ql = np.concatenate([low[:, :, 0] | (low[:, :, 2] << 4), low[:, :, 1] | (low[:, :, 3] << 4)], -1).reshape(n, 128)
    qh = (high[:, :, 0] | (high[:, :, 1] << 2) | (high[:, :, 2] << 4) | (high[:, :, 3] << 6)).reshape(n, 64)
    return np.concatenate([ql, qh, scales.view(np.uint8), d.astype("<f2")[:, None].view(np.uint8)], 1)


def quantize_q4_k(w):
    """f32 [..., k], k a multiple of 256 -> u8 [..., k / 256 * 144]."""
    x = np.asarray(w, np.float32).reshape(-1, 8, 32)
    low = np.minimum(x.min(-1), 0.0)
    step = (x.max(-1) - low) / 15.0
    d = (step.max(1) / 63.0).astype(np.float16)
    dmin = ((-low).max(1) / 63.0).astype(np.float16)
    scales = _div(step, d[:, None].astype(np.float32)).round().clip(0, 63)
    mins = _div(-low, dmin[:, None].astype(np.float32)).round().clip(0, 63)
    eff = d[:, None].astype(np.float32) * scales
    off = dmin[:, None].astype(np.float32) * mins
    codes = _div(x + off[..., None], eff[..., None]).round().clip(0, 15).astype(np.uint8)
    out = pack_q4_k(d, dmin, scales.astype(np.uint8), mins.astype(np.uint8), codes.reshape(-1, 256))
    return out.reshape(*w.shape[:-1], -1)


def quantize_q6_k(w):
    """f32 [..., k], k a multiple of 256 -> u8 [..., k / 256 * 210]."""
    x = np.asarray(w, np.float32).reshape(-1, 16, 16)
    # The value of largest magnitude maps to code 0 (that is -32), so scales take both signs.
    peak = np.take_along_axis(x, np.abs(x).argmax(-1)[..., None], -1)[..., 0]
    step = peak / -32.0
    d = (np.abs(step).max(1) / 127.0).astype(np.float16)
    scales = _div(step, d[:, None].astype(np.float32)).round().clip(-127, 127)
    eff = d[:, None].astype(np.float32) * scales
    codes = (_div(x, eff[..., None]).round() + 32).clip(0, 63).astype(np.uint8)
    return pack_q6_k(d, scales.astype(np.int8), codes.reshape(-1, 256)).reshape(*w.shape[:-1], -1)


def _div(a, b):
    return np.divide(a, b, out=np.zeros(np.broadcast_shapes(a.shape, b.shape), np.float32), where=b != 0)


if __name__ == "__main__":
    from gguf import GGMLQuantizationType as T
    from gguf.quants import dequantize

    w = np.random.default_rng(0).normal(0, 1, (64, 512)).astype(np.float32)
    for name, fn, kind in (("Q4_K", quantize_q4_k, T.Q4_K), ("Q6_K", quantize_q6_k, T.Q6_K)):
        back = dequantize(fn(w), kind)
        print(name, "rms error", float(np.sqrt(((back - w) ** 2).mean())))

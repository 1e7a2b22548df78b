// Packed layouts of weights for the tensor-core product, and how a thread turns its share into f16 fragments.
//
// A matrix is cut into tiles of 16 rows by CHUNK columns, stored tile row after tile row: tile (m, c) lies at
// (m * chunks + c) * TILE. Rows and columns are padded with zeros to whole tiles. In a tile, lane (g, t) with
// g = lane / 4 and t = lane % 4 owns rows g and g + 8, and of every 32 columns the eight
//     column(t, i) = 16 * (i / 4) + 4 * t + i % 4,   i = 0..8
// which are its k-slots in two m16n8k16 products (i = 0..4 the first, i = 4..8 the second). Codes lie in the order
// in which lanes load them, 16 bytes a lane; scales lie behind the codes, for each g those of rows g and g + 8.
// `src/ops/cuda/pack.rs` writes these layouts; the two files must agree.
#pragma once
#include "common.cuh"

// f16 pairs of 4 unsigned bytes, less 128: 1024 + b is b in the low bits of an f16.
__device__ __forceinline__ void cw_bytes_to_half(uint32_t w, uint32_t& p0, uint32_t& p1) {
    const half2 bias = cw_half2(0xe480e480u);  // -1152
    p0 = cw_bits(__hadd2(cw_half2(__byte_perm(w, 0x64646464u, 0x4140)), bias));
    p1 = cw_bits(__hadd2(cw_half2(__byte_perm(w, 0x64646464u, 0x4342)), bias));
}

// (w & mask) | 1024 in both halves, as the one instruction it is.
__device__ __forceinline__ half2 cw_masked(uint32_t w, uint32_t mask) {
    uint32_t v;
    asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(v) : "r"(w), "r"(mask), "r"(0x64006400u));
    return cw_half2(v);
}

// f16 pairs of the 8 nibbles of a word, plus OFFSET. Nibbles 0 and 4 make pair 0, 1 and 5 pair 1, 2 and 6 pair 2,
// 3 and 7 pair 3. The odd pairs arrive as 1024 + 16 q and are scaled exactly.
template <int OFFSET>
__device__ __forceinline__ void cw_nibbles_to_half(uint32_t w, uint32_t (&p)[4]) {
    const half2 low = __float2half2_rn(-1024.0f + OFFSET), high = __float2half2_rn(-64.0f + OFFSET);
    const half2 sixteenth = cw_half2(0x2c002c00u);
    uint32_t v = w >> 8;
    p[0] = cw_bits(__hadd2(cw_masked(w, 0x000f000fu), low));
    p[1] = cw_bits(__hfma2(cw_masked(w, 0x00f000f0u), sixteenth, high));
    p[2] = cw_bits(__hadd2(cw_masked(v, 0x000f000fu), low));
    p[3] = cw_bits(__hfma2(cw_masked(v, 0x00f000f0u), sixteenth, high));
}

// Where element (row, k) of a tile's codes lies: the lane, the half (row g or g + 8), the block of 32, and i.
struct CwSlot {
    int g, t, upper, block, i;
};
__device__ __forceinline__ CwSlot cw_slot(int row16, int k) {
    int e = k % 32;
    return {row16 % 8, (e % 16) / 4, row16 / 8, k / 32, 4 * (e / 16) + e % 4};
}
__device__ __forceinline__ int cw_nibble_of(int i) { return (i / 2) + 4 * (i % 2); }

// F16: 16 bytes a lane for 16 columns: pairs (g, g+8, g, g+8) as the product takes them.
struct CwF16 {
    static const int CHUNK = 128, TILE = 16 * 128 * 2;
    static const bool SCALED = false, HALVES = false, MINS = false;
    struct Regs {
        uint4 q[8];
    };
    static __device__ __forceinline__ void load(Regs& r, const char* tile, int lane) {
#pragma unroll
        for (int i = 0; i < 8; i++) r.q[i] = cw_stream16(tile + i * 512 + lane * 16);
    }
    static __device__ __forceinline__ void fragments(const Regs& r, int b, uint32_t (&lo)[4], uint32_t (&hi)[4]) {
        lo[0] = r.q[2 * b].x, hi[0] = r.q[2 * b].y, lo[1] = r.q[2 * b].z, hi[1] = r.q[2 * b].w;
        lo[2] = r.q[2 * b + 1].x, hi[2] = r.q[2 * b + 1].y, lo[3] = r.q[2 * b + 1].z, hi[3] = r.q[2 * b + 1].w;
    }
    static __device__ __forceinline__ float element(const char* tile, int row16, int k) {
        CwSlot s = cw_slot(row16, k);
        int word = (s.i % 4 / 2) * 2 + s.upper;
        const half* p = reinterpret_cast<const half*>(
            tile + (s.block * 2 + s.i / 4) * 512 + (s.g * 4 + s.t) * 16 + word * 4);
        return __half2float(p[s.i % 2]);
    }
};

// Q8_0: 16 bytes a lane for 32 columns, row g then g + 8, codes plus 128; then f16 scales [g][block]{g, g + 8}.
struct CwQ8_0 {
    static const int CHUNK = 128, TILE = 2048 + 128;
    static const bool SCALED = true, HALVES = false, MINS = false;
    struct Regs {
        uint4 q[4];
        uint4 s;
    };
    static __device__ __forceinline__ void load(Regs& r, const char* tile, int lane) {
#pragma unroll
        for (int i = 0; i < 4; i++) r.q[i] = cw_stream16(tile + i * 512 + lane * 16);
        r.s = cw_stream16(tile + 2048 + (lane / 4) * 16);
    }
    static __device__ __forceinline__ void fragments(const Regs& r, int b, uint32_t (&lo)[4], uint32_t (&hi)[4]) {
        cw_bytes_to_half(r.q[b].x, lo[0], lo[1]);
        cw_bytes_to_half(r.q[b].y, lo[2], lo[3]);
        cw_bytes_to_half(r.q[b].z, hi[0], hi[1]);
        cw_bytes_to_half(r.q[b].w, hi[2], hi[3]);
    }
    static __device__ __forceinline__ void scales(const Regs& r, int b, int, float& lo, float& hi) {
        float2 s = __half22float2(cw_half2(b == 0 ? r.s.x : b == 1 ? r.s.y : b == 2 ? r.s.z : r.s.w));
        lo = s.x, hi = s.y;
    }
    static __device__ __forceinline__ float element(const char* tile, int row16, int k) {
        CwSlot s = cw_slot(row16, k);
        int code = (int)(uint8_t)tile[s.block * 512 + (s.g * 4 + s.t) * 16 + s.upper * 8 + s.i] - 128;
        half d = reinterpret_cast<const half*>(tile + 2048 + s.g * 16 + s.block * 4)[s.upper];
        return __half2float(d) * (float)code;
    }
};

// The codes that Q4_0, Q4_K and Q6_K (its low bits) share: 16 bytes a lane for 64 columns: words (block, g),
// (block, g + 8), (block + 1, g), (block + 1, g + 8).
__device__ __forceinline__ uint32_t cw_nibble_word(const uint4 (&q)[4], int b, int upper) {
    const uint4& v = q[b / 2];
    return b % 2 == 0 ? (upper ? v.y : v.x) : (upper ? v.w : v.z);
}
__device__ __forceinline__ int cw_nibble_at(const char* tile, const CwSlot& s) {
    int word = s.block % 2 * 2 + s.upper;
    uint32_t w = *reinterpret_cast<const uint32_t*>(tile + s.block / 2 * 512 + (s.g * 4 + s.t) * 16 + word * 4);
    return (w >> (4 * cw_nibble_of(s.i))) & 15;
}

// Q4_0: nibbles; then f16 scales [g][block]{g, g + 8}.
struct CwQ4_0 {
    static const int CHUNK = 256, TILE = 2048 + 256;
    static const bool SCALED = true, HALVES = false, MINS = false;
    struct Regs {
        uint4 q[4];
        uint4 s[2];
    };
    static __device__ __forceinline__ void load(Regs& r, const char* tile, int lane) {
#pragma unroll
        for (int i = 0; i < 4; i++) r.q[i] = cw_stream16(tile + i * 512 + lane * 16);
        r.s[0] = cw_stream16(tile + 2048 + (lane / 4) * 32);
        r.s[1] = cw_stream16(tile + 2048 + (lane / 4) * 32 + 16);
    }
    static __device__ __forceinline__ void fragments(const Regs& r, int b, uint32_t (&lo)[4], uint32_t (&hi)[4]) {
        cw_nibbles_to_half<-8>(cw_nibble_word(r.q, b, 0), lo);
        cw_nibbles_to_half<-8>(cw_nibble_word(r.q, b, 1), hi);
    }
    static __device__ __forceinline__ void scales(const Regs& r, int b, int, float& lo, float& hi) {
        const uint4& v = r.s[b / 4];
        int i = b % 4;
        float2 s = __half22float2(cw_half2(i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w));
        lo = s.x, hi = s.y;
    }
    static __device__ __forceinline__ float element(const char* tile, int row16, int k) {
        CwSlot s = cw_slot(row16, k);
        half d = reinterpret_cast<const half*>(tile + 2048 + s.g * 32 + s.block * 4)[s.upper];
        return __half2float(d) * (float)(cw_nibble_at(tile, s) - 8);
    }
};

// Q4_K: nibbles; then bytes [g][block]{scale g, scale g + 8, min g, min g + 8}; then f16 [g]{d g, d g + 8, dmin g,
// dmin g + 8}. A weight is d * scale * q - dmin * min.
struct CwQ4_K {
    static const int CHUNK = 256, TILE = 2048 + 256 + 64;
    static const bool SCALED = true, HALVES = false, MINS = true;
    struct Regs {
        uint4 q[4];
        uint4 s[2];
        uint2 d;
    };
    static __device__ __forceinline__ void load(Regs& r, const char* tile, int lane) {
#pragma unroll
        for (int i = 0; i < 4; i++) r.q[i] = cw_stream16(tile + i * 512 + lane * 16);
        r.s[0] = cw_stream16(tile + 2048 + (lane / 4) * 32);
        r.s[1] = cw_stream16(tile + 2048 + (lane / 4) * 32 + 16);
        r.d = cw_stream8(tile + 2304 + (lane / 4) * 8);
    }
    static __device__ __forceinline__ void fragments(const Regs& r, int b, uint32_t (&lo)[4], uint32_t (&hi)[4]) {
        cw_nibbles_to_half<0>(cw_nibble_word(r.q, b, 0), lo);
        cw_nibbles_to_half<0>(cw_nibble_word(r.q, b, 1), hi);
    }
    static __device__ __forceinline__ uint32_t word(const Regs& r, int b) {
        const uint4& v = r.s[b / 4];
        int i = b % 4;
        return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
    }
    static __device__ __forceinline__ void scales(const Regs& r, int b, int, float& lo, float& hi) {
        uint32_t w = word(r, b);
        float2 d = __half22float2(cw_half2(r.d.x));
        lo = d.x * cw_byte(w, 0), hi = d.y * cw_byte(w, 1);
    }
    static __device__ __forceinline__ void mins(const Regs& r, int b, float& lo, float& hi) {
        uint32_t w = word(r, b);
        float2 d = __half22float2(cw_half2(r.d.y));
        lo = d.x * cw_byte(w, 2), hi = d.y * cw_byte(w, 3);
    }
    static __device__ __forceinline__ float element(const char* tile, int row16, int k) {
        CwSlot s = cw_slot(row16, k);
        const uint8_t* sub = reinterpret_cast<const uint8_t*>(tile + 2048 + s.g * 32 + s.block * 4);
        const half* d = reinterpret_cast<const half*>(tile + 2304 + s.g * 8);
        float scale = __half2float(d[s.upper]) * (float)sub[s.upper];
        float least = __half2float(d[2 + s.upper]) * (float)sub[2 + s.upper];
        return scale * (float)cw_nibble_at(tile, s) - least;
    }
};

// Q6_K: low nibbles; high bits, 16 bytes a lane for 128 columns: word b % 4 holds those of a block, row g in the low
// half and row g + 8 in the high, two bits for each i; then signed bytes plus 128 [g][block]{half 0: g, g + 8,
// half 1: g, g + 8}; then f16 [g]{d g, d g + 8}. A weight is d * scale * (q - 32).
struct CwQ6_K {
    static const int CHUNK = 256, TILE = 2048 + 1024 + 256 + 32;
    static const bool SCALED = true, HALVES = true, MINS = false;
    struct Regs {
        uint4 q[4];
        uint4 h[2];
        uint4 s[2];
        uint32_t d;
    };
    static __device__ __forceinline__ void load(Regs& r, const char* tile, int lane) {
#pragma unroll
        for (int i = 0; i < 4; i++) r.q[i] = cw_stream16(tile + i * 512 + lane * 16);
        r.h[0] = cw_stream16(tile + 2048 + lane * 16);
        r.h[1] = cw_stream16(tile + 2560 + lane * 16);
        r.s[0] = cw_stream16(tile + 3072 + (lane / 4) * 32);
        r.s[1] = cw_stream16(tile + 3072 + (lane / 4) * 32 + 16);
        r.d = cw_stream4(tile + 3328 + (lane / 4) * 4);
    }
    static __device__ __forceinline__ uint32_t pick(const uint4& v, int i) {
        return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
    }
    // Two high bits of element i at bits 2 i; pair p takes i = 2 p and 2 p + 1 to bits 4..6 and 20..22.
    static __device__ __forceinline__ void join(uint32_t low, uint32_t high16, uint32_t (&p)[4]) {
        const half2 bias = __float2half2_rn(-1024.0f - 32.0f);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            uint32_t two = high16 >> (4 * i);
            uint32_t nib = (low >> (4 * i)) & 0x000f000fu;
            uint32_t v = nib | ((two & 3u) << 4) | ((two & 0xcu) << 18) | 0x64006400u;
            p[i] = cw_bits(__hadd2(cw_half2(v), bias));
        }
    }
    static __device__ __forceinline__ void fragments(const Regs& r, int b, uint32_t (&lo)[4], uint32_t (&hi)[4]) {
        uint32_t h = pick(r.h[b / 4], b % 4);
        join(cw_nibble_word(r.q, b, 0), h & 0xffffu, lo);
        join(cw_nibble_word(r.q, b, 1), h >> 16, hi);
    }
    static __device__ __forceinline__ void scales(const Regs& r, int b, int half_, float& lo, float& hi) {
        uint32_t w = pick(r.s[b / 4], b % 4);
        float2 d = __half22float2(cw_half2(r.d));
        lo = d.x * (cw_byte(w, 2 * half_) - 128.0f), hi = d.y * (cw_byte(w, 2 * half_ + 1) - 128.0f);
    }
    static __device__ __forceinline__ float element(const char* tile, int row16, int k) {
        CwSlot s = cw_slot(row16, k);
        uint32_t h = *reinterpret_cast<const uint32_t*>(tile + 2048 + s.block / 4 * 512 + (s.g * 4 + s.t) * 16 +
                                                        s.block % 4 * 4);
        int q = cw_nibble_at(tile, s) | (((h >> (16 * s.upper + 2 * s.i)) & 3) << 4);
        uint8_t sub = tile[3072 + s.g * 32 + s.block * 4 + 2 * (s.i / 4) + s.upper];
        half d = reinterpret_cast<const half*>(tile + 3328 + s.g * 4)[s.upper];
        return __half2float(d) * (float)((int)sub - 128) * (float)(q - 32);
    }
};

// Element (row, k) of a packed matrix.
template <class F>
__device__ __forceinline__ float cw_element(const char* w, int chunks, int row, int k) {
    return F::element(w + ((size_t)(row / 16) * chunks + k / F::CHUNK) * F::TILE, row % 16, k % F::CHUNK);
}

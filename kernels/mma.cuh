// Products of packed matrices with a few or many rows of activations, on tensor cores with f32 accuracy.
//
// An activation is split into two f16 numbers, x / 64 = hi + lo / 2048, which keep 22 of its 24 bits (down to about
// 1e-9; up to 4e6, beyond which the product is not finite). Integer codes and f16 weights are exact in f16. So the
// eight columns of one m16n8k16 product serve four rows of activations, accumulated in f32; block scales are applied
// to the accumulators in f32. One block computes 16 outputs at a time; its eight warps split the columns and add
// their parts in a fixed order. An output's value depends neither on the other rows nor on their number.
#pragma once
#include "formats.cuh"

#define CW_MMA_WARPS 8
#define CW_MMA_THREADS (CW_MMA_WARPS * CW_WARP)
#define CW_MMA_DOWN 0.015625f    // 1 / 64
#define CW_MMA_UP 64.0f
#define CW_MMA_LO 2048.0f
#define CW_MMA_LO_UP 0.03125f    // 64 / 2048

// One of up to four products that share their activations. Mirrored in src/ops/cuda/products.rs.
struct CwProduct {
    const char* weight;
    const float* bias;  // or null
    float* out;
    int rows;
    int first;  // the first tile of this product among those of all
    int add;
    int pad;
};
struct CwProducts {
    CwProduct p[4];
    int count;
    int tiles;    // of all products
    int chunks;   // of one row
    int cols;
    int n;        // rows of activations
    int slots;    // chunks a warp keeps staged (direct kernels)
    int wide;     // rows of x are 16-byte aligned
};

__device__ __forceinline__ void cw_mma(float (&c)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0,
                                       uint32_t b1) {
#if __CUDA_ARCH__ >= 800
    asm(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
#else
    asm(
        "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a0), "r"(a1), "r"(b0));
    asm(
        "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a2), "r"(a3), "r"(b1));
#endif
}

// Splits four activations into their two f16 parts.
__device__ __forceinline__ void cw_split4(float4 x, uint2& hi, uint2& lo) {
    x.x *= CW_MMA_DOWN, x.y *= CW_MMA_DOWN, x.z *= CW_MMA_DOWN, x.w *= CW_MMA_DOWN;
    half2 a = __floats2half2_rn(x.x, x.y), b = __floats2half2_rn(x.z, x.w);
    float2 fa = __half22float2(a), fb = __half22float2(b);
    hi = make_uint2(cw_bits(a), cw_bits(b));
    lo = make_uint2(cw_bits(__floats2half2_rn((x.x - fa.x) * CW_MMA_LO, (x.y - fa.y) * CW_MMA_LO)),
                    cw_bits(__floats2half2_rn((x.z - fb.x) * CW_MMA_LO, (x.w - fb.y) * CW_MMA_LO)));
}

// One block of 32 columns of one tile into the accumulators of NG groups of four rows.
template <class F, int NG>
__device__ __forceinline__ void cw_block32(const typename F::Regs& r, int b, const uint4 (&x)[NG],
                                           float (&acc)[NG][4]) {
    uint32_t lo[4], hi[4];
    F::fragments(r, b, lo, hi);
    if constexpr (!F::SCALED) {
        // The tensor core's own accumulation rounds towards zero, so it only adds up 32 columns at a time.
#pragma unroll
        for (int q = 0; q < NG; q++) {
            float c[4] = {0, 0, 0, 0};
            cw_mma(c, lo[0], hi[0], lo[1], hi[1], x[q].x, x[q].y);
            cw_mma(c, lo[2], hi[2], lo[3], hi[3], x[q].z, x[q].w);
            acc[q][0] += c[0], acc[q][1] += c[1], acc[q][2] += c[2], acc[q][3] += c[3];
        }
    } else if constexpr (F::HALVES) {
        float s0, s1, u0, u1;
        F::scales(r, b, 0, s0, s1);
        F::scales(r, b, 1, u0, u1);
#pragma unroll
        for (int q = 0; q < NG; q++) {
            float c[4] = {0, 0, 0, 0}, e[4] = {0, 0, 0, 0};
            cw_mma(c, lo[0], hi[0], lo[1], hi[1], x[q].x, x[q].y);
            cw_mma(e, lo[2], hi[2], lo[3], hi[3], x[q].z, x[q].w);
            acc[q][0] += s0 * c[0], acc[q][1] += s0 * c[1], acc[q][2] += s1 * c[2], acc[q][3] += s1 * c[3];
            acc[q][0] += u0 * e[0], acc[q][1] += u0 * e[1], acc[q][2] += u1 * e[2], acc[q][3] += u1 * e[3];
        }
    } else {
        float s0, s1;
        F::scales(r, b, 0, s0, s1);
#pragma unroll
        for (int q = 0; q < NG; q++) {
            float c[4] = {0, 0, 0, 0};
            cw_mma(c, lo[0], hi[0], lo[1], hi[1], x[q].x, x[q].y);
            cw_mma(c, lo[2], hi[2], lo[3], hi[3], x[q].z, x[q].w);
            acc[q][0] += s0 * c[0], acc[q][1] += s0 * c[1], acc[q][2] += s1 * c[2], acc[q][3] += s1 * c[3];
        }
        if constexpr (F::MINS) {
            // The minimum of a block times the sum of its activations: a product with ones gives the sums.
            const uint32_t one = 0x3c003c00u;
            float m0, m1;
            F::mins(r, b, m0, m1);
#pragma unroll
            for (int q = 0; q < NG; q++) {
                float c[4] = {0, 0, 0, 0};
                cw_mma(c, one, one, one, one, x[q].x, x[q].y);
                cw_mma(c, one, one, one, one, x[q].z, x[q].w);
                acc[q][0] -= m0 * c[0], acc[q][1] -= m0 * c[1], acc[q][2] -= m1 * c[2], acc[q][3] -= m1 * c[3];
            }
        }
    }
}

// Adds the eight warps' parts and writes 16 outputs of NG * 4 rows, the first of which is `row0`. A block's tiles use
// two buffers `red` in turn: the barrier of the next tile frees this one's.
template <int NG>
__device__ __forceinline__ void cw_mma_finish(const CwProducts& a, int tile, int row0, const float (&acc)[NG][4],
                                              float* red) {
    int warp = threadIdx.x / CW_WARP, lane = threadIdx.x % CW_WARP, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int q = 0; q < NG; q++) {
        float* p = red + (warp * NG + q) * 128;
        *reinterpret_cast<float2*>(p + g * 8 + 2 * t) = make_float2(acc[q][0], acc[q][1]);
        *reinterpret_cast<float2*>(p + (g + 8) * 8 + 2 * t) = make_float2(acc[q][2], acc[q][3]);
    }
    __syncthreads();
    int which = 0;
    while (which + 1 < a.count && tile >= a.p[which + 1].first) which++;
    const CwProduct& p = a.p[which];
    int m0 = (tile - p.first) * 16;
    for (int i = threadIdx.x; i < 64 * NG; i += CW_MMA_THREADS) {
        int m = i % 16, j = i / 16, q = j / 4, c = j % 4;
        if (m0 + m >= p.rows || row0 + j >= a.n) continue;
        float hi = 0.0f, lo = 0.0f;
#pragma unroll
        for (int w = 0; w < CW_MMA_WARPS; w++) {
            const float* s = red + (w * NG + q) * 128 + m * 8;
            hi += s[c], lo += s[c + 4];
        }
        float v = hi * CW_MMA_UP + lo * CW_MMA_LO_UP;
        if (p.bias) v += p.bias[m0 + m];
        float* out = p.out + (size_t)(row0 + j) * p.rows + m0 + m;
        *out = p.add ? *out + v : v;
    }
}

__device__ __forceinline__ const char* cw_tile(const CwProducts& a, int tile, size_t tile_row_bytes) {
    int which = 0;
    while (which + 1 < a.count && tile >= a.p[which + 1].first) which++;
    return a.p[which].weight + (size_t)(tile - a.p[which].first) * tile_row_bytes;
}

// Up to four rows, read as f32 and split by the warp that uses them; dynamic shared memory: red (2 x 4 KiB), then for
// each warp `slots` chunks, each 2 n columns of CHUNK / 32 blocks of 64 bytes and 64 bytes of padding, which spreads
// columns over the banks. The columns of rows that do not exist repeat the first; nobody reads their results. A warp loads its next chunk, of this tile or the next,
// before it computes with the one at hand.
template <class F>
__device__ __forceinline__ void cw_mma_direct(const CwProducts& a, const float* x) {
    extern __shared__ uint4 cw_shared[];
    const int BLOCKS = F::CHUNK / 32;
    int warp = threadIdx.x / CW_WARP, lane = threadIdx.x % CW_WARP, g = lane / 4, t = lane % 4;
    int n = a.n, per = a.chunks > warp ? (a.chunks - warp + CW_MMA_WARPS - 1) / CW_MMA_WARPS : 0;
    float* red = reinterpret_cast<float*>(cw_shared);
    const int COLUMN = BLOCKS * 4 + 4;  // uint4 in a column
    int slot16 = 2 * n * COLUMN;        // uint4 in a slot
    uint4* mine = cw_shared + 512 + warp * a.slots * slot16;
    size_t row_bytes = (size_t)a.chunks * F::TILE;
    int tile = blockIdx.x, s = 0, turn = 0;
    float acc[1][4] = {{0, 0, 0, 0}};
    if (per == 0) {  // fewer chunks than warps
        for (; tile < a.tiles; tile += gridDim.x, turn ^= 1024) cw_mma_finish<1>(a, tile, 0, acc, red + turn);
        return;
    }
    const size_t stride = (size_t)CW_MMA_WARPS * F::TILE;
    const char* w = cw_tile(a, tile, row_bytes) + (size_t)warp * F::TILE;
    typename F::Regs r0, r1;
    F::load(r0, w, lane);

    auto stage = [&](int chunk, int slot) {
        uint2* dst = reinterpret_cast<uint2*>(mine + slot * slot16);
        int k0 = (warp + chunk * CW_MMA_WARPS) * F::CHUNK;
        for (int j = 0; j < n; j++) {
#pragma unroll
            for (int h = 0; h < F::CHUNK / 128; h++) {
                uint2 hi, lo;
                cw_split4(cw_row4(x + (size_t)j * a.cols, k0 + h * 128 + lane * 4, a.cols, a.wide), hi, lo);
                int b = h * 4 + lane / 8, e = lane % 8;
                dst[(j * COLUMN + b * 4 + e % 4) * 2 + e / 4] = hi;
                dst[((n + j) * COLUMN + b * 4 + e % 4) * 2 + e / 4] = lo;
            }
        }
    };
    bool keep = per <= a.slots;
    if (keep) {
        for (int i = 0; i < per; i++) stage(i, i);
        __syncwarp();
    }
    int row = g % 4 < n ? g % 4 : 0;
    uint32_t column = (uint32_t)__cvta_generic_to_shared(mine + (g < 4 ? row : n + row) * COLUMN + t);

    // One chunk; false after the last.
    auto step = [&](typename F::Regs& now, typename F::Regs& next) -> bool {
        bool last = s + 1 == per;
        int then = last ? tile + gridDim.x : tile;
        bool more = then < a.tiles;
        if (last && more) w = cw_tile(a, then, row_bytes) + (size_t)warp * F::TILE - stride;
        w += stride;
        if (more) F::load(next, w, lane);
        if (!keep) {
            __syncwarp();
            stage(s, 0);
            __syncwarp();
        }
        uint32_t from = keep ? column + s * slot16 * 16 : column;
#pragma unroll
        for (int b = 0; b < BLOCKS; b++) {
            uint4 v[1] = {cw_shared16(from + b * 64)};
            cw_block32<F, 1>(now, b, v, acc);
        }
        s++;
        if (last) {
            cw_mma_finish<1>(a, tile, 0, acc, red + turn);
            turn ^= 1024;
            acc[0][0] = acc[0][1] = acc[0][2] = acc[0][3] = 0.0f;
            tile = then, s = 0;
        }
        return more;
    };
    while (step(r0, r1) && step(r1, r0)) {
    }
}

// Many rows, split beforehand by cw_split_rows: NG groups of four rows a block, groups from blockIdx.y * NG.
template <class F, int NG>
__device__ __forceinline__ void cw_mma_prepared(const CwProducts& a, const uint4* x) {
    extern __shared__ uint4 cw_shared[];
    const int BLOCKS = F::CHUNK / 32;
    int warp = threadIdx.x / CW_WARP, lane = threadIdx.x % CW_WARP;
    int per = a.chunks > warp ? (a.chunks - warp + CW_MMA_WARPS - 1) / CW_MMA_WARPS : 0;
    float* red = reinterpret_cast<float*>(cw_shared);
    size_t row_bytes = (size_t)a.chunks * F::TILE;
    size_t group = (size_t)a.chunks * BLOCKS * 32;
    const uint4* xg = x + (size_t)blockIdx.y * NG * group + lane;
    int turn = 0;
    for (int tile = blockIdx.x; tile < a.tiles; tile += gridDim.x, turn ^= NG * 1024) {
        const char* w = cw_tile(a, tile, row_bytes) + (size_t)warp * F::TILE;
        float acc[NG][4];
#pragma unroll
        for (int q = 0; q < NG; q++) acc[q][0] = acc[q][1] = acc[q][2] = acc[q][3] = 0.0f;
        for (int s = 0; s < per; s++) {
            typename F::Regs r;
            F::load(r, w + (size_t)s * CW_MMA_WARPS * F::TILE, lane);
            const uint4* xb = xg + (size_t)(warp + s * CW_MMA_WARPS) * BLOCKS * 32;
#pragma unroll
            for (int b = 0; b < BLOCKS; b++) {
                uint4 v[NG];
#pragma unroll
                for (int q = 0; q < NG; q++) v[q] = __ldg(xb + q * group + b * 32);
                cw_block32<F, NG>(r, b, v, acc);
            }
        }
        cw_mma_finish<NG>(a, tile, blockIdx.y * NG * 4, acc, red + turn);
    }
}

// Products on tensor cores: a block of eight warps computes 128 by 128 outputs, a warp 64 by 32 of them, from tiles of 64
// bytes of the inner extent in shared memory (32 f16 or bf16, 16 TF32, 64 bytes). Tiles lie as their matrices do; where
// lines run along the outputs, fragments of 16 bits are turned by ldmatrix, TF32 is read word by word, and bytes are
// turned on the way in. GPUs before compute capability 8.0 have f16 alone; the host takes other kernels there.
#include "../mma.cuh"
#include "product.cuh"

#define CW_SIDE 128
#define CW_LINE 80       // bytes from line to line along k: 64, and 16 that spread lines over the banks
#define CW_TILE_BYTES (CW_SIDE * CW_LINE)

__device__ __forceinline__ void cw_ldmatrix(uint32_t (&r)[4], uint32_t from) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(from)
                 : "memory");
}
__device__ __forceinline__ void cw_ldmatrix_turned(uint32_t (&r)[4], uint32_t from) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(from)
                 : "memory");
}

// The kinds of product: elements, sums, outputs, and one instruction of 16 by 8 outputs and 32 bytes of the inner extent.
struct CwMmaF16 {
    using T = __half;
    using Acc = float;
    using Out = __half;
    static __device__ __forceinline__ void mma(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
        cw_mma(c, a[0], a[1], a[2], a[3], b0, b1);
    }
};
struct CwMmaBf16 {
    using T = CwBf;
    using Acc = float;
    using Out = CwBf;
    static __device__ __forceinline__ void mma(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#if __CUDA_ARCH__ >= 800
        asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
    }
};
struct CwMmaTf32 {
    using T = float;
    using Acc = float;
    using Out = float;
    static __device__ __forceinline__ void mma(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
        cw_mma_tf32(c, a, b0, b1);
    }
};
struct CwMmaI8 {
    using T = int8_t;
    using Acc = int;
    using Out = int;
    static __device__ __forceinline__ void mma(int (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#if __CUDA_ARCH__ >= 800
        asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
            : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
    }
};

// A thread's share of one tile of one operand: 32 bytes.
struct CwShare {
    uint4 v[2];
};

template <class T>
__device__ __forceinline__ uint4 cw_words(const CwChunk<T, 16 / sizeof(T)>& c) {
    return *reinterpret_cast<const uint4*>(&c);
}
__device__ __forceinline__ uint2 cw_words8(const CwChunk<int8_t, 8>& c) { return *reinterpret_cast<const uint2*>(&c); }

// `along_k`: lines run along k. `chunk(line, at)` gives 16 bytes, `eight(line, at)` 8 bytes of a line.
template <class T, class Chunk, class Eight>
__device__ __forceinline__ CwShare cw_bring(bool along_k, int o0, int k0, Chunk chunk, Eight eight) {
    const int N = 16 / sizeof(T), ACROSS = 8 * sizeof(T);
    CwShare s;
    if (!along_k && sizeof(T) == 1) {
        // Four lines of k, eight outputs.
        int k4 = threadIdx.x % 16, o8 = threadIdx.x / 16;
        uint2 w[4];
#pragma unroll
        for (int i = 0; i < 4; i++) w[i] = eight((int64_t)k0 + k4 * 4 + i, (int64_t)o0 + o8 * 8);
        s.v[0] = make_uint4(w[0].x, w[0].y, w[1].x, w[1].y);
        s.v[1] = make_uint4(w[2].x, w[2].y, w[3].x, w[3].y);
        return s;
    }
#pragma unroll
    for (int j = 0; j < 2; j++) {
        int q = threadIdx.x + 256 * j;
        s.v[j] = along_k ? chunk((int64_t)o0 + q / 4, (int64_t)k0 + q % 4 * N)
                         : chunk((int64_t)k0 + q / ACROSS, (int64_t)o0 + q % ACROSS * N);
    }
    return s;
}

// The word of four bytes, one of each line, at byte `i` of the lines' words.
__device__ __forceinline__ uint32_t cw_turned(uint32_t a, uint32_t b, uint32_t c, uint32_t d, int i) {
    uint32_t low = __byte_perm(a, b, i | (4 + i) << 4), high = __byte_perm(c, d, i | (4 + i) << 4);
    return __byte_perm(low, high, 0x5410);
}

template <class T>
__device__ __forceinline__ uint32_t cw_rounded(uint32_t word, int round) {
    if constexpr (sizeof(T) == 4) {
        float v = __uint_as_float(word);
        return cw_tf32(round ? cw_bf16(cw_bf_bits(v)) : v);
    }
    return word;
}

// Bytes from line to line where lines run along the outputs.
template <class T>
__device__ __forceinline__ constexpr int cw_pitch() {
    return CW_SIDE * (int)sizeof(T) + (sizeof(T) == 4 ? 32 : 16);
}

template <class T>
__device__ __forceinline__ void cw_lay(bool along_k, const CwShare& s, char* tile, int round) {
    const int ACROSS = 8 * sizeof(T);
    if (!along_k && sizeof(T) == 1) {
        int k4 = threadIdx.x % 16, o8 = threadIdx.x / 16;
#pragma unroll
        for (int i = 0; i < 8; i++) {
            uint32_t w = i < 4 ? cw_turned(s.v[0].x, s.v[0].z, s.v[1].x, s.v[1].z, i)
                               : cw_turned(s.v[0].y, s.v[0].w, s.v[1].y, s.v[1].w, i - 4);
            *reinterpret_cast<uint32_t*>(tile + (o8 * 8 + i) * CW_LINE + k4 * 4) = w;
        }
        return;
    }
#pragma unroll
    for (int j = 0; j < 2; j++) {
        int q = threadIdx.x + 256 * j;
        uint4 v = s.v[j];
        v.x = cw_rounded<T>(v.x, round), v.y = cw_rounded<T>(v.y, round);
        v.z = cw_rounded<T>(v.z, round), v.w = cw_rounded<T>(v.w, round);
        int to = along_k ? q / 4 * CW_LINE + q % 4 * 16 : q / ACROSS * cw_pitch<T>() + q % ACROSS * 16;
        *reinterpret_cast<uint4*>(tile + to) = v;
    }
}

// Fragments of 16 outputs (from `o`) and 32 bytes of k (step `s` of the tile): four words a lane, by the words' 8 outputs
// (`o_first` says whether these or the halves of k count faster).
template <class T>
__device__ __forceinline__ void cw_fragment(bool along_k, const char* tile, int o, int s, bool o_first,
                                            uint32_t (&r)[4]) {
    int lane = threadIdx.x % CW_WARP, which = lane / 8;
    int o8 = o_first ? which % 2 : which / 2, k8 = o_first ? which / 2 : which % 2;
    uint32_t base = (uint32_t)__cvta_generic_to_shared(tile);
    if (along_k || sizeof(T) == 1) {
        cw_ldmatrix(r, base + (o + lane % 8 + o8 * 8) * CW_LINE + s * 32 + k8 * 16);
    } else if constexpr (sizeof(T) == 2) {
        cw_ldmatrix_turned(r, base + (s * 16 + lane % 8 + k8 * 8) * cw_pitch<T>() + (o + o8 * 8) * 2);
    } else {
        int g = lane / 4, t = lane % 4;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int po = o_first ? i % 2 : i / 2, pk = o_first ? i / 2 : i % 2;
            r[i] = *reinterpret_cast<const uint32_t*>(tile + (s * 8 + t + pk * 4) * cw_pitch<T>() +
                                                      (o + g + po * 8) * 4);
        }
    }
}

template <class P>
__device__ __forceinline__ void cw_mma_product(const CwGemm& g) {
    using T = typename P::T;
    using Out = typename P::Out;
    const int N = 16 / sizeof(T), DEPTH = 64 / sizeof(T);
    __shared__ __align__(16) char tiles[2][2][CW_TILE_BYTES];
    int m0, n0;
    cw_tile_of(g, CW_SIDE, m0, n0);
    const T* a = (const T*)g.a + blockIdx.z * g.stride_a;
    const T* b = (const T*)g.b + blockIdx.z * g.stride_b;
    bool ka = !g.ta, kb = g.tb;
    CwShare sa, sb;
    auto bring = [&](int k0) {
        sa = cw_bring<T>(
            ka, m0, k0, [&](int64_t line, int64_t at) { return cw_words<T>(cw_chunk_a<T, N>(g, a, line, at)); },
            [&](int64_t line, int64_t at) {
                if constexpr (sizeof(T) == 1) return cw_words8(cw_chunk_a<T, 8>(g, a, line, at));
                return make_uint2(0, 0);
            });
        sb = cw_bring<T>(
            kb, n0, k0, [&](int64_t line, int64_t at) { return cw_words<T>(cw_chunk_b<T, N>(g, b, line, at)); },
            [&](int64_t line, int64_t at) {
                if constexpr (sizeof(T) == 1) return cw_words8(cw_chunk_b<T, 8>(g, b, line, at));
                return make_uint2(0, 0);
            });
    };
    auto lay = [&](int to) {
        cw_lay<T>(ka, sa, tiles[to][0], g.round);
        cw_lay<T>(kb, sb, tiles[to][1], g.round);
    };
    int warp = threadIdx.x / CW_WARP, lane = threadIdx.x % CW_WARP;
    int wm = warp / 4 * 64, wn = warp % 4 * 32;
    typename P::Acc acc[4][4][4] = {};
    int turn = 0;
    if (g.k > 0) {
        bring(0);
        lay(0);
    }
    __syncthreads();
    for (int k0 = 0; k0 < g.k; k0 += DEPTH) {
        bool more = g.k - k0 > DEPTH;
        if (more) bring(k0 + DEPTH);
#pragma unroll
        for (int s = 0; s < 2; s++) {
            uint32_t fa[4][4], fb[2][4];
#pragma unroll
            for (int i = 0; i < 4; i++) cw_fragment<T>(ka, tiles[turn][0], wm + i * 16, s, true, fa[i]);
#pragma unroll
            for (int j = 0; j < 2; j++) cw_fragment<T>(kb, tiles[turn][1], wn + j * 16, s, false, fb[j]);
#pragma unroll
            for (int i = 0; i < 4; i++)
#pragma unroll
                for (int j = 0; j < 4; j++) P::mma(acc[i][j], fa[i], fb[j / 2][j % 2 * 2], fb[j / 2][j % 2 * 2 + 1]);
        }
        if (more) lay(turn ^ 1);
        __syncthreads();
        turn ^= 1;
    }
    Out* c = (Out*)g.c + blockIdx.z * g.stride_c;
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
#pragma unroll
            for (int q = 0; q < 4; q++) {
                int64_t m = (int64_t)m0 + wm + i * 16 + lane / 4 + q / 2 * 8;
                int64_t n = (int64_t)n0 + wn + j * 8 + lane % 4 * 2 + q % 2;
                if (m < g.m && n < g.n) cw_finish(g, c + m * g.ldc + n, acc[i][j][q]);
            }
}

#define CW_MMA_PRODUCT(NAME, P)                                                                                       \
    extern "C" __global__ void __launch_bounds__(256) cw_product_mma_##NAME(const __grid_constant__ CwGemm g) {       \
        cw_mma_product<P>(g);                                                                                         \
    }
CW_MMA_PRODUCT(f16, CwMmaF16)
CW_MMA_PRODUCT(bf16, CwMmaBf16)
CW_MMA_PRODUCT(tf32, CwMmaTf32)
CW_MMA_PRODUCT(i8, CwMmaI8)

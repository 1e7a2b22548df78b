// Products without tensor cores: a block computes a tile of 16 S by 16 S outputs, a thread S by S of them.
#include "product.cuh"

template <class Acc, class T>
__device__ __forceinline__ Acc cw_number(T v) { return (Acc)v; }
template <>
__device__ __forceinline__ float cw_number<float, __half>(__half v) { return __half2float(v); }
template <>
__device__ __forceinline__ float cw_number<float, CwBf>(CwBf v) { return cw_float(v); }

template <class T, class Acc, class Out, int S>
__device__ __forceinline__ void cw_plain_product(const CwGemm& g) {
    const int SIDE = 16 * S, DEPTH = 8, E = S / 2, PITCH = SIDE + 4;
    __shared__ __align__(16) Acc as[2][DEPTH][PITCH], bs[2][DEPTH][PITCH];
    int m0, n0, tid = threadIdx.x, tx = tid % 16, ty = tid / 16;
    cw_tile_of(g, SIDE, m0, n0);
    const T* a = (const T*)g.a + blockIdx.z * g.stride_a;
    const T* b = (const T*)g.b + blockIdx.z * g.stride_b;
    // Where this thread's chunk lies when lines run along k, and when they run along the outputs.
    int line_k = tid / (DEPTH / E), at_k = tid % (DEPTH / E) * E, line_o = tid / 32, at_o = tid % 32 * E;
    CwChunk<T, E> ra, rb;
    auto load = [&](int k0) {
        ra = g.ta ? cw_chunk_a<T, E>(g, a, (int64_t)k0 + line_o, (int64_t)m0 + at_o)
                  : cw_chunk_a<T, E>(g, a, (int64_t)m0 + line_k, (int64_t)k0 + at_k);
        rb = g.tb ? cw_chunk_b<T, E>(g, b, (int64_t)n0 + line_k, (int64_t)k0 + at_k)
                  : cw_chunk_b<T, E>(g, b, (int64_t)k0 + line_o, (int64_t)n0 + at_o);
    };
    auto store = [&](int to) {
#pragma unroll
        for (int i = 0; i < E; i++) {
            Acc va = cw_number<Acc, T>(ra.v[i]), vb = cw_number<Acc, T>(rb.v[i]);
            if (g.ta) as[to][line_o][at_o + i] = va; else as[to][at_k + i][line_k] = va;
            if (g.tb) bs[to][at_k + i][line_k] = vb; else bs[to][line_o][at_o + i] = vb;
        }
    };
    Acc acc[S][S] = {};
    int turn = 0;
    if (g.k > 0) {
        load(0);
        store(0);
    }
    __syncthreads();
    for (int k0 = 0; k0 < g.k; k0 += DEPTH) {
        bool more = g.k - k0 > DEPTH;
        if (more) load(k0 + DEPTH);
#pragma unroll
        for (int k = 0; k < DEPTH; k++) {
            Acc u[S], v[S];
            // Halves of the tile apart, so that a warp's reads meet all banks.
#pragma unroll
            for (int i = 0; i < S; i++) {
                u[i] = as[turn][k][i / E * (SIDE / 2) + ty * E + i % E];
                v[i] = bs[turn][k][i / E * (SIDE / 2) + tx * E + i % E];
            }
#pragma unroll
            for (int i = 0; i < S; i++)
#pragma unroll
                for (int j = 0; j < S; j++) acc[i][j] += u[i] * v[j];
        }
        if (more) store(turn ^ 1);
        __syncthreads();
        turn ^= 1;
    }
    Out* c = (Out*)g.c + blockIdx.z * g.stride_c;
#pragma unroll
    for (int i = 0; i < S; i++)
#pragma unroll
        for (int j = 0; j < S; j++) {
            int64_t m = (int64_t)m0 + i / E * (SIDE / 2) + ty * E + i % E;
            int64_t n = (int64_t)n0 + j / E * (SIDE / 2) + tx * E + j % E;
            if (m < g.m && n < g.n) cw_finish(g, c + m * g.ldc + n, acc[i][j]);
        }
}

#define CW_PLAIN_PRODUCT(NAME, T, ACC, OUT, S)                                                                        \
    extern "C" __global__ void __launch_bounds__(256) cw_product_plain_##NAME(const __grid_constant__ CwGemm g) {     \
        cw_plain_product<T, ACC, OUT, S>(g);                                                                          \
    }
CW_PLAIN_PRODUCT(f32, float, float, float, 8)
CW_PLAIN_PRODUCT(f16, __half, float, __half, 8)
CW_PLAIN_PRODUCT(bf16, CwBf, float, CwBf, 8)
CW_PLAIN_PRODUCT(i8, int8_t, int, int, 8)
CW_PLAIN_PRODUCT(f64, double, double, double, 4)

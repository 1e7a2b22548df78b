// Products of row-major matrices, and convolutions as products: what the kernels with and without tensor cores share.
#pragma once
#include "types.cuh"

// Mirrored in src/ops/cuda/tensor/product.rs.
struct CwGemm {
    const void* a;
    const void* b;
    void* c;
    int64_t lda, ldb, ldc;              // elements from one row to the next
    int64_t stride_a, stride_b, stride_c;  // from one matrix of the batch to the next
    double alpha, beta;
    int m, n, k;
    int ta, tb;              // as they lie: k x m, n x k
    int wide_a, wide_b;      // lines start at multiples of 16 bytes
    int wide_c;              // pairs of C may be written at once
    int round;               // f32 inputs keep 8 bits only (bf16)
    int convolution;         // b is an image, its columns what each output pixel sees
    int height, width, window, step, pad, out_width;
};

// `N` elements of a line of a matrix from `at` on; what lies outside is zero.
template <class T, int N>
struct alignas(N * sizeof(T)) CwChunk {
    T v[N];
};

template <class T, int N>
__device__ __forceinline__ CwChunk<T, N> cw_line(const T* x, int64_t ld, int64_t line, int64_t lines, int64_t at,
                                                 int64_t length, int wide) {
    CwChunk<T, N> c = {};
    if (line >= lines || at >= length) return c;
    const T* p = x + line * ld + at;
    if (wide && at + N <= length) return *reinterpret_cast<const CwChunk<T, N>*>(p);
#pragma unroll
    for (int i = 0; i < N; i++)
        if (at + i < length) c.v[i] = p[i];
    return c;
}

// The same of the columns of an image: line `line` is one channel and one place of the window, columns are pixels of the
// output.
template <class T, int N>
__device__ __forceinline__ CwChunk<T, N> cw_pixels(const CwGemm& g, const T* image, int64_t line64, int64_t at64) {
    CwChunk<T, N> c = {};
    if (line64 >= g.k || at64 >= g.n) return c;
    int line = (int)line64, at = (int)at64;
    int window = g.window * g.window, channel = line / window, place = line % window;
    int ky = place / g.window, kx = place % g.window;
    const T* plane = image + (int64_t)channel * g.height * g.width;
    int oy = at / g.out_width, ox = at % g.out_width;
#pragma unroll
    for (int i = 0; i < N; i++) {
        // Extents are below 2^31 and a step is at most as long as the padded image: 64 bits, so that nothing overflows.
        int64_t y = (int64_t)oy * g.step + ky - g.pad, x = (int64_t)ox * g.step + kx - g.pad;
        if (at + i < g.n && y >= 0 && y < g.height && x >= 0 && x < g.width) c.v[i] = plane[y * g.width + x];
        if (++ox == g.out_width) ox = 0, oy++;
    }
    return c;
}

// A chunk of A: `major` counts rows of op(A), `inner` along k, the one along the line being a multiple of N.
template <class T, int N>
__device__ __forceinline__ CwChunk<T, N> cw_chunk_a(const CwGemm& g, const T* a, int64_t line, int64_t at) {
    return g.ta ? cw_line<T, N>(a, g.lda, line, g.k, at, g.m, g.wide_a)
                : cw_line<T, N>(a, g.lda, line, g.m, at, g.k, g.wide_a);
}
template <class T, int N>
__device__ __forceinline__ CwChunk<T, N> cw_chunk_b(const CwGemm& g, const T* b, int64_t line, int64_t at) {
    if (g.convolution) return cw_pixels<T, N>(g, b, line, at);
    return g.tb ? cw_line<T, N>(b, g.ldb, line, g.n, at, g.k, g.wide_b)
                : cw_line<T, N>(b, g.ldb, line, g.k, at, g.n, g.wide_b);
}

// Which tile of C a block computes: tiles of eight rows of tiles column by column, so that blocks that run together
// share what they read.
__device__ __forceinline__ void cw_tile_of(const CwGemm& g, int side, int& m0, int& n0) {
    int down = (g.m - 1) / side + 1, across = (g.n - 1) / side + 1;
    uint32_t id = blockIdx.x, group = 8 * (uint32_t)across, first = id / group * 8;
    uint32_t rows = min((uint32_t)down - first, 8u), within = id % group;
    m0 = (int)(first + within % rows) * side;
    n0 = (int)(within / rows) * side;
}

// One output, or two side by side: alpha * sum + beta * c.
template <class A>
__device__ __forceinline__ void cw_finish(const CwGemm& g, float* c, A sum) {
    float v = (float)g.alpha * (float)sum;
    *c = g.beta == 0.0 ? v : v + (float)g.beta * *c;
}
template <class A>
__device__ __forceinline__ void cw_finish(const CwGemm& g, double* c, A sum) {
    double v = g.alpha * (double)sum;
    *c = g.beta == 0.0 ? v : v + g.beta * *c;
}
template <class A>
__device__ __forceinline__ void cw_finish(const CwGemm& g, __half* c, A sum) {
    float v = (float)g.alpha * (float)sum;
    *c = __float2half_rn(g.beta == 0.0 ? v : v + (float)g.beta * __half2float(*c));
}
template <class A>
__device__ __forceinline__ void cw_finish(const CwGemm& g, CwBf* c, A sum) {
    float v = (float)g.alpha * (float)sum;
    c->bits = cw_bf_bits(g.beta == 0.0 ? v : v + (float)g.beta * cw_float(*c));
}
// Modulo 2^32.
template <class A>
__device__ __forceinline__ void cw_finish(const CwGemm& g, int* c, A sum) {
    uint32_t v = (uint32_t)(int)g.alpha * (uint32_t)sum;
    *c = (int)(g.beta == 0.0 ? v : v + (uint32_t)(int)g.beta * (uint32_t)*c);
}

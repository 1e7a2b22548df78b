// Products with F32 and BF16 matrices in plain f32: rows lie one after another, each padded with zeros to a multiple
// of 8 columns (`stride`).
#include "common.cuh"

struct CwOctet {
    float v[8];
};
__device__ __forceinline__ CwOctet cw_load8(const float* p) {
    uint4 a = cw_stream16(p), b = cw_stream16(p + 4);
    return {{__uint_as_float(a.x), __uint_as_float(a.y), __uint_as_float(a.z), __uint_as_float(a.w),
             __uint_as_float(b.x), __uint_as_float(b.y), __uint_as_float(b.z), __uint_as_float(b.w)}};
}
__device__ __forceinline__ CwOctet cw_load8(const uint16_t* p) {
    uint4 a = cw_stream16(p);
    return {{cw_bf16(a.x & 0xffff), __uint_as_float(a.x & 0xffff0000u), cw_bf16(a.y & 0xffff),
             __uint_as_float(a.y & 0xffff0000u), cw_bf16(a.z & 0xffff), __uint_as_float(a.z & 0xffff0000u),
             cw_bf16(a.w & 0xffff), __uint_as_float(a.w & 0xffff0000u)}};
}
__device__ __forceinline__ float cw_load1(const float* p) { return *p; }
__device__ __forceinline__ float cw_load1(const uint16_t* p) { return cw_bf16(*p); }

// One warp computes two outputs of N rows (of which `n` exist). A lane takes every 32nd group of 8 columns; the sum's
// order depends on nothing but `stride`, so a row's result is the same for every N.
template <class T, int N>
__device__ __forceinline__ void cw_rows(const T* w, const float* x, const float* bias, float* out, int rows, int cols,
                                        int stride, int n, int add, int wide) {
    int warp = blockIdx.x * (blockDim.x / CW_WARP) + threadIdx.x / CW_WARP, lane = threadIdx.x % CW_WARP;
    int m = warp * 2;
    if (m >= rows) return;
    const T* w0 = w + (size_t)m * stride;
    const T* w1 = m + 1 < rows ? w0 + stride : w0;
    float acc[N][2];
#pragma unroll
    for (int j = 0; j < N; j++) acc[j][0] = acc[j][1] = 0.0f;
#pragma unroll 2
    for (int k = lane * 8; k < stride; k += 256) {
        CwOctet a = cw_load8(w0 + k), b = cw_load8(w1 + k);
#pragma unroll
        for (int j = 0; j < N; j++) {
            const float* row = x + (size_t)min(j, n - 1) * cols;
            float4 u = cw_row4(row, k, cols, wide), v = cw_row4(row, k + 4, cols, wide);
            float y[8] = {u.x, u.y, u.z, u.w, v.x, v.y, v.z, v.w};
#pragma unroll
            for (int i = 0; i < 8; i++) acc[j][0] += a.v[i] * y[i], acc[j][1] += b.v[i] * y[i];
        }
    }
#pragma unroll
    for (int j = 0; j < N; j++) {
        float s0 = cw_warp_sum(acc[j][0]), s1 = cw_warp_sum(acc[j][1]);
        if (j >= n || lane > 1 || m + lane >= rows) continue;
        float v = lane ? s1 : s0;
        if (bias) v += bias[m + lane];
        float* o = out + (size_t)j * rows + m + lane;
        *o = add ? *o + v : v;
    }
}

// Many rows: a block computes 64 outputs of 64 rows from tiles of 16 columns in shared memory, 4 by 4 a thread.
template <class T>
__device__ __forceinline__ void cw_tiled(const T* w, const float* x, const float* bias, float* out, int rows, int cols,
                                         int stride, int n, int add) {
    __shared__ float ws[16][68], xs[16][68];
    int m0 = blockIdx.x * 64, j0 = blockIdx.y * 64, tid = threadIdx.x, tm = tid % 16, tj = tid / 16;
    float acc[4][4] = {};
    for (int k0 = 0; k0 < cols; k0 += 16) {
        for (int i = tid; i < 1024; i += 256) {
            int k = i % 16, r = i / 16;
            ws[k][r] = m0 + r < rows && k0 + k < cols ? cw_load1(w + (size_t)(m0 + r) * stride + k0 + k) : 0.0f;
            xs[k][r] = j0 + r < n && k0 + k < cols ? x[(size_t)(j0 + r) * cols + k0 + k] : 0.0f;
        }
        __syncthreads();
#pragma unroll
        for (int k = 0; k < 16; k++) {
            float4 a = *reinterpret_cast<float4*>(&ws[k][tm * 4]), b = *reinterpret_cast<float4*>(&xs[k][tj * 4]);
            float u[4] = {a.x, a.y, a.z, a.w}, v[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
            for (int i = 0; i < 4; i++)
#pragma unroll
                for (int j = 0; j < 4; j++) acc[i][j] += u[i] * v[j];
        }
        __syncthreads();
    }
    for (int j = 0; j < 4; j++)
        for (int i = 0; i < 4; i++) {
            int m = m0 + tm * 4 + i, r = j0 + tj * 4 + j;
            if (m >= rows || r >= n) continue;
            float v = acc[i][j];
            if (bias) v += bias[m];
            float* o = out + (size_t)r * rows + m;
            *o = add ? *o + v : v;
        }
}

#define CW_ROWS(NAME, T, N)                                                                                           \
    extern "C" __global__ void __launch_bounds__(256)                                                                 \
        cw_rows_##NAME##_##N(const T* w, const float* x, const float* bias, float* out, int rows, int cols,           \
                             int stride, int n, int add, int wide) {                                                  \
        cw_rows<T, N>(w, x, bias, out, rows, cols, stride, n, add, wide);                                             \
    }
#define CW_TILED(NAME, T)                                                                                             \
    extern "C" __global__ void __launch_bounds__(256)                                                                 \
        cw_tiled_##NAME(const T* w, const float* x, const float* bias, float* out, int rows, int cols, int stride,    \
                        int n, int add) {                                                                             \
        cw_tiled<T>(w, x, bias, out, rows, cols, stride, n, add);                                                     \
    }

CW_ROWS(f32, float, 1)
CW_ROWS(f32, float, 4)
CW_ROWS(bf16, uint16_t, 1)
CW_ROWS(bf16, uint16_t, 4)
CW_TILED(f32, float)
CW_TILED(bf16, uint16_t)

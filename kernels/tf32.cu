// Products of many rows with F32 and BF16 matrices on tensor cores, inputs rounded to TF32 (10 bits of fraction), sums in
// f32: what a device runs whose tensor-core optimisation is on and that has no library for it. Matrices lie as in
// rows.cu. GPUs before compute capability 8.0 have no TF32; there the host takes other kernels.
#include "common.cuh"  // and cw_load1 of rows.cu

__device__ __forceinline__ uint32_t cw_tf32(float v) {
#if __CUDA_ARCH__ >= 800
    uint32_t r;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(v));
    return r;
#else
    return __float_as_uint(v);
#endif
}

__device__ __forceinline__ void cw_mma_tf32(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#if __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}

// A block computes 64 outputs of 64 rows from tiles of 16 columns in shared memory; a warp 16 outputs of 32 rows. Rows
// of the tiles are 72 words long, so that the 32 lanes of a fragment meet 32 banks.
template <class T>
__device__ __forceinline__ void cw_tiled_tf32(const T* w, const float* x, const float* bias, float* out, int rows,
                                              int cols, int stride, int n, int add) {
    __shared__ uint32_t ws[16][72], xs[16][72];
    int m0 = blockIdx.x * 64, j0 = blockIdx.y * 64, tid = threadIdx.x;
    int warp = tid / CW_WARP, lane = tid % CW_WARP, g = lane / 4, t = lane % 4;
    int wm = warp % 4 * 16, wj = warp / 4 * 32;
    float acc[4][4] = {};
    for (int k0 = 0; k0 < cols; k0 += 16) {
        for (int i = tid; i < 1024; i += 256) {
            int k = i % 16, r = i / 16;
            ws[k][r] = cw_tf32(
                m0 + r < rows && k0 + k < cols ? cw_load1(w + (size_t)(m0 + r) * stride + k0 + k) : 0.0f);
            xs[k][r] = cw_tf32(j0 + r < n && k0 + k < cols ? x[(size_t)(j0 + r) * cols + k0 + k] : 0.0f);
        }
        __syncthreads();
#pragma unroll
        for (int k = 0; k < 16; k += 8) {
            uint32_t a[4] = {ws[k + t][wm + g], ws[k + t][wm + g + 8], ws[k + t + 4][wm + g],
                             ws[k + t + 4][wm + g + 8]};
#pragma unroll
            for (int q = 0; q < 4; q++)
                cw_mma_tf32(acc[q], a, xs[k + t][wj + q * 8 + g], xs[k + t + 4][wj + q * 8 + g]);
        }
        __syncthreads();
    }
#pragma unroll
    for (int q = 0; q < 4; q++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int m = m0 + wm + g + i / 2 * 8, r = j0 + wj + q * 8 + 2 * t + i % 2;
            if (m >= rows || r >= n) continue;
            float v = acc[q][i];
            if (bias) v += bias[m];
            float* o = out + (size_t)r * rows + m;
            *o = add ? *o + v : v;
        }
}

#define CW_TF32(NAME, T)                                                                                              \
    extern "C" __global__ void __launch_bounds__(256)                                                                 \
        cw_tf32_##NAME(const T* w, const float* x, const float* bias, float* out, int rows, int cols, int stride,     \
                       int n, int add) {                                                                              \
        cw_tiled_tf32<T>(w, x, bias, out, rows, cols, stride, n, add);                                                \
    }

CW_TF32(f32, float)
CW_TF32(bf16, uint16_t)

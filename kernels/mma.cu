// Instances of mma.cuh, and the splitting of many rows of activations.
#include "mma.cuh"

// x f32 [n][cols] into fragments [group of 4 rows][block of 32 columns][lane] of 16 bytes; rows and columns beyond
// the matrix are zero. One warp a block of 32 columns; grid (blocks / 8, groups).
extern "C" __global__ void __launch_bounds__(256) cw_split_rows(const float* x, uint4* out, int n, int cols, int blocks,
                                                                 int wide) {
    int b = blockIdx.x * 8 + threadIdx.x / CW_WARP, lane = threadIdx.x % CW_WARP, g = lane / 4, t = lane % 4;
    if (b >= blocks) return;
    int row = blockIdx.y * 4 + g % 4;
    float4 v0 = make_float4(0, 0, 0, 0), v1 = v0;
    if (row < n) {
        const float* p = x + (size_t)row * cols;
        v0 = cw_row4(p, b * 32 + 4 * t, cols, wide);
        v1 = cw_row4(p, b * 32 + 16 + 4 * t, cols, wide);
    }
    uint2 h0, l0, h1, l1;
    cw_split4(v0, h0, l0);
    cw_split4(v1, h1, l1);
    uint2 a = g < 4 ? h0 : l0, c = g < 4 ? h1 : l1;
    out[((size_t)blockIdx.y * blocks + b) * 32 + lane] = make_uint4(a.x, a.y, c.x, c.y);
}

#define CW_MMA_KERNELS(NAME, F, RESIDENT)                                                                                       \
    extern "C" __global__ void __launch_bounds__(CW_MMA_THREADS, RESIDENT)                                            \
        cw_mma_##NAME##_direct(const __grid_constant__ CwProducts a, const float* x) {                                \
        cw_mma_direct<F>(a, x);                                                                                       \
    }                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(CW_MMA_THREADS)                                                      \
        cw_mma_##NAME##_x2(const __grid_constant__ CwProducts a, const uint4* x) {                                    \
        cw_mma_prepared<F, 2>(a, x);                                                                                  \
    }                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(CW_MMA_THREADS)                                                      \
        cw_mma_##NAME##_x8(const __grid_constant__ CwProducts a, const uint4* x) {                                    \
        cw_mma_prepared<F, 8>(a, x);                                                                                  \
    }

CW_MMA_KERNELS(f16, CwF16, 2)
CW_MMA_KERNELS(q8_0, CwQ8_0, 3)
CW_MMA_KERNELS(q4_0, CwQ4_0, 3)
CW_MMA_KERNELS(q4_k, CwQ4_K, 2)
CW_MMA_KERNELS(q6_k, CwQ6_K, 2)

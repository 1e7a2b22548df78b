// Element by element, row by row: activations, sums, gathers, norms, embeddings, conversions.
#include "formats.cuh"

// 0 SiLU, 1 GELU, 2 the tanh approximation of GELU, 3 squared ReLU; as in src/ops/cuda/mod.rs.
__device__ __forceinline__ float cw_activation(int kind, float x) {
    if (kind == 0) return x / (1.0f + expf(-x));
    // 1 + erf and 1 + tanh of a large negative number would cancel.
    if (kind == 1) return 0.5f * x * erfcf(x * -0.70710678118654752f);
    if (kind == 3) return x < 0.0f ? 0.0f : x * x;
    return x / (1.0f + expf(-1.5957691216057307f * (x + 0.044715f * x * x * x)));
}

extern "C" __global__ void __launch_bounds__(256) cw_gated(int kind, float* gate, const float* up, uint64_t count) {
    uint64_t i = (uint64_t)blockIdx.x * 256 + threadIdx.x;
    if (i < count) gate[i] = cw_activation(kind, gate[i]) * up[i];
}

extern "C" __global__ void __launch_bounds__(256) cw_activate(int kind, float* x, uint64_t count) {
    uint64_t i = (uint64_t)blockIdx.x * 256 + threadIdx.x;
    if (i < count) x[i] = cw_activation(kind, x[i]);
}

extern "C" __global__ void __launch_bounds__(256) cw_add(float* x, const float* y, uint64_t count) {
    uint64_t i = (uint64_t)blockIdx.x * 256 + threadIdx.x;
    if (i < count) x[i] += y[i];
}

// grid (n, parts of a row)
extern "C" __global__ void __launch_bounds__(256) cw_gather(const float* x, const int* index, float* out, int dim) {
    int k = blockIdx.y * 256 + threadIdx.x;
    if (k < dim) out[(size_t)blockIdx.x * dim + k] = x[(size_t)index[blockIdx.x] * dim + k];
}

// Norms: one block a row, or (the _small kernels, for heads) one warp a row. The mean is taken first and the squares
// of the differences then, so that a large mean costs no accuracy.
extern "C" __global__ void __launch_bounds__(512) cw_rms_norm(const float* x, const float* w, float* out, int dim,
                                                               float eps) {
    __shared__ float part[32];
    const float* row = x + (size_t)blockIdx.x * dim;
    float sum = 0.0f;
    for (int k = threadIdx.x; k < dim; k += blockDim.x) sum += row[k] * row[k];
    float r = 1.0f / sqrtf(cw_block_sum(sum, part) / (float)dim + eps);
    for (int k = threadIdx.x; k < dim; k += blockDim.x) out[(size_t)blockIdx.x * dim + k] = row[k] * r * w[k];
}

extern "C" __global__ void __launch_bounds__(256) cw_rms_norm_small(const float* x, const float* w, float* out, int n,
                                                                     int dim, float eps) {
    int i = blockIdx.x * 8 + threadIdx.x / CW_WARP, lane = threadIdx.x % CW_WARP;
    if (i >= n) return;
    const float* row = x + (size_t)i * dim;
    float sum = 0.0f;
    for (int k = lane; k < dim; k += CW_WARP) sum += row[k] * row[k];
    float r = 1.0f / sqrtf(cw_warp_sum(sum) / (float)dim + eps);
    for (int k = lane; k < dim; k += CW_WARP) out[(size_t)i * dim + k] = row[k] * r * w[k];
}

extern "C" __global__ void __launch_bounds__(512) cw_layer_norm(const float* x, const float* w, const float* bias,
                                                                 float* out, int dim, float eps) {
    __shared__ float part[32];
    const float* row = x + (size_t)blockIdx.x * dim;
    float sum = 0.0f;
    for (int k = threadIdx.x; k < dim; k += blockDim.x) sum += row[k];
    float mean = cw_block_sum(sum, part) / (float)dim;
    sum = 0.0f;
    for (int k = threadIdx.x; k < dim; k += blockDim.x) sum += (row[k] - mean) * (row[k] - mean);
    float r = 1.0f / sqrtf(cw_block_sum(sum, part) / (float)dim + eps);
    for (int k = threadIdx.x; k < dim; k += blockDim.x)
        out[(size_t)blockIdx.x * dim + k] = (row[k] - mean) * r * w[k] + bias[k];
}

// Embeddings: grid (n, parts of a row of 256 columns).
template <class F>
__device__ __forceinline__ void cw_embed(const char* w, const int* ids, float* out, int cols, int chunks) {
    int k = blockIdx.y * 256 + threadIdx.x;
    if (k < cols) out[(size_t)blockIdx.x * cols + k] = cw_element<F>(w, chunks, ids[blockIdx.x], k);
}
// Whole matrices as f16 [rows][cols], for a library's product: grid (rows, parts of a row).
template <class F>
__device__ __forceinline__ void cw_unpack(const char* w, half* out, int cols, int chunks) {
    int k = blockIdx.y * 256 + threadIdx.x;
    if (k < cols) out[(size_t)blockIdx.x * cols + k] = __float2half_rn(cw_element<F>(w, chunks, blockIdx.x, k));
}
#define CW_FORMAT(NAME, F)                                                                                            \
    extern "C" __global__ void __launch_bounds__(256)                                                                 \
        cw_embed_##NAME(const char* w, const int* ids, float* out, int cols, int chunks) {                            \
        cw_embed<F>(w, ids, out, cols, chunks);                                                                       \
    }                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(256)                                                                 \
        cw_unpack_##NAME(const char* w, half* out, int cols, int chunks) {                                            \
        cw_unpack<F>(w, out, cols, chunks);                                                                           \
    }
CW_FORMAT(f16, CwF16)
CW_FORMAT(q8_0, CwQ8_0)
CW_FORMAT(q4_0, CwQ4_0)
CW_FORMAT(q4_k, CwQ4_K)
CW_FORMAT(q6_k, CwQ6_K)

extern "C" __global__ void __launch_bounds__(256) cw_embed_f32(const float* w, const int* ids, float* out, int cols,
                                                                int stride) {
    int k = blockIdx.y * 256 + threadIdx.x;
    if (k < cols) out[(size_t)blockIdx.x * cols + k] = w[(size_t)ids[blockIdx.x] * stride + k];
}
extern "C" __global__ void __launch_bounds__(256) cw_embed_bf16(const uint16_t* w, const int* ids, float* out, int cols,
                                                                 int stride) {
    int k = blockIdx.y * 256 + threadIdx.x;
    if (k < cols) out[(size_t)blockIdx.x * cols + k] = cw_bf16(w[(size_t)ids[blockIdx.x] * stride + k]);
}

// Activations for a library's product: f16 of x / 16 (so that 1e6 fits), or bf16, rounded to nearest even. With `second` above
// 0 what that rounding lost goes to a second part, so many elements further on: together they carry twice the bits.
extern "C" __global__ void __launch_bounds__(256) cw_to_f16(const float* x, half* out, uint64_t count, uint64_t second) {
    uint64_t i = (uint64_t)blockIdx.x * 256 + threadIdx.x;
    if (i >= count) return;
    float v = x[i] * 0.0625f;
    half high = __float2half_rn(v);
    out[i] = high;
    if (second) out[second + i] = __float2half_rn(v - __half2float(high));
}
__device__ static inline uint16_t cw_round_bf16(float v) {
    uint32_t b = __float_as_uint(v);
    return (b & 0x7fffffffu) > 0x7f800000u ? (uint16_t)((b >> 16) | 0x40u)
                                           : (uint16_t)((b + 0x7fffu + ((b >> 16) & 1u)) >> 16);
}
extern "C" __global__ void __launch_bounds__(256) cw_to_bf16(const float* x, uint16_t* out, uint64_t count, uint64_t second) {
    uint64_t i = (uint64_t)blockIdx.x * 256 + threadIdx.x;
    if (i >= count) return;
    uint16_t high = cw_round_bf16(x[i]);
    out[i] = high;
    if (second) out[second + i] = cw_round_bf16(x[i] - cw_bf16(high));
}
extern "C" __global__ void __launch_bounds__(256) cw_bias(float* out, const float* bias, int rows) {
    int k = blockIdx.y * 256 + threadIdx.x;
    if (k < rows) out[(size_t)blockIdx.x * rows + k] += bias[k];
}

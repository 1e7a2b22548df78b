// Rotary embedding and the store into the cache.
#include "attention.cuh"

__device__ __forceinline__ void cw_put(float* p, float v) { *p = v; }
__device__ __forceinline__ void cw_put(half* p, float v) { *p = __float2half_rn(v); }

// One thread a pair of elements: the pairs of q's heads, then of k's, each of which also stores its pair of v.
// Grid (n, parts of the pairs of a row).
template <class T>
__device__ __forceinline__ void cw_rope(const CwCache& c, float* q, float* k, const float* v, const float* freq,
                                        float magnitude, int heads, int interleaved) {
    int row = blockIdx.x, pair = blockIdx.y * 256 + threadIdx.x, half_dim = c.head_dim / 2;
    if (pair >= (heads + c.kv_heads) * half_dim) return;
    int head = pair / half_dim, i = pair % half_dim, position = c.positions[row];
    int e0 = interleaved ? 2 * i : i, e1 = interleaved ? 2 * i + 1 : i + half_dim;
    float sin_, cos_;
    sincosf((float)position * freq[i], &sin_, &cos_);
    sin_ *= magnitude, cos_ *= magnitude;
    if (head < heads) {
        float* p = q + ((size_t)row * heads + head) * c.head_dim;
        float a = p[e0], b = p[e1];
        p[e0] = a * cos_ - b * sin_;
        p[e1] = b * cos_ + a * sin_;
    } else {
        head -= heads;
        size_t at = ((size_t)row * c.kv_heads + head) * c.head_dim;
        float a = k[at + e0], b = k[at + e1];
        float x = a * cos_ - b * sin_, y = b * cos_ + a * sin_;
        k[at + e0] = x, k[at + e1] = y;
        const int* table = c.tables + (size_t)c.sequences[row] * c.width;
        T* cell = reinterpret_cast<T*>(cw_cell(c, table, head, position, sizeof(T)));
        cw_put(cell + e0, x), cw_put(cell + e1, y);
        T* values = reinterpret_cast<T*>(reinterpret_cast<char*>(cell) + c.half_bytes);
        cw_put(values + e0, v[at + e0]), cw_put(values + e1, v[at + e1]);
    }
}

extern "C" __global__ void __launch_bounds__(256)
    cw_rope_store_f32(const __grid_constant__ CwCache c, float* q, float* k, const float* v, const float* freq,
                      float magnitude, int heads, int interleaved) {
    cw_rope<float>(c, q, k, v, freq, magnitude, heads, interleaved);
}
extern "C" __global__ void __launch_bounds__(256)
    cw_rope_store_f16(const __grid_constant__ CwCache c, float* q, float* k, const float* v, const float* freq,
                      float magnitude, int heads, int interleaved) {
    cw_rope<half>(c, q, k, v, freq, magnitude, heads, interleaved);
}

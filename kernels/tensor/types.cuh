// The types of tensors' elements: each as f32 and back, 16 bytes at a time.
#pragma once
#include "../common.cuh"

// A bf16 of its own type, so that templates tell it from an integer.
struct CwBf {
    uint16_t bits;
};

__device__ __forceinline__ float cw_float(float v) { return v; }
__device__ __forceinline__ float cw_float(__half v) { return __half2float(v); }
__device__ __forceinline__ float cw_float(CwBf v) { return cw_bf16(v.bits); }
__device__ __forceinline__ float cw_float(int8_t v) { return (float)v; }

// To nearest even. Rounding makes no infinity of a NaN.
__device__ __forceinline__ uint16_t cw_bf_bits(float v) {
    uint32_t b = __float_as_uint(v);
    return (b & 0x7fffffffu) > 0x7f800000u ? (uint16_t)((b >> 16) | 0x40u)
                                           : (uint16_t)((b + 0x7fffu + ((b >> 16) & 1u)) >> 16);
}
__device__ __forceinline__ void cw_put(float& to, float v) { to = v; }
__device__ __forceinline__ void cw_put(__half& to, float v) { to = __float2half_rn(v); }
__device__ __forceinline__ void cw_put(CwBf& to, float v) { to.bits = cw_bf_bits(v); }

// 16 bytes of elements.
template <class T>
struct alignas(16) CwPack {
    static const int N = 16 / sizeof(T);
    T v[N];
};

// Elements from `i` on as f32; those from `count` on are zero.
template <class T>
__device__ __forceinline__ void cw_load_pack(const T* x, uint64_t i, uint64_t count, bool wide, float* out) {
    const int N = CwPack<T>::N;
    if (wide && i + N <= count) {
        CwPack<T> p = *reinterpret_cast<const CwPack<T>*>(x + i);
#pragma unroll
        for (int j = 0; j < N; j++) out[j] = cw_float(p.v[j]);
    } else {
#pragma unroll
        for (int j = 0; j < N; j++) out[j] = i + j < count ? cw_float(x[i + j]) : 0.0f;
    }
}

template <class T>
__device__ __forceinline__ void cw_store_pack(T* x, uint64_t i, uint64_t count, bool wide, const float* in) {
    const int N = CwPack<T>::N;
    if (wide && i + N <= count) {
        CwPack<T> p;
#pragma unroll
        for (int j = 0; j < N; j++) cw_put(p.v[j], in[j]);
        *reinterpret_cast<CwPack<T>*>(x + i) = p;
    } else {
#pragma unroll
        for (int j = 0; j < N; j++)
            if (i + j < count) cw_put(x[i + j], in[j]);
    }
}

// The threads that share a row: a warp, or the whole block.
struct CwTeam {
    int rank, size;
    uint64_t row;
};

// With `by_warp` each warp of the block has a row of its own.
__device__ __forceinline__ CwTeam cw_team(int by_warp) {
    CwTeam t;
    t.size = by_warp ? CW_WARP : (int)blockDim.x;
    t.rank = by_warp ? (int)(threadIdx.x % CW_WARP) : (int)threadIdx.x;
    t.row = by_warp ? (uint64_t)blockIdx.x * (blockDim.x / CW_WARP) + threadIdx.x / CW_WARP : (uint64_t)blockIdx.x;
    return t;
}

// Joins a value of every thread of a team, in an order that only the team's size decides; all get the result.
// `part` is shared memory for 32 values. Rows that do not exist must take part.
template <class V, class Join>
__device__ __forceinline__ V cw_join(const CwTeam& team, V v, V* part, Join join) {
#pragma unroll
    for (int o = 16; o > 0; o >>= 1) v = join(v, V::shuffled(v, o));
    if (team.size == CW_WARP) return v;
    int warp = threadIdx.x / CW_WARP, lane = threadIdx.x % CW_WARP;
    __syncthreads();
    if (lane == 0) part[warp] = v;
    __syncthreads();
    v = part[0];
    for (int w = 1; w < (int)blockDim.x / CW_WARP; w++) v = join(v, part[w]);
    return v;
}

struct CwOne {
    float v;
    static __device__ __forceinline__ CwOne shuffled(CwOne a, int o) {
        return {__shfl_xor_sync(CW_FULL, a.v, o)};
    }
};

__device__ __forceinline__ float cw_team_sum(const CwTeam& team, float v, CwOne* part) {
    return cw_join(team, CwOne{v}, part, [](CwOne a, CwOne b) { return CwOne{a.v + b.v}; }).v;
}
// The larger, or a NaN.
__device__ __forceinline__ float cw_larger(float a, float b) { return a > b || a != a ? a : b; }
__device__ __forceinline__ float cw_smaller(float a, float b) { return a < b || a != a ? a : b; }
__device__ __forceinline__ float cw_team_max(const CwTeam& team, float v, CwOne* part) {
    return cw_join(team, CwOne{v}, part, [](CwOne a, CwOne b) { return CwOne{cw_larger(a.v, b.v)}; }).v;
}

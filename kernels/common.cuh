// What every kernel file uses: vector types, loads, reductions. Kernels are `extern "C"`, so their names in the image
// are the names in the source; nothing here has static storage, so the image depends on nothing but this text.
#pragma once
#include <cuda_fp16.h>
#include <stdint.h>

#define CW_WARP 32
#define CW_FULL 0xffffffffu

// Weights are read once a step: 16 bytes a thread, past L1 so that activations stay there.
__device__ __forceinline__ uint4 cw_stream16(const void* p) {
    uint4 v;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(p));
    return v;
}

__device__ __forceinline__ uint2 cw_stream8(const void* p) {
    uint2 v;
    asm volatile("ld.global.nc.L1::no_allocate.v2.u32 {%0,%1}, [%2];" : "=r"(v.x), "=r"(v.y) : "l"(p));
    return v;
}

__device__ __forceinline__ uint32_t cw_stream4(const void* p) {
    uint32_t v;
    asm volatile("ld.global.nc.L1::no_allocate.u32 %0, [%1];" : "=r"(v) : "l"(p));
    return v;
}

// 16 bytes of shared memory by its 32-bit address, so that the compiler keeps one register for it.
__device__ __forceinline__ uint4 cw_shared16(uint32_t p) {
    uint4 v;
    asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "r"(p)
                 : "memory");
    return v;
}

// Four activations from column k of a row; beyond `cols` they are zero. `wide` says that rows are 16-byte aligned.
__device__ __forceinline__ float4 cw_row4(const float* row, int k, int cols, bool wide) {
    if (wide && k + 4 <= cols) return *reinterpret_cast<const float4*>(row + k);
    float4 v;
    v.x = k + 0 < cols ? row[k + 0] : 0.0f;
    v.y = k + 1 < cols ? row[k + 1] : 0.0f;
    v.z = k + 2 < cols ? row[k + 2] : 0.0f;
    v.w = k + 3 < cols ? row[k + 3] : 0.0f;
    return v;
}

__device__ __forceinline__ float cw_warp_sum(float v) {
#pragma unroll
    for (int o = 16; o > 0; o >>= 1) v += __shfl_xor_sync(CW_FULL, v, o);
    return v;
}

__device__ __forceinline__ float cw_warp_max(float v) {
#pragma unroll
    for (int o = 16; o > 0; o >>= 1) v = fmaxf(v, __shfl_xor_sync(CW_FULL, v, o));
    return v;
}

// Sum over the block, the same value in every thread, in an order that only the block's size decides.
// `part` is shared memory for 32 floats.
__device__ __forceinline__ float cw_block_sum(float v, float* part) {
    int warp = threadIdx.x / CW_WARP, lane = threadIdx.x % CW_WARP;
    v = cw_warp_sum(v);
    __syncthreads();
    if (lane == 0) part[warp] = v;
    __syncthreads();
    float sum = 0.0f;
    for (int w = 0; w < (int)blockDim.x / CW_WARP; w++) sum += part[w];
    return sum;
}

__device__ __forceinline__ half2 cw_half2(uint32_t bits) { return *reinterpret_cast<half2*>(&bits); }
__device__ __forceinline__ uint32_t cw_bits(half2 h) { return *reinterpret_cast<uint32_t*>(&h); }
__device__ __forceinline__ float cw_bf16(uint32_t low16) { return __uint_as_float(low16 << 16); }

// An unsigned byte of a word as f32, without the slow integer conversion: 2^23 + b is b in the low mantissa bits.
__device__ __forceinline__ float cw_byte(uint32_t word, int i) {
    return __uint_as_float(__byte_perm(word, 0x4b000000u, 0x7440 | i)) - 8388608.0f;
}

// Conversions and transpositions.
#include "types.cuh"

// f64 as f32 whose last bit says whether anything was lost, so that rounding it further is right.
__device__ __forceinline__ float cw_odd(double v) {
    float down = __double2float_rz(v);
    return (double)down == v || v != v || isinf(v) ? down : __uint_as_float(__float_as_uint(down) | 1u);
}

// Numbers of the types as in cudaDataType_t.
template <class S>
__device__ __forceinline__ void cw_cast_one(S v, int to, void* out, uint64_t i) {
    // f32 holds every value of the narrow types, f64 of the wide ones.
    constexpr bool NARROW = sizeof(S) < 4 || (sizeof(S) == 4 && (S)0.5 != (S)0);
    if constexpr (NARROW) {
        float f = (float)v;
        switch (to) {
            case 0: ((float*)out)[i] = f; break;
            case 1: ((double*)out)[i] = (double)f; break;
            case 2: ((__half*)out)[i] = __float2half_rn(f); break;
            case 3: ((int8_t*)out)[i] = f != f ? 0 : (int8_t)max(-128, min(127, __float2int_rn(f))); break;
            case 10: ((int*)out)[i] = f != f ? 0 : __float2int_rn(f); break;
            default: ((uint16_t*)out)[i] = cw_bf_bits(f); break;
        }
    } else {
        double d = (double)v;
        switch (to) {
            case 0: ((float*)out)[i] = __double2float_rn(d); break;
            case 1: ((double*)out)[i] = d; break;
            case 2: ((__half*)out)[i] = __float2half_rn(cw_odd(d)); break;
            case 3: ((int8_t*)out)[i] = d != d ? 0 : (int8_t)max(-128, min(127, __double2int_rn(d))); break;
            case 10: ((int*)out)[i] = d != d ? 0 : __double2int_rn(d); break;
            default: ((uint16_t*)out)[i] = cw_bf_bits(cw_odd(d)); break;
        }
    }
}

template <class S>
__device__ __forceinline__ S cw_plain_value(S v) { return v; }
__device__ __forceinline__ float cw_plain_value(__half v) { return __half2float(v); }
__device__ __forceinline__ float cw_plain_value(CwBf v) { return cw_float(v); }

#define CW_CAST(NAME, S)                                                                                              \
    extern "C" __global__ void __launch_bounds__(256)                                                                 \
        cw_cast_##NAME(const S* x, void* out, int to, uint64_t count) {                                               \
        uint64_t first = (uint64_t)blockIdx.x * 1024 + threadIdx.x;                                                   \
        _Pragma("unroll") for (int j = 0; j < 4; j++) {                                                               \
            uint64_t i = first + j * 256;                                                                             \
            if (i < count) cw_cast_one(cw_plain_value(x[i]), to, out, i);                                             \
        }                                                                                                             \
    }
CW_CAST(f32, float)
CW_CAST(f64, double)
CW_CAST(f16, __half)
CW_CAST(bf16, CwBf)
CW_CAST(i8, int8_t)
CW_CAST(i32, int)

// Squares of 32 by 32 through shared memory, so that both sides are read and written in lines.
template <class T>
__device__ __forceinline__ void cw_transpose(const T* x, T* out, int rows, int cols, uint64_t ld, uint64_t out_ld) {
    __shared__ T tile[32][33];
    uint32_t across = ((uint32_t)cols + 31) / 32;
    long long row0 = (long long)(blockIdx.x / across) * 32, col0 = (long long)(blockIdx.x % across) * 32;
    int tx = threadIdx.x % 32, ty = threadIdx.x / 32;
#pragma unroll
    for (int j = 0; j < 32; j += 8) {
        long long r = row0 + ty + j, c = col0 + tx;
        if (r < rows && c < cols) tile[ty + j][tx] = x[r * ld + c];
    }
    __syncthreads();
#pragma unroll
    for (int j = 0; j < 32; j += 8) {
        long long r = row0 + tx, c = col0 + ty + j;
        if (r < rows && c < cols) out[c * out_ld + r] = tile[tx][ty + j];
    }
}

#define CW_TRANSPOSE(BYTES, T)                                                                                        \
    extern "C" __global__ void __launch_bounds__(256)                                                                 \
        cw_transpose_##BYTES(const T* x, T* out, int rows, int cols, uint64_t ld, uint64_t out_ld) {                  \
        cw_transpose<T>(x, out, rows, cols, ld, out_ld);                                                              \
    }
CW_TRANSPOSE(1, uint8_t)
CW_TRANSPOSE(2, uint16_t)
CW_TRANSPOSE(4, uint32_t)
CW_TRANSPOSE(8, uint64_t)

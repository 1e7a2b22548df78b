// Functions of each element by itself: 16 bytes a load, two loads a thread in flight. The numbers of the functions are
// those of src/ops/tensor/map.rs.
#include "types.cuh"

__device__ __forceinline__ float cw_six(float v) {
    float y = v < 0.0f ? 0.0f : v;
    return y > 6.0f ? 6.0f : y;
}
__device__ __forceinline__ float cw_gelu_tanh(float v) {
    float y = v / (1.0f + expf(-1.5957691216057307f * (v + 0.044715f * v * v * v)));
    // Beyond 10 the cube may overflow.
    y = v > 10.0f ? v : y;
    return v < -10.0f ? -0.0f : y;
}
__device__ __forceinline__ float cw_mish(float v) {
    // tanh(ln(1 + e^v)) = n / (n + 2) with n = e^v (e^v + 2).
    float e = expf(v > 20.0f ? 20.0f : v), n = e * (e + 2.0f);
    return v < -110.0f ? -0.0f : v * (n / (n + 2.0f));
}

#define CW_EACH(VALUE)                                                                                                \
    {                                                                                                                 \
        _Pragma("unroll") for (int i = 0; i < N; i++) {                                                               \
            float u = x[i], v = y[i];                                                                                 \
            (void)u, (void)v;                                                                                         \
            x[i] = (VALUE);                                                                                           \
        }                                                                                                             \
        break;                                                                                                        \
    }

template <int N>
__device__ __forceinline__ void cw_apply(int f, float a, float b, float (&x)[N], const float (&y)[N]) {
    switch (f) {
        case 1: CW_EACH(u < 0.0f ? 0.0f : u)
        case 2: CW_EACH(u < 0.0f ? a * u : u)
        case 3: CW_EACH(1.0f / (1.0f + expf(-u)))
        case 4: CW_EACH(tanhf(u))
        // 1 + erf of a large negative number would cancel.
        case 5: CW_EACH(u < -20.0f ? -0.0f : 0.5f * u * erfcf(u * -0.70710678118654752f))
        case 6: CW_EACH(cw_gelu_tanh(u))
        case 7: CW_EACH(u < -110.0f ? -0.0f : u / (1.0f + expf(-u)))
        case 8: CW_EACH(u < 0.0f ? a * expm1f(u) : u)
        case 9: CW_EACH((u > 0.0f ? u : 0.0f) + (u != u ? u : log1pf(expf(-fabsf(u)))))
        case 10: CW_EACH(u * (cw_six(u + 3.0f) * (1.0f / 6.0f)))
        case 11: CW_EACH(cw_six(u + 3.0f) * (1.0f / 6.0f))
        case 12: CW_EACH(cw_mish(u))
        case 13: CW_EACH(cw_six(u))
        case 14: CW_EACH(u / (1.0f + fabsf(u)))
        case 15: CW_EACH(1.0507009873554805f * (u < 0.0f ? 1.6732632423543772f * expm1f(u) : u))
        case 20: CW_EACH(expf(u))
        case 21: CW_EACH(logf(u))
        case 22: CW_EACH(sqrtf(u))
        case 23: CW_EACH(1.0f / sqrtf(u))
        case 24: CW_EACH(fabsf(u))
        case 25: CW_EACH(-u)
        case 26: CW_EACH(1.0f / u)
        case 27: CW_EACH(u * u)
        case 30: CW_EACH(a * u)
        case 31: CW_EACH(u + a)
        case 32: CW_EACH((u < a ? a : u) > b ? b : (u < a ? a : u))
        case 33: CW_EACH(a)
        case 40: CW_EACH(u + v)
        case 41: CW_EACH(u - v)
        case 42: CW_EACH(u * v)
        case 43: CW_EACH(u / v)
        case 44: CW_EACH(cw_larger(u, v))
        case 45: CW_EACH(cw_smaller(u, v))
        // A product and a sum, each rounded, as on the CPU device.
        case 46: CW_EACH(__fadd_rn(__fmul_rn(a, u), v))
        default: break;  // the identity
    }
}

template <class T>
__device__ __forceinline__ void cw_map(int f, const T* x, const T* y, T* out, float a, float b, uint64_t count,
                                       int wide) {
    const int N = CwPack<T>::N;
    uint64_t first = ((uint64_t)blockIdx.x * 512 + threadIdx.x) * N, second = first + 256 * N;
    float u[2][N] = {}, v[2][N] = {};
    if (f != 33) {
        cw_load_pack(x, first, count, wide, u[0]);
        cw_load_pack(x, second, count, wide, u[1]);
    }
    if (f >= 40) {
        cw_load_pack(y, first, count, wide, v[0]);
        cw_load_pack(y, second, count, wide, v[1]);
    }
    cw_apply<N>(f, a, b, u[0], v[0]);
    cw_apply<N>(f, a, b, u[1], v[1]);
    cw_store_pack(out, first, count, wide, u[0]);
    cw_store_pack(out, second, count, wide, u[1]);
}

#define CW_MAP(NAME, T)                                                                                               \
    extern "C" __global__ void __launch_bounds__(256)                                                                 \
        cw_map_##NAME(int f, const T* x, const T* y, T* out, float a, float b, uint64_t count, int wide) {            \
        cw_map<T>(f, x, y, out, a, b, count, wide);                                                                   \
    }
CW_MAP(f32, float)
CW_MAP(f16, __half)
CW_MAP(bf16, CwBf)

// Bytes: the negative ones become `least`, which is 0 or -128.
extern "C" __global__ void __launch_bounds__(256)
    cw_map_i8(const int8_t* x, int8_t* out, int least, uint64_t count, int wide) {
    uint64_t i = ((uint64_t)blockIdx.x * 256 + threadIdx.x) * 16;
    if (wide && i + 16 <= count) {
        uint4 v = *reinterpret_cast<const uint4*>(x + i);
        uint32_t l = (uint32_t)(uint8_t)least * 0x01010101u;
        v.x = __vmaxs4(v.x, l), v.y = __vmaxs4(v.y, l), v.z = __vmaxs4(v.z, l), v.w = __vmaxs4(v.w, l);
        *reinterpret_cast<uint4*>(out + i) = v;
        return;
    }
    for (int j = 0; j < 16; j++)
        if (i + j < count) out[i + j] = (int8_t)max((int)x[i + j], least);
}

// x = x * a + b, `times` times over, product and sum each rounded. One thread of a block looks at the flag about every
// 100 microseconds, so also before a part is begun; a block that finds it set leaves its elements as far as they are.
extern "C" __global__ void __launch_bounds__(256)
    cw_iterate(float* x, uint64_t count, float a, float b, uint64_t times, const volatile uint32_t* flag) {
    __shared__ int stop;
    const int STEPS = 2048;  // 130 cycles each where a processor is full
    for (uint64_t part = (uint64_t)blockIdx.x * 1024; part < count; part += (uint64_t)gridDim.x * 1024) {
        float v[4];
        uint64_t i = part + threadIdx.x;
#pragma unroll
        for (int j = 0; j < 4; j++) v[j] = i + j * 256 < count ? x[i + j * 256] : 0.0f;
        for (uint64_t left = times; left > 0;) {
            __syncthreads();
            if (threadIdx.x == 0) stop = flag && *flag != 0;
            __syncthreads();
            if (stop) break;
            int now = left < STEPS ? (int)left : STEPS;
            for (int s = 0; s < now; s++) {
#pragma unroll
                for (int j = 0; j < 4; j++) v[j] = __fadd_rn(__fmul_rn(v[j], a), b);
            }
            left -= now;
        }
#pragma unroll
        for (int j = 0; j < 4; j++)
            if (i + j * 256 < count) x[i + j * 256] = v[j];
        if (stop) return;
        // `stop` is written anew for the next part after this barrier alone.
        __syncthreads();
    }
}

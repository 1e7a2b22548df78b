// Softmax, reductions, norms and quantization: a warp or a block a row (see CwTeam).
#include "types.cuh"

template <class T>
__device__ __forceinline__ void cw_softmax(const T* x, T* out, uint64_t rows, int cols, int log, int by_warp) {
    __shared__ CwOne part[32];
    CwTeam t = cw_team(by_warp);
    bool here = t.row < rows;
    const T* from = x + t.row * cols;
    T* to = out + t.row * cols;
    float m = -INFINITY, sum = 0.0f;
    if (here)
        for (int k = t.rank; k < cols; k += t.size) m = cw_larger(cw_float(from[k]), m);
    m = cw_team_max(t, m, part);
    if (here)
        for (int k = t.rank; k < cols; k += t.size) sum += expf(cw_float(from[k]) - m);
    sum = cw_team_sum(t, sum, part);
    float l = logf(sum), r = 1.0f / sum;
    if (here)
        for (int k = t.rank; k < cols; k += t.size) {
            float d = cw_float(from[k]) - m;
            cw_put(to[k], log ? d - l : expf(d) * r);
        }
}

// Over the middle extent: a thread a column, columns side by side in a warp.
template <class T>
__device__ __forceinline__ void cw_softmax_columns(const T* x, T* out, uint64_t outer, int axis, uint64_t inner,
                                                   uint64_t pitch, int log) {
    uint64_t i = (uint64_t)blockIdx.x * 256 + threadIdx.x;
    if (i >= outer * inner) return;
    uint64_t first = i / inner * axis * pitch + i % inner;
    const T* from = x + first;
    T* to = out + first;
    float m = -INFINITY, sum = 0.0f;
    for (int k = 0; k < axis; k++) m = cw_larger(cw_float(from[k * pitch]), m);
    for (int k = 0; k < axis; k++) sum += expf(cw_float(from[k * pitch]) - m);
    float l = logf(sum), r = 1.0f / sum;
    for (int k = 0; k < axis; k++) {
        float d = cw_float(from[k * pitch]) - m;
        cw_put(to[k * pitch], log ? d - l : expf(d) * r);
    }
}

// A value and the column it came from.
struct CwAt {
    float v;
    int at;
    static __device__ __forceinline__ CwAt shuffled(CwAt a, int o) {
        return {__shfl_xor_sync(CW_FULL, a.v, o), __shfl_xor_sync(CW_FULL, a.at, o)};
    }
};

// 0 sum, 1 mean, 2 max, 3 min, 4 L2 norm, 5 the column of the largest.
__device__ __forceinline__ CwAt cw_reduce_step(int how, CwAt a, CwAt b) {
    if (how == 2) return {cw_larger(a.v, b.v), 0};
    if (how == 3) return {cw_smaller(a.v, b.v), 0};
    if (how == 5) {
        bool an = a.v != a.v, bn = b.v != b.v;
        bool first = an ? !bn || a.at < b.at : !bn && (a.v > b.v || (a.v == b.v && a.at < b.at));
        return first ? a : b;
    }
    return {a.v + b.v, 0};
}
__device__ __forceinline__ CwAt cw_reduce_start(int how) {
    return {how == 2 || how == 5 ? -INFINITY : how == 3 ? INFINITY : 0.0f, 0x7fffffff};
}
__device__ __forceinline__ void cw_reduce_end(int how, CwAt a, int cols, float* out) {
    if (how == 5)
        *reinterpret_cast<int*>(out) = a.at;
    else
        *out = how == 1 ? a.v / (float)cols : how == 4 ? sqrtf(a.v) : a.v;
}

// With `parts` the row is cut into spans, one a block of the grid's second extent, and what each gives lies there,
// [row][span]; else `out` is written.
template <class T>
__device__ __forceinline__ void cw_reduce(int how, const T* x, float* out, CwAt* parts, uint64_t rows, int cols,
                                          uint64_t ld, int span, int by_warp) {
    __shared__ CwAt part[32];
    CwTeam t = cw_team(by_warp);
    bool here = t.row < rows;
    const T* from = x + t.row * ld;
    long long first = (long long)blockIdx.y * span, last = first + span < cols ? first + span : cols;
    CwAt a = cw_reduce_start(how);
    if (here)
        for (long long k = first + t.rank; k < last; k += t.size) {
            float v = cw_float(from[k]);
            a = cw_reduce_step(how, a, CwAt{how == 4 ? v * v : v, (int)k});
        }
    a = cw_join(t, a, part, [how](CwAt a, CwAt b) { return cw_reduce_step(how, a, b); });
    if (!here || t.rank != 0) return;
    if (parts)
        parts[t.row * gridDim.y + blockIdx.y] = a;
    else
        cw_reduce_end(how, a, cols, out + t.row);
}

extern "C" __global__ void __launch_bounds__(256)
    cw_reduce_join(int how, const CwAt* parts, float* out, uint64_t rows, int cols, int spans) {
    __shared__ CwAt part[32];
    CwTeam t = cw_team(1);
    bool here = t.row < rows;
    CwAt a = cw_reduce_start(how);
    if (here)
        for (int k = t.rank; k < spans; k += t.size) a = cw_reduce_step(how, a, parts[t.row * spans + k]);
    a = cw_join(t, a, part, [how](CwAt a, CwAt b) { return cw_reduce_step(how, a, b); });
    if (here && t.rank == 0) cw_reduce_end(how, a, cols, out + t.row);
}

template <class T>
__device__ __forceinline__ void cw_norm(int rms, const T* x, const T* weight, const T* bias, T* out, uint64_t rows,
                                        int cols, float eps, int by_warp) {
    __shared__ CwOne part[32];
    CwTeam t = cw_team(by_warp);
    bool here = t.row < rows;
    const T* from = x + t.row * cols;
    T* to = out + t.row * cols;
    float mean = 0.0f, sum = 0.0f;
    if (!rms) {
        if (here)
            for (int k = t.rank; k < cols; k += t.size) sum += cw_float(from[k]);
        mean = cw_team_sum(t, sum, part) / (float)cols;
    }
    sum = 0.0f;
    if (here)
        for (int k = t.rank; k < cols; k += t.size) {
            float d = cw_float(from[k]) - mean;
            sum += d * d;
        }
    float scale = 1.0f / sqrtf(cw_team_sum(t, sum, part) / (float)cols + eps);
    if (here)
        for (int k = t.rank; k < cols; k += t.size) {
            float v = (cw_float(from[k]) - mean) * scale;
            if (weight) v *= cw_float(weight[k]);
            if (bias) v += cw_float(bias[k]);
            cw_put(to[k], v);
        }
}

template <class T>
__device__ __forceinline__ void cw_quantize(const T* x, int8_t* q, float* scales, uint64_t rows, int cols,
                                            int by_warp) {
    __shared__ CwOne part[32];
    CwTeam t = cw_team(by_warp);
    bool here = t.row < rows;
    const T* from = x + t.row * cols;
    float m = 0.0f;
    if (here)
        for (int k = t.rank; k < cols; k += t.size) m = cw_larger(fabsf(cw_float(from[k])), m);
    m = cw_team_max(t, m, part);
    bool good = m <= 3.402823466e38f;
    float inverse = good && m >= 1e-30f ? 127.0f / m : 0.0f;
    if (!here) return;
    if (t.rank == 0) scales[t.row] = !good ? __uint_as_float(0x7fc00000u) : m < 1e-30f ? 0.0f : m / 127.0f;
    for (int k = t.rank; k < cols; k += t.size)
        q[t.row * cols + k] = inverse == 0.0f ? 0 : (int8_t)__float2int_rn(cw_float(from[k]) * inverse);
}

template <class T>
__device__ __forceinline__ void cw_dequantize(const int8_t* q, const float* scales, T* x, uint64_t rows, int cols,
                                              int by_warp) {
    CwTeam t = cw_team(by_warp);
    if (t.row >= rows) return;
    float scale = scales[t.row];
    for (int k = t.rank; k < cols; k += t.size) cw_put(x[t.row * cols + k], (float)q[t.row * cols + k] * scale);
}

#define CW_ROW_KERNELS(NAME, T)                                                                                       \
    extern "C" __global__ void __launch_bounds__(256)                                                                 \
        cw_softmax_##NAME(const T* x, T* out, uint64_t rows, int cols, int log, int by_warp) {                        \
        cw_softmax<T>(x, out, rows, cols, log, by_warp);                                                              \
    }                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(256)                                                                 \
        cw_softmax_columns_##NAME(const T* x, T* out, uint64_t outer, int axis, uint64_t inner, uint64_t pitch,       \
                                  int log) {                                                                          \
        cw_softmax_columns<T>(x, out, outer, axis, inner, pitch, log);                                                \
    }                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(256)                                                                 \
        cw_reduce_##NAME(int how, const T* x, float* out, CwAt* parts, uint64_t rows, int cols, uint64_t ld,          \
                         int span, int by_warp) {                                                                     \
        cw_reduce<T>(how, x, out, parts, rows, cols, ld, span, by_warp);                                              \
    }                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(256)                                                                 \
        cw_norm_##NAME(int rms, const T* x, const T* weight, const T* bias, T* out, uint64_t rows, int cols,          \
                       float eps, int by_warp) {                                                                      \
        cw_norm<T>(rms, x, weight, bias, out, rows, cols, eps, by_warp);                                              \
    }                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(256)                                                                 \
        cw_quantize_##NAME(const T* x, int8_t* q, float* scales, uint64_t rows, int cols, int by_warp) {              \
        cw_quantize<T>(x, q, scales, rows, cols, by_warp);                                                            \
    }                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(256)                                                                 \
        cw_dequantize_##NAME(const int8_t* q, const float* scales, T* x, uint64_t rows, int cols, int by_warp) {      \
        cw_dequantize<T>(q, scales, x, rows, cols, by_warp);                                                          \
    }
CW_ROW_KERNELS(f32, float)
CW_ROW_KERNELS(f16, __half)
CW_ROW_KERNELS(bf16, CwBf)

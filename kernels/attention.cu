// Attention with the running maximum and sum of the softmax kept in f32.
//
// A block serves up to GT queries that share a key head and a sequence: heads of one row (decode) or rows of one head
// (prefill). Each of its four warps takes every fourth tile of 32 tokens: a lane owns a token for the scores, then
// the lanes own the elements of the head for the values. The warps' parts are joined at the end in a fixed order.
// In decode the context is also cut into `splits` parts, each a block; cw_attend_join_* adds those.
#include "attention.cuh"

#define CW_ATT_WARPS 4

__device__ __forceinline__ float4 cw_get4(const float* p) { return *reinterpret_cast<const float4*>(p); }
__device__ __forceinline__ float4 cw_get4(const half* p) {
    uint2 v = *reinterpret_cast<const uint2*>(p);
    float2 a = __half22float2(cw_half2(v.x)), b = __half22float2(cw_half2(v.y));
    return make_float4(a.x, a.y, b.x, b.y);
}
__device__ __forceinline__ float2 cw_get2(const float* p) { return *reinterpret_cast<const float2*>(p); }
__device__ __forceinline__ float2 cw_get2(const half* p) { return __half22float2(*reinterpret_cast<const half2*>(p)); }
__device__ __forceinline__ float cw_get(const float* p) { return *p; }
__device__ __forceinline__ float cw_get(const half* p) { return __half2float(*p); }

// Keys and values in pages.
template <class T>
struct CwPaged {
    typedef T Element;
    const CwCache& c;
    const int* table;
    int head;
    __device__ __forceinline__ const T* key(int token) const {
        return reinterpret_cast<const T*>(cw_cell(c, table, head, token, sizeof(T)));
    }
    // The values of the token whose keys are at `key`.
    __device__ __forceinline__ const T* value(const T* key) const {
        return reinterpret_cast<const T*>(reinterpret_cast<const char*>(key) + c.half_bytes);
    }
};
// Keys and values as f32 rows [token][heads][head_dim].
struct CwDense {
    typedef float Element;
    const float *k, *v;
    size_t stride;  // floats from one token to the next
    __device__ __forceinline__ const float* key(int token) const { return k + token * stride; }
    __device__ __forceinline__ const float* value(const float* key) const { return v + (key - k); }
};

// The queries of a block: q and out rows, and the tokens [from, to) that each sees.
template <int GT>
struct CwQueries {
    const float* q[GT];
    int from[GT], to[GT];
    int count;
};

// Shared memory of a block.
template <int DPL, int GT>
struct CwAttendShared {
    float q[GT][DPL * 32];
    float p[CW_ATT_WARPS][GT][32];
    float part[CW_ATT_WARPS][GT][DPL * 32];
    float m[CW_ATT_WARPS][GT], l[CW_ATT_WARPS][GT];
};

// Scores and values over tokens [from, to); on return part[0], m[0], l[0] hold the block's unnormalised result.
// DPL: elements of a head for each lane, head_dim <= 32 DPL.
template <int DPL, int GT, class KV>
__device__ __forceinline__ void cw_attend(CwAttendShared<DPL, GT>& s, const KV& kv, const CwQueries<GT>& qs, int hd,
                                          float scale, int from, int to) {
    int warp = threadIdx.x / CW_WARP, lane = threadIdx.x % CW_WARP;
    __syncthreads();
#pragma unroll
    for (int j = 0; j < GT; j++)
#pragma unroll 1
        for (int d = threadIdx.x; d < hd; d += CW_ATT_WARPS * CW_WARP)
            s.q[j][d] = j < qs.count ? qs.q[j][d] * scale : 0.0f;
    __syncthreads();
    float m[GT], l[GT], acc[GT][DPL];
#pragma unroll
    for (int j = 0; j < GT; j++) {
        m[j] = -INFINITY, l[j] = 0.0f;
#pragma unroll
        for (int e = 0; e < DPL; e++) acc[j][e] = 0.0f;
    }
    for (int t0 = from + warp * 32; t0 < to; t0 += CW_ATT_WARPS * 32) {
        int token = t0 + lane;
        float dot[GT];
#pragma unroll
        for (int j = 0; j < GT; j++) dot[j] = 0.0f;
        const typename KV::Element* k = kv.key(min(token, to - 1));
        if (token < to) {
            if (hd % 4 == 0) {
#pragma unroll 4
                for (int d = 0; d < hd; d += 4) {
                    float4 v = cw_get4(k + d);
#pragma unroll
                    for (int j = 0; j < GT; j++) {
                        float4 u = *reinterpret_cast<const float4*>(&s.q[j][d]);
                        dot[j] += v.x * u.x + v.y * u.y + v.z * u.z + v.w * u.w;
                    }
                }
            } else {
#pragma unroll 1
                for (int d = 0; d < hd; d++) {
                    float v = cw_get(k + d);
#pragma unroll
                    for (int j = 0; j < GT; j++) dot[j] += v * s.q[j][d];
                }
            }
        }
#pragma unroll
        for (int j = 0; j < GT; j++) {
            bool seen = token < to && j < qs.count && token >= qs.from[j] && token < qs.to[j];
            float x = seen ? dot[j] : -INFINITY;
            float most = fmaxf(m[j], cw_warp_max(x));
            float shrink = most == -INFINITY ? 1.0f : expf(m[j] - most);
            float p = seen ? expf(x - most) : 0.0f;
            l[j] = l[j] * shrink + cw_warp_sum(p);
            m[j] = most;
#pragma unroll
            for (int e = 0; e < DPL; e++) acc[j][e] *= shrink;
            s.p[warp][j][lane] = p;
        }
        __syncwarp();
        int count = min(32, to - t0);
#pragma unroll 2
        for (int i = 0; i < count; i++) {
            const typename KV::Element* v = kv.value(
                reinterpret_cast<const typename KV::Element*>(__shfl_sync(CW_FULL, (unsigned long long)k, i)));
#pragma unroll
            for (int e = 0; e < DPL; e += 2) {
                int d = e * 32 + 2 * lane;
                float2 x = d < hd ? cw_get2(v + d) : make_float2(0.0f, 0.0f);
#pragma unroll
                for (int j = 0; j < GT; j++) {
                    float p = s.p[warp][j][i];
                    acc[j][e] += p * x.x, acc[j][e + 1] += p * x.y;
                }
            }
        }
        __syncwarp();
    }
#pragma unroll
    for (int j = 0; j < GT; j++) {
#pragma unroll
        for (int e = 0; e < DPL; e += 2)
            *reinterpret_cast<float2*>(&s.part[warp][j][e * 32 + 2 * lane]) = make_float2(acc[j][e], acc[j][e + 1]);
        if (lane == 0) s.m[warp][j] = m[j], s.l[warp][j] = l[j];
    }
    __syncthreads();
    // Join the warps. Every thread works out the factors for its elements; then one thread stores maximum and sum.
#pragma unroll 1
    for (int j = 0; j < GT; j++) {
        float most = -INFINITY, sum = 0.0f, f[CW_ATT_WARPS];
        for (int w = 0; w < CW_ATT_WARPS; w++) most = fmaxf(most, s.m[w][j]);
        for (int w = 0; w < CW_ATT_WARPS; w++) {
            f[w] = s.m[w][j] == -INFINITY ? 0.0f : expf(s.m[w][j] - most);
            sum += f[w] * s.l[w][j];
        }
#pragma unroll 1
        for (int d = threadIdx.x; d < DPL * 32; d += CW_ATT_WARPS * CW_WARP) {
            float x = 0.0f;
            for (int w = 0; w < CW_ATT_WARPS; w++) x += f[w] * s.part[w][j][d];
            s.part[0][j][d] = x;
        }
        __syncthreads();
        if (threadIdx.x == 0) s.m[0][j] = most, s.l[0][j] = sum;
    }
    __syncthreads();
}

// What the cached kernels are called with. Mirrored in src/ops/cuda/attention.rs.
struct CwAttention {
    CwCache c;
    const float* q;
    float* out;      // [n][heads][head_dim], or with splits > 1 the parts [n][heads][splits][head_dim + 2]
    int n;
    int heads;
    int splits;
    int window;      // 0: none
    float scale;
};

// Decode: grid (splits, kv_heads * ceil(group / GT), n); the queries are heads of one row.
template <int DPL, int GT, class T>
__device__ __forceinline__ void cw_decode(const CwAttention& a) {
    __shared__ CwAttendShared<DPL, GT> s;
    int group = a.heads / a.c.kv_heads, cuts = (group + GT - 1) / GT;
    int kv_head = blockIdx.y / cuts, first = kv_head * group + blockIdx.y % cuts * GT, row = blockIdx.z;
    int hd = a.c.head_dim, position = a.c.positions[row];
    int start = a.window > 0 ? max(0, position + 1 - a.window) : 0, end = position + 1;
    int tile = 32, slice = ((end - start + a.splits - 1) / a.splits + tile - 1) / tile * tile;
    int from = start + slice * blockIdx.x, to = min(end, from + slice);
    CwQueries<GT> qs;
    qs.count = min(GT, (kv_head + 1) * group - first);
#pragma unroll
    for (int j = 0; j < GT; j++) {
        qs.q[j] = a.q + ((size_t)row * a.heads + min(first + j, a.heads - 1)) * hd;
        qs.from[j] = start, qs.to[j] = end;
    }
    CwPaged<T> kv = {a.c, a.c.tables + (size_t)a.c.sequences[row] * a.c.width, kv_head};
    cw_attend<DPL, GT>(s, kv, qs, hd, a.scale, from, to);
#pragma unroll 1
    for (int j = 0; j < qs.count; j++) {
        size_t at = (size_t)row * a.heads + first + j;
        if (a.splits == 1) {
#pragma unroll 1
            for (int d = threadIdx.x; d < hd; d += CW_ATT_WARPS * CW_WARP)
                a.out[at * hd + d] = s.part[0][j][d] / s.l[0][j];
        } else {
            float* p = a.out + (at * a.splits + blockIdx.x) * (hd + 2);
#pragma unroll 1
            for (int d = threadIdx.x; d < hd; d += CW_ATT_WARPS * CW_WARP) p[2 + d] = s.part[0][j][d];
            if (threadIdx.x == 0) p[0] = s.m[0][j], p[1] = s.l[0][j];
        }
    }
}

// Prefill: grid (1, heads, ceil(n / GT)); the queries are GT rows of one head. Rows of other sequences in the same
// group of GT are served one sequence after the other.
template <int DPL, int GT, class T>
__device__ __forceinline__ void cw_prefill(const CwAttention& a) {
    __shared__ CwAttendShared<DPL, GT> s;
    int head = blockIdx.y, row0 = blockIdx.z * GT, hd = a.c.head_dim;
    int kv_head = head / (a.heads / a.c.kv_heads), rows = min(GT, a.n - row0);
    for (int first = 0; first < rows;) {
        int sequence = a.c.sequences[row0 + first], count = 1;
        while (first + count < rows && a.c.sequences[row0 + first + count] == sequence) count++;
        CwQueries<GT> qs;
        qs.count = count;
        int from = INT32_MAX, to = 0;
#pragma unroll
        for (int j = 0; j < GT; j++) {
            int row = row0 + first + min(j, count - 1), position = a.c.positions[row];
            qs.q[j] = a.q + ((size_t)row * a.heads + head) * hd;
            qs.from[j] = a.window > 0 ? max(0, position + 1 - a.window) : 0, qs.to[j] = position + 1;
            from = min(from, qs.from[j]), to = max(to, qs.to[j]);
        }
        CwPaged<T> kv = {a.c, a.c.tables + (size_t)sequence * a.c.width, kv_head};
        cw_attend<DPL, GT>(s, kv, qs, hd, a.scale, from, to);
#pragma unroll 1
        for (int j = 0; j < count; j++) {
            float* out = a.out + ((size_t)(row0 + first + j) * a.heads + head) * hd;
#pragma unroll 1
            for (int d = threadIdx.x; d < hd; d += CW_ATT_WARPS * CW_WARP) out[d] = s.part[0][j][d] / s.l[0][j];
        }
        first += count;
    }
}

// Adds the parts of a split context: grid (heads, n).
extern "C" __global__ void __launch_bounds__(128) cw_attend_join(const float* parts, float* out, int hd, int splits) {
    size_t at = (size_t)blockIdx.y * gridDim.x + blockIdx.x;
    const float* p = parts + at * splits * (hd + 2);
    float most = -INFINITY, sum = 0.0f;
    for (int i = 0; i < splits; i++) most = fmaxf(most, p[(size_t)i * (hd + 2)]);
    for (int i = 0; i < splits; i++) {
        float m = p[(size_t)i * (hd + 2)];
        if (m != -INFINITY) sum += expf(m - most) * p[(size_t)i * (hd + 2) + 1];
    }
    for (int d = threadIdx.x; d < hd; d += blockDim.x) {
        float x = 0.0f;
        for (int i = 0; i < splits; i++) {
            float m = p[(size_t)i * (hd + 2)];
            if (m != -INFINITY) x += expf(m - most) * p[(size_t)i * (hd + 2) + 2 + d];
        }
        out[at * hd + d] = x / sum;
    }
}

// Without cache or mask: grid (ceil(longest / GT), heads, sequences).
template <int DPL, int GT>
__device__ __forceinline__ void cw_full(const float* q, const float* k, const float* v, float* out, const int* starts,
                                        int heads, int hd, float scale) {
    __shared__ CwAttendShared<DPL, GT> s;
    int begin = starts[blockIdx.z], end = starts[blockIdx.z + 1], row0 = begin + blockIdx.x * GT, head = blockIdx.y;
    if (row0 >= end) return;
    CwQueries<GT> qs;
    qs.count = min(GT, end - row0);
    size_t stride = (size_t)heads * hd;
#pragma unroll
    for (int j = 0; j < GT; j++) {
        qs.q[j] = q + (size_t)(row0 + min(j, qs.count - 1)) * stride + head * hd;
        qs.from[j] = 0, qs.to[j] = end - begin;
    }
    CwDense kv = {k + begin * stride + head * hd, v + begin * stride + head * hd, stride};
    cw_attend<DPL, GT>(s, kv, qs, hd, scale, 0, end - begin);
#pragma unroll 1
    for (int j = 0; j < qs.count; j++)
#pragma unroll 1
        for (int d = threadIdx.x; d < hd; d += CW_ATT_WARPS * CW_WARP)
            out[(size_t)(row0 + j) * stride + head * hd + d] = s.part[0][j][d] / s.l[0][j];
}

#define CW_ATTEND(DPL, KV, T)                                                                                         \
    extern "C" __global__ void __launch_bounds__(128)                                                                 \
        cw_decode_##KV##_d##DPL##_g1(const __grid_constant__ CwAttention a) {                                         \
        cw_decode<DPL, 1, T>(a);                                                                                      \
    }                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(128)                                                                 \
        cw_decode_##KV##_d##DPL##_g4(const __grid_constant__ CwAttention a) {                                         \
        cw_decode<DPL, 4, T>(a);                                                                                      \
    }                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(128)                                                                 \
        cw_prefill_##KV##_d##DPL(const __grid_constant__ CwAttention a) {                                             \
        cw_prefill<DPL, 8, T>(a);                                                                                     \
    }
#define CW_FULL_ATTENTION(DPL)                                                                                        \
    extern "C" __global__ void __launch_bounds__(128)                                                                 \
        cw_full_d##DPL(const float* q, const float* k, const float* v, float* out, const int* starts, int heads,      \
                       int hd, float scale) {                                                                         \
        cw_full<DPL, 8>(q, k, v, out, starts, heads, hd, scale);                                                      \
    }

CW_ATTEND(2, f16, half)
CW_ATTEND(4, f16, half)
CW_ATTEND(8, f16, half)
CW_ATTEND(2, f32, float)
CW_ATTEND(4, f32, float)
CW_ATTEND(8, f32, float)
CW_FULL_ATTENTION(2)
CW_FULL_ATTENTION(4)
CW_FULL_ATTENTION(8)

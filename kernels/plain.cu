// Products of packed matrices without tensor cores: what a tenant of CUDA cores alone runs. Weights are turned into f32
// in registers and multiplied with f32 activations, so no activation loses a bit.
//
// A lane has the codes of two outputs and eight of every 32 columns, as for the tensor-core product (see formats.cuh).
// One block computes 16 outputs of N rows at a time; its eight warps split the columns and add their parts in a fixed
// order, so an output's value depends neither on the other rows nor on their number.
#include "mma.cuh"

// Adds up 32 columns from column k of one row for the lane's two outputs.
template <class F>
__device__ __forceinline__ void cw_plain_block(const typename F::Regs& r, int b, const float (&lo)[8], const float (&hi)[8],
                                               float4 u, float4 v, float (&acc)[2]) {
    float y[8] = {u.x, u.y, u.z, u.w, v.x, v.y, v.z, v.w};
    float a0 = 0.0f, a1 = 0.0f, c0 = 0.0f, c1 = 0.0f;
#pragma unroll
    for (int i = 0; i < 4; i++) a0 += lo[i] * y[i], a1 += hi[i] * y[i];
#pragma unroll
    for (int i = 4; i < 8; i++) c0 += lo[i] * y[i], c1 += hi[i] * y[i];
    if constexpr (!F::SCALED) {
        acc[0] += a0 + c0, acc[1] += a1 + c1;
    } else {
        float s0, s1;
        F::scales(r, b, 0, s0, s1);
        if constexpr (F::HALVES) {
            float u0, u1;
            F::scales(r, b, 1, u0, u1);
            acc[0] += s0 * a0 + u0 * c0, acc[1] += s1 * a1 + u1 * c1;
        } else {
            acc[0] += s0 * (a0 + c0), acc[1] += s1 * (a1 + c1);
        }
        if constexpr (F::MINS) {
            float m0, m1, sum = 0.0f;
            F::mins(r, b, m0, m1);
#pragma unroll
            for (int i = 0; i < 8; i++) sum += y[i];
            acc[0] -= m0 * sum, acc[1] -= m1 * sum;
        }
    }
}

// Rows from blockIdx.y * N on; rows beyond the last repeat it, and nobody stores their results.
template <class F, int N>
__device__ __forceinline__ void cw_plain(const CwProducts& a, const float* x) {
    __shared__ float red[CW_MMA_WARPS][N][16];
    const int BLOCKS = F::CHUNK / 32;
    int warp = threadIdx.x / CW_WARP, lane = threadIdx.x % CW_WARP, g = lane / 4, t = lane % 4;
    int row0 = blockIdx.y * N;
    size_t row_bytes = (size_t)a.chunks * F::TILE;
    for (int tile = blockIdx.x; tile < a.tiles; tile += gridDim.x) {
        const char* w = cw_tile(a, tile, row_bytes);
        float acc[N][2];
#pragma unroll
        for (int j = 0; j < N; j++) acc[j][0] = acc[j][1] = 0.0f;
        for (int c = warp; c < a.chunks; c += CW_MMA_WARPS) {
            typename F::Regs r;
            F::load(r, w + (size_t)c * F::TILE, lane);
#pragma unroll
            for (int b = 0; b < BLOCKS; b++) {
                uint32_t low[4], high[4];
                F::fragments(r, b, low, high);
                float lo[8], hi[8];
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    float2 l = __half22float2(cw_half2(low[i])), h = __half22float2(cw_half2(high[i]));
                    lo[2 * i] = l.x, lo[2 * i + 1] = l.y, hi[2 * i] = h.x, hi[2 * i + 1] = h.y;
                }
                int k = c * F::CHUNK + b * 32 + 4 * t;
#pragma unroll
                for (int j = 0; j < N; j++) {
                    const float* row = x + (size_t)min(row0 + j, a.n - 1) * a.cols;
                    float4 u = cw_row4(row, k, a.cols, a.wide), v = cw_row4(row, k + 16, a.cols, a.wide);
                    cw_plain_block<F>(r, b, lo, hi, u, v, acc[j]);
                }
            }
        }
        // The four lanes of an output, then the eight warps.
#pragma unroll
        for (int j = 0; j < N; j++) {
#pragma unroll
            for (int o = 1; o < 4; o <<= 1) {
                acc[j][0] += __shfl_xor_sync(CW_FULL, acc[j][0], o);
                acc[j][1] += __shfl_xor_sync(CW_FULL, acc[j][1], o);
            }
            if (t == 0) red[warp][j][g] = acc[j][0], red[warp][j][g + 8] = acc[j][1];
        }
        __syncthreads();
        int which = 0;
        while (which + 1 < a.count && tile >= a.p[which + 1].first) which++;
        const CwProduct& p = a.p[which];
        int m0 = (tile - p.first) * 16;
        for (int i = threadIdx.x; i < 16 * N; i += CW_MMA_THREADS) {
            int m = i % 16, j = i / 16;
            if (m0 + m >= p.rows || row0 + j >= a.n) continue;
            float v = 0.0f;
#pragma unroll
            for (int s = 0; s < CW_MMA_WARPS; s++) v += red[s][j][m];
            if (p.bias) v += p.bias[m0 + m];
            float* out = p.out + (size_t)(row0 + j) * p.rows + m0 + m;
            *out = p.add ? *out + v : v;
        }
        __syncthreads();
    }
}

#define CW_PLAIN(NAME, F, N)                                                                                          \
    extern "C" __global__ void __launch_bounds__(CW_MMA_THREADS)                                                      \
        cw_plain_##NAME##_##N(const __grid_constant__ CwProducts a, const float* x) {                                 \
        cw_plain<F, N>(a, x);                                                                                         \
    }

CW_PLAIN(f16, CwF16, 1)
CW_PLAIN(f16, CwF16, 8)
CW_PLAIN(q8_0, CwQ8_0, 1)
CW_PLAIN(q8_0, CwQ8_0, 8)
CW_PLAIN(q4_0, CwQ4_0, 1)
CW_PLAIN(q4_0, CwQ4_0, 8)
CW_PLAIN(q4_k, CwQ4_K, 1)
CW_PLAIN(q4_k, CwQ4_K, 8)
CW_PLAIN(q6_k, CwQ6_K, 1)
CW_PLAIN(q6_k, CwQ6_K, 8)

// Products of ternary matrices with activations of 8 bits: exact in 32-bit integers, then three f32 operations, as
// src/quant/lowbit says. Every kernel here gives the same bits, and so does every other device.
//
// A matrix is cut into tiles of 16 rows by 128 columns, 512 bytes each, stored tile row after tile row; the last bytes, behind
// all tiles, are its scale. In a tile lane (g, t) owns rows g and g + 8 and the columns 32 t .. 32 t + 32, in four words: bits
// 2j of byte b of word w are the code of row g + 8 (w % 2), column 32 t + 8 j + 4 (w / 2) + b. So a word masked at bits 2j
// is what a lane hands to the j-th of four m16n8k32 products, whose other operand is 8 bytes of the tokens as they lie.
// What is padded has code 1, the value 0. `src/ops/cuda/ternary.rs` writes this layout; the two files must agree.
#include "mma.cuh"

#define CW_TERNARY_TILE 512
#define CW_TOKEN_HEAD 64
#define CW_TOKENS_AT_ONCE 64

// In front of a token's codes.
struct CwToken {
    float scale;
    int sum;
};

__device__ __forceinline__ uint32_t cw_warp_max_bits(uint32_t v) {
#pragma unroll
    for (int o = 16; o > 0; o >>= 1) v = max(v, __shfl_xor_sync(CW_FULL, v, o));
    return v;
}

// One token a block: codes of 8 bits, padded with zeros, their scale and sum.
extern "C" __global__ void __launch_bounds__(256) cw_tokens(const float* x, char* to, int cols, int stride) {
    __shared__ uint32_t most_of[8];
    __shared__ int sum_of[8];
    const float* row = x + (size_t)blockIdx.x * cols;
    char* out = to + (size_t)blockIdx.x * stride;
    // Magnitudes as bits are in the order of the numbers, and what is not finite comes last.
    uint32_t most = 0;
    for (int i = threadIdx.x; i < cols; i += 256) most = max(most, __float_as_uint(row[i]) & 0x7fffffffu);
    int warp = threadIdx.x / CW_WARP, lane = threadIdx.x % CW_WARP;
    most = cw_warp_max_bits(most);
    if (lane == 0) most_of[warp] = most;
    __syncthreads();
#pragma unroll
    for (int w = 0; w < 8; w++) most = max(most, most_of[w]);
    bool finite = most < 0x7f800000u;
    float largest = fmaxf(__uint_as_float(most), 1e-5f);
    float s = __fdiv_rn(127.0f, largest);
    int sum = 0;
    for (int i = threadIdx.x; i < stride - CW_TOKEN_HEAD; i += 256) {
        int code = 0;
        if (finite && i < cols) code = max(-128, min(127, __float2int_rn(__fmul_rn(row[i], s))));
        out[CW_TOKEN_HEAD + i] = (char)code;
        sum += code;
    }
#pragma unroll
    for (int o = 16; o > 0; o >>= 1) sum += __shfl_xor_sync(CW_FULL, sum, o);
    if (lane == 0) sum_of[warp] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
        sum = 0;
        for (int w = 0; w < 8; w++) sum += sum_of[w];
        CwToken token = {finite ? __fdiv_rn(largest, 127.0f) : __uint_as_float(0x7fc00000u), sum};
        *reinterpret_cast<CwToken*>(out) = token;
    }
}

// c += A B of 16 rows, 32 columns and 8 tokens: A of unsigned bytes, B of signed ones.
__device__ __forceinline__ void cw_mma_bytes(int (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#if __CUDA_ARCH__ >= 800
    asm(
        "mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
#pragma unroll
    for (int i = 0; i < 4; i++) {
        int half = i % 2 * 2;
        asm(
            "mma.sync.aligned.m8n8k16.row.col.s32.u8.s8.s32 {%0,%1}, {%2}, {%3}, {%0,%1};"
            : "+r"(c[half]), "+r"(c[half + 1])
            : "r"(a[i]), "r"(i < 2 ? b0 : b1));
    }
#endif
}

__device__ __forceinline__ int cw_dot_bytes(uint32_t a, uint32_t b, int c) {
    asm("dp4a.u32.s32 %0, %1, %2, %0;" : "+r"(c) : "r"(a), "r"(b));
    return c;
}

// The product that a tile row belongs to.
__device__ __forceinline__ const CwProduct& cw_product_of(const CwProducts& a, int tile) {
    int i = 0;
#pragma unroll
    for (int k = 1; k < 4; k++)
        if (k < a.count && tile >= a.p[k].first) i = k;
    return a.p[i];
}

// One output of one token from its sum.
__device__ __forceinline__ void cw_ternary_store(const CwProducts& a, const CwProduct& p, int row, int n, int sum, CwToken token) {
    size_t tiles = (size_t)((p.rows + 15) / 16) * a.chunks;
    float scale = *reinterpret_cast<const float*>(p.weight + tiles * CW_TERNARY_TILE);
    float y = __fmul_rn(__fmul_rn((float)(sum - token.sum), token.scale), scale);
    float* out = p.out + (size_t)n * p.rows + row;
    if (p.bias) y = __fadd_rn(y, p.bias[row]);
    *out = p.add ? __fadd_rn(*out, y) : y;
}

// The same where rows and tokens may be beyond the last.
__device__ __forceinline__ void cw_ternary_finish(const CwProducts& a, const CwProduct& p, int row, int n, int sum,
                                                  const char* tokens, int stride) {
    if (row < p.rows && n < a.n)
        cw_ternary_store(a, p, row, n, sum, *reinterpret_cast<const CwToken*>(tokens + (size_t)n * stride));
}

// Up to eight tokens (blockIdx.y counts groups of eight). One block computes 16 outputs at a time; its warps split the
// columns. Codes are masked and never shifted: what place j adds up is 4^j times its products, divided out at the end.
template <bool CORES>
__device__ __forceinline__ void cw_ternary_few_of(const CwProducts& a, const char* tokens, int stride) {
    const int AHEAD = 4;
    __shared__ int red[CW_MMA_WARPS][128];
    int warp = threadIdx.x / CW_WARP, lane = threadIdx.x % CW_WARP, g = lane / 4, t = lane % 4;
    int first = blockIdx.y * 8;
    for (int tile = blockIdx.x; tile < a.tiles; tile += gridDim.x) {
        const CwProduct& p = cw_product_of(a, tile);
        const char* w = p.weight + (size_t)(tile - p.first) * a.chunks * CW_TERNARY_TILE + lane * 16;
        int acc[4][4] = {}, dot[2][8] = {};
        for (int c0 = warp; c0 < a.chunks; c0 += AHEAD * CW_MMA_WARPS) {
            uint4 q[AHEAD];
#pragma unroll
            for (int i = 0; i < AHEAD; i++) {
                int c = c0 + i * CW_MMA_WARPS;
                q[i] = c < a.chunks ? cw_stream16(w + (size_t)c * CW_TERNARY_TILE) : make_uint4(0, 0, 0, 0);
            }
#pragma unroll
            for (int i = 0; i < AHEAD; i++) {
                int c = c0 + i * CW_MMA_WARPS;
                if (c >= a.chunks) break;
                const uint32_t words[4] = {q[i].x, q[i].y, q[i].z, q[i].w};
                const char* codes = tokens + CW_TOKEN_HEAD + c * 128 + 32 * t;
                if constexpr (CORES) {
                    uint4 lo = make_uint4(0, 0, 0, 0), hi = lo;
                    if (first + g < a.n) {
                        const uint4* x = reinterpret_cast<const uint4*>(codes + (size_t)(first + g) * stride);
                        lo = x[0], hi = x[1];
                    }
                    const uint32_t b[8] = {lo.x, lo.y, lo.z, lo.w, hi.x, hi.y, hi.z, hi.w};
#pragma unroll
                    for (int j = 0; j < 4; j++) {
                        uint32_t mask = 0x03030303u << (2 * j);
                        const uint32_t part[4] = {words[0] & mask, words[1] & mask, words[2] & mask, words[3] & mask};
                        cw_mma_bytes(acc[j], part, b[2 * j], b[2 * j + 1]);
                    }
                } else {
#pragma unroll
                    for (int n = 0; n < 8; n++) {
                        if (first + n >= a.n) break;
                        const uint32_t* x = reinterpret_cast<const uint32_t*>(codes + (size_t)(first + n) * stride);
#pragma unroll
                        for (int j = 0; j < 4; j++)
#pragma unroll
                            for (int k = 0; k < 4; k++)
                                dot[k % 2][n] = cw_dot_bytes(words[k] >> (2 * j) & 0x03030303u, x[2 * j + k / 2], dot[k % 2][n]);
                    }
                }
            }
        }
        if constexpr (CORES) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int sum = acc[0][i] + (acc[1][i] >> 2) + (acc[2][i] >> 4) + (acc[3][i] >> 6);
                red[warp][(g + i / 2 * 8) * 8 + 2 * t + i % 2] = sum;
            }
        } else {
#pragma unroll
            for (int n = 0; n < 8; n++)
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    int sum = dot[half][n];
                    sum += __shfl_xor_sync(CW_FULL, sum, 1);
                    sum += __shfl_xor_sync(CW_FULL, sum, 2);
                    if (t == n % 4) red[warp][(g + 8 * half) * 8 + n] = sum;
                }
        }
        __syncthreads();
        if (threadIdx.x < 128) {
            int sum = 0;
#pragma unroll
            for (int i = 0; i < CW_MMA_WARPS; i++) sum += red[i][threadIdx.x];
            int row = (tile - p.first) * 16 + threadIdx.x / 8;
            cw_ternary_finish(a, p, row, first + threadIdx.x % 8, sum, tokens, stride);
        }
        __syncthreads();
    }
}

extern "C" __global__ void __launch_bounds__(CW_MMA_THREADS, 4)
    cw_ternary_few(const CwProducts a, const char* tokens, int stride) {
    cw_ternary_few_of<true>(a, tokens, stride);
}

// The same without tensor cores.
extern "C" __global__ void __launch_bounds__(CW_MMA_THREADS, 4)
    cw_ternary_plain(const CwProducts a, const char* tokens, int stride) {
    cw_ternary_few_of<false>(a, tokens, stride);
}

// Waits until what this kernel reads has been written. Launched with leave to overlap, a kernel begins while the one before it
// still runs; what it reads of constant memory, like weights, it may read before.
__device__ __forceinline__ void cw_wait_for_input() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
__device__ __forceinline__ void cw_let_next_begin() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
#endif
}

// Up to four tokens (more than two are faster in two kernels, and the host does so), whose activations each block turns into codes itself: one kernel instead of two that wait for each other.
// Weights are asked for first. Activations are read once and kept in registers between their largest and their codes, up to
// CW_FUSED_KEPT x 4 of them a thread; what is beyond is read again. Shared memory: codes of each token, padded to whole tiles and
// 16 bytes more.
#define CW_FUSED_WARPS 16
#define CW_FUSED_THREADS (CW_FUSED_WARPS * CW_WARP)
#define CW_FUSED_KEPT 4

__device__ __forceinline__ uint32_t cw_largest_bits(float4 v) {
    uint32_t a = max(__float_as_uint(v.x) & 0x7fffffffu, __float_as_uint(v.y) & 0x7fffffffu);
    return max(a, max(__float_as_uint(v.z) & 0x7fffffffu, __float_as_uint(v.w) & 0x7fffffffu));
}

// Four codes as a word; adds them to the sum.
__device__ __forceinline__ uint32_t cw_codes4(float4 v, float s, int& sum) {
    const float y[4] = {v.x, v.y, v.z, v.w};
    uint32_t word = 0;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        int code = max(-128, min(127, __float2int_rn(__fmul_rn(y[i], s))));
        sum += code;
        word |= (uint32_t)(code & 255) << (8 * i);
    }
    return word;
}

extern "C" __global__ void __launch_bounds__(CW_FUSED_THREADS, 2)
    cw_ternary_fused(const CwProducts a, const float* x) {
    const int AHEAD = 4;
    extern __shared__ __align__(16) char codes_of[];
    __shared__ int red[CW_FUSED_WARPS][128];
    __shared__ uint32_t most_of[4][CW_FUSED_WARPS];
    __shared__ int sum_of[4][CW_FUSED_WARPS];
    int warp = threadIdx.x / CW_WARP, lane = threadIdx.x % CW_WARP, g = lane / 4, t = lane % 4;
    int columns = a.chunks * 128, row_bytes = columns + 16;
    cw_let_next_begin();
    uint4 q[AHEAD];
    // Asks for the warp's share of a tile row from chunk c0 on.
    auto ask = [&](const char* w, int c0) {
#pragma unroll
        for (int i = 0; i < AHEAD; i++) {
            int c = c0 + i * CW_FUSED_WARPS;
            q[i] = c < a.chunks ? cw_stream16(w + (size_t)c * CW_TERNARY_TILE) : make_uint4(0, 0, 0, 0);
        }
    };
    auto weights_of = [&](int tile) {
        const CwProduct& p = cw_product_of(a, tile);
        return p.weight + (size_t)(tile - p.first) * a.chunks * CW_TERNARY_TILE + lane * 16;
    };
    const char* w = weights_of(blockIdx.x);
    ask(w, warp);
    cw_wait_for_input();
    for (int n = 0; n < a.n; n++) {
        const float* row = x + (size_t)n * a.cols;
        char* out = codes_of + n * row_bytes;
        float4 kept[CW_FUSED_KEPT];
        uint32_t most = 0;
#pragma unroll
        for (int i = 0; i < CW_FUSED_KEPT; i++) {
            int k = (threadIdx.x + i * CW_FUSED_THREADS) * 4;
            kept[i] = k < a.cols ? cw_row4(row, k, a.cols, a.wide) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        }
#pragma unroll
        for (int i = 0; i < CW_FUSED_KEPT; i++) most = max(most, cw_largest_bits(kept[i]));
        int beyond = (threadIdx.x + CW_FUSED_KEPT * CW_FUSED_THREADS) * 4;
        for (int k = beyond; k < a.cols; k += CW_FUSED_THREADS * 4)
            most = max(most, cw_largest_bits(cw_row4(row, k, a.cols, a.wide)));
        most = cw_warp_max_bits(most);
        if (lane == 0) most_of[n][warp] = most;
        __syncthreads();
        most = cw_warp_max_bits(most_of[n][lane % CW_FUSED_WARPS]);
        // With what is not finite all codes are 0.
        float s = most < 0x7f800000u ? __fdiv_rn(127.0f, fmaxf(__uint_as_float(most), 1e-5f)) : 0.0f;
        bool finite = most < 0x7f800000u;
        int sum = 0;
#pragma unroll
        for (int i = 0; i < CW_FUSED_KEPT; i++) {
            int k = (threadIdx.x + i * CW_FUSED_THREADS) * 4;
            if (k < columns) *reinterpret_cast<uint32_t*>(out + k) = finite ? cw_codes4(kept[i], s, sum) : 0;
        }
        for (int k = beyond; k < columns; k += CW_FUSED_THREADS * 4)
            *reinterpret_cast<uint32_t*>(out + k) = finite ? cw_codes4(cw_row4(row, k, a.cols, a.wide), s, sum) : 0;
#pragma unroll
        for (int o = 16; o > 0; o >>= 1) sum += __shfl_xor_sync(CW_FULL, sum, o);
        if (lane == 0) sum_of[n][warp] = sum;
    }
    __syncthreads();
    for (int tile = blockIdx.x; tile < a.tiles; tile += gridDim.x) {
        int acc[4][4] = {};
        for (int c0 = warp; c0 < a.chunks; c0 += AHEAD * CW_FUSED_WARPS) {
            if (c0 != warp) ask(w, c0);
#pragma unroll
            for (int i = 0; i < AHEAD; i++) {
                int c = c0 + i * CW_FUSED_WARPS;
                if (c >= a.chunks) break;
                const uint32_t words[4] = {q[i].x, q[i].y, q[i].z, q[i].w};
                uint4 lo = make_uint4(0, 0, 0, 0), hi = lo;
                if (g < a.n) {
                    const uint4* b = reinterpret_cast<const uint4*>(codes_of + g * row_bytes + c * 128 + 32 * t);
                    lo = b[0], hi = b[1];
                }
                const uint32_t b[8] = {lo.x, lo.y, lo.z, lo.w, hi.x, hi.y, hi.z, hi.w};
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    uint32_t mask = 0x03030303u << (2 * j);
                    const uint32_t part[4] = {words[0] & mask, words[1] & mask, words[2] & mask, words[3] & mask};
                    cw_mma_bytes(acc[j], part, b[2 * j], b[2 * j + 1]);
                }
            }
        }
        // The next tile row's weights are on their way while this one's sums are added up.
        if (tile + (int)gridDim.x < a.tiles) ask(w = weights_of(tile + gridDim.x), warp);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int sum = acc[0][i] + (acc[1][i] >> 2) + (acc[2][i] >> 4) + (acc[3][i] >> 6);
            // Tokens apart, so that threads that add up neighbouring rows read from different banks.
            red[warp][(2 * t + i % 2) * 16 + g + i / 2 * 8] = sum;
        }
        __syncthreads();
        // Rows side by side, so that neighbours in a warp write neighbours in memory.
        const CwProduct& p = cw_product_of(a, tile);
        int n = threadIdx.x / 16, row = (tile - p.first) * 16 + threadIdx.x % 16;
        if (n < a.n && row < p.rows) {
            int sum = 0, of_token = 0;
            uint32_t most = 0;
#pragma unroll
            for (int i = 0; i < CW_FUSED_WARPS; i++) {
                sum += red[i][threadIdx.x];
                of_token += sum_of[n][i];
                most = max(most, most_of[n][i]);
            }
            float scale = __fdiv_rn(fmaxf(__uint_as_float(most), 1e-5f), 127.0f);
            if (most >= 0x7f800000u) scale = __uint_as_float(0x7fc00000u);
            cw_ternary_store(a, p, row, n, sum, {scale, of_token});
        }
        __syncthreads();
    }
}

__device__ __forceinline__ void cw_copy16(uint32_t to, const void* from, bool there) {
#if __CUDA_ARCH__ >= 800
    int bytes = there ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes));
#else
    uint4 v = there ? *reinterpret_cast<const uint4*>(from) : make_uint4(0, 0, 0, 0);
    asm volatile("st.shared.v4.u32 [%0], {%1,%2,%3,%4};" ::"r"(to), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w) : "memory");
#endif
}

// Many tokens: a block computes 128 outputs of 64 tokens, a warp 16 of them. Tokens come through shared memory, two parts of
// 128 columns deep; a row of a part has 16 bytes more than its codes, so that lanes read from different banks.
extern "C" __global__ void __launch_bounds__(CW_MMA_THREADS, 2)
    cw_ternary_many(const CwProducts a, const char* tokens, int stride) {
    const int ROW = 144, GROUPS = CW_TOKENS_AT_ONCE / 8;
    __shared__ __align__(16) char part[2][CW_TOKENS_AT_ONCE * ROW];
    int warp = threadIdx.x / CW_WARP, lane = threadIdx.x % CW_WARP, g = lane / 4, t = lane % 4;
    int first = blockIdx.y * CW_TOKENS_AT_ONCE, tile = blockIdx.x * CW_MMA_WARPS + warp;
    bool busy = tile < a.tiles;
    const CwProduct& p = cw_product_of(a, busy ? tile : 0);
    const char* w = p.weight + (busy ? (size_t)(tile - p.first) * a.chunks * CW_TERNARY_TILE : 0) + lane * 16;
    // Each thread brings 32 bytes of a part.
    int row = threadIdx.x / 4, column = threadIdx.x % 4 * 32;
    bool there = first + row < a.n;
    const char* from = tokens + (size_t)(there ? first + row : 0) * stride + CW_TOKEN_HEAD + column;
    uint32_t base = (uint32_t)__cvta_generic_to_shared(&part[0][0]);
    uint32_t to = base + row * ROW + column;
    auto bring = [&](int c) {
        uint32_t at = to + c % 2 * (CW_TOKENS_AT_ONCE * ROW);
        cw_copy16(at, from + c * 128, there);
        cw_copy16(at + 16, from + c * 128 + 16, there);
#if __CUDA_ARCH__ >= 800
        asm volatile("cp.async.commit_group;");
#endif
    };
    int acc[GROUPS][4] = {};
    bring(0);
    uint4 next = busy ? cw_stream16(w) : make_uint4(0, 0, 0, 0);
    for (int c = 0; c < a.chunks; c++) {
        uint4 q = next;
        if (c + 1 < a.chunks) {
            bring(c + 1);
            if (busy) next = cw_stream16(w + (size_t)(c + 1) * CW_TERNARY_TILE);
#if __CUDA_ARCH__ >= 800
            asm volatile("cp.async.wait_group 1;");
        } else {
            asm volatile("cp.async.wait_group 0;");
#endif
        }
        __syncthreads();
        uint32_t at = base + c % 2 * (CW_TOKENS_AT_ONCE * ROW) + g * ROW + 32 * t;
        const uint32_t words[4] = {q.x, q.y, q.z, q.w};
        uint32_t codes[4][4];
#pragma unroll
        for (int j = 0; j < 4; j++)
#pragma unroll
            for (int k = 0; k < 4; k++) codes[j][k] = words[k] >> (2 * j) & 0x03030303u;
#pragma unroll
        for (int i = 0; i < GROUPS; i++) {
            uint4 lo = cw_shared16(at + i * 8 * ROW), hi = cw_shared16(at + i * 8 * ROW + 16);
            cw_mma_bytes(acc[i], codes[0], lo.x, lo.y);
            cw_mma_bytes(acc[i], codes[1], lo.z, lo.w);
            cw_mma_bytes(acc[i], codes[2], hi.x, hi.y);
            cw_mma_bytes(acc[i], codes[3], hi.z, hi.w);
        }
        __syncthreads();
    }
    if (!busy) return;
#pragma unroll
    for (int i = 0; i < GROUPS; i++)
#pragma unroll
        for (int k = 0; k < 4; k++) {
            int out = (tile - p.first) * 16 + g + k / 2 * 8;
            cw_ternary_finish(a, p, out, first + 8 * i + 2 * t + k % 2, acc[i][k], tokens, stride);
        }
}

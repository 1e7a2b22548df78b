// One decode step of a model of 2.15 GB: 16 layers of four matrices of bf16, each times a vector, each product waiting for
// the one before it. Written twice: `step` is the whole step in one launch, `product` one matrix a launch.
//
//   normalise x; q = A x; x += B q[..2048]; a = silu(G x) * (U x); x += D a
//
// A 6144x2048, B 2048x2048, G and U 8192x2048 with their rows in turn (g0 u0 g1 u1 ...), D 2048x8192. Matrices lie one after
// another, packed as the tensor cores take them: tiles of 16 rows and 16 columns, 16 bytes a lane (rows l/4 and l/4 + 8,
// columns 4(l%4)..+4: see `tile`); 128 tiles of the same rows are a unit of 64 KiB. D's units go by quarters of its
// columns: unit u holds rows 16(u/4).. and columns 2048(u%4).. .
// Vectors are f32, taken as two bf16 each, so that products are exact to 16 bits. Needs no header, so that NVRTC takes it.

typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

constexpr int HIDDEN = 2048, INNER = 8192, LAYERS = 16, STAGES = 4 * LAYERS;
#ifndef CHUNK_KIB
#define CHUNK_KIB 32
#endif
constexpr u32 UNIT = 65536, CHUNK = CHUNK_KIB * 1024, CHUNKS = UNIT / CHUNK, SLOTS = 3 * CHUNKS;
constexpr int TILES = CHUNK / 512 / 8;  // a warp's part of a chunk
constexpr int WARPS = 8, CONSUMERS = 32 * WARPS, MOST_ROWS = 704;
// Units of each of a layer's matrices.
__device__ __forceinline__ int units_of(int kind) { return kind == 0 ? 384 : kind == 1 ? 128 : kind == 2 ? 1024 : 512; }

__device__ __forceinline__ float silu(float g) { return g / (1.0f + __expf(-g)); }

// A number and the stage that made it, written and read in one piece: what waits for the number needs no other sign.
typedef u64 Word;

// What lies in device memory beside the weights. All zero but x at first.
struct State {
    float x[HIDDEN];
    float q[3 * HIDDEN], a[INNER];  // of `product`
    u32 epoch;                      // launches of `step` so far
    u32 left;                       // blocks that have ended this launch
    u64 cycles, nanos;              // how long the last launch took, by the SM's clock and by the GPU's
    __align__(16) Word words[2 * HIDDEN + INNER];  // of `step`: q, B q, a
    Word d[4][HIDDEN];                             // the quarters' parts of D a, not yet added to x
};

__device__ __forceinline__ u32 address(const void* p) { return (u32)__cvta_generic_to_shared(p); }
__device__ __forceinline__ void barrier_init(u32 b, u32 count) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(b), "r"(count) : "memory");
}
__device__ __forceinline__ void arrive(u32 b) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(b) : "memory");
}
__device__ __forceinline__ void expect(u32 b, u32 bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(b), "r"(bytes) : "memory");
}
__device__ __forceinline__ void wait(u32 b, u32 parity) {
    asm volatile(
        "{\n.reg .pred p;\nAGAIN:\n"
        "mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1, 0x989680;\n"
        "@!p bra AGAIN;\n}" ::"r"(b), "r"(parity)
        : "memory");
}
__device__ __forceinline__ void fetch(u32 to, const void* from, u32 bytes, u32 b, u64 policy) {
    asm volatile(
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], %4;" ::"r"(to),
        "l"(from), "r"(bytes), "r"(b), "l"(policy)
        : "memory");
}
__device__ __forceinline__ void publish(Word* to, float value, u32 tag) {
    asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(to), "l"((u64)tag << 32 | __float_as_uint(value)) : "memory");
}
// Takes 8 numbers that follow each other as soon as stage `tag` has made them.
__device__ __forceinline__ void take(float (&to)[8], const Word* from, u32 tag) {
    Word w[8];
    bool all;
    do {
        all = true;
#pragma unroll
        for (int i = 0; i < 8; i += 2)
            asm volatile("ld.relaxed.gpu.global.v2.u64 {%0, %1}, [%2];" : "=l"(w[i]), "=l"(w[i + 1]) : "l"(from + i) : "memory");
#pragma unroll
        for (int i = 0; i < 8; i++) all &= (u32)(w[i] >> 32) == tag;
    } while (!all);
#pragma unroll
    for (int i = 0; i < 8; i++) to[i] = __uint_as_float((u32)w[i]);
}

// Four numbers of a vector as operand of a tile: in the tensor core's first column as bf16, what that leaves in the second.
__device__ __forceinline__ uint2 operand(float4 v, int lane) {
    const float f[4] = {v.x, v.y, v.z, v.w};
    u32 bits[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const u32 high = __float_as_uint(f[i]) & 0xffff0000u;
        const u32 rest = __float_as_uint(f[i] - __uint_as_float(high));
        bits[i] = (lane < 4 ? high : lane < 8 ? rest : 0u) >> 16;
    }
    return make_uint2(bits[0] | bits[1] << 16, bits[2] | bits[3] << 16);
}
// sums[0..1]: row lane/4; sums[2..3]: row lane/4 + 8; lanes with lane % 4 == 0 hold both columns.
__device__ __forceinline__ void tile(float (&sums)[4], uint4 w, uint2 v) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(w.x), "r"(w.y), "r"(w.z), "r"(w.w), "r"(v.x), "r"(v.y));
}
__device__ __forceinline__ void consumers_meet() { asm volatile("bar.sync 1, 256;" ::: "memory"); }
__device__ __forceinline__ u64 nanoseconds() {
    u64 t;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(t));
    return t;
}

// One block an SM, a multiple of four and at least 24 of them, all at once. Eight warps take chunks out of a ring that a
// ninth keeps full: weights do not depend on what is being computed, so reading goes on while the blocks wait for each
// other's numbers between two products. Copies of 32 KiB read a sixth faster than copies of 16 KiB do.
extern "C" __global__ void __launch_bounds__(CONSUMERS + 32, 1) step(const char* weights, State* state) {
    extern __shared__ __align__(128) char memory[];
    char* ring = memory;
    float* sums = (float*)(memory + SLOTS * CHUNK);  // [WARPS][MOST_ROWS]
    float* vector = sums + WARPS * MOST_ROWS;        // [HIDDEN]
    __shared__ __align__(8) u64 full[SLOTS], empty[SLOTS];
    __shared__ float squares[WARPS];
    const int thread = threadIdx.x, warp = thread / 32, lane = thread % 32;
    const int block = blockIdx.x, blocks = gridDim.x;
    if (thread == 0) {
        for (u32 s = 0; s < SLOTS; s++) {
            barrier_init(address(&full[s]), 1);
            barrier_init(address(&empty[s]), WARPS);
        }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    __syncthreads();

    if (warp == WARPS) {
        if (lane != 0) return;
        // Read once a step: to be thrown out of L2 before what others want to find there again.
        u64 policy;
        asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
        u32 slot = 0, parity = 1;
        for (int stage = 0; stage < STAGES; stage++) {
            const int count = units_of(stage & 3);
            for (int u = block; u < count; u += blocks) {
                for (u32 c = 0; c < CHUNKS; c++) {
                    wait(address(&empty[slot]), parity);
                    expect(address(&full[slot]), CHUNK);
                    fetch(address(ring + slot * CHUNK), weights + (u64)u * UNIT + c * CHUNK, CHUNK, address(&full[slot]), policy);
                    if (++slot == SLOTS) slot = 0, parity ^= 1;
                }
            }
            weights += (u64)count * UNIT;
        }
        return;
    }

    const u64 begun = nanoseconds();
    const long long from = clock64();
    const int quarter = block % 4, column = 8 * thread;
    const u32 first = *(volatile u32*)&state->epoch * STAGES;
    Word *q = state->words, *r = q + HIDDEN, *a = r + HIDDEN;
    // Each thread's eight columns of x; every block has all of x.
    float x[8];
#pragma unroll
    for (int i = 0; i < 8; i++) x[i] = state->x[column + i];
    u32 slot = 0, parity = 0;
    for (int stage = 0; stage < STAGES; stage++) {
        const int kind = stage & 3;
        // What the blocks made in the stage before, to this block's vector.
        const u32 tag = first + stage;
        float in[8];
        if (kind == 0) {
            float sum = 0.0f, d[4][8];
#pragma unroll
            for (int k = 0; k < 4; k++) take(d[k], state->d[k] + column, tag);
#pragma unroll
            for (int i = 0; i < 8; i++) {
                x[i] += (d[0][i] + d[1][i]) + (d[2][i] + d[3][i]);
                sum += x[i] * x[i];
            }
#pragma unroll
            for (int d = 16; d; d /= 2) sum += __shfl_xor_sync(~0u, sum, d);
            if (lane == 0) squares[warp] = sum;
            consumers_meet();
            sum = 0.0f;
#pragma unroll
            for (int i = 0; i < WARPS; i++) sum += squares[i];
            const float scale = rsqrtf(sum / HIDDEN + 1e-5f);
#pragma unroll
            for (int i = 0; i < 8; i++) in[i] = x[i] *= scale;
        } else {
            take(in, (kind == 1 ? q : kind == 2 ? r : a + quarter * HIDDEN) + column, tag);
#pragma unroll
            for (int i = 0; i < 8; i++)
                if (kind == 2) in[i] = x[i] += in[i];
        }
        *(float4*)(vector + column) = make_float4(in[0], in[1], in[2], in[3]);
        *(float4*)(vector + column + 4) = make_float4(in[4], in[5], in[6], in[7]);
        consumers_meet();
        // The warp's tiles of any unit: warp, warp + 8, ...
        uint2 b[16];
#pragma unroll
        for (int t = 0; t < 16; t++) b[t] = operand(*(const float4*)(vector + (8 * t + warp) * 16 + lane % 4 * 4), lane);
        const int count = units_of(kind);
        int mine = 0;
        for (int u = block; u < count; u += blocks, mine++) {
            float s[2][4] = {};
#pragma unroll
            for (int c = 0; c < (int)CHUNKS; c++) {
                wait(address(&full[slot]), parity);
                uint4 w[TILES];
#pragma unroll
                for (int j = 0; j < TILES; j++) w[j] = *(const uint4*)(ring + slot * CHUNK + (8 * j + warp) * 512 + lane * 16);
#pragma unroll
                for (int j = 0; j < TILES; j++) tile(s[j % 2], w[j], b[TILES * c + j]);
                __syncwarp();
                if (lane == 0) arrive(address(&empty[slot]));
                if (++slot == SLOTS) slot = 0, parity ^= 1;
            }
            if (lane % 4 == 0) {
                float* to = sums + warp * MOST_ROWS + 16 * mine + lane / 4;
                to[0] = (s[0][0] + s[1][0]) + (s[0][1] + s[1][1]);
                to[8] = (s[0][2] + s[1][2]) + (s[0][3] + s[1][3]);
            }
        }
        consumers_meet();
        for (int i = thread; i < 16 * mine; i += CONSUMERS) {
            float sum = 0.0f;
#pragma unroll
            for (int w = 0; w < WARPS; w++) sum += sums[w * MOST_ROWS + i];
            const int u = block + i / 16 * blocks, row = i % 16;
            if (kind == 0 && u < HIDDEN / 16) publish(q + 16 * u + row, sum, tag + 1);
            if (kind == 1) publish(r + 16 * u + row, sum, tag + 1);
            if (kind == 2) {
                const float other = __shfl_xor_sync(__activemask(), sum, 1);
                if (row % 2 == 0) publish(a + 8 * u + row / 2, silu(sum) * other, tag + 1);
            }
            if (kind == 3) publish(&state->d[quarter][16 * (u / 4) + row], sum, tag + 1);
        }
    }
    if (block == 0) {
#pragma unroll
        for (int i = 0; i < 8; i++) state->x[column + i] = x[i];
    }
    if (thread == 0) {
        if (block == 0) {
            state->cycles = clock64() - from;
            state->nanos = nanoseconds() - begun;
        }
        // The last one to leave makes it ready for the next launch.
        u32 left;
        asm volatile("atom.acq_rel.gpu.global.add.u32 %0, [%1], 1;" : "=r"(left) : "l"(&state->left) : "memory");
        if (left + 1 == (u32)blocks) {
            state->left = 0;
            state->epoch += 1;
        }
    }
}

// The plain way: a block of eight warps for 16 rows, `kind` as above; rows / 16 blocks.
extern "C" __global__ void __launch_bounds__(CONSUMERS) product(const char* weights, State* state, int kind) {
    __shared__ float sums[WARPS][16];
    const int thread = threadIdx.x, warp = thread / 32, lane = thread % 32;
    const int rows = blockIdx.x, quarters = kind == 3 ? 4 : 1;
    const float* in = kind == 1 ? state->q : kind == 3 ? state->a : state->x;
    float s[2][4] = {};
    for (int k = 0; k < quarters; k++) {
        const char* unit = weights + (u64)(rows * quarters + k) * UNIT;
        uint4 w[16];
#pragma unroll
        for (int t = 0; t < 16; t++)
            asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                         : "=r"(w[t].x), "=r"(w[t].y), "=r"(w[t].z), "=r"(w[t].w)
                         : "l"(unit + (8 * t + warp) * 512 + lane * 16));
#pragma unroll
        for (int t = 0; t < 16; t++)
            tile(s[t % 2], w[t], operand(*(const float4*)(in + k * HIDDEN + (8 * t + warp) * 16 + lane % 4 * 4), lane));
    }
    if (lane % 4 == 0) {
        sums[warp][lane / 4] = (s[0][0] + s[1][0]) + (s[0][1] + s[1][1]);
        sums[warp][lane / 4 + 8] = (s[0][2] + s[1][2]) + (s[0][3] + s[1][3]);
    }
    __syncthreads();
    if (thread >= 16) return;
    float r = 0.0f;
#pragma unroll
    for (int w = 0; w < WARPS; w++) r += sums[w][thread];
    const int row = 16 * rows + thread;
    if (kind == 0) state->q[row] = r;
    if (kind == 1 || kind == 3) state->x[row] += r;
    if (kind == 2) {
        const float other = __shfl_xor_sync(0xffffu, r, 1);
        if (thread % 2 == 0) state->a[row / 2] = silu(r) * other;
    }
}
// x to length one an element. One block of 1024 threads.
extern "C" __global__ void __launch_bounds__(1024) normalise(State* state) {
    __shared__ float part[32];
    const int t = threadIdx.x;
    const float a = state->x[t], b = state->x[t + 1024];
    float sum = a * a + b * b;
#pragma unroll
    for (int d = 16; d; d /= 2) sum += __shfl_xor_sync(~0u, sum, d);
    if (t % 32 == 0) part[t / 32] = sum;
    __syncthreads();
    sum = part[t % 32];
#pragma unroll
    for (int d = 16; d; d /= 2) sum += __shfl_xor_sync(~0u, sum, d);
    const float scale = rsqrtf(sum / HIDDEN + 1e-5f);
    state->x[t] = a * scale;
    state->x[t + 1024] = b * scale;
}

// Random bf16 numbers around zero, `spread` wide, two at a time.
extern "C" __global__ void __launch_bounds__(256) randomise(u32* to, u64 pairs, float spread, u32 seed) {
    for (u64 i = (u64)blockIdx.x * 256 + threadIdx.x; i < pairs; i += (u64)gridDim.x * 256) {
        u64 x = (i + seed) * 0x9E3779B97F4A7C15ull;
        x ^= x >> 29;
        x *= 0xBF58476D1CE4E5B9ull;
        x ^= x >> 32;
        const float l = ((float)(x & 0xffff) / 32768.0f - 1.0f) * spread;
        const float h = ((float)(x >> 16 & 0xffff) / 32768.0f - 1.0f) * spread;
        to[i] = (__float_as_uint(l) >> 16) | (__float_as_uint(h) & 0xffff0000u);
    }
}

// Work of a known length for every SM: two blocks of 1024 threads each, so that nothing else fits beside it.
extern "C" __global__ void __launch_bounds__(1024, 2) spin(u64 rounds, float* out) {
    float a = threadIdx.x, b = 1.0f;
    for (u64 i = 0; i < rounds; i++) {
#pragma unroll
        for (int k = 0; k < 16; k++) a = __fmaf_rn(a, b, 0.5f);
    }
    // Never true, and the compiler cannot know.
    if (a == -1.0f) *out = a;
}

// The paged cache, as kernels see it. Mirrored in src/ops/cuda/attention.rs.
#pragma once
#include "common.cuh"

struct CwCache {
    char* base;            // page 0, of this layer: K, then V half_bytes later
    uint64_t page_bytes;   // of all layers
    uint64_t half_bytes;   // K of one layer
    const int* positions;  // [n]
    const int* sequences;  // [n]
    const int* tables;     // [sequences][width]
    int width;
    int page_tokens;
    int kv_heads;
    int head_dim;
};

__device__ __forceinline__ char* cw_cell(const CwCache& c, const int* table, int head, int token, int element_bytes) {
    int page = table[token / c.page_tokens];
    return c.base + (uint64_t)page * c.page_bytes +
           ((uint64_t)head * c.page_tokens + token % c.page_tokens) * c.head_dim * element_bytes;
}

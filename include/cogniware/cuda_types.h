// SPDX-License-Identifier: MIT OR Apache-2.0
// CUDA's names that virtual GPUs are spoken of with: dim3, cudaMemcpyKind, cudaDataType_t. From CUDA's own headers where
// these are complete, else the same names with the same values and layout. Include CUDA's headers before this one where
// they are found by an absolute path.
#ifndef COGNIWARE_CUDA_TYPES_H
#define COGNIWARE_CUDA_TYPES_H

#include <cogniware/cuda_compat.h>

#if !COGNIWARE_CUDA_HEADERS

// The names in the conditions are the include guards of CUDA's headers.
#ifndef __DRIVER_TYPES_H__
enum cudaMemcpyKind {
    cudaMemcpyHostToHost = 0,
    cudaMemcpyHostToDevice = 1,
    cudaMemcpyDeviceToHost = 2,
    cudaMemcpyDeviceToDevice = 3,
    cudaMemcpyDefault = 4
};
#endif

#ifndef __VECTOR_TYPES_H__
struct dim3 {
    unsigned int x, y, z;
    constexpr dim3(unsigned int vx = 1, unsigned int vy = 1, unsigned int vz = 1) : x(vx), y(vy), z(vz) {}
};
#endif

#ifndef __LIBRARY_TYPES_H__
typedef enum cudaDataType_t {
    CUDA_R_32F = 0,
    CUDA_R_64F = 1,
    CUDA_R_16F = 2,
    CUDA_R_8I = 3,
    CUDA_R_8U = 8,
    CUDA_R_32I = 10,
    CUDA_R_32U = 12,
    CUDA_R_16BF = 14
} cudaDataType;
#endif

#endif

#endif

/* SPDX-License-Identifier: MIT OR Apache-2.0
 * The CUDA types that Cogniware's C++ headers speak of: from CUDA's own headers where these are complete, else the same
 * names with the same layout. Usable from C and C++.
 *
 * COGNIWARE_CUDA_HEADERS, 0 or 1, decides for all files of a program alike; without it the files found decide. A file
 * that includes CUDA's headers by an absolute path must do so before this one.
 */
#ifndef COGNIWARE_CUDA_COMPAT_H
#define COGNIWARE_CUDA_COMPAT_H

#ifndef COGNIWARE_CUDA_HEADERS
#if defined(__CUDACC__)
#define COGNIWARE_CUDA_HEADERS 1
#elif defined(__has_include)
/* The runtime's wheel alone lacks crt/, without which its headers do not compile. */
#if __has_include(<cuda_runtime_api.h>) && __has_include(<library_types.h>) && __has_include(<crt/host_defines.h>)
#define COGNIWARE_CUDA_HEADERS 1
#endif
#endif
#ifndef COGNIWARE_CUDA_HEADERS
#define COGNIWARE_CUDA_HEADERS 0
#endif
#endif

#if COGNIWARE_CUDA_HEADERS
#include <cuda_runtime_api.h>
#include <library_types.h>
#else
/* A stream of CUDA's driver or runtime; a repeated typedef of the same type is allowed, so both orders work. */
typedef struct CUstream_st* cudaStream_t;
#endif

#endif

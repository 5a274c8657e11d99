// What all kernels share: declarations, sums over a block, the order of floats.
//
// The same text is compiled by nvcc, by NVRTC, which knows no headers, and by a C++ compiler against
// tests/kernels/host.hpp, which runs the threads of a block on a CPU. So kernels use the language alone: no header, no
// <cmath> constants, no templates of a library.
#pragma once

#ifdef SYRINX_HOST
#include "host.hpp"
#else
// A kernel for blocks of at most `threads`.
#define KERNEL(name, threads) extern "C" __global__ void __launch_bounds__(threads) name
// Shared memory whose size the launch gives.
#define DYNAMIC_SHARED(type, name) extern __shared__ type name[]
#endif

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define WARP 32
#define ALL_LANES 0xffffffffu

// Not less than any number.
__device__ inline float infinity() { return __int_as_float(0x7f800000); }

__device__ inline bool is_finite(float x) { return (__float_as_int(x) & 0x7f800000) != 0x7f800000; }

// Orders floats as IEEE 754's totalOrder does: -NaN, -inf, .., -0, 0, .., inf, NaN.
__device__ inline int total_order(float x) {
    int bits = __float_as_int(x);
    return bits ^ (int)((u32)(bits >> 31) >> 1);
}

// The sum over the lanes of a warp, in every lane, in an order that does not change.
template <class T> __device__ inline T warp_sum(T value) {
    for (int distance = WARP / 2; distance > 0; distance /= 2) value += __shfl_xor_sync(ALL_LANES, value, distance);
    return value;
}

// The sum over a block of whole warps, in every thread. `shared` has a place for each warp and may be used again after
// the next __syncthreads.
template <class T> __device__ inline T block_sum(T value, T *shared) {
    value = warp_sum(value);
    if (threadIdx.x % WARP == 0) shared[threadIdx.x / WARP] = value;
    __syncthreads();
    T sum = 0;
    for (u32 warp = 0; warp < blockDim.x / WARP; warp++) sum += shared[warp];
    return sum;
}

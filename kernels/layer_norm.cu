// Layer normalisation: each row to mean 0 and variance 1, then scaled and shifted.
//
// y[r, i] = (x[r, i] - mean_r) / sqrt(variance_r + epsilon) * gamma[i] + beta[i]
//
// shapes     x and y [rows, features], gamma and beta [features]; less than 2^31 values
// grid       a block of 128 threads for each row
// shared     32 bytes
// registers  layer_norm 44 at most
// contract   sums in f32: within 1e-5 of the twin's for values about 1
// CPU twin   nn::ops::plain::layer_norm
#include "syrinx.cuh"

#define THREADS 128
#define WARPS (THREADS / WARP)

KERNEL(layer_norm, THREADS)
(const float *x, int features, const float *gamma, const float *beta, float epsilon, float *y) {
    __shared__ float sums[WARPS], squares[WARPS];
    const float *row = x + blockIdx.x * features;
    float sum = 0.0f;
    for (int i = threadIdx.x; i < features; i += THREADS) sum += row[i];
    const float mean = block_sum(sum, sums) / features;
    sum = 0.0f;
    for (int i = threadIdx.x; i < features; i += THREADS) sum += (row[i] - mean) * (row[i] - mean);
    const float deviation = sqrtf(block_sum(sum, squares) / features + epsilon);
    for (int i = threadIdx.x; i < features; i += THREADS) {
        y[blockIdx.x * features + i] = (row[i] - mean) / deviation * gamma[i] + beta[i];
    }
}

// One value of each row of a matrix.
//
// y[row] = sum, mean or largest of x[row, ..]; a row that holds a NaN has none that is largest: NaN.
//
// shapes     x [rows, len], y [rows]
// grid       rows blocks of 128 threads: a row each
// shared     16 bytes
// registers  reduce 40 at most
// contract   sums in f32, in the same order each time: within 1e-6 of the row's sum of magnitudes
// CPU twin   burn_flex's sum_dim, mean_dim, max_dim
#include "syrinx.cuh"

#define THREADS 128

// As cuda::ops::Reduction.
enum Reduction { SUM, MEAN, MAX };

__device__ inline float larger(float a, float b) { return a != a || a > b ? a : b; }

KERNEL(reduce, THREADS)
(int reduction, const float *x, int len, float *y) {
    __shared__ float shared[THREADS / WARP];
    const float *row = x + (long long)blockIdx.x * len;
    if (reduction == MAX) {
        float most = -infinity();
        for (int i = threadIdx.x; i < len; i += THREADS) most = larger(row[i], most);
        for (int distance = WARP / 2; distance > 0; distance /= 2) {
            most = larger(__shfl_xor_sync(ALL_LANES, most, distance), most);
        }
        if (threadIdx.x % WARP == 0) shared[threadIdx.x / WARP] = most;
        __syncthreads();
        for (int warp = 0; warp < THREADS / WARP; warp++) most = larger(shared[warp], most);
        if (threadIdx.x == 0) y[blockIdx.x] = most;
    } else {
        float sum = 0.0f;
        for (int i = threadIdx.x; i < len; i += THREADS) sum += row[i];
        sum = block_sum(sum, shared);
        if (threadIdx.x == 0) y[blockIdx.x] = reduction == MEAN ? sum / len : sum;
    }
}

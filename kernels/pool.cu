// The mean or the largest of windows over the last two dimensions that lie within them whole.
//
// y[p, r, c] = mean or largest of x[p, r * stride_rows + i, c * stride_columns + j], i < tall, j < wide; a window that holds
// a NaN has none that is largest: NaN.
//
// shapes     x [planes, in_rows, in_columns], y [planes, rows, columns]; one dimension is two with one row
// grid       ceil(planes rows columns / 256) blocks of 256 threads: a value each
// shared     none
// registers  pool 46 at most
// contract   sums in f32 in order: within 1e-6 of the twin's, relatively to the magnitudes
// CPU twin   burn_flex's avg_pool2d, max_pool1d
#include "syrinx.cuh"

#define THREADS 256

// As cuda::ops::Pooling.
enum Pooling { MEAN, MAX };

KERNEL(pool, THREADS)
(int pooling, const float *x, float *y, int planes, int in_rows, int in_columns, int rows, int columns, int tall, int wide,
 int stride_rows, int stride_columns) {
    int at = blockIdx.x * THREADS + threadIdx.x;
    if (at >= planes * rows * columns) return;
    int line = at / columns, plane = line / rows, row = line - plane * rows, column = at - line * columns;
    const float *window = x + (plane * in_rows + row * stride_rows) * in_columns + column * stride_columns;
    float sum = 0.0f, most = -infinity();
    for (int i = 0; i < tall; i++) {
        for (int j = 0; j < wide; j++) {
            float value = window[i * in_columns + j];
            sum += value;
            if (value != value || value > most) most = value;
        }
    }
    y[at] = pooling == MEAN ? sum / (tall * wide) : most;
}

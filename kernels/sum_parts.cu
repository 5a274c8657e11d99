// The end of a sum that was made in parts: y[i] = finish(sum_p parts[p, i]), as epilogue.cuh has it.
//
// shapes     parts [count, total]; y and residual [total]; bias [channels]: value i is of channel i / inner mod
//            channels
// grid       ceil(total / 256) blocks of 256 threads
// shared     none
// registers  sum_parts 42 at most
// contract   parts are summed in order
// CPU twin   nn::ops::plain, its operations' last steps
#include "epilogue.cuh"

#define THREADS 256

KERNEL(sum_parts, THREADS)
(const float *parts, int count, int total, int inner, int channels, const float *bias, const float *residual, int after,
 float after_slope, float scale, float kept, float *y) {
    int i = blockIdx.x * THREADS + threadIdx.x;
    if (i >= total) return;
    float sum = 0.0f;
    for (int part = 0; part < count; part++) sum += parts[(long long)part * total + i];
    const Epilogue epilogue = {bias, residual, {after, after_slope}, scale, kept};
    finish(epilogue, sum, i / inner % channels, i, y);
}

// Elementwise functions of the networks.
//
// activate_all  y[i] = f(x[i])
// gate          y[b, c, t] = tanh(x[b, c, t]) * sigmoid(x[b, channels + c, t]): WaveNet's
//
// shapes     activate: x and y [total]; gate: x [batch, 2 half], y [batch, half] with `half` the channels times the
//            time
// grid       ceil(values / 256) blocks of 256 threads
// shared     none
// registers  activate_all 15, gate 16 at most
// contract   within 1e-6 of the twin's for values about 1
// CPU twin   nn::ops::plain::activate, gate
#include "epilogue.cuh"

#define THREADS 256

KERNEL(activate_all, THREADS)
(const float *x, int total, int function, float slope, float *y) {
    int i = blockIdx.x * THREADS + threadIdx.x;
    if (i < total) y[i] = activate({function, slope}, x[i]);
}

KERNEL(gate, THREADS)
(const float *x, int total, int half, float *y) {
    int i = blockIdx.x * THREADS + threadIdx.x;
    if (i >= total) return;
    const float *a = x + i / half * half + i;
    y[i] = tanhf(a[0]) * logistic(a[half]);
}

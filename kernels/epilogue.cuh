// What the kernels of the networks do besides their sums: y = scale (after(sum + bias) + residual) + kept y, the sum
// being of before(x).
//
// A generator's residual stage is convolutions with `before` a leaky rectifier and what they add to as `residual`; the
// mean over its n blocks is what the last of each does with `scale` 1 / n and, but for the first block, `kept` 1.
#pragma once
#include "syrinx.cuh"

// As nn::ops::Activation.
enum Function { IDENTITY, RELU, LEAKY_RELU, GELU, SILU, TANH, SIGMOID };

struct Activation {
    int function;
    float slope;
};

__device__ inline float logistic(float x) { return 1.0f / (1.0f + expf(-x)); }

__device__ inline float activate(Activation activation, float x) {
    switch (activation.function) {
    case RELU: return x < 0.0f ? 0.0f : x;
    case LEAKY_RELU: return x > 0.0f ? x : activation.slope * x;
    case GELU: return 0.5f * x * (1.0f + erff(x * 0.70710678f));
    case SILU: return x * logistic(x);
    case TANH: return tanhf(x);
    case SIGMOID: return logistic(x);
    default: return x;
    }
}

struct Epilogue {
    const float *bias, *residual;
    Activation after;
    float scale, kept;
};

// Writes y[at] for a sum of `channel`; y is read only if some of it is kept.
__device__ inline void finish(const Epilogue &epilogue, float sum, int channel, int at, float *y) {
    if (epilogue.bias) sum += epilogue.bias[channel];
    float value = activate(epilogue.after, sum);
    if (epilogue.residual) value += epilogue.residual[at];
    value *= epilogue.scale;
    if (epilogue.kept != 0.0f) value += epilogue.kept * y[at];
    y[at] = value;
}

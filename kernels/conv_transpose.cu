// Transposed convolution of one or two dimensions, gathered: each output sums the taps that reach it, and no others.
//
// Along each dimension, output t is of phase p = (t + padding) mod stride, and of the inputs q - j, q = (t + padding) /
// stride, through the taps p + j stride: a convolution of its own for each phase.
//
// shapes     x [batch, inputs, in_rows, in_columns], weight for each phase (rows first) [its taps, inputs, padded] with
//            `padded` the outputs made a multiple of 4 (zeros), bias [outputs], residual and y [batch, outputs, rows,
//            columns]; less than 2^31 values each; one dimension is two with one row, one tap and stride 1
// grid       (tiles of samples of the largest phase and all the batch, phases * tiles of outputs, parts), else as
//            conv.cu
// shared     conv_transpose_64x64 18,944 bytes, conv_transpose_32x32 9,728, conv_transpose_32x64_tf32 14,336
// registers  conv_transpose_64x64 80, conv_transpose_32x32 79 at most
// registers  conv_transpose_64x64_tf32 80, conv_transpose_32x64_tf32 113 at most
// contract   as conv.cu's
// CPU twin   nn::ops::plain::conv_transpose1d, conv_transpose2d
#include "convolve.cuh"

// The outputs of one phase along one dimension.
struct Phase {
    // The first of them, its input through the first tap, and how many there are.
    int first, first_input, count;
    // How many taps reach them, and how many are of phases before.
    int taps, taps_before;
};

__device__ inline Phase phase(int p, int taps, int stride, int padding, int out) {
    const int all = taps / stride, rest = taps % stride;
    int q = padding > p ? (padding - p + stride - 1) / stride : 0;
    int end = out + padding > p ? (out + padding - p + stride - 1) / stride : 0;
    return {q * stride + p - padding, q, max(end - q, 0), all + (p < rest), p * all + min(p, rest)};
}

#define PARAMETERS                                                                                                     \
    (const float *x, const float *weight, const float *bias, const float *residual, float *y, float *parts, int batch, \
     int inputs, int outputs, int in_rows, int in_columns, int tap_rows, int tap_columns, int rows, int columns,       \
     int stride_rows, int stride_columns, int padding_rows, int padding_columns, int share, int before,                \
     float before_slope, int after, float after_slope, float scale, float kept)

#define CONVOLVE(...)                                                                                                  \
    typedef __VA_ARGS__ T;                                                                                             \
    __shared__ float4 shared[T::SHARED / 4];                                                                           \
    const int tiles = (outputs + T::M - 1) / T::M, p = blockIdx.y / tiles, padded = (outputs + 3) / 4 * 4;             \
    const Phase down = phase(p / stride_columns, tap_rows, stride_rows, padding_rows, rows);                           \
    const Phase across = phase(p % stride_columns, tap_columns, stride_columns, padding_columns, columns);             \
    if (blockIdx.x * T::N >= (u32)(batch * down.count * across.count)) return;                                         \
    weight += (long long)(down.taps_before * tap_columns + down.taps * across.taps_before) * inputs * padded;          \
    const Convolution c = {x, weight, batch, 1, inputs, outputs, padded, in_rows, in_columns, down.taps,               \
                           max(across.taps, 1), down.count, across.count, 1, 1, down.first_input, across.first_input,  \
                           -1, -1, rows, columns, down.first, across.first, stride_rows, stride_columns,               \
                           {before, before_slope}};                                                                    \
    const Epilogue epilogue = {bias, residual, {after, after_slope}, scale, kept};                                     \
    const int count = down.taps * across.taps * inputs, first_k = blockIdx.z * share;                                  \
    float *part = gridDim.z > 1 ? parts + (long long)blockIdx.z * batch * outputs * rows * columns : nullptr;          \
    convolve<T>(c, epilogue, 0, (blockIdx.y - p * tiles) * T::M, blockIdx.x * T::N, count, first_k,                    \
                min(first_k + share, count), part, y, (float *)shared)

KERNEL(conv_transpose_64x64, 256)
PARAMETERS { CONVOLVE(Tile<64, 64, 4, 4>); }

KERNEL(conv_transpose_32x32, 128)
PARAMETERS { CONVOLVE(Tile<32, 32, 4, 2>); }

KERNEL(conv_transpose_64x64_tf32, 256)
PARAMETERS { CONVOLVE(TensorTile<64, 64, 16, 32>); }

KERNEL(conv_transpose_32x64_tf32, 128)
PARAMETERS { CONVOLVE(TensorTile<32, 64, 16, 32>); }

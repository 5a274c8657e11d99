// Convolution (cross-correlation, zeros beyond the ends) of one or two dimensions, by implicit products of matrices.
//
// y[o, t] = finish(sum_{r, s, i} w[o, i, r, s] before(x[i, t * stride + (r, s) * dilation - padding])), as epilogue.cuh
// has it.
//
// shapes     x [batch, groups * inputs, in_rows, in_columns], weight [groups, tap_rows * tap_columns * inputs, padded]
//            with `padded` the outputs of a group made a multiple of 4 (zeros), bias [groups * outputs], residual and y
//            [batch, groups * outputs, rows, columns]; less than 2^31 values each; one dimension is two with one row
// grid       (tiles of samples of all the batch, groups * tiles of outputs, parts): part p sums k in p share..(p + 1)
//            share, k counting taps and, inside of a tap, inputs; more than one part write to parts [parts, values of
//            y], for sum_parts; tiles are outputs by samples as the kernels' names have it; 256 or 128 threads
// shared     conv_64x64 18,944 bytes, conv_32x128 23,040, conv_32x32 9,728, conv_128x64_tf32 26,624
// registers  conv_64x64 80, conv_32x128 109, conv_32x32 79 at most
// registers  conv_64x64_tf32 80, conv_32x128_tf32 109, conv_32x32_tf32 80, conv_128x64_tf32 122 at most
// contract   sums in f32, in the same order each time: within 1e-5 of the twin's for sums of values about 1; by the
//            kernels of tf32, of the twin's for factors rounded to 11 significant bits, on Turing not rounded
// CPU twin   nn::ops::plain::conv1d, conv2d
#include "convolve.cuh"

#define PARAMETERS                                                                                                     \
    (const float *x, const float *weight, const float *bias, const float *residual, float *y, float *parts, int batch, \
     int groups, int inputs, int outputs, int in_rows, int in_columns, int tap_rows, int tap_columns, int rows,        \
     int columns, int stride_rows, int stride_columns, int padding_rows, int padding_columns, int dilation_rows,       \
     int dilation_columns, int share, int before, float before_slope, int after, float after_slope, float scale,       \
     float kept)

#define CONVOLVE(...)                                                                                                  \
    typedef __VA_ARGS__ T;                                                                                             \
    __shared__ float4 shared[T::SHARED / 4];                                                                           \
    const Convolution c = {x, weight, batch, groups, inputs, outputs, (outputs + 3) / 4 * 4, in_rows, in_columns,      \
                           tap_rows, tap_columns, rows, columns, stride_rows, stride_columns, -padding_rows,           \
                           -padding_columns, dilation_rows, dilation_columns, rows, columns, 0, 0, 1, 1,               \
                           {before, before_slope}};                                                                    \
    const Epilogue epilogue = {bias, residual, {after, after_slope}, scale, kept};                                     \
    const int tiles = (outputs + T::M - 1) / T::M, group = blockIdx.y / tiles, count = tap_rows * tap_columns * inputs;\
    const int first_k = blockIdx.z * share;                                                                            \
    float *part = gridDim.z > 1                                                                                        \
                      ? parts + (long long)blockIdx.z * batch * groups * outputs * rows * columns                      \
                      : nullptr;                                                                                       \
    convolve<T>(c, epilogue, group, (blockIdx.y - group * tiles) * T::M, blockIdx.x * T::N, count, first_k,            \
                min(first_k + share, count), part, y, (float *)shared)

KERNEL(conv_64x64, 256)
PARAMETERS { CONVOLVE(Tile<64, 64, 4, 4>); }

KERNEL(conv_32x128, 256)
PARAMETERS { CONVOLVE(Tile<32, 128, 4, 4>); }

KERNEL(conv_32x32, 128)
PARAMETERS { CONVOLVE(Tile<32, 32, 4, 2>); }

KERNEL(conv_64x64_tf32, 256)
PARAMETERS { CONVOLVE(TensorTile<64, 64, 16, 32>); }

KERNEL(conv_32x128_tf32, 256)
PARAMETERS { CONVOLVE(TensorTile<32, 128, 16, 32>); }

KERNEL(conv_32x32_tf32, 128)
PARAMETERS { CONVOLVE(TensorTile<32, 32, 16, 16>); }

KERNEL(conv_128x64_tf32, 256)
PARAMETERS { CONVOLVE(TensorTile<128, 64, 32, 32>); }

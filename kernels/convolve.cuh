// Convolutions as products of matrices, made up as they are read: A[k, m] the weight of output m, B[k, n] the input
// that weight k of output sample n falls on; k counts taps and, inside of a tap, channels.
#pragma once
#include "tiles.cuh"

// What is convolved. Pairs are of rows and columns; one-dimensional signals have one row.
struct Convolution {
    const float *x;      // [batch, groups * inputs, in.rows, in.columns]
    const float *weight; // [groups, taps.rows * taps.columns * inputs, padded], 0 beyond `outputs`
    int batch, groups, inputs, outputs, padded;
    int in_rows, in_columns;
    int tap_rows, tap_columns;
    // Outputs made here; the input of output row i and tap r is i * stride_rows + first_row + r * step_rows.
    int rows, columns;
    int stride_rows, stride_columns, first_row, first_column, step_rows, step_columns;
    // Output row i is row out_first_row + i * out_step_rows of y [batch, groups * outputs, out_rows, out_columns].
    int out_rows, out_columns, out_first_row, out_first_column, out_step_rows, out_step_columns;
    Activation before;
};

// A: four weights at once.
template <class T> struct Weights {
    enum { QUADS = T::M / 4, EACH = (DEPTH * QUADS + T::THREADS - 1) / T::THREADS };
    const float *weight;
    int padded, first, last;
    float4 values[EACH];

    __device__ Weights(const Convolution &c, int group, int first_output, int last_k)
        : weight(c.weight + (long long)group * last_k * c.padded), padded(c.padded), first(first_output),
          last(last_k) {}

    __device__ void fetch(int k) {
#pragma unroll
        for (int i = 0; i < EACH; i++) {
            int at = threadIdx.x + i * T::THREADS, row = k + at / QUADS, m = first + at % QUADS * 4;
            bool inside = at < DEPTH * QUADS && row < last && m < padded;
            values[i] = inside ? *(const float4 *)(weight + (long long)row * padded + m)
                               : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        }
    }

    __device__ void place(float *shared) {
#pragma unroll
        for (int i = 0; i < EACH; i++) {
            int at = threadIdx.x + i * T::THREADS;
            if (at < DEPTH * QUADS) *(float4 *)(shared + at / QUADS * T::ROW_A + at % QUADS * 4) = values[i];
        }
    }
};

// Where output sample n lies: in the batch, in its row, in its column.
struct Sample {
    int item, row, column;
};

__device__ inline Sample sample(const Convolution &c, int n) {
    int row = n / c.columns, item = row / c.rows;
    return {item, row - item * c.rows, n - row * c.columns};
}

// B: each thread has the same few samples for every k.
template <class T> struct Inputs {
    enum { EACH = T::N / T::LANES };
    // The row of samples beyond the last, of which no tap makes one of the input's: wrappers see to that.
    enum { OUTSIDE = -(1 << 30) };
    const Convolution &c;
    const float *x;
    int last;
    int at[EACH], row[EACH], column[EACH];
    float values[EACH];
    u32 inside;

    __device__ Inputs(const Convolution &c, int group, int first_sample, int samples, int last_k)
        : c(c), x(c.x + (long long)group * c.inputs * c.in_rows * c.in_columns), last(last_k), inside(0) {
#pragma unroll
        for (int j = 0; j < EACH; j++) {
            int n = first_sample + threadIdx.x % T::LANES + j * T::LANES;
            Sample of = sample(c, n < samples ? n : 0);
            row[j] = of.row * c.stride_rows + c.first_row;
            column[j] = of.column * c.stride_columns + c.first_column;
            at[j] = (of.item * c.groups * c.inputs * c.in_rows + row[j]) * c.in_columns + column[j];
            if (n >= samples) row[j] = OUTSIDE;
        }
    }

    __device__ void fetch(int k) {
        k += threadIdx.x / T::LANES;
        int tap = (u32)k / (u32)c.inputs, channel = k - tap * c.inputs;
        int down = c.tap_rows > 1 ? (u32)tap / (u32)c.tap_columns : 0;
        int right = (tap - down * c.tap_columns) * c.step_columns;
        down *= c.step_rows;
        int offset = (channel * c.in_rows + down) * c.in_columns + right;
        inside = 0;
#pragma unroll
        for (int j = 0; j < EACH; j++) {
            bool here = k < last && (u32)(row[j] + down) < (u32)c.in_rows &&
                        (u32)(column[j] + right) < (u32)c.in_columns;
            inside |= (u32)here << j;
            values[j] = here ? x[at[j] + offset] : 0.0f;
        }
    }

    __device__ void place(float *shared) {
        shared += threadIdx.x / T::LANES * T::ROW_B + threadIdx.x % T::LANES;
#pragma unroll
        for (int j = 0; j < EACH; j++) {
            // Beyond the ends are zeros, whatever the function makes of 0.
            shared[j * T::LANES] = inside >> j & 1 ? activate(c.before, values[j]) : 0.0f;
        }
    }
};

// Makes one tile of outputs, of the weights in first_k..last_k of `count` in all. Written to y, or, where the sum is
// made in parts, to this part.
template <class T>
__device__ inline void convolve(const Convolution &c, const Epilogue &epilogue, int group, int first_output,
                                int first_sample, int count, int first_k, int last_k, float *part, float *y,
                                float *shared) {
    const int samples = c.batch * c.rows * c.columns;
    Weights<T> a(c, group, first_output, count);
    Inputs<T> b(c, group, first_sample, samples, last_k);
    float sums[T::OWN_M][T::OWN_N] = {};
    multiply<T>(a, b, first_k, last_k, shared, sums);
#pragma unroll
    for (int j = 0; j < T::OWN_N; j++) {
        const int n = first_sample + T::n(j);
        if (n >= samples) break;
        Sample of = sample(c, n);
        int row = c.out_first_row + of.row * c.out_step_rows;
        int column = c.out_first_column + of.column * c.out_step_columns;
#pragma unroll
        for (int i = 0; i < T::OWN_M; i++) {
            const int m = first_output + T::m(i);
            if (m >= c.outputs) break;
            int channel = group * c.outputs + m;
            int at = ((of.item * c.groups * c.outputs + channel) * c.out_rows + row) * c.out_columns + column;
            if (part) part[at] = sums[i][j];
            else finish(epilogue, sums[i][j], channel, at, y);
        }
    }
}

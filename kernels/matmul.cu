// Products of matrices, which may lie transposed or among others, and linear maps of rows.
//
// y[b, c, m, n] = finish(sum_k before(left[b, c, m, k]) right[b, c, k, n]), as epilogue.cuh has it; channels are n.
//
// shapes     left and right by their strides, which may be 0; bias [columns], residual and y [outer, inner, rows,
//            columns]; less than 2^31 values each
// grid       (tiles of columns, outer * inner * tiles of rows, parts), else as conv.cu; tiles are rows by columns
// shared     matmul_64x64 18,944 bytes, matmul_32x32 9,728, matmul_64x128_tf32 26,624
// registers  matmul_64x64 80, matmul_32x32 80, matmul_64x64_tf32 80, matmul_32x32_tf32 80, matmul_64x128_tf32 128 at most
// contract   as conv.cu's
// CPU twin   nn::ops::plain::linear; burn's matmul
#include "tiles.cuh"

// SIDE rows of DEPTH factors, which lie side by side either along the sum or across it.
template <class T, int SIDE, int ROW> struct Factors {
    enum { EACH = SIDE * DEPTH / T::THREADS };
    const float *x;
    int stride, stride_k, first, end, last;
    float values[EACH];

    __device__ Factors(const float *x, int stride, int stride_k, int first, int end, int last)
        : x(x), stride(stride), stride_k(stride_k), first(first), end(end), last(last) {}

    // Neighbouring threads take neighbours in memory.
    __device__ int side(int i) const {
        return stride_k == 1 ? threadIdx.x / DEPTH + i * (T::THREADS / DEPTH) : threadIdx.x % SIDE;
    }
    __device__ int depth(int i) const {
        return stride_k == 1 ? threadIdx.x % DEPTH : threadIdx.x / SIDE + i * (T::THREADS / SIDE);
    }

    __device__ void fetch(int k) {
#pragma unroll
        for (int i = 0; i < EACH; i++) {
            int at = first + side(i), own = k + depth(i);
            values[i] = at < end && own < last ? x[at * stride + own * stride_k] : 0.0f;
        }
    }

    __device__ void place(float *shared) {
#pragma unroll
        for (int i = 0; i < EACH; i++) shared[depth(i) * ROW + side(i)] = values[i];
    }
};

// The same with a function applied; what it makes of zeros beyond the sum is multiplied by zeros of the other side.
template <class T, int SIDE, int ROW> struct Activated : Factors<T, SIDE, ROW> {
    Activation before;

    __device__ Activated(const float *x, int stride, int stride_k, int first, int end, int last, Activation before)
        : Factors<T, SIDE, ROW>(x, stride, stride_k, first, end, last), before(before) {}

    __device__ void place(float *shared) {
#pragma unroll
        for (int i = 0; i < Factors<T, SIDE, ROW>::EACH; i++) this->values[i] = activate(before, this->values[i]);
        Factors<T, SIDE, ROW>::place(shared);
    }
};

#define PARAMETERS                                                                                                     \
    (const float *left, const float *right, const float *bias, const float *residual, float *y, float *parts,          \
     int outer, int inner, int rows, int columns, int depth, int left_outer, int left_inner, int left_row,             \
     int left_k, int right_outer, int right_inner, int right_k, int right_column, int share, int before,               \
     float before_slope, int after, float after_slope, float scale, float kept)

#define MULTIPLY(...)                                                                                                  \
    typedef __VA_ARGS__ T;                                                                                             \
    __shared__ float4 shared[T::SHARED / 4];                                                                           \
    const int tiles = (rows + T::M - 1) / T::M, item = blockIdx.y / tiles, first_k = blockIdx.z * share;               \
    const int last_k = min(first_k + share, depth);                                                                    \
    left += (long long)(item / inner) * left_outer + (long long)(item % inner) * left_inner;                           \
    right += (long long)(item / inner) * right_outer + (long long)(item % inner) * right_inner;                        \
    const int first_m = (blockIdx.y - item * tiles) * T::M, first_n = blockIdx.x * T::N;                               \
    Activated<T, T::M, T::ROW_A> a(left, left_row, left_k, first_m, rows, last_k, {before, before_slope});             \
    Factors<T, T::N, T::ROW_B> b(right, right_column, right_k, first_n, columns, last_k);                              \
    float sums[T::OWN_M][T::OWN_N] = {};                                                                               \
    multiply<T>(a, b, first_k, last_k, (float *)shared, sums);                                                         \
    const Epilogue epilogue = {bias, residual, {after, after_slope}, scale, kept};                                     \
    float *part = gridDim.z > 1 ? parts + (long long)blockIdx.z * outer * inner * rows * columns : nullptr;            \
    write<T>(sums, epilogue, item, first_m, rows, first_n, columns, part, y)

template <class T>
__device__ inline void write(const float (&sums)[T::OWN_M][T::OWN_N], const Epilogue &epilogue, int item, int first_m,
                             int rows, int first_n, int columns, float *part, float *y) {
#pragma unroll
    for (int i = 0; i < T::OWN_M; i++) {
        const int m = first_m + T::m(i);
        if (m >= rows) break;
#pragma unroll
        for (int j = 0; j < T::OWN_N; j++) {
            const int n = first_n + T::n(j);
            if (n >= columns) break;
            int at = (item * rows + m) * columns + n;
            if (part) part[at] = sums[i][j];
            else finish(epilogue, sums[i][j], n, at, y);
        }
    }
}

KERNEL(matmul_64x64, 256)
PARAMETERS { MULTIPLY(Tile<64, 64, 4, 4>); }

KERNEL(matmul_32x32, 128)
PARAMETERS { MULTIPLY(Tile<32, 32, 4, 2>); }

KERNEL(matmul_64x64_tf32, 256)
PARAMETERS { MULTIPLY(TensorTile<64, 64, 16, 32>); }

KERNEL(matmul_32x32_tf32, 128)
PARAMETERS { MULTIPLY(TensorTile<32, 32, 16, 16>); }

KERNEL(matmul_64x128_tf32, 256)
PARAMETERS { MULTIPLY(TensorTile<64, 128, 32, 32>); }

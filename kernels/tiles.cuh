// Products of matrices by tiles: each block sums C[m, n] = sum_k A[k, m] B[k, n] of one tile of C, DEPTH products at a
// time through shared memory, which holds two such steps: while one is summed, the next is fetched.
#pragma once
#include "epilogue.cuh"

#define DEPTH 16

// Whether tensor cores multiply factors of 11 significant bits (TF32).
#if defined(SYRINX_HOST) || (defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800)
#define HAS_TENSOR_CORES 1
#else
#define HAS_TENSOR_CORES 0
#endif

// Floats of shared memory, two or a multiple of four, aligned to as many.
template <int COUNT> __device__ inline void take(const float *shared, float (&values)[COUNT]) {
    if constexpr (COUNT == 2) {
        float2 pair = *(const float2 *)shared;
        values[0] = pair.x;
        values[1] = pair.y;
    } else {
        static_assert(COUNT % 4 == 0, "two or a multiple of four");
#pragma unroll
        for (int i = 0; i < COUNT; i += 4) {
            float4 quad = *(const float4 *)(shared + i);
            values[i] = quad.x;
            values[i + 1] = quad.y;
            values[i + 2] = quad.z;
            values[i + 3] = quad.w;
        }
    }
}

// A tile of M x N sums, OWN_M x OWN_N neighbours by each thread.
template <int M_, int N_, int OWN_M_, int OWN_N_> struct Tile {
    enum {
        M = M_,
        N = N_,
        OWN_M = OWN_M_,
        OWN_N = OWN_N_,
        THREADS = (M / OWN_M) * (N / OWN_N),
        // Threads that fetch one row of B.
        LANES = THREADS / DEPTH,
        // Rows in shared memory, so far apart that what a warp touches lies in different banks.
        ROW_A = M + 4,
        ROW_B = N + (LANES < 16 ? LANES : 16),
        SHARED = 2 * DEPTH * (ROW_A + ROW_B),
    };

    // Where this thread's sum [i][j] is.
    static __device__ int m(int i) { return threadIdx.x / (N / OWN_N) * OWN_M + i; }
    static __device__ int n(int j) { return threadIdx.x % (N / OWN_N) * OWN_N + j; }

    static __device__ void add(const float *a, const float *b, float (&sums)[OWN_M][OWN_N]) {
#pragma unroll
        for (int k = 0; k < DEPTH; k++) {
            float left[OWN_M], right[OWN_N];
            take(a + k * ROW_A + m(0), left);
            take(b + k * ROW_B + n(0), right);
#pragma unroll
            for (int i = 0; i < OWN_M; i++) {
#pragma unroll
                for (int j = 0; j < OWN_N; j++) sums[i][j] += left[i] * right[j];
            }
        }
    }
};

// Rounds to 11 significant bits.
__device__ inline u32 rounded(float x) {
#if defined(SYRINX_HOST)
    return ((u32)__float_as_int(x) + 0x1000u) & ~0x1fffu;
#elif HAS_TENSOR_CORES
    u32 bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
    return bits;
#else
    return __float_as_int(x);
#endif
}

// Adds to c the product of a warp's a [16, 8] and b [8, 8], of which each lane has parts: with g = lane / 4, t = lane %
// 4, a at [g, t], [g + 8, t], [g, t + 4], [g + 8, t + 4], b at [t, g], [t + 4, g], c at [g, 2 t], [g, 2 t + 1], [g + 8,
// 2 t], [g + 8, 2 t + 1] (PTX ISA, mma.m16n8k8 of .tf32).
__device__ inline void multiply_by_warp(float (&c)[4], const u32 (&a)[4], const u32 (&b)[2]) {
#if defined(SYRINX_HOST)
    host::multiply_by_warp(c, a, b);
#elif HAS_TENSOR_CORES
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

// The same of factors rounded to 11 significant bits, TALL x WIDE sums by each warp on tensor cores; exact where there are
// none.
template <int M_, int N_, int TALL, int WIDE> struct TensorTile {
    enum {
        M = M_,
        N = N_,
        OWN_M = TALL / 8,
        OWN_N = WIDE / 4,
        THREADS = (M / TALL) * (N / WIDE) * WARP,
        LANES = THREADS / DEPTH,
        ROW_A = M + 8,
        ROW_B = N + 8,
        SHARED = 2 * DEPTH * (ROW_A + ROW_B),
    };

    static __device__ int m(int i) { return threadIdx.x / WARP / (N / WIDE) * TALL + threadIdx.x % WARP / 4 + 8 * i; }
    static __device__ int n(int j) {
        return threadIdx.x / WARP % (N / WIDE) * WIDE + j / 2 * 8 + threadIdx.x % 4 * 2 + j % 2;
    }

    static __device__ void add(const float *a, const float *b, float (&sums)[OWN_M][OWN_N]) {
#if HAS_TENSOR_CORES
        const int t = threadIdx.x % 4;
        a += m(0);
        b += threadIdx.x / WARP % (N / WIDE) * WIDE + threadIdx.x % WARP / 4;
#pragma unroll
        for (int k = 0; k < DEPTH; k += 8) {
            u32 left[OWN_M / 2][4];
#pragma unroll
            for (int i = 0; i < OWN_M / 2; i++) {
                const float *low = a + (k + t) * ROW_A + 16 * i, *high = low + 4 * ROW_A;
                left[i][0] = rounded(low[0]);
                left[i][1] = rounded(low[8]);
                left[i][2] = rounded(high[0]);
                left[i][3] = rounded(high[8]);
            }
#pragma unroll
            for (int j = 0; j < OWN_N; j += 2) {
                const float *of = b + (k + t) * ROW_B + j * 4;
                const u32 right[2] = {rounded(of[0]), rounded(of[4 * ROW_B])};
#pragma unroll
                for (int i = 0; i < OWN_M; i += 2) {
                    float four[4] = {sums[i][j], sums[i][j + 1], sums[i + 1][j], sums[i + 1][j + 1]};
                    multiply_by_warp(four, left[i / 2], right);
                    sums[i][j] = four[0];
                    sums[i][j + 1] = four[1];
                    sums[i + 1][j] = four[2];
                    sums[i + 1][j + 1] = four[3];
                }
            }
        }
#else
#pragma unroll
        for (int k = 0; k < DEPTH; k++) {
#pragma unroll
            for (int i = 0; i < OWN_M; i++) {
                const float left = a[k * ROW_A + m(i)];
#pragma unroll
                for (int j = 0; j < OWN_N; j++) sums[i][j] += left * b[k * ROW_B + n(j)];
            }
        }
#endif
    }
};

// Adds to `sums` the products of k in first..last. `a.fetch(k)` loads what `a.place(shared)` puts there: DEPTH rows of
// A from row k on, 0 from row `last` on; so does b. `shared` has SHARED floats, aligned to four.
template <class T, class A, class B>
__device__ inline void multiply(A &a, B &b, int first, int last, float *shared, float (&sums)[T::OWN_M][T::OWN_N]) {
    float *rows_a = shared, *rows_b = shared + 2 * DEPTH * T::ROW_A;
    a.fetch(first);
    b.fetch(first);
    int half = 0;
    for (int k = first; k < last; k += DEPTH) {
        float *now_a = rows_a + half * DEPTH * T::ROW_A, *now_b = rows_b + half * DEPTH * T::ROW_B;
        a.place(now_a);
        b.place(now_b);
        // Whoever is here has summed the step before the last, so that its half may be written again.
        __syncthreads();
        if (k + DEPTH < last) {
            a.fetch(k + DEPTH);
            b.fetch(k + DEPTH);
        }
        T::add(now_a, now_b, sums);
        half ^= 1;
    }
}

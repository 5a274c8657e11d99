// Magnitudes of the spectrum of one windowed frame, by a real FFT in shared memory.
#pragma once

#include "syrinx.cuh"

// Points of the table exp(-2 pi i k / TABLE), which serves every transform of up to so many samples.
#define TABLE 2048

__device__ inline float2 multiply(float2 a, float2 b) {
    return make_float2(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x);
}

// The index in a signal of `samples` that mirrors `position`, which may lie beyond either end.
__device__ inline int reflect(int position, int samples) {
    if (samples == 1) return 0;
    int period = 2 * (samples - 1);
    int offset = position % period;
    if (offset < 0) offset += period;
    return min(offset, period - offset);
}

// The sample at `position`; beyond the ends the signal is mirrored or 0.
__device__ inline float sample_at(const float *audio, int samples, int position, bool mirrored) {
    if (position >= 0 && position < samples) return audio[position];
    return mirrored ? audio[reflect(position, samples)] : 0.0f;
}

// The FFT of `points` complex values in `from` (a power of 2, at least 4), returned in `from` or `to`: Stockham's, in
// steps of radix 4 and, where the power is odd, a last one of radix 2. Ends with a barrier.
__device__ inline float2 *fft(float2 *from, float2 *to, int points, const float2 *table) {
    int quarter = points / 4;
    int length = points;
    for (int stride = 1; length >= 4; stride *= 4, length /= 4) {
        for (int i = threadIdx.x; i < quarter; i += blockDim.x) {
            int p = i / stride, q = i - p * stride, turn = p * (TABLE / length);
            float2 a = from[i], b = from[i + quarter], c = from[i + 2 * quarter], d = from[i + 3 * quarter];
            float2 even = make_float2(a.x + c.x, a.y + c.y), odd = make_float2(b.x + d.x, b.y + d.y);
            float2 even_difference = make_float2(a.x - c.x, a.y - c.y);
            float2 odd_difference = make_float2(d.y - b.y, b.x - d.x);
            float2 *out = to + q + 4 * p * stride;
            out[0] = make_float2(even.x + odd.x, even.y + odd.y);
            out[stride] = multiply(
                table[turn], make_float2(even_difference.x - odd_difference.x, even_difference.y - odd_difference.y));
            out[2 * stride] = multiply(table[2 * turn], make_float2(even.x - odd.x, even.y - odd.y));
            out[3 * stride] = multiply(
                table[3 * turn], make_float2(even_difference.x + odd_difference.x, even_difference.y + odd_difference.y));
        }
        __syncthreads();
        float2 *swap = from;
        from = to;
        to = swap;
    }
    if (length == 2) {
        int half = points / 2;
        for (int i = threadIdx.x; i < half; i += blockDim.x) {
            float2 a = from[i], b = from[i + half];
            to[i] = make_float2(a.x + b.x, a.y + b.y);
            to[i + half] = make_float2(a.x - b.x, a.y - b.y);
        }
        __syncthreads();
        return to;
    }
    return from;
}

// Writes sqrt(re^2 + im^2 + offset) of the `size / 2 + 1` bins of the `size` samples from `start` on, each times its
// weight of `window`, to `magnitudes`. `a` and `b` hold `size / 2` values each; `magnitudes` may be neither.
// Begins and ends with the block in step.
__device__ inline void frame_magnitudes(const float *audio, int samples, int start, bool mirrored, const float *window,
                                        int size, float offset, const float2 *table, float2 *a, float2 *b,
                                        float *magnitudes) {
    int half = size / 2;
    for (int i = threadIdx.x; i < half; i += blockDim.x) {
        float even = sample_at(audio, samples, start + 2 * i, mirrored);
        float odd = sample_at(audio, samples, start + 2 * i + 1, mirrored);
        a[i] = make_float2(even * window[2 * i], odd * window[2 * i + 1]);
    }
    __syncthreads();
    float2 *z = fft(a, b, half, table);
    for (int k = threadIdx.x; k <= half; k += blockDim.x) {
        // The spectra of even and odd samples lie in the conjugate symmetric and antisymmetric parts.
        float2 here = z[k % half], mirror = z[(half - k) % half];
        float2 even = make_float2(0.5f * (here.x + mirror.x), 0.5f * (here.y - mirror.y));
        float2 odd = make_float2(0.5f * (here.y + mirror.y), 0.5f * (mirror.x - here.x));
        float2 turned = multiply(table[k * (TABLE / size)], odd);
        float re = even.x + turned.x, im = even.y + turned.y;
        magnitudes[k] = sqrtf(re * re + im * im + offset);
    }
    __syncthreads();
}

// Bands that each sum a stretch of a spectrum: band `i` begins at bin `first[i]` and has the weights
// `weights[start[i]..start[i + 1]]`.
struct Bank {
    const int *first;
    const int *start;
    const float *weights;
};

__device__ inline float band_sum(const Bank &bank, int band, const float *magnitudes) {
    const float *spectrum = magnitudes + bank.first[band];
    float sum = 0.0f;
    int begin = bank.start[band], end = bank.start[band + 1];
    for (int i = begin; i < end; i++) sum += bank.weights[i] * spectrum[i - begin];
    return sum;
}

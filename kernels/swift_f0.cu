// SwiftF0 (Nieradzik 2025) as one launch: three spectrograms, convolutions, softmax and expectation, voicing.
//
// Each block answers for 4 frames, one every 256 samples. It computes 7 more on each side, as far as the convolutions
// reach in time, so that blocks need nothing of each other; activations go through a scratch of its own in global
// memory, which the second-level cache holds, and the weights of one layer after the other through shared memory.
// At the ends of what a block computes it takes 0 for the frames beyond, which is what the network wants at the ends of
// the signal and spoils one frame more per layer elsewhere, but never one of the 4.
//
// shapes     audio [samples] at 16 kHz, table float2 [2048], windows [1024 + 2048 + 512], banks of 3 x 128 bands one
//            after the other, weights: for each layer in [in, frame tap, band tap, out] order, then its biases,
//            candidates f64 [95] (natural logarithms of Hz), scratch [blocks, 62,208], f0_hz and confidence [frames]
// grid       ceil(frames / 4) blocks of 256 threads: a band of a frame per thread and step, all channels in registers
// shared     28,888 bytes
// registers  swift_f0 68 at most
// contract   finite samples; sums in f32; against the twin, logits differ by 1e-4, f0 by 1e-4 of itself, confidence by
//            1e-4
// CPU twin   nn::swift_f0::SwiftF0::native
#include "spectrum.cuh"

#define THREADS 256
#define WARPS (THREADS / WARP)
#define HOP 256
#define TILE 4
#define REACH 7
#define FRAMES (TILE + 2 * REACH)
#define PLANES 3
#define BANDS 128
#define CANDIDATES 95
#define CHANNELS 12
#define REDUCED 4
#define HIDDEN 16
#define MOST_WEIGHTS (CHANNELS * CHANNELS * 7 * 3 + CHANNELS)
#define BAND_OFFSET 1e-8f
#define SILENCE_PEAK 1e-3f

enum After { LINEAR, RELU, RESIDUAL_RELU };

// Convolves x [IN, FRAMES, BANDS] over `bands` bands and `frames` frames to y [OUT, FRAMES, BANDS], `out_bands` of them;
// zeros beyond. Takes the layer's weights off `weights` by way of `shared`. Begins and ends with the block in step.
template <int IN, int OUT, int BAND_TAPS, int FRAME_TAPS, After AFTER>
__device__ inline void convolve(const float *&weights, float *shared, const float *x, float *y, int frames, int bands,
                                int out_bands, int dilation) {
    const int count = IN * OUT * BAND_TAPS * FRAME_TAPS + OUT;
    for (int i = threadIdx.x; i < count; i += THREADS) shared[i] = weights[i];
    weights += count;
    __syncthreads();
    const float *biases = shared + count - OUT;
    for (int at = threadIdx.x; at < frames * BANDS; at += THREADS) {
        int frame = at / BANDS, band = at % BANDS;
        if (band >= out_bands) continue;
        float sums[OUT];
#pragma unroll
        for (int o = 0; o < OUT; o++) sums[o] = biases[o];
        for (int i = 0; i < IN; i++) {
            const float *plane = x + i * FRAMES * BANDS;
            const float *taps = shared + i * FRAME_TAPS * BAND_TAPS * OUT;
#pragma unroll 1
            for (int t = 0; t < FRAME_TAPS * BAND_TAPS; t++) {
                int f = frame + t / BAND_TAPS - FRAME_TAPS / 2, b = band + (t % BAND_TAPS - BAND_TAPS / 2) * dilation;
                if (f < 0 || f >= frames || b < 0 || b >= bands) continue;
                float value = plane[f * BANDS + b];
#pragma unroll
                for (int o = 0; o < OUT; o++) sums[o] += taps[t * OUT + o] * value;
            }
        }
#pragma unroll
        for (int o = 0; o < OUT; o++) {
            float *place = y + o * FRAMES * BANDS + at;
            float sum = AFTER == RESIDUAL_RELU ? sums[o] + *place : sums[o];
            *place = AFTER == LINEAR ? sum : fmaxf(sum, 0.0f);
        }
    }
    __syncthreads();
}

// x becomes relu(x + second(relu(first(x)))).
template <int BAND_TAPS, int FRAME_TAPS>
__device__ inline void block(const float *&weights, float *shared, float *x, float *y, int frames, int dilation) {
    convolve<CHANNELS, CHANNELS, BAND_TAPS, FRAME_TAPS, RELU>(weights, shared, x, y, frames, BANDS, BANDS, dilation);
    convolve<CHANNELS, CHANNELS, BAND_TAPS, FRAME_TAPS, RESIDUAL_RELU>(weights, shared, y, x, frames, BANDS, BANDS,
                                                                       dilation);
}

// Writes the logarithm of the bands of three spectra, [PLANES, FRAMES, BANDS].
__device__ inline void spectra(const float *audio, int samples, const float2 *table, const float *windows,
                               const int *bank_first, const int *bank_start, const float *bank_weights, int first_frame,
                               int frames, float2 *a, float2 *b, float *magnitudes, float *planes) {
    for (int plane = 0; plane < PLANES; plane++) {
        int size = plane == 0 ? 1024 : plane == 1 ? 2048 : 512;
        Bank bank = {bank_first + plane * BANDS, bank_start + plane * BANDS, bank_weights};
        for (int frame = 0; frame < frames; frame++) {
            int start = (first_frame + frame) * HOP - size / 2;
            frame_magnitudes(audio, samples, start, false, windows, size, 0.0f, table, a, b, magnitudes);
            for (int band = threadIdx.x; band < BANDS; band += THREADS) {
                planes[(plane * FRAMES + frame) * BANDS + band] = logf(band_sum(bank, band, magnitudes) + BAND_OFFSET);
            }
        }
        windows += size;
    }
    __syncthreads();
}

// The mean of the likeliest candidate and its neighbours in log frequency, weighted by their probability.
__device__ inline float expectation(const float *logits, const double *candidates) {
    int best = -1;
    for (int i = 0; i < CANDIDATES; i++) {
        if (logits[i] == logits[i] && (best < 0 || logits[i] > logits[best])) best = i;
    }
    if (best < 0) return 0.0f;
    double sum = 0.0, weight = 0.0;
    for (int i = max(best - 1, 0); i < min(best + 2, CANDIDATES); i++) {
        double p = exp((double)logits[i] - (double)logits[best]);
        sum += p * candidates[i];
        weight += p;
    }
    return (float)exp(sum / weight);
}

KERNEL(swift_f0, THREADS)
(const float *audio, int samples, int frames, const float2 *table, const float *windows, const int *bank_first,
 const int *bank_start, const float *bank_weights, const float *weights, const double *candidates, float *scratch,
 float *f0_hz, float *confidence) {
    // Spectra need the first part, convolutions the second, in turn.
    __shared__ float2 pairs[2 * 1024];
    __shared__ float layer[MOST_WEIGHTS];
    __shared__ float features[FRAMES][REDUCED + 1];
    float *magnitudes = layer;
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const int tile = blockIdx.x * TILE;
    const int first = max(tile - REACH, 0), count = min(tile + TILE + REACH, frames) - first;
    float *planes = scratch + (long long)blockIdx.x * (PLANES + 2 * CHANNELS) * FRAMES * BANDS;
    float *x = planes + PLANES * FRAMES * BANDS;
    float *y = x + CHANNELS * FRAMES * BANDS;

    spectra(audio, samples, table, windows, bank_first, bank_start, bank_weights, first, count, pairs, pairs + 1024,
            magnitudes, planes);
    convolve<PLANES, CHANNELS, 3, 3, RELU>(weights, layer, planes, x, count, BANDS, BANDS, 1);
    block<7, 3>(weights, layer, x, y, count, 1);
    block<7, 1>(weights, layer, x, y, count, 17);
    block<5, 1>(weights, layer, x, y, count, 27);
    block<3, 1>(weights, layer, x, y, count, 40);
    block<3, 1>(weights, layer, x, y, count, 48);
    block<7, 3>(weights, layer, x, y, count, 2);
    // The reference pads one band below and none above, which gives one candidate fewer than bands.
    float *reduced = y, *logits = y + REDUCED * FRAMES * BANDS, *evidence = x;
    convolve<CHANNELS, REDUCED, 3, 3, RELU>(weights, layer, x, reduced, count, CANDIDATES + 1, CANDIDATES, 1);
    convolve<REDUCED, 1, 1, 1, LINEAR>(weights, layer, reduced, logits, count, CANDIDATES, CANDIDATES, 1);
    convolve<REDUCED, REDUCED, 5, 1, LINEAR>(weights, layer, reduced, evidence, count, CANDIDATES, CANDIDATES, 1);

    // What tells of voicing: the strongest evidence over candidates, and the loudness.
    for (int frame = warp; frame < count; frame += WARPS) {
        for (int channel = 0; channel < REDUCED; channel++) {
            float most = -infinity();
            for (int i = lane; i < CANDIDATES; i += WARP) {
                most = fmaxf(most, evidence[(channel * FRAMES + frame) * BANDS + i]);
            }
            for (int distance = WARP / 2; distance > 0; distance /= 2) {
                most = fmaxf(most, __shfl_xor_sync(ALL_LANES, most, distance));
            }
            if (lane == 0) features[frame][channel] = most;
        }
        float sum = 0.0f;
        for (int i = lane; i < PLANES * BANDS; i += WARP) {
            sum += planes[(i / BANDS * FRAMES + frame) * BANDS + i % BANDS];
        }
        sum = warp_sum(sum);
        if (lane == 0) features[frame][REDUCED] = sum / (PLANES * BANDS);
    }
    __syncthreads();

    // A warp per frame of the tile: the hidden layer of the voicing head, a lane each, and its output.
    int frame = tile + warp;
    if (warp >= TILE || frame >= frames) return;
    int local = frame - first;
    const float *hidden = weights, *hidden_bias = hidden + (REDUCED + 1) * 3 * HIDDEN;
    const float *output = hidden_bias + HIDDEN, *output_bias = output + HIDDEN;
    float own = 0.0f;
    if (lane < HIDDEN) {
        own = hidden_bias[lane];
        for (int i = 0; i < REDUCED + 1; i++) {
            for (int t = 0; t < 3; t++) {
                int f = local + t - 1;
                if (f >= 0 && f < count) own += hidden[(i * 3 + t) * HIDDEN + lane] * features[f][i];
            }
        }
        own = fmaxf(own, 0.0f) * output[lane];
    }
    float logit = warp_sum(own) + output_bias[0];
    // The network never saw digital silence.
    bool loud = false;
    for (int i = lane; i < HOP; i += WARP) {
        long long at = (long long)frame * HOP + i;
        loud = loud || (at < samples && !(fabsf(audio[at]) < SILENCE_PEAK));
    }
    loud = __any_sync(ALL_LANES, loud);
    if (lane == 0) {
        confidence[frame] = loud ? 1.0f / (1.0f + expf(-logit)) : 0.0f;
        f0_hz[frame] = expectation(logits + local * BANDS, candidates);
    }
}

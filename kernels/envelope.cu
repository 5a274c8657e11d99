// Loudness envelopes, and the mix of two recordings' envelopes.
//
// envelope_rms: the root mean square over `frame` samples every `hop`, centred, zeros beyond the ends.
//
// shapes     audio [samples], rms [1 + samples / hop]
// grid       1 + samples / hop blocks of 256 threads: a value each
// shared     64 bytes
// registers  envelope_rms 45 at most
// contract   squares summed in f32 per thread, then in f64: within 1e-5 of the twin's, relatively
// CPU twin   dsp::envelope::rms
//
// envelope_mix: output *= wanted^(1 - rate) max(present, 1e-6)^(rate - 1), both envelopes resized linearly to the
// output's length, sample centres at half steps.
//
// shapes     output [samples], wanted [wanted_count], present [present_count], neither empty
// grid       ceil(samples / 256) blocks of 256 threads: a sample each
// shared     none
// registers  envelope_mix 31 at most
// contract   within 1e-5 of the twin's, relatively: powf
// CPU twin   dsp::envelope::mix
#include "syrinx.cuh"

#define THREADS 256
#define FLOOR 1e-6f

KERNEL(envelope_rms, THREADS)
(const float *audio, int samples, int frame, int hop, float *rms) {
    __shared__ double sums[THREADS / WARP];
    long long centre = (long long)blockIdx.x * hop;
    long long first = centre - frame / 2, end = centre + frame - frame / 2;
    if (first < 0) first = 0;
    if (end > samples) end = samples;
    float squares = 0.0f;
    for (long long i = first + threadIdx.x; i < end; i += THREADS) squares += audio[i] * audio[i];
    double energy = block_sum((double)squares, sums);
    if (threadIdx.x == 0) rms[blockIdx.x] = (float)sqrt(energy / frame);
}

// The value at a fractional position, held beyond the end.
__device__ inline float value_at(const float *values, int count, double position) {
    int left = min((int)position, count - 1), right = min(left + 1, count - 1);
    float part = (float)(position - left);
    return values[left] + (values[right] - values[left]) * part;
}

KERNEL(envelope_mix, THREADS)
(float *output, int samples, const float *wanted, int wanted_count, const float *present, int present_count,
 float rate) {
    int n = blockIdx.x * THREADS + threadIdx.x;
    if (n >= samples) return;
    double centre = n + 0.5;
    float level = value_at(wanted, wanted_count, fmax(centre * ((double)wanted_count / samples) - 0.5, 0.0));
    float own = value_at(present, present_count, fmax(centre * ((double)present_count / samples) - 0.5, 0.0));
    output[n] *= powf(level, 1.0f - rate) * powf(fmaxf(own, FLOOR), rate - 1.0f);
}

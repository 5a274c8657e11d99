// YIN: the cumulative mean normalised difference of each frame and the candidates in its minima.
//
//   d[lag] = sum_i ((x[i] - x[i + lag])^2 + (x[i] - x[i - lag])^2) / 2  over the 384 samples in the frame's middle
//   c[lag] = d[lag] lag / sum_{1..lag} d, 1 where that sum is 0
//
// x is the window of 1024 samples around 160 f less its mean, 0 beyond the audio. A frame whose middle is below -60 dB or
// is no number is left at once: all c are 1, no candidates. A candidate is a minimum of c, placed by the parabola through
// its neighbours; the cheapest 12 are kept, cheapest first.
//
// shapes     audio [samples] at 16 kHz, difference [frames, 321], count [frames],
//            f0_hz, voicing, cost [frames, 12], of which the first count[f] are written
// grid       frames blocks of 352 threads: a frame each, a lag per thread
// shared     6,976 bytes
// registers  yin 48 at most
// contract   differences in f32, their running sum in f64; c differs from the twin's by 1e-4, whose correlation by FFT
//            cancels more; candidates follow from c as the twin's do, but for the rounding of log2
// CPU twin   dsp::yin::YinStream::aperiodicity, dsp::yin::candidates
#include "syrinx.cuh"

#define WINDOW 1024
#define HOP 160
#define CORE 384
#define SHORTEST 14
#define LONGEST 320
#define MOST 12
#define THREADS 352
#define SILENCE_RMS 1e-3
#define OCTAVE_COST 0.01f
#define LOW_HZ 50.0f
#define HIGH_HZ 1100.0f

KERNEL(yin, THREADS)
(const float *audio, int samples, float *difference, int *count, float *f0_hz, float *voicing, float *cost) {
    __shared__ float x[WINDOW];
    __shared__ float c[LONGEST + 1];
    __shared__ float costs[LONGEST + 1];
    __shared__ double sums[3][THREADS / WARP];
    __shared__ float mean_sums[THREADS / WARP];
    __shared__ int found;
    const int frame = blockIdx.x, thread = threadIdx.x, lane = thread % WARP, warp = thread / WARP;
    difference += (long long)frame * (LONGEST + 1);

    float sum = 0.0f;
    for (int i = thread; i < WINDOW; i += THREADS) {
        int at = frame * HOP - WINDOW / 2 + i;
        float value = at >= 0 && at < samples ? audio[at] : 0.0f;
        x[i] = value;
        sum += value;
    }
    if (thread == 0) found = 0;
    float mean = block_sum(sum, mean_sums) / WINDOW;
    double energy = 0.0;
    for (int i = thread; i < WINDOW; i += THREADS) {
        float value = x[i] - mean;
        x[i] = value;
        if (i >= LONGEST && i < LONGEST + CORE) energy += (double)value * value;
    }
    energy = block_sum(energy, sums[0]);
    // Written so that what is no number is silence, too: of infinity no part is finite.
    bool heard = energy <= 1e300 && sqrt(energy / CORE) >= SILENCE_RMS;
    if (!heard) {
        if (thread <= LONGEST) difference[thread] = 1.0f;
        if (thread == 0) count[frame] = 0;
        return;
    }

    float d = 0.0f;
    if (thread <= LONGEST) {
        for (int i = LONGEST; i < LONGEST + CORE; i++) {
            float after = x[i] - x[i + thread], before = x[i] - x[i - thread];
            d += after * after + before * before;
        }
        d *= 0.5f;
    }
    double running = thread <= LONGEST ? d : 0.0;
    for (int distance = 1; distance < WARP; distance *= 2) {
        double before = __shfl_up_sync(ALL_LANES, running, distance);
        if (lane >= distance) running += before;
    }
    if (lane == WARP - 1) sums[1][warp] = running;
    __syncthreads();
    for (int i = 0; i < warp; i++) running += sums[1][i];
    if (thread <= LONGEST) {
        c[thread] = running > 0.0 ? (float)((double)d * thread / running) : 1.0f;
        difference[thread] = c[thread];
    }
    __syncthreads();

    bool minimum = thread >= SHORTEST && thread < LONGEST && c[thread] < c[thread - 1] && c[thread] <= c[thread + 1];
    float hz = 0.0f, depth = 0.0f;
    if (minimum) {
        float before = c[thread - 1], here = c[thread], after = c[thread + 1];
        float bend = before + after - 2.0f * here;
        float shift = bend > 0.0f ? fminf(fmaxf(0.5f * (before - after) / bend, -0.5f), 0.5f) : 0.0f;
        depth = fminf(fmaxf(here - 0.25f * (before - after) * shift, 0.0f), 1.0f);
        hz = 16000.0f / (thread + shift);
        minimum = hz >= LOW_HZ && hz <= HIGH_HZ;
    }
    float own = minimum ? depth + OCTAVE_COST * log2f(HIGH_HZ / hz) : infinity();
    if (thread <= LONGEST) costs[thread] = own;
    __syncthreads();
    if (minimum) {
        atomicAdd(&found, 1);
        int rank = 0;
        for (int lag = SHORTEST; lag < LONGEST; lag++) rank += costs[lag] < own || (costs[lag] == own && lag < thread);
        if (rank < MOST) {
            int at = frame * MOST + rank;
            f0_hz[at] = hz;
            voicing[at] = 1.0f - depth;
            cost[at] = own;
        }
    }
    __syncthreads();
    if (thread == 0) count[frame] = min(found, MOST);
}

// The harmonic source of the generator: a sine that follows the pitch, noise, and the voice's linear layer.
//
//   source[n] = tanh(gain (0.1 sin(2 pi phase[n]) [f0 > 0] + deviation noise[n]) + offset)
//   phase[n]  = phase_before + sum_{k = 0..n} f0[k / hop] / rate, in cycles
//   deviation = 0.003 where f0 > 0, else 0.1 / 3
//
// Every block sums the steps of the hops before its own, so that one launch suffices; the last leaves the phase where
// the next chunk goes on.
//
// shapes     f0_hz [hops] finite and not below 0, noise [hops hop] or null, source [hops hop],
//            phase_before and phase_after f64 [1], not the same place
// grid       max(hops, 1) blocks of 256 threads: a hop each
// shared     64 bytes
// registers  harmonic_source 34 at most
// contract   phase in f64, within 1e-9 cycles of the twin's after an hour; source within 1e-6 gain of the twin's
// CPU twin   nn::synthesizer::harmonic_source
#include "syrinx.cuh"

#define AMPLITUDE 0.1f
#define VOICED_NOISE 0.003f
#define UNVOICED_NOISE (AMPLITUDE / 3.0f)
#define THREADS 256

KERNEL(harmonic_source, THREADS)
(const float *f0_hz, int hops, int hop_samples, double rate_hz, float gain, float offset, const float *noise,
 const double *phase_before, double *phase_after, float *source) {
    __shared__ double sums[THREADS / WARP];
    const int hop = blockIdx.x;
    double before = 0.0;
    for (int i = threadIdx.x; i < hop; i += THREADS) before += f0_hz[i];
    double cycles = *phase_before + block_sum(before, sums) * ((double)hop_samples / rate_hz);
    cycles -= floor(cycles);
    if (hop >= hops) {
        // Without a hop there is this block alone, and nothing to render.
        if (threadIdx.x == 0) *phase_after = cycles;
        return;
    }
    float hz = f0_hz[hop];
    double step = (double)hz / rate_hz;
    bool voiced = hz > 0.0f;
    float deviation = voiced ? VOICED_NOISE : UNVOICED_NOISE;
    for (int n = threadIdx.x; n < hop_samples; n += THREADS) {
        double phase = cycles + (n + 1) * step;
        float signal = voiced ? AMPLITUDE * sinpif((float)(2.0 * (phase - rint(phase)))) : 0.0f;
        long long at = (long long)hop * hop_samples + n;
        if (noise) signal += deviation * noise[at];
        source[at] = tanhf(gain * signal + offset);
    }
    if (hop == hops - 1 && threadIdx.x == 0) {
        double end = cycles + hop_samples * step;
        *phase_after = end - floor(end);
    }
}

// Log-mel spectrogram of 16 kHz audio, as RMVPE and FCPE read it: window, real FFT, magnitude, mel bands, logarithm.
//
//   mel[f, band] = ln max(sum_k w[band, k] sqrt(|X_f[k]|^2 + power_offset), floor)
//
// Frame f is over the 1024 samples from 160 f - before on; beyond its ends the audio is mirrored or 0. Frames after
// `last_frame` repeat it.
//
// shapes     audio [samples], window [1024], table float2 [2048], bank [bands], mel [frames, bands] row-major
// grid       frames blocks of 128 threads: a frame each, a butterfly of radix 4 per thread and step, then a band
// shared     10,244 bytes
// registers  log_mel 55 at most
// contract   sums in f32; against the twin a band differs by 1e-5 of the frame's greatest band
// CPU twin   dsp::mel::LogMel, with dsp::stft::pad
#include "spectrum.cuh"

#define SIZE 1024
#define HOP 160

KERNEL(log_mel, 128)
(const float *audio, int samples, int before, int mirrored, int last_frame, const float *window, const float2 *table,
 const int *bank_first, const int *bank_start, const float *bank_weights, int bands, float power_offset, float floor,
 float *mel) {
    __shared__ float2 a[SIZE / 2];
    __shared__ float2 b[SIZE / 2];
    __shared__ float magnitudes[SIZE / 2 + 1];
    int frame = min((int)blockIdx.x, last_frame);
    frame_magnitudes(audio, samples, frame * HOP - before, mirrored, window, SIZE, power_offset, table, a, b,
                     magnitudes);
    Bank bank = {bank_first, bank_start, bank_weights};
    for (int band = threadIdx.x; band < bands; band += blockDim.x) {
        mel[blockIdx.x * (long long)bands + band] = logf(fmaxf(band_sum(bank, band, magnitudes), floor));
    }
}

// Reads a pitch off the salience of each frame: the weighted mean, in cents, of the nine bins around the largest.
//
//   f0 = 10 2^(sum w cents / sum w / 1200) Hz; 0 where the largest salience is at most `threshold` or no weight is left
//
// mode 0  RMVPE: w is the salience; bins beyond the ends are left out
// mode 1  FCPE: w is the salience; bins beyond the ends count as the first or last again
// mode 2  CREPE, torchcrepe's weighted_argmax: w is the logistic function of the salience, ends as in mode 0
//
// Only bins `first_bin` to `end_bin` exclusive are read. The first of equal maxima counts; NaN is no maximum.
//
// shapes     salience [frames, bins] row-major, cents f64 [bins], f0_hz and voicing [frames]
// grid       ceil(frames / 4) blocks of 128 threads: a frame per warp
// shared     none
// registers  salience 46 at most
// contract   maxima exact, sums in f64 in the order of the bins: f0 is the twin's but for the rounding of exp2
// CPU twin   nn::rmvpe::decode, nn::fcpe::Fcpe::decode, nn::crepe::decode_weighted
#include "syrinx.cuh"

#define REACH 4

KERNEL(salience, 128)
(const float *salience, int frames, int bins, int first_bin, int end_bin, const double *cents, int mode,
 float threshold, float *f0_hz, float *voicing) {
    int frame = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP, lane = threadIdx.x % WARP;
    if (frame >= frames) return;
    const float *row = salience + (long long)frame * bins;
    int best = -1;
    float most = 0.0f;
    for (int bin = first_bin + lane; bin < end_bin; bin += WARP) {
        float value = row[bin];
        if (value == value && (best < 0 || value > most)) {
            best = bin;
            most = value;
        }
    }
    for (int distance = WARP / 2; distance > 0; distance /= 2) {
        int other = __shfl_xor_sync(ALL_LANES, best, distance);
        float value = __shfl_xor_sync(ALL_LANES, most, distance);
        if (other >= 0 && (best < 0 || value > most || (value == most && other < best))) {
            best = other;
            most = value;
        }
    }
    if (lane != 0) return;
    double sum = 0.0, weight = 0.0;
    for (int step = -REACH; best >= 0 && step <= REACH; step++) {
        int bin = best + step;
        if (mode == 1) bin = min(max(bin, first_bin), end_bin - 1);
        if (bin < first_bin || bin >= end_bin) continue;
        double w = mode == 2 ? 1.0f / (1.0f + expf(-row[bin])) : row[bin];
        sum += w * cents[bin];
        weight += w;
    }
    bool voiced = best >= 0 && weight > 0.0 && (mode == 2 || most > threshold);
    f0_hz[frame] = voiced ? (float)(10.0 * exp2(sum / weight / 1200.0)) : 0.0f;
    voicing[frame] = best >= 0 ? fminf(fmaxf(most, 0.0f), 1.0f) : 0.0f;
}

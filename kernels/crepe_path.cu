// The likeliest path through CREPE's salience (Viterbi), and RVC's smoothing of it.
//
// crepe_path: the score of a bin is the sum of the saliences on the best path to it and of `heights[distance] -
// totals[from]` for each step, at most 11 bins wide; the first of equal scores counts, what is no number never wins.
// f0 is the centre of the path's bin, 0 where the salience there is NaN; periodicity is that salience, in 0..=1.
//
// shapes     salience [frames, bins] row-major, of which the `count` (at most 384) bins from `first` on are read;
//            totals f64 [count], heights f64 [12], hz [count], origins u16 [frames, count] (scratch),
//            f0_hz and periodicity [frames]
// grid       ceil(frames / 512) blocks of 384 threads: each 512 frames are a path of their own, as RVC has it; a bin per
//            thread, a barrier per frame
// shared     10,336 bytes
// registers  crepe_path 52 at most
// contract   scores in f64, added in the twin's order: the path is the twin's, bin for bin
// CPU twin   nn::crepe::decode_path on 512 frames at a time
//
// crepe_smooth: periodicity becomes its median over three frames, f0 its mean over three, 0 where the median is below
// `threshold`; at the ends two frames count, and the median is the smaller.
//
// shapes     all [frames]
// grid       ceil(frames / 128) blocks of 128 threads: a frame each
// registers  crepe_smooth 51 at most
// contract   exact
// CPU twin   nn::crepe::smooth
#include "syrinx.cuh"

#define FRAMES 512
#define MOST_BINS 384
#define STEPS 12

KERNEL(crepe_path, MOST_BINS)
(const float *salience, int frames, int bins, int first, int count, const double *totals, const double *heights,
 const float *hz, u16 *origins, float *f0_hz, float *periodicity) {
    __shared__ double scores[2][MOST_BINS];
    __shared__ double total[MOST_BINS];
    __shared__ double height[STEPS];
    __shared__ u16 path[FRAMES];
    const int bin = threadIdx.x, begin = blockIdx.x * FRAMES, length = min(FRAMES, frames - begin);
    const float *row = salience + (long long)begin * bins + first;
    origins += (long long)begin * count;
    if (bin < count) {
        scores[0][bin] = row[bin];
        total[bin] = totals[bin];
    }
    if (bin < STEPS) height[bin] = heights[bin];
    __syncthreads();
    for (int frame = 1; frame < length; frame++) {
        const double *before = scores[(frame - 1) % 2];
        if (bin < count) {
            int origin = bin;
            double best = -(double)infinity();
            int end = min(bin + STEPS, count);
            for (int from = max(bin - STEPS + 1, 0); from < end; from++) {
                double score = before[from] + (height[abs(from - bin)] - total[from]);
                if (score > best) {
                    best = score;
                    origin = from;
                }
            }
            scores[frame % 2][bin] = best + (double)row[(long long)frame * bins + bin];
            origins[(long long)frame * count + bin] = (u16)origin;
        }
        __syncthreads();
    }
    if (bin == 0) {
        const double *last = scores[(length - 1) % 2];
        int at = 0;
        for (int i = 1; i < count; i++) {
            if (last[i] > last[at]) at = i;
        }
        for (int frame = length - 1; frame > 0; frame--) {
            path[frame] = (u16)at;
            at = origins[(long long)frame * count + at];
        }
        path[0] = (u16)at;
    }
    __syncthreads();
    for (int frame = threadIdx.x; frame < length; frame += blockDim.x) {
        float value = row[(long long)frame * bins + path[frame]];
        bool number = value == value;
        f0_hz[begin + frame] = number ? hz[path[frame]] : 0.0f;
        periodicity[begin + frame] = number ? fminf(fmaxf(value, 0.0f), 1.0f) : 0.0f;
    }
}

KERNEL(crepe_smooth, 128)
(const float *f0_hz, const float *periodicity, int frames, float threshold, float *smooth_hz, float *voicing) {
    int frame = blockIdx.x * blockDim.x + threadIdx.x;
    if (frame >= frames) return;
    int first = max(frame - 1, 0), last = min(frame + 1, frames - 1);
    float sum = 0.0f, low = periodicity[first];
    for (int i = first; i <= last; i++) {
        sum += f0_hz[i];
        low = fminf(low, periodicity[i]);
    }
    float median = low;
    if (last - first == 2) {
        // Of three, what is neither the least nor the greatest.
        float a = periodicity[first], b = periodicity[first + 1], c = periodicity[last];
        median = fmaxf(fminf(a, b), fminf(fmaxf(a, b), c));
    }
    voicing[frame] = median;
    smooth_hz[frame] = median < threshold ? 0.0f : sum / (float)(last - first + 1);
}

// SOLA: joins a chunk to what came before, shifted to where it resembles the tail of that best.
//
// sola_scores: score[o] = sum_k rendered[o + k] tail[k] / sqrt(sum_k rendered[o + k]^2 + 1e-8)
//
// shapes     rendered [chunk + fade + search], tail [fade], scores [search + 1]
// grid       ceil((search + 1) / 8) blocks of 256 threads: a shift per warp
// shared     none
// registers  sola_scores 45 at most
// contract   sums in f32 in another order than the twin's: within 1e-5 of the tail's norm
//
// sola_join: takes the first shift of the greatest score, fades the chunk in there and the tail out, and keeps the next
// tail. A score that is no number is never taken, but for the first, as in the twin.
//
// shapes     fade_in, tail, next_tail [fade], output [chunk], shift i32 [1]; next_tail does not overlap tail
// grid       one block of 256 threads
// shared     64 bytes
// registers  sola_join 42 at most
// contract   as the twin's at the same shift, within 1e-7 of the values mixed
// CPU twin   path::join::Sola::step
#include "syrinx.cuh"

#define THREADS 256
#define WARPS (THREADS / WARP)
#define FLOOR 1e-8f

KERNEL(sola_scores, THREADS)
(const float *rendered, const float *tail, int fade, int shifts, float *scores) {
    int shift = blockIdx.x * WARPS + threadIdx.x / WARP, lane = threadIdx.x % WARP;
    if (shift >= shifts) return;
    float product = 0.0f, energy = 0.0f;
    for (int k = lane; k < fade; k += WARP) {
        float value = rendered[shift + k];
        product += value * tail[k];
        energy += value * value;
    }
    product = warp_sum(product);
    energy = warp_sum(energy);
    if (lane == 0) scores[shift] = product / sqrtf(energy + FLOOR);
}

KERNEL(sola_join, THREADS)
(const float *rendered, const float *scores, int shifts, const float *fade_in, const float *tail, int fade, int chunk,
 float *output, float *next_tail, int *shift) {
    __shared__ float warp_score[WARPS];
    __shared__ int warp_shift[WARPS];
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    float best = -infinity();
    int at = shifts;
    for (int i = threadIdx.x; i < shifts; i += THREADS) {
        if (scores[i] > best) {
            best = scores[i];
            at = i;
        }
    }
    for (int distance = WARP / 2; distance > 0; distance /= 2) {
        float score = __shfl_xor_sync(ALL_LANES, best, distance);
        int other = __shfl_xor_sync(ALL_LANES, at, distance);
        if (score > best || (score == best && other < at)) {
            best = score;
            at = other;
        }
    }
    if (lane == 0) {
        warp_score[warp] = best;
        warp_shift[warp] = at;
    }
    __syncthreads();
    best = warp_score[0];
    at = warp_shift[0];
    for (int i = 1; i < WARPS; i++) {
        if (warp_score[i] > best || (warp_score[i] == best && warp_shift[i] < at)) {
            best = warp_score[i];
            at = warp_shift[i];
        }
    }
    if (at >= shifts || scores[0] != scores[0]) at = 0;
    if (threadIdx.x == 0) *shift = at;
    const float *aligned = rendered + at;
    for (int n = threadIdx.x; n < chunk; n += THREADS) {
        float value = aligned[n];
        output[n] = n < fade ? value * fade_in[n] + tail[n] * (1.0f - fade_in[n]) : value;
    }
    // A chunk shorter than the fade hands the rest of the fade on.
    for (int n = threadIdx.x; n < fade; n += THREADS) {
        int from = n + chunk;
        float value = aligned[from];
        next_tail[n] = from < fade ? value * fade_in[from] + tail[from] * (1.0f - fade_in[from]) : value;
    }
}

// Moves hops of a pitch track that lie an octave or two from the median of the voiced hops around them.
//
// A voiced hop (above 0 Hz) is compared with the median of the voiced hops up to 25 before and after it, where there are
// at least 5; if it lies within 0.3 octaves of a whole octave, 1 or 2 of them away, it is moved by so many.
//
// shapes     f0_hz and repaired [hops]; they do not overlap
// grid       ceil(hops / 128) blocks of 128 threads: a hop each
// shared     none
// registers  octave 56 at most
// contract   medians exact, moves by powers of 2 exact
// CPU twin   path::octave::repair_octaves
#include "syrinx.cuh"

#define REACH 25
#define FEWEST 5
#define TOLERANCE 0.3f

KERNEL(octave, 128)
(const float *f0_hz, int hops, float *repaired) {
    int hop = blockIdx.x * blockDim.x + threadIdx.x;
    if (hop >= hops) return;
    float here = f0_hz[hop];
    repaired[hop] = here;
    if (!(here > 0.0f)) return;
    int first = max(hop - REACH, 0), end = min(hop + REACH + 1, hops);
    int voiced = 0;
    for (int i = first; i < end; i++) voiced += f0_hz[i] > 0.0f;
    if (voiced < FEWEST) return;
    // The median is the value with at most half of the others below it and more than half not above.
    int middle = voiced / 2;
    float median = here;
    for (int i = first; i < end; i++) {
        float candidate = f0_hz[i];
        if (!(candidate > 0.0f)) continue;
        int below = 0, not_above = 0;
        for (int j = first; j < end; j++) {
            float other = f0_hz[j];
            below += other > 0.0f && other < candidate;
            not_above += other > 0.0f && other <= candidate;
        }
        if (below <= middle && middle < not_above) {
            median = candidate;
            break;
        }
    }
    float octaves = log2f(here / median);
    float whole = roundf(octaves);
    if (fabsf(whole) >= 1.0f && fabsf(whole) <= 2.0f && fabsf(octaves - whole) < TOLERANCE) {
        repaired[hop] = ldexpf(here, -(int)whole);
    }
}

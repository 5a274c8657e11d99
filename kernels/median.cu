// Median of a pitch track over `2 (taps / 2) + 1` hops around each hop, of the values inside the track; fewer than 3 taps
// change nothing. Of an even number the upper middle counts.
//
// shapes     f0_hz and filtered [hops]; they do not overlap
// grid       ceil(hops / 128) blocks of 128 threads: a hop each, which ranks each value of its window
// shared     none
// registers  median 42 at most
// contract   exact, in IEEE 754's total order
// CPU twin   path::pitch::median_filter
#include "syrinx.cuh"

KERNEL(median, 128)
(const float *f0_hz, int hops, int taps, float *filtered) {
    int hop = blockIdx.x * blockDim.x + threadIdx.x;
    if (hop >= hops) return;
    if (taps < 3) {
        filtered[hop] = f0_hz[hop];
        return;
    }
    int reach = taps / 2;
    int first = max(hop - reach, 0), end = min(hop + reach + 1, hops);
    int middle = (end - first) / 2;
    for (int i = first; i < end; i++) {
        int own = total_order(f0_hz[i]), below = 0, not_above = 0;
        for (int j = first; j < end; j++) {
            int other = total_order(f0_hz[j]);
            below += other < own;
            not_above += other <= own;
        }
        if (below <= middle && middle < not_above) {
            filtered[hop] = f0_hz[i];
            return;
        }
    }
}

// From a tracked f0 to what the synthesizer reads: unvoiced hops bridged, transposed, and quantised to 1..=255.
//
// If `interpolate`, hops that are not above 0 Hz lie on the line between the voiced hops beside them; the ends hold; a
// track without a voiced hop stays. Then shaped = f0 ratio, and
//   coarse = round_ties_even(clamp(1 + 254 (mel - low) / (high - low), 1, 255)), mel = 1127 ln(1 + shaped / 700),
// 1 where mel is not above 0; low and high are the mel of 50 and 1100 Hz.
//
// shapes     f0_hz and shaped [hops], coarse u8 [hops]; shaped does not overlap f0_hz
// grid       ceil(hops / 128) blocks of 128 threads: a hop each, which looks for the voiced hops beside it
// shared     none
// registers  pitch_shape 30 at most
// contract   f0 exact; coarse exact but where log1p's last bit decides a tie
// CPU twin   path::pitch::shape
#include "syrinx.cuh"

#define MEL_LOW 77.75496616579426
#define MEL_HIGH 1064.4082331636394

KERNEL(pitch_shape, 128)
(const float *f0_hz, int hops, float ratio, int interpolate, float *shaped, u8 *coarse) {
    int hop = blockIdx.x * blockDim.x + threadIdx.x;
    if (hop >= hops) return;
    float hz = f0_hz[hop];
    if (interpolate && !(hz > 0.0f)) {
        int left = hop - 1, right = hop + 1;
        while (left >= 0 && !(f0_hz[left] > 0.0f)) left--;
        while (right < hops && !(f0_hz[right] > 0.0f)) right++;
        if (left >= 0 && right < hops) {
            double from = f0_hz[left], to = f0_hz[right];
            hz = (float)(from + (to - from) * (double)(hop - left) / (double)(right - left));
        } else if (left >= 0) {
            hz = f0_hz[left];
        } else if (right < hops) {
            hz = f0_hz[right];
        }
    }
    hz *= ratio;
    shaped[hop] = hz;
    double mel = 1127.0 * log1p((double)hz / 700.0);
    double position = mel > 0.0 ? (mel - MEL_LOW) * 254.0 / (MEL_HIGH - MEL_LOW) + 1.0 : 1.0;
    coarse[hop] = (u8)rint(fmin(fmax(position, 1.0), 255.0));
}

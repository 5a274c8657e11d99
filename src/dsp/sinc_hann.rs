//! Windowed-sinc resampling by a rational ratio: the reference's resampler (torchaudio's `sinc_interp_hann`).

/// Zero crossings of the sinc on each side.
const ZERO_CROSSINGS: f64 = 6.0;
/// Cut-off as a part of the lower Nyquist frequency.
const ROLL_OFF: f64 = 0.99;

/// A resampler from one rate to another, stateless: zeros are assumed beyond both ends.
#[derive(Clone, Debug)]
pub struct SincHann {
    from: usize,
    to: usize,
    /// For each output phase: the offset of its first tap from the input block's start, and the taps.
    phases: Vec<(isize, Vec<f32>)>,
}

impl SincHann {
    /// A resampler from `from_hz` to `to_hz`, both positive.
    #[must_use]
    pub fn new(from_hz: usize, to_hz: usize) -> Self {
        let divisor = greatest_common_divisor(from_hz, to_hz).max(1);
        let (from, to) = (from_hz / divisor, to_hz / divisor);
        let phases = (0..to).map(|phase| taps(from, to, phase)).collect();
        Self { from, to, phases }
    }

    /// Number of output samples for `input` samples: `ceil(input * to / from)`.
    #[must_use]
    pub fn output_len(&self, input: usize) -> usize {
        (input * self.to).div_ceil(self.from)
    }

    /// Resamples all of `audio`.
    #[must_use]
    pub fn resample(&self, audio: &[f32]) -> Vec<f32> {
        if self.from == self.to {
            return audio.to_vec();
        }
        (0..self.output_len(audio.len()))
            .map(|index| {
                let (offset, taps) = &self.phases[index % self.to];
                let start = (index / self.to * self.from) as isize + offset;
                let skipped = start.min(0).unsigned_abs();
                let inside = audio.get(start.max(0) as usize..).unwrap_or_default();
                taps.iter().skip(skipped).zip(inside).map(|(tap, value)| tap * value).sum()
            })
            .collect()
    }
}

/// The taps of one output phase inside the window, and the offset of the first.
fn taps(from: usize, to: usize, phase: usize) -> (isize, Vec<f32>) {
    let base = from.min(to) as f64 * ROLL_OFF;
    let width = (ZERO_CROSSINGS * from as f64 / base).ceil() as isize;
    let tap = |i: isize| {
        let t = (i as f64 / from as f64 - phase as f64 / to as f64) * base;
        let t = t.clamp(-ZERO_CROSSINGS, ZERO_CROSSINGS);
        let window = (t * std::f64::consts::FRAC_PI_2 / ZERO_CROSSINGS).cos().powi(2);
        let sinc = if t == 0.0 { 1.0 } else { (t * std::f64::consts::PI).sin() / (t * std::f64::consts::PI) };
        (sinc * window * base / from as f64) as f32
    };
    let centre = (phase * from / to) as isize;
    let range = centre - width..=centre + width + 1;
    (centre - width, range.map(tap).collect())
}

/// The largest number that divides both.
pub(crate) fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

//! Sink: the joined voice made ready to be written or played.

use super::source::peak;
use crate::units::Recording;

/// Highest level that leaves the path.
const CEILING: f32 = 0.99;

/// Scales `audio` down as a whole where it would clip.
pub fn limit(audio: &mut [f32]) {
    let over = peak(audio) / CEILING;
    if over > 1.0 {
        audio.iter_mut().for_each(|value| *value /= over);
    }
}

/// Number of samples at `rate_hz` that last as long as `recording`, to the nearest.
#[must_use]
pub fn length_at(recording: &Recording, rate_hz: u32) -> usize {
    let (samples, from, to) = (recording.samples.len() as u128, u128::from(recording.sample_rate_hz), u128::from(rate_hz));
    ((samples * to + from / 2) / from.max(1)) as usize
}

/// Makes `audio` last exactly `length` samples: cut, or filled with silence.
pub fn fit(audio: &mut Vec<f32>, length: usize) {
    audio.resize(length, 0.0);
}

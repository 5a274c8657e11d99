//! Sink: the joined voice made ready to be written or played.

use super::source::peak;

/// Highest level that leaves the path.
const CEILING: f32 = 0.99;

/// Scales `audio` down as a whole where it would clip.
pub fn limit(audio: &mut [f32]) {
    let over = peak(audio) / CEILING;
    if over > 1.0 {
        audio.iter_mut().for_each(|value| *value /= over);
    }
}

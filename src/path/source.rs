//! Source: a recording made ready for the networks.

use crate::dsp::high_pass;
use crate::dsp::rate;
use crate::error::Result;
use crate::units::{ANALYSIS_RATE_HZ, Recording};

/// Highest level that is left as it is.
const CEILING: f32 = 0.95;

/// Mono at 16 kHz, no louder than -0.45 dB, without rumble below 48 Hz.
///
/// # Errors
/// The recording's rate cannot be converted.
pub fn prepare(recording: &Recording) -> Result<Vec<f32>> {
    let mut audio = rate::resample(recording, ANALYSIS_RATE_HZ)?.samples;
    let peak = peak(&audio);
    if peak > CEILING {
        audio.iter_mut().for_each(|value| *value *= CEILING / peak);
    }
    Ok(high_pass::zero_phase(&audio))
}

/// The largest magnitude.
pub(super) fn peak(audio: &[f32]) -> f32 {
    audio.iter().fold(0.0, |peak, value| peak.max(value.abs()))
}

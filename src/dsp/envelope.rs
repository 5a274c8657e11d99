//! Loudness envelopes: frame RMS as librosa computes it, and the mix of two recordings' envelopes.

use super::interpolate::resize;

/// RMS over `frame` samples every `hop`, centred, zeros beyond the ends: `1 + audio.len() / hop` values.
#[must_use]
pub fn rms(audio: &[f32], frame: usize, hop: usize) -> Vec<f32> {
    let mut squares = Vec::with_capacity(audio.len() + 1);
    squares.push(0.0_f64);
    let mut total = 0.0;
    for &value in audio {
        total += f64::from(value) * f64::from(value);
        squares.push(total);
    }
    let frames = 1 + audio.len() / hop;
    let energy = |index: usize| {
        let start = (index * hop).saturating_sub(frame / 2).min(audio.len());
        let end = (index * hop + frame - frame / 2).min(audio.len());
        squares[end] - squares[start]
    };
    (0..frames).map(|index| (energy(index).max(0.0) / frame as f64).sqrt() as f32).collect()
}

/// Quietest voice that is still scaled up in a live stream: -60 dB, the reference's real-time floor.
pub const LIVE_FLOOR: f32 = 1e-3;

/// The factor that moves a level `present` towards `wanted`: `(wanted / present)^(1 - rate)`, with no less present than
/// `floor`. Every mix of loudness is this; they differ in the levels they take.
#[must_use]
pub fn gain(wanted: f32, present: f32, floor: f32, rate: f32) -> f32 {
    (wanted / present.max(floor)).powf((1.0 - rate).max(0.0))
}

/// Moves the loudness of `output` towards that of `input`: `out *= rms_in^(1 - rate) * rms_out^(rate - 1)`.
///
/// `rate` 0 takes the input's envelope, 1 keeps the output's. Both envelopes have windows of one second every half
/// second; the two recordings last equally long at their own rates.
pub fn mix(input: &[f32], input_rate_hz: u32, output: &mut [f32], output_rate_hz: u32, rate: f32) {
    if rate >= 1.0 || output.is_empty() {
        return;
    }
    /// Quietest output level that is still scaled up: -120 dB.
    const FLOOR: f32 = 1e-6;
    let envelope = |audio: &[f32], rate_hz: u32| {
        let half_second = rate_hz as usize / 2;
        rms(audio, half_second * 2, half_second)
    };
    let wanted = resize(&envelope(input, input_rate_hz), output.len());
    let present = resize(&envelope(output, output_rate_hz), output.len());
    for ((value, wanted), present) in output.iter_mut().zip(wanted).zip(present) {
        *value *= gain(wanted, present, FLOOR, rate);
    }
}

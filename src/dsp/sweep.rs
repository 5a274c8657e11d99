//! Exponential sweeps: all frequencies in turn, each octave for the same time, found again by correlation.

use std::f64::consts::PI;

/// Share of a sweep that fades in, and as much that fades out.
const FADED: f64 = 0.05;

/// A sine that rises from `from_hz` to `to_hz` within `samples` samples, faded at both ends.
///
/// After A. Farina, "Simultaneous measurement of impulse response and distortion with a swept-sine technique", 2000:
/// `sin(2 pi from_hz T / L (exp(t L / T) - 1))` with `L = ln(to_hz / from_hz)`.
#[must_use]
pub fn sweep(rate_hz: u32, from_hz: f64, to_hz: f64, samples: usize) -> Vec<f32> {
    let lasts = samples as f64 / f64::from(rate_hz);
    let octaves = (to_hz / from_hz).ln();
    let fade = FADED * samples as f64;
    let value = |n: usize| {
        let t = n as f64 / f64::from(rate_hz);
        let edge = (n.min(samples - 1 - n) as f64 / fade).min(1.0);
        let gain = 0.5 - 0.5 * (PI * edge).cos();
        gain * (2.0 * PI * from_hz * lasts / octaves * ((t * octaves / lasts).exp() - 1.0)).sin()
    };
    (0..samples).map(|n| value(n) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_from_one_frequency_to_the_other_between_silence_and_silence() {
        let sweep = sweep(48_000, 100.0, 12_800.0, 48_000);
        assert_eq!((sweep.len(), sweep[0], sweep[47_999].abs() < 1e-6), (48_000, 0.0, true));
        // An octave lasts a seventh: halfway it is at the geometric mean, 1131 Hz.
        let crossings = |range: std::ops::Range<usize>| {
            sweep[range].windows(2).filter(|pair| (pair[0] < 0.0) != (pair[1] < 0.0)).count()
        };
        let halfway = crossings(23_760..24_240) as f64 / 2.0 * 100.0;
        assert!((halfway - 1131.0).abs() < 60.0, "{halfway}");
        assert!(sweep.iter().all(|x| x.abs() <= 1.0));
    }
}

//! Cross-fade by phase vocoder: between two signals that do not fit, each frequency glides from one phase to the other.
//!
//! This is the option `use_pv` of classic RVC. Where the linear fade lets signals of opposed phase cancel, this one adds
//! their magnitudes.

use std::f64::consts::{PI, TAU};
use std::fmt;
use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};

/// A cross-fade of fixed length.
#[derive(Clone)]
pub struct PhaseVocoder {
    fade_in: Vec<f32>,
    /// The geometric mean of both gains: where the signals overlap.
    window: Vec<f32>,
    transform: Arc<dyn RealToComplex<f32>>,
}

impl fmt::Debug for PhaseVocoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PhaseVocoder").field("length", &self.fade_in.len()).finish_non_exhaustive()
    }
}

impl PhaseVocoder {
    /// A fade of the gains `fade_in` for the new signal and `1 - fade_in` for the old.
    #[must_use]
    pub fn new(fade_in: Vec<f32>) -> Self {
        let window = fade_in.iter().map(|gain| ((1.0 - gain) * gain).max(0.0).sqrt()).collect();
        let transform = RealFftPlanner::new().plan_fft_forward(fade_in.len().max(1));
        Self { fade_in, window, transform }
    }

    /// Fades from `old` to `new`: `old * out^2 + new * in^2 + window / N * sum_k m_k cos(w_k n / N + arg O_k)`, with `O`,
    /// `W` the spectra of both under the window, `m = |O| + |W|`, doubled between the ends, and
    /// `w_k = 2 pi k + (arg W_k - arg O_k)`, the difference in `-pi..pi`.
    ///
    /// # Panics
    /// If a length is not the fade's.
    #[must_use]
    pub fn blend(&self, old: &[f32], new: &[f32]) -> Vec<f32> {
        let length = self.fade_in.len();
        assert_eq!((old.len(), new.len()), (length, length), "lengths of the signals");
        let spectra = self.spectrum(old).into_iter().zip(self.spectrum(new));
        let mut glides = vec![0.0_f64; length];
        for (bin, (old, new)) in spectra.enumerate() {
            let is_end = bin == 0 || 2 * bin == length;
            let magnitude = (old.norm() + new.norm()) * if is_end { 1.0 } else { 2.0 };
            let turn = new.arg() - old.arg();
            let turn = turn - TAU * (turn / TAU + 0.5).floor();
            debug_assert!((-PI - 1e-9..PI + 1e-9).contains(&turn));
            let mut phasor = Complex::from_polar(magnitude, old.arg());
            let step = Complex::from_polar(1.0, (TAU * bin as f64 + turn) / length as f64);
            for value in &mut glides {
                *value += phasor.re;
                phasor *= step;
            }
        }
        let sample = |n: usize| {
            let (fade_in, fade_out) = (self.fade_in[n], 1.0 - self.fade_in[n]);
            let glide = self.window[n] * (glides[n] / length as f64) as f32;
            old[n] * fade_out * fade_out + new[n] * fade_in * fade_in + glide
        };
        (0..length).map(sample).collect()
    }

    /// The spectrum of the signal under the window.
    fn spectrum(&self, signal: &[f32]) -> Vec<Complex<f64>> {
        let mut windowed: Vec<f32> = signal.iter().zip(&self.window).map(|(value, gain)| value * gain).collect();
        let mut spectrum = self.transform.make_output_vec();
        // The plan fits both buffers, which is all that can fail.
        let _ = self.transform.process(&mut windowed, &mut spectrum);
        spectrum.into_iter().map(|value| Complex::new(value.re.into(), value.im.into())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fade(length: usize) -> Vec<f32> {
        (0..length).map(|n| (std::f32::consts::FRAC_PI_2 * n as f32 / (length - 1) as f32).sin().powi(2)).collect()
    }

    #[test]
    fn a_signal_faded_into_itself_stays_as_it_is() {
        // Whole periods, and half of them odd, so that every bin takes part.
        for length in [200, 201] {
            let signal: Vec<f32> = (0..length).map(|n| ((n * n) as f32 * 0.013).sin()).collect();
            let blended = PhaseVocoder::new(fade(length)).blend(&signal, &signal);
            let worst = signal.iter().zip(&blended).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-5, "{length}: {worst}");
        }
    }

    #[test]
    fn opposed_phases_do_not_cancel() {
        let tone = |phase: f32| (0..400).map(|n| (n as f32 * 0.2 + phase).sin()).collect::<Vec<f32>>();
        let (old, new) = (tone(0.0), tone(3.0));
        let loudest = |signal: &[f32]| signal[150..250].iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        let gains = fade(400);
        let linear: Vec<f32> = (0..400).map(|n| old[n] * (1.0 - gains[n]) + new[n] * gains[n]).collect();
        // The linear fade all but vanishes in its middle.
        assert!(linear[195..205].iter().all(|value| value.abs() < 0.2));
        let blended = PhaseVocoder::new(gains).blend(&old, &new);
        assert!(loudest(&blended) > 0.6, "{}", loudest(&blended));
    }
}

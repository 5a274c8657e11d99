//! Short-time Fourier transform and the padding it needs at the edges.

use std::fmt;
use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};

/// What stands beyond the ends of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// The signal mirrored at its first and last sample, which are not repeated; mirrored again where it is too short.
    Reflect,
    /// Zeros.
    Zero,
}

/// `signal` with `before` and `after` more samples at its ends.
#[must_use]
pub fn pad(signal: &[f32], before: usize, after: usize, edge: Edge) -> Vec<f32> {
    let at = |position: usize| match edge {
        _ if (before..before + signal.len()).contains(&position) => signal[position - before],
        Edge::Reflect if !signal.is_empty() => signal[reflect(position, before, signal.len())],
        _ => 0.0,
    };
    (0..before + signal.len() + after).map(at).collect()
}

/// The index in a signal of `len` samples that mirrors `position`, counted from `before` samples ahead of it.
fn reflect(position: usize, before: usize, len: usize) -> usize {
    if len == 1 {
        return 0;
    }
    let period = 2 * (len - 1);
    let offset = (position + period - before % period) % period;
    offset.min(period - offset)
}

/// The periodic Hann window of `size` samples.
#[must_use]
pub fn hann(size: usize) -> Vec<f32> {
    (0..size).map(|i| (0.5 - 0.5 * (std::f64::consts::TAU * i as f64 / size as f64).cos()) as f32).collect()
}

/// A short-time Fourier transform with a periodic Hann window as long as the transform.
#[derive(Clone)]
pub struct Stft {
    hop: usize,
    window: Vec<f32>,
    fft: Arc<dyn RealToComplex<f32>>,
}

impl fmt::Debug for Stft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stft").field("size", &self.window.len()).field("hop", &self.hop).finish_non_exhaustive()
    }
}

impl Stft {
    /// A transform of `size` samples every `hop`; neither is 0.
    #[must_use]
    pub fn new(size: usize, hop: usize) -> Self {
        Self { hop, window: hann(size), fft: RealFftPlanner::new().plan_fft_forward(size) }
    }

    /// Frames that lie wholly inside `samples`.
    #[must_use]
    pub fn frames(&self, samples: usize) -> usize {
        samples.checked_sub(self.window.len()).map_or(0, |rest| rest / self.hop + 1)
    }

    /// Bins of a spectrum, from 0 Hz to half the sample rate.
    #[must_use]
    pub fn bins(&self) -> usize {
        self.window.len() / 2 + 1
    }

    /// Calls `each` with the spectrum of every frame of the (already padded) `signal`, in order.
    ///
    /// Frame `i` is the window over `signal[i hop..i hop + size]`.
    pub fn for_each(&self, signal: &[f32], mut each: impl FnMut(&[Complex<f32>])) {
        let mut windowed = self.fft.make_input_vec();
        let mut spectrum = self.fft.make_output_vec();
        let mut scratch = self.fft.make_scratch_vec();
        for frame in signal.windows(self.window.len()).step_by(self.hop) {
            for ((to, sample), weight) in windowed.iter_mut().zip(frame).zip(&self.window) {
                *to = sample * weight;
            }
            let done = self.fft.process_with_scratch(&mut windowed, &mut spectrum, &mut scratch);
            debug_assert!(done.is_ok(), "the buffers are of the plan's sizes");
            each(&spectrum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reflection_mirrors_without_repeating_the_edge_and_again_where_the_signal_is_short() {
        assert_eq!(pad(&[1.0, 2.0, 3.0], 2, 2, Edge::Reflect), [3.0, 2.0, 1.0, 2.0, 3.0, 2.0, 1.0]);
        assert_eq!(pad(&[1.0, 2.0], 3, 3, Edge::Reflect), [2.0, 1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0]);
        assert_eq!(pad(&[4.0], 2, 1, Edge::Reflect), [4.0; 4]);
        assert_eq!(pad(&[], 1, 1, Edge::Reflect), [0.0; 2]);
        assert_eq!(pad(&[1.0, 2.0], 1, 2, Edge::Zero), [0.0, 1.0, 2.0, 0.0, 0.0]);
    }

    #[test]
    fn a_sine_on_a_bin_has_half_the_window_sum_there_and_nothing_two_bins_away() {
        let size = 256;
        let stft = Stft::new(size, 64);
        let signal: Vec<f32> =
            (0..1000).map(|i| (std::f64::consts::TAU * 20.0 * f64::from(i) / size as f64).sin() as f32).collect();
        let mut frames = 0;
        stft.for_each(&signal, |spectrum| {
            frames += 1;
            assert!((spectrum[20].norm() - size as f32 / 4.0).abs() < 1e-3);
            assert!(spectrum[22].norm() < 1e-3 && spectrum[18].norm() < 1e-3);
        });
        assert_eq!(frames, stft.frames(signal.len()));
        assert_eq!(frames, (1000 - 256) / 64 + 1);
        assert_eq!(stft.frames(255), 0);
    }
}

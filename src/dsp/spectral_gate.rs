//! Stationary spectral gating: removes steady noise, as the reference's `TorchGate` does.
//!
//! Per frequency, the noise level is the mean plus 1.5 standard deviations of a longer recording in dB. Bins below it
//! are turned down to a tenth; the mask is smoothed over 500 Hz and 50 ms. After T. Sainburg's `noisereduce`.

use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{ComplexToReal, RealFftPlanner};

use super::stft::{Edge, Stft, hann, pad};

/// How much of what is below the threshold is taken away.
const REDUCTION: f32 = 0.9;
/// Standard deviations above the mean that count as noise.
const DEVIATIONS: f64 = 1.5;
/// Dynamic range of a recording, in dB.
const RANGE_DB: f64 = 40.0;
/// Width of the smoothing in frequency, Hz, and in time, ms.
const SMOOTH_HZ: f64 = 500.0;
const SMOOTH_MS: f64 = 50.0;

/// A gate for one rate; frames of 40 ms every 10 ms.
#[derive(Clone)]
pub struct SpectralGate {
    hop: usize,
    window: Vec<f32>,
    forward: Stft,
    inverse: Arc<dyn ComplexToReal<f32>>,
    /// Smoothing weights over frequency and over time, each symmetric and summing to 1.
    over_frequency: Vec<f32>,
    over_time: Vec<f32>,
}

impl SpectralGate {
    /// A gate for audio of `rate_hz`, a multiple of 100 Hz.
    #[must_use]
    pub fn new(rate_hz: u32) -> Self {
        let hop = rate_hz as usize / 100;
        let size = 4 * hop;
        let bin_hz = f64::from(rate_hz) / (size as f64 / 2.0);
        let hop_ms = hop as f64 / f64::from(rate_hz) * 1000.0;
        Self {
            hop,
            window: hann(size),
            forward: Stft::new(size, hop),
            inverse: RealFftPlanner::new().plan_fft_inverse(size),
            over_frequency: triangle((SMOOTH_HZ / bin_hz) as usize),
            over_time: triangle((SMOOTH_MS / hop_ms) as usize),
        }
    }

    /// Gates `audio` by the noise found in `reference`, which usually ends with `audio`. The length stays.
    #[must_use]
    pub fn apply(&self, audio: &[f32], reference: &[f32]) -> Vec<f32> {
        let thresholds = thresholds(&levels(&self.spectra(reference)));
        let mut spectra = self.spectra(audio);
        let open: Vec<Vec<f32>> = levels(&spectra)
            .iter()
            .map(|frame| frame.iter().zip(&thresholds).map(|(level, limit)| f32::from(level > limit)).collect())
            .collect();
        let gains = self.smooth(&open);
        for (frame, gains) in spectra.iter_mut().zip(&gains) {
            frame.iter_mut().zip(gains).for_each(|(bin, open)| *bin *= open);
        }
        self.overlap_add(&mut spectra, audio.len())
    }

    /// Spectra of frames centred every hop, zeros beyond the ends.
    fn spectra(&self, audio: &[f32]) -> Vec<Vec<Complex<f32>>> {
        let reach = self.window.len() / 2;
        let mut spectra = Vec::new();
        self.forward.for_each(&pad(audio, reach, reach, Edge::Zero), |spectrum| spectra.push(spectrum.to_vec()));
        spectra
    }

    /// The mask turned into gains and smoothed in both directions, zeros beyond the edges.
    fn smooth(&self, open: &[Vec<f32>]) -> Vec<Vec<f32>> {
        let over_frequency: Vec<Vec<f32>> = open
            .iter()
            .map(|frame| {
                let gains: Vec<f32> = frame.iter().map(|open| REDUCTION * (open - 1.0) + 1.0).collect();
                convolve(gains.len(), &self.over_frequency, |bin| gains[bin])
            })
            .collect();
        let bins = over_frequency.first().map_or(0, Vec::len);
        let mut smooth = vec![vec![0.0; bins]; open.len()];
        for bin in 0..bins {
            let column = convolve(open.len(), &self.over_time, |frame| over_frequency[frame][bin]);
            smooth.iter_mut().zip(column).for_each(|(frame, gain)| frame[bin] = gain);
        }
        smooth
    }

    /// The signal of `spectra`, normalised by the windows that overlap at each sample.
    fn overlap_add(&self, spectra: &mut [Vec<Complex<f32>>], length: usize) -> Vec<f32> {
        let size = self.window.len();
        let padded = size + self.hop * spectra.len().saturating_sub(1);
        let (mut sum, mut weight) =
            (vec![0.0_f32; padded.max(length + size)], vec![0.0_f32; padded.max(length + size)]);
        let mut frame = self.inverse.make_output_vec();
        for (index, spectrum) in spectra.iter_mut().enumerate() {
            // A real signal has real first and last bins; rounding may have left more.
            if let [first, .., last] = spectrum.as_mut_slice() {
                first.im = 0.0;
                last.im = 0.0;
            }
            let done = self.inverse.process(spectrum, &mut frame);
            debug_assert!(done.is_ok(), "the buffers are of the plan's sizes");
            let start = index * self.hop;
            for (n, (value, window)) in frame.iter().zip(&self.window).enumerate() {
                sum[start + n] += value / size as f32 * window;
                weight[start + n] += window * window;
            }
        }
        /// Where windows hardly overlap there is nothing to divide by.
        const LEAST_WEIGHT: f32 = 1e-11;
        let inside = sum.iter().zip(&weight).skip(size / 2).take(length);
        inside.map(|(sum, weight)| if *weight > LEAST_WEIGHT { sum / weight } else { *sum }).collect()
    }
}

/// Levels in dB per frame and bin, floored at 40 dB below the loudest frame of the bin.
fn levels(spectra: &[Vec<Complex<f32>>]) -> Vec<Vec<f64>> {
    let db = |bin: &Complex<f32>| 20.0 * (f64::from(bin.norm()) + f64::EPSILON).log10();
    let mut levels: Vec<Vec<f64>> = spectra.iter().map(|frame| frame.iter().map(db).collect()).collect();
    for bin in 0..levels.first().map_or(0, Vec::len) {
        let loudest = levels.iter().map(|frame| frame[bin]).fold(f64::NEG_INFINITY, f64::max);
        levels.iter_mut().for_each(|frame| frame[bin] = frame[bin].max(loudest - RANGE_DB));
    }
    levels
}

/// Mean plus [`DEVIATIONS`] sample standard deviations over time, per bin.
fn thresholds(levels: &[Vec<f64>]) -> Vec<f64> {
    let frames = levels.len() as f64;
    (0..levels.first().map_or(0, Vec::len))
        .map(|bin| {
            let mean = levels.iter().map(|frame| frame[bin]).sum::<f64>() / frames;
            let squares = levels.iter().map(|frame| (frame[bin] - mean).powi(2)).sum::<f64>();
            mean + DEVIATIONS * (squares / (frames - 1.0).max(1.0)).sqrt()
        })
        .collect()
}

/// A triangle of `2 reach + 1` weights that sum to 1.
fn triangle(reach: usize) -> Vec<f32> {
    let total = ((reach + 1) * (reach + 1)) as f32;
    (0..=2 * reach).map(|i| (reach + 1 - i.abs_diff(reach)) as f32 / total).collect()
}

/// `values(0..count)` convolved with symmetric `weights`, zeros beyond the ends.
fn convolve(count: usize, weights: &[f32], values: impl Fn(usize) -> f32) -> Vec<f32> {
    let reach = weights.len() / 2;
    let at = |centre: usize| {
        let first = centre.saturating_sub(reach);
        let last = (centre + reach + 1).min(count);
        (first..last).map(|i| values(i) * weights[i + reach - centre]).sum()
    };
    (0..count).map(at).collect()
}

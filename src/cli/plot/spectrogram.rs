//! Log-magnitude spectrograms on the mel scale, one column per pixel of the panel.

use realfft::RealFftPlanner;
use realfft::num_complex::Complex;

use super::canvas::Frame;
use crate::units::Recording;

/// Levels shown: this far below the loudest point of both panels, in dB.
pub const RANGE_DB: f32 = 80.0;
/// Length of the analysis window in seconds: resolves the harmonics of a voice.
const WINDOW_SECONDS: f32 = 0.04;
/// Highest frequency shown, in Hz.
const HIGHEST_HZ: f32 = 12_000.0;

/// Levels over time and frequency.
pub struct Spectrogram {
    /// `[columns, rows]`, row 0 at the bottom: 0 at the bottom of the range, 1 at its top.
    pub levels: Vec<f32>,
    /// Columns with audio.
    pub columns: usize,
    /// Rows.
    pub rows: usize,
    /// Frequency of the top edge.
    pub highest_hz: f32,
}

/// Spectrograms of input and output on the same scales.
pub struct Pair {
    pub input: Spectrogram,
    pub output: Spectrogram,
}

/// Analyses both recordings for a panel like `frame`.
pub fn pair(input: &Recording, output: &Recording, frame: Frame) -> Pair {
    let nyquist = input.sample_rate_hz.max(output.sample_rate_hz) as f32 / 2.0;
    let highest_hz = nyquist.min(HIGHEST_HZ);
    let mut input = analyse(input, &frame, highest_hz);
    let mut output = analyse(output, &frame, highest_hz);
    let loudest = input.levels.iter().chain(&output.levels).copied().fold(1e-12, f32::max);
    for level in input.levels.iter_mut().chain(&mut output.levels) {
        let below_db = 10.0 * (*level / loudest).max(1e-20).log10();
        *level = (1.0 + below_db / RANGE_DB).clamp(0.0, 1.0);
    }
    Pair { input, output }
}

/// Power per column and row.
fn analyse(recording: &Recording, frame: &Frame, highest_hz: f32) -> Spectrogram {
    let rate = recording.sample_rate_hz as f32;
    let (width, rows) = (frame.width() as usize, frame.height as usize);
    let window_samples = ((WINDOW_SECONDS * rate) as usize).max(16);
    let size = (2 * window_samples).next_power_of_two();
    let window: Vec<f32> = (0..window_samples)
        .map(|n| 0.5 - 0.5 * (std::f32::consts::TAU * (n as f32 + 0.5) / window_samples as f32).cos())
        .collect();
    let scale = 1.0 / window.iter().sum::<f32>();
    let fourier = RealFftPlanner::<f32>::new().plan_fft_forward(size);
    let (mut time, mut bins) = (fourier.make_input_vec(), fourier.make_output_vec());
    let columns =
        ((width as f64 * recording.seconds() / f64::from(frame.seconds.max(1e-6))).round() as usize).min(width);
    let mut levels = Vec::with_capacity(columns * rows);
    for column in 0..columns {
        let centre = (column as f64 + 0.5) / width as f64 * f64::from(frame.seconds) * f64::from(rate);
        let start = centre as i64 - window_samples as i64 / 2;
        time.fill(0.0);
        for (n, (slot, weight)) in time.iter_mut().zip(&window).enumerate() {
            let sample = usize::try_from(start + n as i64).ok().and_then(|place| recording.samples.get(place));
            *slot = sample.copied().unwrap_or(0.0) * weight * scale;
        }
        // Sizes come from the plan itself, so this cannot fail.
        if fourier.process(&mut time, &mut bins).is_err() {
            break;
        }
        let power: Vec<f32> = bins.iter().map(Complex::norm_sqr).collect();
        let bin_of = |row: usize| frequency(row as f32 / rows as f32, highest_hz) * size as f32 / rate;
        levels.extend((0..rows).map(|row| loudest_between(&power, bin_of(row), bin_of(row + 1))));
    }
    Spectrogram { levels, columns, rows, highest_hz }
}

/// The largest power between two fractional bins, interpolated where they are less than a bin apart.
fn loudest_between(power: &[f32], from: f32, to: f32) -> f32 {
    let at = |bin: f32| {
        let (whole, part) = (bin as usize, bin.fract());
        let (low, high) = (power.get(whole).copied().unwrap_or(0.0), power.get(whole + 1).copied().unwrap_or(0.0));
        low + (high - low) * part
    };
    let inner = power.get(from.ceil() as usize..(to.ceil() as usize).min(power.len())).unwrap_or(&[]);
    inner.iter().copied().fold(at(f32::midpoint(from, to)), f32::max)
}

/// Frequency at a height of the panel, 0 to 1, on the mel scale `1127 ln(1 + f / 700)`.
fn frequency(part: f32, highest_hz: f32) -> f32 {
    700.0 * ((part * (highest_hz / 700.0).ln_1p()).exp() - 1.0)
}

/// Height of a frequency in the panel, 0 to 1.
pub fn height(frequency_hz: f32, highest_hz: f32) -> f32 {
    (frequency_hz / 700.0).ln_1p() / (highest_hz / 700.0).ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sine_is_brightest_at_its_own_frequency() {
        let frame = Frame { left: 0.0, right: 50.0, top: 0.0, height: 400.0, seconds: 1.0 };
        let samples = (0..16_000).map(|n| (std::f32::consts::TAU * 1000.0 * n as f32 / 16_000.0).sin()).collect();
        let tone = Recording { samples, sample_rate_hz: 16_000 };
        let shown = pair(&tone, &tone, frame).output;
        let column = &shown.levels[25 * 400..26 * 400];
        let brightest = (0..400).max_by(|&a, &b| column[a].total_cmp(&column[b])).unwrap();
        let expected = height(1000.0, shown.highest_hz) * 400.0;
        assert!((brightest as f32 - expected).abs() < 4.0, "{brightest}, not {expected}");
        assert!(column[brightest] > 0.99 && column[390] < 0.05);
    }
}

//! Resampling of whole recordings between any two rates: a long windowed sinc, applied by Fourier transform.

use audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler, WindowFunction};

use super::sinc_hann::greatest_common_divisor;
use crate::error::{Error, Result};
use crate::units::Recording;

/// Least length of the filter at the lower rate, in samples: the longer, the narrower the transition below the Nyquist
/// frequency.
const FILTER_SAMPLES: usize = 1024;

/// `recording` at `rate_hz`.
///
/// The filter's delay is taken out: a sample at time t stays at time t, and the result has exactly
/// [`resampled_len`] samples. Above the lower Nyquist frequency nothing is left (below -80 dB).
///
/// # Errors
/// [`Error::Argument`] if a rate is 0.
pub fn resample(recording: &Recording, rate_hz: u32) -> Result<Recording> {
    let from_hz = recording.sample_rate_hz;
    if from_hz == rate_hz || recording.samples.is_empty() {
        return Ok(Recording { samples: recording.samples.clone(), sample_rate_hz: rate_hz });
    }
    let refused = |error: String| Error::argument("output rate", "two positive rates", error);
    let (from, to) = (from_hz as usize, rate_hz as usize);
    let block = block_samples(from, to);
    let mut resampler = Fft::<f32>::new_custom(from, to, block, 1, 1, WindowFunction::BlackmanHarris2, FixedSync::Both)
        .map_err(|error| refused(error.to_string()))?;
    let input = InterleavedSlice::new(&recording.samples[..], 1, recording.samples.len())
        .map_err(|error| refused(error.to_string()))?;
    let mut samples = resampler
        .process_all(&input, recording.samples.len(), None)
        .map_err(|error| refused(error.to_string()))?
        .take_data();
    // The resampler rounds the length up.
    samples.resize(resampled_len(recording.samples.len(), from_hz, rate_hz), 0.0);
    Ok(Recording { samples, sample_rate_hz: rate_hz })
}

/// Input samples per transform: a whole number of them at both rates, and an even one, since the delay is half a block.
fn block_samples(from: usize, to: usize) -> usize {
    let divisor = greatest_common_divisor(from, to).max(1);
    let (from, to) = (from / divisor, to / divisor);
    2 * from * FILTER_SAMPLES.div_ceil(2 * from.min(to).max(1))
}

/// Length of `samples` samples after resampling: `samples * to / from`, rounded half up. `from_hz` must not be 0.
#[must_use]
pub fn resampled_len(samples: usize, from_hz: u32, to_hz: u32) -> usize {
    let (from, to) = (u128::from(from_hz), u128::from(to_hz));
    ((2 * samples as u128 * to + from) / (2 * from)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rates that are met in practice, up and down, and a pair without a common divisor.
    const RATES: [(u32, u32); 8] = [
        (44_100, 16_000),
        (48_000, 16_000),
        (16_000, 40_000),
        (40_000, 48_000),
        (40_000, 44_100),
        (22_050, 16_000),
        (8_000, 16_000),
        (44_101, 16_000),
    ];

    fn sine(rate_hz: u32, frequency_hz: f64, samples: usize) -> Recording {
        let angle = std::f64::consts::TAU * frequency_hz / f64::from(rate_hz);
        let samples = (0..samples).map(|n| (angle * n as f64).sin() as f32).collect();
        Recording { samples, sample_rate_hz: rate_hz }
    }

    /// Length of a test tone: its middle half lies beyond the filter's reach from both ends.
    fn seconds(from: u32, to: u32) -> usize {
        1 + 2 * block_samples(from as usize, to as usize) / from as usize
    }

    fn power_db(samples: impl Iterator<Item = f64>, count: usize) -> f64 {
        10.0 * (samples.map(|x| x * x).sum::<f64>() / count as f64).log10()
    }

    #[test]
    fn a_sine_in_the_passband_keeps_its_phase_with_100_db_of_fidelity() {
        for (from, to) in RATES {
            for part in [0.01, 0.3, 0.9] {
                let frequency = part * f64::from(from.min(to)) / 2.0;
                let input = sine(from, frequency, seconds(from, to) * from as usize);
                let output = resample(&input, to).unwrap();
                let ideal = sine(to, frequency, output.samples.len());
                let middle = output.samples.len() / 4..output.samples.len() * 3 / 4;
                let count = middle.len();
                let error = middle.map(|n| f64::from(output.samples[n]) - f64::from(ideal.samples[n]));
                let ratio = -3.01 - power_db(error, count);
                assert!(ratio > 100.0, "{from} -> {to}, {frequency} Hz: {ratio:.1} dB");
            }
        }
    }

    #[test]
    fn what_lies_above_the_new_nyquist_frequency_is_gone() {
        for (from, to) in RATES.into_iter().filter(|(from, to)| from > to) {
            let input = sine(from, f64::from(to) / 2.0 * 1.02, seconds(from, to) * from as usize);
            let output = resample(&input, to).unwrap();
            let middle = &output.samples[output.samples.len() / 4..output.samples.len() * 3 / 4];
            let alias = power_db(middle.iter().map(|&x| f64::from(x)), middle.len()) + 3.01;
            assert!(alias < -80.0, "{from} -> {to}: {alias:.1} dB");
        }
    }

    #[test]
    fn an_impulse_stays_where_it_was_and_the_length_is_rounded() {
        for (from, to) in RATES {
            for length in [1, 2, 159, 4096, 10_007] {
                let mut samples = vec![0.0; length];
                samples[length / 2] = 1.0;
                let output = resample(&Recording { samples, sample_rate_hz: from }, to).unwrap();
                let expected = (length as f64 * f64::from(to) / f64::from(from)).round() as usize;
                assert_eq!(output.samples.len(), expected, "{from} -> {to}");
                let loudest = (0..expected).max_by(|&a, &b| output.samples[a].total_cmp(&output.samples[b]));
                let place = (length / 2) as f64 * f64::from(to) / f64::from(from);
                if let Some(loudest) = loudest.filter(|_| length > 100) {
                    assert!((loudest as f64 - place).abs() <= 0.5001, "{from} -> {to}: {loudest}, not {place}");
                }
            }
        }
    }

    #[test]
    fn the_same_rate_and_no_audio_pass_unchanged() {
        let input = sine(16_000, 440.0, 100);
        assert_eq!(resample(&input, 16_000).unwrap(), input);
        let empty = Recording { samples: Vec::new(), sample_rate_hz: 16_000 };
        assert!(resample(&empty, 48_000).unwrap().samples.is_empty());
    }
}

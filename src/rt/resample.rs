//! A stream between two rates, or between two clocks of nearly one rate.

use audioadapter_buffers::direct::InterleavedSlice;
use rubato::{
    Adjustable, Async, FixedAsync, Indexing, Resampler, Resizable, SincInterpolationParameters, SincInterpolationType,
    WindowFunction,
};

use crate::error::{Error, Result};

/// Taps of the filter: 0.7 ms of delay at 48 kHz, and nothing audible above the lower Nyquist frequency.
const TAPS: usize = 64;
/// Samples of silence before the first, so that the filter never waits for input that rounding has kept back.
const PRIMED: usize = 3;
/// Most samples that are needed beyond what the ratio makes of a block: the filter's length, and rounding.
pub const MAX_NEEDED_EXCESS: usize = TAPS + 2;
/// How far the ratio may be trimmed for a clock that drifts, as a factor.
const MAX_TRIM: f64 = 1.01;

/// A resampler that is asked for an exact number of samples and says how much it needs for them.
pub struct StreamResampler {
    filter: Async<f32>,
    ratio: f64,
    pending: Vec<f32>,
    filled: usize,
}

impl StreamResampler {
    /// From `from_hz` to `to_hz`, in blocks of at most `max_input` samples in and `max_output` out.
    ///
    /// # Errors
    /// [`Error::Argument`] if a rate is 0 or the two are more than 256-fold apart.
    pub fn new(from_hz: u32, to_hz: u32, max_input: usize, max_output: usize) -> Result<Self> {
        let ratio = f64::from(to_hz) / f64::from(from_hz);
        if !(1.0 / 256.0..=256.0).contains(&ratio) {
            return Err(Error::argument(
                "resampler",
                "two rates at most 256-fold apart",
                format!("{from_hz} Hz and {to_hz} Hz"),
            ));
        }
        let parameters = SincInterpolationParameters {
            interpolation: SincInterpolationType::Linear,
            ..SincInterpolationParameters::new(TAPS, WindowFunction::BlackmanHarris2)
        };
        let filter = Async::new_sinc(ratio, MAX_TRIM, &parameters, max_output.max(1), 1, FixedAsync::Output)
            .map_err(|error| Error::argument("resampler", "two rates", error))?;
        let capacity = filter.input_frames_max() + max_input + PRIMED;
        Ok(Self { filter, ratio, pending: vec![0.0; capacity], filled: PRIMED })
    }

    /// Multiplies the ratio by `trim`, kept within 1 % of 1: above 1, fewer inputs make as many outputs.
    ///
    /// The change is spread over the next block.
    pub fn set_trim(&mut self, trim: f64) {
        let ratio = self.ratio * trim.clamp(1.0 / MAX_TRIM, MAX_TRIM);
        // Within the range that the filter was built for.
        let _ = self.filter.set_resample_ratio(ratio, true);
    }

    /// Samples, at the output rate, by which the output lags the input, as a fraction.
    #[must_use]
    pub fn latency_samples(&self) -> f64 {
        // The filter's centre, and what was primed; it reads one step ahead of the sample it writes.
        (TAPS as f64 / 2.0 + PRIMED as f64) * self.ratio - 1.0
    }

    /// Samples that must be pushed before `outputs` samples can be pulled.
    pub fn needed(&mut self, outputs: usize) -> usize {
        if outputs == 0 || self.filter.set_chunk_size(outputs).is_err() {
            return 0;
        }
        self.filter.input_frames_next().saturating_sub(self.filled)
    }

    /// Takes in `samples`; what exceeds the room for a block of the largest size is dropped.
    pub fn push(&mut self, samples: &[f32]) {
        let count = samples.len().min(self.pending.len() - self.filled);
        self.pending[self.filled..self.filled + count].copy_from_slice(&samples[..count]);
        self.filled += count;
    }

    /// Fills `output`; input that is missing counts as silence.
    pub fn pull(&mut self, output: &mut [f32]) {
        if output.is_empty() {
            return;
        }
        match self.filter_into(output) {
            Some(used) => {
                self.pending.copy_within(used.min(self.filled)..self.filled, 0);
                self.filled = self.filled.saturating_sub(used);
            }
            // Only a block longer than the largest comes here.
            None => output.fill(0.0),
        }
    }

    fn filter_into(&mut self, output: &mut [f32]) -> Option<usize> {
        let frames = output.len();
        self.filter.set_chunk_size(frames).ok()?;
        let input = InterleavedSlice::new(&self.pending[..self.filled], 1, self.filled).ok()?;
        let mut output = InterleavedSlice::new_mut(output, 1, frames).ok()?;
        let indexing = Indexing { partial_len: Some(self.filled), ..Indexing::default() };
        let (used, _) = self.filter.process_into_buffer(&input, &mut output, Some(&indexing)).ok()?;
        Some(used)
    }

    /// Forgets all audio.
    pub fn reset(&mut self) {
        self.filter.reset();
        self.pending.fill(0.0);
        self.filled = PRIMED;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The time of a pulse's centre, in samples.
    fn centre(samples: &[f32]) -> f64 {
        let weight: f64 = samples.iter().map(|&x| f64::from(x)).sum();
        samples.iter().enumerate().map(|(n, &x)| n as f64 * f64::from(x)).sum::<f64>() / weight
    }

    /// A bell, 24 samples wide.
    fn bell(at: f64, n: usize) -> f32 {
        (-((n as f64 - at) / 24.0).powi(2)).exp() as f32
    }

    #[test]
    fn the_delay_is_the_one_reported_to_a_hundredth_of_an_input_sample() {
        for (from, to) in [(48_000, 16_000), (16_000, 48_000), (44_100, 48_000), (48_000, 40_000), (48_000, 48_000)] {
            let mut resampler = StreamResampler::new(from, to, 4096, 4096).expect("a resampler");
            let ratio = f64::from(to) / f64::from(from);
            let mut output = Vec::new();
            let (mut sent, mut block) = (0, 1);
            while output.len() < 2000 {
                let count = block % 131;
                let mut out = vec![0.0; count];
                let needed = resampler.needed(count);
                let input: Vec<f32> = (sent..sent + needed).map(|n| bell(400.0, n)).collect();
                sent += needed;
                resampler.push(&input);
                resampler.pull(&mut out);
                output.extend(out);
                block += 37;
            }
            let lag = centre(&output) - 400.0 * ratio;
            assert!((lag - resampler.latency_samples()).abs() < 0.01 * ratio.max(1.0), "{from} -> {to}: {lag}");
        }
    }

    #[test]
    fn a_trim_changes_how_much_is_needed_by_as_much() {
        let mut resampler = StreamResampler::new(48_000, 48_000, 256, 256).expect("a resampler");
        resampler.set_trim(1.0 / 1.0005);
        let mut needed = 0;
        for _ in 0..10_000 {
            let count = resampler.needed(64);
            needed += count;
            resampler.push(&[0.0; 128][..count]);
            resampler.pull(&mut [0.0; 64]);
        }
        assert!((needed as f64 - 640_000.0 * 1.0005).abs() < 3.0, "{needed}");
    }

    #[test]
    fn rates_that_cannot_be_bridged_are_refused() {
        assert!(StreamResampler::new(0, 48_000, 64, 64).is_err());
        assert!(StreamResampler::new(100, 48_000, 64, 64).is_err());
    }
}

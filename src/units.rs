//! The quantities that travel between stages.

use std::ops::RangeInclusive;

/// Rate at which pitch and content are read, in Hz.
pub const ANALYSIS_RATE_HZ: u32 = 16_000;
/// One hop of pitch, 10 ms, in samples at [`ANALYSIS_RATE_HZ`].
pub const HOP_SAMPLES: usize = 160;
/// Hops of pitch per content unit.
pub const HOPS_PER_UNIT: usize = 2;
/// Hops per second.
pub const HOPS_PER_SECOND: usize = 100;

/// Sample rates of recordings that are accepted and produced, in Hz.
pub const SAMPLE_RATES_HZ: RangeInclusive<u32> = 1_000..=768_000;

/// One channel of audio with its rate.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// Samples, nominally -1..=1.
    pub samples: Vec<f32>,
    /// Samples per second.
    pub sample_rate_hz: u32,
}

impl Recording {
    /// Duration in seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.samples.len() as f64 / f64::from(self.sample_rate_hz)
    }
}

/// A run of content vectors, row by row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Units {
    /// `[count, dim]`, row-major.
    pub values: Vec<f32>,
    /// Values per vector.
    pub dim: usize,
}

impl Units {
    /// Number of vectors.
    #[must_use]
    pub fn count(&self) -> usize {
        self.values.len().checked_div(self.dim).unwrap_or(0)
    }

    /// The same content at one vector per hop: each repeated, cut to `hops`.
    #[must_use]
    pub fn per_hop(&self, hops: usize) -> Self {
        let rows = self.values.chunks_exact(self.dim);
        let values = rows.flat_map(|row| [row, row]).take(hops).flatten().copied().collect();
        Self { values, dim: self.dim }
    }

    /// These vectors, then those of `other` after its first `skipped`.
    #[must_use]
    pub fn followed_by(mut self, other: &Self, skipped: usize) -> Self {
        self.values.extend_from_slice(other.values.get(skipped * other.dim..).unwrap_or_default());
        self
    }

    /// Appends copies of the last vector until there are `count`.
    pub fn repeat_last_until(&mut self, count: usize) {
        while (1..count).contains(&self.count()) {
            self.values.extend_from_within(self.values.len() - self.dim..);
        }
    }

    /// The same at one vector per hop of `f0_hz`: of hops without pitch only the share `protect`, the rest of `original`, which
    /// has as many vectors.
    #[must_use]
    pub fn per_hop_protecting(&self, original: &Self, f0_hz: &[f32], protect: f32) -> Self {
        /// Below this a hop counts as unvoiced, in Hz.
        const VOICED_FROM_HZ: f32 = 1.0;
        let mut values = Vec::with_capacity(f0_hz.len() * self.dim);
        let rows = self.values.chunks_exact(self.dim).zip(original.values.chunks_exact(self.dim));
        for ((row, original), hz) in rows.flat_map(|rows| [rows; HOPS_PER_UNIT]).zip(f0_hz) {
            if *hz < VOICED_FROM_HZ {
                let kept = row.iter().zip(original);
                values.extend(kept.map(|(value, original)| value * protect + original * (1.0 - protect)));
            } else {
                values.extend_from_slice(row);
            }
        }
        Self { values, dim: self.dim }
    }
}

/// Pitch per hop, as the synthesizer reads it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pitch {
    /// Fundamental frequency in Hz; 0 where unvoiced.
    pub f0_hz: Vec<f32>,
    /// The same on 1..=255, evenly spaced on the mel scale from 50 to 1100 Hz; 1 where unvoiced, 0 where never tracked.
    pub coarse: Vec<u8>,
}

impl Pitch {
    /// At most `hops` of it from hop `first` on.
    #[must_use]
    pub fn slice(&self, first: usize, hops: usize) -> Self {
        let end = (first + hops).min(self.f0_hz.len());
        let range = first.min(end)..end;
        Self { f0_hz: self.f0_hz[range.clone()].to_vec(), coarse: self.coarse[range].to_vec() }
    }
}

/// The frequency ratio of an interval.
#[must_use]
pub fn semitones_to_ratio(semitones: f32) -> f32 {
    (semitones / 12.0).exp2()
}

/// The amplitude ratio of a level difference.
#[must_use]
pub fn db_to_gain(db: f32) -> f32 {
    10.0_f32.powf(db / 20.0)
}

/// The level of an amplitude in dB of full scale, at least -120.
#[must_use]
pub fn amplitude_to_db(amplitude: f32) -> f32 {
    20.0 * amplitude.max(1e-6).log10()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_unit_is_repeated_up_to_a_count_and_none_is_taken_away() {
        let units = Units { values: vec![1.0, 2.0, 3.0, 4.0], dim: 2 };
        let until = |count| {
            let mut units = units.clone();
            units.repeat_last_until(count);
            units.values
        };
        assert_eq!(until(4), [1.0, 2.0, 3.0, 4.0, 3.0, 4.0, 3.0, 4.0]);
        assert_eq!(until(1), units.values);
        let mut none = Units { values: Vec::new(), dim: 2 };
        none.repeat_last_until(3);
        assert!(none.values.is_empty(), "there is nothing to repeat");
    }
}

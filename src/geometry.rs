//! Every size of a live stream, derived and checked in one place.

use crate::error::{Error, Result};
use crate::units::HOPS_PER_SECOND;

/// What a person chooses about a stream's timing, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timing {
    /// New audio per inference step, 0.01..=2.
    pub chunk: f64,
    /// Overlap in which two chunks are faded into each other, 0.01..=0.5.
    pub crossfade: f64,
    /// Past audio kept for the networks, 0.05..=10.
    pub context: f64,
}

impl Default for Timing {
    /// The reference's defaults.
    fn default() -> Self {
        Self { chunk: 0.25, crossfade: 0.05, context: 2.5 }
    }
}

/// Sizes of a live stream. `_samples` are at the stream's rate, `_hops` are 10 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// The stream's rate, in Hz.
    pub rate_hz: u32,
    /// One hop.
    pub hop_samples: usize,
    /// New audio per step.
    pub chunk_hops: usize,
    /// Overlap between chunks as asked for.
    pub overlap_hops: usize,
    /// Overlap that is really faded: at most four hops.
    pub crossfade_hops: usize,
    /// How far the join may shift a chunk to line up with the last.
    pub search_hops: usize,
    /// Past audio before the part that is rendered.
    pub context_hops: usize,
}

impl Geometry {
    /// Longest cross-fade, in hops.
    const CROSSFADE_LIMIT: usize = 4;

    /// The rates that a stream can have, in words.
    pub const RATES: &'static str = "a multiple of 100 Hz from 8000 to 384000";

    /// Whether a stream can have the rate `rate_hz`: hops are whole samples.
    #[must_use]
    pub fn takes_rate(rate_hz: u32) -> bool {
        (8_000..=384_000).contains(&rate_hz) && (rate_hz as usize).is_multiple_of(HOPS_PER_SECOND)
    }

    /// Derives all sizes for a stream of `rate_hz`.
    ///
    /// # Errors
    /// [`Error::Argument`] where a time is out of its range or the rate is none that a stream
    /// [takes](Self::takes_rate).
    pub fn new(rate_hz: u32, timing: Timing) -> Result<Self> {
        if !Self::takes_rate(rate_hz) {
            return Err(Error::argument("stream rate", Self::RATES, rate_hz));
        }
        let hops = |name: &str, seconds: f64, low: f64, high: f64| {
            if !(low..=high).contains(&seconds) {
                return Err(Error::argument(name, format!("{low} to {high} seconds"), seconds));
            }
            Ok((seconds * HOPS_PER_SECOND as f64).round_ties_even() as usize)
        };
        let overlap_hops = hops("crossfade", timing.crossfade, 0.01, 0.5)?;
        Ok(Self {
            rate_hz,
            hop_samples: rate_hz as usize / HOPS_PER_SECOND,
            chunk_hops: hops("chunk", timing.chunk, 0.01, 2.0)?,
            overlap_hops,
            crossfade_hops: overlap_hops.min(Self::CROSSFADE_LIMIT),
            search_hops: 1,
            context_hops: hops("context", timing.context, 0.05, 10.0)?,
        })
    }

    /// Everything the networks look at in one step.
    #[must_use]
    pub fn window_hops(&self) -> usize {
        self.context_hops + self.overlap_hops + self.search_hops + self.chunk_hops
    }

    /// What one step renders: the chunk, the audio to fade and the room to shift it.
    #[must_use]
    pub fn rendered_hops(&self) -> usize {
        self.chunk_hops + self.crossfade_hops + self.search_hops
    }

    /// How far before the newest chunk a step begins to render, when the join does not shift it.
    #[must_use]
    pub fn delay_hops(&self) -> usize {
        self.overlap_hops + self.search_hops
    }

    /// New audio per step, in samples at the stream's rate.
    #[must_use]
    pub fn chunk_samples(&self) -> usize {
        self.chunk_hops * self.hop_samples
    }

    /// Faded audio, in samples at the stream's rate.
    #[must_use]
    pub fn crossfade_samples(&self) -> usize {
        self.crossfade_hops * self.hop_samples
    }

    /// Room to shift a chunk, in samples at the stream's rate.
    #[must_use]
    pub fn search_samples(&self) -> usize {
        self.search_hops * self.hop_samples
    }
}

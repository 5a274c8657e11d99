//! Gate: silences hops that are quieter than a threshold, as the reference's live loop does.

use crate::dsp::envelope::rms;
use crate::geometry::Geometry;

/// A threshold gate over hops of 10 ms with a look-back of four.
#[derive(Clone, Debug)]
pub struct Gate {
    hop: usize,
    threshold_db: f32,
    /// The last four hops before gating.
    history: Vec<f32>,
}

impl Gate {
    /// Hops of history that are measured, and re-gated, with each chunk.
    const HISTORY_HOPS: usize = 4;
    /// Hops of the previous chunk that come out again, re-gated.
    pub const REPEATED_HOPS: usize = 2;

    /// A gate that silences hops below `threshold_db` (full scale).
    #[must_use]
    pub fn new(geometry: &Geometry, threshold_db: f32) -> Self {
        let hop = geometry.hop_samples;
        Self { hop, threshold_db, history: vec![0.0; Self::HISTORY_HOPS * hop] }
    }

    /// Forgets the past.
    pub fn reset(&mut self) {
        self.history.fill(0.0);
    }

    /// Gates `chunk`; returns it with the two hops before it, gated anew.
    #[must_use]
    pub fn step(&mut self, chunk: &[f32]) -> Vec<f32> {
        let hop = self.hop;
        let mut audio = [self.history.as_slice(), chunk].concat();
        let levels = rms(&audio, Self::HISTORY_HOPS * hop, hop);
        self.history.copy_from_slice(&audio[audio.len() - Self::HISTORY_HOPS * hop..]);
        audio.drain(..Self::REPEATED_HOPS * hop - hop / 2);
        let loudest = levels[2..].iter().fold(0.0_f32, |a, &b| a.max(b));
        for (index, &level) in levels[2..].iter().enumerate() {
            if decibels(level, loudest) < self.threshold_db {
                let end = ((index + 1) * hop).min(audio.len());
                audio[(index * hop).min(end)..end].fill(0.0);
            }
        }
        audio.drain(..hop / 2);
        audio
    }
}

/// Level in dB, floored at -100 and at 80 below the loudest of the run.
fn decibels(level: f32, loudest: f32) -> f32 {
    /// Amplitude of -100 dB.
    const FLOOR: f32 = 1e-5;
    /// Dynamic range of a run, in dB.
    const RANGE: f32 = 80.0;
    let db = |amplitude: f32| 20.0 * amplitude.max(FLOOR).log10();
    db(level).max(db(loudest) - RANGE)
}

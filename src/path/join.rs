//! Join: makes one signal of chunks that overlap.
//!
//! Each chunk is rendered anew with its context, so its waveform does not continue the last one's. SOLA shifts it to
//! where it resembles the tail of the last best, then fades one into the other.

use std::f32::consts::FRAC_PI_2;

use crate::dsp::phase_vocoder::PhaseVocoder;
use crate::geometry::Geometry;

/// Synchronised overlap-add.
#[derive(Clone, Debug)]
pub struct Sola {
    chunk: usize,
    search: usize,
    fade_in: Vec<f32>,
    /// What fades instead of the linear mix.
    vocoder: Option<PhaseVocoder>,
    /// The end of the last rendering, to be faded out.
    tail: Vec<f32>,
}

impl Sola {
    /// A join of chunks of this geometry, silence before the first.
    #[must_use]
    pub fn new(geometry: &Geometry) -> Self {
        let fade_in = fade_in(geometry.crossfade_samples());
        let tail = vec![0.0; fade_in.len()];
        Self { chunk: geometry.chunk_samples(), search: geometry.search_samples(), fade_in, vocoder: None, tail }
    }

    /// The same, faded by a phase vocoder: classic RVC's option.
    #[must_use]
    pub fn with_vocoder(geometry: &Geometry) -> Self {
        let sola = Self::new(geometry);
        Self { vocoder: Some(PhaseVocoder::new(sola.fade_in.clone())), ..sola }
    }

    /// Forgets the last chunk.
    pub fn reset(&mut self) {
        self.tail.fill(0.0);
    }

    /// Joins `rendered` (chunk + crossfade + search samples) to what came before; writes one chunk to `output`.
    ///
    /// Returns the shift chosen, in samples, `0..=search`.
    ///
    /// # Panics
    /// If a length is not the geometry's.
    pub fn step(&mut self, rendered: &[f32], output: &mut [f32]) -> usize {
        let crossfade = self.tail.len();
        assert_eq!(rendered.len(), self.chunk + crossfade + self.search, "rendered length");
        assert_eq!(output.len(), self.chunk, "output length");
        let shift = self.best_shift(rendered);
        let aligned = &rendered[shift..];
        output.copy_from_slice(&aligned[..self.chunk]);
        let faded = crossfade.min(self.chunk);
        let mixed = self.mix(&aligned[..crossfade]);
        output[..faded].copy_from_slice(&mixed[..faded]);
        let mut next: Vec<f32> = aligned[self.chunk..self.chunk + crossfade].to_vec();
        // A chunk shorter than the fade hands the rest of the fade on.
        next[..crossfade - faded].copy_from_slice(&mixed[faded..]);
        self.tail = next;
        shift
    }

    /// The tail faded into `new`.
    fn mix(&self, new: &[f32]) -> Vec<f32> {
        if let Some(vocoder) = &self.vocoder {
            return vocoder.blend(&self.tail, new);
        }
        let pairs = new.iter().zip(&self.tail).zip(&self.fade_in);
        pairs.map(|((new, old), gain)| new * gain + old * (1.0 - gain)).collect()
    }

    /// Adds what is left of the last chunk to `output`, one chunk, fading; the next chunk is faded in from silence.
    ///
    /// # Panics
    /// If the length is not the geometry's.
    pub fn fade_into(&mut self, output: &mut [f32]) {
        assert_eq!(output.len(), self.chunk, "output length");
        for (value, gain) in self.tail.iter_mut().zip(&self.fade_in) {
            *value *= 1.0 - gain;
        }
        let faded = self.tail.len().min(self.chunk);
        output.iter_mut().zip(&self.tail).for_each(|(value, tail)| *value += tail);
        self.tail.copy_within(faded.., 0);
        let left = self.tail.len() - faded;
        self.tail[left..].fill(0.0);
    }

    /// Where the start of `rendered` correlates best with the tail, normalised by its energy there.
    fn best_shift(&self, rendered: &[f32]) -> usize {
        /// Keeps silence from dividing by zero.
        const FLOOR: f32 = 1e-8;
        let score = |shift: usize| {
            let window = &rendered[shift..shift + self.tail.len()];
            let product: f32 = window.iter().zip(&self.tail).map(|(a, b)| a * b).sum();
            let energy: f32 = window.iter().map(|a| a * a).sum();
            product / (energy + FLOOR).sqrt()
        };
        let scores = (0..=self.search).map(|shift| (score(shift), shift));
        scores.reduce(|best, next| if next.0 > best.0 { next } else { best }).map_or(0, |(_, shift)| shift)
    }
}

/// Gains that rise over `length` samples as a squared sine; with `1 - gain` for the old signal the sum stays 1.
#[must_use]
pub fn fade_in(length: usize) -> Vec<f32> {
    let step = FRAC_PI_2 / (length.max(2) - 1) as f32;
    (0..length).map(|n| (n as f32 * step).sin().powi(2)).collect()
}

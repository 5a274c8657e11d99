//! Content units: what is said, without who says it.

use std::sync::Arc;

use crate::error::Result;
use crate::nn::hubert::Hubert;
use crate::nn::ops::VoiceOps;
use crate::telemetry::Listener;
use crate::units::{HOP_SAMPLES, HOPS_PER_UNIT, Units};

/// The content encoder in the form a voice was trained with.
#[derive(Clone)]
pub struct UnitEncoder<B: VoiceOps> {
    hubert: Arc<Hubert<B>>,
}

impl<B: VoiceOps> UnitEncoder<B> {
    /// Encodes with `hubert`.
    #[must_use]
    pub fn new(hubert: Arc<Hubert<B>>) -> Self {
        Self { hubert }
    }

    /// Samples that one unit sees: 400 in the published encoder.
    #[must_use]
    pub fn reach_samples(&self) -> usize {
        self.hubert.reach_samples()
    }

    /// Units before and after one whose audio it is made of; `None` where it depends on all of the audio.
    #[must_use]
    pub fn span(&self) -> Option<[usize; 2]> {
        self.hubert.span()
    }

    /// The units of 16 kHz audio, one per 20 ms.
    ///
    /// # Errors
    /// The audio is shorter than one unit.
    pub fn extract(&self, audio: &[f32]) -> Result<Units> {
        self.extract_telling(audio, &mut |_| Ok(()))
    }

    /// As [`extract`](Self::extract); `progress` hears the share done, 0..=1.
    ///
    /// # Errors
    /// As there, and what `progress` says.
    pub fn extract_telling(&self, audio: &[f32], progress: &mut Listener<'_>) -> Result<Units> {
        Ok(Units { values: self.hubert.read_telling(audio, progress)?, dim: self.hubert.unit_dim() })
    }
}

/// From one unit to the next, in samples at 16 kHz.
const UNIT_SAMPLES: usize = HOPS_PER_UNIT * HOP_SAMPLES;

/// The units of a stream's window. Of encoders that read a stretch of audio unit by unit, each chunk makes only those units
/// whose audio has changed.
#[derive(Clone, Debug, Default)]
pub struct UnitHistory {
    /// Windows of before, the latest last: one, or two by turns where chunks begin between two units.
    windows: Vec<PastWindow>,
}

/// A window, and how far the stream has moved on since.
#[derive(Clone, Debug)]
struct PastWindow {
    audio: Vec<f32>,
    units: Units,
    moved_samples: usize,
}

impl UnitHistory {
    /// Windows that are kept.
    const MOST: usize = 2;

    /// Forgets all units.
    pub fn reset(&mut self) {
        self.windows.clear();
    }

    /// The window has moved on by `samples`.
    pub fn move_on(&mut self, samples: usize) {
        for window in &mut self.windows {
            window.moved_samples += samples;
        }
        self.windows.retain(|window| window.moved_samples < window.audio.len());
    }

    /// The units of the window's 16 kHz audio. Those at its beginning may still know what has left it.
    ///
    /// # Errors
    /// The audio is shorter than one unit.
    pub fn extract<B: VoiceOps>(&mut self, encoder: &UnitEncoder<B>, audio: &[f32]) -> Result<Units> {
        let Some(span) = encoder.span() else { return encoder.extract(audio) };
        let in_step = self.windows.iter().position(|window| window.moved_samples % UNIT_SAMPLES == 0);
        let past = in_step.map(|index| self.windows.remove(index));
        let units = match past.as_ref().and_then(|past| past.settled(encoder, span, audio)) {
            Some(settled) => {
                let count = settled.count();
                let first = count.saturating_sub(span[0]);
                let fresh = encoder.extract(&audio[first * UNIT_SAMPLES..])?;
                settled.followed_by(&fresh, count - first)
            }
            None => encoder.extract(audio)?,
        };
        if self.windows.len() == Self::MOST {
            self.windows.remove(0);
        }
        self.windows.push(PastWindow { audio: audio.to_owned(), units: units.clone(), moved_samples: 0 });
        Ok(units)
    }
}

impl PastWindow {
    /// Its units of which all audio is still the same in `audio`, from where that begins; `None` without any.
    fn settled<B: VoiceOps>(&self, encoder: &UnitEncoder<B>, span: [usize; 2], audio: &[f32]) -> Option<Units> {
        let same = self.audio[self.moved_samples..].iter().zip(audio).take_while(|(a, b)| a == b).count();
        let seen = encoder.reach_samples() + span[1] * UNIT_SAMPLES;
        // One is made anew in any case, which the encoder needs some audio for.
        let count = (same.checked_sub(seen)? / UNIT_SAMPLES + 1).min(self.units.count().saturating_sub(1));
        let first = self.moved_samples / UNIT_SAMPLES;
        let rows = first * self.units.dim..(first + count) * self.units.dim;
        Some(Units { values: self.units.values.get(rows)?.to_owned(), dim: self.units.dim })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::hubert::EncoderCheckpoint;
    use crate::nn::Cpu;
    use crate::nn::hubert::Projection;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;
    use rand_distr::{Distribution, Uniform};

    const ENCODER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/default/encoder");

    fn encoder() -> UnitEncoder<Cpu> {
        let file = EncoderCheckpoint::open(std::path::Path::new(ENCODER)).expect("an encoder");
        let projection = Projection::Layer9Projected;
        let hubert = Hubert::load(&file.tensors.weights(), &file.config, projection, &Default::default());
        UnitEncoder::new(Arc::new(hubert.expect("weights")))
    }

    /// Moves on in chunks, of which each changes some samples before it, as resampling and the gate do, and compares with
    /// what the whole window gives. The first units lack their past there.
    #[track_caller]
    fn check(chunk_samples: usize, rests_every: usize) {
        /// Sums in another order.
        const TOLERANCE: f32 = 2e-4;
        let (encoder, mut random) = (encoder(), ChaCha8Rng::seed_from_u64(chunk_samples as u64));
        let uniform = Uniform::new(-0.3, 0.3).expect("a range");
        let [before, _] = encoder.span().expect("an encoder for streams");
        let mut noise = |count: usize| (0..count).map(|_| uniform.sample(&mut random)).collect::<Vec<f32>>();
        let (mut window, mut history) = (vec![0.0; 12_800], UnitHistory::default());
        for step in 0..40 {
            let changed = noise(chunk_samples + HOP_SAMPLES);
            window.drain(..chunk_samples);
            window.truncate(window.len() - HOP_SAMPLES);
            window.extend(changed);
            history.move_on(chunk_samples);
            if step % rests_every == rests_every - 1 {
                continue;
            }
            let (kept, whole) = (history.extract(&encoder, &window), encoder.extract(&window));
            let (kept, whole) = (kept.expect("units"), whole.expect("units"));
            assert_eq!(kept.count(), whole.count());
            let off = kept.values.iter().zip(&whole.values).skip(before * whole.dim).map(|(a, b)| (a - b).abs());
            let worst = off.fold(0.0, f32::max);
            assert!(worst < TOLERANCE, "chunk {step} of {chunk_samples}: off by {worst}");
        }
    }

    #[test]
    fn units_that_are_kept_are_those_of_the_whole_window() {
        for chunk_samples in [160, 320, 480, 960, 1600, 9_600] {
            check(chunk_samples, 40);
        }
        check(320, 3);
    }

    #[test]
    fn only_units_whose_audio_changed_are_made_anew() {
        let (encoder, mut history) = (encoder(), UnitHistory::default());
        let [before, after] = encoder.span().expect("an encoder for streams");
        let window = vec![0.1; 16_000];
        history.extract(&encoder, &window).expect("units");
        history.move_on(320);
        let mut next = window.clone();
        next[15_500..].fill(0.2);
        let past = &history.windows[0];
        let settled = past.settled(&encoder, [before, after], &next).expect("units").count();
        let seen = |unit: usize| (unit + after) * UNIT_SAMPLES + encoder.reach_samples();
        assert!(seen(settled - 1) <= 15_500 && seen(settled) > 15_500, "{settled}");
    }
}

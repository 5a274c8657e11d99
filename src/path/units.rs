//! Content units: what is said, without who says it.

use std::ops::Range;
use std::sync::Arc;

use crate::error::Result;
use crate::nn::hubert::{Hubert, Sight};
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

    /// What a unit is made of; `None` where it depends on all of the audio.
    #[must_use]
    pub fn sight(&self) -> Option<Sight> {
        self.hubert.sight()
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
    told: Told,
    moved_samples: usize,
}

/// Units in a row.
#[derive(Clone, Debug, Default)]
struct Told {
    units: Units,
    /// What entered the encoder's first layer for what they hear of the past and for them; of encoders that hear nothing of it,
    /// nothing.
    embeddings: Units,
}

impl Told {
    /// These, then those of `audio`, of which the first `skipped` are among these.
    fn followed_by<B: VoiceOps>(
        mut self,
        encoder: &UnitEncoder<B>,
        sight: Sight,
        audio: &[f32],
        skipped: usize,
    ) -> Result<Self> {
        if sight.past == 0 {
            let fresh = encoder.extract(audio)?;
            self.units.dim = fresh.dim;
            return Ok(Self { units: self.units.followed_by(&fresh, skipped), ..self });
        }
        let (hubert, known) = (&encoder.hubert, self.embeddings.count());
        let fresh = Units { values: hubert.embeddings(audio)?, dim: hubert.hidden_dim() };
        self.embeddings.dim = fresh.dim;
        let embeddings = self.embeddings.followed_by(&fresh, skipped);
        let first = known.saturating_sub(sight.past);
        let seen = &embeddings.values[first * embeddings.dim..];
        let fresh = Units { values: hubert.units_after(known - first, seen)?, dim: hubert.unit_dim() };
        self.units.dim = fresh.dim;
        Ok(Self { units: self.units.followed_by(&fresh, 0), embeddings })
    }
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
        let Some(sight) = encoder.sight() else { return encoder.extract(audio) };
        let in_step = self.windows.iter().position(|window| window.moved_samples % UNIT_SAMPLES == 0);
        let past = in_step.map(|index| self.windows.remove(index));
        let settled = past.as_ref().and_then(|past| past.settled(encoder, sight, audio)).unwrap_or_default();
        let count = settled.units.count();
        let first = count.saturating_sub(sight.frames[0]);
        let told = settled.followed_by(encoder, sight, &audio[first * UNIT_SAMPLES..], count - first)?;
        if self.windows.len() == Self::MOST {
            self.windows.remove(0);
        }
        let units = told.units.clone();
        self.windows.push(PastWindow { audio: audio.to_owned(), told, moved_samples: 0 });
        Ok(units)
    }
}

impl PastWindow {
    /// Its units of which all audio is still the same in `audio`, from where that begins; `None` without any.
    fn settled<B: VoiceOps>(&self, encoder: &UnitEncoder<B>, sight: Sight, audio: &[f32]) -> Option<Told> {
        let same = self.audio[self.moved_samples..].iter().zip(audio).take_while(|(a, b)| a == b).count();
        let seen = encoder.reach_samples() + sight.frames[1] * UNIT_SAMPLES;
        // One is made anew in any case, which the encoder needs some audio for.
        let most = self.told.units.count().saturating_sub(1);
        let count = (same.checked_sub(seen)? / UNIT_SAMPLES + 1).min(most);
        let first = self.moved_samples / UNIT_SAMPLES;
        let kept = |of: &Units, rows: Range<usize>| {
            let rows = of.values.get(rows.start * of.dim..rows.end * of.dim)?;
            Some(Units { values: rows.to_owned(), dim: of.dim })
        };
        let Told { units, embeddings } = &self.told;
        // What has left the window is heard for as long as a unit's past is.
        let first_embedded = embeddings.count().saturating_sub(units.count()) + first;
        let heard = first_embedded.saturating_sub(sight.past)..first_embedded + count;
        Some(Told { units: kept(units, first..first + count)?, embeddings: kept(embeddings, heard)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Cpu;
    use crate::nn::hubert::tests::hearing_its_past;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;
    use rand_distr::{Distribution, Uniform};

    /// Encoders that hear nothing of the past, and its mean.
    fn encoders() -> [UnitEncoder<Cpu>; 2] {
        [false, true].map(|hears| UnitEncoder::new(Arc::new(hearing_its_past(hears))))
    }

    /// Moves on in chunks, of which each changes some samples before it, as resampling and the gate do, and compares with
    /// what the whole window gives. The first units lack their past there.
    #[track_caller]
    fn check(encoder: &UnitEncoder<Cpu>, chunk_samples: usize, rests_every: usize) {
        /// Sums in another order.
        const TOLERANCE: f32 = 2e-4;
        let mut random = ChaCha8Rng::seed_from_u64(chunk_samples as u64);
        let uniform = Uniform::new(-0.3, 0.3).expect("a range");
        let sight = encoder.sight().expect("an encoder for streams");
        let before = sight.frames[0] + sight.past;
        let mut noise = |count: usize| (0..count).map(|_| uniform.sample(&mut random)).collect::<Vec<f32>>();
        let (mut window, mut history) = (vec![0.0; 32_000], UnitHistory::default());
        for step in 0..40 {
            let changed = noise(chunk_samples + HOP_SAMPLES);
            window.drain(..chunk_samples);
            window.truncate(window.len() - HOP_SAMPLES);
            window.extend(changed);
            history.move_on(chunk_samples);
            if step % rests_every == rests_every - 1 {
                continue;
            }
            let (kept, whole) = (history.extract(encoder, &window), encoder.extract(&window));
            let (kept, whole) = (kept.expect("units"), whole.expect("units"));
            assert_eq!(kept.count(), whole.count());
            let off = kept.values.iter().zip(&whole.values).skip(before * whole.dim).map(|(a, b)| (a - b).abs());
            let worst = off.fold(0.0, f32::max);
            assert!(worst < TOLERANCE, "chunk {step} of {chunk_samples}: off by {worst}");
        }
    }

    #[test]
    fn units_that_are_kept_are_those_of_the_whole_window() {
        for encoder in encoders() {
            for chunk_samples in [160, 320, 480, 960, 1600, 9_600] {
                check(&encoder, chunk_samples, 40);
            }
            check(&encoder, 320, 3);
        }
    }

    #[test]
    fn a_window_shorter_than_the_past_gives_the_units_of_the_whole_recording() {
        /// Sums in another order.
        const TOLERANCE: f32 = 2e-4;
        const WINDOW_SAMPLES: usize = 6_400;
        let [_, encoder] = encoders();
        let sight = encoder.sight().expect("an encoder for streams");
        let audio: Vec<f32> = (0..48_000).map(|i| 0.2 * (i as f32 * (0.05 + i as f32 * 1e-6)).sin()).collect();
        let whole = encoder.extract(&audio).expect("units");
        let mut history = UnitHistory::default();
        for begin in (0..=audio.len() - WINDOW_SAMPLES).step_by(UNIT_SAMPLES) {
            let units = history.extract(&encoder, &audio[begin..begin + WINDOW_SAMPLES]).expect("units");
            history.move_on(UNIT_SAMPLES);
            // The last units of the window; the whole's have other audio after them.
            let last = units.count() - 1 - sight.frames[1];
            let row = |units: &Units, index: usize| units.values[index * units.dim..][..units.dim].to_vec();
            let (kept, whole) = (row(&units, last), row(&whole, begin / UNIT_SAMPLES + last));
            let off = kept.iter().zip(&whole).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off < TOLERANCE, "unit {last} of the window from {begin}: off by {off}");
        }
    }

    #[test]
    fn only_units_whose_audio_changed_are_made_anew() {
        let [encoder, _] = encoders();
        let mut history = UnitHistory::default();
        let sight = encoder.sight().expect("an encoder for streams");
        let window = vec![0.1; 16_000];
        history.extract(&encoder, &window).expect("units");
        history.move_on(320);
        let mut next = window.clone();
        next[15_500..].fill(0.2);
        let past = &history.windows[0];
        let settled = past.settled(&encoder, sight, &next).expect("units").units.count();
        let seen = |unit: usize| (unit + sight.frames[1]) * UNIT_SAMPLES + encoder.reach_samples();
        assert!(seen(settled - 1) <= 15_500 && seen(settled) > 15_500, "{settled}");
    }
}

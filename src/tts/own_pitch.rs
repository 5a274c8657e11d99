//! Brings speech to the pitch of the voice that it is converted to.
//!
//! A source's voice has a usual pitch, which stays. Once it was heard it is remembered, and all that the source says in
//! it later is shifted alike from the first sound on. What it says first is judged by what has come before any of it
//! that is voiced is converted, which may be little; within an utterance the shift stays as it is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Manner, Source};
use crate::dsp::yin::Yin;
use crate::error::Result;
use crate::path::source::prepare;
use crate::path::{median_hz, transposition_to};
use crate::units::Recording;

/// Longest audio by which an utterance is judged, in seconds: it must not be waited for.
pub(super) const JUDGED_SECONDS: f64 = 1.5;
/// Fewest voiced hops of 10 ms by which it is judged. So few are not heard as a jump if they come before the shift.
const FEWEST_HOPS: usize = 3;
/// Voiced hops of an utterance that tell its speaker's usual pitch.
const TELLING_HOPS: usize = 50;
/// Voiced hops after which no more are listened to.
const ENOUGH_HOPS: usize = 500;
/// Most speakers that are remembered: clients may name any.
const MOST_SPEAKERS: usize = 4096;

/// Who speaks: a source, in one of its voices and in a language.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Speaker {
    source: String,
    voice: Option<String>,
    language: Option<String>,
}

impl Speaker {
    /// The speaker that `source` has if it speaks in this manner.
    #[must_use]
    pub fn of(source: &dyn Source, manner: &Manner) -> Self {
        Self { source: source.name(), voice: manner.voice.clone(), language: manner.language.clone() }
    }
}

/// The usual pitches of the speakers that were heard.
#[derive(Debug, Default)]
pub struct UsualPitches(Mutex<HashMap<Speaker, f32>>);

impl UsualPitches {
    /// The usual pitch of a speaker in Hz, if they were heard.
    #[must_use]
    pub fn of(&self, speaker: &Speaker) -> Option<f32> {
        self.lock().get(speaker).copied()
    }

    /// Remembers a speaker's pitch. What was heard first stays, so that all that is said later is shifted alike.
    fn remember(&self, speaker: &Speaker, usual_hz: f32) {
        let mut pitches = self.lock();
        if pitches.len() < MOST_SPEAKERS {
            pitches.entry(speaker.clone()).or_insert(usual_hz);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Speaker, f32>> {
        // Each change is one insertion.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Finds the shift of one speech after the other of a speaker, and listens to what their usual pitch is.
#[derive(Debug)]
pub struct OwnPitch {
    own_hz: f32,
    speaker: Speaker,
    pitches: Arc<UsualPitches>,
    /// The latest shift, in semitones.
    shift: Option<f32>,
    /// Whether it is that of the utterance at hand.
    is_set: bool,
    /// Pitch of the voiced hops so far.
    heard_hz: Vec<f32>,
}

impl OwnPitch {
    /// Brings what `speaker` says to `own_hz`, the voice's usual pitch.
    #[must_use]
    pub fn new(own_hz: f32, speaker: Speaker, pitches: Arc<UsualPitches>) -> Self {
        Self { own_hz, speaker, pitches, shift: None, is_set: false, heard_hz: Vec::new() }
    }

    /// The latest shift in semitones, if there was one yet.
    #[must_use]
    pub fn shift(&self) -> Option<f32> {
        self.shift
    }

    /// Whether the utterance at hand has its shift.
    pub(super) fn is_set(&self) -> bool {
        self.is_set
    }

    /// Another utterance begins: what was heard since tells its shift.
    pub(super) fn begin(&mut self) {
        self.remember();
        self.is_set = false;
    }

    /// Judges an utterance of which `audio` comes next; the shift in semitones. While nothing in it is voiced, it has none.
    ///
    /// # Errors
    /// A rate that cannot be converted.
    pub(super) fn judge(&mut self, audio: &Recording) -> Result<Option<f32>> {
        let f0_hz = match self.pitches.of(&self.speaker) {
            Some(usual_hz) => vec![usual_hz; FEWEST_HOPS],
            None => Yin::default().f0(&prepare(audio)?)?.f0_hz,
        };
        if f0_hz.iter().filter(|hz| **hz > 0.0).count() < FEWEST_HOPS {
            return Ok(None);
        }
        (self.shift, self.is_set) = (transposition_to(self.own_hz, &f0_hz), true);
        Ok(self.shift)
    }

    /// Hears the pitch of hops that were said, in Hz, 0 unvoiced.
    pub(super) fn hear(&mut self, f0_hz: impl Iterator<Item = f32>) {
        if self.heard_hz.len() < ENOUGH_HOPS {
            self.heard_hz.extend(f0_hz.filter(|hz| *hz > 0.0));
        }
    }

    fn remember(&self) {
        if self.heard_hz.len() >= TELLING_HOPS
            && let Some(usual_hz) = median_hz(&self.heard_hz)
        {
            self.pitches.remember(&self.speaker, usual_hz);
        }
    }
}

impl Drop for OwnPitch {
    fn drop(&mut self) {
        self.remember();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A buzz of this pitch in Hz.
    fn buzz(pitch_hz: f32, samples: usize) -> Recording {
        let sample = |n: usize| 0.4 * ((n as f32 * pitch_hz / 40_000.0).fract() - 0.5);
        Recording { samples: (0..samples).map(sample).collect(), sample_rate_hz: 40_000 }
    }

    fn own(pitches: &Arc<UsualPitches>, voice: &str) -> OwnPitch {
        let speaker = Speaker { source: "a".into(), voice: Some(voice.into()), language: None };
        OwnPitch::new(100.0, speaker, pitches.clone())
    }

    fn shift(own: &mut OwnPitch, audio: &Recording) -> Option<f32> {
        own.judge(audio).expect("a rate")
    }

    #[test]
    fn the_first_utterance_is_judged_by_its_first_voiced_audio_and_the_next_by_all_of_the_first() {
        let pitches = Arc::default();
        let mut first = own(&pitches, "x");
        assert_eq!(shift(&mut first, &buzz(0.0, 4000)), None);
        let judged = shift(&mut first, &buzz(200.0, 4000)).expect("a shift");
        assert!((judged + 12.0).abs() < 0.2, "{judged}");
        first.hear([0.0, 190.0, 210.0].into_iter().cycle().take(150));
        first.hear(std::iter::repeat_n(250.0, 40));
        assert_eq!(pitches.of(&first.speaker), None);
        first.begin();
        let judged = shift(&mut first, &buzz(0.0, 400)).expect("it is known");
        assert!((judged - 12.0 * (100.0_f32 / 210.0).log2()).abs() < 1e-3, "{judged}");
        // What is heard later changes nothing.
        first.hear(std::iter::repeat_n(400.0, 400));
        drop(first);
        assert_eq!(pitches.of(&own(&pitches, "x").speaker), Some(210.0));
        assert_eq!(pitches.of(&own(&pitches, "y").speaker), None);
    }

    #[test]
    fn a_word_does_not_tell_who_speaks() {
        let pitches = Arc::default();
        let mut word = own(&pitches, "x");
        word.hear(std::iter::repeat_n(300.0, TELLING_HOPS - 1));
        drop(word);
        assert_eq!(pitches.of(&own(&pitches, "x").speaker), None);
    }

    #[test]
    fn no_more_speakers_are_remembered_than_there_is_room_for() {
        let pitches = Arc::<UsualPitches>::default();
        for number in 0..=MOST_SPEAKERS {
            own(&pitches, &number.to_string()).hear_all(200.0);
        }
        assert_eq!(pitches.lock().len(), MOST_SPEAKERS);
    }

    impl OwnPitch {
        fn hear_all(mut self, hz: f32) {
            self.hear(std::iter::repeat_n(hz, TELLING_HOPS));
        }
    }
}

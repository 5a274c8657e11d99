//! Finds the pitch shift that brings whoever speaks to the voice's own pitch, once they have spoken a little.

use crate::path::transposition_to;

/// Voiced speech after which the shift is set first; it is set again each time there is twice as much.
const FIRST_SECONDS: f32 = 0.5;
/// Fewest chunks that tell a pitch: long ones tell but the pitch of their ends.
const FEWEST_CHUNKS: usize = 12;
/// Chunks after a change whose pitch may still be shifted as before.
const SETTLES: u64 = 5;
/// Voiced speech after which it stays.
const LAST_SECONDS: f32 = 10.0;
/// A change that nobody would hear is not made.
const LEAST_SEMITONES: f32 = 0.25;

/// What of a moment matters here.
#[derive(Clone, Copy, Debug)]
pub struct Heard {
    /// Chunks so far.
    pub chunks: u64,
    /// What each lasts.
    pub chunk_ms: f32,
    /// Pitch of who speaks in the latest, if it has one.
    pub input_hz: Option<f32>,
}

/// Listens to who speaks, until enough was heard. It is over, too, once someone sets the pitch or changes the voice.
#[derive(Clone, Debug)]
pub struct OwnPitch {
    own_hz: f32,
    /// The shift that is set.
    transpose_semitones: f32,
    /// Chunks looked at.
    chunks: u64,
    /// Chunks that are not to be believed.
    settling_until: u64,
    heard_hz: Vec<f32>,
    next_seconds: f32,
}

impl OwnPitch {
    /// Of a voice whose usual pitch is `own_hz`, as a session starts with this shift.
    #[must_use]
    pub fn new(own_hz: f32, transpose_semitones: f32) -> Self {
        Self {
            own_hz,
            transpose_semitones,
            chunks: 0,
            settling_until: 0,
            heard_hz: Vec::new(),
            next_seconds: FIRST_SECONDS,
        }
    }

    /// The same speaker in another voice, whose usual pitch is `own_hz`: what was heard tells its shift at once.
    #[must_use]
    pub fn in_voice(&self, own_hz: f32) -> Self {
        let transpose_semitones = transposition_to(own_hz, &self.heard_hz).unwrap_or_default();
        Self { own_hz, transpose_semitones, settling_until: self.chunks + SETTLES, ..self.clone() }
    }

    /// The shift in semitones that was found last.
    #[must_use]
    pub fn transpose_semitones(&self) -> f32 {
        self.transpose_semitones
    }

    /// Whether there is nothing more to do, where this shift is in force.
    #[must_use]
    pub fn is_over(&self, transpose_semitones: f32) -> bool {
        transpose_semitones != self.transpose_semitones || self.next_seconds > LAST_SECONDS
    }

    /// Takes in the latest chunk; the shift in semitones to set, if it is time.
    pub fn hear(&mut self, heard: Heard) -> Option<f32> {
        if std::mem::replace(&mut self.chunks, heard.chunks) == heard.chunks {
            return None;
        }
        self.heard_hz.extend(heard.input_hz.filter(|_| heard.chunks > self.settling_until));
        let seconds = self.heard_hz.len() as f32 * heard.chunk_ms / 1e3;
        if seconds < self.next_seconds || self.heard_hz.len() < FEWEST_CHUNKS {
            return None;
        }
        self.next_seconds *= 2.0;
        let semitones = transposition_to(self.own_hz, &self.heard_hz)?;
        if (semitones - self.transpose_semitones).abs() < LEAST_SEMITONES {
            return None;
        }
        self.transpose_semitones = semitones;
        self.settling_until = heard.chunks + SETTLES;
        Some(semitones)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(chunks: u64, input_hz: f32) -> Heard {
        Heard { chunks, chunk_ms: 20.0, input_hz: Some(input_hz).filter(|hz| *hz > 0.0) }
    }

    #[test]
    fn half_a_second_of_speech_sets_the_shift_and_more_only_corrects_it() {
        let mut own = OwnPitch::new(100.0, 0.0);
        let mut set = Vec::new();
        for chunk in 1..=600 {
            // One in three is unvoiced, and the speaker is lower at first.
            let voiced = if chunk < 60 { 180.0 } else { 200.0 };
            if own.is_over(own.transpose_semitones()) {
                break;
            }
            if let Some(semitones) = own.hear(heard(chunk, if chunk % 3 == 0 { 0.0 } else { voiced })) {
                set.push((chunk, semitones));
            }
        }
        assert_eq!(set.first().map(|(chunk, _)| *chunk), Some(37), "{set:?}");
        assert!((set[0].1 - 12.0 * (100.0_f32 / 180.0).log2()).abs() < 0.01, "{set:?}");
        assert!((set.last().expect("a shift").1 + 12.0).abs() < 0.01 && set.len() == 2, "{set:?}");
    }

    #[test]
    fn two_long_chunks_do_not_tell_a_pitch() {
        let mut own = OwnPitch::new(100.0, 0.0);
        let long = |chunks| Heard { chunk_ms: 500.0, ..heard(chunks, 200.0) };
        assert!((1..12).all(|chunk| own.hear(long(chunk)).is_none()));
        assert!(own.hear(long(12)).is_some());
        // What is heard now may have been shifted as before.
        assert!((13..18).all(|chunk| own.hear(long(chunk)).is_none() && own.heard_hz.len() == 12));
    }

    #[test]
    fn a_chunk_is_heard_once_and_silence_sets_nothing() {
        let mut own = OwnPitch::new(100.0, 0.0);
        assert!((0..500).all(|_| own.hear(heard(1, 200.0)).is_none()));
        assert!((2..500).all(|chunk| own.hear(heard(chunk, 0.0)).is_none()));
    }

    #[test]
    fn who_sets_the_pitch_is_not_overruled() {
        let own = OwnPitch::new(100.0, 0.0);
        assert!(!own.is_over(0.0) && own.is_over(5.0));
    }

    #[test]
    fn another_voice_has_its_shift_at_once_from_what_was_heard() {
        let mut own = OwnPitch::new(100.0, 0.0);
        assert_eq!(own.in_voice(50.0).transpose_semitones(), 0.0);
        assert!((1..=40).any(|chunk| own.hear(heard(chunk, 200.0)).is_some()));
        let other = own.in_voice(400.0);
        assert!((other.transpose_semitones() - 12.0).abs() < 0.01, "{other:?}");
        assert!(!other.is_over(other.transpose_semitones()));
    }
}

//! Finds the pitch shift that brings whoever speaks to the voice's own pitch, once they have spoken a little.

use super::moment::Moment;
use crate::live::{Command, Setting};
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
    chunks: u64,
    chunk_ms: f32,
    /// Pitch of the latest, if it has one.
    input_hz: Option<f32>,
    slot: usize,
    transpose_semitones: f32,
}

impl From<&Moment> for Heard {
    fn from(moment: &Moment) -> Self {
        let worker = &moment.metrics.telemetry.worker;
        Self {
            chunks: worker.chunks,
            chunk_ms: worker.chunk_ms,
            input_hz: moment.pitch_hz().map(|(input_hz, _)| input_hz),
            slot: moment.state.slot,
            transpose_semitones: moment.state.params.transpose_semitones,
        }
    }
}

/// Listens to who speaks. Ends when enough was heard, or as soon as someone sets the pitch or changes the voice.
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
    /// Of the first slot's voice, whose usual pitch is `own_hz`, as the session starts.
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

    /// Whether there is nothing more to do.
    #[must_use]
    pub fn is_over(&self, heard: Heard) -> bool {
        let is_theirs = heard.transpose_semitones != self.transpose_semitones;
        heard.slot != 0 || is_theirs || self.next_seconds > LAST_SECONDS
    }

    /// Takes in the latest chunk; what to set, if it is time.
    pub fn hear(&mut self, heard: Heard) -> Option<Command> {
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
        Some(Command::Set(Setting::Transpose, semitones))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(chunks: u64, input_hz: f32, transpose_semitones: f32) -> Heard {
        Heard { chunks, chunk_ms: 20.0, input_hz: Some(input_hz).filter(|hz| *hz > 0.0), slot: 0, transpose_semitones }
    }

    #[test]
    fn half_a_second_of_speech_sets_the_shift_and_more_only_corrects_it() {
        let mut own = OwnPitch::new(100.0, 0.0);
        let mut set = Vec::new();
        for chunk in 1..=600 {
            // One in three is unvoiced, and the speaker is lower at first.
            let voiced = if chunk < 60 { 180.0 } else { 200.0 };
            let now = heard(chunk, if chunk % 3 == 0 { 0.0 } else { voiced }, own.transpose_semitones);
            if own.is_over(now) {
                break;
            }
            if let Some(Command::Set(Setting::Transpose, semitones)) = own.hear(now) {
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
        let long = |chunks| Heard { chunk_ms: 500.0, ..heard(chunks, 200.0, 0.0) };
        assert!((1..12).all(|chunk| own.hear(long(chunk)).is_none()));
        assert!(own.hear(long(12)).is_some());
        // What is heard now may have been shifted as before.
        assert!((13..18).all(|chunk| own.hear(long(chunk)).is_none() && own.heard_hz.len() == 12));
    }

    #[test]
    fn a_chunk_is_heard_once_and_silence_sets_nothing() {
        let mut own = OwnPitch::new(100.0, 0.0);
        assert!((0..500).all(|_| own.hear(heard(1, 200.0, 0.0)).is_none()));
        assert!((2..500).all(|chunk| own.hear(heard(chunk, 0.0, 0.0)).is_none()));
    }

    #[test]
    fn who_sets_the_pitch_is_not_overruled() {
        let own = OwnPitch::new(100.0, 0.0);
        assert!(!own.is_over(heard(1, 200.0, 0.0)));
        assert!(own.is_over(heard(1, 200.0, 5.0)));
        assert!(own.is_over(Heard { slot: 1, ..heard(1, 200.0, 0.0) }));
    }
}

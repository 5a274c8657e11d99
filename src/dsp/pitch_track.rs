//! The one form in which every pitch tracker answers.

use crate::error::{Error, Result};

/// Sample rate of the audio that trackers read, in Hz.
pub const SAMPLE_RATE_HZ: u32 = 16_000;

/// Samples from one frame of a [`PitchTrack`] to the next: 10 ms at 16 kHz.
pub const HOP_SAMPLES: usize = 160;

/// Fundamental frequency and confidence every 10 ms; frame `i` is centred on sample `160 i` of the 16 kHz audio.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PitchTrack {
    /// Fundamental frequency in Hz; 0 where the frame is unvoiced.
    pub f0_hz: Vec<f32>,
    /// The tracker's confidence in 0..=1 that the frame is voiced; its scale differs between trackers.
    pub voicing: Vec<f32>,
}

impl PitchTrack {
    /// The number of frames that `samples` of 16 kHz audio give: `samples / 160 + 1`.
    #[must_use]
    pub fn frames(samples: usize) -> usize {
        samples / HOP_SAMPLES + 1
    }

    /// Number of frames.
    #[must_use]
    pub fn len(&self) -> usize {
        self.f0_hz.len()
    }

    /// Whether there is no frame.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.f0_hz.is_empty()
    }
}

/// Refuses audio without a single sample: a track of it would be centred on nothing.
pub(crate) fn require_audio(audio_16k: &[f32]) -> Result<()> {
    if audio_16k.is_empty() { Err(Error::argument("audio", "at least one sample", "none")) } else { Ok(()) }
}

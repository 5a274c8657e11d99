//! What a conversion gives back, with the figures a report needs.

/// A converted recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Converted {
    /// The new voice, nominally -1..=1.
    pub samples: Vec<f32>,
    /// Its rate.
    pub sample_rate_hz: u32,
    /// Pitch read from the input, one value per 10 ms, 0 where unvoiced; empty where the voice uses no pitch.
    pub f0_before_hz: Vec<f32>,
    /// Pitch given to the synthesizer, one value per 10 ms, 0 where unvoiced.
    pub f0_after_hz: Vec<f32>,
    /// Time per stage, in the order of the path.
    pub stages: Vec<StageTime>,
    /// Duration of the input.
    pub audio_seconds: f64,
}

/// Processing time of one stage of the path.
#[derive(Clone, Debug, PartialEq)]
pub struct StageTime {
    /// The stage's name in the path.
    pub name: String,
    /// Wall-clock time.
    pub seconds: f64,
}

//! What a person may choose about a conversion, as plain data with its ranges.

use std::ops::RangeInclusive;

use crate::error::{Error, Result};

/// By how many semitones the pitch may be shifted.
pub const TRANSPOSE_SEMITONES: RangeInclusive<f32> = -48.0..=48.0;

/// How a voice is converted. The defaults are the reference's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConversionParams {
    /// Pitch shift in semitones: [`TRANSPOSE_SEMITONES`].
    pub transpose_semitones: f32,
    /// Formant shift in semitones, -12..=12: the spectral envelope moves, the pitch stays.
    pub formant_semitones: f32,
    /// Share of the retrieved units in the blend with the encoder's, 0..=1.
    pub index_rate: f32,
    /// Share of retrieval kept in unvoiced frames, 0..=0.5; 0.5 switches the protection off.
    pub protect: f32,
    /// Whose loudness the output takes: 0 the input's envelope, 1 the voice's own.
    pub rms_mix_rate: f32,
    /// Hops of the median filter on the pitch of YIN, 0..=7; below 3 it is off. The reference applies its own to Harvest
    /// alone; CREPE's smoothing there is fixed.
    pub filter_radius: usize,
    /// Whether hops of the pitch that stand an octave away from their neighbours are moved back.
    pub repair_octaves: bool,
    /// Which of the voice's speakers to use.
    pub speaker: usize,
    /// Where the synthesizer's noise comes from.
    pub noise: NoiseChoice,
    /// What happens to the pitch of unvoiced frames.
    pub unvoiced: Unvoiced,
    /// Lengths and quantisation of the result.
    pub lengths: Lengths,
}

impl Default for ConversionParams {
    fn default() -> Self {
        Self {
            transpose_semitones: 0.0,
            formant_semitones: 0.0,
            index_rate: 0.75,
            protect: 0.33,
            rms_mix_rate: 0.25,
            filter_radius: 3,
            repair_octaves: false,
            speaker: 0,
            noise: NoiseChoice::Seeded(0),
            unvoiced: Unvoiced::Zero,
            lengths: Lengths::Exact,
        }
    }
}

impl ConversionParams {
    /// Checks every range.
    ///
    /// # Errors
    /// [`Error::Argument`] naming the first value out of its range.
    pub fn validate(&self) -> Result<()> {
        within("transpose", self.transpose_semitones, *TRANSPOSE_SEMITONES.start(), *TRANSPOSE_SEMITONES.end())?;
        within("formant", self.formant_semitones, -12.0, 12.0)?;
        within("index rate", self.index_rate, 0.0, 1.0)?;
        within("protect", self.protect, 0.0, 0.5)?;
        within("RMS mix rate", self.rms_mix_rate, 0.0, 1.0)?;
        within("filter radius", self.filter_radius as f32, 0.0, 7.0)
    }
}

fn within(name: &str, value: f32, low: f32, high: f32) -> Result<()> {
    // Also refuses NaN.
    if (low..=high).contains(&value) { Ok(()) } else { Err(Error::argument(name, format!("{low} to {high}"), value)) }
}

/// Where the synthesizer's noise comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoiseChoice {
    /// A generator started from this seed: the same seed gives the same output.
    Seeded(u64),
    /// No noise at all.
    Zero,
}

/// What happens to the pitch of unvoiced frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unvoiced {
    /// It stays 0: the source is noise there and `protect` acts (classic RVC).
    Zero,
    /// It is drawn linearly between the voiced neighbours (RVC since 2026).
    Interpolate,
}

/// Lengths of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lengths {
    /// Exactly the input's duration.
    Exact,
    /// The reference's: each window loses 0 to 20 ms.
    Reference,
}

/// Which pitch tracker reads the fundamental frequency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum PitchMethod {
    /// RMVPE: robust against music and noise; the usual choice for RVC.
    Rmvpe,
    /// FCPE: fast, convolutional.
    Fcpe,
    /// CREPE, full size.
    Crepe,
    /// CREPE, smallest size.
    CrepeTiny,
    /// `SwiftF0`: its weights are inside the program.
    Swift,
    /// YIN: no weights at all.
    Yin,
}

/// What may change while audio runs, each of it smoothed where it is heard. One plain value that travels by snapshot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LiveParams {
    /// Gain of the input in dB, -60..=36.
    pub input_gain_db: f32,
    /// The high-pass.
    pub high_pass: HighPassParams,
    /// The noise gate.
    pub gate: GateParams,
    /// Share of the converted voice at the output, 0..=1; the rest is the input, delayed to match.
    pub mix: f32,
    /// Whether only the input is heard, delayed to match.
    pub bypass: bool,
    /// Gain of the output in dB, -60..=36.
    pub output_gain_db: f32,
    /// Level in dB that the limiter never lets pass, -40..=0.
    pub ceiling_db: f32,
    /// Whether the output is silent.
    pub mute: bool,
    /// Gain of the monitor in dB, -60..=36.
    pub monitor_gain_db: f32,
    /// Whether the monitor is heard.
    pub monitor: bool,
}

/// High-pass: takes rumble, handling noise and offset out of the input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HighPassParams {
    /// Whether it is in the way.
    pub on: bool,
    /// Its cut-off in Hz, 20..=2000.
    pub cutoff_hz: f32,
}

impl Default for HighPassParams {
    /// Out of the way, set below any voice.
    fn default() -> Self {
        Self { on: false, cutoff_hz: 80.0 }
    }
}

/// Noise gate: opens above the threshold, closes below threshold less hysteresis once the hold is over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GateParams {
    /// Whether it gates at all.
    pub on: bool,
    /// Level in dB at which it opens, -100..=0.
    pub threshold_db: f32,
    /// How far below the threshold the level must fall, in dB, 0..=40.
    pub hysteresis_db: f32,
    /// Time to open, in ms, 0.1..=500.
    pub attack_ms: f32,
    /// Time that it stays open at low level, in ms, 0..=5000.
    pub hold_ms: f32,
    /// Time to close, in ms, 1..=5000.
    pub release_ms: f32,
}

impl Default for GateParams {
    /// Off, set for a voice in a quiet room.
    fn default() -> Self {
        Self { on: false, threshold_db: -50.0, hysteresis_db: 6.0, attack_ms: 2.0, hold_ms: 100.0, release_ms: 150.0 }
    }
}

impl Default for LiveParams {
    /// The voice alone, levels as they are, below -1 dB, without monitor.
    fn default() -> Self {
        Self {
            input_gain_db: 0.0,
            high_pass: HighPassParams::default(),
            gate: GateParams::default(),
            mix: 1.0,
            bypass: false,
            output_gain_db: 0.0,
            ceiling_db: -1.0,
            mute: false,
            monitor_gain_db: 0.0,
            monitor: false,
        }
    }
}

impl LiveParams {
    /// Checks every range.
    ///
    /// # Errors
    /// [`Error::Argument`] naming the first value out of its range.
    pub fn validate(&self) -> Result<()> {
        within("input gain", self.input_gain_db, -60.0, 36.0)?;
        within("high-pass", self.high_pass.cutoff_hz, 20.0, 2000.0)?;
        within("gate threshold", self.gate.threshold_db, -100.0, 0.0)?;
        within("gate hysteresis", self.gate.hysteresis_db, 0.0, 40.0)?;
        within("gate attack", self.gate.attack_ms, 0.1, 500.0)?;
        within("gate hold", self.gate.hold_ms, 0.0, 5000.0)?;
        within("gate release", self.gate.release_ms, 1.0, 5000.0)?;
        within("mix", self.mix, 0.0, 1.0)?;
        within("output gain", self.output_gain_db, -60.0, 36.0)?;
        within("ceiling", self.ceiling_db, -40.0, 0.0)?;
        within("monitor gain", self.monitor_gain_db, -60.0, 36.0)
    }
}

//! What a person may choose about a conversion, as plain data with its ranges.

use crate::error::{Error, Result};

/// How a voice is converted. The defaults are the reference's.
#[derive(Clone, Debug, PartialEq)]
pub struct ConversionParams {
    /// Pitch shift in semitones, -48..=48.
    pub transpose_semitones: f32,
    /// Formant shift in semitones, -12..=12: the spectral envelope moves, the pitch stays.
    pub formant_semitones: f32,
    /// Share of the retrieved units in the blend with the encoder's, 0..=1.
    pub index_rate: f32,
    /// Share of retrieval kept in unvoiced frames, 0..=0.5; 0.5 switches the protection off.
    pub protect: f32,
    /// Whose loudness the output takes: 0 the input's envelope, 1 the voice's own.
    pub rms_mix_rate: f32,
    /// Frames of the median filter on a weightless tracker's pitch, 0..=7; below 3 it is off.
    pub filter_radius: usize,
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
        within("transpose", self.transpose_semitones, -48.0, 48.0)?;
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

//! Content units: what is said, without who says it.

use std::sync::Arc;

use crate::error::Result;
use crate::nn::hubert::Hubert;
use crate::nn::ops::VoiceOps;
use crate::nn::values;
use crate::units::Units;

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

    /// The units of 16 kHz audio, one per 20 ms.
    ///
    /// # Errors
    /// The audio is shorter than one unit.
    pub fn extract(&self, audio: &[f32]) -> Result<Units> {
        let units = self.hubert.units(audio)?;
        let [_, _, dim] = units.dims();
        Ok(Units { values: values(units), dim })
    }
}

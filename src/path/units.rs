//! Content units: what is said, without who says it.

use std::sync::Arc;

use crate::error::Result;
use crate::nn::hubert::Hubert;
use crate::nn::ops::VoiceOps;
use crate::nn::values;
use crate::telemetry::Listener;
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

    /// Samples that one unit sees: 400 in the published encoder.
    #[must_use]
    pub fn reach_samples(&self) -> usize {
        self.hubert.reach_samples()
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
        let units = self.hubert.units_telling(audio, progress)?;
        let [_, _, dim] = units.dims();
        Ok(Units { values: values(units), dim })
    }
}

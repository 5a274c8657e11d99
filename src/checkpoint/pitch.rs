//! Pitch networks: which one a file holds, told by its tensors.

use std::path::Path;

use super::Tensors;
use super::container::Container;
use crate::error::{Error, Result};

/// A pitch network whose weights come in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PitchNetwork {
    /// RMVPE, a U-Net over the mel spectrogram.
    Rmvpe,
    /// FCPE, a convolutional conformer over the mel spectrogram.
    Fcpe,
    /// CREPE, convolutions over the waveform; tiny and full differ only in size.
    Crepe,
}

impl PitchNetwork {
    /// The name of the method, as the command line spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rmvpe => "rmvpe",
            Self::Fcpe => "fcpe",
            Self::Crepe => "crepe",
        }
    }
}

/// A pitch network read from a file: RMVPE's and CREPE's bare state, FCPE's `model`, or any as safetensors.
#[derive(Clone, Debug)]
pub struct PitchCheckpoint {
    /// Which network it is.
    pub network: PitchNetwork,
    /// Its tensors, weight norm folded, under the names of its publisher.
    pub tensors: Tensors,
}

impl PitchCheckpoint {
    /// Reads a pitch network.
    ///
    /// # Errors
    /// Files that hold none, or are damaged.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let container = Container::open(path.as_ref())?;
        let network = recognise(&container)
            .ok_or_else(|| Error::format(path.as_ref(), "a pitch network (RMVPE, FCPE or CREPE)", "other tensors"))?;
        Ok(Self { network, tensors: Tensors::new(path.as_ref(), container.read(|_| true)?) })
    }

    /// Reads a pitch network that must be `network`.
    ///
    /// # Errors
    /// As [`Self::open`], and where the file holds another network.
    pub fn open_as(path: impl AsRef<Path>, network: PitchNetwork) -> Result<Self> {
        let found = Self::open(path.as_ref())?;
        if found.network == network {
            return Ok(found);
        }
        Err(Error::format(path.as_ref(), network.name(), found.network.name()))
    }
}

/// The network a container holds.
pub(super) fn recognise(container: &Container) -> Option<PitchNetwork> {
    let marks = [
        ("unet.encoder.bn.weight", PitchNetwork::Rmvpe),
        ("input_stack.0.weight", PitchNetwork::Fcpe),
        ("conv1_BN.weight", PitchNetwork::Crepe),
    ];
    marks.into_iter().find(|(mark, _)| container.has(mark)).map(|(_, network)| network)
}

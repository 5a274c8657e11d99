//! The networks, written once and generic over the backend.
//!
//! Hot operations go through [`ops::VoiceOps`]; everything else is plain burn.

pub mod crepe;
pub mod fcpe;
pub mod hubert;
mod layers;
pub mod ops;
#[cfg(test)]
mod recorded;
pub mod rmvpe;
pub mod swift_f0;
pub mod synthesizer;

pub(crate) use layers::{tensor, values};

/// The CPU backend.
pub type Cpu = burn_flex::Flex;

/// burn's backend of NVIDIA GPUs. Its devices are to be had from `cuda::networks`, which finds out first whether there is one.
#[cfg(feature = "cuda")]
pub type Cuda = burn_cuda::Cuda;

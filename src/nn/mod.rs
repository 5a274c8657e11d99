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

pub(crate) use layers::values;

/// The CPU backend.
pub type Cpu = burn_flex::Flex;

/// Runs `work` on a thread of the pool that the kernels share work among. From outside, each of the hundreds of operations
/// of a network would be handed to the pool and waited for.
pub fn in_pool<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    if rayon::current_num_threads() == 1 { work() } else { rayon::scope(|_| work()) }
}

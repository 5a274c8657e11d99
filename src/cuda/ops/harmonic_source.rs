//! The generator's harmonic source.

use super::HARMONIC_SOURCE;
use crate::cuda::launch::{Buffer, Launch, Machine, expect_at_least, expect_len};
use crate::error::{Error, Result};

/// What shapes a voice's source.
#[derive(Clone, Copy, Debug)]
pub struct SourceShape {
    /// Samples per hop.
    pub hop: usize,
    /// The voice's rate.
    pub rate_hz: u32,
    /// The source is `tanh(gain * signal + offset)`.
    pub gain: f32,
    /// See [`Self::gain`].
    pub offset: f32,
}

/// Renders the source of `f0_hz` per hop, each finite and not below 0; `noise` is standard normal, one value per sample.
///
/// The phase goes on from `phase_before`, in cycles; where the next chunk goes on is written to `phase_after`.
///
/// # Errors
/// The hop or the rate is 0, a buffer's length does not fit, or the machine fails.
pub fn harmonic_source<M: Machine>(
    machine: &M,
    f0_hz: &Buffer<M, f32>,
    shape: SourceShape,
    noise: Option<&Buffer<M, f32>>,
    phase_before: &Buffer<M, f64>,
    phase_after: &mut Buffer<M, f64>,
    source: &mut Buffer<M, f32>,
) -> Result<()> {
    if shape.hop == 0 || shape.rate_hz == 0 {
        return Err(Error::argument("hop and rate", "at least 1", format!("{} and {}", shape.hop, shape.rate_hz)));
    }
    let samples = f0_hz.len() * shape.hop;
    expect_len("source", source.len(), samples)?;
    noise.map_or(Ok(()), |noise| expect_len("noise", noise.len(), samples))?;
    expect_at_least("phase before", phase_before.len(), 1)?;
    expect_at_least("phase after", phase_after.len(), 1)?;
    Launch::new(&HARMONIC_SOURCE, f0_hz.len().max(1))
        .input(f0_hz)
        .size(f0_hz.len())
        .size(shape.hop)
        .f64(shape.rate_hz.into())
        .f32(shape.gain)
        .f32(shape.offset)
        .optional(noise)
        .input(phase_before)
        .output(phase_after)
        .output(source)
        .run(machine)
}

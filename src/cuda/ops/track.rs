//! What is done to a pitch track between tracker and synthesizer.

use super::{MEDIAN, OCTAVE, PITCH_SHAPE};
use crate::cuda::launch::{Buffer, Launch, Machine, expect_len};
use crate::error::Result;

/// Moves hops that lie an octave or two from their neighbours.
///
/// # Errors
/// `repaired` is of another length, or the machine fails.
pub fn octave<M: Machine>(machine: &M, f0_hz: &Buffer<M, f32>, repaired: &mut Buffer<M, f32>) -> Result<()> {
    expect_len("repaired", repaired.len(), f0_hz.len())?;
    Launch::over(&OCTAVE, f0_hz.len()).input(f0_hz).size(f0_hz.len()).output(repaired).run(machine)
}

/// Median over `2 (taps / 2) + 1` hops.
///
/// # Errors
/// `filtered` is of another length, or the machine fails.
pub fn median<M: Machine>(
    machine: &M,
    f0_hz: &Buffer<M, f32>,
    taps: usize,
    filtered: &mut Buffer<M, f32>,
) -> Result<()> {
    expect_len("filtered", filtered.len(), f0_hz.len())?;
    // A longer window than twice the track is the whole track.
    let taps = taps.min(2 * f0_hz.len() + 3);
    Launch::over(&MEDIAN, f0_hz.len()).input(f0_hz).size(f0_hz.len()).size(taps).output(filtered).run(machine)
}

/// Bridges unvoiced hops if `interpolate`, transposes by the frequency ratio `ratio`, and quantises to 1..=255.
///
/// # Errors
/// An output is of another length, or the machine fails.
pub fn pitch_shape<M: Machine>(
    machine: &M,
    f0_hz: &Buffer<M, f32>,
    ratio: f32,
    interpolate: bool,
    shaped: &mut Buffer<M, f32>,
    coarse: &mut Buffer<M, u8>,
) -> Result<()> {
    expect_len("shaped", shaped.len(), f0_hz.len())?;
    expect_len("coarse", coarse.len(), f0_hz.len())?;
    Launch::over(&PITCH_SHAPE, f0_hz.len())
        .input(f0_hz)
        .size(f0_hz.len())
        .f32(ratio)
        .size(interpolate.into())
        .output(shaped)
        .output(coarse)
        .run(machine)
}

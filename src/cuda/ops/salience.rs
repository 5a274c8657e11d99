//! Pitch off the salience of each frame.

use std::ops::Range;

use super::SALIENCE;
use crate::cuda::launch::{Buffer, Launch, Machine, expect_len};
use crate::error::{Error, Result};

/// How a network's salience is read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decoding {
    /// RMVPE: weights are the salience, bins beyond the ends are left out; unvoiced at or below the threshold.
    Cut(f32),
    /// FCPE: the same, but bins beyond the ends count as the first or last again.
    Clamped(f32),
    /// CREPE: weights are the logistic function of the salience; no frame is unvoiced.
    Logistic,
}

/// Frames per block: one per warp.
const FRAMES_PER_BLOCK: usize = 4;

/// Reads f0 in Hz and voicing off `salience` `[frames, bins]`, whose bins inside `range` have their centres at `cents`
/// above 10 Hz.
///
/// # Errors
/// The range is empty or lies beyond the bins, the salience is not made of whole frames, the outputs are of another
/// number, or the machine fails.
pub fn salience<M: Machine>(
    machine: &M,
    salience: &Buffer<M, f32>,
    cents: &Buffer<M, f64>,
    range: Range<usize>,
    decoding: Decoding,
    f0_hz: &mut Buffer<M, f32>,
    voicing: &mut Buffer<M, f32>,
) -> Result<()> {
    let (frames, bins) = (f0_hz.len(), cents.len());
    if range.is_empty() || range.end > bins {
        return Err(Error::argument("range of bins", format!("some of {bins} bins"), format!("{range:?}")));
    }
    expect_len("salience", salience.len(), frames * bins)?;
    expect_len("voicing", voicing.len(), frames)?;
    let (mode, threshold) = match decoding {
        Decoding::Cut(threshold) => (0, threshold),
        Decoding::Clamped(threshold) => (1, threshold),
        Decoding::Logistic => (2, 0.0),
    };
    Launch::new(&SALIENCE, frames.div_ceil(FRAMES_PER_BLOCK))
        .input(salience)
        .size(frames)
        .size(bins)
        .size(range.start)
        .size(range.end)
        .input(cents)
        .size(mode)
        .f32(threshold)
        .output(f0_hz)
        .output(voicing)
        .run(machine)
}

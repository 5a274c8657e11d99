//! YIN's difference functions and candidates.

use super::YIN;
use crate::cuda::launch::{Buffer, Launch, Machine, expect_len};
use crate::dsp::yin::{LONGEST_LAG, MOST_CANDIDATES};
use crate::error::Result;

/// Candidates of each of some frames in a machine's memory.
pub struct YinCandidates<M: Machine> {
    /// The cumulative mean normalised difference `[frames, 321]`.
    pub difference: Buffer<M, f32>,
    /// Candidates of each frame, at most 12.
    pub count: Buffer<M, i32>,
    /// Their frequencies in Hz `[frames, 12]`, cheapest first.
    pub f0_hz: Buffer<M, f32>,
    /// 1 less their aperiodicity `[frames, 12]`.
    pub voicing: Buffer<M, f32>,
    /// Their costs `[frames, 12]`.
    pub cost: Buffer<M, f32>,
}

impl<M: Machine> YinCandidates<M> {
    /// Room for `frames` frames.
    ///
    /// # Errors
    /// There is no memory.
    pub fn new(machine: &M, frames: usize) -> Result<Self> {
        Ok(Self {
            difference: Buffer::zeros(machine, frames * (LONGEST_LAG + 1))?,
            count: Buffer::zeros(machine, frames)?,
            f0_hz: Buffer::zeros(machine, frames * MOST_CANDIDATES)?,
            voicing: Buffer::zeros(machine, frames * MOST_CANDIDATES)?,
            cost: Buffer::zeros(machine, frames * MOST_CANDIDATES)?,
        })
    }
}

/// Finds the candidates of as many frames of 16 kHz audio as `found` has room for, frame `f` centred on sample `160 f`.
///
/// # Errors
/// The buffers of `found` disagree, or the machine fails.
pub fn yin<M: Machine>(machine: &M, audio: &Buffer<M, f32>, found: &mut YinCandidates<M>) -> Result<()> {
    let frames = found.count.len();
    expect_len("difference", found.difference.len(), frames * (LONGEST_LAG + 1))?;
    for (name, buffer) in [("f0", &found.f0_hz), ("voicing", &found.voicing), ("cost", &found.cost)] {
        expect_len(name, buffer.len(), frames * MOST_CANDIDATES)?;
    }
    Launch::new(&YIN, frames)
        .input(audio)
        .size(audio.len())
        .output(&mut found.difference)
        .output(&mut found.count)
        .output(&mut found.f0_hz)
        .output(&mut found.voicing)
        .output(&mut found.cost)
        .run(machine)
}

//! Loudness envelopes.

use super::{ENVELOPE_MIX, ENVELOPE_RMS};
use crate::cuda::launch::{Buffer, Launch, Machine, expect_at_least, expect_len};
use crate::error::{Error, Result};

/// Writes the RMS over `frame` samples every `hop`, centred: `1 + audio.len() / hop` values.
///
/// # Errors
/// `frame` or `hop` is 0, `rms` is of another length, or the machine fails.
pub fn envelope_rms<M: Machine>(
    machine: &M,
    audio: &Buffer<M, f32>,
    frame: usize,
    hop: usize,
    rms: &mut Buffer<M, f32>,
) -> Result<()> {
    if frame == 0 || hop == 0 {
        return Err(Error::argument("frame and hop", "at least 1", format!("{frame} and {hop}")));
    }
    expect_len("rms", rms.len(), 1 + audio.len() / hop)?;
    Launch::new(&ENVELOPE_RMS, rms.len()).input(audio).size(audio.len()).size(frame).size(hop).output(rms).run(machine)
}

/// Moves the loudness of `output`, whose envelope is `present`, towards `wanted`; `rate` 1 changes nothing.
///
/// # Errors
/// An envelope is empty, or the machine fails.
pub fn envelope_mix<M: Machine>(
    machine: &M,
    output: &mut Buffer<M, f32>,
    wanted: &Buffer<M, f32>,
    present: &Buffer<M, f32>,
    rate: f32,
) -> Result<()> {
    expect_at_least("wanted envelope", wanted.len(), 1)?;
    expect_at_least("present envelope", present.len(), 1)?;
    if rate >= 1.0 {
        return Ok(());
    }
    let samples = output.len();
    Launch::over(&ENVELOPE_MIX, samples)
        .output(output)
        .size(samples)
        .input(wanted)
        .size(wanted.len())
        .input(present)
        .size(present.len())
        .f32(rate)
        .run(machine)
}

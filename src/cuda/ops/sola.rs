//! Synchronised overlap-add.

use super::{SOLA_JOIN, SOLA_SCORES};
use crate::cuda::launch::{Buffer, Launch, Machine, expect_at_least, expect_len};
use crate::error::Result;

/// Shifts per block: one per warp.
const SHIFTS_PER_BLOCK: usize = 8;

/// Writes how much `rendered` (chunk, fade and search samples) resembles `tail` at each of `scores.len()` shifts.
///
/// # Errors
/// `rendered` is shorter than the tail at the last shift, or the machine fails.
pub fn sola_scores<M: Machine>(
    machine: &M,
    rendered: &Buffer<M, f32>,
    tail: &Buffer<M, f32>,
    scores: &mut Buffer<M, f32>,
) -> Result<()> {
    let shifts = scores.len();
    expect_at_least("rendered", rendered.len() + 1, tail.len() + shifts)?;
    Launch::new(&SOLA_SCORES, shifts.div_ceil(SHIFTS_PER_BLOCK))
        .input(rendered)
        .input(tail)
        .size(tail.len())
        .size(shifts)
        .output(scores)
        .run(machine)
}

/// Joins `rendered` to `tail` at the best shift: writes one chunk to `output`, what the next chunk is joined to
/// to `next_tail`, and the shift to `shift`.
///
/// # Errors
/// There is no shift, a length does not fit, or the machine fails.
#[allow(clippy::too_many_arguments, reason = "a kernel's inputs and outputs")]
pub fn sola_join<M: Machine>(
    machine: &M,
    rendered: &Buffer<M, f32>,
    scores: &Buffer<M, f32>,
    fade_in: &Buffer<M, f32>,
    tail: &Buffer<M, f32>,
    output: &mut Buffer<M, f32>,
    next_tail: &mut Buffer<M, f32>,
    shift: &mut Buffer<M, i32>,
) -> Result<()> {
    expect_at_least("scores", scores.len(), 1)?;
    expect_at_least("shift", shift.len(), 1)?;
    expect_len("fade", fade_in.len(), tail.len())?;
    expect_len("next tail", next_tail.len(), tail.len())?;
    expect_len("rendered", rendered.len(), output.len() + tail.len() + scores.len() - 1)?;
    Launch::new(&SOLA_JOIN, 1)
        .input(rendered)
        .input(scores)
        .size(scores.len())
        .input(fade_in)
        .input(tail)
        .size(tail.len())
        .size(output.len())
        .output(output)
        .output(next_tail)
        .output(shift)
        .run(machine)
}

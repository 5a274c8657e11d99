//! Elementwise functions.

use super::epilogue::values;
use super::{ACTIVATE_ALL, GATE};
use crate::cuda::launch::{Buffer, Launch, Machine, expect_at_least};
use crate::error::Result;
use crate::nn::ops::Activation;

/// Applies `activation` to the first `count` values of `x`.
///
/// # Errors
/// A buffer is shorter, or the machine fails.
pub fn activate<M: Machine>(
    machine: &M,
    count: usize,
    x: &Buffer<M, f32>,
    activation: Activation,
    y: &mut Buffer<M, f32>,
) -> Result<()> {
    expect_at_least("input", x.len(), count)?;
    expect_at_least("output", y.len(), count)?;
    Launch::over(&ACTIVATE_ALL, count).input(x).size(count).activation(activation).output(y).run(machine)
}

/// `WaveNet`'s gate, `tanh(a) sigmoid(b)`, of `x` `[batch, 2 channels, time]` with `a` the first half of the channels
/// and `b` the second, to `y` `[batch, channels, time]`. Buffers may be longer.
///
/// # Errors
/// A buffer is too short, or the machine fails.
pub fn gate<M: Machine>(
    machine: &M,
    [batch, channels, time]: [usize; 3],
    x: &Buffer<M, f32>,
    y: &mut Buffer<M, f32>,
) -> Result<()> {
    let twice = values("input", &[2, batch, channels, time])?;
    expect_at_least("input", x.len(), twice)?;
    expect_at_least("output", y.len(), twice / 2)?;
    Launch::over(&GATE, twice / 2).input(x).size(twice / 2).size(channels * time).output(y).run(machine)
}

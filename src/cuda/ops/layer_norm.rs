//! Layer normalisation.

use super::LAYER_NORM;
use super::epilogue::values;
use crate::cuda::launch::{Buffer, Launch, Machine, expect_at_least};
use crate::error::Result;

/// Normalises each of `rows` rows of `x`, of `features` values, to mean 0 and variance 1, multiplies it by `gamma` and
/// adds `beta`. Buffers may be longer.
///
/// # Errors
/// A buffer is too short, or the machine fails.
#[allow(clippy::too_many_arguments, reason = "a kernel's inputs and outputs")]
pub fn layer_norm<M: Machine>(
    machine: &M,
    [rows, features]: [usize; 2],
    x: &Buffer<M, f32>,
    gamma: &Buffer<M, f32>,
    beta: &Buffer<M, f32>,
    epsilon: f32,
    y: &mut Buffer<M, f32>,
) -> Result<()> {
    let total = values("rows", &[rows, features])?;
    expect_at_least("input", x.len(), total)?;
    expect_at_least("scale", gamma.len(), features)?;
    expect_at_least("shift", beta.len(), features)?;
    expect_at_least("output", y.len(), total)?;
    Launch::new(&LAYER_NORM, rows).input(x).size(features).input(gamma).input(beta).f32(epsilon).output(y).run(machine)
}

//! The gated recurrent unit.

use super::GRU_STEP;
use super::epilogue::values;
use crate::cuda::launch::{Buffer, Launch, Machine, expect_at_least};
use crate::error::Result;

/// Values of the state that a block computes.
const UNITS: usize = 8;

/// Which way a recurrence runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Directions {
    /// From the beginning to the end.
    Forwards,
    /// From the end to the beginning.
    Backwards,
    /// Both, side by side, forwards first.
    Both,
}

/// Sizes of a recurrence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GruShape {
    /// Steps.
    pub time: usize,
    /// Values of the state of each direction.
    pub hidden: usize,
    /// One direction or both.
    pub directions: Directions,
}

/// Runs from a zero state over `inputs` `[time, directions, 3 hidden]`, the products of the input weights with their
/// bias (one [linear map](super::MatmulShape::linear) with the directions' weights one below the other), to `y` `[time,
/// directions, hidden]`. `weight` `[directions, 3 hidden, hidden]` and `bias` `[directions, 3 hidden]` are those of the
/// state, as torch has them (gates `r, z, n`). A launch for each step. Buffers may be longer.
///
/// # Errors
/// A buffer is too short, or the machine fails.
pub fn gru<M: Machine>(
    machine: &M,
    shape: GruShape,
    inputs: &Buffer<M, f32>,
    weight: &Buffer<M, f32>,
    bias: &Buffer<M, f32>,
    y: &mut Buffer<M, f32>,
) -> Result<()> {
    let GruShape { time, hidden, directions } = shape;
    let (directions, backwards) = match directions {
        Directions::Forwards => (1, 0b0),
        Directions::Backwards => (1, 0b1),
        Directions::Both => (2, 0b10),
    };
    expect_at_least("input products", inputs.len(), values("input products", &[time, directions, 3, hidden])?)?;
    expect_at_least("weights", weight.len(), values("weights", &[directions, 3, hidden, hidden])?)?;
    expect_at_least("bias", bias.len(), directions * 3 * hidden)?;
    expect_at_least("output", y.len(), time * directions * hidden)?;
    (0..time).try_for_each(|step| {
        Launch::new(&GRU_STEP, hidden.div_ceil(UNITS))
            .rows(directions)
            .input(inputs)
            .input(weight)
            .input(bias)
            .size(step)
            .size(time)
            .size(hidden)
            .size(backwards)
            .output(y)
            .run(machine)
    })
}

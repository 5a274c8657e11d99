//! What the operations of the networks do besides their sums.

use super::SUM_PARTS;
use crate::cuda::launch::{Buffer, Launch, Machine, expect_at_least};
use crate::error::{Error, Result};
use crate::nn::ops::Activation;

/// `y = scale (after(sum + bias) + residual) + kept y`, where the sum is of `before(x)`.
///
/// So convolutions make a generator's residual stage
/// ([`VoiceOps::residual_stage`](crate::nn::ops::VoiceOps::residual_stage)) without a kernel of its own: `before` is
/// its leaky rectifier, `residual` what a step adds to, and the mean over `n` blocks is what the last convolution of
/// each block does with `scale` `1 / n` and, but for the first block, `kept` 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Epilogue {
    /// Applied to each input value.
    pub before: Activation,
    /// Applied to each sum with its bias.
    pub after: Activation,
    /// Multiplies the result with its residual.
    pub scale: f32,
    /// The part of what the output held that is added; at 0 it is not read.
    pub kept: f32,
}

impl Default for Epilogue {
    fn default() -> Self {
        Self { before: Activation::Identity, after: Activation::Identity, scale: 1.0, kept: 0.0 }
    }
}

impl Launch {
    /// Adds an activation: an `int` and a `float`.
    pub(super) fn activation(self, activation: Activation) -> Self {
        let (function, slope) = match activation {
            Activation::Identity => (0, 0.0),
            Activation::Relu => (1, 0.0),
            Activation::LeakyRelu(slope) => (2, slope),
            Activation::Gelu => (3, 0.0),
            Activation::Silu => (4, 0.0),
            Activation::Tanh => (5, 0.0),
            Activation::Sigmoid => (6, 0.0),
        };
        self.size(function).f32(slope)
    }
}

/// The operands of a sum besides its factors.
pub(super) struct Ending<'a, M: Machine> {
    /// One for each channel.
    pub bias: Option<&'a Buffer<M, f32>>,
    /// Of the output's shape.
    pub residual: Option<&'a Buffer<M, f32>>,
    pub epilogue: Epilogue,
}

impl<M: Machine> Ending<'_, M> {
    /// Refuses a bias or residual that is too short.
    pub(super) fn check(&self, channels: usize, values: usize) -> Result<()> {
        if let Some(bias) = self.bias {
            expect_at_least("bias", bias.len(), channels)?;
        }
        self.residual.map_or(Ok(()), |residual| expect_at_least("residual", residual.len(), values))
    }

    /// Adds up `parts` of sums, `[parts, total]`, into `y`: value `i` is of channel `i / inner` mod `channels`.
    pub(super) fn sum_parts(
        &self,
        machine: &M,
        scratch: &Buffer<M, f32>,
        parts: usize,
        [total, inner, channels]: [usize; 3],
        y: &mut Buffer<M, f32>,
    ) -> Result<()> {
        Launch::over(&SUM_PARTS, total)
            .input(scratch)
            .size(parts)
            .size(total)
            .size(inner)
            .size(channels)
            .optional(self.bias)
            .optional(self.residual)
            .activation(self.epilogue.after)
            .f32(self.epilogue.scale)
            .f32(self.epilogue.kept)
            .output(y)
            .run(machine)
    }
}

/// The product of `sizes`, refused if a kernel cannot count so far.
pub(super) fn values(name: &str, sizes: &[usize]) -> Result<usize> {
    let product = sizes.iter().try_fold(1_usize, |product, &size| product.checked_mul(size));
    let most = i32::MAX as usize;
    product
        .filter(|&product| product <= most)
        .ok_or_else(|| Error::argument(name, format!("at most {most} values"), format!("{sizes:?}")))
}

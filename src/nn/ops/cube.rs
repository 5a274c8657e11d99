//! [`VoiceOps`] on GPUs: every operation in burn's own, whose kernels `CubeCL` compiles for the device at hand.

use burn::tensor::Tensor;
use burn::tensor::backend::DeviceOps;
use burn_cubecl::{CubeBackend, CubeRuntime};

use super::{Conv1dSpec, Fused, Precision, ResidualBlock, VoiceOps, lean, plain};

/// The precision is the device's: matrices are multiplied with factors of 11 significant bits (TF32) where it has such
/// units, everything else with 32-bit floats.
impl<R: CubeRuntime> VoiceOps for CubeBackend<R, f32, i32, u8>
where
    R::Device: DeviceOps,
{
    type Conv1d = plain::Conv1d<Self>;
    type ConvTranspose1d = plain::ConvTranspose1d<Self>;
    type Conv2d = plain::Conv2d<Self>;
    type ConvTranspose2d = plain::Conv2d<Self>;
    type Linear = plain::Linear<Self>;
    type Gru = lean::Gru<Self>;
    type ResidualStage = Vec<ResidualBlock<Self>>;

    fn prepare_conv1d(
        weight: Tensor<Self, 3>,
        bias: Option<Tensor<Self, 1>>,
        spec: Conv1dSpec,
        _precision: Precision,
    ) -> Self::Conv1d {
        plain::Conv1d { weight, bias, spec }
    }

    fn conv1d(conv: &Self::Conv1d, x: Tensor<Self, 3>, fused: Fused<Self, 3>) -> Tensor<Self, 3> {
        plain::conv1d(conv, x, fused)
    }

    fn prepare_conv_transpose1d(
        weight: Tensor<Self, 3>,
        bias: Option<Tensor<Self, 1>>,
        stride: usize,
        padding: usize,
    ) -> Self::ConvTranspose1d {
        plain::ConvTranspose1d { weight, bias, stride, padding }
    }

    fn conv_transpose1d(conv: &Self::ConvTranspose1d, x: Tensor<Self, 3>, fused: Fused<Self, 3>) -> Tensor<Self, 3> {
        plain::conv_transpose1d(conv, x, fused)
    }

    fn prepare_conv2d(weight: Tensor<Self, 4>, bias: Option<Tensor<Self, 1>>) -> Self::Conv2d {
        plain::Conv2d { weight, bias }
    }

    fn conv2d(conv: &Self::Conv2d, x: Tensor<Self, 4>, fused: Fused<Self, 4>) -> Tensor<Self, 4> {
        plain::conv2d(conv, x, fused)
    }

    fn prepare_conv_transpose2d(weight: Tensor<Self, 4>, bias: Option<Tensor<Self, 1>>) -> Self::ConvTranspose2d {
        plain::Conv2d { weight, bias }
    }

    fn conv_transpose2d(conv: &Self::ConvTranspose2d, x: Tensor<Self, 4>, fused: Fused<Self, 4>) -> Tensor<Self, 4> {
        plain::conv_transpose2d(conv, x, fused)
    }

    fn prepare_linear(weight: Tensor<Self, 2>, bias: Option<Tensor<Self, 1>>, _precision: Precision) -> Self::Linear {
        plain::Linear { weight, bias }
    }

    fn linear(linear: &Self::Linear, x: Tensor<Self, 3>, fused: Fused<Self, 3>) -> Tensor<Self, 3> {
        plain::linear(linear, x, fused)
    }

    fn prepare_gru(
        weight_ih: Tensor<Self, 2>,
        weight_hh: Tensor<Self, 2>,
        bias_ih: Tensor<Self, 1>,
        bias_hh: Tensor<Self, 1>,
    ) -> Self::Gru {
        lean::Gru::new(plain::Gru { weight_ih, weight_hh, bias_ih, bias_hh })
    }

    fn gru(gru: &Self::Gru, x: Tensor<Self, 3>, reverse: bool) -> Tensor<Self, 3> {
        lean::gru(&[(gru, reverse)], &x)
    }

    fn gru_both_ways(forward: &Self::Gru, backward: &Self::Gru, x: Tensor<Self, 3>) -> Tensor<Self, 3> {
        lean::gru(&[(forward, false), (backward, true)], &x)
    }

    fn prepare_residual_stage(blocks: Vec<ResidualBlock<Self>>) -> Self::ResidualStage {
        blocks
    }

    fn residual_stage(stage: &Self::ResidualStage, x: Tensor<Self, 3>) -> Tensor<Self, 3> {
        plain::residual_stage(stage, x)
    }
}

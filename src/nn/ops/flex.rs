//! [`VoiceOps`] on the CPU: glue between burn's tensors and the kernels in [`super::cpu`].

use burn::tensor::{DType, Shape, Tensor, TensorData, TensorPrimitive};
use burn_flex::{Flex, FlexTensor};

use super::cpu::attention::{Attention, Distances, Inputs};
use super::cpu::conv_transpose1d::ConvTranspose1d;
use super::cpu::conv_transpose2d::ConvTranspose2d;
use super::cpu::conv1d::Conv1d;
use super::cpu::conv2d::Conv2d;
use super::cpu::gru::Gru;
use super::cpu::level::Level;
use super::cpu::linear::Linear;
use super::cpu::residual_stage::{self, ResidualStage};
use super::cpu::team;
use super::cpu::{Around, activation};
use super::{Activation, AttentionSpec, Conv1dSpec, Fused, Kernel1d, Precision, Relative, ResidualBlock, VoiceOps};

/// Whether a tensor's values lie in order in one buffer of their own.
fn contiguous<const D: usize>(x: Tensor<Flex, D>) -> FlexTensor {
    let x = x.into_primitive().tensor();
    assert_eq!(x.dtype(), DType::F32, "the kernels work in 32-bit floats");
    x.to_contiguous()
}

/// A tensor around fresh values.
fn tensor<const D: usize>(values: Vec<f32>, dims: [usize; D]) -> Tensor<Flex, D> {
    let data = TensorData::new(values, Shape::from(dims));
    Tensor::from_primitive(TensorPrimitive::Float(FlexTensor::from_data(data)))
}

/// Runs `kernel` on a fresh output of `dims` with `fused` on slices.
fn fused<const D: usize>(
    x: Tensor<Flex, D>,
    fused: Fused<Flex, D>,
    dims: [usize; D],
    kernel: impl FnOnce(&[f32], Around, &mut [f32]),
) -> Tensor<Flex, D> {
    let x = contiguous(x);
    let residual = fused.residual.map(|residual| {
        assert_eq!(residual.dims(), dims, "the residual must be of the output's shape");
        contiguous(residual)
    });
    let residual = residual.as_ref().map(FlexTensor::storage);
    let mut out = vec![0.0; dims.iter().product()];
    kernel(x.storage(), Around { before: fused.before, after: fused.after, residual }, &mut out);
    tensor(out, dims)
}

/// Calls `body` with the values of a weight and its bias.
fn weights<const D: usize, R>(
    weight: Tensor<Flex, D>,
    bias: Option<Tensor<Flex, 1>>,
    body: impl FnOnce(&[f32], [usize; D], Option<&[f32]>) -> R,
) -> R {
    let dims = weight.dims();
    let bias = bias.map(contiguous);
    body(contiguous(weight).storage(), dims, bias.as_ref().map(FlexTensor::storage))
}

fn kernel1d(kernel: Kernel1d<Flex>) -> residual_stage::Kernel1d {
    let dims = kernel.weight.dims();
    let (weight, bias) = (contiguous(kernel.weight), contiguous(kernel.bias));
    residual_stage::Kernel1d::new(Level::best(), weight.storage(), dims, bias.storage(), kernel.dilation)
}

impl VoiceOps for Flex {
    type Conv1d = Conv1d;
    type ConvTranspose1d = ConvTranspose1d;
    type Conv2d = Conv2d;
    type ConvTranspose2d = ConvTranspose2d;
    type Linear = Linear;
    type Gru = Gru;
    type ResidualStage = ResidualStage;

    fn in_pool<R>(work: impl FnOnce() -> R) -> R {
        team::lead(work)
    }

    fn prepare_conv1d(
        weight: Tensor<Self, 3>,
        bias: Option<Tensor<Self, 1>>,
        spec: Conv1dSpec,
        precision: Precision,
    ) -> Self::Conv1d {
        weights(weight, bias, |weight, dims, bias| Conv1d::new(Level::best(), weight, dims, bias, spec, precision))
    }

    fn conv1d(conv: &Self::Conv1d, x: Tensor<Self, 3>, around: Fused<Self, 3>) -> Tensor<Self, 3> {
        let [batch, _, time] = x.dims();
        let dims = [batch, conv.channels(), conv.length(time)];
        fused(x, around, dims, |x, around, out| conv.run(x, batch, time, around, out))
    }

    fn conv1d_with_neighbours(
        conv: &Self::Conv1d,
        x: Tensor<Self, 3>,
        neighbours: usize,
        around: Fused<Self, 3>,
    ) -> Tensor<Self, 3> {
        if neighbours == 1 {
            return <Self as VoiceOps>::conv1d(conv, x, around);
        }
        let [batch, channels, time] = x.dims();
        let dims = [batch, conv.channels(), conv.length(time)];
        fused(x, around, dims, |x, around, out| {
            // Entries with their neighbours overlap; only what lies beyond the ends must be made.
            let beyond = neighbours / 2 * channels * time;
            let mut padded = Vec::with_capacity(x.len() + 2 * beyond);
            padded.resize(beyond, 0.0);
            padded.extend_from_slice(x);
            padded.resize(x.len() + 2 * beyond, 0.0);
            conv.run_apart(&padded, batch, channels, time, around, out);
        })
    }

    fn prepare_conv_transpose1d(
        weight: Tensor<Self, 3>,
        bias: Option<Tensor<Self, 1>>,
        stride: usize,
        padding: usize,
    ) -> Self::ConvTranspose1d {
        weights(weight, bias, |weight, dims, bias| {
            ConvTranspose1d::new(Level::best(), weight, dims, bias, stride, padding)
        })
    }

    fn conv_transpose1d(conv: &Self::ConvTranspose1d, x: Tensor<Self, 3>, around: Fused<Self, 3>) -> Tensor<Self, 3> {
        let [batch, _, time] = x.dims();
        let dims = [batch, conv.channels(), conv.length(time)];
        fused(x, around, dims, |x, around, out| conv.run(x, batch, time, around, out))
    }

    fn prepare_conv2d(weight: Tensor<Self, 4>, bias: Option<Tensor<Self, 1>>) -> Self::Conv2d {
        weights(weight, bias, |weight, dims, bias| Conv2d::new(Level::best(), weight, dims, bias))
    }

    fn conv2d(conv: &Self::Conv2d, x: Tensor<Self, 4>, around: Fused<Self, 4>) -> Tensor<Self, 4> {
        let [batch, _, height, width] = x.dims();
        let dims = [batch, conv.channels(), height, width];
        fused(x, around, dims, |x, around, out| conv.run(x, batch, [height, width], around, out))
    }

    fn prepare_conv_transpose2d(weight: Tensor<Self, 4>, bias: Option<Tensor<Self, 1>>) -> Self::ConvTranspose2d {
        weights(weight, bias, |weight, dims, bias| ConvTranspose2d::new(Level::best(), weight, dims, bias))
    }

    fn conv_transpose2d(conv: &Self::ConvTranspose2d, x: Tensor<Self, 4>, around: Fused<Self, 4>) -> Tensor<Self, 4> {
        let [batch, _, height, width] = x.dims();
        let dims = [batch, conv.channels(), 2 * height, 2 * width];
        fused(x, around, dims, |x, around, out| conv.run(x, batch, [height, width], around, out))
    }

    fn prepare_linear(weight: Tensor<Self, 2>, bias: Option<Tensor<Self, 1>>, precision: Precision) -> Self::Linear {
        weights(weight, bias, |weight, dims, bias| Linear::new(Level::best(), weight, dims, bias, precision))
    }

    fn linear(linear: &Self::Linear, x: Tensor<Self, 3>, around: Fused<Self, 3>) -> Tensor<Self, 3> {
        let [batch, rows, _] = x.dims();
        let dims = [batch, rows, linear.outputs()];
        fused(x, around, dims, |x, around, out| linear.run(x, batch * rows, around, out))
    }

    fn prepare_gru(
        weight_ih: Tensor<Self, 2>,
        weight_hh: Tensor<Self, 2>,
        bias_ih: Tensor<Self, 1>,
        bias_hh: Tensor<Self, 1>,
    ) -> Self::Gru {
        let dims = weight_ih.dims();
        let [weight_ih, weight_hh] = [weight_ih, weight_hh].map(contiguous);
        let [bias_ih, bias_hh] = [bias_ih, bias_hh].map(contiguous);
        let [weight_hh, bias_ih, bias_hh] = [&weight_hh, &bias_ih, &bias_hh].map(FlexTensor::storage);
        Gru::new(Level::best(), weight_ih.storage(), dims, weight_hh, bias_ih, bias_hh)
    }

    fn gru(gru: &Self::Gru, x: Tensor<Self, 3>, reverse: bool) -> Tensor<Self, 3> {
        let [batch, time, _] = x.dims();
        assert_eq!(batch, 1, "one sequence at a time");
        fused(x, Fused::default(), [1, time, gru.hidden()], |x, _, out| gru.run(x, time, reverse, out))
    }

    fn prepare_residual_stage(blocks: Vec<ResidualBlock<Self>>) -> Self::ResidualStage {
        let unit = |unit: super::ResidualUnit<Self>| residual_stage::Unit {
            first: kernel1d(unit.first),
            second: unit.second.map(kernel1d),
        };
        let blocks = blocks.into_iter().map(|block| block.units.into_iter().map(unit).collect());
        ResidualStage::new(Level::best(), blocks.collect())
    }

    fn residual_stage(stage: &Self::ResidualStage, x: Tensor<Self, 3>) -> Tensor<Self, 3> {
        let dims = x.dims();
        fused(x, Fused::default(), dims, |x, _, out| stage.run(x, dims, out))
    }

    fn gate(x: Tensor<Self, 3>) -> Tensor<Self, 3> {
        let [batch, channels, time] = x.dims();
        let half = channels / 2 * time;
        fused(x, Fused::default(), [batch, channels / 2, time], |x, _, out| {
            for (x, out) in x.chunks_exact((channels * time).max(1)).zip(out.chunks_exact_mut(half.max(1))) {
                activation::gate(Level::best(), &x[..half], &x[half..2 * half], out);
            }
        })
    }

    fn attention(
        query: Tensor<Self, 3>,
        key: Tensor<Self, 3>,
        value: Tensor<Self, 3>,
        relative: Option<&Relative<Self>>,
        spec: AttentionSpec,
    ) -> Tensor<Self, 3> {
        let dims @ [_, queries, width] = query.dims();
        let [_, keys, _] = key.dims();
        assert_eq!(key.dims(), [dims[0], keys, width], "keys must be as many and as wide as the queries");
        assert_eq!(key.dims(), value.dims(), "there must be a value for each key");
        let attention = Attention { level: Level::best(), spec, size: width / spec.heads, queries, keys };
        let (key, value) = (contiguous(key), contiguous(value));
        let relative =
            relative.map(|relative| (contiguous(relative.keys.clone()), contiguous(relative.values.clone())));
        let relative =
            relative.as_ref().map(|(keys, values)| Distances { keys: keys.storage(), values: values.storage() });
        fused(query, Fused::default(), dims, |query, _, out| {
            let (key, value): (&[f32], &[f32]) = (key.storage(), value.storage());
            let rows = (keys * width).max(1);
            let entries = query.chunks_exact(queries * width).zip(key.chunks_exact(rows).zip(value.chunks_exact(rows)));
            for ((query, (key, value)), out) in entries.zip(out.chunks_exact_mut(queries * width)) {
                attention.run(Inputs { query, key, value, relative }, out);
            }
        })
    }

    fn layer_norm(
        x: Tensor<Self, 3>,
        gamma: &Tensor<Self, 1>,
        beta: &Tensor<Self, 1>,
        epsilon: f32,
    ) -> Tensor<Self, 3> {
        let dims = x.dims();
        let (gamma, beta) = (contiguous(gamma.clone()), contiguous(beta.clone()));
        fused(x, Fused::default(), dims, |x, _, out| {
            activation::layer_norm(Level::best(), x, gamma.storage(), beta.storage(), epsilon, out);
        })
    }

    fn activate<const D: usize>(x: Tensor<Self, D>, function: Activation) -> Tensor<Self, D> {
        let dims = x.dims();
        fused(x, Fused::default(), dims, |x, _, out| activation::copy(Level::best(), x, out, function))
    }
}

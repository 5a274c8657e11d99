//! Every operation of [`VoiceOps`](super::VoiceOps) in plain burn: the slow twin, right on any backend.

use burn::tensor::backend::Backend;
use burn::tensor::module;
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions, PadMode};
use burn::tensor::{Bool, Tensor, TensorData, activation};

use super::{Activation, AttentionSpec, Conv1dSpec, Fused, Kernel1d, ResidualBlock};

/// Slope of the leaky rectifiers inside residual blocks.
const RESIDUAL_SLOPE: f32 = 0.1;

/// Weights and geometry of a convolution, as given.
#[derive(Clone, Debug)]
pub struct Conv1d<B: Backend> {
    pub(super) weight: Tensor<B, 3>,
    pub(super) bias: Option<Tensor<B, 1>>,
    pub(super) spec: Conv1dSpec,
}

/// Weights and geometry of a transposed convolution, as given.
#[derive(Clone, Debug)]
pub struct ConvTranspose1d<B: Backend> {
    pub(super) weight: Tensor<B, 3>,
    pub(super) bias: Option<Tensor<B, 1>>,
    pub(super) stride: usize,
    pub(super) padding: usize,
}

/// Weights of a two-dimensional convolution or transposed convolution, as given.
#[derive(Clone, Debug)]
pub struct Conv2d<B: Backend> {
    pub(super) weight: Tensor<B, 4>,
    pub(super) bias: Option<Tensor<B, 1>>,
}

/// Weights of a linear map, as given.
#[derive(Clone, Debug)]
pub struct Linear<B: Backend> {
    pub(super) weight: Tensor<B, 2>,
    pub(super) bias: Option<Tensor<B, 1>>,
}

/// Weights of one direction of a gated recurrent unit, as given.
#[derive(Clone, Debug)]
pub struct Gru<B: Backend> {
    pub(super) weight_ih: Tensor<B, 2>,
    pub(super) weight_hh: Tensor<B, 2>,
    pub(super) bias_ih: Tensor<B, 1>,
    pub(super) bias_hh: Tensor<B, 1>,
}

/// Applies an elementwise function.
pub fn activate<B: Backend, const D: usize>(x: Tensor<B, D>, function: Activation) -> Tensor<B, D> {
    match function {
        Activation::Identity => x,
        Activation::Relu => activation::relu(x),
        Activation::LeakyRelu(slope) => activation::leaky_relu(x, f64::from(slope)),
        Activation::Gelu => activation::gelu(x),
        Activation::Silu => activation::silu(x),
        Activation::Tanh => activation::tanh(x),
        Activation::Sigmoid => activation::sigmoid(x),
    }
}

fn finish<B: Backend, const D: usize>(
    y: Tensor<B, D>,
    after: Activation,
    residual: Option<Tensor<B, D>>,
) -> Tensor<B, D> {
    let y = activate(y, after);
    match residual {
        Some(residual) => y + residual,
        None => y,
    }
}

/// See [`VoiceOps::conv1d`](super::VoiceOps::conv1d).
pub fn conv1d<B: Backend>(conv: &Conv1d<B>, x: Tensor<B, 3>, fused: Fused<B, 3>) -> Tensor<B, 3> {
    let Conv1dSpec { stride, padding: [left, right], dilation, groups } = conv.spec;
    let mut x = activate(x, fused.before);
    let padding = if left == right {
        left
    } else {
        x = x.pad((left, right, 0, 0), PadMode::Constant(0.0));
        0
    };
    let options = ConvOptions::new([stride], [padding], [dilation], groups);
    finish(module::conv1d(x, conv.weight.clone(), conv.bias.clone(), options), fused.after, fused.residual)
}

/// See [`VoiceOps::conv_transpose1d`](super::VoiceOps::conv_transpose1d).
pub fn conv_transpose1d<B: Backend>(conv: &ConvTranspose1d<B>, x: Tensor<B, 3>, fused: Fused<B, 3>) -> Tensor<B, 3> {
    let x = activate(x, fused.before);
    let options = ConvTransposeOptions::new([conv.stride], [conv.padding], [0], [1], 1);
    finish(module::conv_transpose1d(x, conv.weight.clone(), conv.bias.clone(), options), fused.after, fused.residual)
}

/// See [`VoiceOps::conv2d`](super::VoiceOps::conv2d).
pub fn conv2d<B: Backend>(conv: &Conv2d<B>, x: Tensor<B, 4>, fused: Fused<B, 4>) -> Tensor<B, 4> {
    let x = activate(x, fused.before);
    let [_, _, height, width] = conv.weight.dims();
    let options = ConvOptions::new([1, 1], [height / 2, width / 2], [1, 1], 1);
    finish(module::conv2d(x, conv.weight.clone(), conv.bias.clone(), options), fused.after, fused.residual)
}

/// See [`VoiceOps::conv_transpose2d`](super::VoiceOps::conv_transpose2d).
pub fn conv_transpose2d<B: Backend>(conv: &Conv2d<B>, x: Tensor<B, 4>, fused: Fused<B, 4>) -> Tensor<B, 4> {
    let x = activate(x, fused.before);
    let options = ConvTransposeOptions::new([2, 2], [1, 1], [1, 1], [1, 1], 1);
    finish(module::conv_transpose2d(x, conv.weight.clone(), conv.bias.clone(), options), fused.after, fused.residual)
}

/// See [`VoiceOps::linear`](super::VoiceOps::linear).
pub fn linear<B: Backend>(linear: &Linear<B>, x: Tensor<B, 3>, fused: Fused<B, 3>) -> Tensor<B, 3> {
    let mut y = activate(x, fused.before).matmul(linear.weight.clone().transpose().unsqueeze());
    if let Some(bias) = &linear.bias {
        y = y + bias.clone().unsqueeze();
    }
    finish(y, fused.after, fused.residual)
}

/// See [`VoiceOps::gru`](super::VoiceOps::gru).
pub fn gru<B: Backend>(gru: &Gru<B>, x: Tensor<B, 3>, reverse: bool) -> Tensor<B, 3> {
    let [_, time, _] = x.dims();
    let hidden = gru.weight_hh.dims()[1];
    let inputs = x.matmul(gru.weight_ih.clone().transpose().unsqueeze()) + gru.bias_ih.clone().unsqueeze();
    let recurrent = gru.weight_hh.clone().transpose().unsqueeze::<3>();
    let bias = gru.bias_hh.clone().unsqueeze::<3>();
    let mut state = Tensor::<B, 3>::zeros([1, 1, hidden], &inputs.device());
    let mut states = vec![state.clone(); time];
    for step in 0..time {
        let at = if reverse { time - 1 - step } else { step };
        let from_input = inputs.clone().narrow(1, at, 1);
        let from_state = state.clone().matmul(recurrent.clone()) + bias.clone();
        let part = |t: &Tensor<B, 3>, gate: usize| t.clone().narrow(2, gate * hidden, hidden);
        let reset = activation::sigmoid(part(&from_input, 0) + part(&from_state, 0));
        let update = activation::sigmoid(part(&from_input, 1) + part(&from_state, 1));
        let candidate = activation::tanh(part(&from_input, 2) + reset * part(&from_state, 2));
        state = candidate.clone() + update * (state - candidate);
        states[at] = state.clone();
    }
    Tensor::cat(states, 1)
}

/// See [`VoiceOps::residual_stage`](super::VoiceOps::residual_stage).
#[allow(clippy::needless_pass_by_value, reason = "the trait's signature")]
pub fn residual_stage<B: Backend>(blocks: &[ResidualBlock<B>], x: Tensor<B, 3>) -> Tensor<B, 3> {
    let convolve = |kernel: &Kernel1d<B>, x: Tensor<B, 3>| {
        let spec = Conv1dSpec::same(kernel.weight.dims()[2], kernel.dilation);
        let conv = Conv1d { weight: kernel.weight.clone(), bias: Some(kernel.bias.clone()), spec };
        conv1d(&conv, x, Fused::before(Activation::LeakyRelu(RESIDUAL_SLOPE)))
    };
    let outputs = blocks.iter().map(|block| {
        block.units.iter().fold(x.clone(), |x, unit| {
            let mut step = convolve(&unit.first, x.clone());
            if let Some(second) = &unit.second {
                step = convolve(second, step);
            }
            x + step
        })
    });
    let sum = outputs.reduce(|sum, output| sum + output).unwrap_or_else(|| x.clone());
    sum / blocks.len().max(1) as f32
}

/// See [`VoiceOps::gate`](super::VoiceOps::gate).
pub fn gate<B: Backend>(x: Tensor<B, 3>) -> Tensor<B, 3> {
    let half = x.dims()[1] / 2;
    activation::tanh(x.clone().narrow(1, 0, half)) * activation::sigmoid(x.narrow(1, half, half))
}

/// See [`VoiceOps::attention`](super::VoiceOps::attention).
pub fn attention<B: Backend>(
    query: Tensor<B, 3>,
    key: Tensor<B, 3>,
    value: Tensor<B, 3>,
    spec: AttentionSpec,
) -> Tensor<B, 3> {
    let AttentionSpec { heads, scale, .. } = spec;
    let (dims, keys, device) = (query.dims(), key.dims()[1], query.device());
    let split = |x: Tensor<B, 3>| {
        let [batch, rows, width] = x.dims();
        x.reshape([batch, rows, heads, width / heads]).swap_dims(1, 2)
    };
    let mut scores = (split(query) * scale).matmul(split(key).swap_dims(2, 3));
    if spec.span.is_some() {
        let hidden = |row: usize| {
            let in_sight = spec.in_sight(row..row + 1, keys);
            (0..keys).map(move |key| !in_sight.contains(&key))
        };
        let hidden = TensorData::new((0..dims[1]).flat_map(hidden).collect(), [1, 1, dims[1], keys]);
        let hidden = Tensor::<B, 4, Bool>::from_data(hidden, &device).expand(scores.dims());
        scores = scores.mask_fill(hidden, f32::NEG_INFINITY);
    }
    softmax(scores).matmul(split(value)).swap_dims(1, 2).reshape(dims)
}

/// See [`VoiceOps::softmax`](super::VoiceOps::softmax).
pub fn softmax<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    activation::softmax(x, D - 1)
}

/// See [`VoiceOps::layer_norm`](super::VoiceOps::layer_norm).
pub fn layer_norm<B: Backend>(
    x: Tensor<B, 3>,
    gamma: &Tensor<B, 1>,
    beta: &Tensor<B, 1>,
    epsilon: f32,
) -> Tensor<B, 3> {
    let centred = x.clone() - x.mean_dim(2);
    let variance = centred.clone().powi_scalar(2).mean_dim(2);
    centred / (variance + epsilon).sqrt() * gamma.clone().unsqueeze() + beta.clone().unsqueeze()
}

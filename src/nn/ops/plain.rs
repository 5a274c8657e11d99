//! Every operation of [`VoiceOps`](super::VoiceOps) in plain burn: the slow twin, right on any backend.

use burn::tensor::backend::Backend;
use burn::tensor::module;
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions, PadMode};
use burn::tensor::{Bool, Tensor, TensorData, activation};

use super::{Activation, AttentionSpec, Conv1dSpec, Fused, Kernel1d, Relative, ResidualBlock};

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

/// Each entry of `x` `[batch, channels, time]` between those around it, `[batch, around * channels, time]`; zeros where there
/// are none.
#[must_use]
pub fn with_neighbours<B: Backend>(x: Tensor<B, 3>, around: usize) -> Tensor<B, 3> {
    if around == 1 {
        return x;
    }
    let [batch, channels, time] = x.dims();
    let beyond = Tensor::zeros([around / 2, channels, time], &x.device());
    let padded = Tensor::cat(vec![beyond.clone(), x, beyond], 0);
    Tensor::cat((0..around).map(|first| padded.clone().narrow(0, first, batch)).collect(), 1)
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
    relative: Option<&Relative<B>>,
    spec: AttentionSpec,
) -> Tensor<B, 3> {
    /// Queries handled at once: bounds the memory of long inputs.
    const BLOCK: usize = 256;
    let AttentionSpec { heads, scale, .. } = spec;
    let dims @ [_, queries, _] = query.dims();
    let split = |x: Tensor<B, 3>| {
        let [batch, rows, width] = x.dims();
        x.reshape([batch, rows, heads, width / heads]).swap_dims(1, 2)
    };
    let (query, key, value) = (split(query) * scale, split(key).swap_dims(2, 3), split(value));
    let blocks = (0..queries).step_by(BLOCK).map(|first| {
        let query = query.clone().narrow(2, first, BLOCK.min(queries - first));
        attend(query, key.clone(), value.clone(), relative, spec, first)
    });
    Tensor::cat(blocks.collect(), 2).swap_dims(1, 2).reshape(dims)
}

/// Scaled queries `[batch, heads, rows, size]`, the first of them `first`, over all keys `[batch, heads, size, keys]`.
fn attend<B: Backend>(
    query: Tensor<B, 4>,
    key: Tensor<B, 4>,
    value: Tensor<B, 4>,
    relative: Option<&Relative<B>>,
    spec: AttentionSpec,
    first: usize,
) -> Tensor<B, 4> {
    let [batch, heads, rows, _] = query.dims();
    let keys = key.dims()[3];
    let mut scores = query.clone().matmul(key);
    if spec.span.is_some() {
        let hidden = |row: usize| {
            let in_sight = spec.in_sight(row..row + 1, keys);
            (0..keys).map(move |key| !in_sight.contains(&key))
        };
        let hidden = TensorData::new((first..first + rows).flat_map(hidden).collect(), [1, 1, rows, keys]);
        let hidden = Tensor::<B, 4, Bool>::from_data(hidden, &scores.device()).expand(scores.dims());
        scores = scores.mask_fill(hidden, f32::NEG_INFINITY);
    }
    let Some(relative) = relative else { return activation::softmax(scores, 3).matmul(value) };
    let distances = relative.keys.dims()[0];
    let reach = distances / 2;
    // The keys within reach of any of the rows, and where they lie in the rows' band.
    let (start, end) = (first.saturating_sub(reach), (first + rows + reach).min(keys));
    let in_band = start + reach - first;
    let band = skew(query.matmul(relative.keys.clone().transpose().unsqueeze())).narrow(3, in_band, end - start);
    let whole = [0..batch, 0..heads, 0..rows, start..end];
    let nearby = scores.clone().narrow(3, start, end - start) + band;
    let weights = activation::softmax(scores.slice_assign(whole, nearby), 3);

    let nearby = weights.clone().narrow(3, start, end - start);
    let band = Tensor::zeros([batch, heads, rows, rows + distances - 1], &nearby.device())
        .slice_assign([0..batch, 0..heads, 0..rows, in_band..in_band + end - start], nearby);
    weights.matmul(value) + unskew(band, distances).matmul(relative.values.clone().unsqueeze())
}

/// `[.., rows, distances]` to a band `[.., rows, rows + distances - 1]` with `band[i][i + d] = x[i][d]`, 0 elsewhere.
///
/// Rows padded to one more than the band's width and read at the band's width each begin one column later.
fn skew<B: Backend>(x: Tensor<B, 4>) -> Tensor<B, 4> {
    let [batch, heads, rows, distances] = x.dims();
    let padding = Tensor::zeros([batch, heads, rows, rows], &x.device());
    let flat = Tensor::cat(vec![x, padding], 3).reshape([batch, heads, rows * (rows + distances)]);
    let width = rows + distances - 1;
    flat.narrow(2, 0, rows * width).reshape([batch, heads, rows, width])
}

/// The inverse of [`skew`]: `x[i][d] = band[i][i + d]`.
fn unskew<B: Backend>(band: Tensor<B, 4>, distances: usize) -> Tensor<B, 4> {
    let [batch, heads, rows, width] = band.dims();
    let padding = Tensor::zeros([batch, heads, rows], &band.device());
    let flat = Tensor::cat(vec![band.reshape([batch, heads, rows * width]), padding], 2);
    flat.reshape([batch, heads, rows, width + 1]).narrow(3, 0, distances)
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

//! The backend extension: the hot operations of the voice networks, with weights prepared once.
//!
//! [`VoiceOps`] is implemented by [`plain`] burn, by the kernels of the CPU and by those of CUDA.
//! Tests compare them on random shapes, so a fast kernel always has its slow twin.

mod computation;
#[allow(unsafe_code, reason = "vector instructions, and tasks that share an output")]
mod cpu;
#[cfg(any(feature = "cuda", feature = "vulkan-tests"))]
mod cube;
mod flex;
#[cfg(any(feature = "cuda", feature = "vulkan-tests", test))]
mod lean;
pub mod plain;
#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::ops::Range;

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

pub use computation::{Computation, Fed, FedTensor, NetworkId};

use crate::error::Result;

/// The instructions that the CPU's kernels use on this machine: `avx512`, `avx2+fma` or `portable`.
#[must_use]
pub fn instructions() -> &'static str {
    cpu::level::Level::best().name()
}

/// An elementwise function applied while a kernel reads or writes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Activation {
    /// The value itself.
    #[default]
    Identity,
    /// `max(x, 0)`.
    Relu,
    /// `x` if positive, else `slope * x`.
    LeakyRelu(f32),
    /// Exact Gaussian error linear unit, `x * (1 + erf(x / sqrt 2)) / 2`.
    Gelu,
    /// `x * sigmoid(x)`.
    Silu,
    /// Hyperbolic tangent.
    Tanh,
    /// Logistic function.
    Sigmoid,
}

/// What a kernel does besides its sum: `y = after(kernel(before(x)) + bias) + residual`.
#[derive(Clone, Debug)]
pub struct Fused<B: Backend, const D: usize> {
    /// Applied to each input value.
    pub before: Activation,
    /// Applied to each sum with its bias.
    pub after: Activation,
    /// Added last; of the output's shape.
    pub residual: Option<Tensor<B, D>>,
}

impl<B: Backend, const D: usize> Default for Fused<B, D> {
    fn default() -> Self {
        Self { before: Activation::Identity, after: Activation::Identity, residual: None }
    }
}

impl<B: Backend, const D: usize> Fused<B, D> {
    /// `kernel(before(x))`.
    #[must_use]
    pub fn before(before: Activation) -> Self {
        Self { before, ..Self::default() }
    }

    /// `after(kernel(x))`.
    #[must_use]
    pub fn after(after: Activation) -> Self {
        Self { after, ..Self::default() }
    }

    /// The same, with `residual` added last.
    #[must_use]
    pub fn plus(self, residual: Tensor<B, D>) -> Self {
        Self { residual: Some(residual), ..self }
    }
}

/// Geometry of a one-dimensional convolution (cross-correlation, zero padding).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv1dSpec {
    /// Input samples per output sample.
    pub stride: usize,
    /// Zeros before and after the input, in samples.
    pub padding: [usize; 2],
    /// Input samples between two taps.
    pub dilation: usize,
    /// Independent groups of channels.
    pub groups: usize,
}

impl Default for Conv1dSpec {
    fn default() -> Self {
        Self { stride: 1, padding: [0, 0], dilation: 1, groups: 1 }
    }
}

impl Conv1dSpec {
    /// Stride 1 with the padding that keeps the length, for an odd `kernel` of taps.
    #[must_use]
    pub fn same(kernel: usize, dilation: usize) -> Self {
        let side = dilation * (kernel - 1) / 2;
        Self { padding: [side, side], dilation, ..Self::default() }
    }
}

/// How exact the products of a kernel are; sums are always of 32-bit floats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Factors of 32 bits.
    #[default]
    Full,
    /// Factors rounded where the backend is faster at that, else full: on CPUs to bfloat16, of 8 significant bits; the kernels
    /// of `cuda` round to TF32, of 11.
    Reduced,
}

/// How rows attend to rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionSpec {
    /// Independent parts of the features.
    pub heads: usize,
    /// Multiplies the scores.
    pub scale: f32,
    /// Rows before and after its own that a row looks at; there are as many keys as queries then. All rows, if none.
    pub span: Option<[usize; 2]>,
}

impl AttentionSpec {
    /// The keys in sight of a run of queries, of `keys`.
    fn in_sight(self, queries: Range<usize>, keys: usize) -> Range<usize> {
        match self.span {
            Some([before, after]) => queries.start.saturating_sub(before)..queries.end.saturating_add(after).min(keys),
            None => 0..keys,
        }
    }
}

/// What rows know of their distance to others besides what is in them, shared by the heads; further away they know nothing.
///
/// Shaw et al., "Self-attention with relative position representations" (2018).
#[derive(Clone, Debug)]
pub struct Relative<B: Backend> {
    /// Added to the key that is `d` rows away: row `reach + d` of `[2 reach + 1, size]`, `d` in `-reach..=reach`.
    pub keys: Tensor<B, 2>,
    /// Added to its value, of the same shape.
    pub values: Tensor<B, 2>,
}

/// The hot operations of the voice networks.
///
/// Weights are prepared once, at load, into whatever layout the backend reads fastest.
/// Tensors are `[batch, channels, time]`, `[batch, channels, height, width]` or `[batch, rows, features]`.
pub trait VoiceOps: Backend {
    /// Runs `work`, which runs networks, with the threads awake to help that kernels share work among, unless as many others
    /// run already: then it runs on this thread alone. Without this, each of the hundreds of operations of a network would
    /// wake them and be waited for. Where no threads compute, it is only run.
    fn in_pool<R>(work: impl FnOnce() -> R) -> R {
        work()
    }

    /// Does two things that run networks, at once where that is faster: where it is the latency of a device that counts, and
    /// not what it can do.
    fn side_by_side<A: Send, C: Send>(first: impl FnOnce() -> A + Send, second: impl FnOnce() -> C + Send) -> (A, C) {
        (first(), second())
    }

    /// Feeds a network with `values` on `device` and gives the values of what `forward` makes of them. A backend to which telling
    /// a network takes long may do again what it was told of a [`Computation`] before, and leave `forward` out, with all else that
    /// does: whom it tells of progress hears nothing. It does so only where `forward` brought no values of its own but weights.
    ///
    /// # Errors
    /// What `forward` says, if it is asked, and failures of the device.
    fn compute<const D: usize>(
        _computation: Computation,
        values: Vec<TensorData>,
        device: &Self::Device,
        forward: impl FnOnce(Fed<Self>) -> Result<Tensor<Self, D>>,
    ) -> Result<Vec<f32>> {
        Ok(super::values(forward(Fed::with(values, device))?))
    }

    /// The same device for networks that run while others run on `device`: what takes turns there does not wait for these.
    fn beside(device: &Self::Device) -> Self::Device {
        device.clone()
    }

    /// The same device for networks whose products may all be [`Precision::Reduced`], if it is one where that is so close to
    /// full that no network minds.
    fn reduced(device: &Self::Device) -> Self::Device {
        device.clone()
    }

    /// The same device for a network whose products are never reduced, whatever the others' are.
    fn full(device: &Self::Device) -> Self::Device {
        device.clone()
    }

    /// Prepared weights of [`conv1d`](Self::conv1d).
    type Conv1d: Clone + Debug + Send + Sync + 'static;
    /// Prepared weights of [`conv_transpose1d`](Self::conv_transpose1d).
    type ConvTranspose1d: Clone + Debug + Send + Sync + 'static;
    /// Prepared weights of [`conv2d`](Self::conv2d).
    type Conv2d: Clone + Debug + Send + Sync + 'static;
    /// Prepared weights of [`conv_transpose2d`](Self::conv_transpose2d).
    type ConvTranspose2d: Clone + Debug + Send + Sync + 'static;
    /// Prepared weights of [`linear`](Self::linear).
    type Linear: Clone + Debug + Send + Sync + 'static;
    /// Prepared weights of [`gru`](Self::gru).
    type Gru: Clone + Debug + Send + Sync + 'static;
    /// Prepared weights of [`residual_stage`](Self::residual_stage).
    type ResidualStage: Clone + Debug + Send + Sync + 'static;

    /// Prepares `weight` `[out, in / groups, taps]` and `bias` `[out]`.
    fn prepare_conv1d(
        weight: Tensor<Self, 3>,
        bias: Option<Tensor<Self, 1>>,
        spec: Conv1dSpec,
        precision: Precision,
    ) -> Self::Conv1d;

    /// Convolves `x` `[batch, in, time]` to `[batch, out, (time + padding - dilation (taps - 1) - 1) / stride + 1]`.
    fn conv1d(conv: &Self::Conv1d, x: Tensor<Self, 3>, fused: Fused<Self, 3>) -> Tensor<Self, 3>;

    /// Convolves each entry of `x` `[batch, in, time]` together with those before and after it, `neighbours` in all (an odd
    /// number), whose channels follow one another: `conv` has `neighbours * in` of them. Beyond the ends of the batch are zeros.
    fn conv1d_with_neighbours(
        conv: &Self::Conv1d,
        x: Tensor<Self, 3>,
        neighbours: usize,
        fused: Fused<Self, 3>,
    ) -> Tensor<Self, 3> {
        <Self as VoiceOps>::conv1d(conv, plain::with_neighbours(x, neighbours), fused)
    }

    /// Prepares `weight` `[in, out, taps]` and `bias` `[out]` for upsampling by `stride`; `padding` is cut off both ends.
    fn prepare_conv_transpose1d(
        weight: Tensor<Self, 3>,
        bias: Option<Tensor<Self, 1>>,
        stride: usize,
        padding: usize,
    ) -> Self::ConvTranspose1d;

    /// Upsamples `x` `[batch, in, time]` to `[batch, out, (time - 1) stride + taps - 2 padding]`.
    fn conv_transpose1d(conv: &Self::ConvTranspose1d, x: Tensor<Self, 3>, fused: Fused<Self, 3>) -> Tensor<Self, 3>;

    /// Prepares `weight` `[out, in, k, k]` (`k` odd) and `bias` `[out]`; stride 1, output the size of the input.
    fn prepare_conv2d(weight: Tensor<Self, 4>, bias: Option<Tensor<Self, 1>>) -> Self::Conv2d;

    /// Convolves `x` `[batch, in, height, width]` to `[batch, out, height, width]`.
    fn conv2d(conv: &Self::Conv2d, x: Tensor<Self, 4>, fused: Fused<Self, 4>) -> Tensor<Self, 4>;

    /// Prepares `weight` `[in, out, 3, 3]` and `bias` `[out]` for stride 2, padding 1, output padding 1.
    fn prepare_conv_transpose2d(weight: Tensor<Self, 4>, bias: Option<Tensor<Self, 1>>) -> Self::ConvTranspose2d;

    /// Doubles `x` `[batch, in, height, width]` to `[batch, out, 2 height, 2 width]`.
    fn conv_transpose2d(conv: &Self::ConvTranspose2d, x: Tensor<Self, 4>, fused: Fused<Self, 4>) -> Tensor<Self, 4>;

    /// Prepares `weight` `[out, in]` and `bias` `[out]`.
    fn prepare_linear(weight: Tensor<Self, 2>, bias: Option<Tensor<Self, 1>>, precision: Precision) -> Self::Linear;

    /// Maps each row of `x` `[batch, rows, in]` to `[batch, rows, out]`.
    fn linear(linear: &Self::Linear, x: Tensor<Self, 3>, fused: Fused<Self, 3>) -> Tensor<Self, 3>;

    /// Prepares one direction of a gated recurrent unit in torch's layout (gates `r, z, n`):
    /// `weight_ih` `[3 hidden, in]`, `weight_hh` `[3 hidden, hidden]`, both biases `[3 hidden]`.
    fn prepare_gru(
        weight_ih: Tensor<Self, 2>,
        weight_hh: Tensor<Self, 2>,
        bias_ih: Tensor<Self, 1>,
        bias_hh: Tensor<Self, 1>,
    ) -> Self::Gru;

    /// Runs over `x` `[1, time, in]` from a zero state, backwards in time if `reverse`, to `[1, time, hidden]`.
    fn gru(gru: &Self::Gru, x: Tensor<Self, 3>, reverse: bool) -> Tensor<Self, 3>;

    /// Runs `forward` over `x` `[1, time, in]` and `backward` backwards in time, to `[1, time, 2 hidden]`.
    fn gru_both_ways(forward: &Self::Gru, backward: &Self::Gru, x: Tensor<Self, 3>) -> Tensor<Self, 3> {
        Tensor::cat(vec![Self::gru(forward, x.clone(), false), Self::gru(backward, x, true)], 2)
    }

    /// Prepares the residual blocks that one generator stage averages over.
    fn prepare_residual_stage(blocks: Vec<ResidualBlock<Self>>) -> Self::ResidualStage;

    /// The mean over the blocks of `x` `[batch, channels, time]` put through each (HiFi-GAN's multi-receptive-field
    /// fusion): for every unit, `x += second(lrelu(first(lrelu(x))))`, slope 0.1, or `x += first(lrelu(x))`.
    fn residual_stage(stage: &Self::ResidualStage, x: Tensor<Self, 3>) -> Tensor<Self, 3>;

    /// `tanh(a) * sigmoid(b)` with `a` the first half of `x`'s channels and `b` the second: `WaveNet`'s gate.
    #[must_use]
    fn gate(x: Tensor<Self, 3>) -> Tensor<Self, 3> {
        plain::gate(x)
    }

    /// For each head, `softmax(scale * query key^T) value` over the keys in sight; `query` is
    /// `[batch, queries, heads * size]`, `key` and `value` `[batch, keys, heads * size]`, the result of `query`'s shape. With
    /// `relative`, there are as many keys as queries, and keys and values are sums with those of the distance.
    #[must_use]
    fn attention(
        query: Tensor<Self, 3>,
        key: Tensor<Self, 3>,
        value: Tensor<Self, 3>,
        relative: Option<&Relative<Self>>,
        spec: AttentionSpec,
    ) -> Tensor<Self, 3> {
        plain::attention(query, key, value, relative, spec)
    }

    /// Normalises each row of the last dimension to mean 0 and variance 1, then scales and shifts it.
    #[must_use]
    fn layer_norm(
        x: Tensor<Self, 3>,
        gamma: &Tensor<Self, 1>,
        beta: &Tensor<Self, 1>,
        epsilon: f32,
    ) -> Tensor<Self, 3> {
        plain::layer_norm(x, gamma, beta, epsilon)
    }

    /// Applies an elementwise function.
    #[must_use]
    fn activate<const D: usize>(x: Tensor<Self, D>, activation: Activation) -> Tensor<Self, D> {
        plain::activate(x, activation)
    }
}

/// One residual block: pairs of convolutions (type 1) or single ones (type 2), each keeping the length.
#[derive(Clone, Debug)]
pub struct ResidualBlock<B: Backend> {
    /// In order; each adds to the running signal.
    pub units: Vec<ResidualUnit<B>>,
}

/// The convolutions of one residual step.
#[derive(Clone, Debug)]
pub struct ResidualUnit<B: Backend> {
    /// The dilated convolution.
    pub first: Kernel1d<B>,
    /// The undilated convolution that follows it in type 1.
    pub second: Option<Kernel1d<B>>,
}

/// An unprepared length-keeping convolution `[channels, channels, taps]`.
#[derive(Clone, Debug)]
pub struct Kernel1d<B: Backend> {
    /// `[out, in, taps]`, an odd number of taps.
    pub weight: Tensor<B, 3>,
    /// `[out]`.
    pub bias: Tensor<B, 1>,
    /// Input samples between two taps.
    pub dilation: usize,
}

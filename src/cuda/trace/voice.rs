//! [`VoiceOps`] on [`Traced`]: each hot operation one of a trace, its weights laid out as its kernel reads them.

use std::panic::resume_unwind;
use std::sync::{Mutex, PoisonError};
use std::thread::ScopedJoinHandle;

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData, TensorPrimitive};
use burn_router::RouterTensor;

use super::step::{Ends, Exact, Op, map};
use super::{Client, TraceDevice, Traceable, Traced};
use crate::cuda::ops::tensors::Function;
use crate::cuda::ops::{ConvShape, ConvTransposeShape, Directions, Epilogue};
use crate::error::Result;
use crate::nn::ops::{
    Activation, AttentionSpec, Computation, Conv1dSpec, Fed, Fused, Kernel1d, Precision, Relative, ResidualBlock,
    VoiceOps,
};

/// Slope of the leaky rectifiers inside residual blocks.
const RESIDUAL_SLOPE: f32 = 0.1;

/// A convolution of signals.
#[derive(Clone, Debug)]
pub struct Conv1d<B: Backend> {
    weight: Tensor<B, 4>,
    bias: Option<Tensor<B, 1>>,
    /// Channels of input and output.
    channels: [usize; 2],
    taps: usize,
    spec: Conv1dSpec,
    precision: Precision,
}

/// A transposed convolution of signals.
#[derive(Clone, Debug)]
pub struct ConvTranspose1d<B: Backend> {
    weight: Tensor<B, 2>,
    bias: Option<Tensor<B, 1>>,
    /// Channels of input and output.
    channels: [usize; 2],
    taps: usize,
    stride: usize,
    padding: usize,
}

/// A convolution of images, plain or transposed.
#[derive(Clone, Debug)]
pub struct Conv2d<B: Backend, const D: usize> {
    weight: Tensor<B, D>,
    bias: Option<Tensor<B, 1>>,
    /// Channels of input and output.
    channels: [usize; 2],
    taps: usize,
}

/// A linear map.
#[derive(Clone, Debug)]
pub struct Linear<B: Backend> {
    /// `[in, out]`.
    weight: Tensor<B, 2>,
    bias: Option<Tensor<B, 1>>,
    precision: Precision,
}

/// One direction of a gated recurrent unit.
#[derive(Clone, Debug)]
pub struct Gru<B: Backend> {
    /// `[in, 3 hidden]`.
    inputs: Tensor<B, 2>,
    input_bias: Tensor<B, 1>,
    /// `[3 hidden, hidden]`.
    state: Tensor<B, 2>,
    state_bias: Tensor<B, 1>,
}

/// A stage's blocks, each of steps of one or two convolutions.
pub type ResidualStage<B> = Vec<Vec<(Conv1d<B>, Option<Conv1d<B>>)>>;

fn primitive<M: Traceable, const D: usize>(tensor: Tensor<Traced<M>, D>) -> RouterTensor<Client<M>> {
    tensor.into_primitive().tensor()
}

/// Notes an operation that makes a tensor of `shape` out of `inputs`.
fn record<M: Traceable, const D: usize>(
    op: Op,
    inputs: Vec<RouterTensor<Client<M>>>,
    shape: [usize; D],
) -> Tensor<Traced<M>, D> {
    let client = inputs[0].client.clone();
    Tensor::from_primitive(TensorPrimitive::Float(client.record(op, inputs, &shape)))
}

/// The inputs of a sum of `x` and `weight`, and what else it does.
fn summed<M: Traceable, const D: usize, const W: usize>(
    x: Tensor<Traced<M>, D>,
    weight: &Tensor<Traced<M>, W>,
    bias: Option<&Tensor<Traced<M>, 1>>,
    fused: Fused<Traced<M>, D>,
) -> (Vec<RouterTensor<Client<M>>>, Ends) {
    let epilogue = Epilogue { before: fused.before, after: fused.after, ..Epilogue::default() };
    let ends =
        Ends { bias: bias.is_some(), residual: fused.residual.is_some(), onto: false, epilogue: Exact(epilogue) };
    let mut inputs = vec![primitive(x), primitive(weight.clone())];
    inputs.extend(bias.cloned().map(primitive));
    inputs.extend(fused.residual.map(primitive));
    (inputs, ends)
}

/// The last dimension made a multiple of 4 by zeros.
fn padded<M: Traceable, const D: usize>(weight: Tensor<Traced<M>, D>) -> Tensor<Traced<M>, D> {
    let mut shape = weight.dims();
    let missing = shape[D - 1].next_multiple_of(4) - shape[D - 1];
    if missing == 0 {
        return weight;
    }
    shape[D - 1] = missing;
    let zeros = Tensor::zeros(shape, &weight.device());
    Tensor::cat(vec![weight, zeros], D - 1)
}

/// torch's `[in, out, rows, columns]` as the transposed convolution reads it: of each phase of rows and columns its taps and
/// inputs, and all outputs.
fn by_phase<M: Traceable>(weight: Tensor<Traced<M>, 4>, stride: [usize; 2]) -> Tensor<Traced<M>, 2> {
    let [inputs, outputs, rows, columns] = weight.dims();
    let tap = |row, column| weight.clone().narrow(2, row, 1).narrow(3, column, 1).reshape([inputs, outputs]);
    let mut taps = Vec::with_capacity(rows * columns);
    for down in 0..stride[0].min(rows) {
        for across in 0..stride[1].min(columns) {
            let columns_of = |row| (across..columns).step_by(stride[1]).map(move |column| (row, column));
            let of_phase = (down..rows).step_by(stride[0]).flat_map(columns_of);
            taps.extend(of_phase.map(|(row, column)| tap(row, column)));
        }
    }
    padded(Tensor::cat(taps, 0))
}

impl<M: Traceable> Conv1d<Traced<M>> {
    fn apply(&self, x: Tensor<Traced<M>, 3>, fused: Fused<Traced<M>, 3>) -> Tensor<Traced<M>, 3> {
        let (inputs, ends) = summed(x.clone(), &self.weight, self.bias.as_ref(), fused);
        self.note(&x, inputs, ends)
    }

    fn note(&self, x: &Tensor<Traced<M>, 3>, inputs: Vec<RouterTensor<Client<M>>>, ends: Ends) -> Tensor<Traced<M>, 3> {
        let [batch, _, time] = x.dims();
        let shape = ConvShape::over_time(batch, self.channels, time, self.taps, self.spec);
        let shape = ConvShape { precision: self.precision, ..shape };
        let [_, columns] = shape.output_size();
        record(Op::Conv(shape, ends), inputs, [batch, self.channels[1], columns])
    }
}

impl<M: Traceable> VoiceOps for Traced<M> {
    type Conv1d = Conv1d<Self>;
    type ConvTranspose1d = ConvTranspose1d<Self>;
    type Conv2d = Conv2d<Self, 3>;
    type ConvTranspose2d = Conv2d<Self, 2>;
    type Linear = Linear<Self>;
    type Gru = Gru<Self>;
    type ResidualStage = ResidualStage<Self>;

    /// What waits for the machine leaves the processor, so that two threads keep two streams of it busy.
    fn side_by_side<A: Send, C: Send>(first: impl FnOnce() -> A + Send, second: impl FnOnce() -> C + Send) -> (A, C) {
        let first = Mutex::new(Some(first));
        let take = || first.lock().unwrap_or_else(PoisonError::into_inner).take();
        std::thread::scope(|scope| {
            let beside = std::thread::Builder::new().spawn_scoped(scope, || take().map(|first| first()));
            let second = second();
            let first = match beside.map(ScopedJoinHandle::join) {
                Ok(Ok(done)) => done,
                Ok(Err(panic)) => resume_unwind(panic),
                Err(_) => None, // There are too many threads.
            };
            (first.or_else(|| take().map(|first| first())).expect("one of the two did it"), second)
        })
    }

    fn compute<const D: usize>(
        computation: Computation,
        values: Vec<TensorData>,
        device: &TraceDevice,
        forward: impl FnOnce(Fed<Self>) -> Result<Tensor<Self, D>>,
    ) -> Result<Vec<f32>> {
        Client::compute(computation, values, device, forward)
    }

    fn beside(device: &TraceDevice) -> TraceDevice {
        TraceDevice { stream: device.stream + 1, ..*device }
    }

    fn reduced(device: &TraceDevice) -> TraceDevice {
        TraceDevice { reduced: true, ..*device }
    }

    fn full(device: &TraceDevice) -> TraceDevice {
        TraceDevice { reduced: false, ..*device }
    }

    fn prepare_conv1d(
        weight: Tensor<Self, 3>,
        bias: Option<Tensor<Self, 1>>,
        spec: Conv1dSpec,
        precision: Precision,
    ) -> Conv1d<Self> {
        let [outputs, inputs, taps] = weight.dims();
        let groups = spec.groups.max(1);
        let precision = weight.device().precision(precision);
        let weight = weight.reshape([groups, outputs / groups, inputs, taps]).permute([0, 3, 2, 1]);
        Conv1d { weight: padded(weight), bias, channels: [inputs * groups, outputs], taps, spec, precision }
    }

    fn conv1d(conv: &Conv1d<Self>, x: Tensor<Self, 3>, fused: Fused<Self, 3>) -> Tensor<Self, 3> {
        conv.apply(x, fused)
    }

    fn prepare_conv_transpose1d(
        weight: Tensor<Self, 3>,
        bias: Option<Tensor<Self, 1>>,
        stride: usize,
        padding: usize,
    ) -> ConvTranspose1d<Self> {
        let [inputs, outputs, taps] = weight.dims();
        let weight = by_phase(weight.reshape([inputs, outputs, 1, taps]), [1, stride]);
        ConvTranspose1d { weight, bias, channels: [inputs, outputs], taps, stride, padding }
    }

    fn conv_transpose1d(conv: &ConvTranspose1d<Self>, x: Tensor<Self, 3>, fused: Fused<Self, 3>) -> Tensor<Self, 3> {
        let ([batch, _, time], [_, outputs]) = (x.dims(), conv.channels);
        let precision = x.device().precision(Precision::Full);
        let shape = ConvTransposeShape::over_time(batch, conv.channels, time, conv.taps, conv.stride, conv.padding);
        let shape = ConvTransposeShape { precision, ..shape };
        let (inputs, ends) = summed(x, &conv.weight, conv.bias.as_ref(), fused);
        record(Op::ConvTranspose(shape, ends), inputs, [batch, outputs, shape.output_size()[1]])
    }

    fn prepare_conv2d(weight: Tensor<Self, 4>, bias: Option<Tensor<Self, 1>>) -> Conv2d<Self, 3> {
        let [outputs, inputs, taps, _] = weight.dims();
        let weight = padded(weight.reshape([outputs, inputs, taps * taps]).permute([2, 1, 0]));
        Conv2d { weight, bias, channels: [inputs, outputs], taps }
    }

    fn conv2d(conv: &Conv2d<Self, 3>, x: Tensor<Self, 4>, fused: Fused<Self, 4>) -> Tensor<Self, 4> {
        let ([batch, _, height, width], [_, outputs]) = (x.dims(), conv.channels);
        let precision = x.device().precision(Precision::Full);
        let shape = ConvShape { precision, ..ConvShape::over_image(batch, conv.channels, [height, width], conv.taps) };
        let (inputs, ends) = summed(x, &conv.weight, conv.bias.as_ref(), fused);
        record(Op::Conv(shape, ends), inputs, [batch, outputs, height, width])
    }

    fn prepare_conv_transpose2d(weight: Tensor<Self, 4>, bias: Option<Tensor<Self, 1>>) -> Conv2d<Self, 2> {
        let [inputs, outputs, taps, _] = weight.dims();
        Conv2d { weight: by_phase(weight, [2, 2]), bias, channels: [inputs, outputs], taps }
    }

    fn conv_transpose2d(conv: &Conv2d<Self, 2>, x: Tensor<Self, 4>, fused: Fused<Self, 4>) -> Tensor<Self, 4> {
        let ([batch, _, height, width], [_, outputs]) = (x.dims(), conv.channels);
        let precision = x.device().precision(Precision::Full);
        let shape = ConvTransposeShape::doubling(batch, conv.channels, [height, width]);
        let shape = ConvTransposeShape { precision, ..shape };
        let (inputs, ends) = summed(x, &conv.weight, conv.bias.as_ref(), fused);
        record(Op::ConvTranspose(shape, ends), inputs, [batch, outputs, 2 * height, 2 * width])
    }

    fn prepare_linear(weight: Tensor<Self, 2>, bias: Option<Tensor<Self, 1>>, precision: Precision) -> Linear<Self> {
        let precision = weight.device().precision(precision);
        Linear { weight: weight.transpose(), bias, precision }
    }

    fn linear(linear: &Linear<Self>, x: Tensor<Self, 3>, fused: Fused<Self, 3>) -> Tensor<Self, 3> {
        let ([batch, rows, _], [_, outputs]) = (x.dims(), linear.weight.dims());
        let (inputs, ends) = summed(x, &linear.weight, linear.bias.as_ref(), fused);
        record(Op::Linear(linear.precision, ends), inputs, [batch, rows, outputs])
    }

    fn prepare_gru(
        weight_ih: Tensor<Self, 2>,
        weight_hh: Tensor<Self, 2>,
        bias_ih: Tensor<Self, 1>,
        bias_hh: Tensor<Self, 1>,
    ) -> Gru<Self> {
        Gru { inputs: weight_ih.transpose(), input_bias: bias_ih, state: weight_hh, state_bias: bias_hh }
    }

    fn gru(gru: &Gru<Self>, x: Tensor<Self, 3>, reverse: bool) -> Tensor<Self, 3> {
        run_gru(gru, x, if reverse { Directions::Backwards } else { Directions::Forwards })
    }

    fn gru_both_ways(forward: &Gru<Self>, backward: &Gru<Self>, x: Tensor<Self, 3>) -> Tensor<Self, 3> {
        let both = |of: fn(&Gru<Self>) -> Tensor<Self, 1>| Tensor::cat(vec![of(forward), of(backward)], 0);
        let both_rows = |of: fn(&Gru<Self>) -> Tensor<Self, 2>, dim| Tensor::cat(vec![of(forward), of(backward)], dim);
        let gru = Gru {
            inputs: both_rows(|gru| gru.inputs.clone(), 1),
            input_bias: both(|gru| gru.input_bias.clone()),
            state: both_rows(|gru| gru.state.clone(), 0),
            state_bias: both(|gru| gru.state_bias.clone()),
        };
        run_gru(&gru, x, Directions::Both)
    }

    fn prepare_residual_stage(blocks: Vec<ResidualBlock<Self>>) -> ResidualStage<Self> {
        let prepare = |kernel: Kernel1d<Self>| {
            let spec = Conv1dSpec::same(kernel.weight.dims()[2], kernel.dilation);
            Self::prepare_conv1d(kernel.weight, Some(kernel.bias), spec, Precision::Full)
        };
        let block = |block: ResidualBlock<Self>| {
            block.units.into_iter().map(|unit| (prepare(unit.first), unit.second.map(prepare))).collect()
        };
        blocks.into_iter().map(block).collect()
    }

    /// The mean is taken by the last convolution of each block, which adds its share to what the blocks before it gave.
    fn residual_stage(stage: &ResidualStage<Self>, x: Tensor<Self, 3>) -> Tensor<Self, 3> {
        let before = Activation::LeakyRelu(RESIDUAL_SLOPE);
        let share = 1.0 / stage.len() as f32;
        let mut mean: Option<Tensor<Self, 3>> = None;
        for block in stage {
            let mut x = x.clone();
            if block.is_empty() {
                let own = x * share;
                mean = Some(match mean {
                    Some(mean) => mean + own,
                    None => own,
                });
                continue;
            }
            for (number, (first, second)) in block.iter().enumerate() {
                let (last, inner) = match second {
                    Some(second) => (second, first.apply(x.clone(), Fused::before(before))),
                    None => (first, x.clone()),
                };
                let (mut inputs, mut ends) =
                    summed(inner.clone(), &last.weight, last.bias.as_ref(), Fused::before(before).plus(x));
                if number + 1 == block.len() {
                    ends.onto = mean.is_some();
                    let kept = if ends.onto { 1.0 } else { 0.0 };
                    ends.epilogue.0 = Epilogue { scale: share, kept, ..ends.epilogue.0 };
                    inputs.extend(mean.take().map(primitive));
                }
                x = last.note(&inner, inputs, ends);
            }
            mean = Some(x);
        }
        mean.unwrap_or(x)
    }

    fn gate(x: Tensor<Self, 3>) -> Tensor<Self, 3> {
        let [batch, channels, time] = x.dims();
        record(Op::Gate, vec![primitive(x)], [batch, channels / 2, time])
    }

    fn attention(
        query: Tensor<Self, 3>,
        key: Tensor<Self, 3>,
        value: Tensor<Self, 3>,
        relative: Option<&Relative<Self>>,
        spec: AttentionSpec,
    ) -> Tensor<Self, 3> {
        let shape = query.dims();
        let op = Op::Attention { spec: Exact(spec), relative: relative.is_some() };
        let mut inputs = vec![primitive(query), primitive(key), primitive(value)];
        inputs.extend(
            relative.into_iter().flat_map(|relative| [&relative.keys, &relative.values]).cloned().map(primitive),
        );
        record(op, inputs, shape)
    }

    fn layer_norm(
        x: Tensor<Self, 3>,
        gamma: &Tensor<Self, 1>,
        beta: &Tensor<Self, 1>,
        epsilon: f32,
    ) -> Tensor<Self, 3> {
        let shape = x.dims();
        let inputs = vec![primitive(x), primitive(gamma.clone()), primitive(beta.clone())];
        record(Op::LayerNorm { epsilon: epsilon.to_bits() }, inputs, shape)
    }

    fn activate<const D: usize>(x: Tensor<Self, D>, activation: Activation) -> Tensor<Self, D> {
        let (function, slope) = match activation {
            Activation::Identity => return x,
            Activation::Relu => (Function::Relu, 0.0),
            Activation::LeakyRelu(slope) => (Function::LeakyRelu, slope),
            Activation::Gelu => (Function::Gelu, 0.0),
            Activation::Silu => (Function::Silu, 0.0),
            Activation::Tanh => (Function::Tanh, 0.0),
            Activation::Sigmoid => (Function::Sigmoid, 0.0),
        };
        let shape = x.dims();
        record(map(function, [slope.to_bits(), 0]), vec![primitive(x)], shape)
    }
}

fn run_gru<M: Traceable>(
    gru: &Gru<Traced<M>>,
    x: Tensor<Traced<M>, 3>,
    directions: Directions,
) -> Tensor<Traced<M>, 3> {
    let ([batch, time, _], [gates, _]) = (x.dims(), gru.state.dims());
    let precision = x.device().precision(Precision::Full);
    let (inputs, ends) = summed(x, &gru.inputs, Some(&gru.input_bias), Fused::default());
    let products = record::<M, 3>(Op::Linear(precision, ends), inputs, [batch, time, gates]);
    let inputs = vec![primitive(products), primitive(gru.state.clone()), primitive(gru.state_bias.clone())];
    record(Op::Gru(directions), inputs, [batch, time, gates / 3])
}

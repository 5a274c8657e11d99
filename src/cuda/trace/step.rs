//! One operation of a trace, and how burn's operations become such.

use std::fmt::Debug;
use std::hash::{Hash, Hasher};

use burn::tensor::Slice;
use burn_ir::{
    BaseOperationIr, BinaryOpIr, FloatOperationIr, ModuleOperationIr, NumericOperationIr, OperationIr, ReduceDimOpIr,
    ScalarIr, ScalarOpIr, TensorIr, UnaryOpIr,
};

use crate::cuda::ops::tensors::{Function, Pooling, Reduction, Windows};
use crate::cuda::ops::{ConvShape, ConvTransposeShape, Directions, Epilogue};
use crate::cuda::view::Cut;
use crate::error::{Error, Result};
use crate::nn::ops::{Activation, AttentionSpec, Precision};

/// A tensor of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Value {
    /// Was there before: the number among those.
    Given(usize),
    /// Made by the step of this number.
    Made(usize),
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Step {
    pub op: Op,
    pub inputs: Vec<Value>,
    /// The shape of what it makes.
    pub shape: Vec<usize>,
}

/// What an operation does with its inputs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Op {
    Reshape,
    Permute(Vec<usize>),
    Cut(Vec<Cut>),
    Flip(Vec<usize>),
    /// To the shape of the output, along dimensions of one value.
    Expand,
    /// The input so many times along a dimension.
    Repeat {
        dim: usize,
    },
    /// The inputs one after another along a dimension.
    Cat {
        dim: usize,
    },
    /// The first input, the second in the place of some of it.
    Assign(Vec<Cut>),
    /// Value by value; inputs are expanded to the output's shape.
    Map {
        function: Function,
        scalars: [u32; 2],
    },
    /// Each row along a dimension to one value.
    Reduce {
        reduction: Reduction,
        dim: usize,
    },
    /// Rows of the first input along a dimension, numbered by the second.
    Select {
        dim: usize,
    },
    Pool(Windows),
    /// Products of the last two dimensions.
    Matmul,
    /// Of input and prepared weights, and what [`Ends`] has.
    Conv(ConvShape, Ends),
    /// Of input and prepared weights, and what [`Ends`] has.
    ConvTranspose(ConvTransposeShape, Ends),
    /// Of rows and weights `[in, out]`, and what [`Ends`] has.
    Linear(Precision, Ends),
    /// Of rows, scale and shift.
    LayerNorm {
        epsilon: u32,
    },
    /// `tanh(a) sigmoid(b)` of both halves of the channels.
    Gate,
    /// Of query, key and value, and, if `relative`, keys and values of distances.
    Attention {
        spec: Exact<AttentionSpec>,
        relative: bool,
    },
    /// Of input products `[1, time, directions * 3 hidden]`, weights and bias of the state.
    Gru(Directions),
}

/// What a sum has besides its factors: inputs that follow them, in this order, and an epilogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ends {
    pub bias: bool,
    pub residual: bool,
    /// The last input is what the result is added to, by the epilogue's `kept`; nothing else reads it.
    pub onto: bool,
    pub epilogue: Exact<Epilogue>,
}

impl Default for Ends {
    fn default() -> Self {
        Self { bias: false, residual: false, onto: false, epilogue: Exact(Epilogue::default()) }
    }
}

/// Settings that are equal if their floats are of the same bits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exact<T>(pub T);

/// Settings as whole numbers.
pub(super) trait Key {
    fn key(&self) -> [u64; 6];
}

impl<T: Key> PartialEq for Exact<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.key() == other.0.key()
    }
}

impl<T: Key> Eq for Exact<T> {}

impl<T: Key> Hash for Exact<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.key().hash(state);
    }
}

impl Key for Epilogue {
    fn key(&self) -> [u64; 6] {
        let ([before, slope], [after, other_slope]) = (key_of(self.before), key_of(self.after));
        [before, slope, after, other_slope, self.scale.to_bits().into(), self.kept.to_bits().into()]
    }
}

impl Key for AttentionSpec {
    fn key(&self) -> [u64; 6] {
        let [before, after] = self.span.unwrap_or_default();
        let (spanned, scale) = (self.span.is_some().into(), self.scale.to_bits().into());
        [self.heads as u64, scale, spanned, before as u64, after as u64, 0]
    }
}

fn key_of(activation: Activation) -> [u64; 2] {
    match activation {
        Activation::Identity => [0, 0],
        Activation::Relu => [1, 0],
        Activation::LeakyRelu(slope) => [2, slope.to_bits().into()],
        Activation::Gelu => [3, 0],
        Activation::Silu => [4, 0],
        Activation::Tanh => [5, 0],
        Activation::Sigmoid => [6, 0],
    }
}

/// burn's operation as ours, with what it reads and makes.
///
/// # Errors
/// An operation that no kernel of ours does.
pub(super) fn of_burn(operation: OperationIr) -> Result<(Op, Vec<TensorIr>, TensorIr)> {
    use OperationIr::{BaseBool, BaseFloat, BaseInt, Float, Module, NumericFloat};
    match operation {
        BaseFloat(base) | BaseInt(base) | BaseBool(base) => of_base(base),
        NumericFloat(_, numeric) => of_numeric(numeric),
        Float(_, float) => of_float(float),
        Module(module) => of_module(module),
        other => unknown(&other),
    }
}

/// An operation, its inputs and what it makes.
type Noted = (Op, Vec<TensorIr>, TensorIr);

fn unknown(operation: &dyn Debug) -> Result<Noted> {
    let told = format!("{operation:?}");
    let name = told.split(" {").next().unwrap_or(&told);
    Err(Error::device("CUDA", format!("no kernel does the operation {name}"), "use `--device cpu`"))
}

fn of_base(operation: BaseOperationIr) -> Result<Noted> {
    use BaseOperationIr as Base;
    let filled = |out: TensorIr, value: f32| {
        let bits = if out.dtype.is_float() { value.to_bits() } else { value as u32 };
        (map(Function::Fill, [bits, 0]), vec![], out)
    };
    let noted = match operation {
        Base::Reshape(of) => (Op::Reshape, vec![of.input], of.out),
        Base::SwapDims(of) => {
            let mut axes: Vec<usize> = (0..of.input.shape.num_dims()).collect();
            axes.swap(of.dim1, of.dim2);
            (Op::Permute(axes), vec![of.input], of.out)
        }
        Base::Permute(of) => (Op::Permute(of.axes), vec![of.input], of.out),
        Base::Flip(of) => (Op::Flip(of.axes), vec![of.input], of.out),
        Base::Expand(of) => (Op::Expand, vec![of.input], of.out),
        Base::RepeatDim(of) => (Op::Repeat { dim: of.dim }, vec![of.tensor], of.out),
        Base::Slice(of) => (Op::Cut(cuts(&of.ranges, &of.tensor)), vec![of.tensor], of.out),
        Base::SliceAssign(of) => (Op::Assign(cuts(&of.ranges, &of.tensor)), vec![of.tensor, of.value], of.out),
        Base::Cat(of) => (Op::Cat { dim: of.dim }, of.tensors, of.out),
        Base::Select(of) => (Op::Select { dim: of.dim }, vec![of.tensor, of.indices], of.out),
        Base::MaskFill(of) => {
            let bits = bits(of.value, &of.tensor);
            (map(Function::MaskFill, [bits, 0]), vec![of.tensor, of.mask], of.out)
        }
        Base::MaskWhere(of) => (map(Function::MaskWhere, [0; 2]), vec![of.tensor, of.mask, of.value], of.out),
        Base::Cast(of) if of.input.dtype == of.out.dtype => (Op::Reshape, vec![of.input], of.out),
        Base::Zeros(of) | Base::Empty(of) => filled(of.out, 0.0),
        Base::Ones(of) => filled(of.out, 1.0),
        other => return unknown(&other),
    };
    Ok(noted)
}

fn of_numeric(operation: NumericOperationIr) -> Result<Noted> {
    use NumericOperationIr as Numeric;
    let noted = match operation {
        Numeric::Add(of) => binary(Function::Add, of),
        Numeric::Sub(of) => binary(Function::Subtract, of),
        Numeric::Mul(of) => binary(Function::Multiply, of),
        Numeric::Div(of) => binary(Function::Divide, of),
        Numeric::AddScalar(of) => scalar(Function::AddScalar, of),
        Numeric::SubScalar(of) => {
            let rhs = ScalarIr::Float(-of.rhs.elem::<f64>());
            scalar(Function::AddScalar, ScalarOpIr { rhs, ..of })
        }
        Numeric::MulScalar(of) => scalar(Function::MultiplyScalar, of),
        Numeric::DivScalar(of) => scalar(Function::DivideScalar, of),
        Numeric::PowiScalar(of) => scalar(Function::PowerScalar, of),
        Numeric::LowerElem(of) => scalar(Function::LowerScalar, of),
        Numeric::LowerEqualElem(of) => scalar(Function::LowerEqualScalar, of),
        Numeric::GreaterElem(of) => scalar(Function::GreaterScalar, of),
        Numeric::GreaterEqualElem(of) => scalar(Function::GreaterEqualScalar, of),
        Numeric::Abs(of) => unary(Function::Absolute, of),
        Numeric::Clamp(of) => {
            let scalars = [bits(of.min, &of.tensor), bits(of.max, &of.tensor)];
            (map(Function::Clamp, scalars), vec![of.tensor], of.out)
        }
        Numeric::Full(of) => (map(Function::Fill, [bits(of.value, &of.out), 0]), vec![], of.out),
        Numeric::SumDim(of) => reduced(Reduction::Sum, of),
        Numeric::MeanDim(of) => reduced(Reduction::Mean, of),
        Numeric::MaxDim(of) => reduced(Reduction::Max, of),
        other => return unknown(&other),
    };
    Ok(noted)
}

fn of_float(operation: FloatOperationIr) -> Result<Noted> {
    use FloatOperationIr as Float;
    let noted = match operation {
        Float::Exp(of) => unary(Function::Exp, of),
        Float::Log(of) => unary(Function::Log, of),
        Float::Sqrt(of) => unary(Function::Sqrt, of),
        Float::Tanh(of) => unary(Function::Tanh, of),
        Float::Erf(of) => unary(Function::Erf, of),
        Float::Recip(of) => unary(Function::Reciprocal, of),
        Float::Matmul(of) => (Op::Matmul, vec![of.lhs, of.rhs], of.out),
        Float::PowfScalar(of) => scalar(Function::PowerScalar, of),
        other => return unknown(&other),
    };
    Ok(noted)
}

fn of_module(operation: ModuleOperationIr) -> Result<Noted> {
    let noted = match operation {
        ModuleOperationIr::AvgPool2d(of) if of.padding == [0, 0] && !of.ceil_mode => {
            let windows = Windows { pooling: Pooling::Mean, size: of.kernel_size, stride: of.stride };
            (Op::Pool(windows), vec![of.x], of.out)
        }
        ModuleOperationIr::MaxPool1d(of) if of.padding == 0 && of.dilation == 1 && !of.ceil_mode => {
            let windows = Windows { pooling: Pooling::Max, size: [1, of.kernel_size], stride: [1, of.stride] };
            (Op::Pool(windows), vec![of.x], of.out)
        }
        other => return unknown(&other),
    };
    Ok(noted)
}

pub(super) fn map(function: Function, scalars: [u32; 2]) -> Op {
    Op::Map { function, scalars }
}

fn unary(function: Function, of: UnaryOpIr) -> Noted {
    (map(function, [0; 2]), vec![of.input], of.out)
}

fn scalar(function: Function, of: ScalarOpIr) -> Noted {
    (map(function, [bits(of.rhs, &of.lhs), 0]), vec![of.lhs], of.out)
}

fn binary(function: Function, of: BinaryOpIr) -> Noted {
    (map(function, [0; 2]), vec![of.lhs, of.rhs], of.out)
}

fn reduced(reduction: Reduction, of: ReduceDimOpIr) -> Noted {
    (Op::Reduce { reduction, dim: of.axis }, vec![of.input], of.out)
}

/// A scalar as a value of a tensor.
fn bits(scalar: ScalarIr, tensor: &TensorIr) -> u32 {
    if tensor.dtype.is_float() { scalar.elem::<f32>().to_bits() } else { scalar.elem::<i32>().cast_unsigned() }
}

/// What slices take of a tensor; dimensions without one are taken whole.
fn cuts(slices: &[Slice], of: &TensorIr) -> Vec<Cut> {
    let cut = |(dim, &extent): (usize, &usize)| {
        let Some(slice) = slices.get(dim) else { return Cut { first: 0, step: 1, len: extent } };
        let (range, len) = (slice.to_range(extent), slice.output_size(extent));
        let first = if slice.step < 0 { range.end.saturating_sub(1) } else { range.start };
        Cut { first, step: slice.step, len }
    };
    of.shape.iter().enumerate().map(cut).collect()
}

//! What is done to tensors of any shape, value by value or to whole rows.
//!
//! A buffer of `f32` holds 32 bits a value here, which may be ints or truths as well.

use super::{MAP, POOL, REDUCE, SELECT_ROWS};
use crate::cuda::launch::{Buffer, Launch, Machine, expect_at_least};
use crate::cuda::view::{MOST_DIMS, View, counted};
use crate::error::{Error, Result};

/// A function of up to three values `a`, `b`, `c` and two scalars `s`, `t`, as kernels/map.cu numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub(in crate::cuda) enum Function {
    /// `s`.
    Fill,
    /// `a`.
    Copy,
    Exp,
    Log,
    Sqrt,
    Absolute,
    Reciprocal,
    Tanh,
    Sigmoid,
    Erf,
    Relu,
    /// `a` if positive, else `s a`.
    LeakyRelu,
    Gelu,
    Silu,
    AddScalar,
    MultiplyScalar,
    DivideScalar,
    PowerScalar,
    /// `a` within `s..=t`.
    Clamp,
    Add,
    Subtract,
    Multiply,
    Divide,
    LowerScalar,
    LowerEqualScalar,
    GreaterScalar,
    GreaterEqualScalar,
    /// `s` where `b` is true, else `a`.
    MaskFill,
    /// `c` where `b` is true, else `a`.
    MaskWhere,
}

/// A tensor in a buffer.
pub(in crate::cuda) struct Laid<'a, M: Machine> {
    pub buffer: &'a Buffer<M, f32>,
    pub view: &'a View,
}

/// `y = function(inputs, scalars)`, value by value; all have `y`'s shape, and no two places of `y` are the same.
///
/// # Errors
/// A tensor is not of `y`'s shape or lies beyond its buffer, counts in too many dimensions, or the machine fails.
pub(in crate::cuda) fn map<M: Machine>(
    machine: &M,
    function: Function,
    scalars: [u32; 2],
    inputs: &[Laid<M>],
    y: &mut Buffer<M, f32>,
    y_view: &View,
) -> Result<()> {
    let count = y_view.len();
    if count == 0 {
        return Ok(());
    }
    let views: Vec<&View> = inputs.iter().map(|input| input.view).chain([y_view]).collect();
    if let Some(other) = views.iter().find(|view| view.shape != y_view.shape) {
        return Err(Error::argument(
            "input of an elementwise kernel",
            format!("{:?}", y_view.shape),
            format!("{:?}", other.shape),
        ));
    }
    let lens = inputs.iter().map(|input| input.buffer.len()).chain([y.len()]);
    for (view, len) in views.iter().zip(lens) {
        expect_at_least("memory of a tensor", len, view.span().end)?;
        expect_countable(view.span().end)?;
    }
    let Some((extents, strides)) = counted(&views) else {
        let expected = format!("tensors that count in {MOST_DIMS} dimensions");
        return Err(Error::argument("tensors of an elementwise kernel", expected, format!("{:?}", y_view.shape)));
    };
    let placed = |launch: Launch, i: usize| {
        let launch = launch.size(views[i].first);
        strides[i].iter().fold(launch, |launch, &stride| launch.int(stride as i32))
    };
    let launch = Launch::over(&MAP, count).int(function as i32).bits(scalars[0]).bits(scalars[1]).size(count);
    let launch = extents[1..].iter().fold(launch, |launch, &extent| launch.size(extent));
    let launch = (0..3).fold(launch, |launch, i| match inputs.get(i) {
        Some(input) => placed(launch.input(input.buffer), i),
        None => (0..=MOST_DIMS).fold(launch.optional::<M, f32>(None), |launch, _| launch.int(0)),
    });
    placed(launch.output(y), inputs.len()).run(machine)
}

/// Refuses more values than a kernel counts.
fn expect_countable(values: usize) -> Result<()> {
    let most = i32::MAX as usize;
    if values <= most { Ok(()) } else { Err(Error::argument("values of a tensor", format!("up to {most}"), values)) }
}

/// What becomes of a row, as kernels/reduce.cu numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub(in crate::cuda) enum Reduction {
    Sum,
    Mean,
    Max,
}

/// One value of each of the rows of `x` `[rows, len]`, to `y` `[rows]`.
///
/// # Errors
/// A buffer is too short, or the machine fails.
pub(in crate::cuda) fn reduce<M: Machine>(
    machine: &M,
    reduction: Reduction,
    x: &Buffer<M, f32>,
    [rows, len]: [usize; 2],
    y: &mut Buffer<M, f32>,
) -> Result<()> {
    expect_at_least("rows to reduce", x.len(), rows * len)?;
    expect_at_least("reduced rows", y.len(), rows)?;
    Launch::new(&REDUCE, rows).int(reduction as i32).input(x).size(len).output(y).run(machine)
}

/// `y[o, i, ..] = x[o, rows[i], ..]` for `x` `[outer, table, inner]` and `count` rows; NaN for rows that there are not.
///
/// # Errors
/// A buffer is too short, or the machine fails.
pub(in crate::cuda) fn select<M: Machine>(
    machine: &M,
    x: &Buffer<M, f32>,
    [outer, table, inner]: [usize; 3],
    rows: &Buffer<M, f32>,
    count: usize,
    y: &mut Buffer<M, f32>,
) -> Result<()> {
    expect_at_least("table to select from", x.len(), outer * table * inner)?;
    expect_countable(outer * table * inner)?;
    expect_at_least("numbers of rows", rows.len(), count)?;
    expect_at_least("selected rows", y.len(), outer * count * inner)?;
    Launch::over(&SELECT_ROWS, outer * count * inner)
        .input(x)
        .input(rows)
        .output(y)
        .size(outer)
        .size(table)
        .size(count)
        .size(inner)
        .run(machine)
}

/// What becomes of a window, as kernels/pool.cu numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub(in crate::cuda) enum Pooling {
    Mean,
    Max,
}

/// Windows over the last two dimensions, rows first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::cuda) struct Windows {
    pub pooling: Pooling,
    pub size: [usize; 2],
    pub stride: [usize; 2],
}

impl Windows {
    /// How many windows lie in an image.
    pub fn of(&self, image: [usize; 2]) -> [usize; 2] {
        std::array::from_fn(|i| image[i].checked_sub(self.size[i]).map_or(0, |rest| rest / self.stride[i].max(1) + 1))
    }
}

/// One value of each window of `x` `[planes, image]`.
///
/// # Errors
/// A window or stride of 0, a buffer is too short, or the machine fails.
pub(in crate::cuda) fn pool<M: Machine>(
    machine: &M,
    windows: Windows,
    x: &Buffer<M, f32>,
    planes: usize,
    image: [usize; 2],
    y: &mut Buffer<M, f32>,
) -> Result<()> {
    if windows.size.contains(&0) || windows.stride.contains(&0) {
        return Err(Error::argument("windows", "sizes and strides of at least 1", format!("{windows:?}")));
    }
    let [rows, columns] = windows.of(image);
    expect_at_least("planes to pool", x.len(), planes * image[0] * image[1])?;
    expect_countable(planes * image[0] * image[1])?;
    expect_at_least("pooled planes", y.len(), planes * rows * columns)?;
    let sizes = [planes, image[0], image[1], rows, columns, windows.size[0], windows.size[1]];
    let launch = Launch::over(&POOL, planes * rows * columns).int(windows.pooling as i32).input(x).output(y);
    let launch = sizes.into_iter().chain(windows.stride).fold(launch, Launch::size);
    launch.run(machine)
}

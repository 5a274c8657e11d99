//! Products of matrices, and linear maps.

use super::epilogue::{Ending, Epilogue, values};
use super::tiles::{Tile, Tiling};
use super::{MATMUL_32X32, MATMUL_32X32_TF32, MATMUL_64X64, MATMUL_64X64_TF32, MATMUL_64X128_TF32};
use crate::cuda::launch::{Buffer, Launch, Machine, expect_at_least, expect_len};
use crate::error::Result;
use crate::nn::ops::Precision;

const TILES: [Tile; 2] = [
    Tile { kernel: &MATMUL_32X32, size: [32, 32], cycles: 200 },
    Tile { kernel: &MATMUL_64X64, size: [64, 64], cycles: 550 },
];

const REDUCED_TILES: [Tile; 3] = [
    Tile { kernel: &MATMUL_32X32_TF32, size: [32, 32], cycles: 100 },
    Tile { kernel: &MATMUL_64X64_TF32, size: [64, 64], cycles: 250 },
    Tile { kernel: &MATMUL_64X128_TF32, size: [64, 128], cycles: 350 },
];

/// Where the values of matrices lie: how far it is from one to the next, along each dimension. 0 repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Strides {
    /// From one matrix to the next, in both dimensions of the batch.
    pub items: [usize; 2],
    /// From one row to the next.
    pub row: usize,
    /// From one column to the next.
    pub column: usize,
}

impl Strides {
    /// Of `[outer, inner, rows, columns]` one after the other, with `inner` matrices in each item of the outer
    /// dimension.
    #[must_use]
    pub fn of_rows(inner: usize, [rows, columns]: [usize; 2]) -> Self {
        let item = rows.saturating_mul(columns);
        Self { items: [inner.saturating_mul(item), item], row: columns, column: 1 }
    }

    /// The same values with rows and columns exchanged.
    #[must_use]
    pub fn transposed(self) -> Self {
        Self { row: self.column, column: self.row, ..self }
    }

    /// Values from the first to the last.
    fn reach(&self, batch: [usize; 2], [rows, columns]: [usize; 2]) -> usize {
        let counts = [batch[0], batch[1], rows, columns];
        if counts.contains(&0) {
            return 0;
        }
        let strides = [self.items[0], self.items[1], self.row, self.column];
        let steps = counts.into_iter().zip(strides).map(|(count, stride)| (count - 1).saturating_mul(stride));
        steps.fold(1, usize::saturating_add)
    }
}

/// Sizes of a product of matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MatmulShape {
    /// Independent products, in two dimensions.
    pub batch: [usize; 2],
    /// Rows of the left side and of the output.
    pub rows: usize,
    /// Columns of the left side, rows of the right.
    pub depth: usize,
    /// Columns of the right side and of the output.
    pub columns: usize,
    /// Where the left side lies.
    pub left: Strides,
    /// Where the right side lies.
    pub right: Strides,
    /// Of the factors: reduced, they have 11 significant bits (TF32) where the GPU has tensor cores.
    pub precision: Precision,
}

impl MatmulShape {
    /// A linear map of `rows` rows of `[in, out]` values, as [`prepare_linear`] lays out its weights.
    #[must_use]
    pub fn linear(rows: usize, [inputs, outputs]: [usize; 2]) -> Self {
        Self {
            batch: [1, 1],
            rows,
            depth: inputs,
            columns: outputs,
            left: Strides::of_rows(1, [rows, inputs]),
            right: Strides::of_rows(1, [inputs, outputs]),
            precision: Precision::Full,
        }
    }

    /// Values of the output `[outer, inner, rows, columns]`.
    #[must_use]
    pub fn output_len(&self) -> usize {
        [self.batch[0], self.batch[1], self.rows, self.columns].into_iter().fold(1, usize::saturating_mul)
    }

    /// Values of scratch that [`matmul`] needs.
    #[must_use]
    pub fn scratch(&self) -> usize {
        self.check().map_or(0, |()| self.tiling().scratch(self.output_len()))
    }

    fn tiling(&self) -> Tiling {
        let tiles = if self.precision == Precision::Full { &TILES[..] } else { &REDUCED_TILES };
        Tiling::new(tiles, self.batch[0] * self.batch[1], [self.rows, self.columns], self.depth)
    }

    /// Refuses what no kernel can count.
    fn check(&self) -> Result<()> {
        values("output", &[self.batch[0], self.batch[1], self.rows, self.columns])?;
        values("left side", &[self.left.reach(self.batch, [self.rows, self.depth])])?;
        values("right side", &[self.right.reach(self.batch, [self.depth, self.columns])]).map(drop)
    }
}

/// The layout of weights `[out, in]` that a [linear map](MatmulShape::linear) reads: `[in, out]`.
///
/// # Errors
/// The weights are of another number.
pub fn prepare_linear(weight: &[f32], [outputs, inputs]: [usize; 2]) -> Result<Vec<f32>> {
    expect_len("weights", weight.len(), outputs.saturating_mul(inputs))?;
    let column = |input: usize| (0..outputs).map(move |output| weight[output * inputs + input]);
    Ok((0..inputs).flat_map(column).collect())
}

/// Multiplies matrices into `y` of [`MatmulShape::output_len`] values; `bias` has a value for each column and
/// `residual` one for each output. Buffers may be longer.
///
/// # Errors
/// The shape is not one, a buffer is too short, `scratch` shorter than [`MatmulShape::scratch`], or the machine fails.
#[allow(clippy::too_many_arguments, reason = "a kernel's inputs and outputs")]
pub fn matmul<M: Machine>(
    machine: &M,
    shape: &MatmulShape,
    left: &Buffer<M, f32>,
    right: &Buffer<M, f32>,
    bias: Option<&Buffer<M, f32>>,
    residual: Option<&Buffer<M, f32>>,
    epilogue: Epilogue,
    scratch: &mut Buffer<M, f32>,
    y: &mut Buffer<M, f32>,
) -> Result<()> {
    let &MatmulShape { batch, rows, depth, columns, left: of_left, right: of_right, .. } = shape;
    shape.check()?;
    let total = shape.output_len();
    let ending = Ending { bias, residual, epilogue };
    ending.check(columns, total)?;
    expect_at_least("left side", left.len(), of_left.reach(batch, [rows, depth]))?;
    expect_at_least("right side", right.len(), of_right.reach(batch, [depth, columns]))?;
    expect_at_least("output", y.len(), total)?;
    let tiling = shape.tiling();
    expect_at_least("scratch", scratch.len(), tiling.scratch(total))?;
    if total == 0 {
        return Ok(());
    }
    Launch::new(tiling.kernel, tiling.count[1])
        .rows(batch[0] * batch[1] * tiling.count[0])
        .layers(tiling.parts)
        .input(left)
        .input(right)
        .optional(bias)
        .optional(residual)
        .output(y)
        .output(scratch)
        .sizes(batch)
        .size(rows)
        .size(columns)
        .size(depth)
        .sizes(of_left.items)
        .sizes([of_left.row, of_left.column])
        .sizes(of_right.items)
        .sizes([of_right.row, of_right.column])
        .size(tiling.share)
        .activation(epilogue.before)
        .activation(epilogue.after)
        .f32(epilogue.scale)
        .f32(epilogue.kept)
        .run(machine)?;
    if tiling.parts == 1 {
        return Ok(());
    }
    ending.sum_parts(machine, scratch, tiling.parts, [total, 1, columns], y)
}

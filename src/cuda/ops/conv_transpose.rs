//! Transposed convolution.

use super::epilogue::{Ending, Epilogue, values};
use super::tiles::{Tile, Tiling};
use super::{CONV_TRANSPOSE_32X32, CONV_TRANSPOSE_32X64_TF32, CONV_TRANSPOSE_64X64, CONV_TRANSPOSE_64X64_TF32};
use crate::cuda::launch::{Buffer, Launch, Machine, expect_at_least, expect_len};
use crate::error::{Error, Result};
use crate::nn::ops::Precision;

const TILES: [Tile; 2] = [
    Tile { kernel: &CONV_TRANSPOSE_32X32, size: [32, 32], cycles: 200 },
    Tile { kernel: &CONV_TRANSPOSE_64X64, size: [64, 64], cycles: 550 },
];

// The smaller one's cycles are a guess: it has not run on a card yet.
const REDUCED_TILES: [Tile; 2] = [
    Tile { kernel: &CONV_TRANSPOSE_32X64_TF32, size: [32, 64], cycles: 150 },
    Tile { kernel: &CONV_TRANSPOSE_64X64_TF32, size: [64, 64], cycles: 250 },
];

/// Sizes of a transposed convolution. Pairs are of rows and columns; a signal is an image of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvTransposeShape {
    /// Independent inputs.
    pub batch: usize,
    /// Channels of input and output.
    pub channels: [usize; 2],
    /// Rows and columns of the input.
    pub size: [usize; 2],
    /// Rows and columns of weights.
    pub taps: [usize; 2],
    /// Outputs per input.
    pub stride: [usize; 2],
    /// Outputs cut off before the first and after the last.
    pub padding: [usize; 2],
    /// Outputs more at the end.
    pub output_padding: [usize; 2],
    /// Of the factors: reduced, they have 11 significant bits (TF32) where the GPU has tensor cores.
    pub precision: Precision,
}

impl ConvTransposeShape {
    /// Over `time` samples of `[in, out]` channels, with weights `[in, out, taps]`.
    #[must_use]
    pub fn over_time(
        batch: usize,
        channels: [usize; 2],
        time: usize,
        taps: usize,
        stride: usize,
        padding: usize,
    ) -> Self {
        Self {
            batch,
            channels,
            size: [1, time],
            taps: [1, taps],
            stride: [1, stride],
            padding: [0, padding],
            output_padding: [0, 0],
            precision: Precision::Full,
        }
    }

    /// Over images of `size`, doubling it, with weights `[in, out, 3, 3]`.
    #[must_use]
    pub fn doubling(batch: usize, channels: [usize; 2], size: [usize; 2]) -> Self {
        Self {
            batch,
            channels,
            size,
            taps: [3; 2],
            stride: [2; 2],
            padding: [1; 2],
            output_padding: [1; 2],
            precision: Precision::Full,
        }
    }

    /// Rows and columns of the output; 0 where all are cut off.
    #[must_use]
    pub fn output_size(&self) -> [usize; 2] {
        std::array::from_fn(|i| {
            let Some(steps) = self.size[i].checked_sub(1) else { return 0 };
            let whole = steps.saturating_mul(self.stride[i]).saturating_add(self.taps[i]);
            whole.saturating_add(self.output_padding[i]).saturating_sub(self.padding[i].saturating_mul(2))
        })
    }

    /// Values of the output `[batch, out, rows, columns]`.
    #[must_use]
    pub fn output_len(&self) -> usize {
        let [rows, columns] = self.output_size();
        [self.batch, self.channels[1], rows, columns].into_iter().fold(1, usize::saturating_mul)
    }

    /// Values of scratch that [`conv_transpose`] needs.
    #[must_use]
    pub fn scratch(&self) -> usize {
        self.check().map_or(0, |()| self.tiling().scratch(self.output_len()))
    }

    /// Outputs of the same distance to an input, along both sides.
    fn phases(&self) -> usize {
        self.stride[0] * self.stride[1]
    }

    fn tiling(&self) -> Tiling {
        let output = self.output_size();
        let of_phase: usize = (0..2).map(|i| output[i].div_ceil(self.stride[i])).product();
        let taps: usize = (0..2).map(|i| self.taps[i].div_ceil(self.stride[i])).product();
        let tiles = if self.precision == Precision::Full { &TILES } else { &REDUCED_TILES };
        Tiling::new(tiles, self.phases(), [self.channels[1], self.batch * of_phase], taps * self.channels[0])
    }

    /// Refuses what no kernel can count.
    fn check(&self) -> Result<()> {
        let [inputs, outputs] = self.channels;
        if inputs == 0 {
            return Err(Error::argument("input channels", "at least 1", inputs));
        }
        if self.taps.contains(&0) || self.stride.contains(&0) {
            return Err(Error::argument(
                "taps and stride",
                "at least 1",
                format!("{:?}, {:?}", self.taps, self.stride),
            ));
        }
        let [rows, columns] = self.output_size();
        for (i, output) in [rows, columns].into_iter().enumerate() {
            // What the kernel counts on the way to an output.
            let most = output.saturating_add(2 * self.padding[i].min(usize::MAX / 4)).saturating_add(self.stride[i]);
            values("rows or columns of the output and its padding", &[most, 2])?;
        }
        values("strides", &self.stride)?;
        values("input", &[self.batch, inputs, self.size[0], self.size[1]])?;
        values("output", &[self.batch, outputs, rows, columns])?;
        values("weights", &[outputs.saturating_add(3), inputs, self.taps[0], self.taps[1]]).map(drop)
    }
}

/// The layout of weights that [`conv_transpose`] reads, of torch's `[in, out, rows, columns]`: for each phase of rows
/// and each of columns, its taps and inputs, all outputs, made a multiple of 4 by zeros.
///
/// # Errors
/// The weights are of another number than `shape` gives.
pub fn prepare_conv_transpose(weight: &[f32], shape: &ConvTransposeShape) -> Result<Vec<f32>> {
    shape.check()?;
    let ([inputs, outputs], [rows, columns]) = (shape.channels, shape.taps);
    expect_len("weights", weight.len(), inputs * outputs * rows * columns)?;
    let padded = outputs.next_multiple_of(4);
    let mut prepared = Vec::with_capacity(inputs * padded * rows * columns);
    let taps = |phase: usize, i: usize| (phase..shape.taps[i]).step_by(shape.stride[i]);
    for down in 0..shape.stride[0].min(rows) {
        for across in 0..shape.stride[1].min(columns) {
            for row in taps(down, 0) {
                for column in taps(across, 1) {
                    for input in 0..inputs {
                        let of = |output| weight[((input * outputs + output) * rows + row) * columns + column];
                        prepared.extend((0..padded).map(|output| if output < outputs { of(output) } else { 0.0 }));
                    }
                }
            }
        }
    }
    Ok(prepared)
}

/// Upsamples `x` `[batch, in, rows, columns]` with weights of [`prepare_conv_transpose`] into `y` of
/// [`ConvTransposeShape::output_len`] values; `bias` has a value for each output channel and `residual` one for each
/// output. Buffers may be longer.
///
/// # Errors
/// The shape is not one, a buffer is too short, `scratch` shorter than [`ConvTransposeShape::scratch`], or the machine
/// fails.
#[allow(clippy::too_many_arguments, reason = "a kernel's inputs and outputs")]
pub fn conv_transpose<M: Machine>(
    machine: &M,
    shape: &ConvTransposeShape,
    x: &Buffer<M, f32>,
    weight: &Buffer<M, f32>,
    bias: Option<&Buffer<M, f32>>,
    residual: Option<&Buffer<M, f32>>,
    epilogue: Epilogue,
    scratch: &mut Buffer<M, f32>,
    y: &mut Buffer<M, f32>,
) -> Result<()> {
    shape.check()?;
    let ([inputs, outputs], [rows, columns], total) = (shape.channels, shape.output_size(), shape.output_len());
    let ending = Ending { bias, residual, epilogue };
    ending.check(outputs, total)?;
    expect_at_least("input", x.len(), shape.batch * inputs * shape.size[0] * shape.size[1])?;
    let taps = shape.taps[0] * shape.taps[1];
    expect_at_least("weights", weight.len(), taps * inputs * outputs.next_multiple_of(4))?;
    expect_at_least("output", y.len(), total)?;
    let tiling = shape.tiling();
    expect_at_least("scratch", scratch.len(), tiling.scratch(total))?;
    if total == 0 {
        return Ok(());
    }
    Launch::new(tiling.kernel, tiling.count[1])
        .rows(shape.phases() * tiling.count[0])
        .layers(tiling.parts)
        .input(x)
        .input(weight)
        .optional(bias)
        .optional(residual)
        .output(y)
        .output(scratch)
        .size(shape.batch)
        .size(inputs)
        .size(outputs)
        .sizes(shape.size)
        .sizes(shape.taps)
        .sizes([rows, columns])
        .sizes(shape.stride)
        .sizes(shape.padding)
        .size(tiling.share)
        .activation(epilogue.before)
        .activation(epilogue.after)
        .f32(epilogue.scale)
        .f32(epilogue.kept)
        .run(machine)?;
    if tiling.parts == 1 {
        return Ok(());
    }
    ending.sum_parts(machine, scratch, tiling.parts, [total, rows * columns, outputs], y)
}

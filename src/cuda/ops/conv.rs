//! Convolution.

use super::epilogue::{Ending, Epilogue, values};
use super::tiles::{Tile, Tiling};
use super::{
    CONV_32X32, CONV_32X32_TF32, CONV_32X128, CONV_32X128_TF32, CONV_64X64, CONV_64X64_TF32, CONV_128X64_TF32,
};
use crate::cuda::launch::{Buffer, Launch, Machine, expect_at_least, expect_len};
use crate::error::{Error, Result};
use crate::nn::ops::{Conv1dSpec, Precision};

const TILES: [Tile; 3] = [
    Tile { kernel: &CONV_32X32, size: [32, 32], cycles: 200 },
    Tile { kernel: &CONV_64X64, size: [64, 64], cycles: 550 },
    Tile { kernel: &CONV_32X128, size: [32, 128], cycles: 550 },
];

const REDUCED_TILES: [Tile; 4] = [
    Tile { kernel: &CONV_32X32_TF32, size: [32, 32], cycles: 100 },
    Tile { kernel: &CONV_64X64_TF32, size: [64, 64], cycles: 250 },
    Tile { kernel: &CONV_32X128_TF32, size: [32, 128], cycles: 250 },
    Tile { kernel: &CONV_128X64_TF32, size: [128, 64], cycles: 350 },
];

/// Rows or columns that the kernel can tell from those beyond the last sample's.
const LONGEST: usize = 1 << 30;

/// Sizes of a convolution. Pairs are of rows and columns; a signal is an image of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvShape {
    /// Independent inputs.
    pub batch: usize,
    /// Channels of input and output, of all groups.
    pub channels: [usize; 2],
    /// Independent groups of channels.
    pub groups: usize,
    /// Rows and columns of the input.
    pub size: [usize; 2],
    /// Rows and columns of weights.
    pub taps: [usize; 2],
    /// Inputs per output.
    pub stride: [usize; 2],
    /// Zeros before and after.
    pub padding: [[usize; 2]; 2],
    /// Inputs from one tap to the next.
    pub dilation: [usize; 2],
    /// Of the factors: reduced, they have 11 significant bits (TF32) where the GPU has tensor cores.
    pub precision: Precision,
}

impl ConvShape {
    /// Over `time` samples of `[in, out]` channels, with weights `[out, in / groups, taps]`.
    #[must_use]
    pub fn over_time(batch: usize, channels: [usize; 2], time: usize, taps: usize, spec: Conv1dSpec) -> Self {
        Self {
            batch,
            channels,
            groups: spec.groups,
            size: [1, time],
            taps: [1, taps],
            stride: [1, spec.stride],
            padding: [[0, 0], spec.padding],
            dilation: [1, spec.dilation],
            precision: Precision::Full,
        }
    }

    /// Over images of `size`, keeping it, with weights `[out, in, taps, taps]`, an odd number of them.
    #[must_use]
    pub fn over_image(batch: usize, channels: [usize; 2], size: [usize; 2], taps: usize) -> Self {
        Self {
            batch,
            channels,
            groups: 1,
            size,
            taps: [taps; 2],
            stride: [1; 2],
            padding: [[taps / 2; 2]; 2],
            dilation: [1; 2],
            precision: Precision::Full,
        }
    }

    /// Rows and columns of the output; 0 where the taps reach beyond the padded input.
    #[must_use]
    pub fn output_size(&self) -> [usize; 2] {
        std::array::from_fn(|i| {
            let reach = self.dilation[i].saturating_mul(self.taps[i].saturating_sub(1)).saturating_add(1);
            self.padded(i).checked_sub(reach).map_or(0, |rest| rest / self.stride[i].max(1) + 1)
        })
    }

    /// Rows (0) or columns (1) of the input with its padding.
    fn padded(&self, i: usize) -> usize {
        self.size[i].saturating_add(self.padding[i][0]).saturating_add(self.padding[i][1])
    }

    /// Values of the output `[batch, out, rows, columns]`.
    #[must_use]
    pub fn output_len(&self) -> usize {
        let [rows, columns] = self.output_size();
        [self.batch, self.channels[1], rows, columns].into_iter().fold(1, usize::saturating_mul)
    }

    /// Values of scratch that [`conv`] needs.
    #[must_use]
    pub fn scratch(&self) -> usize {
        self.check().map_or(0, |()| self.tiling().scratch(self.output_len()))
    }

    /// Input and output channels of a group.
    fn of_group(&self) -> [usize; 2] {
        self.channels.map(|channels| channels / self.groups.max(1))
    }

    /// Products of one sum.
    fn depth(&self) -> usize {
        self.taps[0] * self.taps[1] * self.of_group()[0]
    }

    fn tiling(&self) -> Tiling {
        let [rows, columns] = self.output_size();
        let tiles = if self.precision == Precision::Full { &TILES[..] } else { &REDUCED_TILES };
        Tiling::new(tiles, self.groups, [self.of_group()[1], self.batch * rows * columns], self.depth())
    }

    /// Refuses what no kernel can count, and groups that are not whole.
    fn check(&self) -> Result<()> {
        let [inputs, outputs] = self.channels;
        if self.groups == 0 || !inputs.is_multiple_of(self.groups) || !outputs.is_multiple_of(self.groups) {
            return Err(Error::argument(
                "groups",
                format!("a divisor of {inputs} and {outputs} channels"),
                self.groups,
            ));
        }
        if inputs == 0 {
            return Err(Error::argument("input channels", "at least 1", inputs));
        }
        if self.taps.contains(&0) || self.stride.contains(&0) || self.dilation.contains(&0) {
            let found = format!("{:?}, {:?}, {:?}", self.taps, self.stride, self.dilation);
            return Err(Error::argument("taps, stride and dilation", "at least 1", found));
        }
        let padded = [0, 1].map(|i| self.padded(i));
        if let Some(size) = padded.into_iter().find(|&size| size >= LONGEST) {
            return Err(Error::argument("padded input", format!("fewer than {LONGEST} rows and columns"), size));
        }
        values("padded input", &[self.batch, inputs, padded[0], padded[1]])?;
        values("taps", &[self.taps[0], self.dilation[0]])?;
        values("taps", &[self.taps[1], self.dilation[1]])?;
        let [rows, columns] = self.output_size();
        values("output", &[self.batch, outputs, rows, columns])?;
        let padded = self.of_group()[1].saturating_add(3);
        values("weights", &[self.groups, padded, self.taps[0], self.taps[1], self.of_group()[0]]).map(drop)
    }
}

/// The layout of weights that [`conv`] reads, of torch's `[out, in / groups, rows, columns]`: for each group, rows and
/// columns of taps and inputs, all its outputs, made a multiple of 4 by zeros.
///
/// # Errors
/// The weights are of another number than `shape` gives.
pub fn prepare_conv(weight: &[f32], shape: &ConvShape) -> Result<Vec<f32>> {
    shape.check()?;
    let [inputs, outputs] = shape.of_group();
    let taps = shape.taps[0] * shape.taps[1];
    expect_len("weights", weight.len(), shape.channels[1] * inputs * taps)?;
    let padded = outputs.next_multiple_of(4);
    let mut prepared = vec![0.0; shape.groups * taps * inputs * padded];
    for (at, &weight) in weight.iter().enumerate() {
        let (tap, input, output) = (at % taps, at / taps % inputs, at / (taps * inputs));
        let row = (output / outputs * taps + tap) * inputs + input;
        prepared[row * padded + output % outputs] = weight;
    }
    Ok(prepared)
}

/// Convolves `x` `[batch, in, rows, columns]` with weights of [`prepare_conv`] into `y` of [`ConvShape::output_len`]
/// values; `bias` has a value for each output channel and `residual` one for each output. Buffers may be longer.
///
/// # Errors
/// The shape is not one, a buffer is too short, `scratch` shorter than [`ConvShape::scratch`], or the machine fails.
#[allow(clippy::too_many_arguments, reason = "a kernel's inputs and outputs")]
pub fn conv<M: Machine>(
    machine: &M,
    shape: &ConvShape,
    x: &Buffer<M, f32>,
    weight: &Buffer<M, f32>,
    bias: Option<&Buffer<M, f32>>,
    residual: Option<&Buffer<M, f32>>,
    epilogue: Epilogue,
    scratch: &mut Buffer<M, f32>,
    y: &mut Buffer<M, f32>,
) -> Result<()> {
    shape.check()?;
    let ([inputs, outputs], [rows, columns], total) = (shape.of_group(), shape.output_size(), shape.output_len());
    let ending = Ending { bias, residual, epilogue };
    ending.check(shape.channels[1], total)?;
    expect_at_least("input", x.len(), shape.batch * shape.channels[0] * shape.size[0] * shape.size[1])?;
    expect_at_least("weights", weight.len(), shape.groups * shape.depth() * outputs.next_multiple_of(4))?;
    expect_at_least("output", y.len(), total)?;
    let tiling = shape.tiling();
    expect_at_least("scratch", scratch.len(), tiling.scratch(total))?;
    if total == 0 {
        return Ok(());
    }
    Launch::new(tiling.kernel, tiling.count[1])
        .rows(shape.groups * tiling.count[0])
        .layers(tiling.parts)
        .input(x)
        .input(weight)
        .optional(bias)
        .optional(residual)
        .output(y)
        .output(scratch)
        .size(shape.batch)
        .size(shape.groups)
        .size(inputs)
        .size(outputs)
        .sizes(shape.size)
        .sizes(shape.taps)
        .sizes([rows, columns])
        .sizes(shape.stride)
        .sizes([shape.padding[0][0], shape.padding[1][0]])
        .sizes(shape.dilation)
        .size(tiling.share)
        .activation(epilogue.before)
        .activation(epilogue.after)
        .f32(epilogue.scale)
        .f32(epilogue.kept)
        .run(machine)?;
    if tiling.parts == 1 {
        return Ok(());
    }
    ending.sum_parts(machine, scratch, tiling.parts, [total, rows * columns, shape.channels[1]], y)
}

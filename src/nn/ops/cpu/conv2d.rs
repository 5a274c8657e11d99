//! Two-dimensional convolution that keeps the size of the image.

use super::image::Band;
use super::level::Level;
use super::parallel::{Grid, Output};
use super::tap_sum::{self, TapSum};
use super::{Around, activation, scratch};

/// Packed weights and sizes.
#[derive(Clone, Debug)]
pub struct Conv2d {
    level: Level,
    inputs: usize,
    outputs: usize,
    side: usize,
    /// As [`tap_sum::pack`] makes them, `k = (row * in + channel) * side + column`.
    weights: Vec<f32>,
    bias: Vec<f32>,
}

impl Conv2d {
    /// Packs `weight` `[out, in, side, side]`, `side` odd, and `bias` `[out]`.
    pub fn new(level: Level, weight: &[f32], [outputs, inputs, side, width]: [usize; 4], bias: Option<&[f32]>) -> Self {
        assert!(side == width && side % 2 == 1, "kernels must be square and odd, not {side} by {width}");
        let per_row = inputs * side * side;
        assert_eq!(weight.len(), outputs * per_row);
        let weights = tap_sum::pack(level, outputs, per_row, |output, k| {
            let (row, channel, column) = (k / side / inputs, k / side % inputs, k % side);
            weight[((output * inputs + channel) * side + row) * side + column]
        });
        let bias = bias.map_or_else(|| vec![0.0; outputs], <[f32]>::to_vec);
        Self { level, inputs, outputs, side, weights, bias }
    }

    /// Output channels.
    pub fn channels(&self) -> usize {
        self.outputs
    }

    /// Convolves `x` `[batch, in, height, width]` into `out` `[batch, out, height, width]`.
    pub fn run(&self, x: &[f32], batch: usize, [height, width]: [usize; 2], around: Around, out: &mut [f32]) {
        assert_eq!(x.len(), batch * self.inputs * height * width);
        assert_eq!(out.len(), batch * self.outputs * height * width);
        assert!(around.residual.is_none_or(|residual| residual.len() == out.len()));
        if out.is_empty() {
            return;
        }
        let band = Band::new(self.inputs, height, width, self.side / 2);
        let blocks: Vec<_> = tap_sum::row_blocks(self.level, self.outputs).collect();
        let grid = Grid::new(batch * band.count(), blocks.len(), out.len() * self.inputs * self.side * self.side);
        let out = Output::new(out);
        grid.run(|index, part| {
            let blocks = &blocks[grid.share(blocks.len(), part)];
            self.band(x, band, index / band.count(), index % band.count() * band.rows, blocks, around, out);
        });
    }

    /// One band of rows from `start` of some blocks of channels of one batch entry.
    #[allow(clippy::too_many_arguments, reason = "private: the state of one task")]
    fn band(
        &self,
        x: &[f32],
        band: Band,
        entry: usize,
        start: usize,
        blocks: &[(usize, usize)],
        around: Around,
        out: Output,
    ) {
        let Band { height, width, margin, .. } = band;
        let area = height * width;
        let lines = band.rows.min(height - start);
        let columns = band.columns(lines);
        // The kernel's rows that meet the image; a low image passes most of them by.
        let kernel_rows = margin.saturating_sub(start + lines - 1)..(height + margin - start).min(self.side);
        let per_kernel_row = self.inputs * self.side;
        let taps = kernel_rows.start * per_kernel_row..kernel_rows.end * per_kernel_row;
        let offset = |k: usize| {
            let (row, channel, column) = (k / per_kernel_row, k / self.side % self.inputs, k % self.side);
            (channel * band.plane() + row * band.pitch() + column) as u32
        };
        let offsets: Vec<u32> = taps.clone().map(offset).collect();
        let per_output = self.side * per_kernel_row;
        scratch::with(band.buffer(self.inputs), |input| {
            let image = &x[entry * self.inputs * area..][..self.inputs * area];
            band.fill(self.level, image, start, around, input);
            scratch::with(self.level.rows() * columns, |sums| {
                for &(first, rows) in blocks {
                    let sum = TapSum {
                        x: input,
                        offsets: &offsets,
                        weights: &self.weights[first * per_output + taps.start * rows..][..taps.len() * rows],
                        bias: Some(&self.bias[first..first + rows]),
                        rows,
                        columns,
                        accumulate: false,
                    };
                    // SAFETY: `sums` holds a level's rows.
                    unsafe { sum.write(self.level, sums.as_mut_ptr(), columns) };
                    for (row, sums) in sums.chunks_exact(columns).take(rows).enumerate() {
                        let at = (entry * self.outputs + first + row) * area + start * width;
                        // SAFETY: each task has its own channels and lines, within the output that `run` has checked.
                        let values = unsafe { out.slice(at, lines * width) };
                        for (values, sums) in values.chunks_exact_mut(width).zip(sums.chunks(band.pitch())) {
                            values.copy_from_slice(&sums[..width]);
                        }
                        let residual = around.residual.map(|residual| &residual[at..at + lines * width]);
                        activation::finish(self.level, values, residual, around.after);
                    }
                }
            });
        });
    }
}

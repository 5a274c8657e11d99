//! Transposed 3 x 3 convolution that doubles an image: four short convolutions, one for each parity of row and column.

use super::image::Band;
use super::level::Level;
use super::parallel::{Grid, Output};
use super::tap_sum::{self, TapSum};
use super::{Around, activation, scratch};

/// For each parity of an output coordinate `2 i + parity`, the taps that reach it and on which input `i + shift`.
const TAPS: [&[Tap]; 2] = [&[Tap { tap: 1, shift: 0 }], &[Tap { tap: 2, shift: 0 }, Tap { tap: 0, shift: 1 }]];

/// Taps of a side.
const SIDE: usize = 3;

#[derive(Clone, Copy)]
struct Tap {
    tap: usize,
    shift: usize,
}

/// The taps of one parity of rows and columns, as pairs of row and column.
fn taps([row, column]: [usize; 2]) -> impl Iterator<Item = (Tap, Tap)> {
    TAPS[row].iter().flat_map(move |&row| TAPS[column].iter().map(move |&column| (row, column)))
}

/// Parities of row and column.
const PARITIES: [[usize; 2]; 4] = [[0, 0], [0, 1], [1, 0], [1, 1]];

/// Packed weights and sizes.
#[derive(Clone, Debug)]
pub struct ConvTranspose2d {
    level: Level,
    inputs: usize,
    outputs: usize,
    /// For each of [`PARITIES`] as [`tap_sum::pack`] makes them, `k = channel * taps + tap`.
    weights: [Vec<f32>; 4],
    bias: Vec<f32>,
}

impl ConvTranspose2d {
    /// Packs `weight` `[in, out, 3, 3]` and `bias` `[out]`.
    pub fn new(level: Level, weight: &[f32], shape: [usize; 4], bias: Option<&[f32]>) -> Self {
        let [inputs, outputs, height, width] = shape;
        assert_eq!([height, width], [SIDE, SIDE], "kernels must be 3 by 3");
        assert_eq!(weight.len(), inputs * outputs * SIDE * SIDE);
        let weights = PARITIES.map(|parity| {
            let taps: Vec<_> = taps(parity).map(|(row, column)| row.tap * SIDE + column.tap).collect();
            tap_sum::pack(level, outputs, inputs * taps.len(), |output, k| {
                weight[(k / taps.len() * outputs + output) * SIDE * SIDE + taps[k % taps.len()]]
            })
        });
        let bias = bias.map_or_else(|| vec![0.0; outputs], <[f32]>::to_vec);
        Self { level, inputs, outputs, weights, bias }
    }

    /// Output channels.
    pub fn channels(&self) -> usize {
        self.outputs
    }

    /// Doubles `x` `[batch, in, height, width]` into `out` `[batch, out, 2 height, 2 width]`.
    pub fn run(&self, x: &[f32], batch: usize, [height, width]: [usize; 2], around: Around, out: &mut [f32]) {
        assert_eq!(x.len(), batch * self.inputs * height * width);
        assert_eq!(out.len(), batch * self.outputs * height * width * 4);
        assert!(around.residual.is_none_or(|residual| residual.len() == out.len()));
        if out.is_empty() {
            return;
        }
        let band = Band::new(self.inputs, height, width, 1);
        let blocks: Vec<_> = tap_sum::row_blocks(self.level, self.outputs).collect();
        let grid = Grid::new(batch * band.count(), blocks.len(), x.len() * self.outputs * SIDE * SIDE);
        let out = Output::new(out);
        grid.run(|index, part| {
            let blocks = &blocks[grid.share(blocks.len(), part)];
            self.band(x, band, index / band.count(), index % band.count() * band.rows, blocks, around, out);
        });
    }

    /// One band of input rows from `start`, for some blocks of channels of one batch entry.
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
        let area = band.height * band.width;
        let lines = band.rows.min(band.height - start);
        let columns = band.columns(lines);
        let offsets = PARITIES.map(|parity| self.offsets(parity, band));
        scratch::with(band.buffer(self.inputs), |input| {
            let image = &x[entry * self.inputs * area..][..self.inputs * area];
            band.fill(self.level, image, start, around, input);
            scratch::with(4 * self.level.rows() * columns, |sums| {
                for &(first, rows) in blocks {
                    for (index, offsets) in offsets.iter().enumerate() {
                        let sum = TapSum {
                            x: input,
                            offsets,
                            weights: &self.weights[index][first * offsets.len()..][..rows * offsets.len()],
                            bias: Some(&self.bias[first..first + rows]),
                            rows,
                            columns,
                            accumulate: false,
                        };
                        // SAFETY: row `r` goes to row `4 r + index` of `sums`, which has four for each.
                        unsafe { sum.write(self.level, sums[index * columns..].as_mut_ptr(), 4 * columns) };
                    }
                    for (row, sums) in sums.chunks_exact(4 * columns).take(rows).enumerate() {
                        let at = (entry * self.outputs + first + row) * 4 * area + start * 4 * band.width;
                        // SAFETY: each task has its own channels and lines, within the output that `run` has checked.
                        let values = unsafe { out.slice(at, lines * 4 * band.width) };
                        interleave(sums, band, values);
                        let residual = around.residual.map(|residual| &residual[at..at + values.len()]);
                        activation::finish(self.level, values, residual, around.after);
                    }
                }
            });
        });
    }

    /// Where the input of each weight of one parity starts.
    fn offsets(&self, parity: [usize; 2], band: Band) -> Vec<u32> {
        let channels = 0..self.inputs;
        let starts = channels.flat_map(|channel| {
            taps(parity).map(move |(row, column)| {
                channel * band.plane() + (row.shift + band.margin) * band.pitch() + column.shift + band.margin
            })
        });
        starts.map(|start| start as u32).collect()
    }
}

/// Writes the lines of one channel from the sums `[4, columns]` of its parities.
fn interleave(sums: &[f32], band: Band, values: &mut [f32]) {
    let columns = sums.len() / 4;
    for (index, line) in values.chunks_exact_mut(2 * band.width).enumerate() {
        let at = index / 2 * band.pitch();
        let even = &sums[index % 2 * 2 * columns + at..][..band.width];
        let odd = &sums[(index % 2 * 2 + 1) * columns + at..][..band.width];
        for ((pair, even), odd) in line.chunks_exact_mut(2).zip(even).zip(odd) {
            pair[0] = *even;
            pair[1] = *odd;
        }
    }
}

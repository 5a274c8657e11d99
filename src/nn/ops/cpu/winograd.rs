//! Convolution with fewer products: Winograd's and Toom and Cook's minimal filtering.
//!
//! Four outputs of four taps need seven products, not sixteen: the values of the inputs' polynomial at seven points,
//! times those of the weights'. Longer kernels are groups of four taps. As a group's inputs lie one tile of four
//! outputs further, its transform is the next tile's, and the groups are taps of one sum over transformed tiles.
//!
//! Samples lie in *planes*, so that tiles of any dilation are whole vectors: sample `u` of a row of `width` columns is in
//! plane `u % period`, column `u / period`, at `plane * width + column`; `period` is a multiple of four dilations.

use super::super::Activation;
use super::level::{Kernel, Level};
use super::parallel::{Grid, Output};
use super::tap_sum::{self, OVERREAD, TapSum};
use super::vector::Vector;
use super::{row_stride, scratch};

/// Outputs of one tile.
const TILE: usize = 4;

/// Rows transformed back at once: the more, the fewer times the transformed input is read; the fewer, the more of the
/// sums stay in the cache.
const ROWS_AT_ONCE: usize = 32;

/// Transforms for `TAPS` taps at `POINTS` points, the last of which is infinity.
struct Scheme<const TAPS: usize, const POINTS: usize> {
    input: [[f32; POINTS]; POINTS],
    weight: [[f32; TAPS]; POINTS],
    output: [[f32; POINTS]; TILE],
}

/// Points whose transforms round little: the error of a convolution is below 1e-6 of its size.
const THREE_TAPS: Scheme<3, 6> = scheme(&[0.0, 1.0, -1.0, 0.5, -2.0]);
const FOUR_TAPS: Scheme<4, 7> = scheme(&[0.0, 1.0, -1.0, 0.5, -0.5, -2.0]);

/// The transposed Toom-Cook multiplication: Vandermonde matrices of the outputs and weights, Lagrange's of the inputs.
const fn scheme<const TAPS: usize, const POINTS: usize>(points: &[f64]) -> Scheme<TAPS, POINTS> {
    let infinity = POINTS - 1;
    let mut scheme =
        Scheme { input: [[0.0; POINTS]; POINTS], weight: [[0.0; TAPS]; POINTS], output: [[0.0; POINTS]; TILE] };
    let mut point = 0;
    while point < POINTS {
        // The product of (z - a) over the other points, and its value at this one.
        let mut product = [0.0; POINTS];
        product[0] = 1.0;
        let mut value = 1.0;
        let mut other = 0;
        while other < infinity {
            if other != point {
                let mut power = POINTS - 1;
                while power > 0 {
                    product[power] = product[power - 1] - points[other] * product[power];
                    power -= 1;
                }
                product[0] *= -points[other];
                if point < infinity {
                    value *= points[point] - points[other];
                }
            }
            other += 1;
        }
        let mut power = 0;
        while power < POINTS {
            scheme.input[point][power] = product[power] as f32;
            power += 1;
        }
        let mut power = 1.0;
        let mut index = 0;
        while index < TILE || index < TAPS {
            if point < infinity {
                if index < TAPS {
                    scheme.weight[point][index] = (power / value) as f32;
                }
                if index < TILE {
                    scheme.output[index][point] = power as f32;
                }
                power *= points[point];
            }
            index += 1;
        }
        point += 1;
    }
    scheme.weight[infinity][TAPS - 1] = 1.0;
    scheme.output[TILE - 1][infinity] = 1.0;
    scheme
}

/// How rows of samples lie in a buffer.
#[derive(Clone, Copy, Debug)]
pub struct Planes {
    /// Samples in a column.
    pub period: usize,
    /// Columns.
    pub width: usize,
}

impl Planes {
    /// Values from one row to the next.
    pub fn row(self) -> usize {
        row_stride(self.period * self.width)
    }

    /// Values that a convolution may read before the first row (and whose results do not matter).
    pub const LEAD: usize = OVERREAD;

    /// Length of a buffer of `rows` rows.
    pub fn buffer(self, rows: usize) -> usize {
        Self::LEAD + rows * self.row() + OVERREAD
    }

    /// Where sample `sample` of a row is, relative to its start; samples just outside the row are garbage.
    fn place(self, sample: isize) -> isize {
        let period = self.period as isize;
        sample.rem_euclid(period) * self.width as isize + sample.div_euclid(period)
    }
}

/// A length-keeping convolution of planes, with weights packed for the direct one.
#[derive(Clone, Copy)]
pub struct Convolution<'a> {
    /// Instructions.
    pub level: Level,
    /// Layout of input and output.
    pub planes: Planes,
    /// Taps, at least 3.
    pub taps: usize,
    /// Samples between taps; four times it divides the period.
    pub dilation: usize,
    /// As [`tap_sum::pack`] makes them, `k = channel * taps + tap`.
    pub weights: &'a [f32],
    /// One for each channel.
    pub bias: &'a [f32],
    /// Applied to each input.
    pub before: Activation,
    /// Whether the output is added to what is there, or stored rectified.
    pub accumulate: bool,
    /// Whether to share the work among threads.
    pub shared: bool,
}

impl Convolution<'_> {
    /// Convolves `from` into `to`, both buffers of [`Planes::buffer`].
    pub fn run(self, from: &[f32], to: &mut [f32]) {
        let channels = self.bias.len();
        assert!(from.len() == self.planes.buffer(channels) && to.len() == from.len());
        assert!(self.planes.period.is_multiple_of(TILE * self.dilation) && self.taps >= 3);
        if self.taps == 3 { self.run_scheme(&THREE_TAPS, from, to) } else { self.run_scheme(&FOUR_TAPS, from, to) }
    }

    /// Groups of taps.
    fn groups(self) -> usize {
        if self.taps == 3 { 1 } else { self.taps.div_ceil(4) }
    }

    /// Tiles of one residue of the dilation in a column.
    fn tiles(self) -> usize {
        self.planes.period / (TILE * self.dilation)
    }

    /// Values of one transformed row: for each residue its tiles, and as many of the next column's as the groups reach.
    fn transformed_row(self) -> usize {
        row_stride(self.dilation * (self.tiles() + self.groups() - 1) * self.planes.width)
    }

    fn run_scheme<const TAPS: usize, const POINTS: usize>(
        self,
        scheme: &'static Scheme<TAPS, POINTS>,
        from: &[f32],
        to: &mut [f32],
    ) {
        let channels = self.bias.len();
        let work = if self.shared { channels * channels * self.planes.period * self.planes.width } else { 0 };
        let size = channels * self.transformed_row() + OVERREAD;
        scratch::with(POINTS * size, |transformed| {
            let grid = Grid::new(1, channels, work);
            let output = Output::new(transformed);
            grid.run(|_, part| {
                let channels = grid.share(channels, part);
                self.level.run(Input { convolution: self, scheme, from, channels, to: output, size });
            });
            let transformed = &*transformed;
            let blocks: Vec<_> = tap_sum::row_blocks(self.level, channels).collect();
            let at_once = ROWS_AT_ONCE.div_ceil(self.level.rows());
            let grid = Grid::new(1, blocks.len().div_ceil(at_once), work);
            let to = Output::new(to);
            grid.run(|_, part| {
                for blocks in blocks[grid.share(blocks.len(), part)].chunks(at_once) {
                    self.rows(scheme, blocks, transformed, size, to);
                }
            });
        });
    }

    /// The output of some blocks of rows.
    fn rows<const TAPS: usize, const POINTS: usize>(
        self,
        scheme: &'static Scheme<TAPS, POINTS>,
        blocks: &[(usize, usize)],
        transformed: &[f32],
        size: usize,
        to: Output,
    ) {
        let (width, groups, tiles) = (self.planes.width, self.groups(), self.tiles());
        let depth = self.bias.len() * groups;
        let (Some(&(start, _)), Some(&(last, count))) = (blocks.first(), blocks.last()) else { return };
        let rows = last + count - start;
        let row = self.transformed_row();
        let sums_row = row_stride(self.dilation * tiles * width);
        let offsets: Vec<u32> = (0..depth).map(|k| (k / groups * row + k % groups * width) as u32).collect();
        scratch::with(POINTS * depth * rows, |weights| {
            for &(first, size) in blocks {
                let from = &self.weights[first * depth / groups * self.taps..][..size * depth / groups * self.taps];
                let to = &mut weights[(first - start) * depth..];
                self.level.run(Weights { scheme, taps: self.taps, groups, rows: size, from, to, point: depth * rows });
            }
            scratch::with(POINTS * rows * sums_row, |sums| {
                for point in 0..POINTS {
                    for residue in 0..self.dilation {
                        let sum = TapSum {
                            x: &transformed[point * size + residue * (tiles + groups - 1) * width..],
                            offsets: &offsets,
                            weights: &weights[point * depth * rows..][..depth * rows],
                            bias: None,
                            rows,
                            columns: tiles * width,
                            accumulate: false,
                        };
                        let at = point * sums_row + residue * tiles * width;
                        // SAFETY: rows of a point are `POINTS * sums_row` apart, `rows` of them, all within `sums`.
                        unsafe { sum.write(self.level, sums[at..].as_mut_ptr(), POINTS * sums_row) };
                    }
                }
                self.level.run(Back { convolution: self, scheme, sums, sums_row, rows: start..start + rows, to });
            });
        });
    }
}

/// Transforms the weights of one block: `[channel, tap, row]` to `[point][channel, group, row]`.
struct Weights<'a, const TAPS: usize, const POINTS: usize> {
    scheme: &'static Scheme<TAPS, POINTS>,
    taps: usize,
    groups: usize,
    rows: usize,
    from: &'a [f32],
    to: &'a mut [f32],
    /// Values from one point to the next.
    point: usize,
}

impl<const TAPS: usize, const POINTS: usize> Kernel for Weights<'_, TAPS, POINTS> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(mut self) {
        match self.rows {
            8 => self.transform::<8>(),
            6 => self.transform::<6>(),
            4 => self.transform::<4>(),
            2 => self.transform::<2>(),
            rows => {
                debug_assert_eq!(rows, 1);
                self.transform::<1>();
            }
        }
    }
}

impl<const TAPS: usize, const POINTS: usize> Weights<'_, TAPS, POINTS> {
    #[inline(always)]
    fn transform<const ROWS: usize>(&mut self) {
        let (from, _) = self.from.as_chunks::<ROWS>();
        for (channel, from) in from.chunks_exact(self.taps).enumerate() {
            for (group, from) in from.chunks(TAPS).enumerate() {
                let mut taps = [[0.0; ROWS]; TAPS];
                taps[..from.len()].copy_from_slice(from);
                for (point, factors) in self.scheme.weight.iter().enumerate() {
                    let mut sum = [0.0; ROWS];
                    for (tap, factor) in taps.iter().zip(factors) {
                        for (sum, weight) in sum.iter_mut().zip(tap) {
                            *sum += weight * factor;
                        }
                    }
                    let at = point * self.point + (channel * self.groups + group) * ROWS;
                    self.to[at..at + ROWS].copy_from_slice(&sum);
                }
            }
        }
    }
}

/// Transforms the tiles of some channels.
struct Input<'a, const TAPS: usize, const POINTS: usize> {
    convolution: Convolution<'a>,
    scheme: &'static Scheme<TAPS, POINTS>,
    from: &'a [f32],
    channels: std::ops::Range<usize>,
    to: Output,
    /// Values from one point to the next.
    size: usize,
}

impl<const TAPS: usize, const POINTS: usize> Kernel for Input<'_, TAPS, POINTS> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let Convolution { planes, taps, dilation, before, .. } = self.convolution;
        let reach = dilation * (taps - 1) / 2;
        let tiles = self.convolution.tiles() + self.convolution.groups() - 1;
        // Where each input of each tile is.
        let places: Vec<[isize; POINTS]> = (0..dilation * tiles)
            .map(|index| {
                let first = index % tiles * TILE * dilation + index / tiles;
                std::array::from_fn(|input| planes.place((first + input * dilation) as isize - reach as isize))
            })
            .collect();
        let slope = if let Activation::LeakyRelu(slope) = before { slope } else { 1.0 };
        for channel in self.channels {
            for (index, places) in places.iter().enumerate() {
                // SAFETY: `run` has checked `from`; places reach at most a column beyond either end of the row, which
                // the lead, the next row or the room at the end of the buffer hold. Outputs lie in the channel's row.
                unsafe {
                    let from = self.from.as_ptr().add(Planes::LEAD + channel * planes.row());
                    let at = channel * self.convolution.transformed_row() + index * planes.width;
                    let mut column = 0;
                    while column < planes.width {
                        let mut inputs = [V::splat(0.0); POINTS];
                        for (input, &place) in inputs.iter_mut().zip(places) {
                            let value = V::load(from.offset(place + column as isize));
                            *input = value.max(value.mul(V::splat(slope)));
                        }
                        for (point, factors) in self.scheme.input.iter().enumerate() {
                            let to = self.to.at(point * self.size + at + column);
                            combine(factors, &inputs).store_first(to, planes.width - column);
                        }
                        column += V::LANES;
                    }
                }
            }
        }
    }
}

/// Transforms sums back to samples.
struct Back<'a, const TAPS: usize, const POINTS: usize> {
    convolution: Convolution<'a>,
    scheme: &'static Scheme<TAPS, POINTS>,
    /// `[row, point, residue, tile, column]`.
    sums: &'a [f32],
    sums_row: usize,
    rows: std::ops::Range<usize>,
    to: Output,
}

impl<const TAPS: usize, const POINTS: usize> Kernel for Back<'_, TAPS, POINTS> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let Convolution { planes, dilation, bias, accumulate, .. } = self.convolution;
        let tiles = self.convolution.tiles();
        for (row, sums) in self.rows.zip(self.sums.chunks_exact(POINTS * self.sums_row)) {
            let bias = V::splat(bias[row]);
            for tile in 0..dilation * tiles {
                let first = tile % tiles * TILE * dilation + tile / tiles;
                // SAFETY: a tile's columns lie in its row of `sums`, which has room to read beyond; its samples lie in
                // the row of the output, which nobody else uses.
                unsafe {
                    let mut column = 0;
                    while column < planes.width {
                        let left = planes.width - column;
                        let mut values = [V::splat(0.0); POINTS];
                        for (point, value) in values.iter_mut().enumerate() {
                            let at = point * self.sums_row + tile * planes.width + column;
                            *value = V::load(sums.as_ptr().add(at));
                        }
                        for (output, factors) in self.scheme.output.iter().enumerate() {
                            let value = combine(factors, &values).add(bias);
                            let place = (first + output * dilation) * planes.width + column;
                            let to = self.to.at(Planes::LEAD + row * planes.row() + place);
                            let value = if accumulate {
                                value.add(V::load(to))
                            } else {
                                value.max(value.mul(V::splat(super::residual_stage::SLOPE)))
                            };
                            value.store_first(to, left);
                        }
                        column += V::LANES;
                    }
                }
            }
        }
    }
}

/// The sum of `values` times constant `factors`, of which zeros cost nothing.
#[inline(always)]
fn combine<V: Vector, const POINTS: usize>(factors: &[f32; POINTS], values: &[V; POINTS]) -> V {
    let mut sum = V::splat(0.0);
    for (&factor, &value) in factors.iter().zip(values) {
        if factor != 0.0 {
            sum = value.mul_add(V::splat(factor), sum);
        }
    }
    sum
}

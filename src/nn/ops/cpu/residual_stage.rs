//! The mean of residual blocks over one signal: most of the work of a voice.
//!
//! The signal is cut into tiles, each with as much around it as its blocks reach, so that a whole block runs on buffers
//! that stay in the cache.

use std::ops::Range;

use super::super::Activation;
use super::level::Level;
use super::parallel::{Grid, Output};
use super::tap_sum::{self, OVERREAD, TapSum};
use super::winograd::{Convolution, Planes};
use super::{activation, row_stride, scratch};

/// Slope of the rectifier before every convolution.
pub(super) const SLOPE: f32 = 0.1;

/// The rectifier before every convolution.
const RECTIFIER: Activation = Activation::LeakyRelu(SLOPE);

/// Shortest signal worth the transforms of [`winograd`](super::winograd).
const SHORTEST_IN_PLANES: usize = 400;

/// Fewest values (channels times samples) worth them: below, vectors of columns are half empty.
const LEAST_IN_PLANES: usize = 60_000;

/// Fewest channels worth them: the transforms cost as much for each channel, the products they save grow with it.
const FEWEST_IN_PLANES: usize = 24;

/// Columns of planes in a tile: whole vectors, long enough that the margins are a small part, short enough for the cache.
const LONGEST_WIDTH: usize = 32;

/// Longest period of planes: four times the least common multiple of the dilations.
const LONGEST_PERIOD: usize = 240;

/// Values in one of a tile's three buffers: together they fit a second-level cache of 1 MB.
const TILE_VALUES: usize = 1 << 16;

/// Samples in a tile, unless the blocks reach so far that a tile of four times their reach is longer.
const LONGEST_TILE: usize = 4096;

/// A length-keeping convolution, packed.
#[derive(Clone, Debug)]
pub struct Kernel1d {
    taps: usize,
    dilation: usize,
    /// As [`tap_sum::pack`] makes them, `k = channel * taps + tap`.
    weights: Vec<f32>,
    bias: Vec<f32>,
}

impl Kernel1d {
    /// Packs `weight` `[channels, channels, taps]`, an odd number of taps, and `bias` `[channels]`.
    pub fn new(level: Level, weight: &[f32], [out, inputs, taps]: [usize; 3], bias: &[f32], dilation: usize) -> Self {
        assert!(out == inputs && taps % 2 == 1, "not a length-keeping kernel: {out} x {inputs} x {taps}");
        let weights = tap_sum::pack(level, out, inputs * taps, |row, k| weight[row * inputs * taps + k]);
        Self { taps, dilation, weights, bias: bias.to_vec() }
    }

    /// Samples on each side that one output sample depends on.
    fn reach(&self) -> usize {
        self.dilation * (self.taps - 1) / 2
    }
}

/// One residual step: `x += second(lrelu(first(lrelu(x))))`, or without the second.
#[derive(Clone, Debug)]
pub struct Unit {
    /// The dilated convolution.
    pub first: Kernel1d,
    /// The undilated convolution that follows it in type 1.
    pub second: Option<Kernel1d>,
}

impl Unit {
    fn reach(&self) -> usize {
        self.first.reach() + self.second.as_ref().map_or(0, Kernel1d::reach)
    }
}

/// The residual blocks of one generator stage, packed.
#[derive(Clone, Debug)]
pub struct ResidualStage {
    level: Level,
    blocks: Vec<Vec<Unit>>,
}

/// One tile of the signal of one batch entry, and how its buffers lie in time.
#[derive(Clone, Copy)]
struct Tile<'a> {
    x: &'a [f32],
    time: usize,
    start: usize,
    end: usize,
    /// Values in each buffer before the tile.
    margin: usize,
    /// Values from one channel to the next.
    row: usize,
    /// Whether to share out the rows of each convolution, tiles being too few.
    share_rows: bool,
}

impl Tile<'_> {
    /// The part of a buffer row that holds the tile and up to `halo` samples on each side of it, within the signal.
    fn range(&self, halo: usize) -> Range<usize> {
        let place = |time: usize| time + self.margin - self.start;
        let first = (self.margin - halo).max(self.margin.saturating_sub(self.start));
        first..place((self.end + halo).min(self.time))
    }
}

impl ResidualStage {
    /// From packed blocks.
    pub fn new(level: Level, blocks: Vec<Vec<Unit>>) -> Self {
        Self { level, blocks }
    }

    /// The mean over the blocks of `x` `[batch, channels, time]`, into `out` of the same shape.
    pub fn run(&self, x: &[f32], [batch, channels, time]: [usize; 3], out: &mut [f32]) {
        assert_eq!(x.len(), batch * channels * time);
        assert_eq!(out.len(), x.len());
        if out.is_empty() || self.blocks.is_empty() {
            return out.copy_from_slice(x);
        }
        let halo = self.halo();
        let worth = time >= SHORTEST_IN_PLANES && channels >= FEWEST_IN_PLANES && channels * time >= LEAST_IN_PLANES;
        // Tiles whose margins are more than half of them compute more than they save.
        let narrow = |period: &usize| 4 * margin(halo, *period) <= LONGEST_WIDTH;
        if let Some(period) = self.period().filter(narrow).filter(|_| worth) {
            return self.run_in_planes(period, x, [batch, channels, time], out);
        }
        let threads = rayon::current_num_threads();
        let longest = (TILE_VALUES / channels).min(LONGEST_TILE).max(4 * halo.max(48));
        // Cut for the threads only where the halos stay a small part of the tiles.
        let wanted = if time * batch / threads >= 4 * halo { threads.div_ceil(batch) } else { 1 };
        let tile = time.div_ceil(wanted).min(longest);
        let tile = time.div_ceil(time.div_ceil(tile));
        let tiles = time.div_ceil(tile);
        let share_rows = batch * tiles < threads;
        let grid = Grid::new(batch * tiles, 1, if share_rows { 0 } else { usize::MAX });
        let out = Output::new(out);
        grid.run(|index, _| {
            let start = index % tiles * tile;
            let x = &x[index / tiles * channels * time..][..channels * time];
            let row = row_stride(tile + 2 * halo);
            let tile = Tile { x, time, start, end: time.min(start + tile), margin: halo, row, share_rows };
            // SAFETY: each task writes its own samples of its own batch entry.
            unsafe { self.tile(tile, channels, out, index / tiles * channels * time) };
        });
    }

    /// Samples on each side that a sample of the mean depends on.
    fn halo(&self) -> usize {
        self.blocks.iter().map(|units| units.iter().map(Unit::reach).sum()).max().unwrap_or(0)
    }

    /// The least period of planes that all convolutions can work in.
    fn period(&self) -> Option<usize> {
        let mut period = 4;
        for unit in self.blocks.iter().flatten() {
            for kernel in std::iter::once(&unit.first).chain(&unit.second) {
                if kernel.taps < 3 || kernel.dilation > LONGEST_PERIOD {
                    return None;
                }
                let step = 4 * kernel.dilation;
                while period % step != 0 {
                    // Terminates: the product is a multiple of both.
                    period += 4;
                    if period > LONGEST_PERIOD {
                        return None;
                    }
                }
            }
        }
        Some(period)
    }

    /// Writes the tile's mean over the blocks; `base` is where the batch entry starts in `out`.
    unsafe fn tile(&self, tile: Tile, channels: usize, out: Output, base: usize) {
        let size = channels * tile.row + OVERREAD;
        let share = 1.0 / self.blocks.len() as f32;
        let inner = tile.range(0);
        scratch::with(3 * size, |buffers| {
            // What lies outside the signal stays zero.
            buffers.fill(0.0);
            let (running, buffers) = buffers.split_at_mut(size);
            let (rectified, between) = buffers.split_at_mut(size);
            for (index, units) in self.blocks.iter().enumerate() {
                self.block(units, tile, running, rectified, between);
                for (channel, row) in running.chunks_exact(tile.row).take(channels).enumerate() {
                    let at = base + channel * tile.time + tile.start;
                    // SAFETY: the caller's promise.
                    let out = unsafe { out.slice(at, tile.end - tile.start) };
                    for (out, value) in out.iter_mut().zip(&row[inner.clone()]) {
                        *out = if index == 0 { value * share } else { *out + value * share };
                    }
                }
            }
        });
    }

    /// Puts the tile through one block; the result is left in `running`.
    fn block(&self, units: &[Unit], tile: Tile, running: &mut [f32], rectified: &mut [f32], between: &mut [f32]) {
        let mut halo: usize = units.iter().map(Unit::reach).sum();
        let range = tile.range(halo);
        for (x, row) in tile.x.chunks_exact(tile.time).zip(running.chunks_exact_mut(tile.row)) {
            let first = tile.start + range.start - tile.margin;
            row[range.clone()].copy_from_slice(&x[first..first + range.len()]);
        }
        for unit in units {
            let range = tile.range(halo);
            for (from, to) in running.chunks_exact(tile.row).zip(rectified.chunks_exact_mut(tile.row)) {
                activation::copy(self.level, &from[range.clone()], &mut to[range.clone()], RECTIFIER);
            }
            halo -= unit.first.reach();
            match &unit.second {
                Some(second) => {
                    self.convolve(&unit.first, tile, halo, rectified, between, false);
                    halo -= second.reach();
                    self.convolve(second, tile, halo, between, running, true);
                }
                None => self.convolve(&unit.first, tile, halo, rectified, running, true),
            }
        }
    }

    /// Convolves the tile and `halo` samples around it: added to `to`, or stored there rectified.
    fn convolve(&self, kernel: &Kernel1d, tile: Tile, halo: usize, from: &[f32], to: &mut [f32], add: bool) {
        let range = tile.range(halo);
        let channels = kernel.bias.len();
        let per_row = channels * kernel.taps;
        // Outputs near the ends of the buffer read before and after it: row 0 starts `reach` values early.
        let (reach, taps) = (kernel.reach(), kernel.taps);
        assert!(range.start >= reach || tile.margin >= reach);
        let offset = |k: usize| (k / taps * tile.row + k % taps * kernel.dilation + range.start - reach) as u32;
        let offsets: Vec<u32> = (0..per_row).map(offset).collect();
        let blocks: Vec<_> = tap_sum::row_blocks(self.level, channels).collect();
        let work = if tile.share_rows { range.len() * channels * per_row } else { 0 };
        let grid = Grid::new(1, blocks.len(), work);
        let to = Output::new(to);
        grid.run(|_, part| {
            let blocks = &blocks[grid.share(blocks.len(), part)];
            let Some(&(first, _)) = blocks.first() else { return };
            let rows: usize = blocks.iter().map(|&(_, rows)| rows).sum();
            let sum = TapSum {
                x: from,
                offsets: &offsets,
                weights: &kernel.weights[first * per_row..][..rows * per_row],
                bias: Some(&kernel.bias[first..first + rows]),
                rows,
                columns: range.len(),
                accumulate: add,
            };
            let at = first * tile.row + range.start;
            // SAFETY: each part has its own rows of the buffer.
            unsafe { sum.write(self.level, to.at(at), tile.row) };
            if !add {
                for row in 0..rows {
                    // SAFETY: as above.
                    let values = unsafe { to.slice(at + row * tile.row, range.len()) };
                    activation::finish(self.level, values, None, RECTIFIER);
                }
            }
        });
    }
}

/// Columns of planes of `period` on each side of a tile that hold `halo` samples.
fn margin(halo: usize, period: usize) -> usize {
    halo.div_ceil(period).max(1)
}

/// One tile in planes: sample `u` of its rows is sample `start + u` of the signal.
#[derive(Clone, Copy)]
struct PlanesTile {
    planes: Planes,
    start: isize,
    time: usize,
    /// The samples of the signal that it is there for.
    first: usize,
    last: usize,
    shared: bool,
}

impl ResidualStage {
    /// As [`run`](Self::run), with rows of samples laid out for [`winograd`](super::winograd).
    fn run_in_planes(&self, period: usize, x: &[f32], [batch, channels, time]: [usize; 3], out: &mut [f32]) {
        let margin = margin(self.halo(), period);
        let columns = time.div_ceil(period);
        // A signal of one tile needs zeros at its end only; others overlap by their margins.
        let share = if columns + margin <= LONGEST_WIDTH { columns } else { LONGEST_WIDTH - 2 * margin };
        let tiles = columns.div_ceil(share);
        let shared = batch * tiles < rayon::current_num_threads();
        let grid = Grid::new(batch * tiles, 1, if shared { 0 } else { usize::MAX });
        let out = Output::new(out);
        grid.run(|index, _| {
            let (entry, tile) = (index / tiles, index % tiles);
            let lead = if tiles == 1 { 0 } else { margin };
            let first = tile * share * period;
            let share = share.min(columns - tile * share);
            let tile = PlanesTile {
                planes: Planes { period, width: if tiles == 1 { share + margin } else { share + 2 * margin } },
                start: first as isize - (lead * period) as isize,
                time,
                first,
                last: time.min(first + share * period),
                shared,
            };
            let base = entry * channels * time;
            // SAFETY: each task writes its own samples of its own batch entry.
            unsafe { self.planes_tile(tile, &x[base..base + channels * time], channels, out, base) };
        });
    }

    /// Writes the tile's mean over the blocks; `base` is where the batch entry starts in `out`.
    unsafe fn planes_tile(&self, tile: PlanesTile, x: &[f32], channels: usize, out: Output, base: usize) {
        let size = tile.planes.buffer(channels);
        scratch::with(4 * size, |buffers| {
            let (input, buffers) = buffers.split_at_mut(size);
            let (running, buffers) = buffers.split_at_mut(size);
            let (between, sum) = buffers.split_at_mut(size);
            between.fill(0.0);
            tile.scatter(x, input);
            for (index, units) in self.blocks.iter().enumerate() {
                running.copy_from_slice(input);
                for unit in units {
                    self.unit_in_planes(unit, tile, running, between);
                }
                if index == 0 {
                    sum.copy_from_slice(running);
                } else {
                    sum.iter_mut().zip(running.iter()).for_each(|(sum, value)| *sum += value);
                }
            }
            let share = 1.0 / self.blocks.len() as f32;
            for (channel, row) in sum[Planes::LEAD..].chunks_exact(tile.planes.row()).take(channels).enumerate() {
                let at = base + channel * tile.time + tile.first;
                // SAFETY: the caller's promise.
                let out = unsafe { out.slice(at, tile.last - tile.first) };
                tile.gather(row, share, out);
            }
        });
    }

    fn unit_in_planes(&self, unit: &Unit, tile: PlanesTile, running: &mut [f32], between: &mut [f32]) {
        let convolution = |kernel: &Kernel1d, before, accumulate, from: &[f32], to: &mut [f32]| {
            let convolution = Convolution {
                level: self.level,
                planes: tile.planes,
                taps: kernel.taps,
                dilation: kernel.dilation,
                weights: &kernel.weights,
                bias: &kernel.bias,
                before,
                accumulate,
                shared: tile.shared,
            };
            convolution.run(from, to);
            tile.silence_outside(to);
        };
        if let Some(second) = &unit.second {
            convolution(&unit.first, RECTIFIER, false, running, between);
            convolution(second, Activation::Identity, true, between, running);
        } else {
            between.copy_from_slice(running);
            convolution(&unit.first, RECTIFIER, true, between, running);
        }
    }
}

impl PlanesTile {
    /// Lays the signal's rows out in planes, zeros outside it.
    fn scatter(self, x: &[f32], buffer: &mut [f32]) {
        let Planes { period, width } = self.planes;
        buffer.fill(0.0);
        for (x, row) in x.chunks_exact(self.time).zip(buffer[Planes::LEAD..].chunks_exact_mut(self.planes.row())) {
            for column in 0..width {
                let start = self.start + (column * period) as isize;
                let from = start.clamp(0, self.time as isize) as usize;
                let to = (start + period as isize).clamp(0, self.time as isize) as usize;
                let planes = row[(from as isize - start) as usize % period * width..].iter_mut().skip(column);
                for (place, value) in planes.step_by(width).zip(&x[from..to]) {
                    *place = *value;
                }
            }
        }
    }

    /// Writes the samples of one row, scaled, in their order.
    fn gather(self, row: &[f32], scale: f32, out: &mut [f32]) {
        let Planes { period, width } = self.planes;
        let lead = (self.first as isize - self.start) as usize / period;
        for (column, out) in out.chunks_mut(period).enumerate() {
            for (value, plane) in out.iter_mut().zip(row.chunks_exact(width)) {
                *value = plane[lead + column] * scale;
            }
        }
    }

    /// Zeros what lies outside the signal, as every convolution pads with zeros.
    fn silence_outside(self, buffer: &mut [f32]) {
        let Planes { period, width } = self.planes;
        let end = self.start + (period * width) as isize;
        if self.start >= 0 && end <= self.time as isize {
            return;
        }
        for row in buffer[Planes::LEAD..].chunks_exact_mut(self.planes.row()) {
            for (plane, values) in row.chunks_exact_mut(width).take(period).enumerate() {
                let time = |column: usize| self.start + (column * period + plane) as isize;
                for (column, value) in values.iter_mut().enumerate() {
                    if time(column) < 0 || time(column) >= self.time as isize {
                        *value = 0.0;
                    }
                }
            }
        }
    }
}

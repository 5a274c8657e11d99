//! One-dimensional convolution with any stride, dilation, padding and groups.

use super::super::{Conv1dSpec, Precision};
use super::level::Level;
use super::parallel::{self, Grid, Output};
use super::tap_sum::{self, OVERREAD, TapSum};
use super::{Around, activation, fill_row, pairs, row_stride, scratch};

/// Values of input that one tile works on: a quarter of a small second-level cache.
const TILE_VALUES: usize = 1 << 16;

/// Packed weights and geometry.
#[derive(Clone, Debug)]
pub struct Conv1d {
    level: Level,
    /// The level of the products: of pairs of channels, if they are of reduced precision.
    products: Level,
    spec: Conv1dSpec,
    in_per_group: usize,
    /// Signals of one group: its channels or pairs of them.
    signals: usize,
    out_per_group: usize,
    taps: usize,
    /// Group after group as [`tap_sum::pack`] makes them, `k = signal * taps + tap`.
    weights: Vec<f32>,
    bias: Vec<f32>,
}

/// Rows of one group, the least that one task has.
#[derive(Clone, Copy)]
struct Block {
    group: usize,
    first: usize,
    rows: usize,
}

impl Conv1d {
    /// Packs `weight` `[out, in / groups, taps]` and `bias` `[out]`.
    pub fn new(
        level: Level,
        weight: &[f32],
        shape: [usize; 3],
        bias: Option<&[f32]>,
        spec: Conv1dSpec,
        precision: Precision,
    ) -> Self {
        let [out, in_per_group, taps] = shape;
        assert_eq!(weight.len(), out * in_per_group * taps);
        assert!(out.is_multiple_of(spec.groups), "groups must divide the output channels");
        let out_per_group = out / spec.groups;
        let pairs = level.pairs().filter(|_| precision == Precision::Reduced && in_per_group.is_multiple_of(2));
        let signals = if pairs.is_some() { in_per_group / 2 } else { in_per_group };
        let pack = |group: usize| {
            let weight = |row: usize, channel: usize, tap: usize| {
                weight[((group * out_per_group + row) * in_per_group + channel) * taps + tap]
            };
            tap_sum::pack(level, out_per_group, signals * taps, |row, k| {
                let (signal, tap) = (k / taps, k % taps);
                if pairs.is_some() {
                    pairs::pair(weight(row, 2 * signal, tap), weight(row, 2 * signal + 1, tap))
                } else {
                    weight(row, signal, tap)
                }
            })
        };
        let weights = (0..spec.groups).flat_map(pack).collect();
        let bias = bias.map_or_else(|| vec![0.0; out], <[f32]>::to_vec);
        let products = pairs.unwrap_or(level);
        Self { level, products, spec, in_per_group, signals, out_per_group, taps, weights, bias }
    }

    /// Output channels.
    pub fn channels(&self) -> usize {
        self.spec.groups * self.out_per_group
    }

    /// Output length for `time` input samples.
    pub fn length(&self, time: usize) -> usize {
        let padded = time + self.spec.padding[0] + self.spec.padding[1];
        let reach = self.spec.dilation * (self.taps - 1) + 1;
        if padded < reach { 0 } else { (padded - reach) / self.spec.stride + 1 }
    }

    /// Convolves `x` `[batch, in, time]` into `out` `[batch, out, length(time)]`.
    pub fn run(&self, x: &[f32], batch: usize, time: usize, around: Around, out: &mut [f32]) {
        self.run_apart(x, batch, self.spec.groups * self.in_per_group, time, around, out);
    }

    /// As [`run`](Self::run); an entry of the batch begins `apart` channels after the one before, so that entries may share
    /// channels.
    pub fn run_apart(&self, x: &[f32], batch: usize, apart: usize, time: usize, around: Around, out: &mut [f32]) {
        let length = self.length(time);
        let per_row = self.signals * self.taps;
        let channels = batch.saturating_sub(1) * apart + self.spec.groups * self.in_per_group;
        assert!(batch == 0 || x.len() == channels * time);
        assert_eq!(out.len(), batch * self.channels() * length);
        assert!(around.residual.is_none_or(|residual| residual.len() == out.len()));
        if out.is_empty() {
            return;
        }
        let blocks: Vec<Block> = (0..self.spec.groups)
            .flat_map(|group| {
                let blocks = tap_sum::row_blocks(self.level, self.out_per_group);
                blocks.map(move |(first, rows)| Block { group, first, rows })
            })
            .collect();
        let most = (TILE_VALUES / (self.signals * self.spec.stride) / 48 * 48).clamp(96, 960);
        let tile = parallel::even(length, most, self.level.lanes());
        let tiles = length.div_ceil(tile);
        let grid = Grid::new(batch * tiles, blocks.len(), out.len() * per_row);
        let out = Output::new(out);
        grid.run(|index, part| {
            let start = index % tiles * tile;
            let blocks = &blocks[grid.share(blocks.len(), part)];
            let entry = index / tiles;
            self.tile(&x[entry * apart * time..], entry, time, start..length.min(start + tile), blocks, around, out);
        });
    }

    /// Output samples `samples` of some blocks of channels of one batch entry, with which `x` begins.
    #[allow(clippy::too_many_arguments, reason = "private: the state of one task")]
    fn tile(
        &self,
        x: &[f32],
        entry: usize,
        time: usize,
        samples: std::ops::Range<usize>,
        blocks: &[Block],
        around: Around,
        out: Output,
    ) {
        let Conv1dSpec { stride, dilation, .. } = self.spec;
        let length = self.length(time);
        let per_row = self.signals * self.taps;
        let row = row_stride(samples.len() + dilation * (self.taps - 1) / stride);
        let offset = |k: usize| {
            let reach = k % self.taps * dilation;
            ((k / self.taps * stride + reach % stride) * row + reach / stride) as u32
        };
        let offsets: Vec<u32> = (0..per_row).map(offset).collect();
        scratch::with(self.signals * stride * row + OVERREAD, |input| {
            for blocks in blocks.chunk_by(|a, b| a.group == b.group) {
                let Block { group, first, .. } = blocks[0];
                let rows: usize = blocks.iter().map(|block| block.rows).sum();
                let channels = group * self.in_per_group * time..;
                self.fill(&x[channels][..self.in_per_group * time], time, samples.start, row, around, input);
                let channel = group * self.out_per_group + first;
                let sum = TapSum {
                    x: input,
                    offsets: &offsets,
                    weights: &self.weights[channel * per_row..][..rows * per_row],
                    bias: Some(&self.bias[channel..channel + rows]),
                    rows,
                    columns: samples.len(),
                    accumulate: false,
                };
                let base = (entry * self.channels() + channel) * length + samples.start;
                // SAFETY: each task has its own channels and samples, within the output that `run` has checked.
                unsafe { sum.write(self.products, out.at(base), length) };
                for row in 0..rows {
                    let at = base + row * length;
                    let residual = around.residual.map(|residual| &residual[at..at + samples.len()]);
                    // SAFETY: as above.
                    let values = unsafe { out.slice(at, samples.len()) };
                    activation::finish(self.level, values, residual, around.after);
                }
            }
        });
    }

    /// Copies one group's signals, each split into `stride` rows of every `stride`-th sample.
    fn fill(&self, x: &[f32], time: usize, start: usize, row: usize, around: Around, input: &mut [f32]) {
        let stride = self.spec.stride;
        if time == 0 {
            return input.fill(0.0);
        }
        let start = (start * stride) as isize - self.spec.padding[0] as isize;
        let channels = x.chunks_exact(time * self.in_per_group / self.signals);
        for (x, rows) in channels.zip(input.chunks_exact_mut(stride * row)) {
            if stride == 1 {
                self.fill_signal(x, time, start, rows, around);
            } else {
                scratch::with(rows.len(), |samples| {
                    self.fill_signal(x, time, start, samples, around);
                    for (phase, row) in rows.chunks_exact_mut(row).enumerate() {
                        for (value, samples) in row.iter_mut().zip(samples.chunks_exact(stride)) {
                            *value = samples[phase];
                        }
                    }
                });
            }
        }
    }

    /// Fills `signal` from one channel of `time` samples, or a pair.
    fn fill_signal(&self, x: &[f32], time: usize, start: isize, signal: &mut [f32], around: Around) {
        let (first, second) = x.split_at(time);
        if second.is_empty() {
            return fill_row(self.level, first, start, signal, around.before);
        }
        scratch::with(2 * signal.len(), |rows| {
            let rows = rows.split_at_mut(signal.len());
            fill_row(self.level, first, start, rows.0, around.before);
            fill_row(self.level, second, start, rows.1, around.before);
            pairs::pair_rows(self.level, rows.0, rows.1, signal);
        });
    }
}

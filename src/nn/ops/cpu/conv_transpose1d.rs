//! Transposed one-dimensional convolution: one short convolution for each phase of the upsampling.

use super::level::Level;
use super::parallel::{Grid, Output};
use super::tap_sum::{self, OVERREAD, TapSum};
use super::{Around, activation, fill_row, row_stride, scratch};

/// Values of input that one tile works on.
const TILE_VALUES: usize = 1 << 16;

/// Packed weights and geometry.
///
/// With `position = sample + padding`, output samples of `position % stride == phase` are the convolution of the input
/// with the taps `phase, phase + stride, ...`, the later ones on earlier input.
#[derive(Clone, Debug)]
pub struct ConvTranspose1d {
    level: Level,
    stride: usize,
    padding: usize,
    inputs: usize,
    outputs: usize,
    taps: usize,
    /// For each phase the packed weights, `k = channel * taps of the phase + tap`.
    phases: Vec<Vec<f32>>,
    bias: Vec<f32>,
}

impl ConvTranspose1d {
    /// Packs `weight` `[in, out, taps]` and `bias` `[out]`.
    pub fn new(
        level: Level,
        weight: &[f32],
        shape: [usize; 3],
        bias: Option<&[f32]>,
        stride: usize,
        padding: usize,
    ) -> Self {
        let [inputs, outputs, taps] = shape;
        assert_eq!(weight.len(), inputs * outputs * taps);
        let pack = |phase: usize| {
            let count = phase_taps(taps, stride, phase);
            tap_sum::pack(level, outputs, inputs * count, |row, k| {
                weight[(k / count * outputs + row) * taps + k % count * stride + phase]
            })
        };
        let phases = (0..stride).map(pack).collect();
        let bias = bias.map_or_else(|| vec![0.0; outputs], <[f32]>::to_vec);
        Self { level, stride, padding, inputs, outputs, taps, phases, bias }
    }

    /// Output channels.
    pub fn channels(&self) -> usize {
        self.outputs
    }

    /// Output length for `time` input samples.
    pub fn length(&self, time: usize) -> usize {
        if time == 0 { 0 } else { ((time - 1) * self.stride + self.taps).saturating_sub(2 * self.padding) }
    }

    /// Upsamples `x` `[batch, in, time]` into `out` `[batch, out, length(time)]`.
    pub fn run(&self, x: &[f32], batch: usize, time: usize, around: Around, out: &mut [f32]) {
        let length = self.length(time);
        assert_eq!(x.len(), batch * self.inputs * time);
        assert_eq!(out.len(), batch * self.outputs * length);
        assert!(around.residual.is_none_or(|residual| residual.len() == out.len()));
        if out.is_empty() {
            return;
        }
        let blocks: Vec<_> = tap_sum::row_blocks(self.level, self.outputs).collect();
        let tile = (TILE_VALUES / self.inputs / 48 * 48).clamp(96, 960);
        // In steps of `stride` positions.
        let steps = (length + self.padding).div_ceil(self.stride);
        let first = self.padding / self.stride;
        let tiles = (steps - first).div_ceil(tile);
        let work = out.len() * self.inputs * self.taps.div_ceil(self.stride);
        let grid = Grid::new(batch * tiles, blocks.len(), work);
        let out = Output::new(out);
        grid.run(|index, part| {
            let start = first + index % tiles * tile;
            let blocks = &blocks[grid.share(blocks.len(), part)];
            self.tile(x, index / tiles, time, start..steps.min(start + tile), blocks, around, out);
        });
    }

    /// All phases of the steps `steps`, for some blocks of channels of one batch entry.
    #[allow(clippy::too_many_arguments, reason = "private: the state of one task")]
    fn tile(
        &self,
        x: &[f32],
        entry: usize,
        time: usize,
        steps: std::ops::Range<usize>,
        blocks: &[(usize, usize)],
        around: Around,
        out: Output,
    ) {
        let history = self.taps.div_ceil(self.stride) - 1;
        let row = row_stride(steps.len() + history);
        let x = &x[entry * self.inputs * time..][..self.inputs * time];
        let start = steps.start as isize - history as isize;
        let sums = row_stride(steps.len());
        scratch::with(self.inputs * row + OVERREAD, |input| {
            for (x, row) in x.chunks_exact(time).zip(input.chunks_exact_mut(row)) {
                fill_row(self.level, x, start, row, around.before);
            }
            let offsets: Vec<Vec<u32>> = (0..self.stride).map(|phase| self.offsets(phase, row, history)).collect();
            scratch::with(self.level.rows() * self.stride * sums, |phases| {
                for &(first, rows) in blocks {
                    for (phase, offsets) in offsets.iter().enumerate() {
                        let sum = TapSum {
                            x: input,
                            offsets,
                            weights: &self.phases[phase][first * offsets.len()..][..rows * offsets.len()],
                            bias: Some(&self.bias[first..first + rows]),
                            rows,
                            columns: steps.len(),
                            accumulate: false,
                        };
                        let to = &mut phases[phase * sums..];
                        // SAFETY: row `r` of the phase goes to row `r * stride + phase` of `phases`, which has that many.
                        unsafe { sum.write(self.level, to.as_mut_ptr(), self.stride * sums) };
                    }
                    for (index, phases) in phases.chunks_exact(self.stride * sums).take(rows).enumerate() {
                        self.interleave(phases, sums, entry * self.outputs + first + index, time, &steps, around, out);
                    }
                }
            });
        });
    }

    /// Where the input of each of a phase's weights starts.
    fn offsets(&self, phase: usize, row: usize, history: usize) -> Vec<u32> {
        let count = phase_taps(self.taps, self.stride, phase);
        (0..self.inputs * count).map(|k| (k / count * row + history - k % count) as u32).collect()
    }

    /// Writes one channel's samples from its phases.
    #[allow(clippy::too_many_arguments, reason = "private: the state of one task")]
    fn interleave(
        &self,
        phases: &[f32],
        sums: usize,
        channel: usize,
        time: usize,
        steps: &std::ops::Range<usize>,
        around: Around,
        out: Output,
    ) {
        let length = self.length(time);
        let start = (steps.start * self.stride).saturating_sub(self.padding);
        let end = (steps.end * self.stride - self.padding).min(length);
        let at = channel * length + start;
        // SAFETY: each task has its own channels and steps, so its own samples, within the output `run` has checked.
        let samples = unsafe { out.slice(at, end - start) };
        let skipped = start + self.padding - steps.start * self.stride;
        for phase in 0..self.stride {
            let sums = &phases[phase * sums..][..steps.len()];
            // The first sample of this phase, and the step it belongs to.
            let (sample, step) =
                if phase >= skipped { (phase - skipped, 0) } else { (phase + self.stride - skipped, 1) };
            if sample < samples.len() {
                for (sample, sum) in samples[sample..].iter_mut().step_by(self.stride).zip(&sums[step..]) {
                    *sample = *sum;
                }
            }
        }
        let residual = around.residual.map(|residual| &residual[at..at + samples.len()]);
        activation::finish(self.level, samples, residual, around.after);
    }
}

/// How many of `taps` belong to `phase`.
fn phase_taps(taps: usize, stride: usize, phase: usize) -> usize {
    taps.saturating_sub(phase).div_ceil(stride)
}

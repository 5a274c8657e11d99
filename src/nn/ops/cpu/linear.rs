//! Linear maps of rows.
//!
//! The inner loop runs with the roles exchanged: the packed weights are its signals, the rows of input its weights, so
//! that its columns are the output features.

use std::ops::Range;

use super::level::Level;
use super::parallel::{Grid, Output};
use super::tap_sum::{self, OVERREAD, TapSum};
use super::{Around, activation, scratch};

/// Packed weights and sizes.
#[derive(Clone, Debug)]
pub struct Linear {
    level: Level,
    inputs: usize,
    outputs: usize,
    /// Output features in a panel: as many as the inner loop sums at once, so that it reads a panel straight through.
    panel: usize,
    /// Each `[in + 1, features]`; the last row is the bias.
    panels: Vec<f32>,
    offsets: Vec<u32>,
}

impl Linear {
    /// Packs `weight` `[out, in]` and `bias` `[out]`.
    pub fn new(level: Level, weight: &[f32], [outputs, inputs]: [usize; 2], bias: Option<&[f32]>) -> Self {
        assert_eq!(weight.len(), outputs * inputs);
        let panel = level.columns();
        let count = outputs.div_ceil(panel);
        let mut panels = vec![0.0; count * (inputs + 1) * panel + OVERREAD];
        for (index, packed) in panels.chunks_exact_mut((inputs + 1) * panel).take(count).enumerate() {
            for feature in 0..panel.min(outputs - index * panel) {
                let output = index * panel + feature;
                for (input, packed) in packed.chunks_exact_mut(panel).enumerate() {
                    packed[feature] = match weight[output * inputs..][..inputs].get(input) {
                        Some(weight) => *weight,
                        None => bias.map_or(0.0, |bias| bias[output]),
                    };
                }
            }
        }
        let offsets = (0..=inputs).map(|input| (input * panel) as u32).collect();
        Self { level, inputs, outputs, panel, panels, offsets }
    }

    /// Output features.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Maps `x` `[rows, in]` into `out` `[rows, out]`.
    pub fn run(&self, x: &[f32], rows: usize, around: Around, out: &mut [f32]) {
        /// Rows of one task: enough to use a panel well while it is in the cache, and whole blocks at every level.
        const TILE: usize = 96;
        assert_eq!(x.len(), rows * self.inputs);
        assert_eq!(out.len(), rows * self.outputs);
        assert!(around.residual.is_none_or(|residual| residual.len() == out.len()));
        if out.is_empty() {
            return;
        }
        let count = self.outputs.div_ceil(self.panel);
        let tiles = rows.div_ceil(TILE);
        let grid = Grid::new(tiles, count, out.len() * self.inputs);
        let out = Output::new(out);
        grid.run(|tile, part| {
            let rows = tile * TILE..rows.min((tile + 1) * TILE);
            self.tile(x, rows, grid.share(count, part), around, out);
        });
    }

    fn tile(&self, x: &[f32], tile: Range<usize>, panels: Range<usize>, around: Around, out: Output) {
        /// Panels after which the activation follows, while their output is in the cache.
        const AT_ONCE: usize = 8;
        let depth = self.inputs + 1;
        let columns = |panels: Range<usize>| panels.start * self.panel..(panels.end * self.panel).min(self.outputs);
        scratch::with(tile.len() * depth, |packed| {
            self.pack_rows(&x[tile.start * self.inputs..tile.end * self.inputs], around, packed);
            for start in panels.clone().step_by(AT_ONCE) {
                let panels = start..panels.end.min(start + AT_ONCE);
                for panel in panels.clone() {
                    let columns = columns(panel..panel + 1);
                    let sum = TapSum {
                        x: &self.panels[columns.start * depth..],
                        offsets: &self.offsets,
                        weights: packed,
                        bias: None,
                        rows: tile.len(),
                        columns: columns.len(),
                        accumulate: false,
                    };
                    // SAFETY: each task has its own rows and panels, within the output that `run` has checked.
                    unsafe { sum.write(self.level, out.at(tile.start * self.outputs + columns.start), self.outputs) };
                }
                let columns = columns(panels);
                for row in tile.clone() {
                    let at = row * self.outputs + columns.start;
                    let residual = around.residual.map(|residual| &residual[at..at + columns.len()]);
                    // SAFETY: as above.
                    let values = unsafe { out.slice(at, columns.len()) };
                    activation::finish(self.level, values, residual, around.after);
                }
            }
        });
    }

    /// Packs rows of `x` as the inner loop reads weights, with a 1 after each for the bias.
    fn pack_rows(&self, x: &[f32], around: Around, packed: &mut [f32]) {
        let depth = self.inputs + 1;
        scratch::with(self.inputs, |row| {
            for (first, rows) in tap_sum::row_blocks(self.level, x.len() / self.inputs.max(1)) {
                let block = &mut packed[first * depth..][..rows * depth];
                for index in 0..rows {
                    let x = &x[(first + index) * self.inputs..][..self.inputs];
                    activation::copy(self.level, x, row, around.before);
                    for (slot, value) in block[index..].iter_mut().step_by(rows).zip(row.iter()) {
                        *slot = *value;
                    }
                }
                block[self.inputs * rows..].fill(1.0);
            }
        });
    }
}

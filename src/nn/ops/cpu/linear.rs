//! Linear maps of rows.
//!
//! Weights lie in panels of as many output features as the inner loop sums at once. A panel is read straight through for
//! every block of rows, from the second-level cache, while the next one is fetched from memory: an encoder's weights are
//! larger than any cache.

use std::ops::Range;

use super::super::{Activation, Precision};
use super::level::{Kernel, Level};
use super::parallel::{self, Grid, Output};
use super::tap_sum::row_blocks;
use super::vector::Vector;
use super::{Around, activation, pairs, scratch};

/// Packed weights and sizes.
#[derive(Clone, Debug)]
pub struct Linear {
    level: Level,
    /// The level of the products: of pairs, if they are of reduced precision.
    products: Level,
    inputs: usize,
    /// Factors of one sum: inputs or pairs of them.
    depth: usize,
    outputs: usize,
    /// Output features in a panel.
    panel: usize,
    /// Each `[depth, panel]`; zeros beyond the last feature.
    panels: Vec<f32>,
    /// As many as the panels have features.
    bias: Vec<f32>,
}

impl Linear {
    /// Packs `weight` `[out, in]` and `bias` `[out]`.
    pub fn new(
        level: Level,
        weight: &[f32],
        [outputs, inputs]: [usize; 2],
        bias: Option<&[f32]>,
        precision: Precision,
    ) -> Self {
        assert_eq!(weight.len(), outputs * inputs);
        let pairs = level.pairs().filter(|_| precision == Precision::Reduced);
        let depth = if pairs.is_some() { inputs.div_ceil(2) } else { inputs };
        let panel = level.columns();
        let count = outputs.div_ceil(panel);
        let mut panels = vec![0.0; count * depth * panel];
        let mut factors = vec![0.0; depth];
        for (output, weight) in weight.chunks_exact(inputs.max(1)).enumerate() {
            if pairs.is_some() {
                pairs::pair_row(level, weight, &mut factors);
            } else {
                factors.copy_from_slice(weight);
            }
            let packed = &mut panels[output / panel * depth * panel + output % panel..];
            packed.iter_mut().step_by(panel).zip(&factors).for_each(|(packed, factor)| *packed = *factor);
        }
        let mut all_bias = vec![0.0; count * panel];
        if let Some(bias) = bias {
            all_bias[..outputs].copy_from_slice(bias);
        }
        Self { level, products: pairs.unwrap_or(level), inputs, depth, outputs, panel, panels, bias: all_bias }
    }

    /// Output features.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Maps `x` `[rows, in]` into `out` `[rows, out]`.
    pub fn run(&self, x: &[f32], rows: usize, around: Around, out: &mut [f32]) {
        /// Rows of one task: enough to use a panel well while it is in the cache.
        const MOST_ROWS: usize = 192;
        assert_eq!(x.len(), rows * self.inputs);
        assert_eq!(out.len(), rows * self.outputs);
        assert!(around.residual.is_none_or(|residual| residual.len() == out.len()));
        if out.is_empty() {
            return;
        }
        let tile = parallel::even(rows, MOST_ROWS, self.level.rows());
        let count = self.outputs.div_ceil(self.panel);
        let grid = Grid::new(rows.div_ceil(tile), count, out.len() * self.inputs);
        let out = Output::new(out);
        self.with_factors(x, rows, around.before, |x| {
            grid.run(|index, part| {
                let rows = index * tile..rows.min((index + 1) * tile);
                let x = &x[rows.start * self.depth..rows.end * self.depth];
                self.tile(x, rows, grid.share(count, part), around, out);
            });
        });
    }

    /// Hands out `x` `[rows, in]`, `before` applied, as `[rows, depth]` factors.
    fn with_factors(&self, x: &[f32], rows: usize, before: Activation, body: impl FnOnce(&[f32])) {
        /// Rows of one task.
        const TILE: usize = 16;
        let is_paired = self.products != self.level;
        if !is_paired && before == Activation::Identity {
            return body(x);
        }
        scratch::with(rows * self.depth, |factors| {
            let grid = Grid::new(rows.div_ceil(TILE), 1, TILE * x.len());
            let out = Output::new(factors);
            grid.run(|tile, _| {
                for row in tile * TILE..rows.min((tile + 1) * TILE) {
                    let x = &x[row * self.inputs..][..self.inputs];
                    // SAFETY: each task has its own rows of as many factors as there are.
                    let factors = unsafe { out.slice(row * self.depth, self.depth) };
                    match (is_paired, before) {
                        (false, _) => activation::copy(self.level, x, factors, before),
                        (true, Activation::Identity) => pairs::pair_row(self.level, x, factors),
                        (true, _) => scratch::with(x.len(), |activated| {
                            activation::copy(self.level, x, activated, before);
                            pairs::pair_row(self.level, activated, factors);
                        }),
                    }
                }
            });
            body(factors);
        });
    }

    /// Some rows, of which `x` has the input, times some panels.
    fn tile(&self, x: &[f32], rows: Range<usize>, panels: Range<usize>, around: Around, out: Output) {
        /// Panels after which the activation follows, while their output is in the cache.
        const AT_ONCE: usize = 4;
        let columns = |panels: Range<usize>| panels.start * self.panel..(panels.end * self.panel).min(self.outputs);
        for start in panels.clone().step_by(AT_ONCE) {
            let panels = start..panels.end.min(start + AT_ONCE);
            for panel in panels.clone() {
                let columns = columns(panel..panel + 1);
                // SAFETY: each task has its own rows and panels, within the output that `run` has checked.
                let to = unsafe { out.at(rows.start * self.outputs + columns.start) };
                self.products.run(Product {
                    linear: self,
                    x,
                    rows: rows.len(),
                    panel,
                    columns: columns.len(),
                    out: to,
                });
            }
            let columns = columns(panels);
            for row in rows.clone() {
                let at = row * self.outputs + columns.start;
                let residual = around.residual.map(|residual| &residual[at..at + columns.len()]);
                // SAFETY: as above.
                let values = unsafe { out.slice(at, columns.len()) };
                activation::finish(self.level, values, residual, around.after);
            }
        }
    }
}

/// Rows times one panel.
struct Product<'a> {
    linear: &'a Linear,
    /// Factors, `[rows, depth]`.
    x: &'a [f32],
    rows: usize,
    panel: usize,
    /// Features of the panel that there are.
    columns: usize,
    /// `[rows, columns]`, the features of all panels from row to row.
    out: *mut f32,
}

/// Factors summed at a time: as many weights of a panel stay in the second-level cache, beside as many of the next.
const MOST_FACTORS: usize = 1024;

/// Factors in whose time one cache line of the next weights is fetched.
const FETCHES_PER_LINE: usize = 4;

impl Kernel for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        match self.columns.div_ceil(V::LANES) {
            3 => self.blocks::<V, 3>(),
            2 => self.blocks::<V, 2>(),
            _ => self.blocks::<V, 1>(),
        }
    }
}

impl Product<'_> {
    #[inline(always)]
    fn blocks<V: Vector, const WIDTH: usize>(&self) {
        let depth = self.linear.depth;
        let pieces = depth.div_ceil(MOST_FACTORS).max(1);
        for piece in 0..pieces {
            let piece = depth * piece / pieces..depth * (piece + 1) / pieces;
            let blocks = row_blocks(self.linear.level, self.rows);
            for (index, (first, rows)) in blocks.enumerate() {
                let fetched = index * piece.len() / FETCHES_PER_LINE;
                // SAFETY: `Linear::run` has checked that the blocks of rows are those of `x` and of the output.
                unsafe {
                    match rows {
                        8 => self.block::<V, 8, WIDTH>(first, piece.clone(), fetched),
                        6 => self.block::<V, 6, WIDTH>(first, piece.clone(), fetched),
                        4 => self.block::<V, 4, WIDTH>(first, piece.clone(), fetched),
                        2 => self.block::<V, 2, WIDTH>(first, piece.clone(), fetched),
                        1 => self.block::<V, 1, WIDTH>(first, piece.clone(), fetched),
                        rows => unreachable!("no block has {rows} rows"),
                    }
                }
            }
        }
    }

    /// `ROWS` rows from `first` on times `WIDTH` vectors of features, summed over a piece of the factors, while what
    /// follows the piece is fetched, from its cache line `fetched` on.
    #[inline(always)]
    unsafe fn block<V: Vector, const ROWS: usize, const WIDTH: usize>(
        &self,
        first: usize,
        piece: Range<usize>,
        fetched: usize,
    ) {
        const LINE: usize = 64 / size_of::<f32>();
        let Linear { depth, outputs, panel, ref panels, ref bias, .. } = *self.linear;
        let mut sums = [[V::splat(0.0); WIDTH]; ROWS];
        // SAFETY: see `blocks`; weights and bias are whole panels.
        unsafe {
            if piece.start == 0 {
                let bias = bias.as_ptr().add(self.panel * panel);
                let bias: [V; WIDTH] = std::array::from_fn(|vector| V::load(bias.add(vector * V::LANES)));
                sums = [bias; ROWS];
            }
            let mut weights = panels.as_ptr().add((self.panel * depth + piece.start) * panel);
            let x = self.x.as_ptr().add(first * depth);
            // Fetching is harmless wherever it leads.
            let mut next = weights.wrapping_add(piece.len() * panel + fetched * LINE);
            for factor in piece.clone() {
                V::fetch(next);
                next = next.wrapping_add(LINE / FETCHES_PER_LINE);
                let mut signal = [V::splat(0.0); WIDTH];
                for (vector, signal) in signal.iter_mut().enumerate() {
                    *signal = V::load(weights.add(vector * V::LANES));
                }
                for (row, sums) in sums.iter_mut().enumerate() {
                    let x = V::splat(*x.add(row * depth + factor));
                    for (sum, signal) in sums.iter_mut().zip(signal) {
                        *sum = x.mul_add(signal, *sum);
                    }
                }
                weights = weights.add(panel);
            }
            let out = self.out.add(first * outputs);
            for (row, sums) in sums.into_iter().enumerate() {
                for (vector, sum) in sums.into_iter().enumerate() {
                    let to = out.add(row * outputs + vector * V::LANES);
                    let left = self.columns - vector * V::LANES;
                    if piece.start == 0 { sum.store_first(to, left) } else { sum.add_first(to, left) }
                }
            }
        }
    }
}

//! The one inner loop of all convolutions and products: rows of weighted sums of shifted signals.

use super::level::{Kernel, Level};
use super::vector::Vector;

/// Values beyond the last column that [`TapSum`] may read (and throws away).
pub const OVERREAD: usize = 16;

/// `out[row][column] = bias[row] + sum over k of weights[k][row] * x[offsets[k] + column]`.
pub struct TapSum<'a> {
    /// The signals; readable to [`OVERREAD`] values past `max(offsets) + columns`.
    pub x: &'a [f32],
    /// Where the signal of each weight starts in `x`.
    pub offsets: &'a [u32],
    /// `[offsets.len(), rows]` for each of the rows' blocks, as [`pack`] makes them.
    pub weights: &'a [f32],
    /// One for each row, or none.
    pub bias: Option<&'a [f32]>,
    /// Rows of the output.
    pub rows: usize,
    /// Columns of the output.
    pub columns: usize,
    /// Whether the sums are added to what `out` holds.
    pub accumulate: bool,
}

/// Splits `rows` into blocks of `(first, rows)`, each as large as the level sums at once while that many are left.
///
/// Any run of blocks is split as it was in the whole, so that it can be summed on its own.
pub fn row_blocks(level: Level, rows: usize) -> impl Iterator<Item = (usize, usize)> + Clone {
    split(level.rows(), rows)
}

fn split(most: usize, rows: usize) -> impl Iterator<Item = (usize, usize)> + Clone {
    let mut first = 0;
    std::iter::from_fn(move || {
        let left = rows - first;
        let size = match left {
            // Two rows alone would wait for their own sums.
            8 | 9 if most == 6 => 4,
            _ => [most, 4, 2, 1].into_iter().find(|&size| size <= left)?,
        };
        first += size;
        Some((first - size, size))
    })
}

/// Packs `weight(row, k)` of `rows` rows and `taps` values of `k` as [`TapSum`] reads them, block after block:
/// the block whose first row is `first` starts at `first * taps`.
pub fn pack(level: Level, rows: usize, taps: usize, weight: impl Fn(usize, usize) -> f32) -> Vec<f32> {
    let mut packed = Vec::with_capacity(rows * taps);
    for (first, size) in row_blocks(level, rows) {
        for k in 0..taps {
            packed.extend((first..first + size).map(|row| weight(row, k)));
        }
    }
    packed
}

impl TapSum<'_> {
    /// Writes `[rows, columns]` with `stride` values from row to row.
    ///
    /// # Safety
    /// `out` must be writable (readable too, to accumulate) for `(rows - 1) * stride + columns` values, which nobody
    /// else uses meanwhile, apart from the gaps between rows. Offsets must be such that `x` is readable.
    pub unsafe fn write(self, level: Level, out: *mut f32, stride: usize) {
        assert_eq!(self.weights.len(), self.offsets.len() * self.rows);
        assert!(self.bias.is_none_or(|bias| bias.len() == self.rows));
        debug_assert!(
            self.offsets.iter().all(|&offset| offset as usize + self.columns + OVERREAD <= self.x.len()),
            "signal too short"
        );
        level.run(Tiles { sum: self, out, stride });
    }
}

struct Tiles<'a> {
    sum: TapSum<'a>,
    out: *mut f32,
    stride: usize,
}

/// Rows of one size of block that are summed with the same part of the signals while that is in the first-level cache.
#[derive(Clone, Copy)]
struct Panel {
    first: usize,
    blocks: usize,
    /// Which offsets.
    start: usize,
    end: usize,
}

/// Bytes of signals that a panel reads again for each block: half of a small first-level cache.
const PANEL_BYTES: usize = 1 << 14;

/// Rows of a panel: what it reads of the weights stays in the second-level cache from one tile of columns to the next.
const PANEL_ROWS: usize = 96;

impl Kernel for Tiles<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let most = if V::MANY_REGISTERS { 8 } else { 6 };
        let wide = if V::MANY_REGISTERS { 3 } else { 2 } * V::LANES * size_of::<f32>();
        let depth = self.sum.offsets.len();
        let pieces = depth.div_ceil(PANEL_BYTES / wide).max(1);
        for piece in 0..pieces {
            let (start, end) = (depth * piece / pieces, depth * (piece + 1) / pieces);
            let mut blocks = split(most, self.sum.rows).peekable();
            while let Some((first, rows)) = blocks.next() {
                let mut count = 1;
                while count < PANEL_ROWS / rows && blocks.next_if(|&(_, next)| next == rows).is_some() {
                    count += 1;
                }
                let panel = Panel { first, blocks: count, start, end };
                // SAFETY: `TapSum::write` passes on its caller's promise. Each tile keeps within rows and columns.
                unsafe {
                    match rows {
                        8 => self.sweep::<V, 8, 3, 2>(panel),
                        6 => self.sweep::<V, 6, 2, 1>(panel),
                        4 if V::MANY_REGISTERS => self.sweep::<V, 4, 6, 3>(panel),
                        4 => self.sweep::<V, 4, 2, 1>(panel),
                        2 if V::MANY_REGISTERS => self.sweep::<V, 2, 8, 4>(panel),
                        2 => self.sweep::<V, 2, 4, 2>(panel),
                        1 => self.sweep::<V, 1, 8, 4>(panel),
                        rows => unreachable!("no block has {rows} rows"),
                    }
                }
            }
        }
    }
}

impl Tiles<'_> {
    /// Covers the columns with tiles of `WIDE` vectors, then of `MIDDLE`, then of one.
    #[inline(always)]
    unsafe fn sweep<V: Vector, const ROWS: usize, const WIDE: usize, const MIDDLE: usize>(&self, panel: Panel) {
        let columns = self.sum.columns;
        let mut at = 0;
        // SAFETY: as for `run`.
        unsafe {
            // One vector alone after wide tiles would wait for its own sums; two middle tiles do not.
            let split = |at: usize| 2 * MIDDLE == WIDE + 1 && (columns - at).div_ceil(V::LANES) == WIDE + 1;
            while at + (WIDE - 1) * V::LANES < columns && !split(at) {
                self.column::<V, ROWS, WIDE>(panel, at);
                at += WIDE * V::LANES;
            }
            while at + (MIDDLE - 1) * V::LANES < columns {
                self.column::<V, ROWS, MIDDLE>(panel, at);
                at += MIDDLE * V::LANES;
            }
            while at < columns {
                self.column::<V, ROWS, 1>(panel, at);
                at += V::LANES;
            }
        }
    }

    /// The tiles of all blocks of a panel at column `at`.
    #[inline(always)]
    unsafe fn column<V: Vector, const ROWS: usize, const WIDTH: usize>(&self, panel: Panel, at: usize) {
        for block in 0..panel.blocks {
            // SAFETY: as for `run`.
            unsafe { self.tile::<V, ROWS, WIDTH>(panel, panel.first + block * ROWS, at) };
        }
    }

    /// One tile: the block of `ROWS` rows from `first`, `WIDTH` vectors of columns from column `at`.
    #[inline(always)]
    unsafe fn tile<V: Vector, const ROWS: usize, const WIDTH: usize>(&self, panel: Panel, first: usize, at: usize) {
        let sum = &self.sum;
        let accumulate = sum.accumulate || panel.start > 0;
        let mut sums = [[V::splat(0.0); WIDTH]; ROWS];
        if let Some(bias) = sum.bias.filter(|_| panel.start == 0) {
            for (sums, &bias) in sums.iter_mut().zip(&bias[first..first + ROWS]) {
                *sums = [V::splat(bias); WIDTH];
            }
        }
        // SAFETY: as for `run`.
        unsafe {
            let x = sum.x.as_ptr().add(at);
            let mut weights = sum.weights.as_ptr().add(first * sum.offsets.len() + panel.start * ROWS);
            for &offset in &sum.offsets[panel.start..panel.end] {
                let x = x.add(offset as usize);
                let mut signal = [V::splat(0.0); WIDTH];
                for (vector, signal) in signal.iter_mut().enumerate() {
                    *signal = V::load(x.add(vector * V::LANES));
                }
                for (row, sums) in sums.iter_mut().enumerate() {
                    let weight = V::splat(*weights.add(row));
                    for (sum, signal) in sums.iter_mut().zip(signal) {
                        *sum = weight.mul_add(signal, *sum);
                    }
                }
                weights = weights.add(ROWS);
            }
            // Three plain loops, which unroll; one with all the cases in it would send the sums through memory.
            let full = sum.columns - at >= WIDTH * V::LANES;
            let out = self.out.add(first * self.stride + at);
            if full && !accumulate {
                for (row, sums) in sums.iter().enumerate() {
                    for (vector, value) in sums.iter().enumerate() {
                        value.store(out.add(row * self.stride + vector * V::LANES));
                    }
                }
            } else if full {
                for (row, sums) in sums.iter().enumerate() {
                    for (vector, value) in sums.iter().enumerate() {
                        let to = out.add(row * self.stride + vector * V::LANES);
                        value.add(V::load(to)).store(to);
                    }
                }
            } else {
                let mut copy = [[[0.0; OVERREAD]; WIDTH]; ROWS];
                for (sums, copy) in sums.iter().zip(&mut copy) {
                    for (value, copy) in sums.iter().zip(copy) {
                        value.store(copy.as_mut_ptr());
                    }
                }
                for (row, copy) in copy.iter().enumerate() {
                    for (vector, copy) in copy.iter().enumerate() {
                        let left = sum.columns - at - vector * V::LANES;
                        let to = out.add(row * self.stride + vector * V::LANES);
                        Self::store(V::load(copy.as_ptr()), to, left, accumulate);
                    }
                }
            }
        }
    }

    /// Stores or adds the first `left` lanes of `value`, or all.
    #[inline(always)]
    unsafe fn store<V: Vector>(value: V, to: *mut f32, left: usize, accumulate: bool) {
        // SAFETY: as for `run`; what is read for the lanes beyond `left` is a local copy.
        unsafe {
            if !accumulate {
                value.store_first(to, left);
            } else if left >= V::LANES {
                value.add(V::load(to)).store(to);
            } else {
                let mut lanes = [0.0; OVERREAD];
                value.store(lanes.as_mut_ptr());
                for (lane, value) in lanes.into_iter().enumerate().take(left) {
                    *to.add(lane) += value;
                }
            }
        }
    }
}

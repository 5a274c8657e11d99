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
    /// `[offsets.len(), rows]`.
    pub weights: &'a [f32],
    /// One for each row, or none.
    pub bias: Option<&'a [f32]>,
    /// As [`row_blocks`] gives them.
    pub rows: usize,
    /// Columns of the output.
    pub columns: usize,
    /// Whether the sums are added to what `out` holds.
    pub accumulate: bool,
}

/// Splits `rows` into blocks of `(first, rows)`, each as large as the level sums at once while that many are left.
pub fn row_blocks(level: Level, rows: usize) -> impl Iterator<Item = (usize, usize)> + Clone {
    let mut first = 0;
    std::iter::from_fn(move || {
        let size = [level.rows(), 4, 2, 1].into_iter().find(|&size| size <= rows - first)?;
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

impl Kernel for Tiles<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        // SAFETY: `TapSum::write` passes on its caller's promise. Each tile keeps within rows and columns.
        unsafe {
            match self.sum.rows {
                8 if V::MANY_REGISTERS => self.sweep::<V, 8, 3, 2>(),
                6 if !V::MANY_REGISTERS => self.sweep::<V, 6, 2, 1>(),
                4 if V::MANY_REGISTERS => self.sweep::<V, 4, 6, 3>(),
                4 => self.sweep::<V, 4, 2, 1>(),
                2 if V::MANY_REGISTERS => self.sweep::<V, 2, 8, 4>(),
                2 => self.sweep::<V, 2, 4, 2>(),
                1 => self.sweep::<V, 1, 8, 4>(),
                rows => unreachable!("no block has {rows} rows"),
            }
        }
    }
}

impl Tiles<'_> {
    /// Covers the columns with tiles of `WIDE` vectors, then of `MIDDLE`, then of one.
    #[inline(always)]
    unsafe fn sweep<V: Vector, const ROWS: usize, const WIDE: usize, const MIDDLE: usize>(&self) {
        let columns = self.sum.columns;
        let mut at = 0;
        // SAFETY: as for `run`.
        unsafe {
            // One vector alone after wide tiles would wait for its own sums; two middle tiles do not.
            let split = |at: usize| 2 * MIDDLE == WIDE + 1 && (columns - at).div_ceil(V::LANES) == WIDE + 1;
            while at + (WIDE - 1) * V::LANES < columns && !split(at) {
                self.tile::<V, ROWS, WIDE>(at);
                at += WIDE * V::LANES;
            }
            while at + (MIDDLE - 1) * V::LANES < columns {
                self.tile::<V, ROWS, MIDDLE>(at);
                at += MIDDLE * V::LANES;
            }
            while at < columns {
                self.tile::<V, ROWS, 1>(at);
                at += V::LANES;
            }
        }
    }

    /// One tile of `ROWS` rows and `WIDTH` vectors of columns from column `at`.
    #[inline(always)]
    unsafe fn tile<V: Vector, const ROWS: usize, const WIDTH: usize>(&self, at: usize) {
        let sum = &self.sum;
        let mut sums = [[V::splat(0.0); WIDTH]; ROWS];
        if let Some(bias) = sum.bias {
            for row in 0..ROWS {
                sums[row] = [V::splat(bias[row]); WIDTH];
            }
        }
        // SAFETY: as for `run`.
        unsafe {
            let x = sum.x.as_ptr().add(at);
            let mut weights = sum.weights.as_ptr();
            for &offset in sum.offsets {
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
            let out = self.out.add(at);
            if full && !sum.accumulate {
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
                        self.store(V::load(copy.as_ptr()), out.add(row * self.stride + vector * V::LANES), left);
                    }
                }
            }
        }
    }

    /// Stores the first `left` lanes of `value`, or all.
    #[inline(always)]
    unsafe fn store<V: Vector>(&self, value: V, to: *mut f32, left: usize) {
        // SAFETY: as for `run`; what is read for the lanes beyond `left` is a local copy.
        unsafe {
            if !self.sum.accumulate {
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

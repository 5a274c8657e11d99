//! Scaled dot-product attention, a few rows of queries at a time, so that their scores stay in the cache.

use super::level::Level;
use super::parallel::{Grid, Output};
use super::tap_sum::{self, OVERREAD, TapSum};
use super::{activation, row_stride, scratch};
use crate::nn::ops::AttentionSpec;

/// Rows of queries that one task scores.
const TILE: usize = 48;

/// Sizes of one attention.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    /// Instructions.
    pub level: Level,
    /// Heads, scale and span.
    pub spec: AttentionSpec,
    /// Features of a head.
    pub size: usize,
    /// Rows of queries.
    pub queries: usize,
    /// Rows of keys and values.
    pub keys: usize,
}

/// The inputs of one batch entry, `[rows, heads * size]` each.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// Rows that ask.
    pub query: &'a [f32],
    /// Rows that are asked.
    pub key: &'a [f32],
    /// What they answer.
    pub value: &'a [f32],
}

impl Attention {
    /// Values of a row.
    fn width(self) -> usize {
        self.spec.heads * self.size
    }

    /// For each head, `softmax(scale * query key^T) value` over the keys in sight, into `out` `[queries, heads * size]`.
    pub fn run(self, inputs: Inputs, out: &mut [f32]) {
        assert_eq!(inputs.query.len(), self.queries * self.width());
        assert_eq!(inputs.key.len(), self.keys * self.width());
        assert_eq!(inputs.value.len(), inputs.key.len());
        assert_eq!(out.len(), inputs.query.len());
        assert!(self.spec.span.is_none() || self.queries == self.keys, "a span is one between equal rows");
        let tiles = self.queries.div_ceil(TILE);
        let seen = self.spec.in_sight(0..self.queries.min(TILE), self.keys).len();
        let grid = Grid::new(self.spec.heads, tiles, 2 * self.queries * seen * self.width());
        let out = Output::new(out);
        grid.run(|head, part| self.head(inputs, head, grid.share(tiles, part), out));
    }

    /// Some tiles of one head.
    fn head(self, inputs: Inputs, head: usize, tiles: std::ops::Range<usize>, out: Output) {
        let Self { level, size, queries, keys, .. } = self;
        let row = row_stride(keys);
        scratch::with(size * row + keys * size + 2 * OVERREAD, |copies| {
            // Keys with their features in rows, and values together.
            let (transposed, values) = copies.split_at_mut(size * row + OVERREAD);
            for (index, (key, value)) in self.rows(inputs.key, head).zip(self.rows(inputs.value, head)).enumerate() {
                for (feature, &key) in key.iter().enumerate() {
                    transposed[feature * row + index] = key;
                }
                values[index * size..][..size].copy_from_slice(value);
            }
            let score_offsets: Vec<u32> = (0..size).map(|feature| (feature * row) as u32).collect();
            let value_offsets: Vec<u32> = (0..keys).map(|key| (key * size) as u32).collect();
            let most = level.rows();
            scratch::with(most * (row + keys + size), |buffers| {
                let (scores, buffers) = buffers.split_at_mut(most * row);
                let (packed, query) = buffers.split_at_mut(most * keys);
                let range = tiles.start * TILE..queries.min(tiles.end * TILE);
                for (first, rows) in tap_sum::row_blocks(level, range.len()) {
                    let first = range.start + first;
                    let seen = self.spec.in_sight(first..first + rows, keys);
                    for (index, from) in self.rows(inputs.query, head).skip(first).take(rows).enumerate() {
                        for (feature, value) in from.iter().enumerate() {
                            query[feature * rows + index] = value * self.spec.scale;
                        }
                    }
                    let sum = TapSum {
                        x: &transposed[seen.start..],
                        offsets: &score_offsets,
                        weights: &query[..size * rows],
                        bias: None,
                        rows,
                        columns: seen.len(),
                        accumulate: false,
                    };
                    // SAFETY: `scores` holds a level's rows.
                    unsafe { sum.write(level, scores.as_mut_ptr(), row) };
                    for (index, scores) in scores.chunks_exact_mut(row).take(rows).enumerate() {
                        // What other rows of the block see and this one does not weighs nothing.
                        let own = self.spec.in_sight(first + index..first + index + 1, keys);
                        let own = own.start - seen.start..own.end - seen.start;
                        scores[..own.start].fill(0.0);
                        scores[own.end..seen.len()].fill(0.0);
                        activation::softmax(level, &mut scores[own]);
                        for (slot, score) in packed[index..].iter_mut().step_by(rows).zip(&scores[..seen.len()]) {
                            *slot = *score;
                        }
                    }
                    let sum = TapSum {
                        x: &values[seen.start * size..],
                        offsets: &value_offsets[..seen.len()],
                        weights: &packed[..seen.len() * rows],
                        bias: None,
                        rows,
                        columns: size,
                        accumulate: false,
                    };
                    // SAFETY: each task has its own rows of its own head, within the output that `run` has checked.
                    unsafe { sum.write(level, out.at(first * self.width() + head * size), self.width()) };
                }
            });
        });
    }

    /// One head's part of each row.
    fn rows(self, x: &[f32], head: usize) -> impl Iterator<Item = &[f32]> {
        x.chunks_exact(self.width()).map(move |row| &row[head * self.size..][..self.size])
    }
}

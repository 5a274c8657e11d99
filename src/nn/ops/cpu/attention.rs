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
    /// What is added to both by distance; then there are as many keys as queries.
    pub relative: Option<Distances<'a>>,
}

/// Vectors of distances, `[2 reach + 1, size]`: see [`Relative`](crate::nn::ops::Relative).
#[derive(Clone, Copy)]
pub struct Distances<'a> {
    /// Added to keys.
    pub keys: &'a [f32],
    /// Added to values.
    pub values: &'a [f32],
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
        assert!(self.spec.span.is_none() || inputs.relative.is_none(), "either a span or distances");
        let is_among_equals = self.spec.span.is_some() || inputs.relative.is_some();
        assert!(!is_among_equals || self.queries == self.keys, "a span or a distance is one between equal rows");
        if let Some(Distances { keys, values }) = inputs.relative {
            assert!(keys.len() == values.len() && keys.len().is_multiple_of(self.size.max(1)));
        }
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
        let by_distance = inputs.relative.map(|distances| ByDistance::new(self, distances));
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
                    if let Some(by_distance) = &by_distance {
                        by_distance.add_scores(&query[..size * rows], first, rows, scores, row);
                    }
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
                    let out = unsafe { out.at(first * self.width() + head * size) };
                    // SAFETY: as above.
                    unsafe { sum.write(level, out, self.width()) };
                    if let Some(by_distance) = &by_distance {
                        // SAFETY: as above.
                        unsafe { by_distance.add_values(scores, row, first, rows, out) };
                    }
                }
            });
        });
    }

    /// One head's part of each row.
    fn rows(self, x: &[f32], head: usize) -> impl Iterator<Item = &[f32]> {
        x.chunks_exact(self.width()).map(move |row| &row[head * self.size..][..self.size])
    }
}

/// What one attention's rows know of distances.
struct ByDistance {
    attention: Attention,
    count: usize,
    /// `[size, row]`: keys with their features in rows.
    keys: Vec<f32>,
    key_row: usize,
    key_offsets: Vec<u32>,
    /// `[count, size]`.
    values: Vec<f32>,
    value_offsets: Vec<u32>,
}

impl ByDistance {
    fn new(attention: Attention, distances: Distances) -> Self {
        let size = attention.size;
        let count = distances.keys.len() / size.max(1);
        let key_row = row_stride(count);
        let mut keys = vec![0.0; size * key_row + OVERREAD];
        for (distance, key) in distances.keys.chunks_exact(size.max(1)).enumerate() {
            for (feature, value) in key.iter().enumerate() {
                keys[feature * key_row + distance] = *value;
            }
        }
        let mut values = distances.values.to_vec();
        values.resize(count * size + OVERREAD, 0.0);
        Self {
            attention,
            count,
            keys,
            key_row,
            key_offsets: (0..size).map(|feature| (feature * key_row) as u32).collect(),
            values,
            value_offsets: (0..count).map(|distance| (distance * size) as u32).collect(),
        }
    }

    /// Distances, by their number, whose rows there are around `row`, and the first of those rows.
    fn around(&self, row: usize) -> (std::ops::Range<usize>, usize) {
        let reach = self.count / 2;
        let start = row.saturating_sub(reach);
        let end = (row + reach + 1).min(self.attention.keys);
        (start + reach - row..end + reach - row, start)
    }

    /// Adds to `scores`, `[rows, stride]`, of packed queries from row `first` on.
    fn add_scores(&self, query: &[f32], first: usize, rows: usize, scores: &mut [f32], stride: usize) {
        scratch::with(rows * self.key_row, |near| {
            let sum = TapSum {
                x: &self.keys,
                offsets: &self.key_offsets,
                weights: query,
                bias: None,
                rows,
                columns: self.count,
                accumulate: false,
            };
            // SAFETY: `near` holds `rows` rows of more than `count` values.
            unsafe { sum.write(self.attention.level, near.as_mut_ptr(), self.key_row) };
            for (index, (near, scores)) in
                near.chunks_exact(self.key_row).zip(scores.chunks_exact_mut(stride)).enumerate()
            {
                let (distances, start) = self.around(first + index);
                for (score, near) in scores[start..].iter_mut().zip(&near[distances]) {
                    *score += near;
                }
            }
        });
    }

    /// Adds to the output of some rows what their weights, `[rows, stride]`, draw by distance.
    ///
    /// # Safety
    /// `out` must be the first of these rows, and nobody else may use their part for this head meanwhile.
    unsafe fn add_values(&self, weights: &[f32], stride: usize, first: usize, rows: usize, out: *mut f32) {
        scratch::with(rows * self.count, |packed| {
            packed.fill(0.0);
            for (index, weights) in weights.chunks_exact(stride).take(rows).enumerate() {
                let (distances, start) = self.around(first + index);
                let slots = packed[distances.start * rows + index..].iter_mut().step_by(rows);
                for (slot, weight) in slots.zip(&weights[start..start + distances.len()]) {
                    *slot = *weight;
                }
            }
            let sum = TapSum {
                x: &self.values,
                offsets: &self.value_offsets,
                weights: packed,
                bias: None,
                rows,
                columns: self.attention.size,
                accumulate: true,
            };
            // SAFETY: passed on.
            unsafe { sum.write(self.attention.level, out, self.attention.width()) };
        });
    }
}

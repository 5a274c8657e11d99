//! Attention.

use super::ATTENTION;
use super::epilogue::values;
use crate::cuda::launch::{Buffer, Launch, Machine, expect_at_least};
use crate::error::{Error, Result};
use crate::nn::ops::AttentionSpec;

/// Queries of a block.
const QUERIES: usize = 4;
/// Keys in shared memory at once.
const KEYS: usize = 32;
/// Values of a head that a warp sums.
const MOST_SIZE: usize = 128;

/// Sizes of an attention.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionShape {
    /// Independent ones.
    pub batch: usize,
    /// Rows of the query and of the output.
    pub queries: usize,
    /// Rows of key and value.
    pub keys: usize,
    /// Values of a row, of all heads.
    pub features: usize,
    /// Heads, scale and span.
    pub spec: AttentionSpec,
}

impl AttentionShape {
    /// Values of one head.
    fn size(&self) -> usize {
        self.features / self.spec.heads.max(1)
    }

    fn check(&self) -> Result<()> {
        let Self { batch, queries, keys, features, spec } = *self;
        if spec.heads == 0 || !features.is_multiple_of(spec.heads) || !(1..=MOST_SIZE).contains(&self.size()) {
            let expected = format!("a divisor of {features} features, into 1 to {MOST_SIZE} each");
            return Err(Error::argument("heads", expected, spec.heads));
        }
        if keys == 0 {
            return Err(Error::argument("keys", "at least one", keys));
        }
        if spec.span.is_some() && keys != queries {
            return Err(Error::argument("keys of a span", format!("{queries}, as queries"), keys));
        }
        values("query", &[batch, queries, features])?;
        values("key", &[batch, keys, features]).map(drop)
    }
}

/// What is known of distances besides what is in rows: [`Relative`](crate::nn::ops::Relative) in a machine's memory.
pub struct Distances<'a, M: Machine> {
    /// Rows away that something is known of, on both sides.
    pub reach: usize,
    /// `[2 reach + 1, size]`.
    pub keys: &'a Buffer<M, f32>,
    /// `[2 reach + 1, size]`.
    pub values: &'a Buffer<M, f32>,
}

/// For each head, `softmax(scale query key^T) value` over the keys in sight: `query` and `y` `[batch, queries,
/// features]`, `key` and `value` `[batch, keys, features]`. With `relative`, there are as many keys as queries. Buffers
/// may be longer.
///
/// # Errors
/// Heads that do not divide the features or are larger than 128, no key, another number of keys than of queries where
/// that matters, a buffer that is too short, or the machine fails.
#[allow(clippy::too_many_arguments, reason = "a kernel's inputs and outputs")]
pub fn attention<M: Machine>(
    machine: &M,
    shape: &AttentionShape,
    query: &Buffer<M, f32>,
    key: &Buffer<M, f32>,
    value: &Buffer<M, f32>,
    relative: Option<&Distances<M>>,
    y: &mut Buffer<M, f32>,
) -> Result<()> {
    shape.check()?;
    let &AttentionShape { batch, queries, keys, features, spec } = shape;
    let size = shape.size();
    expect_at_least("query", query.len(), batch * queries * features)?;
    expect_at_least("key", key.len(), batch * keys * features)?;
    expect_at_least("value", value.len(), batch * keys * features)?;
    expect_at_least("output", y.len(), batch * queries * features)?;
    if let Some(relative) = relative {
        if keys != queries {
            return Err(Error::argument("keys at a distance", format!("{queries}, as queries"), keys));
        }
        let rows = relative.reach.saturating_mul(2).saturating_add(1);
        let known = values("distances", &[rows, size])?;
        expect_at_least("keys of distances", relative.keys.len(), known)?;
        expect_at_least("values of distances", relative.values.len(), known)?;
    }
    let all = queries.max(keys);
    let [before, after] = spec.span.unwrap_or([all; 2]).map(|rows| rows.min(all));
    Launch::new(&ATTENTION, queries.div_ceil(QUERIES))
        .rows(batch * spec.heads)
        .shared_bytes((2 * KEYS * (size | 1) + QUERIES * size) * size_of::<f32>())
        .input(query)
        .input(key)
        .input(value)
        .optional(relative.map(|relative| relative.keys))
        .optional(relative.map(|relative| relative.values))
        .size(relative.map_or(0, |relative| relative.reach))
        .size(queries)
        .size(keys)
        .size(spec.heads)
        .size(size)
        .f32(spec.scale)
        .size(before)
        .size(after)
        .output(y)
        .run(machine)
}

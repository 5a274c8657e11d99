//! Exact search in an index and the blend of what is found.

use super::{RETRIEVAL_BLEND, RETRIEVAL_NEAREST};
use crate::cuda::launch::{Buffer, Launch, Machine, expect_at_least, expect_len};
use crate::error::{Error, Result};

/// Rows blended for each unit.
const NEIGHBOURS: usize = 8;
/// Units that one row of blocks searches for.
const QUERIES: usize = 8;
/// Values of a unit that fit in shared memory, eight units at a time.
const MOST_DIM: usize = 1024;
/// Blocks whose lists one block merges.
const MOST_BLOCKS: usize = 2048;
/// Rows a block reads at once.
const ROWS_PER_STEP: usize = 8;

/// The nearest rows of some units in a machine's memory.
pub struct Neighbours<M: Machine> {
    blocks: usize,
    found_distance: Buffer<M, f32>,
    found_row: Buffer<M, i32>,
    /// Positions of the nearest rows `[units, 8]`, nearest first; -1 where there are fewer.
    pub row: Buffer<M, i32>,
    /// Their squared distances `[units, 8]`.
    pub distance: Buffer<M, f32>,
}

impl<M: Machine> Neighbours<M> {
    /// Room for the neighbours of `units` units among `rows` rows, searched by at most `blocks` blocks: some for each of
    /// the machine's multiprocessors.
    ///
    /// # Errors
    /// `blocks` is not in 1..=2048, or there is no memory.
    pub fn new(machine: &M, units: usize, rows: usize, blocks: usize) -> Result<Self> {
        if !(1..=MOST_BLOCKS).contains(&blocks) {
            return Err(Error::argument("blocks", format!("1 to {MOST_BLOCKS}"), blocks));
        }
        let blocks = blocks.min(rows.div_ceil(ROWS_PER_STEP)).max(1);
        Ok(Self {
            blocks,
            found_distance: Buffer::zeros(machine, units * blocks * NEIGHBOURS)?,
            found_row: Buffer::zeros(machine, units * blocks * NEIGHBOURS)?,
            row: Buffer::zeros(machine, units * NEIGHBOURS)?,
            distance: Buffer::zeros(machine, units * NEIGHBOURS)?,
        })
    }

    fn units(&self) -> usize {
        self.row.len() / NEIGHBOURS
    }
}

fn check_rows(rows: usize, units: usize, found: usize, dim: usize) -> Result<()> {
    if dim == 0 || dim > MOST_DIM || !dim.is_multiple_of(4) {
        return Err(Error::argument("values of a unit", format!("a multiple of 4 up to {MOST_DIM}"), dim));
    }
    if !rows.is_multiple_of(dim) {
        return Err(Error::argument("rows of the index", format!("whole rows of {dim} values"), rows));
    }
    expect_len("units", units, found * dim)
}

/// Searches `rows` `[rows, dim]` for the nearest of each of `units` `[units, dim]`, block by block, into `found`.
///
/// # Errors
/// `dim` is not a multiple of 4 up to 1024, a length does not fit, or the machine fails.
pub fn retrieval_nearest<M: Machine>(
    machine: &M,
    rows: &Buffer<M, f32>,
    units: &Buffer<M, f32>,
    dim: usize,
    found: &mut Neighbours<M>,
) -> Result<()> {
    let count = found.units();
    check_rows(rows.len(), units.len(), count, dim)?;
    Launch::new(&RETRIEVAL_NEAREST, found.blocks)
        .rows(count.div_ceil(QUERIES))
        .shared_bytes(QUERIES * dim * size_of::<f32>())
        .input(rows)
        .size(rows.len() / dim)
        .size(dim)
        .input(units)
        .size(count)
        .output(&mut found.found_distance)
        .output(&mut found.found_row)
        .run(machine)
}

/// Merges what [`retrieval_nearest`] found in the same `rows`, and pulls each unit towards its neighbours by `rate`.
///
/// # Errors
/// As [`retrieval_nearest`].
pub fn retrieval_blend<M: Machine>(
    machine: &M,
    rows: &Buffer<M, f32>,
    units: &mut Buffer<M, f32>,
    dim: usize,
    rate: f32,
    found: &mut Neighbours<M>,
) -> Result<()> {
    let count = found.units();
    check_rows(rows.len(), units.len(), count, dim)?;
    expect_at_least("places found", found.found_row.len(), count * found.blocks * NEIGHBOURS)?;
    Launch::new(&RETRIEVAL_BLEND, count)
        .input(rows)
        .size(rows.len() / dim)
        .size(dim)
        .output(units)
        .size(found.blocks)
        .input(&found.found_distance)
        .input(&found.found_row)
        .f32(rate)
        .output(&mut found.row)
        .output(&mut found.distance)
        .run(machine)
}

//! Sharing work among the threads of the current pool, and only when it is worth it.

use super::team;

/// Multiply-adds below which handing out tasks costs more than it saves (tens of microseconds of work).
const WORTH_SHARING: usize = 1 << 20;

/// How a piece of work of some multiply-adds is cut: `tiles` come from its length, `parts` from its rows.
#[derive(Clone, Copy)]
pub struct Grid {
    /// Pieces along the signal, all batches together.
    pub tiles: usize,
    /// Pieces of each tile's rows.
    pub parts: usize,
    shared: bool,
}

impl Grid {
    /// Cuts rows only as far as tiles do not keep the threads busy, into at most `max_parts`.
    pub fn new(tiles: usize, max_parts: usize, multiply_adds: usize) -> Self {
        let threads = rayon::current_num_threads();
        let shared = threads > 1 && multiply_adds >= WORTH_SHARING;
        let wanted = if shared && tiles < 3 * threads { (2 * threads).div_ceil(tiles.max(1)) } else { 1 };
        Self { tiles, parts: wanted.clamp(1, max_parts.max(1)), shared }
    }

    /// Calls `task(tile, part)` for each piece, on the current pool's threads: whichever is free takes the next.
    pub fn run(self, task: impl Fn(usize, usize) + Sync) {
        let count = self.tiles * self.parts;
        let one = |index: usize| task(index / self.parts, index % self.parts);
        if self.shared { team::share(count, &one) } else { (0..count).for_each(one) }
    }

    /// The share of `items` that `part` has.
    pub fn share(self, items: usize, part: usize) -> std::ops::Range<usize> {
        items * part / self.parts..items * (part + 1) / self.parts
    }
}

/// Length of tiles, a multiple of `multiple` and hardly more than `most`, of which the last is about as long as the others:
/// threads that share them end together.
pub fn even(length: usize, most: usize, multiple: usize) -> usize {
    let tiles = length.div_ceil(most).max(1);
    length.div_ceil(tiles).next_multiple_of(multiple).max(multiple)
}

/// A pointer into an output that tasks write disjoint pieces of.
#[derive(Clone, Copy)]
pub struct Output(*mut f32);

// SAFETY: only a pointer; whoever writes through it answers for the pieces being disjoint.
unsafe impl Send for Output {}
// SAFETY: as above.
unsafe impl Sync for Output {}

impl Output {
    /// Of a whole output buffer.
    pub fn new(out: &mut [f32]) -> Self {
        Self(out.as_mut_ptr())
    }

    /// `offset` values into the buffer.
    ///
    /// # Safety
    /// `offset` must lie in the buffer.
    pub unsafe fn at(self, offset: usize) -> *mut f32 {
        // SAFETY: passed on.
        unsafe { self.0.add(offset) }
    }

    /// `length` values at `offset`.
    ///
    /// # Safety
    /// They must lie in the buffer, and nobody else may use them meanwhile.
    pub unsafe fn slice<'a>(self, offset: usize, length: usize) -> &'a mut [f32] {
        // SAFETY: passed on.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(offset), length) }
    }
}

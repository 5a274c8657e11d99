//! The latest value of something, from one thread to one other: the reader never waits and may miss values, the writer
//! never waits and overwrites what was not read.
//!
//! A triple buffer: of three cells one is the writer's, one the reader's, and the third, in the middle, changes hands.
//! Whoever has something to give or to get swaps its own cell with the middle one, in one atomic step.

// The atomic parts come through the parent, so that `tests/loom` can compile this file with loom's.
use super::sync::{Arc, AtomicU8, Cell, Ordering};

/// Which cell is in the middle.
const INDEX: u8 = 0b011;
/// Set while the reader has not seen the cell in the middle.
const FRESH: u8 = 0b100;

/// The cells, and which of them is in the middle.
struct Shared<T> {
    cells: [Cell<T>; 3],
    middle: AtomicU8,
}

#[expect(unsafe_code, reason = "cells that two threads use by turns")]
// SAFETY: each cell is used by the end that holds its index alone, and indexes change hands by `middle`: a release by
// the end that gives, an acquire by the end that takes.
unsafe impl<T: Send> Sync for Shared<T> {}

/// Both ends of a snapshot that starts as `initial`.
#[must_use]
pub fn snapshot<T: Copy + Send>(initial: T) -> (SnapshotTx<T>, SnapshotRx<T>) {
    let cells = [Cell::new(initial), Cell::new(initial), Cell::new(initial)];
    let shared = Arc::new(Shared { cells, middle: AtomicU8::new(1) });
    (SnapshotTx { shared: shared.clone(), own: 0 }, SnapshotRx { shared, own: 2 })
}

/// The writing end.
pub struct SnapshotTx<T: Copy + Send> {
    shared: Arc<Shared<T>>,
    own: u8,
}

impl<T: Copy + Send> SnapshotTx<T> {
    /// Makes `value` the latest.
    pub fn publish(&mut self, value: T) {
        #[expect(unsafe_code, reason = "as above")]
        // SAFETY: the cell is this end's.
        self.shared.cells[usize::from(self.own)].with_mut(|cell| unsafe { *cell = value });
        // Releases what was written, and acquires the reader's last reads of the cell that comes back.
        self.own = self.shared.middle.swap(self.own | FRESH, Ordering::AcqRel) & INDEX;
    }
}

/// The reading end.
pub struct SnapshotRx<T: Copy + Send> {
    shared: Arc<Shared<T>>,
    own: u8,
}

impl<T: Copy + Send> SnapshotRx<T> {
    /// The latest value.
    pub fn latest(&mut self) -> T {
        if self.shared.middle.load(Ordering::Relaxed) & FRESH != 0 {
            // Acquires what was written, and releases the last reads of the cell that is given back.
            self.own = self.shared.middle.swap(self.own, Ordering::AcqRel) & INDEX;
        }
        #[expect(unsafe_code, reason = "as above")]
        // SAFETY: the cell is this end's.
        self.shared.cells[usize::from(self.own)].with(|cell| unsafe { *cell })
    }
}

impl<T: Copy + Send> std::fmt::Debug for SnapshotTx<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotTx").finish_non_exhaustive()
    }
}

impl<T: Copy + Send> std::fmt::Debug for SnapshotRx<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotRx").finish_non_exhaustive()
    }
}

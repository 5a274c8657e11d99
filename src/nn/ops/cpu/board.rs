//! One piece of work after the other, each cut into numbered parts that several threads take.

// The atomic parts come through the parent, so that `tests/loom` can compile this file with loom's.
use super::sync::{AtomicU32, AtomicU64, Cell, Ordering};

/// Where the work is posted.
pub struct Board<T: Copy> {
    /// How many parts the work has, in the high half, and the next that nobody has taken.
    ticket: AtomicU64,
    /// Parts that are done.
    done: AtomicU32,
    work: Cell<T>,
}

#[expect(unsafe_code, reason = "a cell that changes while nobody else looks at it")]
// SAFETY: the work is written while no part is taken and not done, and read between taking a part and being done with it:
// the ticket releases what was written to whoever takes a part, `done` what was read to whoever writes next.
unsafe impl<T: Copy + Send> Sync for Board<T> {}

impl<T: Copy> Board<T> {
    /// A board with nothing to do; `nothing` is never taken.
    pub fn new(nothing: T) -> Self {
        Self { ticket: AtomicU64::new(0), done: AtomicU32::new(0), work: Cell::new(nothing) }
    }

    /// Posts work of so many parts.
    ///
    /// # Safety
    /// By one thread alone, and only when [`is_done`](Self::is_done) has said so of the work before.
    #[expect(unsafe_code, reason = "as above")]
    pub unsafe fn post(&self, work: T, parts: u32) {
        self.done.store(0, Ordering::Relaxed);
        // SAFETY: no part of the work before is taken and not done.
        self.work.with_mut(|cell| unsafe { *cell = work });
        self.ticket.store(u64::from(parts) << 32, Ordering::Release);
    }

    /// The work and one of its parts, if one is left. Whoever takes it must be [`done`](Self::done) with it.
    pub fn take(&self) -> Option<(T, u32)> {
        let mut ticket = self.ticket.load(Ordering::Relaxed);
        loop {
            let (parts, next) = ((ticket >> 32) as u32, ticket as u32);
            if next >= parts {
                return None;
            }
            // Even if the ticket is that of other work by now, one of its parts is taken.
            match self.ticket.compare_exchange_weak(ticket, ticket + 1, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => {
                    #[expect(unsafe_code, reason = "as above")]
                    // SAFETY: the part that was taken is not done.
                    let work = self.work.with(|cell| unsafe { *cell });
                    return Some((work, next));
                }
                Err(now) => ticket = now,
            }
        }
    }

    /// Takes note that a part is done.
    pub fn done(&self) {
        self.done.fetch_add(1, Ordering::Release);
    }

    /// Whether all of `parts` are done.
    pub fn is_done(&self, parts: u32) -> bool {
        self.done.load(Ordering::Acquire) == parts
    }
}

//! Memory of the process: keeping what was freed for what comes next, and giving back what is not needed.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Has freed memory kept by the process. By itself the C library gives large pieces back to the system at once, and a network
/// frees and takes them by the dozen for each window: a tenth of a conversion's time went into getting them again, zeroed.
///
/// Pieces of 64 MiB, which hold files rather than tensors, are given back still, and so is what is free at the end beyond
/// 256 MiB.
pub fn keep_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: takes no pointers, and may be called at any time by any thread.
    unsafe {
        // The GNU library took no more than 32 MiB before 2.35; and where it takes none, the second would make things worse.
        let kept = [64, 32].into_iter().any(|mebibytes| libc::mallopt(libc::M_MMAP_THRESHOLD, mebibytes << 20) == 1);
        if kept {
            libc::mallopt(libc::M_TRIM_THRESHOLD, 256 << 20);
        }
    }
}

/// Has all threads of this program that begin after it take memory from one place, so it comes first. By itself each takes it
/// from one of its own, and what they free there stays theirs: a voice's worth for every thread that once loaded one.
pub fn keep_together() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: takes no pointers, and may be called at any time by any thread.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Streams that must not wait.
static UNDISTURBED: AtomicUsize = AtomicUsize::new(0);

/// While it lives, no memory is given back.
#[derive(Debug)]
pub struct Undisturbed;

impl Undisturbed {
    /// From now on.
    #[must_use]
    pub fn new() -> Self {
        UNDISTURBED.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for Undisturbed {
    fn drop(&mut self) {
        UNDISTURBED.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Gives memory back to the system that was freed and is kept for what comes next, unless a stream runs: whoever wants memory
/// meanwhile waits, 80 ms for each GiB that is given back. Says whether it was done.
pub fn give_back() -> bool {
    if UNDISTURBED.load(Ordering::Relaxed) > 0 {
        return false;
    }
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: takes no pointers, and may be called at any time by any thread.
    unsafe {
        libc::malloc_trim(0);
    }
    true
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;
    use crate::telemetry::resident_bytes;

    #[test]
    fn what_was_freed_in_pieces_is_given_back() {
        const PIECE: usize = 64 << 10;
        let before = resident_bytes();
        let mut pieces: Vec<Vec<u8>> = (0..2000).map(|_| vec![1; PIECE]).collect();
        let held = resident_bytes();
        assert!(held > before + 100 * (1 << 20), "{before} {held}");
        // One of a hundred stays, so that nothing can be given back by the end of what is used.
        let mut number = 0;
        pieces.retain(|_| {
            number += 1;
            number % 100 == 0
        });
        let stream = Undisturbed::new();
        assert!(!give_back());
        drop(stream);
        // Tests beside this one may have streams.
        while !give_back() {
            std::thread::yield_now();
        }
        let after = resident_bytes();
        assert!(after < before + 30 * (1 << 20), "{before} {held} {after}");
        assert_eq!(pieces.len(), 20);
    }
}

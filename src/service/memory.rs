//! Memory of the process: how much it holds, and giving back what it does not need.

pub use crate::telemetry::resident_bytes;

/// Has all threads take memory from one place. By itself each takes it from one of its own, and what they free there stays
/// theirs: a voice's worth for every thread that once loaded one.
pub fn keep_together() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: takes no pointers, and may be called at any time by any thread.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives memory back to the system that was freed and is kept for what comes next.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: takes no pointers, and may be called at any time by any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;

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
        give_back();
        let after = resident_bytes();
        assert!(after < before + 30 * (1 << 20), "{before} {held} {after}");
        assert_eq!(pieces.len(), 20);
    }
}

//! The lock-free parts of our own in every order that two threads can meet in, by loom: the same source files as the
//! crate's, compiled with loom's atomics and cells.

mod sync {
    #[allow(clippy::unsafe_removed_from_name, reason = "std has other names for both")]
    pub use loom::cell::UnsafeCell as Cell;
    pub use loom::sync::Arc;
    pub use loom::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
}

#[path = "../../src/nn/ops/cpu/board.rs"]
mod board;
#[path = "../../src/rt/snapshot.rs"]
mod snapshot;

use board::Board;
use loom::sync::Arc;
use loom::thread;
use snapshot::snapshot;

#[test]
fn a_snapshot_is_never_torn_and_never_goes_back() {
    loom::model(|| {
        let (mut tx, mut rx) = snapshot([0_u32; 2]);
        let writer = thread::spawn(move || {
            tx.publish([1, 1]);
            tx.publish([2, 2]);
            tx.publish([3, 3]);
        });
        let mut seen = 0;
        for _ in 0..2 {
            let [first, second] = rx.latest();
            assert!(first == second && first >= seen, "{seen}, then {first} {second}");
            seen = first;
        }
        writer.join().expect("the writer");
        assert_eq!(rx.latest(), [3, 3]);
    });
}

#[test]
#[expect(unsafe_code, reason = "one thread alone may post")]
fn every_part_of_posted_work_is_taken_once_and_by_whoever_sees_that_work() {
    const PARTS: u32 = 2;
    loom::model(|| {
        let board = Arc::new(Board::new(0));
        let helper = {
            let board = board.clone();
            thread::spawn(move || {
                let mut taken = [0_u32; 2];
                for _ in 0..2 {
                    if let Some((work, part)) = board.take() {
                        taken[work - 1] += 1 << (8 * part);
                        board.done();
                    }
                }
                taken
            })
        };
        let mut taken = [0_u32; 2];
        for work in 1..=2 {
            // SAFETY: this thread alone posts, and the loop below waits.
            unsafe { board.post(work, PARTS) };
            loop {
                match board.take() {
                    Some((of, part)) => {
                        assert_eq!(of, work);
                        taken[of - 1] += 1 << (8 * part);
                        board.done();
                    }
                    None if board.is_done(PARTS) => break,
                    None => thread::yield_now(),
                }
            }
        }
        let helped = helper.join().expect("the helper");
        for (work, (own, other)) in taken.into_iter().zip(helped).enumerate() {
            assert_eq!(own + other, 0x0101, "work {work}");
        }
    });
}

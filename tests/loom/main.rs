//! The lock-free parts of our own in every order that two threads can meet in, by loom: the same source files as the
//! crate's, compiled with loom's atomics and cells.

mod sync {
    #[allow(clippy::unsafe_removed_from_name, reason = "std has other names for both")]
    pub use loom::cell::UnsafeCell as Cell;
    pub use loom::sync::Arc;
    pub use loom::sync::atomic::{AtomicU8, Ordering};
}

#[path = "../../src/rt/snapshot.rs"]
mod snapshot;

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

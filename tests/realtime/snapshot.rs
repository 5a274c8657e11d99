//! The latest value, between two threads that do not wait.

use syrinx::rt::snapshot::snapshot;

#[test]
fn a_reader_sees_whole_values_and_never_an_older_one() {
    let (mut tx, mut rx) = snapshot([0_u64; 16]);
    let writer = std::thread::spawn(move || (1..=20_000).for_each(|n| tx.publish([n; 16])));
    let mut seen = 0;
    while seen < 20_000 {
        let value = rx.latest();
        assert!(value.iter().all(|&part| part == value[0]), "torn: {value:?}");
        assert!(value[0] >= seen);
        seen = value[0];
    }
    writer.join().expect("the writer");
}

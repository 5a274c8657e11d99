//! The latest value of something, from one thread to one other: the reader never waits and may miss values, the writer
//! never waits and overwrites what was not read.

use triple_buffer::{Input, Output, triple_buffer};

/// Both ends of a snapshot that starts as `initial`.
#[must_use]
pub fn snapshot<T: Copy + Send>(initial: T) -> (SnapshotTx<T>, SnapshotRx<T>) {
    let (tx, rx) = triple_buffer(&initial);
    (SnapshotTx { tx }, SnapshotRx { rx })
}

/// The writing end.
#[derive(Debug)]
pub struct SnapshotTx<T: Copy + Send> {
    tx: Input<T>,
}

impl<T: Copy + Send> SnapshotTx<T> {
    /// Makes `value` the latest.
    pub fn publish(&mut self, value: T) {
        self.tx.write(value);
    }
}

/// The reading end.
#[derive(Debug)]
pub struct SnapshotRx<T: Copy + Send> {
    rx: Output<T>,
}

impl<T: Copy + Send> SnapshotRx<T> {
    /// The latest value.
    pub fn latest(&mut self) -> T {
        *self.rx.read()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}

//! Audio from one thread to one other, in order, without waiting.

use rtrb::{Consumer, Producer, RingBuffer};

/// A ring for `capacity` samples.
#[must_use]
pub fn audio_ring(capacity: usize) -> (AudioTx, AudioRx) {
    let (producer, consumer) = RingBuffer::new(capacity);
    (AudioTx { producer, sent: 0, lost: 0 }, AudioRx { consumer })
}

/// The sending end.
#[derive(Debug)]
pub struct AudioTx {
    producer: Producer<f32>,
    sent: u64,
    lost: u64,
}

impl AudioTx {
    /// Sends what fits of `samples`, from their start, and returns how many samples that were. The rest is lost, and
    /// counted.
    pub fn push(&mut self, samples: &[f32]) -> usize {
        let (sent, rest) = self.producer.push_partial_slice(samples);
        self.sent += sent.len() as u64;
        self.lost += rest.len() as u64;
        sent.len()
    }

    /// Sends up to `count` samples of silence, and returns how many fitted.
    pub fn push_silence(&mut self, count: usize) -> usize {
        let count = count.min(self.free());
        let Ok(chunk) = self.producer.write_chunk_uninit(count) else { return 0 };
        let sent = chunk.fill_from_iter(std::iter::repeat_n(0.0, count));
        self.sent += sent as u64;
        sent
    }

    /// Samples that would fit now.
    #[must_use]
    pub fn free(&self) -> usize {
        self.producer.slots()
    }

    /// Samples that were sent, since the start.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Samples that did not fit, since the start.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Whether the receiving end is gone.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.producer.is_abandoned()
    }
}

/// The receiving end.
#[derive(Debug)]
pub struct AudioRx {
    consumer: Consumer<f32>,
}

impl AudioRx {
    /// Samples that can be taken now.
    #[must_use]
    pub fn available(&self) -> usize {
        self.consumer.slots()
    }

    /// Takes the oldest samples, as many as there are up to the length of `samples`; returns how many.
    pub fn pop(&mut self, samples: &mut [f32]) -> usize {
        self.consumer.pop_partial_slice(samples).0.len()
    }

    /// Drops up to `count` of the oldest samples; returns how many.
    pub fn discard(&mut self, count: usize) -> usize {
        let count = count.min(self.available());
        let Ok(chunk) = self.consumer.read_chunk(count) else { return 0 };
        chunk.commit_all();
        count
    }

    /// Whether the sending end is gone. What it sent can still be taken.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.consumer.is_abandoned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted_and_what_fits_arrives_in_order() {
        let (mut tx, mut rx) = audio_ring(4);
        assert_eq!(tx.push(&[1.0, 2.0, 3.0]), 3);
        assert_eq!(tx.push(&[4.0, 5.0, 6.0]), 1);
        assert_eq!(tx.lost(), 2);
        let mut out = [0.0; 8];
        assert_eq!(rx.discard(1), 1);
        assert_eq!(rx.pop(&mut out), 3);
        assert_eq!(out[..3], [2.0, 3.0, 4.0]);
        assert_eq!(tx.push_silence(9), 4);
        assert_eq!(tx.sent(), 8);
        assert_eq!(rx.pop(&mut out), 4);
        assert_eq!(out[..4], [0.0; 4]);
    }

    #[test]
    fn an_end_that_is_gone_is_noticed() {
        let (mut tx, rx) = audio_ring(4);
        tx.push(&[1.0]);
        drop(tx);
        assert!(rx.is_abandoned());
        assert_eq!(rx.available(), 1);
    }
}

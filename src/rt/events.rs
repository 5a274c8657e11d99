//! What happened on any thread, for control to log, count or act on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::queue::ArrayQueue;

/// Something that happened. Plain data: control puts it into words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The node at this place of the graph's [`node_name`](crate::graph::CompiledGraph::node_name)s panicked; it is
    /// silent from now on.
    NodePanicked(usize),
    /// The callback itself panicked; its block was silent.
    CallbackPanicked,
    /// A new graph has arrived and began to take over.
    SwapBegan,
    /// The new graph is heard alone.
    SwapEnded,
    /// The converter's audio ran out.
    Starved,
    /// The converter's audio is back, after this many samples of silence.
    Resumed(u64),
    /// A chunk could not be converted, and was silent.
    ChunkRefused,
    /// Converting a chunk panicked; the chunk was silent, and the converter starts anew.
    ConverterPanicked,
    /// The recorder cannot write any more; what follows is lost.
    RecorderFailed,
}

/// Both ends of a queue for `capacity` events.
#[must_use]
pub fn event_queue(capacity: usize) -> (EventTx, EventRx) {
    let queue = Arc::new(Queue { events: ArrayQueue::new(capacity.max(1)), lost: AtomicU64::new(0) });
    (EventTx { queue: queue.clone() }, EventRx { queue })
}

#[derive(Debug)]
struct Queue {
    events: ArrayQueue<Event>,
    lost: AtomicU64,
}

/// A sending end; there can be any number.
#[derive(Clone, Debug)]
pub struct EventTx {
    queue: Arc<Queue>,
}

impl EventTx {
    /// Sends `event`, without waiting: if control has not read for long, it is lost, and counted.
    pub fn send(&self, event: Event) {
        if self.queue.events.push(event).is_err() {
            self.queue.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The receiving end.
#[derive(Debug)]
pub struct EventRx {
    queue: Arc<Queue>,
}

impl EventRx {
    /// The oldest event that was not read.
    #[must_use]
    pub fn next(&self) -> Option<Event> {
        self.queue.events.pop()
    }

    /// Events lost since the start.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.queue.lost.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_senders_are_heard_and_what_does_not_fit_is_counted() {
        let (tx, rx) = event_queue(64);
        let senders = [1, 2, 3, 4].map(|sender| {
            let tx = tx.clone();
            std::thread::spawn(move || (0..20).for_each(|_| tx.send(Event::NodePanicked(sender))))
        });
        senders.into_iter().for_each(|sender| sender.join().expect("a sender"));
        let received = std::iter::from_fn(|| rx.next()).count();
        assert_eq!((received, rx.lost()), (64, 16));
    }
}

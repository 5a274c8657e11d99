//! Inbox: MIDI messages from a callback to control.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::queue::ArrayQueue;

/// Messages that wait to be read.
const MESSAGES: usize = 1024;

/// A channel message: its status byte and two more; the second is 0 where the message has one.
pub type MidiMessage = [u8; 3];

/// Messages that have come and were not read.
#[derive(Debug)]
pub struct MidiInbox {
    messages: ArrayQueue<MidiMessage>,
    lost: AtomicBool,
}

impl MidiInbox {
    /// An empty one.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self { messages: ArrayQueue::new(MESSAGES), lost: AtomicBool::new(false) })
    }

    /// Takes in the bytes of one message. Others than channel messages are nothing to us. Never waits or frees.
    pub fn push(&self, bytes: &[u8]) {
        if let Some(message) = message_of(bytes)
            && self.messages.push(message).is_err()
        {
            self.lost.store(true, Ordering::Relaxed);
        }
    }

    /// The oldest message that was not read.
    #[must_use]
    pub fn next(&self) -> Option<MidiMessage> {
        self.messages.pop()
    }

    /// Whether messages were lost since this was last asked: more than 1024 had come at once.
    #[must_use]
    pub fn has_lost(&self) -> bool {
        self.lost.swap(false, Ordering::Relaxed)
    }
}

fn message_of(bytes: &[u8]) -> Option<MidiMessage> {
    match *bytes {
        [status @ 0x80..=0xef, first, second] => Some([status, first, second]),
        [status @ 0xc0..=0xdf, first] => Some([status, first, 0]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channel_messages_come_in_order_and_what_does_not_fit_is_told() {
        let inbox = MidiInbox::new();
        for bytes in [&[0xc0, 4][..], &[], &[0xf8], &[0xf0, 1, 2, 3, 0xf7], &[0x12, 1, 2], &[0xb0, 7, 100], &[0x90, 60]]
        {
            inbox.push(bytes);
        }
        assert_eq!((inbox.next(), inbox.next(), inbox.next()), (Some([0xc0, 4, 0]), Some([0xb0, 7, 100]), None));
        assert!(!inbox.has_lost());
        (0..=MESSAGES).for_each(|_| inbox.push(&[0x90, 60, 1]));
        assert!(inbox.has_lost() && !inbox.has_lost());
        assert_eq!(std::iter::from_fn(|| inbox.next()).count(), MESSAGES);
    }
}

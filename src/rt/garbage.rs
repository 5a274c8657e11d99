//! Boxed things that control hands to a real-time thread, and the way back, so that real-time never frees.
//!
//! Control counts what is out: at most [`Sender::LIMIT`] boxes are between the ends, in the ring forth, in use or in the
//! ring back. The ring back has room for all of them, so it cannot fill.

use rtrb::{Consumer, Producer, RingBuffer};

/// Both ends of a hand-over.
#[must_use]
pub fn hand_over<T: Send>() -> (Sender<T>, Receiver<T>) {
    let (to_real_time, arriving) = RingBuffer::new(Sender::<T>::LIMIT);
    let (dead, returned) = RingBuffer::new(Sender::<T>::LIMIT);
    (Sender { to_real_time, returned, out: 0 }, Receiver { arriving, dead })
}

/// Control's end.
#[derive(Debug)]
pub struct Sender<T: Send> {
    to_real_time: Producer<Box<T>>,
    returned: Consumer<Box<T>>,
    out: usize,
}

impl<T: Send> Sender<T> {
    /// Most boxes that are out at a time.
    pub const LIMIT: usize = 8;

    /// Sends `value`.
    ///
    /// # Errors
    /// Gives `value` back if [`LIMIT`](Self::LIMIT) are out: real-time has not yet used up what it was sent.
    pub fn send(&mut self, value: Box<T>) -> Result<(), Box<T>> {
        if self.out == Self::LIMIT {
            return Err(value);
        }
        self.to_real_time.push(value).map_err(|rtrb::PushError::Full(value)| value)?;
        self.out += 1;
        Ok(())
    }

    /// Takes back one that real-time is done with.
    pub fn take_back(&mut self) -> Option<Box<T>> {
        let value = self.returned.pop().ok()?;
        self.out -= 1;
        Some(value)
    }

    /// Boxes that were sent and have not come back.
    #[must_use]
    pub fn out(&self) -> usize {
        self.out
    }

    /// Whether the real-time end is gone.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.to_real_time.is_abandoned()
    }
}

/// The real-time end.
#[derive(Debug)]
pub struct Receiver<T: Send> {
    arriving: Consumer<Box<T>>,
    dead: Producer<Box<T>>,
}

impl<T: Send> Receiver<T> {
    /// The next box that has arrived.
    pub fn receive(&mut self) -> Option<Box<T>> {
        self.arriving.pop().ok()
    }

    /// Sends a box that came from [`receive`](Self::receive) back to be freed.
    pub fn give_back(&mut self, value: Box<T>) {
        if let Err(rtrb::PushError::Full(value)) = self.dead.push(value) {
            // Only a box that never came through `receive` finds the ring full; a leak is better than a wait.
            std::mem::forget(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn what_was_handed_over_is_freed_on_control_and_no_more_is_out_than_the_way_back_holds() {
        let alive = Arc::new(());
        let (mut control, mut real_time) = hand_over();
        for round in 0..3 {
            while control.send(Box::new(alive.clone())).is_ok() {}
            assert_eq!(control.out(), Sender::<Arc<()>>::LIMIT, "round {round}");
            while let Some(value) = real_time.receive() {
                real_time.give_back(value);
            }
            // Not freed by either ring.
            assert_eq!(Arc::strong_count(&alive), 1 + Sender::<Arc<()>>::LIMIT);
            while control.take_back().is_some() {}
            assert_eq!((control.out(), Arc::strong_count(&alive)), (0, 1));
        }
    }

    #[test]
    fn control_notices_that_real_time_is_gone() {
        let (control, real_time) = hand_over::<u8>();
        drop(real_time);
        assert!(control.is_abandoned());
    }
}

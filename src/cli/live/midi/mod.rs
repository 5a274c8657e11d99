//! MIDI: commands from keys, pads, pedals and wheels.
//!
//! Messages come through the system's ports (`system`) or, where audio goes through JACK, through a port of the same
//! client. [`map`] tells what they order.

pub mod map;
#[cfg(feature = "midi")]
pub mod system;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::Sender;
pub use map::{Binding, Map};

use super::remote::Order;
use crate::error::{Error, Result};
use crate::io::live::MidiInbox;

/// Longest time from a message to its command.
const PACE: Duration = Duration::from_millis(5);
/// How long the thread waits for room among the orders before it looks whether it shall end.
const PATIENCE: Duration = Duration::from_millis(100);

/// A thread that turns messages into orders. Dropping it ends it.
pub struct MidiReceiver {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl MidiReceiver {
    /// Reads `inbox` from now on.
    ///
    /// # Errors
    /// The system grants no thread.
    pub fn start(inbox: Arc<MidiInbox>, map: Map, orders: Sender<Order>) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name("midi".into());
        let thread = thread.spawn(move || read(&inbox, &map, &orders, &stopped));
        let thread = thread.map_err(|error| Error::io("the MIDI thread", error))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for MidiReceiver {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It waits for no longer than its patience.
            let _ = thread.join();
        }
    }
}

fn read(inbox: &MidiInbox, map: &Map, orders: &Sender<Order>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let commands = std::iter::from_fn(|| inbox.next()).flat_map(|message| map.commands(&message));
        let complaint = inbox.has_lost().then(|| Err("MIDI: too many messages at once; some are lost".into()));
        for order in commands.map(Ok).chain(complaint) {
            while let Err(error) = orders.send_timeout(Order::clone(&order), PATIENCE) {
                if stop.load(Ordering::Relaxed) || error.is_disconnected() {
                    return;
                }
            }
        }
        std::thread::sleep(PACE);
    }
}

//! Remote control: commands that arrive from elsewhere, in one queue.

use std::net::SocketAddr;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};

use super::args::RemoteArgs;
#[cfg(feature = "midi")]
use super::midi::{Map, MidiReceiver};
use super::osc::OscReceiver;
use crate::error::Result;
use crate::live::Command;

/// A command, or why something that arrived is none.
pub type Order = std::result::Result<Command, String>;

/// Orders that wait to be done; who sends more waits or is not heard.
const ORDERS: usize = 256;

/// What listens for commands. Dropping it stops all of it.
pub struct Remote {
    orders: Receiver<Order>,
    /// Keeps the queue connected where nothing listens.
    _tx: Sender<Order>,
    osc: Option<OscReceiver>,
    #[cfg(feature = "midi")]
    _midi: Option<MidiReceiver>,
}

impl Remote {
    /// Listens where `args` say.
    ///
    /// # Errors
    /// An address that is taken or not this machine's, or no MIDI where it is asked for.
    pub(super) fn start(args: &RemoteArgs) -> Result<Self> {
        let (tx, orders) = bounded(ORDERS);
        let osc = args.osc.map(|address| OscReceiver::start(address, tx.clone())).transpose()?;
        #[cfg(feature = "midi")]
        let midi = args.midi.as_ref();
        #[cfg(feature = "midi")]
        let midi = midi.map(|port| MidiReceiver::start(port, Map::of(&args.midi_map), tx.clone())).transpose()?;
        Ok(Self {
            orders,
            _tx: tx,
            osc,
            #[cfg(feature = "midi")]
            _midi: midi,
        })
    }

    /// Where OSC messages are heard, if they are.
    #[must_use]
    pub fn osc_address(&self) -> Option<SocketAddr> {
        self.osc.as_ref().map(OscReceiver::address)
    }

    /// Waits for orders, for at most `limit`, and takes those that are there.
    #[must_use]
    pub fn wait(&self, limit: Duration) -> Vec<Order> {
        let first = self.orders.recv_timeout(limit).ok();
        first.into_iter().chain(self.orders.try_iter().take(ORDERS)).collect()
    }
}

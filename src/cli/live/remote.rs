//! Remote control: commands that arrive from elsewhere, in one queue.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};

use super::args::RemoteArgs;
#[cfg(feature = "midi")]
use super::midi::system::SystemPorts;
use super::midi::{Map, MidiReceiver};
use super::osc::OscReceiver;
use crate::error::Result;
use crate::io::live::MidiInbox;
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
    _midi: Option<Midi>,
}

impl Remote {
    /// Listens where `args` say. MIDI comes into `inbox`, by the device that carries it or by the system's ports.
    ///
    /// # Errors
    /// An address that is taken or not this machine's, or no MIDI where it is asked for.
    pub(super) fn start(args: &RemoteArgs, is_midi_carried: bool, inbox: Arc<MidiInbox>) -> Result<Self> {
        let (tx, orders) = bounded(ORDERS);
        let osc = args.osc.map(|address| OscReceiver::start(address, tx.clone())).transpose()?;
        let midi = args.midi.as_deref();
        let midi = midi.map(|pattern| Midi::start(pattern, is_midi_carried, args, inbox, tx.clone())).transpose()?;
        Ok(Self { orders, _tx: tx, osc, _midi: midi })
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

/// MIDI, from a port to orders.
struct Midi {
    #[cfg(feature = "midi")]
    _ports: Option<SystemPorts>,
    _receiver: MidiReceiver,
}

impl Midi {
    fn start(
        pattern: &str,
        is_carried: bool,
        args: &RemoteArgs,
        inbox: Arc<MidiInbox>,
        orders: Sender<Order>,
    ) -> Result<Self> {
        #[cfg(feature = "midi")]
        let ports = (!is_carried).then(|| SystemPorts::listen(pattern, inbox.clone())).transpose()?;
        #[cfg(not(feature = "midi"))]
        if !is_carried {
            let expected = "`--host jack` (this build was made without `--features midi`)";
            return Err(crate::error::Error::argument("--midi", expected, pattern));
        }
        Ok(Self {
            #[cfg(feature = "midi")]
            _ports: ports,
            _receiver: MidiReceiver::start(inbox, Map::of(&args.midi_map), orders)?,
        })
    }
}

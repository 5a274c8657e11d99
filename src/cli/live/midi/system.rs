//! The system's MIDI ports: ALSA's sequencer on Linux, Core MIDI, or what Windows has.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam::channel::bounded;
use midir::{MidiInput, MidiInputConnection, MidiInputPort};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::io::live::MidiInbox;

/// Time between two looks for new ports.
const SCAN: Duration = Duration::from_secs(1);
/// How long the system's MIDI may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Name of what listens, as other programs see it.
const CLIENT: &str = "syrinx";

/// Ports that are listened to. Dropping it ends that.
pub struct SystemPorts {
    stop: Arc<AtomicBool>,
}

impl SystemPorts {
    /// Listens to all ports whose names contain `pattern`, also to those that appear later.
    ///
    /// # Errors
    /// [`Error::Device`] if the system has no MIDI.
    pub fn listen(pattern: &str, inbox: Arc<MidiInbox>) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, pattern) = (stop.clone(), pattern.to_owned());
        let (ready_tx, ready) = bounded(1);
        // The system may hang, so no one waits for this thread to end.
        let thread = std::thread::Builder::new().name("midi-ports".into()).spawn(move || {
            let mut ports = match Ports::new(pattern, inbox) {
                Ok(ports) => ports,
                Err(error) => return drop(ready_tx.send(Err(error))),
            };
            ports.scan();
            if ports.open.is_empty() {
                tracing::warn!("no MIDI port has `{}` in its name yet ({})", ports.pattern, there(&ports.system));
            }
            let _ = ready_tx.send(Ok(()));
            while !stopped.load(Ordering::Relaxed) {
                std::thread::sleep(SCAN);
                ports.scan();
            }
        });
        thread.map_err(|error| Error::io("the MIDI thread", error))?;
        ready.recv_timeout(PATIENCE).unwrap_or_else(|_| Err(no_midi("does not answer")))?;
        Ok(Self { stop })
    }
}

impl Drop for SystemPorts {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// The MIDI of the system, and what is open of it.
struct Ports {
    pattern: String,
    system: MidiInput,
    open: Vec<Open>,
    inbox: Arc<MidiInbox>,
}

struct Open {
    id: String,
    name: String,
    /// Listens until it is dropped.
    _connection: MidiInputConnection<()>,
}

impl Ports {
    fn new(pattern: String, inbox: Arc<MidiInbox>) -> Result<Self> {
        let system = MidiInput::new(CLIENT).map_err(no_midi)?;
        Ok(Self { pattern, system, open: Vec::new(), inbox })
    }

    /// Opens what has appeared and closes what has gone.
    fn scan(&mut self) {
        let ports = self.system.ports();
        let ids: Vec<String> = ports.iter().map(MidiInputPort::id).collect();
        self.open.retain(|open| {
            let is_there = ids.contains(&open.id);
            if !is_there {
                tracing::warn!("MIDI port `{}` is gone", open.name);
            }
            is_there
        });
        for (port, id) in ports.iter().zip(ids) {
            let Ok(name) = self.system.port_name(port) else { continue };
            if !name.contains(&self.pattern) || self.open.iter().any(|open| open.id == id) {
                continue;
            }
            match self.connect(port) {
                Ok(connection) => {
                    tracing::info!("MIDI is heard from `{name}`");
                    self.open.push(Open { id, name, _connection: connection });
                }
                Err(error) => tracing::warn!("MIDI port `{name}`: {error}"),
            }
        }
    }

    fn connect(&self, port: &MidiInputPort) -> std::result::Result<MidiInputConnection<()>, String> {
        let inbox = self.inbox.clone();
        let input = MidiInput::new(CLIENT).map_err(|error| error.to_string())?;
        let connection = input.connect(port, "in", move |_, bytes, ()| inbox.push(bytes), ());
        connection.map_err(|error| error.to_string())
    }
}

fn no_midi(problem: impl fmt::Display) -> Error {
    Error::device("MIDI", problem, "on Linux it takes ALSA's sequencer (`modprobe snd-seq`), or `--host jack`")
}

fn names(system: &MidiInput) -> Vec<String> {
    system.ports().iter().filter_map(|port| system.port_name(port).ok()).collect()
}

/// What ports there are, in words.
fn there(system: &MidiInput) -> String {
    let names = names(system);
    if names.is_empty() { "there is none".into() } else { format!("there: {}", names.join(", ")) }
}

/// The MIDI ports that can be listened to, or why that is not known.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MidiInfo {
    /// Their names, as `--midi` takes them or a part of them.
    pub ports: Vec<String>,
    /// Why they are not known, in words.
    pub problem: Option<String>,
}

/// Lists the MIDI ports that can be listened to.
#[must_use]
pub fn ports() -> MidiInfo {
    let (tx, rx) = bounded(1);
    // The system may hang: then the thread is left to itself.
    let thread = std::thread::Builder::new().name("midi-list".into()).spawn(move || {
        let _ = tx.send(MidiInput::new(CLIENT).map(|system| names(&system)).map_err(no_midi));
    });
    let found = thread.ok().and_then(|_| rx.recv_timeout(PATIENCE).ok());
    match found.unwrap_or_else(|| Err(no_midi("does not answer"))) {
        Ok(ports) => MidiInfo { ports, problem: None },
        Err(error) => MidiInfo { ports: Vec::new(), problem: Some(error.to_string()) },
    }
}

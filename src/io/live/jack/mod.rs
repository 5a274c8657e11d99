//! JACK: named ports of an audio server, so that a voice is an insert between other programs.
//!
//! The server is the one that `JACK_DEFAULT_SERVER` names, as for every JACK program; none is started. What the graph
//! takes is told to the server as the latency of the ports, so that other programs compensate for it, and is told anew
//! whenever a graph of another latency has taken over. The library is loaded when it is needed: a build with this
//! feature runs where JACK is not installed.

mod client;
mod latency;
mod listing;
mod wiring;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ::jack::{AsyncClient, AudioIn, AudioOut, Client, ClientOptions, ClientStatus, MidiIn};
pub use listing::devices;

use self::client::{MAX_PORTS, Notifications, Process, Signals};
use self::latency::LatencyPorts;
use self::wiring::Wiring;
use super::Backend;
use super::device::DeviceFormat;
use super::midi::MidiInbox;
use super::open::OpenDevice;
use super::seat::Seat;
use super::supervisor::{self, Connection, Connector};
use crate::error::{Error, Result};

/// Time that connecting to a server takes at most, unless the server hangs.
const PATIENCE: Duration = Duration::from_secs(2);

/// A client of a JACK server.
///
/// # Connections
/// A pattern is a regular expression over full port names, such as `system:capture_1` or `Ardour:.*`. The n-th port
/// that matches is connected to the n-th input; output ports take turns, so that `system:playback_.*` carries a single
/// output on all loudspeakers. What appears later is connected then. A connection that a person removes stays removed.
#[derive(Clone, Debug)]
pub struct Jack {
    /// The client's name; the server adds a number if it is taken.
    pub client: String,
    /// Names of the input ports, at most 64.
    pub inputs: Vec<String>,
    /// Names of the output ports, at most 64.
    pub outputs: Vec<String>,
    /// Patterns of ports to be captured.
    pub capture: Vec<String>,
    /// Patterns of ports to be played on.
    pub play: Vec<String>,
    /// A pattern of MIDI ports that are listened to, and where their messages go; they come by a port `midi`.
    pub midi: Option<(String, Arc<MidiInbox>)>,
}

impl Default for Jack {
    /// One input, two outputs, connected to nothing.
    fn default() -> Self {
        Self {
            client: "syrinx".into(),
            inputs: vec!["in".into()],
            outputs: vec!["out_1".into(), "out_2".into()],
            capture: Vec::new(),
            play: Vec::new(),
            midi: None,
        }
    }
}

impl Jack {
    fn validate(&self) -> Result<()> {
        for (what, names) in [("JACK inputs", &self.inputs), ("JACK outputs", &self.outputs)] {
            if names.len() > MAX_PORTS {
                return Err(Error::argument(what, format!("at most {MAX_PORTS} ports"), names.len()));
            }
        }
        let midi = self.midi.iter().map(|(pattern, _)| pattern);
        let patterns = self.capture.iter().chain(&self.play).chain(midi);
        let mut names = patterns.chain(&self.inputs).chain(&self.outputs).chain([&self.client]);
        match names.find(|name| name.is_empty() || name.contains('\0')) {
            Some(name) => Err(Error::argument("JACK name or pattern", "text without a zero byte", format!("{name:?}"))),
            None => Ok(()),
        }
    }
}

impl Backend for Jack {
    fn open(&mut self) -> Result<OpenDevice> {
        self.validate()?;
        supervisor::open(self.clone())
    }
}

impl Connector for Jack {
    type Connection = JackConnection;

    fn connect(&self, seat: &Arc<Seat>, number: u64) -> Result<(JackConnection, DeviceFormat)> {
        seat.set_freewheel(false);
        let client = open_client(&self.client)?;
        let refused = |error: ::jack::Error| Error::device("JACK", error, "choose other port names");
        let inputs = self.inputs.iter().map(|name| client.register_port(name, AudioIn::default()));
        let inputs = inputs.collect::<Result<Vec<_>, _>>().map_err(refused)?;
        let outputs = self.outputs.iter().map(|name| client.register_port(name, AudioOut::default()));
        let outputs = outputs.collect::<Result<Vec<_>, _>>().map_err(refused)?;

        let midi = self.midi.as_ref().map(|(_, inbox)| {
            let port = client.register_port("midi", MidiIn::default()).map_err(refused)?;
            Ok((port, inbox.clone()))
        });
        let midi = midi.transpose()?;

        let wiring = Wiring::new(self, &client, &inputs, &outputs, midi.as_ref().map(|(port, _)| port));
        let latency = LatencyPorts::register(&client, &inputs, &outputs, seat.clone());
        let signals = Arc::new(Signals::new(client.sample_rate()));
        let notifications = Notifications::new(seat.clone(), signals.clone());
        let process = Process::new(seat.callback(number), inputs, outputs, midi);
        let (rate_hz, block_frames) = (client.sample_rate(), client.buffer_size() as usize);
        let client = client.activate_async(notifications, process).map_err(no_server)?;
        let mut connection = JackConnection { client, latency, wiring, signals, told: 0, seat: seat.clone() };
        connection.tend();
        let (input_latency_samples, output_latency_samples) = connection.latency.of_the_device();
        let format = DeviceFormat {
            rate_hz,
            block_frames,
            max_block_frames: block_frames,
            inputs: self.inputs.len(),
            outputs: self.outputs.len(),
            input_latency_samples,
            output_latency_samples,
        };
        Ok((connection, format))
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }

    fn name(&self) -> String {
        server_name()
    }
}

/// An active client. Its fields are dropped in order: the client first, so that no callback meets what is gone.
pub(super) struct JackConnection {
    client: AsyncClient<Notifications, Process>,
    latency: Arc<LatencyPorts>,
    wiring: Wiring,
    signals: Arc<Signals>,
    /// The graph's latency as the server knows it.
    told: usize,
    seat: Arc<Seat>,
}

impl Connection for JackConnection {
    /// A server that hangs keeps its client, and goes on with it.
    fn failure(&mut self, _: Duration) -> Option<String> {
        self.signals.failure()
    }

    fn wants_tending(&self) -> bool {
        self.signals.ports_changed.load(Ordering::Relaxed) || self.told != self.seat.graph_latency()
    }

    fn tend(&mut self) {
        if self.signals.ports_changed.swap(false, Ordering::Relaxed) {
            self.wiring.connect(self.client.as_client());
        }
        let latency = self.seat.graph_latency();
        if self.told != latency {
            self.told = latency;
            latency::tell(self.client.as_client());
        }
    }
}

/// A client named `name` of the server that runs.
fn open_client(name: &str) -> Result<Client> {
    let (client, status) = Client::new(name, ClientOptions::NO_START_SERVER).map_err(no_server)?;
    if status.contains(ClientStatus::NAME_NOT_UNIQUE) {
        tracing::info!("the name `{name}` is taken: this client is `{}`", client.name());
    }
    Ok(client)
}

fn server_name() -> String {
    match std::env::var("JACK_DEFAULT_SERVER") {
        Ok(name) => format!("JACK server `{name}`"),
        Err(_) => "JACK server".into(),
    }
}

fn no_server(error: ::jack::Error) -> Error {
    match error {
        ::jack::Error::LibraryError(why) => {
            Error::device("JACK", format!("its library cannot be loaded: {why}"), "install JACK or PipeWire's JACK")
        }
        ::jack::Error::ClientError(_) => Error::device(
            server_name(),
            "is not running",
            "start it, or choose another host; JACK_DEFAULT_SERVER names it",
        ),
        other => Error::device(server_name(), other, "look at the server's own messages"),
    }
}

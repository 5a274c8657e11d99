//! A live session that is steered by MIDI through the server.

use std::sync::mpsc::{Receiver, Sender, channel};

use jack::{AsyncClient, Client, ClientOptions, Control, MidiOut, Port, ProcessHandler, ProcessScope, RawMidi};

use super::jackd;
use crate::running::Running;
use crate::server::apart;

/// An instrument: it sends what it is given in the next cycles, as much in each as the server has room for.
struct Instrument {
    messages: Sender<Vec<u8>>,
    _client: AsyncClient<(), Playing>,
}

/// Messages of one cycle.
const MOST: usize = 100;

struct Playing {
    port: Port<MidiOut>,
    messages: Receiver<Vec<u8>>,
}

impl ProcessHandler for Playing {
    fn process(&mut self, _: &Client, scope: &ProcessScope) -> Control {
        let mut writer = self.port.writer(scope);
        for bytes in self.messages.try_iter().take(MOST) {
            writer.write(&RawMidi { time: 0, bytes: &bytes }).expect("room");
        }
        Control::Continue
    }
}

impl Instrument {
    /// A client `name` with a port `keys`.
    fn plugged_in(name: &str) -> Self {
        let (client, _) = Client::new(name, ClientOptions::NO_START_SERVER).expect("a client");
        let port = client.register_port("keys", MidiOut::default()).expect("a port");
        let (tx, messages) = channel();
        let client = client.activate_async((), Playing { port, messages }).expect("an active client");
        Self { messages: tx, _client: client }
    }

    fn send(&self, message: &[u8]) {
        self.messages.send(message.to_vec()).expect("a client");
    }
}

#[test]
fn midi_through_the_server_steers_a_session_whatever_comes_and_goes() {
    apart(
        "jack::midi::midi_through_the_server_steers_a_session_whatever_comes_and_goes",
        &[("JACK_DEFAULT_SERVER", "syrinx-midi")],
        || {
            let server = jackd(1024);
            let pads = Instrument::plugged_in("pads");
            let map = ["cc1=mix:0..0.5", "note60=transpose:+12", "note61=mute:held", "cc64=bypass"];
            let map: Vec<&str> = map.into_iter().flat_map(|binding| ["--midi-map", binding]).collect();
            let arguments = [&["--midi", ".*:keys"], &map[..]].concat();
            let live = Running::start_on("jack", &arguments, tempfile::tempdir().expect("a folder"));
            // Until the ports are connected no one hears it: it is said again and again.
            live.until("a mix", |sample| {
                pads.send(&[0xb0, 1, 127]);
                sample["mix"] == 0.5
            });
            pads.send(&[0x90, 60, 80]);
            live.until("an octave up", |sample| sample["transpose"] == 12.0);

            let piano = Instrument::plugged_in("piano");
            live.until("a pressed key", |sample| {
                piano.send(&[0x93, 61, 1]);
                sample["mute"] == true
            });
            piano.send(&[0x83, 61, 0]);
            live.until("a released key", |sample| sample["mute"] == false);
            piano.send(&[0xb0, 64, 127]);
            live.until("a pedal", |sample| sample["bypass"] == true);
            drop(piano);
            // Nonsense of all kinds, and more than anyone plays.
            for n in 0..3000_u32 {
                pads.send(&[0xf0, 0x7e, 0xf7][..=n as usize % 3]);
                pads.send(&[0xb0, 64, 0]);
            }
            live.until("the pedal's release", |sample| sample["bypass"] == false);

            drop(pads);
            server.kill();
            live.until("a server that is gone", |sample| sample["device_state"] == "lost");
            let _server = jackd(1024);
            live.until("a server that is back", |sample| sample["device_state"] == "running");
            let pads = Instrument::plugged_in("pads");
            live.until("a mix again", |sample| {
                pads.send(&[0xb0, 1, 0]);
                sample["mix"] == 0.0
            });
            let (last, _) = live.end();
            assert_eq!((&last["failed"], &last["refused_commands"]), (&0.into(), &0.into()));
        },
    );
}

//! Connections between ports, by patterns.

use std::collections::HashSet;

use ::jack::{AudioIn, AudioOut, Client, MidiIn, Port, PortFlags, PortSpec};

use super::Jack;

/// A connection, from an output to an input.
type Pair = (String, String);

/// Ports of ours and the patterns of those that they are to be connected with.
pub(super) struct Wiring {
    client: String,
    inputs: Vec<String>,
    outputs: Vec<String>,
    capture: Vec<String>,
    play: Vec<String>,
    /// The MIDI port, with the pattern of those it listens to.
    midi: Option<(String, String)>,
    /// Connections that were made, and are not made again while both ports exist.
    made: HashSet<Pair>,
}

impl Wiring {
    pub(super) fn new(
        jack: &Jack,
        client: &Client,
        inputs: &[Port<AudioIn>],
        outputs: &[Port<AudioOut>],
        midi: Option<&Port<MidiIn>>,
    ) -> Self {
        let midi = midi.and_then(|port| port.name().ok());
        Self {
            client: format!("{}:", client.name()),
            inputs: inputs.iter().filter_map(|port| port.name().ok()).collect(),
            outputs: outputs.iter().filter_map(|port| port.name().ok()).collect(),
            capture: jack.capture.clone(),
            play: jack.play.clone(),
            midi: midi.zip(jack.midi.as_ref().map(|(pattern, _)| pattern.clone())),
            made: HashSet::new(),
        }
    }

    /// Makes the connections that are to be and were not made before. May hang if the server does.
    pub(super) fn connect(&mut self, client: &Client) {
        let wanted = self.wanted(client);
        self.made.retain(|pair| wanted.contains(pair));
        for pair in wanted {
            if self.made.contains(&pair) {
                continue;
            }
            match client.connect_ports_by_name(&pair.0, &pair.1) {
                Ok(()) | Err(::jack::Error::PortAlreadyConnected(..)) => {
                    self.made.insert(pair);
                }
                Err(error) => tracing::warn!("{error}"),
            }
        }
    }

    fn wanted(&self, client: &Client) -> Vec<Pair> {
        let (audio, midi) = (AudioIn::default(), MidiIn::default());
        let of_kind = |kind: &str, pattern: &String, flags| {
            let ports = client.ports(Some(pattern), Some(kind), flags);
            ports.into_iter().filter(|port| !port.starts_with(&self.client)).collect::<Vec<_>>()
        };
        let matching = |pattern: &String, flags| of_kind(audio.jack_port_type(), pattern, flags);
        let captured = self
            .capture
            .iter()
            .flat_map(|pattern| matching(pattern, PortFlags::IS_OUTPUT).into_iter().zip(self.inputs.iter().cloned()));
        let played = self
            .play
            .iter()
            .flat_map(|pattern| self.outputs.iter().cycle().cloned().zip(matching(pattern, PortFlags::IS_INPUT)));
        let listened = self.midi.iter().flat_map(|(port, pattern)| {
            let others = of_kind(midi.jack_port_type(), pattern, PortFlags::IS_OUTPUT);
            others.into_iter().map(|other| (other, port.clone()))
        });
        captured.chain(played).chain(listened).collect()
    }
}

//! What a JACK server has.

use ::jack::{AudioIn, Client, LatencyType, PortFlags, PortSpec};

use super::{PATIENCE, open_client, server_name};
use crate::error::{Error, Result};
use crate::io::live::job::within;
use crate::io::live::listing::{DeviceInfo, DirectionInfo, HostInfo};

/// The clients of the server that have physical ports, as devices. Answers within seconds even if the server hangs.
///
/// Not to be called while a client of this process waits to be closed since its server has died, which takes about a
/// second: JACK's library frees such clients, in use or not, as soon as another is opened.
#[must_use]
pub fn devices() -> HostInfo {
    let found = within(PATIENCE, || open_client("syrinx-devices").map(|client| list(&client)));
    let hangs = || Err(Error::device(server_name(), "does not answer", "it may hang: restart it"));
    let found: Result<_> = found.unwrap_or_else(hangs);
    let problem = found.as_ref().err().map(ToString::to_string);
    HostInfo { host: "jack".into(), devices: found.unwrap_or_default(), problem }
}

fn list(client: &Client) -> Vec<DeviceInfo> {
    // A port that others play on is where we capture nothing, and the other way round.
    let captured = physical(client, PortFlags::IS_OUTPUT);
    let played = physical(client, PortFlags::IS_INPUT);
    let mut names: Vec<&str> = captured.iter().chain(&played).filter_map(|port| owner(port)).collect();
    names.sort_unstable();
    names.dedup();
    let device = |name: &str| DeviceInfo {
        host: "jack".into(),
        name: name.into(),
        id: name.into(),
        input: direction(client, name, &captured, LatencyType::Capture),
        output: direction(client, name, &played, LatencyType::Playback),
    };
    names.into_iter().map(device).collect()
}

fn physical(client: &Client, direction: PortFlags) -> Vec<String> {
    client.ports(None, Some(AudioIn::default().jack_port_type()), direction | PortFlags::IS_PHYSICAL)
}

/// The client that a port belongs to.
fn owner(port: &str) -> Option<&str> {
    port.split_once(':').map(|(client, _)| client)
}

fn direction(client: &Client, name: &str, ports: &[String], latency: LatencyType) -> Option<DirectionInfo> {
    let own: Vec<&String> = ports.iter().filter(|port| owner(port) == Some(name)).collect();
    let latency_of = |port: &&String| client.port_by_name(port).map(|port| port.get_latency_range(latency).1);
    let (rate_hz, block) = (client.sample_rate(), client.buffer_size());
    (!own.is_empty()).then(|| DirectionInfo {
        default: name == "system",
        channels: own.len(),
        default_rate_hz: rate_hz,
        rates_hz: vec![[rate_hz, rate_hz]],
        block_frames: Some([block, block]),
        latency_samples: own.iter().filter_map(latency_of).max(),
    })
}

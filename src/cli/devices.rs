//! `syrinx devices`: what `syrinx live` can capture and play on, and be steered by.

use clap::Args;
use serde::Serialize;

#[cfg(feature = "midi")]
use super::live::midi::system::{self, MidiInfo};
use crate::error::{Error, Result};
use crate::io::live::{DeviceInfo, DirectionInfo, HostInfo};

/// Lists audio devices and MIDI ports.
#[derive(Args, Clone, Debug)]
pub struct DevicesArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What there is.
#[derive(Serialize)]
struct Listing {
    audio: Vec<HostInfo>,
    #[cfg(feature = "midi")]
    midi: MidiInfo,
}

/// Lists what all audio systems that this build knows have, and the MIDI ports.
///
/// # Errors
/// Standard output refuses.
pub fn run(args: &DevicesArgs) -> Result<()> {
    let listing = Listing {
        audio: hosts(),
        #[cfg(feature = "midi")]
        midi: system::ports(),
    };
    if args.json {
        let text =
            serde_json::to_string_pretty(&listing).map_err(|error| Error::io("standard output", error.into()))?;
        return super::print(&text);
    }
    super::print(&listing.lines().join("\n"))
}

impl Listing {
    fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.audio.iter().flat_map(host_lines).collect();
        if lines.is_empty() {
            lines.push("This build has no audio systems: build it with `--features jack` or `--features cpal`.".into());
        }
        #[cfg(feature = "midi")]
        {
            lines.push("midi".into());
            lines.extend(self.midi.problem.iter().chain(&self.midi.ports).map(|line| format!("  {line}")));
        }
        lines
    }
}

pub(super) fn hosts() -> Vec<HostInfo> {
    #[allow(unused_mut, reason = "stays empty in a build without audio systems")]
    let mut hosts = vec![
        #[cfg(feature = "jack")]
        crate::io::live::jack::devices(),
    ];
    #[cfg(feature = "cpal")]
    hosts.extend(crate::io::live::sound_card::devices());
    hosts
}

fn host_lines(host: &HostInfo) -> Vec<String> {
    let mut lines = vec![host.host.clone()];
    lines.extend(host.problem.iter().map(|problem| format!("  {problem}")));
    lines.extend(host.devices.iter().flat_map(device_lines));
    lines
}

fn device_lines(device: &DeviceInfo) -> Vec<String> {
    let mut lines = vec![format!("  {}", device.name)];
    let directions = [("in", &device.input), ("out", &device.output)];
    lines.extend(directions.into_iter().filter_map(|(way, info)| Some(direction_line(way, info.as_ref()?))));
    lines
}

fn direction_line(way: &str, info: &DirectionInfo) -> String {
    let rates: Vec<String> = info
        .rates_hz
        .iter()
        .map(|[low, high]| if low == high { low.to_string() } else { format!("{low} to {high}") })
        .collect();
    let latency = info.latency_samples.map(|samples| format!(", latency {samples} samples")).unwrap_or_default();
    let default = if info.default { ", default" } else { "" };
    format!(
        "    {way:<3} {} channels, {} Hz (can do {}){latency}{default}",
        info.channels,
        info.default_rate_hz,
        rates.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_told_with_its_devices_or_why_there_are_none() {
        let input = DirectionInfo {
            default: true,
            channels: 2,
            default_rate_hz: 48_000,
            rates_hz: vec![[44_100, 44_100], [48_000, 96_000]],
            block_frames: None,
            latency_samples: Some(64),
        };
        let device = DeviceInfo {
            host: "h".into(),
            name: "microphone".into(),
            id: "1".into(),
            input: Some(input),
            output: None,
        };
        let host = HostInfo { host: "h".into(), devices: vec![device], problem: None };
        assert_eq!(
            host_lines(&host),
            [
                "h",
                "  microphone",
                "    in  2 channels, 48000 Hz (can do 44100, 48000 to 96000), latency 64 samples, default"
            ]
        );
        let host = HostInfo { host: "h".into(), devices: Vec::new(), problem: Some("no server runs".into()) };
        assert_eq!(host_lines(&host), ["h", "  no server runs"]);
    }
}

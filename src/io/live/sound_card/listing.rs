//! What sound cards there are.

use std::time::Duration;

use ::cpal::traits::{DeviceTrait, HostTrait};
use ::cpal::{Device, Host, HostId, SupportedBufferSize};

use super::select::{self, Direction};
use crate::io::live::job::within;
use crate::io::live::listing::{DeviceInfo, DirectionInfo, HostInfo};

/// Time that a host may take to list its devices.
const PATIENCE: Duration = Duration::from_secs(5);

/// All hosts that this build knows, with their devices or why there are none. Answers within seconds per host.
#[must_use]
pub fn devices() -> Vec<HostInfo> {
    let list = |id: &HostId| {
        let (name, id) = (id.to_string(), *id);
        let listed = within(PATIENCE, move || select::host(id).and_then(|host| list(&host)));
        match listed {
            Some(Ok(devices)) => HostInfo { host: name, devices, problem: None },
            Some(Err(error)) => HostInfo { host: name, devices: Vec::new(), problem: Some(error.to_string()) },
            None => HostInfo { host: name, devices: Vec::new(), problem: Some("it does not answer".into()) },
        }
    };
    ::cpal::ALL_HOSTS.iter().map(list).collect()
}

fn list(host: &Host) -> crate::error::Result<Vec<DeviceInfo>> {
    let refused = |error| crate::error::Error::device(host.id(), error, "look at its own messages");
    let defaults = [host.default_input_device(), host.default_output_device()].map(|device| device.as_ref().map(id));
    let describe = |device: Device| {
        let id = id(&device);
        DeviceInfo {
            host: host.id().to_string(),
            name: select::name(&device),
            input: direction(&device, Direction::Input, defaults[0].as_ref() == Some(&id)),
            output: direction(&device, Direction::Output, defaults[1].as_ref() == Some(&id)),
            id,
        }
    };
    Ok(host.devices().map_err(refused)?.map(describe).collect())
}

fn id(device: &Device) -> String {
    device.id().map(|id| id.id().to_owned()).unwrap_or_default()
}

fn direction(device: &Device, direction: Direction, default: bool) -> Option<DirectionInfo> {
    let ranges = select::ranges(device, direction).ok().filter(|ranges| !ranges.is_empty())?;
    let usual = match direction {
        Direction::Input => device.default_input_config(),
        Direction::Output => device.default_output_config(),
    };
    let mut rates_hz: Vec<[u32; 2]> =
        ranges.iter().map(|range| [range.min_sample_rate(), range.max_sample_rate()]).collect();
    rates_hz.sort_unstable();
    rates_hz.dedup();
    let blocks = ranges.iter().find_map(|range| match *range.buffer_size() {
        SupportedBufferSize::Range { min, max } => Some([min, max]),
        SupportedBufferSize::Unknown => None,
    });
    Some(DirectionInfo {
        default,
        channels: ranges.iter().map(|range| usize::from(range.channels())).max().unwrap_or_default(),
        default_rate_hz: usual.map_or_else(|_| rates_hz[0][0], |usual| usual.sample_rate()),
        rates_hz,
        block_frames: blocks,
        latency_samples: None,
    })
}

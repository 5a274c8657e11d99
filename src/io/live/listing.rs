//! What devices there are, as data.

use serde::Serialize;

/// A device that can be opened.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeviceInfo {
    /// The host it is reached through, as `--host` takes it.
    pub host: String,
    /// Its name, as `--in` and `--out` take it.
    pub name: String,
    /// The host's own name for it, the same after a restart.
    pub id: String,
    /// What it captures, if anything.
    pub input: Option<DirectionInfo>,
    /// What it plays, if anything.
    pub output: Option<DirectionInfo>,
}

/// One direction of a device.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DirectionInfo {
    /// Whether the host takes it unless told otherwise.
    pub default: bool,
    /// Most channels.
    pub channels: usize,
    /// Its usual rate, in Hz.
    pub default_rate_hz: u32,
    /// Rates it can run at, in Hz, as ranges from and to.
    pub rates_hz: Vec<[u32; 2]>,
    /// Least and greatest block it names, in frames; nothing if it names none.
    pub block_frames: Option<[u32; 2]>,
    /// Latency it names, in samples; nothing if that is known only once it runs.
    pub latency_samples: Option<u32>,
}

/// What one host has, or why that is not known.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HostInfo {
    /// The host, as `--host` takes it.
    pub host: String,
    /// Its devices.
    pub devices: Vec<DeviceInfo>,
    /// Why they are not known, in words.
    pub problem: Option<String>,
}

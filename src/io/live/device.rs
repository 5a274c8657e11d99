//! Devices as data: what they are like, what they do, what happened to them.

use std::time::Duration;

use super::priority::Priority;
use crate::graph::GraphSettings;

/// What an open device is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceFormat {
    /// Samples per second.
    pub rate_hz: u32,
    /// Frames of a usual callback, as measured or as the server says.
    pub block_frames: usize,
    /// Most frames of a callback seen so far; it may still grow.
    pub max_block_frames: usize,
    /// Channels that can be captured.
    pub inputs: usize,
    /// Channels that can be played.
    pub outputs: usize,
    /// Samples from the microphone to the callback.
    pub input_latency_samples: usize,
    /// Samples from the callback to the loudspeaker.
    pub output_latency_samples: usize,
}

/// Most frames that the nodes of a graph process at once, whatever the device's block: buffers stay in cache.
const GRAPH_BLOCK: usize = 1024;

impl DeviceFormat {
    /// Settings of a graph that fits this device.
    #[must_use]
    pub fn graph_settings(&self) -> GraphSettings {
        GraphSettings::new(self.rate_hz, GRAPH_BLOCK, self.inputs, self.outputs)
    }

    /// Samples that the device takes for the whole way in and out.
    #[must_use]
    pub fn latency_samples(&self) -> usize {
        self.input_latency_samples + self.output_latency_samples
    }
}

/// How a device goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceState {
    /// It is open and plays silence.
    Silent,
    /// It calls back.
    Running,
    /// It is gone or does not answer, and is being called back. The graph meanwhile runs on silence.
    Lost,
    /// There is no more audio: a file is through.
    Ended,
}

/// What a device has done so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceTelemetry {
    /// How it goes.
    pub state: DeviceState,
    /// Callbacks of the device.
    pub callbacks: u64,
    /// Frames in them.
    pub frames: u64,
    /// Frames of silence that the graph was fed while the device was lost.
    pub standby_frames: u64,
    /// Times that the device or its server reported late or missing data.
    pub xruns: u64,
    /// Frames of a usual callback now.
    pub block_frames: usize,
    /// Times that the block changed.
    pub block_changes: u64,
    /// Samples from the microphone to the callback.
    pub input_latency_samples: usize,
    /// Samples from the callback to the loudspeaker.
    pub output_latency_samples: usize,
    /// Samples that the graph adds, as reported to the server.
    pub graph_latency_samples: usize,
    /// Times that the device was lost.
    pub losses: u64,
    /// Times that it returned.
    pub returns: u64,
    /// Whether the server runs without a clock.
    pub freewheel: bool,
    /// Whether the callback has real-time priority.
    pub priority: Priority,
    /// Which, as the system counts, 1 to 99; 0 if it has none or no one has said.
    pub priority_level: u8,
}

impl DeviceTelemetry {
    /// Samples from the microphone to the loudspeaker, as far as devices and graph report them.
    #[must_use]
    pub fn latency_samples(&self) -> usize {
        self.input_latency_samples + self.graph_latency_samples + self.output_latency_samples
    }
}

/// Something that happened to a device.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceEvent {
    /// It is gone or does not answer. It is being called back.
    Lost {
        /// Why, in words.
        reason: String,
    },
    /// It is back.
    Returned {
        /// What it is like now.
        format: DeviceFormat,
        /// How long it was gone.
        after: Duration,
    },
    /// It could not be called back this time. Sent once per reason.
    StillLost {
        /// Why, in words.
        reason: String,
    },
    /// It is back with another rate, for which another graph must be built: stop, and open it anew.
    OtherRate {
        /// Its rate now, in Hz.
        rate_hz: u32,
    },
    /// Callbacks have another number of frames.
    BlockChanged {
        /// The new number.
        frames: usize,
    },
    /// The system moved the stream to another device, without a gap of ours.
    Moved,
    /// The server began (`true`) or ended running without a clock.
    Freewheel(bool),
    /// Whether the callback runs with real-time priority became known.
    Priority(Priority),
    /// There is no more audio.
    Ended,
    /// What was to be written is not.
    Failed {
        /// Why, in words.
        reason: String,
    },
}

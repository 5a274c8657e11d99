//! Input: one channel that the device records.

use crate::error::{Error, Result};
use crate::rt::{Block, Node, Ports, RtNode, Setup};

/// A device channel as a source of the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Input {
    channel: usize,
}

impl Input {
    /// The device's channel `channel`, from 0.
    #[must_use]
    pub const fn of(channel: usize) -> Self {
        Self { channel }
    }
}

impl Node for Input {
    fn ports(&self, rate_hz: u32) -> Ports {
        Ports::at(rate_hz, 0, 1)
    }

    fn prepare(self: Box<Self>, setup: &Setup) -> Result<Box<dyn RtNode>> {
        check_channel("input channel", self.channel, setup.device_inputs)?;
        Ok(self)
    }
}

impl RtNode for Input {
    fn process(&mut self, block: &mut Block<'_>, _: &[&[f32]], outputs: &mut [&mut [f32]]) {
        match block.captured(self.channel) {
            Some(captured) => outputs[0].copy_from_slice(captured),
            None => outputs[0].fill(0.0),
        }
    }

    fn reset(&mut self) {}
}

/// Refuses a channel that the device lacks.
pub(super) fn check_channel(what: &str, channel: usize, channels: usize) -> Result<()> {
    match channels.checked_sub(1) {
        Some(last) if channel <= last => Ok(()),
        Some(last) => Err(Error::argument(what, format!("0 to {last}"), channel)),
        None => Err(Error::argument(what, "a device with channels of this direction", channel)),
    }
}

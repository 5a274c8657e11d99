//! Output and monitor: channels that the device plays.

use super::SMOOTHING_MS;
use super::input::check_channel;
use crate::error::Result;
use crate::params::LiveParams;
use crate::rt::node::Role;
use crate::rt::smooth::Smoothed;
use crate::rt::{Block, Node, Ports, RtNode, Setup};
use crate::units::db_to_gain;

/// Device channels as a sink of the graph. Where several nodes play on one channel, it carries their sum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    channels: Vec<usize>,
    monitor: bool,
}

impl Output {
    /// Plays on each of these device channels, from 0, unless muted.
    #[must_use]
    pub fn to(channels: impl Into<Vec<usize>>) -> Self {
        Self { channels: channels.into(), monitor: false }
    }

    /// Plays on each of these channels, at the monitor's level, while the monitor is on. Its latency is not the graph's.
    #[must_use]
    pub fn monitor(channels: impl Into<Vec<usize>>) -> Self {
        Self { channels: channels.into(), monitor: true }
    }

    fn gain(&self, live: &LiveParams) -> f32 {
        match (self.monitor, live.monitor, live.mute) {
            (true, true, _) => db_to_gain(live.monitor_gain_db),
            (false, _, false) => 1.0,
            _ => 0.0,
        }
    }
}

impl Node for Output {
    fn ports(&self, rate_hz: u32) -> Ports {
        Ports::at(rate_hz, 1, 0)
    }

    fn role(&self) -> Role {
        if self.monitor { Role::Inner } else { Role::Output }
    }

    fn prepare(self: Box<Self>, setup: &Setup) -> Result<Box<dyn RtNode>> {
        for &channel in &self.channels {
            check_channel("output channel", channel, setup.device_outputs)?;
        }
        let gain = Smoothed::new(self.gain(&setup.live), setup.samples(SMOOTHING_MS));
        Ok(Box::new(RtOutput { settings: *self, gain, scaled: vec![0.0; setup.max_block] }))
    }
}

struct RtOutput {
    settings: Output,
    gain: Smoothed,
    scaled: Vec<f32>,
}

impl RtNode for RtOutput {
    fn process(&mut self, block: &mut Block<'_>, inputs: &[&[f32]], _: &mut [&mut [f32]]) {
        self.gain.aim(self.settings.gain(block.live));
        let scaled = &mut self.scaled[..inputs[0].len()];
        scaled.copy_from_slice(inputs[0]);
        if self.gain.settled() != Some(1.0) {
            scaled.iter_mut().for_each(|sample| *sample *= self.gain.advance());
        }
        for &channel in &self.settings.channels {
            let Some(played) = block.played(channel) else { continue };
            played.iter_mut().zip(&*scaled).for_each(|(played, sample)| *played += sample);
        }
    }

    fn reset(&mut self) {
        self.gain.finish();
    }
}

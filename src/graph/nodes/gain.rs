//! Gain: a level that follows a live parameter.

use super::SMOOTHING_MS;
use crate::error::Result;
use crate::params::LiveParams;
use crate::rt::smooth::Smoothed;
use crate::rt::{Block, Node, Ports, RtNode, Setup};
use crate::units::db_to_gain;

/// Scales by a level in dB that is read off the live parameters.
#[derive(Clone, Copy, Debug)]
pub struct Gain {
    level_db: fn(&LiveParams) -> f32,
}

impl Gain {
    /// The gain that `level_db` reads: `Gain::of(|live| live.input_gain_db)`.
    #[must_use]
    pub const fn of(level_db: fn(&LiveParams) -> f32) -> Self {
        Self { level_db }
    }
}

impl Node for Gain {
    fn ports(&self, rate_hz: u32) -> Ports {
        Ports::at(rate_hz, 1, 1)
    }

    fn prepare(self: Box<Self>, setup: &Setup) -> Result<Box<dyn RtNode>> {
        let level_db = (self.level_db)(&setup.live);
        let gain = Smoothed::new(db_to_gain(level_db), setup.samples(SMOOTHING_MS));
        Ok(Box::new(RtGain { read: self.level_db, level_db, gain }))
    }
}

struct RtGain {
    read: fn(&LiveParams) -> f32,
    level_db: f32,
    gain: Smoothed,
}

impl RtNode for RtGain {
    fn process(&mut self, block: &mut Block<'_>, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) {
        let level_db = (self.read)(block.live);
        if level_db != self.level_db {
            self.level_db = level_db;
            self.gain.aim(db_to_gain(level_db));
        }
        if let Some(gain) = self.gain.settled() {
            outputs[0].iter_mut().zip(inputs[0]).for_each(|(out, x)| *out = x * gain);
        } else {
            outputs[0].iter_mut().zip(inputs[0]).for_each(|(out, x)| *out = x * self.gain.advance());
        }
    }

    fn reset(&mut self) {
        self.gain.finish();
    }
}

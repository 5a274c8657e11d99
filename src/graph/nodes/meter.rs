//! Meter: how loud a signal is, for a person to see.

use crate::error::Result;
use crate::rt::snapshot::{SnapshotRx, SnapshotTx, snapshot};
use crate::rt::{Block, Node, Ports, RtNode, Setup};
use crate::units::db_to_gain;

/// How fast the peak falls, in dB per second.
const FALL_DB_PER_SECOND: f32 = 20.0;
/// Time over which the RMS level is averaged, in ms: that of a volume meter.
const RMS_MS: f32 = 300.0;

/// What a meter shows, as amplitudes: 1 is full scale.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Levels {
    /// Highest magnitude, falling by 20 dB per second.
    pub peak: f32,
    /// Root mean square over about 300 ms.
    pub rms: f32,
    /// Samples at or above full scale while the meter's graph led, so that of two graphs one counts each.
    pub clipped_samples: u64,
}

/// Publishes peak and RMS of its input after each block.
#[derive(Debug)]
pub struct Meter {
    levels: SnapshotTx<Levels>,
}

impl Meter {
    /// A meter, and where to read it.
    #[must_use]
    pub fn new() -> (Self, SnapshotRx<Levels>) {
        let (levels, reader) = snapshot(Levels::default());
        (Self { levels }, reader)
    }
}

impl Node for Meter {
    fn ports(&self, rate_hz: u32) -> Ports {
        Ports::at(rate_hz, 1, 0)
    }

    fn prepare(self: Box<Self>, setup: &Setup) -> Result<Box<dyn RtNode>> {
        Ok(Box::new(RtMeter {
            publish: self.levels,
            levels: Levels::default(),
            power: 0.0,
            fall: db_to_gain(-FALL_DB_PER_SECOND / setup.rate_hz as f32),
            forget: 1.0 - (-1.0 / setup.samples(RMS_MS).max(1) as f32).exp(),
        }))
    }
}

struct RtMeter {
    publish: SnapshotTx<Levels>,
    levels: Levels,
    power: f32,
    fall: f32,
    forget: f32,
}

impl RtNode for RtMeter {
    fn process(&mut self, block: &mut Block<'_>, inputs: &[&[f32]], _: &mut [&mut [f32]]) {
        for x in inputs[0].iter().filter(|x| x.is_finite()) {
            self.levels.peak = x.abs().max(self.levels.peak * self.fall);
            self.power += (x * x - self.power) * self.forget;
            self.levels.clipped_samples += u64::from(block.leads && x.abs() >= 1.0);
        }
        self.levels.rms = self.power.sqrt();
        self.publish.publish(self.levels);
    }

    fn reset(&mut self) {
        (self.levels, self.power) = (Levels::default(), 0.0);
    }
}

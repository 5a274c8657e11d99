//! Mix: the input and the voice in one.

use super::SMOOTHING_MS;
use crate::error::Result;
use crate::params::LiveParams;
use crate::rt::smooth::Smoothed;
use crate::rt::{Block, Node, Ports, RtNode, Setup};

/// Fades between a dry and a wet input by the live `mix` and `bypass`: `dry + (wet - dry) * mix`.
///
/// The builder has delayed the earlier of the two, so that two equal signals give the same signal at any mix, without
/// a comb filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mix;

impl Mix {
    /// The input for what was not converted.
    pub const DRY: usize = 0;
    /// The input for what was.
    pub const WET: usize = 1;
}

fn share(live: &LiveParams) -> f32 {
    if live.bypass { 0.0 } else { live.mix }
}

impl Node for Mix {
    fn ports(&self, rate_hz: u32) -> Ports {
        Ports::at(rate_hz, 2, 1)
    }

    fn prepare(self: Box<Self>, setup: &Setup) -> Result<Box<dyn RtNode>> {
        Ok(Box::new(RtMix { wet: Smoothed::new(share(&setup.live), setup.samples(SMOOTHING_MS)) }))
    }
}

struct RtMix {
    wet: Smoothed,
}

impl RtNode for RtMix {
    fn process(&mut self, block: &mut Block<'_>, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) {
        self.wet.aim(share(block.live));
        let [dry, wet] = [inputs[Mix::DRY], inputs[Mix::WET]];
        match self.wet.settled() {
            Some(0.0) => outputs[0].copy_from_slice(dry),
            Some(1.0) => outputs[0].copy_from_slice(wet),
            _ => {
                for ((out, dry), wet) in outputs[0].iter_mut().zip(dry).zip(wet) {
                    *out = dry + (wet - dry) * self.wet.advance();
                }
            }
        }
    }

    fn reset(&mut self) {
        self.wet.finish();
    }
}

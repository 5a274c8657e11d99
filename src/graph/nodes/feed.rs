//! Feed: audio that another thread sends when it has it, as speech that is being made.

use crate::error::Result;
use crate::rt::playout::{AfterGap, Playout, PlayoutSettings};
use crate::rt::ring::{AudioRx, AudioTx, audio_ring};
use crate::rt::{Block, Node, Ports, RtNode, Setup};

/// A source that plays what is sent, in order and without loss; where nothing is there, it falls silent and waits until
/// the lead has gathered.
#[derive(Debug)]
pub struct Feed {
    rx: AudioRx,
    lead_ms: f32,
    fade_ms: f32,
}

impl Feed {
    /// A feed with room for `capacity` samples of the graph's rate, and the end that is sent to.
    #[must_use]
    pub fn new(capacity: usize, lead_ms: f32, fade_ms: f32) -> (Self, AudioTx) {
        let (tx, rx) = audio_ring(capacity);
        (Self { rx, lead_ms, fade_ms }, tx)
    }
}

impl Node for Feed {
    fn ports(&self, rate_hz: u32) -> Ports {
        Ports::at(rate_hz, 0, 1)
    }

    fn prepare(self: Box<Self>, setup: &Setup) -> Result<Box<dyn RtNode>> {
        let settings = PlayoutSettings {
            lead_samples: setup.samples(self.lead_ms),
            fade_samples: setup.samples(self.fade_ms),
            after_gap: AfterGap::Refill,
        };
        Ok(Box::new(RtFeed { playout: Playout::new(self.rx, settings) }))
    }
}

struct RtFeed {
    playout: Playout,
}

impl RtNode for RtFeed {
    fn process(&mut self, _: &mut Block<'_>, _: &[&[f32]], outputs: &mut [&mut [f32]]) {
        self.playout.pull(outputs[0]);
    }

    /// What was sent is still to be heard.
    fn reset(&mut self) {}
}

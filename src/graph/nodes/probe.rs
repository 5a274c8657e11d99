//! Probe: a signal played into the graph in place of what the device captures, and what it captures meanwhile.

use crate::error::Result;
use crate::graph::nodes::input::check_channel;
use crate::rt::ring::{AudioRx, AudioTx, audio_ring};
use crate::rt::{Block, Node, Ports, RtNode, Setup};

/// A source that plays a signal once, and sends as many samples of a device channel to control: what comes back of it.
#[derive(Debug)]
pub struct Probe {
    signal: Vec<f32>,
    channel: usize,
    heard: AudioTx,
}

impl Probe {
    /// A probe that listens to the device's channel `channel`, from 0, and where control reads what it hears: sample n
    /// was captured as sample n of `signal` was played into the graph.
    #[must_use]
    pub fn new(signal: Vec<f32>, channel: usize) -> (Self, AudioRx) {
        let (heard, reader) = audio_ring(signal.len());
        (Self { signal, channel, heard }, reader)
    }
}

impl Node for Probe {
    fn ports(&self, rate_hz: u32) -> Ports {
        Ports::at(rate_hz, 0, 1)
    }

    fn prepare(self: Box<Self>, setup: &Setup) -> Result<Box<dyn RtNode>> {
        check_channel("input channel", self.channel, setup.device_inputs)?;
        Ok(Box::new(RtProbe { probe: *self, at: 0 }))
    }
}

struct RtProbe {
    probe: Probe,
    at: usize,
}

impl RtNode for RtProbe {
    fn process(&mut self, block: &mut Block<'_>, _: &[&[f32]], outputs: &mut [&mut [f32]]) {
        let Probe { signal, channel, heard } = &mut self.probe;
        let rest = &signal[self.at..];
        let count = rest.len().min(outputs[0].len());
        let (played, after) = outputs[0].split_at_mut(count);
        played.copy_from_slice(&rest[..count]);
        after.fill(0.0);
        match block.captured(*channel) {
            Some(captured) => heard.push(&captured[..count]),
            None => heard.push_silence(count),
        };
        self.at += count;
    }

    /// What was played stays played.
    fn reset(&mut self) {}
}

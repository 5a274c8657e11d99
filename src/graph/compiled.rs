//! A graph that runs: nodes, their schedule and the buffers between them.

use super::builder::GraphSettings;
use super::schedule::Schedule;
use crate::params::LiveParams;
use crate::rt::node::{MAX_PORTS, Role};
use crate::rt::{Block, RtNode, guard};

/// One node in its place.
pub(super) struct Slot {
    pub(super) name: String,
    pub(super) node: Box<dyn RtNode>,
    pub(super) role: Role,
    pub(super) failed: bool,
    /// Latency at the node's output, in device samples.
    pub(super) latency_samples: usize,
}

/// A checked graph, ready to run; see [`GraphBuilder::build`](super::GraphBuilder::build).
pub struct CompiledGraph {
    rate_hz: u32,
    max_block: usize,
    latency_samples: usize,
    slots: Vec<Slot>,
    schedule: Schedule,
    buffers: Vec<Vec<f32>>,
    clocks: Vec<Clock>,
    /// What each device channel shall play.
    played: Vec<Vec<f32>>,
    first_failure: Option<usize>,
}

/// Counts the samples of one rate that belong to each block.
#[derive(Clone, Copy, Debug)]
struct Clock {
    rate_hz: u64,
    device_rate_hz: u64,
    /// Device frames since the start, less whole seconds.
    position: u64,
    /// Samples of this block.
    frames: usize,
}

impl Clock {
    /// Turns to the next block of `frames` device frames. However a stream is cut into blocks, as many samples pass.
    fn advance(&mut self, frames: usize) {
        let samples = |position: u64| position * self.rate_hz / self.device_rate_hz;
        let end = self.position + frames as u64;
        self.frames = (samples(end) - samples(self.position)) as usize;
        self.position = end % self.device_rate_hz;
    }
}

/// Most samples at `rate_hz` that belong to `frames` device frames.
pub(super) fn frames_at(frames: usize, rate_hz: u32, device_rate_hz: u32) -> usize {
    (frames as u64 * u64::from(rate_hz)).div_ceil(u64::from(device_rate_hz).max(1)) as usize
}

impl CompiledGraph {
    pub(super) fn new(settings: &GraphSettings, schedule: Schedule, slots: Vec<Slot>) -> Self {
        let longest =
            schedule.rates_hz.iter().map(|&rate_hz| frames_at(settings.max_block, rate_hz, settings.rate_hz)).max();
        let clock = |&rate_hz: &u32| Clock {
            rate_hz: u64::from(rate_hz),
            device_rate_hz: u64::from(settings.rate_hz),
            position: 0,
            frames: 0,
        };
        let outputs = slots.iter().filter(|slot| slot.role == Role::Output);
        Self {
            rate_hz: settings.rate_hz,
            max_block: settings.max_block,
            latency_samples: outputs.map(|slot| slot.latency_samples).max().unwrap_or_default(),
            buffers: vec![vec![0.0; longest.unwrap_or_default()]; schedule.buffers],
            clocks: schedule.rates_hz.iter().map(clock).collect(),
            played: vec![vec![0.0; settings.max_block]; settings.device_outputs],
            schedule,
            slots,
            first_failure: None,
        }
    }

    /// The device's rate, in Hz.
    #[must_use]
    pub fn rate_hz(&self) -> u32 {
        self.rate_hz
    }

    /// Most frames of one block.
    #[must_use]
    pub fn max_block(&self) -> usize {
        self.max_block
    }

    /// Samples by which the outputs lag the inputs, apart from the device's own buffers.
    #[must_use]
    pub fn latency_samples(&self) -> usize {
        self.latency_samples
    }

    /// Samples by which what leaves the node `name` lags the inputs.
    #[must_use]
    pub fn latency_samples_of(&self, name: &str) -> Option<usize> {
        self.slots.iter().find(|slot| slot.name == name).map(|slot| slot.latency_samples)
    }

    /// The names of all nodes, in the order they run, delays included.
    pub fn node_names(&self) -> impl Iterator<Item = &str> {
        self.slots.iter().map(|slot| &*slot.name)
    }

    /// The name of the node at `place` in the order of [`node_names`](Self::node_names).
    #[must_use]
    pub fn node_name(&self, place: usize) -> Option<&str> {
        self.slots.get(place).map(|slot| &*slot.name)
    }

    /// Buffers between nodes.
    #[must_use]
    pub fn buffers(&self) -> usize {
        self.buffers.len()
    }

    /// Runs one block of `frames`, at most [`max_block`](Self::max_block), from `start` on in `captured`.
    ///
    /// `leads` is [`Block::leads`]. What shall be played is in [`played`](Self::played) after. Returns the number of
    /// nodes that panicked.
    pub fn run(
        &mut self,
        live: &LiveParams,
        freewheel: bool,
        leads: bool,
        captured: &[&[f32]],
        start: usize,
        frames: usize,
    ) -> usize {
        self.clocks.iter_mut().for_each(|clock| clock.advance(frames));
        self.played.iter_mut().for_each(|channel| channel[..frames].fill(0.0));
        let mut block = Block::new(live, freewheel, leads, captured, start, frames, &mut self.played);
        let mut panics = 0;
        for step in &self.schedule.steps {
            let slot = &mut self.slots[step.node];
            let read = &self.schedule.input_buffers[step.inputs.clone()];
            let written = &self.schedule.output_buffers[step.outputs.clone()];
            let (in_frames, out_frames) = (self.clocks[step.input_rate].frames, self.clocks[step.output_rate].frames);
            // Outputs leave the pool while they are written: an empty vector takes their place, which allocates nothing.
            let mut taken: [Vec<f32>; MAX_PORTS] = Default::default();
            for (taken, &buffer) in taken.iter_mut().zip(written) {
                *taken = std::mem::take(&mut self.buffers[buffer]);
            }
            let mut inputs: [&[f32]; MAX_PORTS] = Default::default();
            for (input, &buffer) in inputs.iter_mut().zip(read) {
                *input = &self.buffers[buffer][..in_frames];
            }
            let mut outputs = taken.each_mut().map(|buffer| buffer.get_mut(..out_frames).unwrap_or_default());
            let (inputs, outputs) = (&inputs[..read.len()], &mut outputs[..written.len()]);
            if !slot.failed && guard::contain(|| slot.node.process(&mut block, inputs, outputs)).is_err() {
                slot.failed = true;
                panics += 1;
                self.first_failure = self.first_failure.or(Some(step.node));
            }
            if slot.failed {
                outputs.iter_mut().for_each(|output| output.fill(0.0));
            }
            for (taken, &buffer) in taken.iter_mut().zip(written) {
                self.buffers[buffer] = std::mem::take(taken);
            }
        }
        panics
    }

    /// What device channel `channel` shall play of the last block; silence where the graph has no such channel.
    #[must_use]
    pub fn played(&self, channel: usize) -> &[f32] {
        self.played.get(channel).map(Vec::as_slice).unwrap_or_default()
    }

    /// The first node that panicked, by its place in [`node_names`](Self::node_names).
    #[must_use]
    pub fn first_failure(&self) -> Option<usize> {
        self.first_failure
    }

    /// Forgets all audio.
    pub fn reset(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.node.reset());
        self.clocks.iter_mut().for_each(|clock| clock.position = 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_a_second_is_cut_as_many_samples_pass_at_every_rate() {
        for rate_hz in [16_000, 40_000, 44_100, 48_000, 44_101, 192_000] {
            for block in [1, 7, 64, 480, 1000, 48_000] {
                let mut clock = Clock { rate_hz, device_rate_hz: 48_000, position: 0, frames: 0 };
                let (mut passed, mut left, mut most) = (0, 3 * 48_000, 0);
                while left > 0 {
                    let frames = left.min(block);
                    clock.advance(frames);
                    (passed, left, most) = (passed + clock.frames, left - frames, most.max(clock.frames));
                }
                assert_eq!(passed as u64, 3 * rate_hz);
                assert!(most <= frames_at(block, rate_hz as u32, 48_000));
            }
        }
    }
}

//! A device clocked by hand, signals, and a worker that echoes.

use syrinx::graph::nodes::link::{LinkEnd, LinkSettings};
use syrinx::graph::{CompiledGraph, GraphBuilder, GraphHandle, GraphSettings, NodeId, Processor, processor};
use syrinx::params::LiveParams;
use syrinx::rt::Node;
use syrinx::rt::events::{EventRx, event_queue};

/// The device's rate, in Hz.
pub const RATE_HZ: u32 = 48_000;
/// Most frames that nodes process at once.
pub const MAX_BLOCK: usize = 256;

/// A device of one channel each way.
pub fn mono() -> GraphSettings {
    GraphSettings::new(RATE_HZ, MAX_BLOCK, 1, 1)
}

/// The same with other parameters from the start.
pub fn mono_with(live: LiveParams) -> GraphSettings {
    GraphSettings { live, ..mono() }
}

/// A device whose callback is called by the test.
pub struct Device {
    pub control: GraphHandle,
    pub processor: Processor,
    pub events: EventRx,
}

impl Device {
    /// A device that plays `graph`, which was built for `settings`.
    pub fn playing(settings: &GraphSettings, graph: CompiledGraph) -> Self {
        let (tx, events) = event_queue(1024);
        let (mut control, processor) = processor(settings, tx);
        control.swap(graph).expect("room for the first graph");
        Self { control, processor, events }
    }

    /// One callback.
    pub fn block(&mut self, captured: &[f32]) -> Vec<f32> {
        let mut played = vec![f32::NAN; captured.len()];
        self.processor.process(&[captured], &mut [&mut played]);
        played
    }

    /// Callbacks for all of `captured`, in blocks of the sizes given, over and over.
    pub fn run(&mut self, captured: &[f32], blocks: &[usize]) -> Vec<f32> {
        let mut played = Vec::with_capacity(captured.len());
        let mut sizes = blocks.iter().cycle();
        let mut rest = captured;
        while !rest.is_empty() {
            let size = *sizes.next().expect("a size");
            let (block, after) = rest.split_at(size.min(rest.len()));
            played.extend(self.block(block));
            rest = after;
        }
        played
    }
}

/// `input -> node -> output`.
pub fn through(settings: &GraphSettings, node: impl Node) -> CompiledGraph {
    let mut graph = GraphBuilder::new(settings.clone());
    let input = graph.add("input", syrinx::graph::nodes::Input::of(0)).expect("a node");
    let node = graph.add("node", node).expect("a node");
    finish(graph, &[input, node])
}

/// Connects the chain, and its end with an output on channel 0.
pub fn finish(mut graph: GraphBuilder, chain: &[NodeId]) -> CompiledGraph {
    let output = graph.add("output", syrinx::graph::nodes::Output::to([0])).expect("a node");
    graph.chain(&[chain, &[output]].concat()).expect("connections");
    graph.build().expect("a graph")
}

/// A link at the device's rate.
pub fn link_settings(lead_samples: usize) -> LinkSettings {
    LinkSettings { output_rate_hz: RATE_HZ, lead_samples, worker_latency_samples: 0, capacity: 48_000, fade_ms: 2.0 }
}

/// A worker that returns what it gets; returns how much that was.
pub fn echo(worker: &mut LinkEnd) -> usize {
    let mut samples = vec![0.0; worker.input.available()];
    let count = worker.input.pop(&mut samples);
    worker.output.push(&samples[..count])
}

/// A sine of amplitude 1.
pub fn sine(frequency_hz: f32, samples: usize) -> Vec<f32> {
    let angle = std::f64::consts::TAU * f64::from(frequency_hz) / f64::from(RATE_HZ);
    (0..samples).map(|n| (angle * n as f64).sin() as f32).collect()
}

/// White noise, uniform on -1..1, the same for the same seed.
pub fn noise(seed: u64, samples: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..samples).map(|_| next()).collect()
}

/// The greatest difference between neighbours.
pub fn steepest(samples: &[f32]) -> f32 {
    samples.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max)
}

/// The greatest magnitude.
pub fn peak(samples: &[f32]) -> f32 {
    samples.iter().fold(0.0, |peak, x| peak.max(x.abs()))
}

/// Where the greatest magnitude is.
pub fn peak_at(samples: &[f32]) -> usize {
    (0..samples.len()).max_by(|&a, &b| samples[a].abs().total_cmp(&samples[b].abs())).expect("samples")
}

//! The graph of live conversion.
//!
//! ```text
//! source -> input gain -> high-pass -> gate -+-> [down] -> link -> [up] -> wet \
//!               |                            +--------------------------> dry  mix -> output gain -> limiter -> output
//!               +-> input level              +-> monitor                                               |
//!               +-> recorder, left                                        recorder, right; output level <+
//! ```
//!
//! The builder delays the dry path by what the converter takes, and the recorder's left channel likewise.

use super::builder::{GraphBuilder, GraphSettings, NodeId};
use super::compiled::CompiledGraph;
use super::nodes::link::{LinkEnd, LinkSettings, LinkTelemetry};
use super::nodes::{
    Capture, Gain, Gate, HighPass, Input, Levels, Limiter, Link, Meter, Mix, Output, Probe, Recorder, Resampler,
};
use crate::error::Result;
use crate::rt::events::EventTx;
use crate::rt::snapshot::SnapshotRx;

/// Where live audio comes from.
#[derive(Debug)]
pub enum Source {
    /// A channel of the device that also plays.
    Channel(usize),
    /// Another device.
    Capture(Capture),
    /// A signal that is to be found again in what the device captures.
    Probe(Probe),
}

/// What is connected to a live graph.
pub struct LiveSettings {
    /// Where audio comes from.
    pub source: Source,
    /// Device channels that play the result.
    pub outputs: Vec<usize>,
    /// Device channels that play the monitor; may be empty.
    pub monitors: Vec<usize>,
    /// Rate of what the converter takes, in Hz.
    pub converter_input_rate_hz: u32,
    /// The way to the converter and back.
    pub link: LinkSettings,
    /// The limiter at the end.
    pub limiter: Limiter,
    /// Records what comes in on the left and what goes out on the right.
    pub recorder: Option<Recorder>,
}

/// A live graph and all that control and the worker hold of it.
pub struct LiveGraph {
    /// To be swapped in.
    pub graph: CompiledGraph,
    /// The worker's ends.
    pub worker: LinkEnd,
    /// How the link goes.
    pub link: SnapshotRx<LinkTelemetry>,
    /// Level after the input gain.
    pub input_level: SnapshotRx<Levels>,
    /// Level at the output.
    pub output_level: SnapshotRx<Levels>,
}

impl LiveGraph {
    /// Builds the graph.
    ///
    /// # Errors
    /// What [`GraphBuilder`] refuses.
    pub fn build(graph: GraphSettings, live: LiveSettings, events: EventTx) -> Result<Self> {
        let device_hz = graph.rate_hz;
        let mut graph = GraphBuilder::new(graph);
        let source = match live.source {
            Source::Channel(channel) => graph.add("source", Input::of(channel))?,
            Source::Capture(capture) => graph.add("source", capture)?,
            Source::Probe(probe) => graph.add("source", probe)?,
        };
        let input_gain = graph.add("input gain", Gain::of(|live| live.input_gain_db))?;
        let high_pass = graph.add("high-pass", HighPass)?;
        let gate = graph.add("gate", Gate)?;
        graph.chain(&[source, input_gain, high_pass, gate])?;

        let (link, worker, link_telemetry) = Link::new(live.link, events);
        let (from_hz, to_hz) = (live.converter_input_rate_hz, live.link.output_rate_hz);
        let down = bridge(&mut graph, "to the converter's rate", gate, device_hz, from_hz)?;
        let link = graph.add_at(from_hz, "converter", link)?;
        graph.connect(down, link)?;
        let wet = bridge(&mut graph, "to the device's rate", link, to_hz, device_hz)?;

        let mix = graph.add("mix", Mix)?;
        graph.connect(gate, (mix, Mix::DRY))?;
        graph.connect(wet, (mix, Mix::WET))?;
        let output_gain = graph.add("output gain", Gain::of(|live| live.output_gain_db))?;
        let limiter = graph.add("limiter", live.limiter)?;
        let output = graph.add("output", Output::to(live.outputs))?;
        graph.chain(&[mix, output_gain, limiter, output])?;

        if !live.monitors.is_empty() {
            let monitor = graph.add("monitor", Output::monitor(live.monitors))?;
            graph.connect(gate, monitor)?;
        }
        if let Some(recorder) = live.recorder {
            let recorder = graph.add("recorder", recorder)?;
            graph.connect(input_gain, (recorder, Recorder::LEFT))?;
            graph.connect(limiter, (recorder, Recorder::RIGHT))?;
        }
        let input_level = meter(&mut graph, "input level", input_gain)?;
        let output_level = meter(&mut graph, "output level", limiter)?;
        Ok(Self { graph: graph.build()?, worker, link: link_telemetry, input_level, output_level })
    }
}

/// `node`, or a resampler after it if the rates differ.
fn bridge(graph: &mut GraphBuilder, name: &str, node: NodeId, from_hz: u32, to_hz: u32) -> Result<NodeId> {
    if from_hz == to_hz {
        return Ok(node);
    }
    let resampler = graph.add_at(from_hz, name, Resampler::to(to_hz))?;
    graph.connect(node, resampler)?;
    Ok(resampler)
}

fn meter(graph: &mut GraphBuilder, name: &str, node: NodeId) -> Result<SnapshotRx<Levels>> {
    let (meter, levels) = Meter::new();
    let meter = graph.add(name, meter)?;
    graph.connect(node, meter)?;
    Ok(levels)
}

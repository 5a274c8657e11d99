//! Assembly: a graph for one device and the worker behind it, ready to be swapped in.

use std::time::Duration;

use super::session::{Latency, SessionSettings};
use super::worker::{ChunkConverter, Worker, WorkerSettings};
use crate::error::{Error, Result};
use crate::graph::live::{LiveSettings, Source};
use crate::graph::nodes::link::{LinkSettings, LinkTelemetry};
use crate::graph::nodes::{Levels, Limiter, Recorder};
use crate::graph::{CompiledGraph, GraphSettings, LiveGraph};
use crate::io::live::DeviceFormat;
use crate::rt::events::EventTx;
use crate::rt::snapshot::SnapshotRx;

/// The limiter at the end of the graph.
pub(super) const LIMITER: Limiter = Limiter { look_ahead_ms: 1.5, release_ms: 60.0 };
/// Length of the fades around a gap in the voice, in ms.
pub(super) const FADE_MS: f32 = 5.0;

/// A converter and the time that it takes.
pub(super) struct Timed<C> {
    pub(super) converter: C,
    /// Samples by which its output lags its input, number for number.
    pub(super) latency_samples: usize,
    /// Time granted for one chunk.
    pub(super) budget: Duration,
}

/// A graph and its worker, which runs already.
pub(super) struct Assembly<C: ChunkConverter> {
    pub(super) graph: CompiledGraph,
    pub(super) parts: Parts<C>,
}

/// What control keeps of an assembly once its graph was handed over.
pub(super) struct Parts<C: ChunkConverter> {
    pub(super) worker: Worker<C>,
    pub(super) link: SnapshotRx<LinkTelemetry>,
    /// After the input gain, and at the output.
    pub(super) levels: [SnapshotRx<Levels>; 2],
    pub(super) latency: Latency,
    /// What it was built for.
    pub(super) format: DeviceFormat,
}

/// Settings of every graph that a session of these settings runs on such a device.
pub(super) fn graph_settings(format: &DeviceFormat, settings: &SessionSettings) -> GraphSettings {
    GraphSettings {
        total_latency_samples: settings.total_delay.map(|delay| samples(delay, format)),
        device_latency_samples: format.latency_samples(),
        live: settings.live,
        ..format.graph_settings()
    }
}

/// Builds the graph that leads audio from `source` through `timed` to the device, and starts the worker.
///
/// # Errors
/// Settings beyond the device's channels or out of range, or a system that grants no thread.
pub(super) fn assemble<C: ChunkConverter>(
    timed: Timed<C>,
    source: Source,
    recorder: Option<Recorder>,
    format: &DeviceFormat,
    settings: &SessionSettings,
    events: &EventTx,
) -> Result<Assembly<C>> {
    let chunk = timed.converter.chunk_samples();
    // A chunk is complete only when the block with its last sample has come.
    let processing = samples(timed.budget, format) + format.block_frames;
    let lead_samples = chunk + processing;
    let outputs = if settings.outputs.is_empty() {
        (0..format.outputs).filter(|channel| !settings.monitors.contains(channel)).collect()
    } else {
        settings.outputs.clone()
    };
    let live = LiveSettings {
        source,
        outputs,
        monitors: settings.monitors.clone(),
        converter_input_rate_hz: format.rate_hz,
        link: LinkSettings {
            output_rate_hz: format.rate_hz,
            lead_samples,
            worker_latency_samples: timed.latency_samples,
            // Two seconds beyond what is on its way: a worker that is stuck that long has lost it all the same.
            capacity: 2 * lead_samples + 2 * format.rate_hz as usize,
            fade_ms: FADE_MS,
        },
        limiter: LIMITER,
        recorder,
    };
    let LiveGraph { graph, worker, link, input_level, output_level } =
        LiveGraph::build(graph_settings(format, settings), live, events.clone())?;
    let latency = Latency {
        algorithmic: graph.latency_samples().saturating_sub(processing),
        processing,
        device: format.latency_samples(),
    };
    let worker_settings = WorkerSettings { rate_hz: format.rate_hz, lead_samples, params: settings.params };
    let worker = Worker::start(timed.converter, worker, worker_settings, events.clone())?;
    let parts = Parts { worker, link, levels: [input_level, output_level], latency, format: *format };
    Ok(Assembly { graph, parts })
}

/// The channel that is converted, as the source of a graph.
///
/// # Errors
/// The device lacks it.
pub(super) fn input(format: &DeviceFormat, settings: &SessionSettings) -> Result<Source> {
    if settings.input < format.inputs {
        return Ok(Source::Channel(settings.input));
    }
    let expected = format!("1 to {}, as the device has", format.inputs);
    Err(Error::argument("input channel", expected, settings.input + 1))
}

fn samples(time: Duration, format: &DeviceFormat) -> usize {
    (time.as_secs_f64() * f64::from(format.rate_hz)).round() as usize
}

//! Session: a device, the graph in its callback and the worker behind it, started, steered, watched and stopped.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::worker::{Worker, WorkerSettings, WorkerTelemetry};
use crate::error::{Error, Result};
use crate::geometry::Timing;
use crate::graph::live::{LiveSettings, Source};
use crate::graph::nodes::Levels;
use crate::graph::nodes::link::{LinkSettings, LinkTelemetry};
use crate::graph::nodes::recorder::{Recording, RecordingFormat, RecordingReport};
use crate::graph::nodes::{Limiter, Recorder};
use crate::graph::{GraphHandle, GraphSettings, GraphTelemetry, LiveGraph, processor};
use crate::io::live::{Backend, DeviceEvent, DeviceTelemetry, RunningDevice};
use crate::nn::ops::VoiceOps;
use crate::params::{ConversionParams, LiveParams};
use crate::path::Converter;
use crate::path::stream::{Stream, StreamSettings};
use crate::rt::events::{Event, EventRx, event_queue};
use crate::rt::snapshot::SnapshotRx;

/// What a session shall be like.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionSettings {
    /// Chunk, crossfade and context.
    pub timing: Timing,
    /// Time granted to convert one chunk; measured before audio runs, if not given.
    pub budget: Option<Duration>,
    /// Total delay that the graph shall have, if it shall be constant.
    pub total_delay: Option<Duration>,
    /// Device channel that is converted.
    pub input: usize,
    /// Device channels that play the voice; all if empty.
    pub outputs: Vec<usize>,
    /// Device channels that play the monitor.
    pub monitors: Vec<usize>,
    /// Level in dB below which nothing is rendered.
    pub rest_db: Option<f32>,
    /// Whether steady noise is taken out of the input, at one crossfade of latency.
    pub denoise: bool,
    /// Where to record: the input on the left, the output on the right, aligned.
    pub record: Option<PathBuf>,
    /// How to convert.
    pub params: ConversionParams,
    /// Levels, gate, mix.
    pub live: LiveParams,
}

impl Default for SessionSettings {
    /// A tenth of a second a chunk, of the voice alone.
    fn default() -> Self {
        Self {
            timing: Timing { chunk: 0.1, crossfade: 0.04, context: 1.0 },
            budget: None,
            total_delay: None,
            input: 0,
            outputs: Vec::new(),
            monitors: Vec::new(),
            rest_db: Some(-60.0),
            denoise: false,
            record: None,
            // The reference's in real time.
            params: ConversionParams { rms_mix_rate: 0.0, ..ConversionParams::default() },
            live: LiveParams::default(),
        }
    }
}

/// What a sample's way from the microphone to the loudspeaker is made of, in samples at the device's rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// Gathering a chunk, and what the join and the nodes of the graph need.
    pub algorithmic: usize,
    /// Time granted to convert a chunk, and one device block in which it cannot be heard.
    pub processing: usize,
    /// What the device reports, in and out.
    pub device: usize,
}

impl Latency {
    /// All of it.
    #[must_use]
    pub fn total(self) -> usize {
        self.algorithmic + self.processing + self.device
    }
}

/// A snapshot of everything that a session counts.
#[derive(Clone, Copy, Debug)]
pub struct LiveTelemetry {
    /// Time since the session started.
    pub running: Duration,
    /// The device.
    pub device: DeviceTelemetry,
    /// The graph in its callback.
    pub graph: GraphTelemetry,
    /// The way to the worker and back.
    pub link: LinkTelemetry,
    /// The worker.
    pub worker: WorkerTelemetry,
    /// Level after the input gain.
    pub input: Levels,
    /// Level at the output.
    pub output: Levels,
    /// Frames recorded and frames that the recorder lost.
    pub recorded: (u64, u64),
    /// Events that were lost, since no one read them.
    pub lost_events: u64,
}

/// Something that happened in a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    /// To the device.
    Device(DeviceEvent),
    /// In the graph or the worker.
    Live(Event),
}

/// What remains of a session.
#[derive(Debug)]
pub struct SessionReport {
    /// What became of the recording.
    pub recording: Option<RecordingReport>,
    /// What went wrong with the device.
    pub problem: Option<Error>,
}

/// Live conversion that runs. Dropping it stops it.
pub struct Session<B: VoiceOps>
where
    Stream<B>: Send + 'static,
    Converter<B>: Send + 'static,
{
    // In this order they stop: what is heard first.
    device: RunningDevice,
    control: GraphHandle,
    worker: Worker<Stream<B>>,
    link: SnapshotRx<LinkTelemetry>,
    levels: [SnapshotRx<Levels>; 2],
    recording: Option<Recording>,
    events: EventRx,
    latency: Latency,
    budget: Duration,
    started: Instant,
}

impl<B: VoiceOps> Session<B>
where
    Stream<B>: Send + 'static,
    Converter<B>: Send + 'static,
{
    /// Opens the device, makes everything ready, and starts.
    ///
    /// # Errors
    /// A device that cannot be had, settings out of range or beyond the device's channels, a recording that cannot be
    /// created.
    pub fn start(backend: &mut dyn Backend, converter: Converter<B>, settings: &SessionSettings) -> Result<Self> {
        settings.live.validate()?;
        let device = backend.open()?;
        let format = *device.format();
        if settings.input >= format.inputs {
            let expected = format!("1 to {}, as the device has", format.inputs);
            return Err(Error::argument("input channel", expected, settings.input + 1));
        }
        let (events_tx, events) = event_queue(1024);

        let mut stream = Stream::new(converter, stream_settings(format.rate_hz, settings), &settings.params)?;
        let chunk = stream.geometry().chunk_samples();
        let budget = settings.budget.map_or_else(|| measure(&mut stream, &settings.params, format.rate_hz), Ok)?;
        let samples = |time: Duration| (time.as_secs_f64() * f64::from(format.rate_hz)).round() as usize;
        // A chunk is complete only when the block with its last sample has come.
        let lead_samples = chunk + samples(budget) + format.block_frames;
        let worker_latency_samples = stream.latency_samples() - chunk;

        let graph_settings = GraphSettings {
            total_latency_samples: settings.total_delay.map(samples),
            live: settings.live,
            ..format.graph_settings()
        };
        let recorder = settings
            .record
            .as_ref()
            .map(|path| Recorder::start(path, format.rate_hz, RecordingFormat::Float, events_tx.clone()));
        let (recorder, recording) = recorder.transpose()?.unzip();
        let outputs =
            if settings.outputs.is_empty() { (0..format.outputs).collect() } else { settings.outputs.clone() };
        let live = LiveSettings {
            source: Source::Channel(settings.input),
            outputs,
            monitors: settings.monitors.clone(),
            converter_input_rate_hz: format.rate_hz,
            link: LinkSettings {
                output_rate_hz: format.rate_hz,
                lead_samples,
                worker_latency_samples,
                // Two seconds beyond what is on its way: a worker that is stuck that long has lost it all the same.
                capacity: 2 * lead_samples + 2 * format.rate_hz as usize,
                fade_ms: 5.0,
            },
            limiter: Limiter { look_ahead_ms: 1.5, release_ms: 60.0 },
            recorder,
        };
        let LiveGraph { graph, worker, link, input_level, output_level } =
            LiveGraph::build(graph_settings.clone(), live, events_tx.clone())?;
        let processing = samples(budget) + format.block_frames;
        let latency = Latency {
            algorithmic: graph.latency_samples().saturating_sub(processing),
            processing,
            device: format.latency_samples(),
        };
        let worker_settings = WorkerSettings { rate_hz: format.rate_hz, lead_samples, params: settings.params };
        let (mut control, processor) = processor(&graph_settings, events_tx.clone());
        control.swap(graph)?;
        let worker = Worker::start(stream, worker, worker_settings, events_tx)?;
        Ok(Self {
            device: device.start(processor),
            control,
            worker,
            link,
            levels: [input_level, output_level],
            recording,
            events,
            latency,
            budget,
            started: Instant::now(),
        })
    }

    /// What the way of a sample is made of.
    #[must_use]
    pub fn latency(&self) -> Latency {
        let telemetry = self.device.telemetry();
        Latency { device: telemetry.input_latency_samples + telemetry.output_latency_samples, ..self.latency }
    }

    /// Time granted to convert one chunk.
    #[must_use]
    pub fn budget(&self) -> Duration {
        self.budget
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> &RunningDevice {
        &self.device
    }

    /// Sets levels, gate and mix; heard smoothly from the next block on.
    ///
    /// # Errors
    /// Values out of range.
    pub fn set_live(&mut self, live: LiveParams) -> Result<()> {
        self.control.set_params(live)
    }

    /// Sets how to convert, from the next chunk on.
    ///
    /// # Errors
    /// Values out of range.
    pub fn set_params(&mut self, params: ConversionParams) -> Result<()> {
        self.worker.set_params(params)
    }

    /// Goes on with another voice, faded in from the next chunk on.
    ///
    /// # Errors
    /// The converter, where the last one handed over has not been taken yet.
    pub fn replace_voice(&mut self, converter: Converter<B>) -> std::result::Result<(), Converter<B>> {
        self.worker.replace(converter)
    }

    /// Everything that is counted, now.
    pub fn telemetry(&mut self) -> LiveTelemetry {
        self.control.collect();
        let [input, output] = &mut self.levels;
        LiveTelemetry {
            running: self.started.elapsed(),
            device: self.device.telemetry(),
            graph: self.control.telemetry(),
            link: self.link.latest(),
            worker: self.worker.telemetry(),
            input: input.latest(),
            output: output.latest(),
            recorded: self.recording.as_ref().map_or((0, 0), Recording::progress),
            lost_events: self.events.lost(),
        }
    }

    /// The oldest event that was not read.
    #[must_use]
    pub fn next_event(&mut self) -> Option<SessionEvent> {
        let device = self.device.next_event().map(SessionEvent::Device);
        device.or_else(|| self.events.next().map(SessionEvent::Live))
    }

    /// Stops the device, then the worker, and completes the recording.
    #[must_use]
    pub fn stop(self) -> SessionReport {
        let stopped = self.device.stop();
        drop((stopped.processor, self.worker));
        SessionReport { recording: self.recording.and_then(Recording::stop), problem: stopped.problem }
    }
}

fn stream_settings(rate_hz: u32, settings: &SessionSettings) -> StreamSettings {
    StreamSettings {
        rate_hz,
        timing: settings.timing,
        // The graph has a better gate.
        gate_db: None,
        rest_db: settings.rest_db,
        denoise_input: settings.denoise,
        denoise_output: false,
    }
}

/// Converts a few chunks of noise, which also makes memory and caches ready, and grants what they took, amply.
fn measure<B: VoiceOps>(stream: &mut Stream<B>, params: &ConversionParams, rate_hz: u32) -> Result<Duration> {
    const CHUNKS: usize = 6;
    /// Chunks that only warm up.
    const COLD: usize = 2;
    /// How much longer a chunk may take than the longest measured.
    const MARGIN: u32 = 2;
    const LEAST: Duration = Duration::from_millis(3);
    let chunk_samples = stream.geometry().chunk_samples();
    let lasts = Duration::from_secs_f64(chunk_samples as f64 / f64::from(rate_hz));
    // Any sound that is loud enough not to be rested on.
    let chunk: Vec<f32> = (0..chunk_samples)
        .map(|n| 0.1 * ((n as u32).wrapping_mul(2_654_435_761) as f32 / u32::MAX as f32 - 0.5))
        .collect();
    let mut output = vec![0.0; chunk_samples];
    let mut longest = Duration::ZERO;
    for index in 0..CHUNKS {
        let started = Instant::now();
        stream.step(&chunk, params, &mut output)?;
        if index >= COLD {
            longest = longest.max(started.elapsed());
        }
    }
    stream.reset();
    Ok((MARGIN * longest).clamp(LEAST.min(lasts), lasts.max(LEAST)))
}

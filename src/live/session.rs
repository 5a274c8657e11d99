//! Session: a device, the graph in its callback and the worker behind it, started, steered, watched and stopped.
//!
//! A session goes on whatever happens to its parts. Where one must be built anew, since a node of the graph or the worker
//! is gone or the device came back as another, the session builds it while its events are read, and swaps it in: see
//! [`super::recovery`]. A device that must be opened anew is opened elsewhere meanwhile.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::assembly::{self, Assembly, Parts, Timed, assemble};
use super::recovery::{Cause, Counts, Watch};
use super::reopening::{Reopening, SharedBackend};
use super::worker::{ChunkConverter, Worker, WorkerTelemetry};
use crate::error::{Error, Result};
use crate::geometry::Timing;
use crate::graph::nodes::link::LinkTelemetry;
use crate::graph::nodes::recorder::{Recording, RecordingFormat, RecordingReport};
use crate::graph::nodes::{Levels, Recorder};
use crate::graph::{GraphHandle, GraphTelemetry, processor};
use crate::io::live::priority::Priority;
use crate::io::live::{Backend, DeviceEvent, DeviceFormat, DeviceTelemetry, OpenDevice, RunningDevice};
use crate::nn::ops::VoiceOps;
use crate::params::{ConversionParams, LiveParams};
use crate::path::Converter;
use crate::path::stream::{JoinKind, Stream, StreamSettings};
use crate::rt::events::{Event, EventRx, EventTx, event_queue};
use crate::rt::snapshot::SnapshotRx;

/// What a session shall be like.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionSettings {
    /// Chunk, crossfade and context.
    pub timing: Timing,
    /// How chunks become one signal.
    pub join: JoinKind,
    /// Time granted to convert one chunk; measured before audio runs, if not given.
    pub budget: Option<Duration>,
    /// Total delay from the microphone to the loudspeaker, as far as the device reports its own, if it shall be constant.
    /// The graph holds it to the sample, and follows where the device's share changes by more than it wavers.
    pub total_delay: Option<Duration>,
    /// Device channel that is converted.
    pub input: usize,
    /// Device channels that play the voice; if empty, all that play no monitor.
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
            join: JoinKind::default(),
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
    /// To the converter's thread: whether it runs with real-time priority became known.
    Converter(Priority),
    /// Graph and worker were built anew, and take over. A recording goes on.
    Rebuilt {
        /// What made that necessary.
        cause: Cause,
        /// What the way of a sample is made of now.
        latency: Latency,
    },
    /// Graph and worker must be built anew and could not be. It is tried again.
    NotRebuilt {
        /// What makes that necessary.
        cause: Cause,
        /// Why it failed, in words.
        reason: String,
    },
}

/// What remains of a session.
#[derive(Debug)]
pub struct SessionReport {
    /// What became of the recording.
    pub recording: Option<RecordingReport>,
    /// What went wrong with the device.
    pub problem: Option<Error>,
}

/// What is left of the parts of a graph that is being taken over from.
struct Retired<C: ChunkConverter> {
    worker: Worker<C>,
    /// They count until the other graph leads.
    levels: [SnapshotRx<Levels>; 2],
}

impl<C: ChunkConverter> Retired<C> {
    fn clipped(&mut self) -> [u64; 2] {
        self.levels.each_mut().map(|levels| levels.latest().clipped_samples)
    }
}

/// Live conversion that runs. Dropping it stops it.
///
/// Its events are to be read every few milliseconds: it tends to itself then.
pub struct Session<B: VoiceOps>
where
    Stream<B>: Send + 'static,
    Converter<B>: Send + 'static,
{
    // In this order they stop: what is heard first.
    device: RunningDevice,
    control: GraphHandle,
    parts: Parts<Stream<B>>,
    /// Parts of graphs that are being taken over from; each worker ends with its graph.
    retired: Vec<Retired<Stream<B>>>,
    recording: Option<Recording>,
    events_tx: EventTx,
    events: EventRx,
    /// Events of the session itself.
    own: VecDeque<SessionEvent>,
    budget: Duration,
    started: Instant,
    // What it takes to build all of it anew.
    backend: SharedBackend,
    voice: Converter<B>,
    settings: SessionSettings,
    watch: Watch,
    /// The priority of the converter's thread that was told last.
    priority: Priority,
    /// The device as it is being opened anew. The last one stands in for it.
    reopening: Option<Reopening>,
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
    pub fn start(mut backend: Box<dyn Backend>, voice: Converter<B>, settings: &SessionSettings) -> Result<Self> {
        settings.live.validate()?;
        let device = backend.open()?;
        let format = *device.format();
        let source = assembly::input(&format, settings)?;
        let (events_tx, events) = event_queue(1024);

        let mut stream = Stream::new(voice.clone(), stream_settings(format.rate_hz, settings), &settings.params)?;
        let budget = settings.budget.map_or_else(|| measure(&mut stream, &settings.params, format.rate_hz), Ok)?;
        let record = |path| Recorder::start(path, format.rate_hz, RecordingFormat::Float, events_tx.clone());
        let (recorder, recording) = settings.record.as_deref().map(record).transpose()?.unzip();
        let Assembly { graph, parts } =
            assemble(timed(stream, budget), source, recorder, &format, settings, &events_tx)?;
        let (mut control, processor) = processor(&assembly::graph_settings(&format, settings), events_tx.clone());
        control.swap(graph)?;
        Ok(Self {
            device: device.start(processor),
            control,
            parts,
            retired: Vec::new(),
            recording,
            events_tx,
            events,
            own: VecDeque::new(),
            budget,
            started: Instant::now(),
            backend: Arc::new(Mutex::new(backend)),
            voice,
            settings: settings.clone(),
            watch: Watch::new(settings.total_delay.is_some()),
            priority: Priority::Unknown,
            reopening: None,
        })
    }

    /// What the way of a sample is made of.
    #[must_use]
    pub fn latency(&self) -> Latency {
        let telemetry = self.device.telemetry();
        Latency { device: telemetry.input_latency_samples + telemetry.output_latency_samples, ..self.parts.latency }
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
        self.control.set_params(live)?;
        self.settings.live = live;
        Ok(())
    }

    /// Sets how to convert, from the next chunk on.
    ///
    /// # Errors
    /// Values out of range.
    pub fn set_params(&mut self, params: ConversionParams) -> Result<()> {
        self.parts.worker.set_params(params)?;
        self.settings.params = params;
        Ok(())
    }

    /// Goes on with another voice, which speaks as `params` say, faded in from the next chunk on.
    ///
    /// # Errors
    /// The converter, where the last one handed over has not been taken yet.
    pub fn replace_voice(
        &mut self,
        converter: Converter<B>,
        params: ConversionParams,
    ) -> std::result::Result<(), Converter<B>> {
        let voice = converter.clone();
        self.parts.worker.replace(converter, params)?;
        self.voice = voice;
        self.settings.params = params;
        Ok(())
    }

    /// Everything that is counted, now.
    pub fn telemetry(&mut self) -> LiveTelemetry {
        self.control.collect();
        let now = self.counts();
        let Counts { device, graph, link, worker } = self.watch.sum(&now);
        let [input, output] = self.levels();
        LiveTelemetry {
            running: self.started.elapsed(),
            device,
            graph,
            link,
            worker,
            input,
            output,
            recorded: self.recording.as_ref().map_or((0, 0), Recording::progress),
            lost_events: self.events.lost(),
        }
    }

    /// The oldest event that was not read. Tends to the session first, without waiting for a device.
    #[must_use]
    pub fn next_event(&mut self) -> Option<SessionEvent> {
        self.tend();
        if let Some(event) = self.device.next_event() {
            self.watch.notice(&event);
            return Some(SessionEvent::Device(event));
        }
        self.events.next().map(SessionEvent::Live).or_else(|| self.own.pop_front())
    }

    /// Stops the device, then the worker, and completes the recording.
    #[must_use]
    pub fn stop(self) -> SessionReport {
        let stopped = self.device.stop();
        drop((stopped.processor, self.parts, self.retired));
        SessionReport { recording: self.recording.and_then(Recording::stop), problem: stopped.problem }
    }

    /// Frees what is done with, and builds anew what must be.
    fn tend(&mut self) {
        self.control.collect();
        for mut retired in self.retired.extract_if(.., |retired| !retired.worker.is_running()) {
            self.watch.leave_levels(retired.clipped());
        }
        self.follow_priority();
        if let Some(reopening) = self.reopening.take_if(|reopening| reopening.is_done()) {
            let (cause, opened) = reopening.finish();
            let moved = opened.and_then(|device| self.move_to(device));
            // Another device has another processor, which has counted nothing yet.
            self.conclude(cause, moved, &GraphTelemetry::default());
        }
        if self.reopening.is_some() {
            return;
        }
        let (device, graph) = (self.device.telemetry(), self.control.telemetry());
        let Some(cause) = self.watch.look(&self.parts.format, &device, &graph, self.parts.worker.is_running()) else {
            return;
        };
        if !matches!(cause, Cause::OtherRate { .. }) {
            let rebuilt = self.rebuild();
            return self.conclude(cause, rebuilt, &graph);
        }
        match Reopening::begin(&self.backend, self.device.release(), cause) {
            Ok(reopening) => self.reopening = Some(reopening),
            Err(error) => self.conclude(cause, Err(error), &graph),
        }
    }

    /// Has the converter's thread run next below the audio's, once that has real-time priority, and tells once whether it
    /// does. Where audio is refused it, that is told already, and the converter does not ask.
    fn follow_priority(&mut self) {
        self.parts.worker.run_below(self.device.telemetry().priority_level);
        let priority = self.parts.worker.telemetry().priority;
        if priority != Priority::Unknown && priority != self.priority {
            self.priority = priority;
            self.own.push_back(SessionEvent::Converter(priority));
        }
    }

    /// Tells what became of building anew for `cause`, `graph` being what the processor had counted when that began.
    fn conclude(&mut self, cause: Cause, rebuilt: Result<()>, graph: &GraphTelemetry) {
        let event = match rebuilt {
            Ok(()) => {
                tracing::warn!("{cause}: the graph was built anew");
                self.watch.done(graph);
                SessionEvent::Rebuilt { cause, latency: self.latency() }
            }
            Err(error) => {
                tracing::warn!("{cause}: the graph cannot be built anew yet: {error}");
                self.watch.failed();
                SessionEvent::NotRebuilt { cause, reason: error.to_string() }
            }
        };
        self.own.push_back(event);
    }

    /// Swaps in a graph and a worker for the device as it is now.
    fn rebuild(&mut self) -> Result<()> {
        let device = self.device.telemetry();
        let (inputs, outputs) = self.watch.channels_of(&self.parts.format);
        let format = DeviceFormat {
            inputs,
            outputs,
            block_frames: device.block_frames,
            max_block_frames: device.block_frames.max(self.parts.format.max_block_frames),
            input_latency_samples: device.input_latency_samples,
            output_latency_samples: device.output_latency_samples,
            ..self.parts.format
        };
        let Assembly { graph, parts } = self.assemble(&format)?;
        self.control.swap(graph)?;
        self.retire(parts);
        Ok(())
    }

    /// Goes on with `device`, by a graph and a worker that fit it.
    fn move_to(&mut self, device: OpenDevice) -> Result<()> {
        let format = *device.format();
        let Assembly { graph, parts } = self.assemble(&format)?;
        let settings = assembly::graph_settings(&format, &self.settings);
        let (mut control, processor) = processor(&settings, self.events_tx.clone());
        control.swap(graph)?;
        // It records until here; what it still had to tell is kept.
        self.device.close();
        self.own.extend(std::iter::from_fn(|| self.device.next_event()).map(SessionEvent::Device));
        let counts = self.counts();
        self.watch.leave_device(&counts);
        self.control = control;
        // The last device goes with its processor and all of its graphs.
        self.device = device.start(processor);
        self.retire(parts);
        Ok(())
    }

    /// What the parts in use have counted.
    fn counts(&mut self) -> Counts {
        Counts {
            device: self.device.telemetry(),
            graph: self.control.telemetry(),
            link: self.parts.link.latest(),
            worker: self.parts.worker.telemetry(),
        }
    }

    /// Levels of the graph that is heard, or will be next, with all that was clipped.
    fn levels(&mut self) -> [Levels; 2] {
        let mut levels = self.parts.levels.each_mut().map(SnapshotRx::latest);
        let before = self.retired.iter_mut().map(Retired::clipped).chain([self.watch.clipped()]);
        for clipped in before {
            levels.iter_mut().zip(clipped).for_each(|(level, clipped)| level.clipped_samples += clipped);
        }
        levels
    }

    fn assemble(&self, format: &DeviceFormat) -> Result<Assembly<Stream<B>>> {
        let source = assembly::input(format, &self.settings)?;
        let stream = stream_settings(format.rate_hz, &self.settings);
        let stream = Stream::new(self.voice.clone(), stream, &self.settings.params)?;
        let recorder = self.recording.as_ref().map(|recording| recording.tap(format.rate_hz));
        assemble(timed(stream, self.budget), source, recorder, format, &self.settings, &self.events_tx)
    }

    /// Takes `parts` for those that count.
    fn retire(&mut self, parts: Parts<Stream<B>>) {
        let mut last = std::mem::replace(&mut self.parts, parts);
        self.watch.leave_graph(last.link.latest(), last.worker.telemetry());
        self.retired.push(Retired { worker: last.worker, levels: last.levels });
    }
}

pub(super) fn timed<B: VoiceOps>(stream: Stream<B>, budget: Duration) -> Timed<Stream<B>> {
    let latency_samples = stream.latency_samples() - stream.geometry().chunk_samples();
    Timed { converter: stream, latency_samples, budget }
}

pub(super) fn stream_settings(rate_hz: u32, settings: &SessionSettings) -> StreamSettings {
    StreamSettings {
        rate_hz,
        timing: settings.timing,
        join: settings.join,
        // The graph has a better gate.
        gate_db: None,
        rest_db: settings.rest_db,
        denoise_input: settings.denoise,
        denoise_output: false,
    }
}

/// Makes a voice ready for a session of such settings, and tells the time that one of its chunks should be granted.
///
/// # Errors
/// Settings out of range, or a speaker that the voice lacks.
pub fn prepare<B: VoiceOps>(converter: &Converter<B>, settings: &SessionSettings, rate_hz: u32) -> Result<Duration> {
    let mut stream = Stream::new(converter.clone(), stream_settings(rate_hz, settings), &settings.params)?;
    measure(&mut stream, &settings.params, rate_hz)
}

/// Converts a few chunks of noise, which also makes memory and caches ready, and grants what they took, amply.
pub(super) fn measure<B: VoiceOps>(
    stream: &mut Stream<B>,
    params: &ConversionParams,
    rate_hz: u32,
) -> Result<Duration> {
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
    if longest > lasts {
        tracing::warn!(
            "a chunk of {:.0} ms takes {:.0} ms to convert here, so the voice will have gaps: longer chunks, less context \
             or smaller networks help",
            lasts.as_secs_f64() * 1e3,
            longest.as_secs_f64() * 1e3
        );
    }
    Ok((MARGIN * longest).clamp(LEAST.min(lasts), lasts.max(LEAST)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::engine::{Engine, ModelFiles, TrackerFile};
    use crate::graph::GraphBuilder;
    use crate::graph::nodes::{Input, Output};
    use crate::io::live::{Null, NullClock};
    use crate::nn::Cpu;
    use crate::params::NoiseChoice;
    use crate::rt::{Block, Node, Ports, RtNode, Setup};

    const BLOCK: usize = 480;

    fn session() -> (Session<Cpu>, NullClock) {
        let data = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
        let files = ModelFiles {
            voice: data("synth_small_v1_32k.pth"),
            index: None,
            encoder: data("hubert_small_v1.weights.safetensors"),
            tracker: TrackerFile::Yin,
        };
        let voice = Engine::<Cpu>::new(Default::default()).converter(&files).expect("a voice");
        let settings = SessionSettings {
            timing: Timing { chunk: 0.02, crossfade: 0.02, context: 0.2 },
            budget: Some(Duration::from_millis(20)),
            params: ConversionParams { noise: NoiseChoice::Zero, ..SessionSettings::default().params },
            ..SessionSettings::default()
        };
        let (device, mut clock) = Null::new(DeviceFormat {
            rate_hz: 48_000,
            block_frames: BLOCK,
            max_block_frames: BLOCK,
            inputs: 1,
            outputs: 1,
            input_latency_samples: 0,
            output_latency_samples: 0,
        });
        clock.set_freewheel(true);
        (Session::start(Box::new(device), voice, &settings).expect("a session"), clock)
    }

    /// A node that passes on what it gets until it meets a sample above 1.
    struct Fragile;

    impl Node for Fragile {
        fn ports(&self, rate_hz: u32) -> Ports {
            Ports::at(rate_hz, 1, 1)
        }

        fn prepare(self: Box<Self>, _: &Setup) -> Result<Box<dyn RtNode>> {
            Ok(self)
        }
    }

    impl RtNode for Fragile {
        fn process(&mut self, _: &mut Block<'_>, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) {
            assert!(inputs[0].iter().all(|&x| x <= 1.0), "as this test wants");
            outputs[0].copy_from_slice(inputs[0]);
        }

        fn reset(&mut self) {}
    }

    #[test]
    fn a_graph_in_which_a_node_panicked_is_built_anew_and_the_voice_is_back() {
        let (mut session, mut clock) = session();
        let mut n = 0;
        let mut play = |clock: &mut NullClock, blocks: usize, peak: f32| -> f32 {
            let mut heard = 0.0_f32;
            for _ in 0..blocks {
                let block: Vec<f32> =
                    (n..n + BLOCK).map(|n| peak * (n as f32 * 0.02).sin() * (n as f32 * 0.0003).cos()).collect();
                n += BLOCK;
                let mut played = vec![f32::NAN; BLOCK];
                clock.block(&[&block], &mut [&mut played]);
                assert!(played.iter().all(|x| x.is_finite()));
                heard = played.iter().fold(heard, |most, x| most.max(x.abs()));
            }
            heard
        };
        play(&mut clock, 100, 0.3);
        let mut graph = GraphBuilder::new(assembly::graph_settings(&session.parts.format, &session.settings));
        let input = graph.add("input", Input::of(0)).expect("a node");
        let fragile = graph.add("fragile", Fragile).expect("a node");
        let output = graph.add("output", Output::to([0])).expect("a node");
        graph.chain(&[input, fragile, output]).expect("connections");
        session.control.swap(graph.build().expect("a graph")).expect("room");
        assert!(play(&mut clock, 20, 0.3) > 0.25);
        play(&mut clock, 10, 4.0);
        assert_eq!(play(&mut clock, 10, 0.3), 0.0);

        let events: Vec<SessionEvent> = std::iter::from_fn(|| session.next_event()).collect();
        let place = events.iter().position(|event| matches!(event, SessionEvent::Live(Event::NodePanicked(_))));
        let rebuilt = events.iter().position(
            |event| matches!(event, SessionEvent::Rebuilt { cause: Cause::GraphPanicked, latency } if *latency == session.latency()),
        );
        assert!(place.is_some() && place < rebuilt, "{events:?}");
        play(&mut clock, 60, 0.3);
        assert!(play(&mut clock, 10, 0.3) > 0.01);
        let telemetry = session.telemetry();
        assert_eq!((telemetry.graph.node_panics, telemetry.graph.swaps), (1, 2));
        assert_eq!(telemetry.graph.frames as usize, 210 * BLOCK);
        // It is not built a third time, and the worker of the first graph has gone with it.
        assert!(session.next_event().is_none_or(|event| !matches!(event, SessionEvent::Rebuilt { .. })));
        let start = Instant::now();
        while !session.retired.is_empty() {
            assert!(start.elapsed() < Duration::from_secs(10), "a worker without a graph");
            drop(session.next_event());
        }
        assert!(session.stop().problem.is_none());
    }
}

//! Worker: the thread that converts what the graph's link sends, chunk by chunk, and sends back as many samples.
//!
//! A chunk that cannot be heard any more is left out: the oldest audio goes, so that delay never accumulates.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, bounded};

use crate::error::{Error, Result};
use crate::graph::nodes::link::LinkEnd;
use crate::io::live::priority::{Priority, ask_below};
use crate::nn::ops::VoiceOps;
use crate::params::ConversionParams;
use crate::path::Converter;
use crate::path::stream::{ChunkReport, Stream};
use crate::rt::events::{Event, EventTx};
use crate::rt::snapshot::{SnapshotRx, SnapshotTx, snapshot};
use crate::telemetry::{Distribution, Percentiles, Stage};

/// What a worker runs: a [`Stream`], or anything that keeps the same contract.
pub trait ChunkConverter: Send + 'static {
    /// What another voice comes as.
    type Voice: Send + 'static;

    /// Samples of one chunk, in and out, at least 1.
    fn chunk_samples(&self) -> usize;

    /// Converts one chunk into as many samples.
    ///
    /// # Errors
    /// A chunk that cannot be converted; it is heard as silence.
    fn step(&mut self, chunk: &[f32], params: &ConversionParams, output: &mut [f32]) -> Result<ChunkReport>;

    /// Takes one chunk in unconverted and falls silent, at next to no cost.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    fn skip(&mut self, chunk: &[f32], output: &mut [f32]) -> Result<ChunkReport>;

    /// Goes on with another voice, and returns the last.
    fn replace(&mut self, voice: Self::Voice, params: &ConversionParams) -> Self::Voice;

    /// Forgets all audio.
    fn reset(&mut self);
}

impl<B: VoiceOps> ChunkConverter for Stream<B>
where
    Converter<B>: Send + 'static,
{
    type Voice = Converter<B>;

    fn chunk_samples(&self) -> usize {
        self.geometry().chunk_samples()
    }

    fn step(&mut self, chunk: &[f32], params: &ConversionParams, output: &mut [f32]) -> Result<ChunkReport> {
        Stream::step(self, chunk, params, output)
    }

    fn skip(&mut self, chunk: &[f32], output: &mut [f32]) -> Result<ChunkReport> {
        Stream::skip(self, chunk, output)
    }

    fn replace(&mut self, voice: Converter<B>, params: &ConversionParams) -> Converter<B> {
        Stream::replace(self, voice, params)
    }

    fn reset(&mut self) {
        Stream::reset(self);
    }
}

/// How a worker keeps time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WorkerSettings {
    /// Rate of the audio, in Hz.
    pub rate_hz: u32,
    /// The link's [`lead_samples`](crate::graph::nodes::link::LinkSettings::lead_samples).
    pub lead_samples: usize,
    /// How to convert until told otherwise.
    pub params: ConversionParams,
}

/// What a worker has done so far. Times of chunks that were converted, in ms.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WorkerTelemetry {
    /// Chunks taken in.
    pub chunks: u64,
    /// Chunks that were silent and not rendered.
    pub rested: u64,
    /// Chunks left out, since they could not be heard any more.
    pub shed: u64,
    /// Chunks that took longer to convert than they last.
    pub overruns: u64,
    /// Chunks that failed, by error or panic, and were silent.
    pub failed: u64,
    /// Input samples that were no numbers and were taken as silence.
    pub non_finite_samples: u64,
    /// Whether the thread has real-time priority.
    pub priority: Priority,
    /// The latest chunk's pitch in Hz, 0 unvoiced.
    pub f0_hz: f32,
    /// The latest chunk's processing time over its length.
    pub rtf: f32,
    /// Length of a chunk.
    pub chunk_ms: f32,
    /// Whole chunks.
    pub total_ms: Percentiles,
    /// How long each chunk had waited when its conversion began.
    pub queue_age_ms: Percentiles,
    /// Each stage, in the order of [`Stage::ALL`].
    pub stage_ms: [Percentiles; Stage::ALL.len()],
}

impl WorkerTelemetry {
    /// A percentile of the time of whole chunks as a share of real time.
    #[must_use]
    pub fn rtf_of(&self, percentile_ms: f32) -> f32 {
        percentile_ms / self.chunk_ms.max(f32::MIN_POSITIVE)
    }
}

/// How to convert, by one voice alone: what is meant for one is never used with another.
#[derive(Clone, Copy, Debug)]
struct Params {
    /// The voice, by its number.
    voice: u64,
    params: ConversionParams,
}

/// Control's handle of a worker. Dropping it stops the thread after the chunk at hand.
#[derive(Debug)]
pub struct Worker<C: ChunkConverter> {
    params: SnapshotTx<Params>,
    telemetry: SnapshotRx<WorkerTelemetry>,
    voices: Sender<(C::Voice, Params)>,
    /// Voices handed over so far.
    voice: u64,
    stop: Arc<AtomicBool>,
    /// The audio thread's real-time priority, 0 as long as it has none.
    audio_level: Arc<AtomicU8>,
    thread: Option<JoinHandle<C>>,
}

impl<C: ChunkConverter> Worker<C> {
    /// Starts a worker at the ends of a link. It ends when the link's graph is gone.
    ///
    /// # Errors
    /// Parameters out of range, or a system that grants no thread.
    pub fn start(converter: C, link: LinkEnd, settings: WorkerSettings, events: EventTx) -> Result<Self> {
        settings.params.validate()?;
        let current = Params { voice: 0, params: settings.params };
        let (params, params_rx) = snapshot(current);
        let (telemetry_tx, telemetry) = snapshot(WorkerTelemetry::default());
        let (voices, voices_rx) = bounded(1);
        let (stop, audio_level) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU8::new(0)));
        let run = Run {
            chunk: vec![0.0; converter.chunk_samples()],
            output: vec![0.0; converter.chunk_samples()],
            log: Log::new(converter.chunk_samples(), settings.rate_hz),
            converter,
            link,
            settings,
            current,
            params: params_rx,
            voices: voices_rx,
            telemetry: telemetry_tx,
            events,
            stop: stop.clone(),
            audio_level: audio_level.clone(),
            asked_below: 0,
        };
        let thread = std::thread::Builder::new().name("converter".into()).spawn(|| run.until_stopped());
        let thread = thread.map_err(|error| Error::io("the converter's thread", error))?;
        Ok(Self { params, telemetry, voices, voice: 0, stop, audio_level, thread: Some(thread) })
    }

    /// Sets how to convert, from the next chunk on.
    ///
    /// # Errors
    /// Parameters out of range.
    pub fn set_params(&mut self, params: ConversionParams) -> Result<()> {
        params.validate()?;
        self.params.publish(Params { voice: self.voice, params });
        Ok(())
    }

    /// Hands over another voice and how it is to speak, heard from the next chunk on, faded in over the join's
    /// crossfade.
    ///
    /// # Errors
    /// The voice, where the last one handed over has not been taken yet.
    pub fn replace(&mut self, voice: C::Voice, params: ConversionParams) -> std::result::Result<(), C::Voice> {
        let params = Params { voice: self.voice + 1, params };
        self.voices.try_send((voice, params)).map_err(|refused| refused.into_inner().0)?;
        self.voice += 1;
        Ok(())
    }

    /// Has the thread ask for the real-time priority next below `level`, the audio thread's as the system counts it: what
    /// it converts is waited for, but never at the audio's expense. At 0 it asks for none.
    pub fn run_below(&self, level: u8) {
        self.audio_level.store(level, Ordering::Relaxed);
    }

    /// What the worker has done so far.
    pub fn telemetry(&mut self) -> WorkerTelemetry {
        self.telemetry.latest()
    }

    /// Stops the thread after the chunk at hand and gives its converter back; nothing if the thread died.
    #[must_use]
    pub fn stop(mut self) -> Option<C> {
        self.join()
    }

    fn join(&mut self) -> Option<C> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take()?.join().ok()
    }

    /// Whether the thread still runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }
}

impl<C: ChunkConverter> Drop for Worker<C> {
    fn drop(&mut self) {
        self.join();
    }
}

/// The thread's side.
struct Run<C: ChunkConverter> {
    converter: C,
    link: LinkEnd,
    settings: WorkerSettings,
    chunk: Vec<f32>,
    output: Vec<f32>,
    current: Params,
    params: SnapshotRx<Params>,
    voices: Receiver<(C::Voice, Params)>,
    log: Log,
    telemetry: SnapshotTx<WorkerTelemetry>,
    events: EventTx,
    stop: Arc<AtomicBool>,
    audio_level: Arc<AtomicU8>,
    /// The audio thread's priority below which this thread has asked for one.
    asked_below: u8,
}

impl<C: ChunkConverter> Run<C> {
    fn until_stopped(mut self) -> C {
        while !self.stop.load(Ordering::Relaxed) {
            self.follow_audio();
            let missing = self.chunk.len().saturating_sub(self.link.input.available());
            if missing == 0 {
                self.next_chunk();
            } else if self.link.input.is_abandoned() {
                break;
            } else {
                self.wait_for(missing);
            }
        }
        self.converter
    }

    /// Asks for real-time priority once the audio thread has some.
    fn follow_audio(&mut self) {
        let level = self.audio_level.load(Ordering::Relaxed);
        if level != self.asked_below && level > 0 {
            self.asked_below = level;
            self.log.counts.priority = ask_below(level);
            self.telemetry.publish(self.log.telemetry());
        }
    }

    /// Sleeps, since the real-time thread may not wake anyone; not for long, since without a clock audio comes fast.
    fn wait_for(&self, samples: usize) {
        const SHORTEST: Duration = Duration::from_micros(100);
        const LONGEST: Duration = Duration::from_millis(1);
        let lasts = Duration::from_secs_f64(samples as f64 / f64::from(self.settings.rate_hz));
        std::thread::sleep(lasts.clamp(SHORTEST, LONGEST));
    }

    fn next_chunk(&mut self) {
        let waiting = self.link.input.available();
        if let Ok((voice, params)) = self.voices.try_recv() {
            self.current = params;
            drop(self.converter.replace(voice, &params.params));
        }
        let latest = self.params.latest();
        if latest.voice == self.current.voice {
            self.current = latest;
        }
        let params = self.current.params;
        self.link.input.pop(&mut self.chunk);
        for value in self.chunk.iter_mut().filter(|value| !value.is_finite()) {
            *value = 0.0;
            self.log.counts.non_finite_samples += 1;
        }
        let shed = self.is_hopeless(waiting);
        let started = Instant::now();
        let Self { converter, chunk, output, .. } = self;
        let work = || if shed { converter.skip(chunk, output) } else { converter.step(chunk, &params, output) };
        let result = catch_unwind(AssertUnwindSafe(work));
        let spent = started.elapsed();
        match result {
            Ok(Ok(report)) => self.log.chunk(&report, shed, spent, waiting),
            failed => {
                self.log.counts.failed += 1;
                self.events.send(if failed.is_ok() { Event::ChunkRefused } else { Event::ConverterPanicked });
                // What it held may be half written.
                self.converter.reset();
                self.output.fill(0.0);
            }
        }
        self.link.output.push(&self.output);
        self.telemetry.publish(self.log.telemetry());
    }

    /// Whether most of a chunk would come too late, and newer audio waits behind it.
    ///
    /// The chunk's first sample came `waiting` samples ago, and is to be heard `lead` samples after it came.
    fn is_hopeless(&self, waiting: usize) -> bool {
        let chunk = self.chunk.len();
        let cost = (self.log.expected.as_secs_f64() * f64::from(self.settings.rate_hz)) as usize;
        !self.link.is_waited_for() && waiting >= 2 * chunk && waiting + cost > self.settings.lead_samples + chunk / 2
    }
}

/// Times of chunks, summed up.
struct Log {
    counts: WorkerTelemetry,
    chunk_samples: usize,
    rate_hz: u32,
    /// What converting a chunk takes, as the last ones tell.
    expected: Duration,
    total: Distribution,
    queue_age: Distribution,
    stages: [Distribution; Stage::ALL.len()],
}

impl Log {
    fn new(chunk_samples: usize, rate_hz: u32) -> Self {
        let counts = WorkerTelemetry {
            chunk_ms: (chunk_samples as f64 / f64::from(rate_hz) * 1e3) as f32,
            ..WorkerTelemetry::default()
        };
        Self {
            counts,
            chunk_samples,
            rate_hz,
            expected: Duration::ZERO,
            total: Distribution::default(),
            queue_age: Distribution::default(),
            stages: Default::default(),
        }
    }

    fn seconds(&self, samples: usize) -> f64 {
        samples as f64 / f64::from(self.rate_hz)
    }

    fn chunk(&mut self, report: &ChunkReport, shed: bool, spent: Duration, waiting: usize) {
        self.counts.chunks += 1;
        self.counts.shed += u64::from(shed);
        self.counts.rested += u64::from(report.rested);
        if shed || report.rested {
            self.counts.f0_hz = 0.0;
            return;
        }
        let lasts = self.seconds(self.chunk_samples);
        self.counts.f0_hz = report.f0_hz;
        self.counts.rtf = (spent.as_secs_f64() / lasts) as f32;
        self.counts.overruns += u64::from(spent.as_secs_f64() > lasts);
        // Half of it is the latest, so that it follows a load that ends within a few chunks.
        self.expected = if self.expected.is_zero() { spent } else { (self.expected + spent) / 2 };
        self.total.record(spent);
        self.queue_age.record(Duration::from_secs_f64(self.seconds(waiting - self.chunk_samples)));
        for (stage, times) in Stage::ALL.into_iter().zip(&mut self.stages) {
            times.record(report.times.of(stage));
        }
    }

    fn telemetry(&self) -> WorkerTelemetry {
        WorkerTelemetry {
            total_ms: self.total.percentiles_ms(),
            queue_age_ms: self.queue_age.percentiles_ms(),
            stage_ms: self.stages.each_ref().map(Distribution::percentiles_ms),
            ..self.counts
        }
    }
}

//! Round trip: how late a sample is on its whole way, measured by sending a signal on it and finding that again.
//!
//! ```text
//! probe -> [graph with a worker] -> device out -> cable, or loudspeaker and air -> device in -> probe
//! ```
//!
//! The probe plays in place of what the device captures, so that nothing goes round twice. Without a graph the way is the
//! device's alone; with one, the graph's latency comes on top of it, and the sum is what lies between a microphone and a
//! loudspeaker.
//!
//! # Resolution
//! A sweep is found to a fraction of a sample. A voice keeps no waveform, only the loudness of its input: bursts of a
//! tone are found by their envelopes, read every millisecond over ten. What the voice does with an onset within its own
//! hop of 10 ms cannot be told from a delay, and each chunk may be shifted by up to another 10 ms to join the last.

use std::time::{Duration, Instant};

use super::assembly::{Assembly, Timed, assemble};
use super::session::{Latency, SessionSettings, measure, stream_settings, timed};
use super::worker::ChunkConverter;
use crate::dsp::envelope::rms;
use crate::dsp::lag::{Lag, lag};
use crate::dsp::sweep::sweep;
use crate::error::{Error, Result};
use crate::geometry::Geometry;
use crate::graph::live::Source;
use crate::graph::nodes::{Output, Probe};
use crate::graph::{CompiledGraph, GraphBuilder, GraphSettings, processor};
use crate::io::live::{Backend, DeviceFormat, DeviceTelemetry, OpenDevice};
use crate::nn::ops::VoiceOps;
use crate::params::ConversionParams;
use crate::path::Converter;
use crate::path::stream::{ChunkReport, Stream};
use crate::rt::events::event_queue;
use crate::rt::ring::AudioRx;

/// Length of a sweep, in seconds.
const SWEEP_S: f64 = 0.25;
/// Bounds of a sweep: what small loudspeakers play and a rate of 44.1 kHz holds.
const SWEEP_HZ: (f64, f64) = (100.0, 16_000.0);
/// Greatest share of the rate that a sweep rises to.
const MOST_OF_RATE: f64 = 0.4;
/// Level of what is played.
const AMPLITUDE: f32 = 0.5;
/// Silence before the first sweep, in seconds: bridges between clocks settle.
const SETTLING_S: f64 = 1.0;
/// Delay beyond the one reported that can still be found, in seconds.
const SURPLUS_S: f64 = 0.5;
/// Silence between two signals, in seconds, in which a voice comes to rest.
const PAUSE_S: f64 = 0.25;
/// Bursts and the pauses between them, in seconds: no shift of the pattern looks like it.
const BURSTS_S: [f64; 9] = [0.12, 0.09, 0.2, 0.06, 0.08, 0.15, 0.16, 0.07, 0.1];
/// The tone of the bursts, in Hz: frames of envelopes hold whole periods.
const BURST_HZ: f64 = 200.0;
/// Frame and hop of envelopes, in seconds.
const ENVELOPE_S: (f64, f64) = (0.01, 0.001);
/// Least agreement at which a signal counts as found.
const FOUND: f64 = 0.5;
/// A device that takes no audio for so long has failed.
const STALLED: Duration = Duration::from_secs(10);
/// Time granted to convert a chunk where nothing is converted.
const ECHO_BUDGET: Duration = Duration::from_millis(5);

/// What was measured on one way, in samples at the device's rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RoundTrip {
    /// The device.
    pub format: DeviceFormat,
    /// What device and graph report.
    pub reported: Latency,
    /// What was measured: the median of all repetitions.
    pub samples: f64,
    /// Between the least and the greatest of them.
    pub spread_samples: f64,
    /// To how many samples a single one is certain.
    pub resolution_samples: f64,
    /// The least agreement between what was played and what came back, 0..=1.
    pub agreement: f64,
    /// Times that the device lost data meanwhile.
    pub xruns: u64,
}

/// Measures the device alone, with `repetitions` sweeps.
///
/// # Errors
/// A device that cannot be had or lacks the channels, or nothing that comes back.
pub fn device(backend: &mut dyn Backend, settings: &SessionSettings, repetitions: usize) -> Result<RoundTrip> {
    let device = backend.open()?;
    let format = *device.format();
    let score = Score::sweeps(&format, Latency { device: format.latency_samples(), ..Latency::default() }, repetitions);
    let (probe, heard) = Probe::new(score.signal.clone(), settings.input);
    let mut graph = GraphBuilder::new(format.graph_settings());
    let probe = graph.add("probe", probe)?;
    let outputs = if settings.outputs.is_empty() { (0..format.outputs).collect() } else { settings.outputs.clone() };
    let output = graph.add("output", Output::to(outputs))?;
    graph.connect(probe, output)?;
    let (heard, telemetry) = play(device, graph.build()?, settings, heard, score.signal.len())?;
    score.judge(&heard, &telemetry, Latency::default())
}

/// Measures the device and the whole graph, through a worker that converts nothing, with `repetitions` sweeps.
///
/// # Errors
/// As [`device`], and settings out of range.
pub fn graph(backend: &mut dyn Backend, settings: &SessionSettings, repetitions: usize) -> Result<RoundTrip> {
    let device = backend.open()?;
    let format = *device.format();
    let chunk_samples = Geometry::new(format.rate_hz, settings.timing)?.chunk_samples();
    let budget = settings.budget.unwrap_or(ECHO_BUDGET);
    let echo = Timed { converter: Echo { chunk_samples }, latency_samples: 0, budget };
    through(device, echo, settings, |format, latency| Score::sweeps(format, latency, repetitions))
}

/// Measures the device, the whole graph and a voice, with `repetitions` rows of bursts.
///
/// # Errors
/// As [`graph`].
pub fn voice<B: VoiceOps>(
    backend: &mut dyn Backend,
    voice: Converter<B>,
    settings: &SessionSettings,
    repetitions: usize,
) -> Result<RoundTrip>
where
    Stream<B>: Send + 'static,
    Converter<B>: Send + 'static,
{
    let device = backend.open()?;
    let rate_hz = device.format().rate_hz;
    let mut stream = Stream::new(voice, stream_settings(rate_hz, settings), &settings.params)?;
    let budget = settings.budget.map_or_else(|| measure(&mut stream, &settings.params, rate_hz), Ok)?;
    through(device, timed(stream, budget), settings, |format, latency| Score::bursts(format, latency, repetitions))
}

fn through<C: ChunkConverter>(
    device: OpenDevice,
    timed: Timed<C>,
    settings: &SessionSettings,
    score: impl FnOnce(&DeviceFormat, Latency) -> Score,
) -> Result<RoundTrip> {
    let format = *device.format();
    // The graph's latency is known once it is built, and the score's length before: what it is without nodes is near.
    let near = Latency {
        algorithmic: timed.converter.chunk_samples() + timed.latency_samples,
        processing: (timed.budget.as_secs_f64() * f64::from(format.rate_hz)) as usize + format.block_frames,
        device: format.latency_samples(),
    };
    let score = score(&format, near);
    let (probe, heard) = Probe::new(score.signal.clone(), settings.input);
    let (events, _happened) = event_queue(64);
    let Assembly { graph, parts } = assemble(timed, Source::Probe(probe), None, &format, settings, &events)?;
    let (heard, telemetry) = play(device, graph, settings, heard, score.signal.len())?;
    score.judge(&heard, &telemetry, parts.latency)
}

/// Runs `graph` on `device` until its probe has heard `samples` samples.
fn play(
    device: OpenDevice,
    graph: CompiledGraph,
    settings: &SessionSettings,
    mut heard: AudioRx,
    samples: usize,
) -> Result<(Vec<f32>, DeviceTelemetry)> {
    let graph_settings = GraphSettings { live: settings.live, ..device.format().graph_settings() };
    let (mut control, processor) = processor(&graph_settings, event_queue(64).0);
    control.swap(graph)?;
    let device = device.start(processor);
    let (mut known, mut since) = (0, Instant::now());
    while heard.available() < samples {
        if heard.available() > known {
            (known, since) = (heard.available(), Instant::now());
        } else if since.elapsed() > STALLED {
            return Err(Error::device("the device", "takes no audio", "it may hang, or another program may hold it"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let telemetry = device.telemetry();
    let mut captured = vec![0.0; samples];
    heard.pop(&mut captured);
    let stopped = device.stop();
    stopped.problem.map_or(Ok((captured, telemetry)), Err)
}

/// What is played, and how it is found again.
struct Score {
    format: DeviceFormat,
    /// One signal, which is repeated.
    one: Vec<f32>,
    /// Where each repetition begins.
    starts: Vec<usize>,
    signal: Vec<f32>,
    /// Samples from one value that is compared to the next.
    hop: usize,
    resolution_samples: f64,
}

impl Score {
    fn sweeps(format: &DeviceFormat, reported: Latency, repetitions: usize) -> Self {
        let rate_hz = f64::from(format.rate_hz);
        let to_hz = SWEEP_HZ.1.min(MOST_OF_RATE * rate_hz);
        let one = sweep(format.rate_hz, SWEEP_HZ.0, to_hz, (SWEEP_S * rate_hz) as usize);
        // The parabola's own error.
        Self::repeated(format, reported, one, repetitions, 1, 0.05)
    }

    fn bursts(format: &DeviceFormat, reported: Latency, repetitions: usize) -> Self {
        let rate_hz = f64::from(format.rate_hz);
        let mut one = Vec::new();
        for (index, seconds) in BURSTS_S.into_iter().enumerate() {
            let sounds = index % 2 == 0;
            let start = one.len();
            let harmonics = |n: usize| {
                let angle = std::f64::consts::TAU * BURST_HZ * n as f64 / rate_hz;
                (1..12).map(|k| (angle * f64::from(k)).sin() / f64::from(k)).sum::<f64>() / 2.0
            };
            let burst = (start..start + (seconds * rate_hz) as usize).map(harmonics);
            one.extend(burst.map(|x| if sounds { x as f32 } else { 0.0 }));
        }
        let hop = (ENVELOPE_S.1 * rate_hz) as usize;
        // Onset and join, as the module says.
        Self::repeated(format, reported, one, repetitions, hop, 0.02 * rate_hz)
    }

    fn repeated(
        format: &DeviceFormat,
        reported: Latency,
        one: Vec<f32>,
        repetitions: usize,
        hop: usize,
        resolution_samples: f64,
    ) -> Self {
        let samples = |seconds: f64| (seconds * f64::from(format.rate_hz)) as usize;
        let period = one.len() + reported.total() + samples(SURPLUS_S) + samples(PAUSE_S);
        let starts: Vec<usize> = (0..repetitions.max(1)).map(|n| samples(SETTLING_S) + n * period).collect();
        let mut signal = vec![0.0; samples(SETTLING_S) + starts.len() * period];
        for &start in &starts {
            signal[start..][..one.len()].iter_mut().zip(&one).for_each(|(place, x)| *place = AMPLITUDE * x);
        }
        Self { format: *format, one, starts, signal, hop, resolution_samples }
    }

    /// What is compared: the samples themselves, or their envelope about its mean.
    fn seen(&self, samples: &[f32]) -> Vec<f32> {
        if self.hop == 1 {
            return samples.to_vec();
        }
        let frame = (ENVELOPE_S.0 * f64::from(self.format.rate_hz)) as usize;
        let mut envelope = rms(samples, frame, self.hop);
        let mean = envelope.iter().sum::<f32>() / envelope.len() as f32;
        envelope.iter_mut().for_each(|value| *value -= mean);
        envelope
    }

    /// Finds each repetition in what was heard from its start on.
    fn judge(&self, heard: &[f32], telemetry: &DeviceTelemetry, graph: Latency) -> Result<RoundTrip> {
        let said = self.seen(&self.one);
        let ends = self.starts[1..].iter().copied().chain([heard.len()]);
        let found: Option<Vec<Lag>> =
            self.starts.iter().zip(ends).map(|(&start, end)| lag(&said, &self.seen(&heard[start..end]))).collect();
        let found = found.unwrap_or_default();
        let agreement = found.iter().map(|lag| lag.agreement).fold(1.0, f64::min);
        if found.is_empty() || agreement < FOUND {
            return Err(Error::device(
                "round trip",
                format!("what was played did not come back (agreement {agreement:.2})"),
                "lead the output to the input: by a cable, a loopback device, or a loud enough loudspeaker",
            ));
        }
        let mut lags: Vec<f64> = found.iter().map(|lag| lag.samples * self.hop as f64).collect();
        lags.sort_unstable_by(f64::total_cmp);
        let device = telemetry.input_latency_samples + telemetry.output_latency_samples;
        Ok(RoundTrip {
            format: self.format,
            reported: Latency { device, ..graph },
            samples: lags[lags.len() / 2],
            spread_samples: lags[lags.len() - 1] - lags[0],
            resolution_samples: self.resolution_samples,
            agreement,
            xruns: telemetry.xruns,
        })
    }
}

/// A converter that converts nothing.
struct Echo {
    chunk_samples: usize,
}

impl ChunkConverter for Echo {
    type Voice = ();

    fn chunk_samples(&self) -> usize {
        self.chunk_samples
    }

    fn step(&mut self, chunk: &[f32], _: &ConversionParams, output: &mut [f32]) -> Result<ChunkReport> {
        output.copy_from_slice(chunk);
        Ok(ChunkReport::default())
    }

    fn skip(&mut self, _: &[f32], output: &mut [f32]) -> Result<ChunkReport> {
        output.fill(0.0);
        Ok(ChunkReport::default())
    }

    fn replace(&mut self, (): (), _: &ConversionParams) {}

    fn reset(&mut self) {}
}

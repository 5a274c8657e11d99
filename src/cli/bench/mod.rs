//! `syrinx bench`: how fast this machine converts, stage by stage, chunk by chunk, or many streams at once.

pub mod chunks;
pub mod streams;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use super::conversion::{PlaceArgs, PrecisionArg};
use super::machine::{Machine, peak_memory_bytes};
use super::report::rtf;
use crate::checkpoint::index::Index;
use crate::checkpoint::pitch::PitchNetwork;
use crate::checkpoint::seeded;
#[cfg(feature = "cuda-kernels")]
use crate::cuda::trace::Graphs;
use crate::engine::{Engine, TrackerFile, assemble};
use crate::error::{Error, Result};
use crate::nn::Cpu;
#[cfg(feature = "cuda")]
use crate::nn::Cuda;
use crate::nn::hubert::Hubert;
use crate::nn::ops::{Precision, VoiceOps};
use crate::nn::rmvpe::Rmvpe;
use crate::nn::synthesizer::Synthesizer;
use crate::params::{ConversionParams, NoiseChoice};
use crate::path::Converter;
use crate::path::offline::{Conversion, Request};
use crate::path::pitch::Tracker;
use crate::path::retrieval::Retrieval;
use crate::path::window::WindowSizes;
use crate::place::Place;
use crate::telemetry::{Stage, resident_bytes};
use crate::units::{ANALYSIS_RATE_HZ, Recording};

/// Conversions, and chunks of each length, that are timed unless another number is asked for.
const CONVERSIONS: u32 = 3;
const CHUNKS: u32 = 100;

/// Measures how fast this machine converts.
#[derive(Args, Clone, Debug)]
pub struct BenchArgs {
    /// Recording to convert; without this, a synthetic one
    #[arg(value_name = "IN")]
    pub input: Option<PathBuf>,
    /// Length of the synthetic recording in seconds
    #[arg(long, value_name = "S", default_value_t = 10.0, conflicts_with = "input")]
    pub seconds: f64,
    /// Conversions that are timed, after one that is not: 3 without this; with --chunks, chunks: 100
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub repeat: Option<u32>,
    /// Convert live, in chunks of so many ms each: the time of one chunk is measured
    #[arg(long, value_name = "MS,...", value_delimiter = ',', conflicts_with_all = ["input", "seconds"])]
    pub chunks: Vec<f64>,
    /// Past audio in ms that the networks see with each of --chunks
    #[arg(long, value_name = "MS,...", value_delimiter = ',', default_value = "1000,2500", requires = "chunks")]
    pub contexts: Vec<f64>,
    /// Convert so many live streams at once, in real time: with each of --chunks, up to the first number that falls behind
    #[arg(long, value_name = "N,...", value_delimiter = ',', requires = "chunks",
        value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub streams: Vec<u16>,
    /// End what is timed after so many seconds for each of --chunks and --contexts, and number of --streams
    #[arg(long, value_name = "S", requires = "chunks", value_parser = clap::value_parser!(u32).range(1..))]
    pub at_most: Option<u32>,
    #[command(flatten)]
    place: PlaceArgs,
    /// Voice; without this, an untrained one of full size (v2, 40 kHz)
    #[arg(long, value_name = "PATH")]
    pub voice: Option<PathBuf>,
    /// Content encoder; without this, an untrained HuBERT base
    #[arg(long, value_name = "PATH")]
    pub encoder: Option<PathBuf>,
    /// RMVPE's weights; without this, untrained ones
    #[arg(long, value_name = "PATH")]
    pub pitch_model: Option<PathBuf>,
    /// Retrieval index of the voice (FAISS `.index`); without this, nothing is retrieved
    #[arg(long, value_name = "PATH", conflicts_with = "index_rows")]
    pub index: Option<PathBuf>,
    /// Retrieve from an untrained index of so many rows, as long training recordings make them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub index_rows: Option<u32>,
    /// How exactly networks multiply: `reduced`, as `syrinx live` has it, is faster in the encoder on processors with bfloat16
    /// and in all networks on GPUs
    #[arg(long, value_name = "PRECISION", default_value = "full")]
    pub precision: PrecisionArg,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What was measured; times are medians in seconds.
#[derive(Clone, Debug, Serialize)]
pub struct BenchReport {
    /// Version of Syrinx.
    pub version: String,
    /// Where it ran.
    pub machine: Machine,
    /// Length of the recording.
    pub audio_seconds: f64,
    /// Where the networks ran: `cpu`, `cuda:N`.
    pub device: String,
    /// Conversions timed.
    pub repeat: u32,
    /// Time to prepare the voice, the encoder and the pitch network, their files read.
    pub load_seconds: LoadSeconds,
    /// Time of each stage.
    pub stages: Vec<StageMedian>,
    /// Time of the whole conversion.
    pub total_seconds: f64,
    /// `total_seconds / audio_seconds`.
    pub total_rtf: f64,
    /// Most memory the process held.
    pub peak_memory_bytes: Option<u64>,
}

/// Time to load each network.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct LoadSeconds {
    /// The voice.
    pub voice: f64,
    /// The content encoder.
    pub encoder: f64,
    /// The pitch network.
    pub pitch: f64,
}

/// One stage.
#[derive(Clone, Debug, Serialize)]
pub struct StageMedian {
    /// The stage's name.
    pub name: &'static str,
    /// Its median time.
    pub seconds: f64,
    /// Its share of real time.
    pub rtf: f64,
}

/// Memory held, in bytes.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Held {
    /// By this process.
    pub process: u64,
    /// Of the GPU, by whoever uses it.
    pub gpu: Option<u64>,
}

impl Held {
    /// What tables say of it.
    const NOTE: &str = "memory in MB after the warm-up, and what came to it since; of a GPU all that is in use";

    /// MB at first, and how many more at last, of the process and of the GPU.
    fn line([first, last]: [Self; 2]) -> String {
        let mb = |first: u64, last: u64| [first as f64 * 1e-6, (last as f64 - first as f64) * 1e-6];
        let [process, more] = mb(first.process, last.process);
        let gpu = first.gpu.zip(last.gpu).map(|(first, last)| mb(first, last));
        let gpu = gpu.map_or_else(|| format!("{:>8}{:>8}", "-", "-"), |[gpu, more]| format!("{gpu:>8.0}{more:>8.1}"));
        format!("{process:>8.0}{more:>8.1}{gpu}")
    }
}

/// What tells how much memory is held.
#[derive(Debug)]
pub struct Memory(Place);

impl Memory {
    fn held(&self) -> Held {
        Held { process: resident_bytes(), gpu: self.0.memory_bytes() }
    }
}

/// Measures and prints.
///
/// # Errors
/// Models or a recording that cannot be read.
pub fn run(args: &BenchArgs) -> Result<()> {
    let place = args.place.device.open()?;
    let memory = Memory(place.clone());
    match place {
        Place::Cpu => run_on::<Cpu>(Default::default(), &memory, args),
        #[cfg(feature = "cuda")]
        Place::Burn(device) => run_on::<Cuda>(device, &memory, args),
        #[cfg(feature = "cuda-kernels")]
        Place::Cuda(device) => run_on::<Graphs>(device, &memory, args),
    }
}

fn run_on<B: VoiceOps>(device: B::Device, memory: &Memory, args: &BenchArgs) -> Result<()> {
    let (version, place) = (env!("CARGO_PKG_VERSION").to_owned(), memory.0.to_string());
    if args.chunks.is_empty() {
        let report = B::in_pool(|| measure::<B>(device, place, args))?;
        return tell(&report, table, args.json);
    }
    let lengths = chunks::Lengths {
        chunks_ms: &args.chunks,
        contexts_ms: &args.contexts,
        count: args.repeat.unwrap_or(CHUNKS),
        at_most: args.at_most.map_or(Duration::MAX, |seconds| Duration::from_secs(seconds.into())),
    };
    let machine = Machine::here();
    if args.streams.is_empty() {
        let rows = chunks::measure(&load::<B>(args, &device)?.0, &params(), lengths, memory)?;
        return tell(&chunks::ChunkReport { version, machine, device: place, rows }, chunks::table, args.json);
    }
    let numbers: Vec<usize> = args.streams.iter().map(|&number| number.into()).collect();
    let rows = streams::measure(&taking_turns::<B>(args, device)?, &params(), lengths, &numbers, memory)?;
    tell(&streams::StreamsReport { version, machine, device: place, rows }, streams::table, args.json)
}

/// Converters whose networks do not wait for each other's, where a device has turns to wait for.
fn taking_turns<B: VoiceOps>(args: &BenchArgs, mut device: B::Device) -> Result<Vec<Converter<B>>> {
    /// What waits longer than that for its turn is too late anyhow.
    const MOST: usize = 4;
    let mut converters = vec![load::<B>(args, &device)?.0];
    while converters.len() < MOST && B::beside(&device) != device {
        // The next one is for the pitch of this one.
        device = B::beside(&B::beside(&device));
        converters.push(load::<B>(args, &device)?.0);
    }
    Ok(converters)
}

fn tell<R: Serialize>(report: &R, table: impl Fn(&R) -> String, as_json: bool) -> Result<()> {
    if as_json {
        let text = serde_json::to_string_pretty(report).map_err(|error| Error::io("standard output", error.into()))?;
        return super::print(&text);
    }
    super::print(&table(report))
}

/// Measures whole conversions.
///
/// # Errors
/// Models or a recording that cannot be read.
fn measure<B: VoiceOps>(device: B::Device, place: String, args: &BenchArgs) -> Result<BenchReport> {
    let recording = match &args.input {
        Some(path) => crate::io::read::read(path)?.recording,
        None if (0.1..=600.0).contains(&args.seconds) => chirping_vowel(args.seconds, ANALYSIS_RATE_HZ),
        None => return Err(Error::argument("--seconds", "0.1 to 600", args.seconds)),
    };
    let (mut converter, load_seconds) = load::<B>(args, &device)?;
    let (params, repeat) = (params(), args.repeat.unwrap_or(CONVERSIONS));
    let mut convert = || {
        let request = Request {
            recording: &recording,
            pitch_curve: None,
            params: &params,
            own_pitch: false,
            sizes: WindowSizes::default(),
            output_rate_hz: None,
        };
        converter.convert(request, &mut |_| Ok(()))
    };
    convert()?;
    let runs = (0..repeat).map(|_| convert()).collect::<Result<Vec<Conversion>>>()?;
    let audio_seconds = recording.seconds();
    let stage = |stage: Stage| {
        let seconds = median(runs.iter().map(|run| run.times.of(stage).as_secs_f64()).collect());
        StageMedian { name: stage.name(), seconds, rtf: rtf(seconds, audio_seconds) }
    };
    let total_seconds = median(runs.iter().map(|run| run.times.total().as_secs_f64()).collect());
    Ok(BenchReport {
        version: env!("CARGO_PKG_VERSION").into(),
        machine: Machine::here(),
        audio_seconds,
        device: place,
        repeat,
        load_seconds,
        stages: Stage::ALL.map(stage).into(),
        total_seconds,
        total_rtf: rtf(total_seconds, audio_seconds),
        peak_memory_bytes: peak_memory_bytes(),
    })
}

fn params() -> ConversionParams {
    ConversionParams { noise: NoiseChoice::Seeded(0), ..ConversionParams::default() }
}

fn load<B: VoiceOps>(args: &BenchArgs, device: &B::Device) -> Result<(Converter<B>, LoadSeconds)> {
    let precision = Precision::from(args.precision);
    let mut engine = Engine::<B>::new(device.clone()).with_encoder_precision(precision);
    let (retrieval_device, device) = (
        device,
        &match precision {
            Precision::Full => device.clone(),
            Precision::Reduced => B::reduced(device),
        },
    );
    let (voice, voice_seconds) = if let Some(path) = &args.voice {
        timed(|| engine.voice(path))?
    } else {
        let made = seeded::voice();
        timed(|| Synthesizer::load(&made.tensors.weights(), &made.config, device).map(Arc::new))?
    };
    let version = voice.config().version;
    let (encoder, encoder_seconds) = if let Some(path) = &args.encoder {
        timed(|| engine.encoder(path, version.into()))?
    } else {
        let made = seeded::encoder(version);
        let (weights, projection) = (made.tensors.weights(), version.into());
        timed(|| Hubert::load_for(&weights, &made.config, projection, precision, device).map(Arc::new))?
    };
    if encoder.unit_dim() != voice.config().unit_dim {
        let expected = format!("an encoder of units of {} values, as the voice reads", voice.config().unit_dim);
        return Err(Error::argument("--encoder", expected, encoder.unit_dim()));
    }
    let (tracker, pitch_seconds) = if let Some(path) = &args.pitch_model {
        timed(|| engine.tracker(&TrackerFile::Network(PitchNetwork::Rmvpe, path.clone())))?
    } else {
        let made = seeded::rmvpe();
        let device = &B::beside(device);
        timed(|| Rmvpe::load(&made.weights(), device).map(|network| Tracker::Rmvpe(Arc::new(network))))?
    };
    let load_seconds = LoadSeconds { voice: voice_seconds, encoder: encoder_seconds, pitch: pitch_seconds };
    let index = match (&args.index, args.index_rows) {
        (Some(path), _) => Some(Index::open(path)?),
        (None, rows) => rows.map(|rows| seeded::index(rows as usize, encoder.unit_dim())),
    };
    let retrieval =
        index.map(|index| Retrieval::new(Arc::new(index), encoder.unit_dim(), retrieval_device)).transpose()?;
    Ok((assemble(voice, encoder, retrieval.map(Arc::new), tracker), load_seconds))
}

/// What `load` gives, and the seconds that it took.
fn timed<T>(load: impl FnOnce() -> Result<T>) -> Result<(T, f64)> {
    let started = Instant::now();
    let loaded = load()?;
    Ok((loaded, started.elapsed().as_secs_f64()))
}

/// A voiced sound whose pitch glides, with pauses: it exercises every stage.
fn chirping_vowel(seconds: f64, sample_rate_hz: u32) -> Recording {
    let rate = f64::from(sample_rate_hz);
    let mut phase = 0.0_f64;
    let sample = |n: usize| {
        let t = n as f64 / rate;
        phase += (140.0 + 60.0 * (t * 1.7).sin()) / rate;
        let harmonics =
            (1..12).map(|k| (std::f64::consts::TAU * phase * f64::from(k)).sin() / f64::from(k)).sum::<f64>();
        if t.fract() < 0.8 { (0.2 * harmonics) as f32 } else { 0.0 }
    };
    Recording { samples: (0..(seconds * rate) as usize).map(sample).collect(), sample_rate_hz }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// The report as a table for people.
#[must_use]
pub fn table(report: &BenchReport) -> String {
    let Machine { cpu, simd, threads, .. } = &report.machine;
    let mut lines = vec![
        format!("syrinx {} on {}; {cpu}, {simd}, {threads} threads", report.version, report.device),
        format!("{:.1} s of audio, median of {}", report.audio_seconds, report.repeat),
        String::new(),
        format!("{:<14}{:>10}{:>10}", "stage", "seconds", "RTF"),
    ];
    let row = |name: &str, seconds: f64, rtf: f64| format!("{name:<14}{seconds:>10.3}{rtf:>10.4}");
    lines.extend(report.stages.iter().map(|stage| row(stage.name, stage.seconds, stage.rtf)));
    lines.push(row("total", report.total_seconds, report.total_rtf));
    let LoadSeconds { voice, encoder, pitch } = report.load_seconds;
    lines.push(String::new());
    lines.push(format!("load: voice {voice:.3} s, encoder {encoder:.3} s, pitch network {pitch:.3} s"));
    if let Some(bytes) = report.peak_memory_bytes {
        lines.push(format!("peak memory: {:.0} MB", bytes as f64 / 1e6));
    }
    lines.join("\n")
}

//! `syrinx bench --chunks`: what a live stream takes for each chunk, at several lengths of chunk and context.

use std::fmt::Write;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{Held, Memory, chirping_vowel, median};
use crate::cli::machine::Machine;
use crate::error::Result;
use crate::geometry::Timing;
use crate::nn::ops::VoiceOps;
use crate::params::ConversionParams;
use crate::path::Converter;
use crate::path::stream::{JoinKind, Stream, StreamSettings};
use crate::telemetry::{Distribution, Percentiles, Stage, StageTimes};

/// Rate of the stream, and its overlap in seconds: what `syrinx live` takes.
const RATE_HZ: u32 = 48_000;
const CROSSFADE: f64 = 0.04;
/// Chunks that only warm up: kernels are compiled, and memory is laid out.
pub(super) const COLD: usize = 8;
/// Audio that is converted again and again.
const SECONDS: f64 = 20.0;

/// Lengths to measure, all with all.
#[derive(Clone, Copy, Debug)]
pub struct Lengths<'a> {
    /// New audio of each step in ms.
    pub chunks_ms: &'a [f64],
    /// Past audio that the networks see in ms.
    pub contexts_ms: &'a [f64],
    /// Chunks timed at each.
    pub count: u32,
    /// How long each pair of lengths may take, after what warms up.
    pub at_most: Duration,
}

impl Lengths<'_> {
    /// Each context with each chunk, in ms.
    pub(super) fn pairs(&self) -> impl Iterator<Item = [f64; 2]> {
        self.contexts_ms.iter().flat_map(|&context| self.chunks_ms.iter().map(move |&chunk| [chunk, context]))
    }
}

/// What was measured of all lengths.
#[derive(Clone, Debug, Serialize)]
pub struct ChunkReport {
    /// Version of Syrinx.
    pub version: String,
    /// Where it ran.
    pub machine: Machine,
    /// Where the networks ran: `cpu`, `cuda:N`.
    pub device: String,
    /// One for each pair of lengths.
    pub rows: Vec<ChunkRow>,
}

/// What was measured of one length of chunk and context; times in ms.
#[derive(Clone, Debug, Serialize)]
pub struct ChunkRow {
    /// New audio of each step.
    pub chunk_ms: f64,
    /// Past audio that the networks see.
    pub context_ms: f64,
    /// Chunks timed, back to back.
    pub count: u32,
    /// The first chunk and those that only warm up, together.
    pub warm_up_ms: f64,
    /// Half of the chunks took at most this.
    pub p50_ms: f32,
    /// 95 % of them.
    pub p95_ms: f32,
    /// 99 % of them.
    pub p99_ms: f32,
    /// All of them.
    pub max_ms: f32,
    /// `p50_ms / chunk_ms`.
    pub rtf: f64,
    /// Medians of pitch, units, retrieval and synthesizer.
    pub stages_ms: [f64; 4],
    /// Memory after what warms up, and after the last chunk.
    pub held: [Held; 2],
}

const STAGES: [Stage; 4] = [Stage::Pitch, Stage::Units, Stage::Retrieval, Stage::Synth];

/// Measures.
///
/// # Errors
/// Lengths out of their ranges.
pub fn measure<B: VoiceOps>(
    converter: &Converter<B>,
    params: &ConversionParams,
    lengths: Lengths<'_>,
    memory: &Memory,
) -> Result<Vec<ChunkRow>> {
    let told = |row: Result<ChunkRow>| row.inspect(|row| tracing::info!("{}", line(row)));
    lengths.pairs().map(|pair| told(row(converter.clone(), params, pair, lengths, memory))).collect()
}

/// A stream as `syrinx live` makes it by itself.
pub(super) fn stream<B: VoiceOps>(
    converter: Converter<B>,
    params: &ConversionParams,
    [chunk_ms, context_ms]: [f64; 2],
) -> Result<Stream<B>> {
    let timing = Timing { chunk: chunk_ms * 1e-3, crossfade: CROSSFADE, context: context_ms * 1e-3 };
    let settings = StreamSettings {
        rate_hz: RATE_HZ,
        timing,
        join: JoinKind::default(),
        gate_db: None,
        rest_db: None,
        denoise_input: false,
        denoise_output: false,
    };
    Stream::new(converter, settings, params)
}

/// What streams hear.
pub(super) fn speech() -> Vec<f32> {
    chirping_vowel(SECONDS, RATE_HZ).samples
}

fn row<B: VoiceOps>(
    converter: Converter<B>,
    params: &ConversionParams,
    [chunk_ms, context_ms]: [f64; 2],
    lengths: Lengths<'_>,
    memory: &Memory,
) -> Result<ChunkRow> {
    let mut stream = stream(converter, params, [chunk_ms, context_ms])?;
    let samples = stream.geometry().chunk_samples();
    let speech = speech();
    let mut chunks = speech.chunks_exact(samples).cycle();
    let mut output = vec![0.0; samples];
    let mut step = || match chunks.next() {
        Some(chunk) => stream.step(chunk, params, &mut output),
        None => unreachable!("a chunk has at most 2 s"),
    };
    let cold = Instant::now();
    for _ in 0..COLD {
        step()?;
    }
    let warm_up_ms = cold.elapsed().as_secs_f64() * 1e3;
    let (mut times, mut stages) = (Distribution::default(), Vec::<StageTimes>::new());
    let (before, began) = (memory.held(), Instant::now());
    while stages.len() < lengths.count as usize && (stages.is_empty() || began.elapsed() < lengths.at_most) {
        let started = Instant::now();
        let report = step()?;
        times.record(started.elapsed());
        stages.push(report.times);
    }
    let Percentiles { p50, p95, p99, max } = times.percentiles_ms();
    let stage_ms = |stage| median(stages.iter().map(|times| times.of(stage).as_secs_f64() * 1e3).collect());
    Ok(ChunkRow {
        chunk_ms,
        context_ms,
        count: stages.len() as u32,
        warm_up_ms,
        p50_ms: p50,
        p95_ms: p95,
        p99_ms: p99,
        max_ms: max,
        rtf: f64::from(p50) / chunk_ms,
        stages_ms: STAGES.map(stage_ms),
        held: [before, memory.held()],
    })
}

/// The report as a table for people.
#[must_use]
pub fn table(report: &ChunkReport) -> String {
    let Machine { cpu, simd, threads, .. } = &report.machine;
    let mut text = format!("syrinx {} on {}; {cpu}, {simd}, {threads} threads\n", report.version, report.device);
    let _ = writeln!(text, "chunks back to back, after {COLD} that only warm up; times in ms, stages by their medians");
    let _ = writeln!(text, "{}\n", Held::NOTE);
    let names = ["chunk", "context", "p50", "p95", "p99", "max", "RTF", "pitch", "units", "index", "voice", "warm-up"];
    text.extend(names.iter().map(|name| format!("{name:>9}")));
    let _ = write!(text, "{:>8}{:>8}{:>8}{:>8}{:>8}", "count", "memory", "more", "GPU", "more");
    for row in &report.rows {
        text.push('\n');
        text.push_str(&line(row));
    }
    text
}

fn line(row: &ChunkRow) -> String {
    let ChunkRow { chunk_ms, context_ms, warm_up_ms, p50_ms, p95_ms, p99_ms, max_ms, rtf, stages_ms, .. } = row;
    let [pitch, units, index, voice] = stages_ms;
    format!(
        "{chunk_ms:>9.0}{context_ms:>9.0}{p50_ms:>9.2}{p95_ms:>9.2}{p99_ms:>9.2}{max_ms:>9.2}{rtf:>9.4}{pitch:>9.2}\
         {units:>9.2}{index:>9.2}{voice:>9.2}{warm_up_ms:>9.0}{:>8}{}",
        row.count,
        Held::line(row.held)
    )
}

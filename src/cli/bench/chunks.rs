//! `syrinx bench --chunks`: what a live stream takes for each chunk, at several lengths of chunk and context.

use std::fmt::Write;
use std::time::Instant;

use serde::Serialize;

use super::{chirping_vowel, median};
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
const COLD: usize = 8;

/// Lengths to measure, all with all.
#[derive(Clone, Copy, Debug)]
pub struct Lengths<'a> {
    /// New audio of each step in ms.
    pub chunks_ms: &'a [f64],
    /// Past audio that the networks see in ms.
    pub contexts_ms: &'a [f64],
    /// Chunks timed at each.
    pub count: u16,
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
    /// Chunks timed.
    pub count: u16,
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
) -> Result<Vec<ChunkRow>> {
    let mut rows = Vec::new();
    for &context_ms in lengths.contexts_ms {
        for &chunk_ms in lengths.chunks_ms {
            let row = row(converter.clone(), params, [chunk_ms, context_ms], lengths.count)?;
            tracing::info!("{}", line(&row));
            rows.push(row);
        }
    }
    Ok(rows)
}

fn row<B: VoiceOps>(
    converter: Converter<B>,
    params: &ConversionParams,
    [chunk_ms, context_ms]: [f64; 2],
    count: u16,
) -> Result<ChunkRow> {
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
    let mut stream = Stream::new(converter, settings, params)?;
    let samples = stream.geometry().chunk_samples();
    let chunks = COLD + usize::from(count);
    let input = chirping_vowel(chunks as f64 * samples as f64 / f64::from(RATE_HZ) + 0.1, RATE_HZ).samples;
    let mut output = vec![0.0; samples];
    let (mut warm_up_ms, mut times, mut stages) = (0.0, Distribution::default(), Vec::<StageTimes>::new());
    for (index, chunk) in input.chunks_exact(samples).take(chunks).enumerate() {
        let started = Instant::now();
        let report = stream.step(chunk, params, &mut output)?;
        let spent = started.elapsed();
        if index < COLD {
            warm_up_ms += spent.as_secs_f64() * 1e3;
        } else {
            times.record(spent);
            stages.push(report.times);
        }
    }
    let Percentiles { p50, p95, p99, max } = times.percentiles_ms();
    let stage_ms = |stage| median(stages.iter().map(|times| times.of(stage).as_secs_f64() * 1e3).collect());
    Ok(ChunkRow {
        chunk_ms,
        context_ms,
        count,
        warm_up_ms,
        p50_ms: p50,
        p95_ms: p95,
        p99_ms: p99,
        max_ms: max,
        rtf: f64::from(p50) / chunk_ms,
        stages_ms: STAGES.map(stage_ms),
    })
}

/// The report as a table for people.
#[must_use]
pub fn table(report: &ChunkReport) -> String {
    let Machine { cpu, simd, threads, .. } = &report.machine;
    let mut text = format!("syrinx {} on {}; {cpu}, {simd}, {threads} threads\n", report.version, report.device);
    let count = report.rows.first().map_or(0, |row| row.count);
    let _ = writeln!(text, "medians, percentiles and maxima of {count} chunks each; times in ms\n");
    let names = ["chunk", "context", "p50", "p95", "p99", "max", "RTF", "pitch", "units", "index", "voice", "warm-up"];
    text.extend(names.iter().map(|name| format!("{name:>9}")));
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
         {units:>9.2}{index:>9.2}{voice:>9.2}{warm_up_ms:>9.0}"
    )
}

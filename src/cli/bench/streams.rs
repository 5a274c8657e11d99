//! `syrinx bench --streams`: how many live streams one machine converts at once.
//!
//! Each stream is a thread with a converter of its own, whose weights all share (on a GPU every fourth one), and gets its chunks when a device would
//! give them: one every so many ms, the streams' turns spread evenly. What counts is the time from a chunk's last sample to
//! its audio, waiting included: a stream whose 99th percentile of that is longer than a chunk has fallen behind.

use std::fmt::Write;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::chunks::{COLD, Lengths, speech, stream};
use super::{Held, Memory};
use crate::cli::machine::Machine;
use crate::error::{Error, Result};
use crate::nn::ops::VoiceOps;
use crate::params::ConversionParams;
use crate::path::Converter;
use crate::path::stream::Stream;
use crate::telemetry::{Distribution, Percentiles};

/// A stream this late will not catch up: the others are not kept waiting for its end.
const HOPELESS: Duration = Duration::from_secs(2);

/// What was measured of all numbers of streams.
#[derive(Clone, Debug, Serialize)]
pub struct StreamsReport {
    /// Version of Syrinx.
    pub version: String,
    /// Where it ran.
    pub machine: Machine,
    /// Where the networks ran: `cpu`, `cuda:N`.
    pub device: String,
    /// One for each number of streams that was tried.
    pub rows: Vec<StreamsRow>,
}

/// What was measured of some streams at once; times in ms, from a chunk's last sample to its audio.
#[derive(Clone, Debug, Serialize)]
pub struct StreamsRow {
    /// Streams at once.
    pub streams: usize,
    /// New audio of each step.
    pub chunk_ms: f64,
    /// Past audio that the networks see.
    pub context_ms: f64,
    /// Chunks of all streams.
    pub count: u64,
    /// Half of the chunks took at most this.
    pub p50_ms: f32,
    /// 95 % of them.
    pub p95_ms: f32,
    /// 99 % of them.
    pub p99_ms: f32,
    /// All of them.
    pub max_ms: f32,
    /// Chunks that took longer than they last.
    pub late: u64,
    /// Whether 99 % of the chunks were done before the next came.
    pub kept_up: bool,
    /// Memory after what warms up, and after the last chunk.
    pub held: [Held; 2],
}

/// Measures numbers of streams in turn, at each pair of lengths, up to the first that falls behind.
///
/// # Errors
/// Lengths out of their ranges.
pub fn measure<B: VoiceOps>(
    converters: &[Converter<B>],
    params: &ConversionParams,
    lengths: Lengths<'_>,
    numbers: &[usize],
    memory: &Memory,
) -> Result<Vec<StreamsRow>> {
    let mut rows = Vec::new();
    for pair in lengths.pairs() {
        for &number in numbers {
            let row = row(converters, params, pair, number, lengths, memory)?;
            tracing::info!("{}", line(&row));
            let kept_up = row.kept_up;
            rows.push(row);
            if !kept_up {
                break;
            }
        }
    }
    Ok(rows)
}

fn row<B: VoiceOps>(
    converters: &[Converter<B>],
    params: &ConversionParams,
    pair: [f64; 2],
    number: usize,
    lengths: Lengths<'_>,
    memory: &Memory,
) -> Result<StreamsRow> {
    let [chunk_ms, context_ms] = pair;
    let trial = Trial {
        params,
        pair,
        number,
        lengths,
        speech: speech(),
        warm: Barrier::new(number + 1),
        hopeless: AtomicBool::new(false),
    };
    let (mut held, mut times, mut late, mut count) = ([memory.held(); 2], Distribution::default(), 0, 0);
    thread::scope(|scope| {
        let listen = |index: usize| {
            let (trial, converter) = (&trial, converters[index % converters.len()].clone());
            scope.spawn(move || trial.listen(index, converter))
        };
        let streams: Vec<_> = (0..number).map(listen).collect();
        trial.warm.wait();
        held[0] = memory.held();
        trial.warm.wait();
        for stream in streams {
            let took = stream.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            took.iter().for_each(|&time| times.record(time));
            late += took.iter().filter(|&&time| time > trial.length()).count() as u64;
            count += took.len() as u64;
        }
        held[1] = memory.held();
        Ok::<_, Error>(())
    })?;
    let Percentiles { p50, p95, p99, max } = times.percentiles_ms();
    Ok(StreamsRow {
        streams: number,
        chunk_ms,
        context_ms,
        count,
        p50_ms: p50,
        p95_ms: p95,
        p99_ms: p99,
        max_ms: max,
        late,
        kept_up: late * 100 <= count && !trial.hopeless.into_inner(),
        held,
    })
}

/// Some streams at once.
struct Trial<'a> {
    params: &'a ConversionParams,
    pair: [f64; 2],
    number: usize,
    lengths: Lengths<'a>,
    speech: Vec<f32>,
    /// Where all wait for each other once they are warm, and once their memory was counted.
    warm: Barrier,
    hopeless: AtomicBool,
}

impl Trial<'_> {
    /// New audio of each step.
    fn length(&self) -> Duration {
        Duration::from_secs_f64(self.pair[0] * 1e-3)
    }

    /// Runs one stream to its end; returns the time from each chunk's last sample to its audio.
    fn listen<B: VoiceOps>(&self, index: usize, converter: Converter<B>) -> Result<Vec<Duration>> {
        let warmed = self.warmed(converter);
        // Whether it is ready or not: the others wait.
        self.warm.wait();
        self.warm.wait();
        let (mut stream, mut took, began) = (warmed?, Vec::new(), Instant::now());
        let mut due = began + self.length() + self.length().mul_f64(index as f64 / self.number as f64);
        let mut output = vec![0.0; stream.geometry().chunk_samples()];
        // Each hears the speech from another place on.
        let chunks = self.speech.chunks_exact(output.len()).cycle().skip(7 * index);
        for chunk in chunks.take(self.lengths.count as usize) {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            stream.step(chunk, self.params, &mut output)?;
            took.push(due.elapsed());
            if due.elapsed() > HOPELESS {
                self.hopeless.store(true, Ordering::Relaxed);
            }
            if self.hopeless.load(Ordering::Relaxed) || began.elapsed() > self.lengths.at_most {
                break;
            }
            due += self.length();
        }
        Ok(took)
    }

    fn warmed<B: VoiceOps>(&self, converter: Converter<B>) -> Result<Stream<B>> {
        let mut stream = stream(converter, self.params, self.pair)?;
        let mut output = vec![0.0; stream.geometry().chunk_samples()];
        for chunk in self.speech.chunks_exact(output.len()).cycle().take(COLD) {
            stream.step(chunk, self.params, &mut output)?;
        }
        Ok(stream)
    }
}

/// The report as a table for people.
#[must_use]
pub fn table(report: &StreamsReport) -> String {
    let Machine { cpu, simd, threads, .. } = &report.machine;
    let mut text = format!("syrinx {} on {}; {cpu}, {simd}, {threads} threads\n", report.version, report.device);
    let _ = writeln!(text, "chunks in real time, after {COLD} that only warm up; ms from a chunk's end to its audio");
    let _ = writeln!(text, "{}\n", Held::NOTE);
    let names = ["streams", "chunk", "context", "p50", "p95", "p99", "max", "late", "of"];
    text.extend(names.iter().map(|name| format!("{name:>9}")));
    let _ = write!(text, "{:>8}{:>8}{:>8}{:>8}", "memory", "more", "GPU", "more");
    for row in &report.rows {
        let _ = write!(text, "\n{}", line(row));
    }
    for row in &report.rows {
        if let Some(most) = most(&report.rows, row) {
            let _ = write!(text, "\n\nchunks of {} ms with {} ms of context: {most}", row.chunk_ms, row.context_ms);
        }
    }
    text
}

/// What the rows of these lengths say, told where `last` is the last of them.
fn most(rows: &[StreamsRow], last: &StreamsRow) -> Option<String> {
    let alike = |row: &&StreamsRow| row.chunk_ms == last.chunk_ms && row.context_ms == last.context_ms;
    let alike: Vec<&StreamsRow> = rows.iter().filter(alike).collect();
    if !alike.last().is_some_and(|row| std::ptr::eq(*row, last)) {
        return None;
    }
    let most = alike.iter().filter(|row| row.kept_up).map(|row| row.streams).max();
    Some(match (most, last.kept_up) {
        (None, _) => format!("not even {} kept up", last.streams),
        (Some(most), true) => format!("{most} kept up; more were not tried"),
        (Some(most), false) => format!("{most} kept up, {} did not", last.streams),
    })
}

fn line(row: &StreamsRow) -> String {
    let StreamsRow { streams, chunk_ms, context_ms, p50_ms, p95_ms, p99_ms, max_ms, late, count, .. } = row;
    format!(
        "{streams:>9}{chunk_ms:>9.0}{context_ms:>9.0}{p50_ms:>9.2}{p95_ms:>9.2}{p99_ms:>9.2}{max_ms:>9.2}{late:>9}{count:>9}{}",
        Held::line(row.held)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kept_up_is_told_once_for_each_pair_of_lengths() {
        let held = Held { process: 1, gpu: None };
        let row = |streams, context_ms, kept_up| StreamsRow {
            streams,
            chunk_ms: 60.0,
            context_ms,
            count: 10,
            p50_ms: 1.0,
            p95_ms: 1.0,
            p99_ms: 1.0,
            max_ms: 1.0,
            late: 0,
            kept_up,
            held: [held; 2],
        };
        let rows = [
            row(1, 1000.0, true),
            row(2, 1000.0, false),
            row(1, 2500.0, false),
            row(1, 500.0, true),
            row(2, 500.0, true),
        ];
        let told: Vec<Option<String>> = rows.iter().map(|row| most(&rows, row)).collect();
        let told: Vec<Option<&str>> = told.iter().map(Option::as_deref).collect();
        let expected = [
            None,
            Some("1 kept up, 2 did not"),
            Some("not even 1 kept up"),
            None,
            Some("2 kept up; more were not tried"),
        ];
        assert_eq!(told, expected);
    }
}

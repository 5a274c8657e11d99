//! How live conversion keeps time on this machine: every block with every chunk, as a table, a CSV file and a figure.
//!
//! ```sh
//! cargo run --release --example latency -- out                      # the small voice of the tests
//! cargo run --release --example latency -- out alto.pth hubert_base.pt
//! ```
//!
//! Each pair runs the whole live engine over a few seconds of speech at the speed of a clock: graph in a real-time
//! thread, worker beside it. Writes `latency.csv` and `latency.png` into the folder.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use plotters::prelude::*;
use plotters::style::register_font;
use syrinx::dsp::rate::resample;
use syrinx::engine::{Engine, ModelFiles, TrackerFile};
use syrinx::geometry::Timing;
use syrinx::io::live::{DeviceState, FileDevice, Pace};
use syrinx::io::read::read;
use syrinx::io::write::{Container, Encoding, Quantise, SampleFormat, write};
use syrinx::live::{Session, SessionSettings};
use syrinx::nn::Cpu;
use syrinx::path::Converter;
use syrinx::units::Recording;

const RATE_HZ: u32 = 48_000;
const BLOCKS: [usize; 4] = [64, 256, 512, 1024];
const CHUNKS_MS: [u32; 5] = [10, 20, 50, 100, 250];
/// Speech for each pair, in seconds.
const SECONDS: usize = 5;

/// What one pair took.
struct Row {
    block: usize,
    chunk_ms: u32,
    /// What the session reports from the file's sample in to its sample out.
    delay_ms: f64,
    chunk_p50_ms: f32,
    chunk_p99_ms: f32,
    rtf_p99: f32,
    longest_callback_ms: f64,
    xruns: u64,
    starved: u64,
    shed: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let folder = arguments.next().ok_or("give a folder for the results")?;
    let shipped = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let models = ModelFiles {
        voice: arguments.next().unwrap_or_else(|| shipped("tests/data/synth_small_v1_32k.pth")),
        index: None,
        encoder: arguments.next().unwrap_or_else(|| shipped("tests/data/hubert_small_v1.weights.safetensors")),
        tracker: TrackerFile::SwiftF0,
    };
    std::fs::create_dir_all(&folder)?;
    let voice = Engine::<Cpu>::new(Default::default()).converter(&models)?;
    let speech = resample(&read(&shipped("examples/data/syrinx.wav"))?.recording, RATE_HZ)?;
    let samples = speech.samples.into_iter().take(SECONDS * RATE_HZ as usize).collect();
    let scratch = tempfile::tempdir()?;
    let input = scratch.path().join("speech.wav");
    write(&input, &Recording { samples, sample_rate_hz: RATE_HZ }, encoding()?)?;

    println!("block  chunk   delay     p50     p99  RTF p99  longest callback  xruns  starved  shed");
    let mut rows = Vec::new();
    for block in BLOCKS {
        for chunk_ms in CHUNKS_MS {
            let row = measure(&voice, &input, block, chunk_ms)?;
            println!(
                "{block:>5}{chunk_ms:>7}{:>8.1}{:>8.2}{:>8.2}{:>9.2}{:>18.3}{:>7}{:>9}{:>6}",
                row.delay_ms,
                row.chunk_p50_ms,
                row.chunk_p99_ms,
                row.rtf_p99,
                row.longest_callback_ms,
                row.xruns,
                row.starved,
                row.shed
            );
            rows.push(row);
        }
    }
    std::fs::write(folder.join("latency.csv"), csv(&rows)?)?;
    draw(&folder.join("latency.png"), &rows)
}

fn encoding() -> syrinx::Result<Encoding> {
    Encoding::new(Container::Wav, SampleFormat::Float, Quantise::Round)
}

fn measure(voice: &Converter<Cpu>, input: &Path, block: usize, chunk_ms: u32) -> Result<Row, Box<dyn Error>> {
    let device = FileDevice {
        input: input.to_owned(),
        output: input.with_file_name("converted.wav"),
        encoding: encoding()?,
        rate_hz: None,
        block_frames: block,
        pace: Pace::Clock,
    };
    let settings = SessionSettings {
        timing: Timing { chunk: f64::from(chunk_ms) * 1e-3, crossfade: 0.02, context: 0.3 },
        ..SessionSettings::default()
    };
    let mut session = Session::start(Box::new(device), voice.clone(), &settings)?;
    while session.device().telemetry().state != DeviceState::Ended {
        while session.next_event().is_some() {}
        std::thread::sleep(Duration::from_millis(10));
    }
    let (telemetry, latency) = (session.telemetry(), session.latency());
    session.stop().problem.map_or(Ok(()), Err)?;
    Ok(Row {
        block,
        chunk_ms,
        delay_ms: latency.total() as f64 / f64::from(RATE_HZ) * 1e3,
        chunk_p50_ms: telemetry.worker.total_ms.p50,
        chunk_p99_ms: telemetry.worker.total_ms.p99,
        rtf_p99: telemetry.worker.rtf_of(telemetry.worker.total_ms.p99),
        longest_callback_ms: telemetry.graph.longest.as_secs_f64() * 1e3,
        xruns: telemetry.device.xruns,
        starved: telemetry.link.starvation.times,
        shed: telemetry.worker.shed,
    })
}

fn csv(rows: &[Row]) -> Result<String, std::fmt::Error> {
    let mut text = String::from(
        "block_frames,chunk_ms,delay_ms,chunk_p50_ms,chunk_p99_ms,rtf_p99,longest_callback_ms,xruns,starved,shed\n",
    );
    for row in rows {
        let Row { block, chunk_ms, delay_ms, chunk_p50_ms, chunk_p99_ms, rtf_p99, .. } = row;
        write!(text, "{block},{chunk_ms},{delay_ms:.2},{chunk_p50_ms:.3},{chunk_p99_ms:.3},{rtf_p99:.4},")?;
        writeln!(text, "{:.4},{},{},{}", row.longest_callback_ms, row.xruns, row.starved, row.shed)?;
    }
    Ok(text)
}

/// Above, what a chunk takes beside what it lasts; below, the delay that follows.
fn draw(path: &Path, rows: &[Row]) -> Result<(), Box<dyn Error>> {
    let font = include_bytes!("../src/cli/assets/Inter-Regular.subset.otf");
    register_font("sans-serif", FontStyle::Normal, font).map_err(|_| "the font")?;
    let area = BitMapBackend::new(path, (1200, 1400)).into_drawing_area();
    area.fill(&WHITE)?;
    let (upper, lower) = area.split_vertically(700);
    let longest = f64::from(CHUNKS_MS[CHUNKS_MS.len() - 1]);
    let time: fn(&Row) -> f64 = |row| f64::from(row.chunk_p99_ms);
    let delay: fn(&Row) -> f64 = |row| row.delay_ms;
    for (area, title, of) in [(upper, "Time of a chunk (ms), p99", time), (lower, "Delay (ms)", delay)] {
        let most = rows.iter().map(of).fold(1.0, f64::max) * 1.1;
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 28))
            .margin(24)
            .x_label_area_size(56)
            .y_label_area_size(80)
            .build_cartesian_2d(0.0..longest * 1.05, 0.0..most)?;
        chart.configure_mesh().label_style(("sans-serif", 20)).x_desc("Chunk (ms)").draw()?;
        for (index, block) in BLOCKS.into_iter().enumerate() {
            let color = Palette99::pick(index).stroke_width(3);
            let points = rows.iter().filter(|row| row.block == block).map(|row| (f64::from(row.chunk_ms), of(row)));
            chart
                .draw_series(LineSeries::new(points, color))?
                .label(format!("Block {block}"))
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 24, y)], color));
        }
        let mut labels = chart.configure_series_labels();
        labels.label_font(("sans-serif", 20)).border_style(BLACK).background_style(WHITE).draw()?;
    }
    area.present()?;
    Ok(())
}

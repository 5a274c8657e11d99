//! The two joins of live conversion against the whole recording converted at once:
//! `cargo bench --bench joins [-- VOICE ENCODER RECORDING]`.
//!
//! A voice without noise converts a recording offline, then live by each join at several chunks and overlaps. Printed
//! are the delay beside the chunk itself; the distance of the live log-mel spectra to the offline ones, around the seams of chunks
//! and elsewhere; how much rougher the signal is at a seam than elsewhere; and the time a chunk takes. Without arguments
//! the networks are small and untrained, which tells of little but the time.

use std::path::{Path, PathBuf};
use std::time::Instant;

use syrinx::dsp::mel::{FilterBank, LogMel, MelScale};
use syrinx::dsp::rate;
use syrinx::dsp::stft::Stft;
use syrinx::engine::{Engine, ModelFiles, TrackerFile};
use syrinx::geometry::Timing;
use syrinx::nn::Cpu;
use syrinx::params::{ConversionParams, NoiseChoice, Unvoiced};
use syrinx::path::offline::Request;
use syrinx::path::stream::{JoinKind, Stream, StreamSettings};
use syrinx::path::window::WindowSizes;
use syrinx::units::Recording;

/// Chunk and overlap in ms.
const TIMINGS_MS: [(u32, u32); 10] =
    [(20, 10), (20, 40), (50, 10), (50, 40), (100, 10), (100, 20), (100, 40), (100, 90), (250, 50), (250, 90)];

/// How far the seam reaches into the spectra, in seconds: half of one's window.
const SEAM_S: f64 = 0.010;

/// How live audio compares with the offline conversion.
#[allow(clippy::struct_field_names, reason = "all are decibels")]
struct Comparison {
    seam_db: f64,
    elsewhere_db: f64,
    roughness_db: f64,
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let data = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    let mut file = |default: &str| arguments.next().map_or_else(|| data(default), PathBuf::from);
    let files = ModelFiles {
        voice: file("synth_small_v1_32k.pth"),
        encoder: file("hubert_small_v1.weights.safetensors"),
        index: None,
        tracker: TrackerFile::SwiftF0,
    };
    let recording = syrinx::io::read::read(&file("audio/speech1.wav")).expect("a recording").recording;
    let mut engine = Engine::<Cpu>::new(Default::default());
    let mut converter = || engine.converter(&files).expect("models");
    let rate_hz = converter().sample_rate_hz();
    let input = rate::resample(&recording, rate_hz).expect("the voice's rate");
    let params = ConversionParams {
        noise: NoiseChoice::Zero,
        rms_mix_rate: 1.0,
        unvoiced: Unvoiced::Zero,
        ..ConversionParams::default()
    };
    let request = Request {
        recording: &input,
        pitch_curve: None,
        params: &params,
        own_pitch: false,
        sizes: WindowSizes::default(),
        output_rate_hz: None,
    };
    let offline = converter().convert(request, &mut |_| Ok(())).expect("a conversion").audio.samples;

    println!(
        "| chunk (ms) | overlap (ms) | join | delay (ms) | seam (dB) | elsewhere (dB) | roughness (dB) | chunk takes (ms) |"
    );
    println!("|---:|---:|---|---:|---:|---:|---:|---:|");
    for (chunk_ms, overlap_ms) in TIMINGS_MS {
        for (name, join) in [("SOLA", JoinKind::Sola), ("seamless", JoinKind::Seamless)] {
            let settings = StreamSettings {
                rate_hz,
                timing: Timing {
                    chunk: f64::from(chunk_ms) * 1e-3,
                    crossfade: f64::from(overlap_ms) * 1e-3,
                    context: 2.0,
                },
                join,
                gate_db: None,
                rest_db: None,
                denoise_input: false,
                denoise_output: false,
            };
            let mut stream = Stream::new(converter(), settings, &params).expect("a stream");
            let (live, chunk_s) = convert_live(&mut stream, &input, &params);
            let chunk = stream.geometry().chunk_samples();
            let delay = stream.latency_samples() - chunk;
            let compared = compare(&live, &offline, delay, chunk, rate_hz);
            println!(
                "| {chunk_ms} | {overlap_ms} | {name} | {:.0} | {:.2} | {} | {:.2} | {:.1} |",
                delay as f64 * 1e3 / f64::from(rate_hz),
                compared.seam_db,
                if compared.elsewhere_db.is_nan() { "-".into() } else { format!("{:.2}", compared.elsewhere_db) },
                compared.roughness_db,
                chunk_s * 1e3,
            );
        }
    }
}

/// The whole recording chunk by chunk, and the median time of a chunk in seconds.
fn convert_live(stream: &mut Stream<Cpu>, input: &Recording, params: &ConversionParams) -> (Vec<f32>, f64) {
    let chunk = stream.geometry().chunk_samples();
    let mut live = vec![0.0; input.samples.len() / chunk * chunk];
    let mut times = Vec::new();
    for (input, output) in input.samples.chunks_exact(chunk).zip(live.chunks_exact_mut(chunk)) {
        let started = Instant::now();
        stream.step(input, params, output).expect("a chunk");
        times.push(started.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    (live, times[times.len() / 2])
}

/// Compares live with offline audio at the lag that suits best: SOLA shifts chunks by up to one hop.
fn compare(live: &[f32], offline: &[f32], delay: usize, chunk: usize, rate_hz: u32) -> Comparison {
    /// Quietest band that counts.
    const FLOOR: f32 = 1e-3;
    let frame_hop = rate_hz as usize / 400;
    let size = (rate_hz as usize / 50).next_power_of_two();
    let mel = LogMel {
        stft: Stft::new(size, frame_hop),
        bank: FilterBank::mel(MelScale::Slaney, rate_hz, size, 80, [0.0, f64::from(rate_hz) / 2.0]),
        power_offset: 1e-9,
        floor: FLOOR,
    };
    let spectra = mel.compute(live);
    let frames = spectra.len() / 80;
    let in_seam = |frame: usize| {
        let centre = frame * frame_hop + size / 2;
        let offset = (centre % chunk).min(chunk - centre % chunk);
        offset as f64 <= SEAM_S * f64::from(rate_hz)
    };
    let distances = |lag: usize| {
        let mut offline = offline.to_vec();
        offline.splice(0..0, vec![0.0; lag]);
        offline.resize(live.len().max(size), 0.0);
        let expected = mel.compute(&offline);
        let (mut seam, mut elsewhere) = ((0.0, 0_usize), (0.0, 0_usize));
        for frame in 0..frames {
            let pair = spectra[frame * 80..][..80].iter().zip(&expected[frame * 80..][..80]);
            let distance = pair.map(|(a, b)| f64::from((a - b).abs())).sum::<f64>() / 80.0;
            let sum = if in_seam(frame) { &mut seam } else { &mut elsewhere };
            *sum = (sum.0 + distance, sum.1 + 1);
        }
        [seam, elsewhere].map(|(sum, count)| sum / count as f64 * 20.0 / std::f64::consts::LN_10)
    };
    let shortest = delay.saturating_sub(rate_hz as usize / 100);
    let lags = (shortest..=delay).step_by(rate_hz as usize / 1000);
    let best = lags.map(distances).min_by(|a, b| (a[0] + a[1].max(0.0)).total_cmp(&(b[0] + b[1].max(0.0))));
    let [seam_db, elsewhere_db] = best.unwrap_or_default();
    Comparison { seam_db, elsewhere_db, roughness_db: roughness(live, chunk, rate_hz) }
}

/// Energy of the second difference within a millisecond of a seam, against that in the middle of chunks.
fn roughness(live: &[f32], chunk: usize, rate_hz: u32) -> f64 {
    let reach = rate_hz as usize / 1000;
    let around = |place: usize| -> f64 {
        let energy = |centre: usize| {
            live[centre - reach..centre + reach]
                .windows(3)
                .map(|w| f64::from(w[2] - 2.0 * w[1] + w[0]).powi(2))
                .sum::<f64>()
        };
        (1..live.len() / chunk).map(|index| energy(index * chunk + place - chunk / 2)).sum()
    };
    // A chunk begins at half a chunk from its middle.
    10.0 * (around(chunk / 2) / around(0).max(f64::MIN_POSITIVE)).log10()
}

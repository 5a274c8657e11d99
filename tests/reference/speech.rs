//! Human speech: other sentences every time, converted with networks of full size, and tracked by the published ones.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use assert_cmd::Command;
use syrinx::checkpoint::pitch::PitchNetwork;
use syrinx::dsp::yin::Yin;
use syrinx::engine::{Engine, ModelFiles, TrackerFile};
use syrinx::io::read::read;
use syrinx::nn::Cpu;
use syrinx::nn::swift_f0::SwiftF0;
use syrinx::params::{ConversionParams, Lengths, NoiseChoice, Unvoiced};
use syrinx::path::offline::Request;
use syrinx::path::pitch::Tracker;
use syrinx::path::window::WindowSizes;
use syrinx::units::Recording;

use crate::fresh::STEPS;
use crate::published;
use crate::python::{compare_pitch, models, run, seed};
use crate::support::{Golden, cents};

/// Rate of the seeded voice of full size.
const VOICE_RATE_HZ: u32 = 40_000;
/// Cents by which the excerpt's pitch may differ from the reference's: sums through some sixty layers, and our own mel.
const CENTS: f64 = 0.01;

/// 30 to 45 s of prompts.
static SPEECH: LazyLock<PathBuf> = LazyLock::new(|| run("speech", &[&models()]).join("speech.wav"));
/// What the reference made of an excerpt.
static EXCERPT: LazyLock<PathBuf> = LazyLock::new(|| run("convert_speech", &[&SPEECH, &weights()]));

/// The folder of seeded checkpoints of full size.
fn weights() -> PathBuf {
    models().join("seeded")
}

fn speech() -> Recording {
    read(&SPEECH).expect("a recording").recording
}

#[test]
fn the_program_converts_half_a_minute_of_speech_and_reports_it() {
    let rmvpe = EXCERPT.join("rmvpe.pt");
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let mut command = Command::new(env!("CARGO_BIN_EXE_syrinx"));
    command.arg("convert").arg(&*SPEECH).arg("-o").arg(at("out.wav"));
    command.arg("--voice").arg(weights().join("voice.pth")).arg("--encoder").arg(weights().join("hubert"));
    command.args(["--f0", "rmvpe", "--pitch-model"]).arg(rmvpe);
    command.arg("--report").arg(at("report.json")).arg("--plot").arg(at("plot.png"));
    command.assert().success();

    let (input, output) = (speech(), read(&at("out.wav")).expect("an output").recording);
    assert!(input.seconds() > 25.0, "{} s", input.seconds());
    assert_eq!(output.sample_rate_hz, VOICE_RATE_HZ);
    assert_eq!(output.samples.len() * 2, input.samples.len() * 5, "40 kHz from 16 kHz");
    // The envelope of speech is in the voice: seconds with speech are loud, and nothing is silent throughout.
    let loudness = |samples: &[f32]| (samples.iter().map(|v| v * v).sum::<f32>() / samples.len() as f32).sqrt();
    assert!(output.samples.iter().all(|v| v.is_finite() && v.abs() <= 1.0));
    let per_second = |recording: &Recording| -> Vec<f32> {
        recording.samples.chunks_exact(recording.sample_rate_hz as usize).map(loudness).collect()
    };
    let (heard, made) = (per_second(&input), per_second(&output));
    assert!(made.iter().zip(&heard).all(|(made, heard)| *heard < 0.01 || *made > 0.003), "{made:?} of {heard:?}");

    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(at("report.json")).unwrap()).unwrap();
    let file = &report["files"][0];
    let number = |value: &serde_json::Value| value.as_f64().unwrap_or_else(|| panic!("{report:#}"));
    assert!((number(&file["audio_seconds"]) - input.seconds()).abs() < 1e-9, "{report:#}");
    assert!((number(&file["output_seconds"]) - input.seconds()).abs() < 1e-9, "{report:#}");
    assert_eq!((&file["input_rate_hz"], &file["output_rate_hz"]), (&16_000.into(), &VOICE_RATE_HZ.into()));
    assert_eq!(report["failures"], serde_json::json!([]));
    assert!(number(&report["load_seconds"]) > 0.0 && number(&report["peak_memory_bytes"]) > 5e8, "{report:#}");
    let stages = file["stages"].as_array().expect("stages");
    let spent = |name: &str| number(&stages.iter().find(|stage| stage["name"] == name).expect("a stage")["seconds"]);
    assert!(["pitch", "units", "synthesizer"].iter().all(|name| spent(name) > 0.0), "{report:#}");
    let (total, seconds) =
        (stages.iter().map(|stage| number(&stage["seconds"])).sum::<f64>(), number(&file["seconds"]));
    assert!(total <= seconds && total > 0.9 * seconds, "{total} s in stages of {seconds} s");
    let rtf = number(&file["rtf"]);
    assert!((rtf * input.seconds() / seconds - 1.0).abs() < 1e-6, "{report:#}");
    println!("{:.1} s of speech in {seconds:.1} s, RTF {rtf:.2}", input.seconds());
    let plot = std::fs::read(at("plot.png")).expect("a figure");
    assert!(plot.starts_with(b"\x89PNG") && plot.len() > 10_000, "{} bytes", plot.len());
}

#[test]
fn an_excerpt_is_converted_as_the_reference_converts_it() {
    let golden = Golden::at(&EXCERPT.join("excerpt.safetensors"));
    let files = ModelFiles {
        voice: weights().join("voice.pth"),
        index: None,
        encoder: weights().join("hubert"),
        tracker: TrackerFile::Network(PitchNetwork::Rmvpe, EXCERPT.join("rmvpe.pt")),
    };
    let params = ConversionParams {
        noise: NoiseChoice::Zero,
        unvoiced: Unvoiced::Zero,
        lengths: Lengths::Reference,
        ..ConversionParams::default()
    };
    let recording = Recording { samples: golden.f32("wav"), sample_rate_hz: 16_000 };
    let sizes = WindowSizes::default();
    let request = Request { recording: &recording, pitch_curve: None, params: &params, sizes, output_rate_hz: None };
    let mut converter = Engine::<Cpu>::new(Default::default()).converter(&files).expect("a converter");
    let conversion = converter.convert(request, &mut |_| Ok(())).expect("a conversion");

    let (found, expected) = (conversion.audio.samples, golden.i64("pcm"));
    assert_eq!(found.len(), expected.len(), "length");
    let f0_hz = golden.f32("f0");
    let hops = conversion.f0_before_hz.len();
    compare_pitch("excerpt, pitch", &conversion.f0_before_hz, &f0_hz[sizes.pad / 160..][..hops], CENTS);
    let differences: Vec<i32> =
        found.iter().zip(&expected).map(|(f, &e)| ((f * 32_768.0) as i32 - e as i32).abs()).collect();
    let power = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>();
    let signal = power(&mut expected.iter().map(|&v| v as f64));
    let snr_db = 10.0 * (signal / power(&mut differences.iter().map(|&v| f64::from(v)))).log10();
    let allowed = STEPS + golden.i64("last_bit")[0] as i32;
    let worst = differences.iter().max().expect("audio");
    let loudest = expected.iter().map(|step| step.abs()).max().expect("audio");
    let seconds = recording.seconds();
    println!(
        "excerpt of {seconds:.2} s up to {loudest} steps: differs by {worst} steps, allowed {allowed}, {snr_db:.0} dB below"
    );
    assert!(*worst <= allowed, "seed {}: differs by {worst} steps", seed());
}

/// The pitch that `tracker` gives the speech.
fn track(tracker: &Tracker<Cpu>) -> Vec<f32> {
    tracker.track(&speech().samples).expect("a track")
}

/// How two tracks agree.
#[derive(Debug)]
struct Agreement {
    /// Share of frames whose voicing is equal.
    voicing: f64,
    /// Share of frames voiced in both that are within a semitone of each other.
    near: f64,
    /// Correlation of pitch in cents over frames voiced in both.
    correlation: f64,
}

fn agreement(a: &[f32], b: &[f32]) -> Agreement {
    assert_eq!(a.len(), b.len());
    let same = a.iter().zip(b).filter(|(a, b)| (**a > 0.0) == (**b > 0.0)).count();
    let both: Vec<(f64, f64)> = a
        .iter()
        .zip(b)
        .filter(|(a, b)| **a > 0.0 && **b > 0.0)
        .map(|(&a, &b)| (cents(a, 100.0), cents(b, 100.0)))
        .collect();
    let count = both.len() as f64;
    let near = both.iter().filter(|(a, b)| (a - b).abs() < 100.0).count() as f64 / count;
    let mean = |pick: fn(&(f64, f64)) -> f64| both.iter().map(pick).sum::<f64>() / count;
    let (mean_a, mean_b) = (mean(|p| p.0), mean(|p| p.1));
    let product = |f: &dyn Fn(f64, f64) -> f64| both.iter().map(|(a, b)| f(a - mean_a, b - mean_b)).sum::<f64>();
    let correlation = product(&|a, b| a * b) / (product(&|a, _| a * a) * product(&|_, b| b * b)).sqrt();
    Agreement { voicing: same as f64 / a.len() as f64, near, correlation }
}

#[test]
fn published_trackers_hear_the_pitch_that_their_packages_hear_in_it_and_the_others_agree() {
    let folder = run("track_speech", &[&SPEECH, &models()]);
    let golden = Golden::at(&folder.join("tracks.safetensors"));
    let fcpe = track(&Tracker::Fcpe(Arc::new(published::fcpe())));
    assert_same_pitch("fcpe", &fcpe, &golden.f32("fcpe"));
    assert_same_pitch("crepe", &track(&Tracker::Crepe(Arc::new(published::crepe("tiny")))), &golden.f32("crepe"));

    let swift = track(&Tracker::SwiftF0(Arc::new(SwiftF0::embedded(&Default::default()).expect("embedded weights"))));
    let yin = track(&Tracker::Yin(Arc::new(Yin::default())));
    for (name, found) in [("swift", &swift), ("yin", &yin)] {
        for package in ["fcpe", "crepe"] {
            let agreement = agreement(found, &golden.f32(package));
            println!("{name} and {package}: {agreement:.3?}");
            let Agreement { voicing, near, correlation } = agreement;
            let agrees = voicing > 0.75 && near > 0.9 && correlation > 0.9;
            assert!(agrees, "seed {}: {name} and {package}: {agreement:?}", seed());
        }
    }
}

/// Asserts the same voicing and pitch but for the few frames whose decision hangs on rounding.
#[track_caller]
fn assert_same_pitch(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    let differs = |(a, b): &(&f32, &f32)| if **b > 0.0 { **a <= 0.0 || cents(**a, **b).abs() > 1.0 } else { **a > 0.0 };
    let others = found.iter().zip(expected).filter(differs).count();
    println!("{what} of {} frames: {others} differ by more than a cent", found.len());
    assert!(others * 200 <= found.len(), "seed {}: {what}: {others} of {} frames differ", seed(), found.len());
}

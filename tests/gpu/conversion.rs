//! Whole conversions by the built-in voice: a recording, and a stream.

use std::path::Path;
use std::time::Instant;

use syrinx::engine::{Engine, ModelFiles, TrackerFile};
use syrinx::geometry::Timing;
use syrinx::io::read::read;
use syrinx::nn::Cpu;
use syrinx::nn::ops::VoiceOps;
use syrinx::params::{ConversionParams, NoiseChoice};
use syrinx::path::Converter;
use syrinx::path::offline::Request;
use syrinx::path::stream::{JoinKind, Stream, StreamSettings};
use syrinx::path::window::WindowSizes;
use syrinx::units::Recording;

use crate::device::on_each_backend;
use crate::support::relative_error;

/// What a whole conversion may be off, the pitch tracked by each itself: five times what an H100 was.
const AUDIO: f64 = 2e-2;
/// The pitch that is read off the same audio, in cents; an H100 was off by 0.001.
const CENTS: f64 = 0.05;

fn params() -> ConversionParams {
    ConversionParams { noise: NoiseChoice::Zero, index_rate: 0.1, transpose_semitones: -3.0, ..Default::default() }
}

fn converter<B: VoiceOps>(device: B::Device) -> Converter<B> {
    let files = ModelFiles {
        voice: "models/default/joe.pth".into(),
        index: Some("models/default/units.index".into()),
        encoder: "models/default/encoder".into(),
        tracker: TrackerFile::SwiftF0,
    };
    Engine::<B>::new(device).converter(&files).expect("the built-in voice")
}

/// The first seconds of a speech.
fn speech(seconds: usize) -> Recording {
    let mut recording = read(Path::new("examples/data/inaugural.wav")).expect("a recording").recording;
    recording.samples.truncate(seconds * recording.sample_rate_hz as usize);
    recording
}

#[test]
fn a_recording() {
    on_each_backend!(|B, device, name| { convert_a_recording::<B>(name, device) });
}

fn convert_a_recording<B: VoiceOps>(name: &str, device: &B::Device) {
    let (mut cpu, mut gpu) = (converter::<Cpu>(Default::default()), converter::<B>(device.clone()));
    let (recording, params) = (speech(8), params());
    let request = |pitch_curve| Request {
        recording: &recording,
        pitch_curve,
        params: &params,
        own_pitch: false,
        sizes: WindowSizes::default(),
        output_rate_hz: None,
    };
    let started = Instant::now();
    let expected = cpu.convert(request(None), &mut |_| Ok(())).expect("a conversion");
    let cpu_seconds = started.elapsed().as_secs_f64();
    // Both by the same curve: it has none of the padding's pitch, so the phase begins otherwise than by a tracker.
    let curve = expected.f0_before_hz.as_slice();
    let expected_by_curve = cpu.convert(request(Some(curve)), &mut |_| Ok(())).expect("a conversion");
    let mut seconds = Vec::new();
    let mut convert = |curve| {
        let started = Instant::now();
        let converted = gpu.convert(request(curve), &mut |_| Ok(())).expect("a conversion");
        seconds.push(started.elapsed().as_secs_f64());
        converted
    };
    let tracked = convert(None);
    let by_curve = [convert(Some(curve)), convert(Some(curve))].map(|converted| converted.audio.samples);
    let error = relative_error(&tracked.audio.samples, &expected.audio.samples);
    let error_by_curve = relative_error(&by_curve[0], &expected_by_curve.audio.samples);
    println!(
        "| the built-in voice, a recording of 8 s, {name}: off by {error:.2e}, by one curve {error_by_curve:.2e}, of {AUDIO:.0e} | \
         GPU RTF {:.4} at last, {seconds:.2?} s; CPU RTF {:.4} |",
        seconds[2] / 8.0,
        cpu_seconds / 8.0
    );
    assert_eq!(by_curve[0], by_curve[1], "the same conversion differs from itself");
    let both = expected.f0_before_hz.iter().zip(&tracked.f0_before_hz);
    let voiced: Vec<_> = both.filter(|(cpu, gpu)| **cpu > 0.0 && **gpu > 0.0).collect();
    let hops = expected.f0_before_hz.iter().filter(|hz| **hz > 0.0).count();
    assert!(voiced.len() + hops / 100 >= hops, "{} of {hops} hops are voiced on both", voiced.len());
    let worst = voiced.iter().map(|(cpu, gpu)| 1200.0 * f64::from(*gpu / *cpu).log2().abs()).fold(0.0, f64::max);
    println!(
        "| pitch by SwiftF0, {name}: off by at most {worst:.3} cents of {CENTS} on {} voiced hops |",
        voiced.len()
    );
    assert!(worst < CENTS, "the pitch is off by {worst} cents");
    assert!(error <= AUDIO && error_by_curve <= AUDIO, "off by {error:e}, by one curve {error_by_curve:e}");
}

/// The stream's output, and the longest of its chunks but the first ten, in ms.
fn stream<B: VoiceOps>(converter: Converter<B>, input: &Recording) -> (Vec<f32>, f64) {
    let settings = StreamSettings {
        rate_hz: input.sample_rate_hz,
        timing: Timing { chunk: 0.1, crossfade: 0.04, context: 1.0 },
        join: JoinKind::Seamless,
        gate_db: None,
        rest_db: None,
        denoise_input: false,
        denoise_output: false,
    };
    let mut stream = Stream::new(converter, settings, &params()).expect("a stream");
    let samples = stream.geometry().chunk_samples();
    let (mut output, mut longest) = (Vec::new(), 0.0_f64);
    for (index, chunk) in input.samples.chunks_exact(samples).enumerate() {
        let (mut converted, started) = (vec![0.0; samples], Instant::now());
        stream.step(chunk, &params(), &mut converted).expect("a step");
        if index >= 10 {
            longest = longest.max(started.elapsed().as_secs_f64() * 1e3);
        }
        output.extend(converted);
    }
    (output, longest)
}

#[test]
fn a_stream() {
    on_each_backend!(|B, device, name| { convert_a_stream::<B>(name, device) });
}

fn convert_a_stream<B: VoiceOps>(name: &str, device: &B::Device) {
    let input = speech(4);
    let (expected, cpu_ms) = stream(converter::<Cpu>(Default::default()), &input);
    let (found, gpu_ms) = stream(converter::<B>(device.clone()), &input);
    let error = relative_error(&found, &expected);
    println!(
        "| the built-in voice, a stream of 100 ms chunks, {name}: off by {error:.2e} of {AUDIO} | longest chunk: GPU \
         {gpu_ms:.1} ms, CPU {cpu_ms:.1} ms |"
    );
    assert!(error <= AUDIO, "off by {error:e}");
}

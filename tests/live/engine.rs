//! The whole of live conversion with real networks: graph, link, worker, path.

use std::sync::Arc;

use syrinx::engine::{Engine, ModelFiles, TrackerFile};
use syrinx::geometry::Timing;
use syrinx::nn::Cpu;
use syrinx::params::{ConversionParams, NoiseChoice};
use syrinx::path::Converter;
use syrinx::path::stream::{JoinKind, Stream, StreamSettings};

use crate::support::{Bench, RATE_HZ};

fn data(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn converter() -> Converter<Cpu> {
    let files = ModelFiles {
        voice: data("synth_small_v1_32k.pth"),
        index: None,
        encoder: data("hubert_small_v1.weights.safetensors"),
        tracker: TrackerFile::Yin,
    };
    Engine::<Cpu>::new(Default::default()).converter(&files).expect("a converter")
}

fn params() -> ConversionParams {
    ConversionParams { noise: NoiseChoice::Zero, ..ConversionParams::default() }
}

fn stream(chunk: f64) -> Stream<Cpu> {
    let settings = StreamSettings {
        rate_hz: RATE_HZ,
        timing: Timing { chunk, crossfade: 0.05, context: 0.5 },
        join: JoinKind::Sola,
        gate_db: None,
        rest_db: Some(-70.0),
        denoise_input: false,
        denoise_output: false,
    };
    Stream::new(converter(), settings, &params()).expect("a stream")
}

/// Speech at the device's rate, with a second of silence after it.
fn speech() -> Vec<f32> {
    let recording = syrinx::io::read::read(&data("audio/speech1.wav")).expect("a recording").recording;
    let mut samples = syrinx::dsp::rate::resample(&recording, RATE_HZ).expect("speech").samples;
    samples.truncate(2 * RATE_HZ as usize);
    samples.resize(3 * RATE_HZ as usize, 0.0);
    samples
}

#[test]
fn the_graph_plays_what_the_path_gives_chunk_by_chunk() {
    let speech = speech();
    for (chunk_s, block) in [(0.02, 256), (0.1, 1024)] {
        let mut alone = stream(chunk_s);
        let chunk = alone.geometry().chunk_samples();
        let mut expected = vec![0.0; speech.len()];
        let mut rested = 0;
        for (input, output) in speech.chunks_exact(chunk).zip(expected.chunks_exact_mut(chunk)) {
            rested += usize::from(alone.step(input, &params(), output).expect("a step").rested);
        }
        let latency = alone.latency_samples() - chunk;
        let mut bench = Bench::new(stream(chunk_s), latency, 2 * chunk + block, params());
        bench.freewheel(true);
        speech.chunks(block).for_each(|input| bench.block(input));
        let lead = bench.latency - latency;
        let heard = &bench.played[lead..];
        assert!(heard == &expected[..heard.len()], "chunks of {chunk_s} s");

        // The last second is silent but for the first tenth, in which what was said before is still rendered.
        let silent = rested as f64 * chunk_s;
        assert!((0.8..1.5).contains(&silent), "{silent} s rested");
        assert!(expected[speech.len() - RATE_HZ as usize / 2..].iter().all(|&value| value == 0.0));
        let telemetry = bench.worker.telemetry();
        assert_eq!((telemetry.shed, telemetry.failed), (0, 0));
        assert!(telemetry.total_ms.p50 > 0.0 && telemetry.total_ms.p50 <= telemetry.total_ms.max);
    }
}

#[test]
fn a_voice_is_replaced_without_a_click() {
    let speech = speech();
    let mut stream = stream(0.1);
    let chunk = stream.geometry().chunk_samples();
    let largest_step = |samples: &[f32]| samples.windows(2).map(|p| (p[1] - p[0]).abs()).fold(0.0, f32::max);
    let mut convert = |replace_at: Option<usize>| {
        stream.reset();
        let mut played = vec![0.0; speech.len() / chunk * chunk];
        for (index, (input, output)) in speech.chunks_exact(chunk).zip(played.chunks_exact_mut(chunk)).enumerate() {
            if Some(index) == replace_at {
                let mut other = converter();
                other.tracker = syrinx::path::pitch::Tracker::Yin(Arc::default());
                drop(stream.replace(other, &params()));
            }
            stream
                .step(
                    input,
                    &ConversionParams { speaker: usize::from(replace_at.is_some_and(|at| index >= at)), ..params() },
                    output,
                )
                .expect("a step");
        }
        played
    };
    let (one, both) = (convert(None), convert(Some(10)));
    assert_eq!(one[..10 * chunk], both[..10 * chunk]);
    assert_ne!(one[11 * chunk..], both[11 * chunk..]);
    let around = &both[9 * chunk..12 * chunk];
    assert!(largest_step(around) <= 1.5 * largest_step(&one), "{} {}", largest_step(around), largest_step(&one));
}

//! The stages of the path with networks of full size: `cargo bench --bench stages [-- name]`.
//!
//! Each stage converts two seconds of speech; throughput is in samples of 16 kHz audio, so 16 kelem/s is real time.
//! `RAYON_NUM_THREADS` sets the threads. The networks are untrained, which costs the same time.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime};
use half::f16;
use safetensors::tensor::{Dtype, TensorView};
use syrinx::checkpoint::index::{Index, Metric};
use syrinx::checkpoint::seeded;
use syrinx::checkpoint::voice::{self, Version};
use syrinx::dsp::{envelope, rate, yin::Yin};
use syrinx::engine::Engine;
use syrinx::geometry::{Geometry, Timing};
use syrinx::nn::Cpu;
use syrinx::nn::crepe::Crepe;
use syrinx::nn::fcpe::Fcpe;
use syrinx::nn::hubert::{Hubert, Projection};
use syrinx::nn::rmvpe::Rmvpe;
use syrinx::nn::swift_f0::SwiftF0;
use syrinx::nn::synthesizer::Synthesizer;
use syrinx::params::{ConversionParams, NoiseChoice};
use syrinx::path::join::Sola;
use syrinx::path::pitch::Tracker;
use syrinx::path::retrieval::{Retrieval, SmallCell};
use syrinx::path::stream::{JoinKind, Stream, StreamSettings};
use syrinx::path::synth::{Rendering, SourcePhase, Synth};
use syrinx::path::units::UnitEncoder;
use syrinx::path::{Converter, sink, source};
use syrinx::units::{Pitch, Recording, Units};

const RATE_HZ: usize = 16_000;
const SECONDS: usize = 2;
const HOPS: usize = 100 * SECONDS;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn speech() -> Vec<f32> {
    let recording = syrinx::io::read::read(&data("audio/speech1.wav")).expect("a recording").recording;
    rate::resample(&recording, RATE_HZ as u32).expect("16 kHz").samples[..SECONDS * RATE_HZ].to_vec()
}

fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.sample_size(10).throughput(Throughput::Elements((SECONDS * RATE_HZ) as u64));
    group
}

fn source_stage(criterion: &mut Criterion) {
    let samples = speech().iter().flat_map(|&value| [value; 3]).collect();
    let recording = Recording { samples, sample_rate_hz: 48_000 };
    assert_eq!(source::prepare(&recording).expect("audio").len(), SECONDS * RATE_HZ);
    group(criterion, "source").bench_function("from 48 kHz", |b| b.iter(|| source::prepare(black_box(&recording))));
}

fn encoder() -> Hubert<Cpu> {
    let file = seeded::encoder(Version::V2);
    Hubert::load(&file.tensors.weights(), &file.config, Projection::Layer12, &Default::default()).expect("an encoder")
}

fn units_stage(criterion: &mut Criterion) {
    let (encoder, audio) = (UnitEncoder::new(Arc::new(encoder())), speech());
    assert_eq!(encoder.extract(&audio).expect("units").count(), 99);
    group(criterion, "units").bench_function("hubert", |b| b.iter(|| encoder.extract(black_box(&audio))));
}

fn rmvpe() -> Tracker<Cpu> {
    Tracker::Rmvpe(Arc::new(Rmvpe::load(&seeded::rmvpe().weights(), &Default::default()).expect("a network")))
}

fn pitch_stage(criterion: &mut Criterion) {
    let audio = speech();
    let swift = Tracker::SwiftF0(Arc::new(SwiftF0::embedded(&Default::default()).expect("embedded weights")));
    let yin = Tracker::<Cpu>::Yin(Arc::new(Yin::default()));
    let mut group = group(criterion, "pitch");
    let device = Default::default();
    let fcpe = Tracker::Fcpe(Arc::new(Fcpe::load(&seeded::fcpe().weights(), &device).expect("a network")));
    let crepe = Tracker::Crepe(Arc::new(Crepe::load(&seeded::crepe().weights(), &device).expect("a network")));
    let trackers = [("rmvpe", rmvpe()), ("fcpe", fcpe), ("crepe", crepe), ("swift", swift), ("yin", yin)];
    for (name, tracker) in trackers {
        assert_eq!(tracker.track(&audio).expect("a track").len(), HOPS + 1);
        group.bench_function(name, |b| b.iter(|| tracker.track(black_box(&audio))));
    }
}

/// An index of the size that some twenty minutes of training audio give: rows scattered around 128 centroids.
fn index(rows: usize, dim: usize) -> Index {
    const LISTS: usize = 128;
    let value = |n: usize| ((n as u32).wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0;
    let centroids: Vec<f32> = (0..LISTS * dim).map(value).collect();
    let vectors = (0..rows * dim).map(|n| centroids[n / dim * LISTS / rows * dim + n % dim] + 0.3 * value(7 * n));
    Index {
        path: "twenty minutes".into(),
        dim,
        metric: Metric::L2,
        nprobe: 1,
        vectors: vectors.collect(),
        ids: (0..rows as i64).collect(),
        offsets: (0..=LISTS).map(|list| (list * rows).div_ceil(LISTS)).collect(),
        centroids,
    }
}

fn retrieval_stage(criterion: &mut Criterion) {
    const ROWS: usize = 50_000;
    let index = Arc::new(index(ROWS, 768));
    let retrieval = Retrieval::<Cpu>::new(index.clone(), 768, &Default::default()).expect("a retrieval");
    let values = (0..99).flat_map(|row| index.row(row * ROWS / 99).iter().map(|value| value * 0.9)).collect();
    let units = Units { values, dim: 768 };
    let mut blended = units.clone();
    retrieval.blend(&mut blended, 0, 0.75, SmallCell::Blend);
    assert!(blended != units, "nothing was retrieved");
    group(criterion, "retrieval").bench_function("50 000 rows", |b| {
        b.iter(|| {
            blended.clone_from(&units);
            retrieval.blend(&mut blended, 0, 0.75, SmallCell::Blend);
        });
    });
}

fn seeded_voice() -> Arc<Synthesizer<Cpu>> {
    let file = seeded::voice();
    Arc::new(Synthesizer::load(&file.tensors.weights(), &file.config, &Default::default()).expect("a voice"))
}

fn synth_stage(criterion: &mut Criterion) {
    let mut synth = Synth::new(seeded_voice());
    synth.restart_noise(NoiseChoice::Seeded(0));
    let content = Units { values: (0..HOPS * 768).map(|n| (n % 97) as f32 / 97.0 - 0.5).collect(), dim: 768 };
    let pitch = Pitch { f0_hz: vec![140.0; HOPS], coarse: vec![60; HOPS] };
    let rendering = Rendering { head_hops: 0, tail_hops: 0, phase: SourcePhase::FromWindow };
    let params = ConversionParams::default();
    group(criterion, "synth").bench_function("v2, 40 kHz", |b| {
        b.iter(|| {
            let audio = synth.render(black_box(&content), &pitch, rendering, &params).expect("audio");
            assert_eq!(audio.len(), HOPS * 400);
            audio
        });
    });
}

fn join_stage(criterion: &mut Criterion) {
    let geometry = Geometry::new(48_000, Timing::default()).expect("sizes");
    let mut join = Sola::new(&geometry);
    let rendered: Vec<f32> = (0..geometry.rendered_hops() * 480).map(|n| (n as f32 * 0.02).sin()).collect();
    let mut output = vec![0.0; geometry.chunk_samples()];
    let mut group = criterion.benchmark_group("join");
    group.throughput(Throughput::Elements(output.len() as u64 / 3));
    group.bench_function("sola, 250 ms at 48 kHz", |b| b.iter(|| join.step(black_box(&rendered), &mut output)));
}

/// What a whole recording goes through at its end: loudness, rate, peak.
fn sink_stage(criterion: &mut Criterion) {
    let input = speech();
    let voice: Vec<f32> = (0..SECONDS * 40_000).map(|n| (n as f32 * 0.02).sin()).collect();
    group(criterion, "sink").bench_function("40 kHz to 48 kHz", |b| {
        b.iter(|| {
            let mut samples = voice.clone();
            envelope::mix(black_box(&input), RATE_HZ as u32, &mut samples, 40_000, 0.25);
            let mut finished = rate::resample(&Recording { samples, sample_rate_hz: 40_000 }, 48_000).expect("a rate");
            sink::limit(&mut finished.samples);
            assert_eq!(finished.samples.len(), SECONDS * 48_000);
            finished
        });
    });
}

/// One chunk of the reference's real-time loop at its default sizes.
fn live_chunk(criterion: &mut Criterion) {
    let converter = Converter {
        units: UnitEncoder::new(Arc::new(encoder())),
        retrieval: None,
        tracker: rmvpe(),
        synth: Synth::new(seeded_voice()),
    };
    let settings = StreamSettings {
        rate_hz: 48_000,
        timing: Timing::default(),
        join: JoinKind::Sola,
        gate_db: None,
        rest_db: None,
        denoise_input: false,
        denoise_output: false,
    };
    let params = ConversionParams { rms_mix_rate: 0.0, ..ConversionParams::default() };
    let mut stream = Stream::new(converter, settings, &params).expect("a stream");
    let chunk: Vec<f32> = (0..stream.geometry().chunk_samples()).map(|n| (n as f32 * 0.018).sin() * 0.2).collect();
    let mut output = vec![0.0; chunk.len()];
    let mut group = criterion.benchmark_group("live");
    group.sample_size(10).throughput(Throughput::Elements(chunk.len() as u64 / 3));
    group.bench_function("250 ms, context 2.5 s", |b| b.iter(|| stream.step(black_box(&chunk), &params, &mut output)));
}

/// A voice of full size as it is published: 55 MB of 16-bit values.
fn save_voice(path: &Path) {
    let file = seeded::voice();
    let halves: Vec<(String, Vec<usize>, Vec<u8>)> = (file.tensors.iter())
        .map(|(name, tensor)| {
            let halves = tensor.to_f32().into_iter().flat_map(|value| f16::from_f32(value).to_le_bytes());
            (name.to_owned(), tensor.shape.clone(), halves.collect())
        })
        .collect();
    let views = halves.iter().map(|(name, shape, bytes)| {
        (name.as_str(), TensorView::new(Dtype::F16, shape.clone(), bytes).expect("a tensor"))
    });
    let bytes = safetensors::serialize(views, Some(voice::metadata(&file.config))).expect("safetensors");
    assert!((50_000_000..60_000_000).contains(&bytes.len()), "{} bytes", bytes.len());
    std::fs::write(path, bytes).expect("a file");
}

fn loading(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("voice.safetensors");
    save_voice(&path);
    let mut engine = Engine::<Cpu>::new(Default::default());
    engine.voice(&path).expect("a voice");
    let mut group = criterion.benchmark_group("load");
    group.sample_size(10);
    let cold = || Engine::<Cpu>::new(Default::default()).voice(&path).expect("a voice");
    group.bench_function("voice of 55 MB", |b| b.iter(cold));
    group.bench_function("the same, cached", |b| b.iter(|| engine.voice(black_box(&path))));
}

criterion_group!(
    benches,
    source_stage,
    units_stage,
    pitch_stage,
    retrieval_stage,
    synth_stage,
    join_stage,
    sink_stage,
    live_chunk,
    loading
);
criterion_main!(benches);

//! Every network on the backend that notes operations, on the stand-in, against the CPU's: the first run, the one whose
//! launches are kept, and those that repeat them.

use std::path::{Path, PathBuf};

use syrinx::checkpoint::Tensors;
use syrinx::checkpoint::hubert::EncoderCheckpoint;
use syrinx::checkpoint::voice::VoiceCheckpoint;
use syrinx::engine::{Engine, ModelFiles, TrackerFile};
use syrinx::geometry::Timing;
use syrinx::nn::Cpu;
use syrinx::nn::crepe::Crepe;
use syrinx::nn::fcpe::Fcpe;
use syrinx::nn::hubert::{Hubert, Projection};
use syrinx::nn::ops::VoiceOps;
use syrinx::nn::rmvpe::Rmvpe;
use syrinx::nn::swift_f0::SwiftF0;
use syrinx::nn::synthesizer::{Noise, Stretch, Synthesizer};
use syrinx::params::{ConversionParams, NoiseChoice};
use syrinx::path::pitch::coarse;
use syrinx::path::stream::{JoinKind, Stream, StreamSettings};

use crate::host::SANITIZED;
use crate::support::{noise, voice};
use crate::trace::{Trace, assert_same, device, repeats};

/// Sums in another order, through some tens of layers.
const TOLERANCE: f32 = 1e-4;
/// Runs of each network.
const RUNS: u64 = 4;

/// A network that is loaded once and run with other inputs.
trait Network {
    /// What runs number `0..runs` give, one after the other.
    fn run<B: VoiceOps>(&self, device: &B::Device, runs: u64) -> Vec<Vec<f32>>;
}

/// Holds the network on the stand-in to the CPU's. All but the first two of its runs are repeated launches.
fn check(what: &str, network: &impl Network) {
    check_runs(what, network, RUNS, RUNS as usize - 2);
}

/// The same for so many runs, in which kept launches are repeated at least so often. Left out under sanitizers, which are
/// slow: the kernels' own tests run there.
fn check_runs(what: &str, network: &impl Network, runs: u64, least_repeats: usize) {
    if std::env::var_os(SANITIZED).is_some() {
        return;
    }
    let device = device();
    let found = network.run::<Trace>(&device, runs);
    let expected = network.run::<Cpu>(&Default::default(), runs);
    for (run, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert_same(&format!("{what}, run {run}"), found, expected, TOLERANCE);
    }
    assert!(repeats(device) >= least_repeats, "{what}: {} repeats", repeats(device));
}

/// A file below `tests/data`.
fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

struct Encoder(EncoderCheckpoint, Projection);

impl Network for Encoder {
    fn run<B: VoiceOps>(&self, device: &B::Device, runs: u64) -> Vec<Vec<f32>> {
        let encoder = Hubert::<B>::load(&self.0.tensors.weights(), &self.0.config, self.1, device).expect("an encoder");
        (0..runs).map(|run| encoder.read_telling(&voice(run, 2_000), &mut |_| Ok(())).expect("units")).collect()
    }
}

#[test]
fn encoders() {
    let file = |name: &str| EncoderCheckpoint::open(data(name)).expect("an encoder");
    check("HuBERT", &Encoder(file("hubert_small_v1.weights.safetensors"), Projection::Layer12));
    check("HuBERT for streams", &Encoder(file("hubert_stream.weights.safetensors"), Projection::Layer9Projected));
}

#[test]
fn an_encoder_is_not_told_anew_once_its_launches_are_kept() {
    if std::env::var_os(SANITIZED).is_some() {
        return;
    }
    let file = EncoderCheckpoint::open(data("hubert_small_v1.weights.safetensors")).expect("an encoder");
    let (weights, projection) = (file.tensors.weights(), Projection::Layer12);
    let encoder = Hubert::<Trace>::load(&weights, &file.config, projection, &device()).expect("an encoder");
    let heard = |run| {
        let mut times = 0;
        let units = encoder.read_telling(&voice(run, 2_000), &mut |_| {
            times += 1;
            Ok(())
        });
        units.map(|_| times).expect("units")
    };
    let heard: Vec<i32> = (0..6).map(heard).collect();
    assert!(heard[0] > 1 && heard[5] == 1, "where nothing is asked for, only the end is told: {heard:?}");
}

struct RmvpeTracker(Tensors);

impl Network for RmvpeTracker {
    fn run<B: VoiceOps>(&self, device: &B::Device, runs: u64) -> Vec<Vec<f32>> {
        let tracker = Rmvpe::<B>::load(&self.0.weights(), device).expect("a tracker");
        let mel = |run| tracker.mel(&voice(run, 1_600)).expect("a spectrogram");
        (0..runs).map(|run| tracker.salience(&mel(run)).expect("salience")).collect()
    }
}

#[test]
fn rmvpe() {
    check("RMVPE", &RmvpeTracker(Tensors::open(data("rmvpe_small.pt")).expect("a tracker")));
}

struct FcpeTracker(Tensors);

impl Network for FcpeTracker {
    fn run<B: VoiceOps>(&self, device: &B::Device, runs: u64) -> Vec<Vec<f32>> {
        let tracker = Fcpe::<B>::load(&self.0.weights(), device).expect("a tracker");
        let mel = |run| tracker.mel(&voice(run, 1_600)).expect("a spectrogram");
        (0..runs).map(|run| tracker.salience(&mel(run)).expect("salience")).collect()
    }
}

#[test]
fn fcpe() {
    check("FCPE", &FcpeTracker(Tensors::open(data("fcpe_small.weights.safetensors")).expect("a tracker")));
}

struct CrepeTracker(Tensors);

impl Network for CrepeTracker {
    fn run<B: VoiceOps>(&self, device: &B::Device, runs: u64) -> Vec<Vec<f32>> {
        let tracker = Crepe::<B>::load(&self.0.weights(), device).expect("a tracker");
        (0..runs).map(|run| tracker.salience(&voice(run, 300)).expect("salience")).collect()
    }
}

#[test]
fn crepe() {
    check("CREPE", &CrepeTracker(Tensors::open(data("crepe_small.weights.safetensors")).expect("a tracker")));
}

struct SwiftTracker;

impl Network for SwiftTracker {
    fn run<B: VoiceOps>(&self, device: &B::Device, runs: u64) -> Vec<Vec<f32>> {
        let tracker = SwiftF0::<B>::embedded(device).expect("a tracker");
        let track = |run| {
            // All of a short track, and the end of a longer one.
            let whole = tracker.native(&voice(run, 1_024)).expect("a track");
            let newest = tracker.native_from(&voice(run, 2_560), 8).expect("a track");
            // Confidence is read apart from pitch; both of a size.
            let pitch = whole.f0_hz.iter().chain(&newest.f0_hz).map(|hz| hz / 1_000.0);
            pitch.chain(whole.confidence.iter().chain(&newest.confidence).copied()).collect()
        };
        (0..runs).map(track).collect()
    }
}

#[test]
fn swift_f0() {
    check("SwiftF0", &SwiftTracker);
}

/// A voice of which latents are looked at between, as where they are stretched.
struct VoiceByParts(VoiceCheckpoint);

impl Network for VoiceByParts {
    fn run<B: VoiceOps>(&self, device: &B::Device, runs: u64) -> Vec<Vec<f32>> {
        let config = &self.0.config;
        let voice = Synthesizer::<B>::load(&self.0.tensors.weights(), config, device).expect("a voice");
        let speaker = voice.speaker(0).expect("a speaker");
        let hops = 6;
        let render = |run: u64| {
            let prior = voice.prior(&noise(run, hops * config.unit_dim), &[120; 6], 1).expect("a prior");
            let latents = voice.latents(prior, &speaker, &mut Noise::seeded(run));
            let source = voice.source(&[210.0; 5], &mut 0.0, &mut Noise::Zero);
            voice.audio(latents, source.as_deref(), &speaker, 1..3).expect("audio")
        };
        (0..runs).map(render).collect()
    }
}

struct Voice(VoiceCheckpoint);

impl Network for Voice {
    fn run<B: VoiceOps>(&self, device: &B::Device, runs: u64) -> Vec<Vec<f32>> {
        let config = &self.0.config;
        let voice = Synthesizer::<B>::load(&self.0.tensors.weights(), config, device).expect("a voice");
        let hops = 8;
        let render = |run: u64| {
            let units = noise(run, hops * config.unit_dim);
            let f0_hz: Vec<f32> =
                (0..hops).map(|hop| if hop % 5 == 0 { 0.0 } else { 200.0 + (hop as f32 + run as f32) }).collect();
            let pitch: Vec<u8> = f0_hz.iter().map(|&hz| coarse(hz)).collect();
            let channels = config.inter_channels;
            let source = voice.source(&f0_hz[1..], &mut 0.0, &mut Noise::Zero);
            let rendered = voice.render(&Stretch {
                speaker: 0,
                units: &units,
                coarse: &pitch,
                first_hop: 3,
                noise: Noise::seeded(run).prior(channels * (hops - 3)),
                settled: &noise(run + 7, channels * 2),
                fresh: 0..hops - 3,
                source: source.as_deref(),
                wanted: 2..5,
                kept: 1..4,
            });
            let rendered = rendered.expect("audio");
            [rendered.audio, rendered.latents].concat()
        };
        (0..runs).map(render).collect()
    }
}

#[test]
fn voices() {
    for name in ["synth_small_v1_32k.pth", "synth_small_v2_40k.pth"] {
        check(name, &Voice(VoiceCheckpoint::open(data(name)).expect("a voice")));
        check(name, &VoiceByParts(VoiceCheckpoint::open(data(name)).expect("a voice")));
    }
}

/// A stream of chunks, whose latents go from one to the next.
struct Live;

impl Network for Live {
    fn run<B: VoiceOps>(&self, device: &B::Device, runs: u64) -> Vec<Vec<f32>> {
        let files = ModelFiles {
            voice: data("synth_small_v1_32k.pth"),
            index: None,
            encoder: data("hubert_small_v1.weights.safetensors"),
            tracker: TrackerFile::Yin,
        };
        let settings = StreamSettings {
            rate_hz: 16_000,
            timing: Timing { chunk: 0.04, crossfade: 0.02, context: 0.1 },
            join: JoinKind::Seamless,
            gate_db: None,
            rest_db: None,
            denoise_input: false,
            denoise_output: false,
        };
        let params = ConversionParams { noise: NoiseChoice::Zero, ..Default::default() };
        let converter = Engine::<B>::new(device.clone()).converter(&files).expect("a converter");
        let mut stream = Stream::new(converter, settings, &params).expect("a stream");
        let samples = stream.geometry().chunk_samples();
        let audio = voice(3, runs as usize * samples);
        let step = |chunk| {
            let mut converted = vec![0.0; samples];
            stream.step(chunk, &params, &mut converted).expect("a step");
            converted
        };
        audio.chunks_exact(samples).map(step).collect()
    }
}

#[test]
fn a_stream_repeats_launches_chunk_after_chunk() {
    // Encoder and voice, once the first chunks have filled the context.
    check_runs("a stream", &Live, 11, 2 * 4);
}

//! Random networks of small and odd sizes, run by the reference's own code, which wrote their checkpoints (`live.py`).

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use burn::Tensor;
use syrinx::checkpoint::Tensors;
use syrinx::checkpoint::hubert::EncoderCheckpoint;
use syrinx::checkpoint::index::Index;
use syrinx::checkpoint::pitch::{PitchCheckpoint, PitchNetwork};
use syrinx::checkpoint::voice::VoiceCheckpoint;
use syrinx::engine::{Engine, ModelFiles, TrackerFile};
use syrinx::nn::Cpu;
use syrinx::nn::crepe::{self, Crepe};
use syrinx::nn::fcpe::{self, Fcpe};
use syrinx::nn::hubert::{Hubert, Projection};
use syrinx::nn::rmvpe::{self, Rmvpe};
use syrinx::nn::synthesizer::{Noise, Synthesizer};
use syrinx::params::{ConversionParams, Lengths, NoiseChoice, Unvoiced};
use syrinx::path::offline::Request;
use syrinx::path::retrieval::{NEIGHBOURS, Retrieval, SmallCell};
use syrinx::path::window::WindowSizes;
use syrinx::units::{Recording, Units};

use crate::python::{compare, compare_pitch, run, seed};
use crate::support::Golden;

// What was measured over many seeds is mostly a tenth of these; all are relative to the largest value, see `compare`.

/// f32 sums in another order through the text encoder and the flow.
const PRIOR: f32 = 2e-5;
const LATENT: f32 = 4e-5;
/// Sums through the generator's stages, and a source whose phase the package sums in f32.
const AUDIO: f32 = 2e-5;
/// f32 sums in another order through up to twelve layers.
const UNITS: f32 = 2e-5;
/// Log-mel: f32 transforms of two libraries, in bands near the floor.
const MEL: f32 = 5e-4;
/// Salience is a sigmoid after tens of layers of f32 sums in another order.
const SALIENCE: f32 = 1e-5;
/// The same after our own mel.
const SALIENCE_OF_AUDIO: f32 = 1e-4;
/// CREPE's salience, whose last layer has weights sixteen times the usual.
const CREPE_SALIENCE: f32 = 1e-4;
/// Cents of f0 from the same salience: the packages of FCPE and CREPE work in f32.
const CENTS: f64 = 0.01;
/// Cents of f0 from the same audio.
const CENTS_OF_AUDIO: f64 = 0.02;
/// Squared distances, relative: FAISS sums in another order.
const DISTANCE: f32 = 2e-5;
/// Weighted sums of rows, whose weights fall with the fourth power of the distance.
const BLEND: f32 = 1e-5;
/// Steps of 16 bits: truncation turns the least rounding difference into one, quiet parts raised by the envelope more.
/// To them comes what the last bit of f0 does to the reference itself, since the source sums it.
pub const STEPS: i32 = 2;

/// The folder with everything that `live.py` left.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| run("live", &[]));
/// What `record_small.py` left.
static SMALL: LazyLock<PathBuf> = LazyLock::new(|| run("record_small", &[&crate::python::models()]));

fn arrays(name: &str) -> Golden {
    Golden::at(&FOLDER.join(format!("{name}.safetensors")))
}

fn values(tensor: Tensor<Cpu, 3>) -> Vec<f32> {
    tensor.into_data().into_vec().expect("f32")
}

#[test]
fn voices_of_every_kind_give_the_reference_stages_and_audio() {
    for version in ["v1", "v2"] {
        for kind in ["f0_1", "f0_2", "plain_1", "plain_2"] {
            check_voice(&format!("voice_{version}_{kind}"));
        }
    }
}

fn check_voice(name: &str) {
    let golden = arrays(name);
    let file = VoiceCheckpoint::open(FOLDER.join(format!("{name}.pth"))).expect("a voice");
    println!("{name}: {:?}", file.config);
    let voice = Synthesizer::<Cpu>::load(&file.tensors.weights(), &file.config, &Default::default()).expect("a voice");
    let speaker = voice.speaker(golden.i64("speaker")[0] as usize).expect("a speaker");
    let coarse: Vec<u8> = golden.i64("coarse").iter().map(|&pitch| pitch as u8).collect();
    let check = |stage: &str, found: &[f32], tolerance: f32| {
        compare(&format!("{name}, {} hops, {stage}", coarse.len()), found, &golden.f32(stage), tolerance);
    };
    let prior = voice.prior(&golden.f32("units"), &coarse, 0).expect("a prior");
    check("mean", &values(prior.mean.clone()), PRIOR);
    check("log_deviation", &values(prior.log_deviation.clone()), PRIOR);
    let latents = voice.latents(prior, &speaker, &mut Noise::Zero);
    check("latent", &values(latents.clone()), LATENT);
    let source = voice.source(&golden.f32("f0"), &mut 0.0, &mut Noise::Zero);
    assert_eq!(source.is_some(), file.config.has_f0);
    let audio = voice.generate(latents, source.as_deref(), &speaker, 0..coarse.len()).expect("audio");
    check("audio", &values(audio), AUDIO);
}

#[test]
fn encoders_give_the_reference_units_of_both_versions() {
    for case in 0..4 {
        let name = format!("encoder_{case}");
        let golden = arrays(&name);
        let file = EncoderCheckpoint::open(FOLDER.join(&name)).expect("an encoder");
        println!("{name}: {:?}", file.config);
        for (key, projection) in [("v1", Projection::Layer9Projected), ("v2", Projection::Layer12)] {
            let encoder = Hubert::<Cpu>::load(&file.tensors.weights(), &file.config, projection, &Default::default());
            let units = encoder.expect("an encoder").units(&golden.f32("wav")).expect("units");
            compare(&format!("{name}, {key}"), &values(units), &golden.f32(key), UNITS);
        }
    }
}

#[test]
fn rmvpe_gives_the_reference_mel_salience_and_pitch() {
    for case in 0..3 {
        let (name, golden) = (format!("rmvpe_{case}"), arrays(&format!("rmvpe_{case}")));
        let path = FOLDER.join(format!("{name}.pt"));
        let file = PitchCheckpoint::open_as(path, PitchNetwork::Rmvpe).expect("a pitch network");
        let network = Rmvpe::<Cpu>::load(&file.tensors.weights(), &Default::default()).expect("a pitch network");
        let (audio, salience) = (golden.f32("wav"), golden.f32("salience"));
        let mel = network.mel(&audio).expect("a mel");
        compare(&format!("{name}, mel"), &mel, &golden.f32("mel"), MEL);
        compare(
            &format!("{name}, salience of its mel"),
            &network.salience(&golden.f32("mel")).expect("salience"),
            &salience,
            SALIENCE,
        );
        compare(&format!("{name}, salience"), &network.salience(&mel).expect("salience"), &salience, SALIENCE_OF_AUDIO);
        let decoded = rmvpe::decode(&salience, network.bins(), rmvpe::DEFAULT_THRESHOLD);
        compare_pitch(&format!("{name}, decoding"), &decoded.f0_hz, &golden.f32("f0"), CENTS);
        let track = network.f0(&audio, rmvpe::DEFAULT_THRESHOLD).expect("a pitch");
        compare_pitch(&format!("{name}, pitch"), &track.f0_hz, &golden.f32("f0"), CENTS_OF_AUDIO);
    }
}

#[test]
fn fcpe_gives_the_packages_mel_salience_and_pitch() {
    let tensors = Tensors::open(SMALL.join("fcpe_small.weights.safetensors")).expect("weights");
    let network = Fcpe::<Cpu>::load(&tensors.weights(), &Default::default()).expect("a pitch network");
    let golden = Golden::at(&SMALL.join("fcpe_small.safetensors"));
    for case in 0..3 {
        let get = |key: &str| golden.f32(&format!("{case}.{key}"));
        let mel = network.mel(&get("wav")).expect("a mel");
        compare(&format!("fcpe_{case}, mel"), &mel, &get("mel"), MEL);
        let of_its_mel = network.salience(&get("mel")).expect("salience");
        compare(&format!("fcpe_{case}, salience of its mel"), &of_its_mel, &get("latent"), SALIENCE);
        compare(
            &format!("fcpe_{case}, salience"),
            &network.salience(&mel).expect("salience"),
            &get("latent"),
            SALIENCE_OF_AUDIO,
        );
        let decoded = network.decode(&get("latent"), fcpe::DEFAULT_THRESHOLD);
        compare_pitch(&format!("fcpe_{case}, decoding"), &decoded.f0_hz, &get("f0"), CENTS);
    }
}

#[test]
fn crepe_gives_the_packages_salience_and_pitch_by_every_decoder() {
    let tensors = Tensors::open(SMALL.join("crepe_small.weights.safetensors")).expect("weights");
    let network = Crepe::<Cpu>::load(&tensors.weights(), &Default::default()).expect("a pitch network");
    let golden = Golden::at(&SMALL.join("crepe_small.safetensors"));
    let salience = golden.f32("salience");
    compare("crepe, salience", &network.salience(&golden.f32("wav")).expect("salience"), &salience, CREPE_SALIENCE);
    let weighted = crepe::decode_weighted(&salience, network.bins());
    compare_pitch("crepe, weighted", &weighted.f0_hz, &golden.f32("weighted.f0"), CENTS);
    let path = crepe::decode_path(&salience, network.bins());
    compare_pitch("crepe, path", &path.f0_hz, &golden.f32("viterbi.f0"), CENTS);
    let smooth = crepe::smooth(&path, 0.0);
    compare_pitch("crepe, smoothed", &smooth.f0_hz, &golden.f32("rvc.smooth_f0"), CENTS);
    let wandering = crepe::decode_path(&golden.f32("moving.salience"), network.bins());
    compare_pitch("crepe, wandering path", &wandering.f0_hz, &golden.f32("moving.f0"), CENTS);
}

#[test]
fn retrieval_finds_and_blends_the_rows_that_faiss_does() {
    for name in ["index_full", "index_sparse", "index_small_cells"] {
        let golden = arrays(name);
        let index = Arc::new(Index::open(FOLDER.join(format!("{name}.index"))).expect("an index"));
        let dim = index.dim;
        let retrieval = Retrieval::<Cpu>::new(index.clone(), dim, &Default::default()).expect("a retrieval");
        let mut units = Units { values: golden.f32("queries"), dim };
        println!(
            "{name}: {} queries of {dim} values among {} rows in {} cells",
            units.count(),
            index.rows(),
            index.lists()
        );
        assert!(units.count() > 150, "seed {}: {name}: only {} clear queries", seed(), units.count());

        let (ids, distances) = (golden.i64("ids"), golden.f32("distances"));
        for (query, neighbours) in retrieval.search(&units).iter().enumerate() {
            let wanted = query * NEIGHBOURS..(query + 1) * NEIGHBOURS;
            let rows: Vec<i64> = neighbours.iter().map(|n| index.ids[n.row]).collect();
            let expected: Vec<i64> = ids[wanted.clone()].iter().copied().filter(|&id| id >= 0).collect();
            assert_eq!(rows, expected, "seed {}: {name}, query {query}", seed());
            for (found, &expected) in neighbours.iter().zip(&distances[wanted]) {
                let error = (found.distance - expected).abs();
                assert!(error <= DISTANCE * expected, "seed {}: {name}, query {query}: {error}", seed());
            }
        }
        retrieval.blend(&mut units, 0, 1.0, SmallCell::Blend);
        compare(&format!("{name}, blend"), &units.values, &golden.f32("blend"), BLEND);
    }
}

#[test]
fn whole_conversions_are_the_references_within_two_steps_of_16_bits_and_the_last_bit_of_f0() {
    for name in ["conversion_v1", "conversion_v2", "conversion_plain"] {
        let golden = arrays(name);
        let files = ModelFiles {
            voice: FOLDER.join(format!("{name}.pth")),
            index: Some(FOLDER.join(format!("{name}.index"))),
            encoder: FOLDER.join(format!("{name}.encoder")),
            tracker: TrackerFile::Network(PitchNetwork::Rmvpe, FOLDER.join(format!("{name}.rmvpe.pt"))),
        };
        let number = |key: &str| golden.f32(key)[0];
        let params = ConversionParams {
            transpose_semitones: golden.i64("f0_up_key")[0] as f32,
            index_rate: number("index_rate"),
            protect: number("protect"),
            rms_mix_rate: number("rms_mix_rate"),
            speaker: golden.i64("sid")[0] as usize,
            noise: NoiseChoice::Zero,
            unvoiced: Unvoiced::Zero,
            lengths: Lengths::Reference,
            ..ConversionParams::default()
        };
        println!("{name}: {params:?}");
        let mut converter = Engine::<Cpu>::new(Default::default()).converter(&files).expect("a converter");
        let recording = Recording { samples: golden.f32("wav"), sample_rate_hz: 16_000 };
        let sizes = WindowSizes::default();
        let request = Request {
            recording: &recording,
            pitch_curve: None,
            params: &params,
            own_pitch: false,
            sizes,
            output_rate_hz: None,
        };
        let found = converter.convert(request, &mut |_| Ok(())).expect("a conversion").audio.samples;
        let expected = golden.i64("pcm");
        assert_eq!(found.len(), expected.len(), "seed {}: {name}: length", seed());
        let loudest = expected.iter().map(|step| step.abs()).max().expect("audio");
        assert!(loudest > 100, "seed {}: {name}: the recording would prove little: {loudest} steps", seed());
        let steps = found.iter().zip(&expected).map(|(f, &e)| ((f * 32_768.0) as i32 - e as i32).abs());
        let (worst, allowed) = (steps.max().expect("audio"), STEPS + golden.i64("last_bit")[0] as i32);
        println!("{name}, {} samples up to {loudest} steps: differs by {worst} steps, allowed {allowed}", found.len());
        assert!(worst <= allowed, "seed {}: {name}: differs by {worst} steps", seed());
    }
}

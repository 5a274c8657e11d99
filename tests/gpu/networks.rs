//! Each network, by burn's kernels and by our own.

use burn::Tensor;
use burn::tensor::backend::Backend;
use syrinx::checkpoint::hubert::EncoderCheckpoint;
use syrinx::checkpoint::voice::{Version, VoiceCheckpoint};
use syrinx::checkpoint::{Tensors, seeded};
use syrinx::nn::Cpu;
use syrinx::nn::crepe::Crepe;
use syrinx::nn::fcpe::Fcpe;
use syrinx::nn::hubert::{Hubert, Projection};
use syrinx::nn::ops::VoiceOps;
use syrinx::nn::rmvpe::Rmvpe;
use syrinx::nn::swift_f0::SwiftF0;
use syrinx::nn::synthesizer::{Noise, Synthesizer};
use syrinx::path::pitch::coarse;

use crate::device::{SHARE, on_each_backend};
use crate::noise::noise;
use crate::support::{compare, data, recorded, voice};

/// GPUs multiply matrices with factors of 11 significant bits; each product is off by up to 1/2000, sums by less. Bounds are
/// four times what an H100 was off at worst.
const UNITS: f64 = 3e-3 * SHARE;
/// The same, before a sigmoid.
const SALIENCE: f64 = 1e-3 * SHARE;
/// The same through text encoder, flow and generator, whose layers add up what those before them are off.
const AUDIO: f64 = 4e-3 * SHARE;

fn values<B: Backend>(tensor: Tensor<B, 3>) -> Vec<f32> {
    tensor.into_data().into_vec().expect("f32")
}

fn compare_encoders(
    what: &str,
    file: &EncoderCheckpoint,
    projection: Projection,
    audio: &[f32],
    out: Option<Vec<f32>>,
) {
    on_each_backend!(|B, device, name| {
        let cpu = Hubert::<Cpu>::load(&file.tensors.weights(), &file.config, projection, &Default::default());
        let gpu = Hubert::<B>::load(&file.tensors.weights(), &file.config, projection, device);
        let (cpu, gpu) = (cpu.expect("an encoder"), gpu.expect("an encoder"));
        let units = || values(cpu.units(audio).expect("units"));
        compare(&format!("{what}, {name}"), UNITS, out.as_deref(), units, || values(gpu.units(audio).expect("units")));
    });
}

#[test]
fn hubert_small() {
    let file = EncoderCheckpoint::open(data("hubert_small_v1.weights.safetensors")).expect("an encoder");
    let (audio, units) = (recorded("hubert_small_v1", "in.wav"), recorded("hubert_small_v1", "out.v2"));
    compare_encoders("HuBERT, small, 0.75 s", &file, Projection::Layer12, &audio, Some(units));
}

#[test]
fn hubert_for_streams() {
    let file = EncoderCheckpoint::open(data("hubert_stream.weights.safetensors")).expect("an encoder");
    let (audio, units) = (recorded("hubert_stream", "in.wav"), recorded("hubert_stream", "out.v1"));
    compare_encoders("HuBERT for streams, small, 1 s", &file, Projection::Layer9Projected, &audio, Some(units));
    let built_in = EncoderCheckpoint::open("models/default/encoder").expect("the built-in encoder");
    compare_encoders("the built-in encoder, 1.1 s", &built_in, Projection::Layer12, &voice(1.1), None);
}

#[test]
fn hubert_full() {
    let file = seeded::encoder(Version::V2);
    compare_encoders("HuBERT base, 1.1 s", &file, Projection::Layer12, &voice(1.1), None);
}

fn compare_rmvpe(what: &str, tensors: &Tensors, audio: &[f32], out: Option<Vec<f32>>) {
    on_each_backend!(|B, device, name| {
        let cpu = Rmvpe::<Cpu>::load(&tensors.weights(), &Default::default()).expect("a network");
        let gpu = Rmvpe::<B>::load(&tensors.weights(), device).expect("a network");
        let mel = cpu.mel(audio).expect("a spectrogram");
        let what = format!("{what}, {name}");
        let (of_cpu, of_gpu) = (|| cpu.salience(&mel).expect("salience"), || gpu.salience(&mel).expect("salience"));
        compare(&what, SALIENCE, out.as_deref(), of_cpu, of_gpu);
    });
}

#[test]
fn rmvpe_small() {
    let tensors = Tensors::open(data("rmvpe_small.pt")).expect("a checkpoint");
    let out = recorded("rmvpe_small", "0.out.salience");
    compare_rmvpe("RMVPE, small, 32 frames", &tensors, &recorded("rmvpe_small", "0.in.wav"), Some(out));
}

#[test]
fn rmvpe_full() {
    compare_rmvpe("RMVPE, 32 frames", &seeded::rmvpe(), &voice(0.31), None);
}

fn compare_fcpe(what: &str, tensors: &Tensors, audio: &[f32], out: Option<Vec<f32>>) {
    on_each_backend!(|B, device, name| {
        let cpu = Fcpe::<Cpu>::load(&tensors.weights(), &Default::default()).expect("a network");
        let gpu = Fcpe::<B>::load(&tensors.weights(), device).expect("a network");
        let mel = cpu.mel(audio).expect("a spectrogram");
        let what = format!("{what}, {name}");
        let (of_cpu, of_gpu) = (|| cpu.salience(&mel).expect("salience"), || gpu.salience(&mel).expect("salience"));
        compare(&what, SALIENCE, out.as_deref(), of_cpu, of_gpu);
    });
}

#[test]
fn fcpe_small() {
    let tensors = Tensors::open(data("fcpe_small.weights.safetensors")).expect("a checkpoint");
    let out = recorded("fcpe_small", "0.latent");
    compare_fcpe("FCPE, small, 51 frames", &tensors, &recorded("fcpe_small", "0.wav"), Some(out));
}

#[test]
fn fcpe_full() {
    compare_fcpe("FCPE, 31 frames", &seeded::fcpe(), &voice(0.3), None);
}

fn compare_crepe(what: &str, tensors: &Tensors, audio: &[f32], out: Option<Vec<f32>>) {
    on_each_backend!(|B, device, name| {
        let cpu = Crepe::<Cpu>::load(&tensors.weights(), &Default::default()).expect("a network");
        let gpu = Crepe::<B>::load(&tensors.weights(), device).expect("a network");
        let salience = || cpu.salience(audio).expect("salience");
        let what = format!("{what}, {name}");
        compare(&what, SALIENCE, out.as_deref(), salience, || gpu.salience(audio).expect("salience"));
    });
}

#[test]
fn crepe_small() {
    let tensors = Tensors::open(data("crepe_small.weights.safetensors")).expect("a checkpoint");
    let out = recorded("crepe_small", "salience");
    compare_crepe("CREPE, small, 51 frames", &tensors, &recorded("crepe_small", "wav"), Some(out));
}

#[test]
fn crepe_full() {
    compare_crepe("CREPE, 31 frames", &seeded::crepe(), &voice(0.3), None);
}

#[test]
fn swift_f0() {
    /// Convolutions of a few channels are summed with 32-bit factors.
    const EXACT: f64 = 1e-6;
    on_each_backend!(|B, device, name| {
        let cpu = SwiftF0::<Cpu>::embedded(&Default::default()).expect("a network");
        let gpu = SwiftF0::<B>::embedded(device).expect("a network");
        let audio = voice(1.0);
        let confidence = || cpu.native(&audio).expect("a track").confidence;
        compare(&format!("SwiftF0, 62 frames, confidence, {name}"), EXACT, None, confidence, || {
            gpu.native(&audio).expect("a track").confidence
        });
        // Neighbouring candidates are 4 % apart: a frame that took another would show.
        let f0_hz = || cpu.native(&audio).expect("a track").f0_hz;
        let what = format!("SwiftF0, 62 frames, Hz, {name}");
        compare(&what, EXACT, None, f0_hz, || gpu.native(&audio).expect("a track").f0_hz);
    });
}

/// Audio of `hops` hops from text encoder, flow and generator, without noise.
fn render<B: VoiceOps>(voice: &Synthesizer<B>, units: &[f32], f0_hz: &[f32]) -> Vec<f32> {
    let speaker = voice.speaker(0).expect("a speaker");
    let pitch: Vec<u8> = f0_hz.iter().map(|&hz| coarse(hz)).collect();
    let prior = voice.prior(units, &pitch, 0).expect("a prior");
    let latents = voice.latents(prior, &speaker, &mut Noise::Zero);
    let source = voice.source(f0_hz, &mut 0.0, &mut Noise::Zero);
    voice.audio(latents, source.as_deref(), &speaker, 0..f0_hz.len()).expect("audio")
}

fn compare_voices(what: &str, file: &VoiceCheckpoint, hops: usize) {
    let units = noise(7, hops * file.config.unit_dim);
    let f0_hz: Vec<f32> = (0..hops).map(|hop| if hop % 9 == 0 { 0.0 } else { 200.0 + hop as f32 }).collect();
    on_each_backend!(|B, device, name| {
        let weights = file.tensors.weights();
        let cpu = Synthesizer::<Cpu>::load(&weights, &file.config, &Default::default()).expect("a voice");
        let gpu = Synthesizer::<B>::load(&weights, &file.config, device).expect("a voice");
        let what = format!("{what}, {name}");
        compare(&what, AUDIO, None, || render(&cpu, &units, &f0_hz), || render(&gpu, &units, &f0_hz));
    });
}

#[test]
fn voices_small() {
    for name in ["synth_small_v1_32k.pth", "synth_small_v2_40k.pth"] {
        compare_voices(name, &VoiceCheckpoint::open(data(name)).expect("a voice"), 31);
    }
}

#[test]
fn voice_built_in() {
    compare_voices("the built-in voice, 0.3 s", &VoiceCheckpoint::open("models/default/joe.pth").expect("a voice"), 30);
}

#[test]
fn voice_full() {
    compare_voices("a voice of full size, 0.5 s", &seeded::voice(), 50);
}

//! The synthesizer against the reference's intermediates and audio.

use burn::Tensor;
use syrinx::checkpoint::Tensors;
use syrinx::checkpoint::voice::{Resblock, Version, VoiceConfig};
use syrinx::dsp::interpolate::resize;
use syrinx::nn::Cpu;
use syrinx::nn::synthesizer::{Noise, Synthesizer, harmonic_sine};

use crate::support::{Family, Golden, assert_close, data, listing, seeded_checkpoint};

/// f32 sums in another order through the text encoder, whose values reach 4, and then the flow, whose values reach 14.
const PRIOR_TOLERANCE: f32 = 2e-5;
/// The reference sums phase in f32.
const SOURCE_TOLERANCE: f32 = 5e-7;
/// Sums through four stages of residual blocks, of few channels and of up to 256.
const AUDIO_TOLERANCE: f32 = 5e-6;
const FULL_AUDIO_TOLERANCE: f32 = 2e-5;

/// Sizes of the small voice of version 2.
pub fn small_v2() -> VoiceConfig {
    VoiceConfig {
        version: Version::V2,
        info: String::new(),
        resblock: Resblock::One,
        inter_channels: 32,
        hidden_channels: 32,
        filter_channels: 64,
        heads: 2,
        layers: 2,
        kernel_size: 3,
        resblock_kernel_sizes: vec![3, 7, 11],
        resblock_dilation_sizes: vec![vec![1, 3, 5]; 3],
        upsample_rates: vec![10, 10, 2, 2],
        upsample_initial_channel: 64,
        upsample_kernel_sizes: vec![16, 16, 4, 4],
        speakers: 3,
        gin_channels: 16,
        pitch_hz: None,
        unit_dim: 768,
        sample_rate_hz: 40_000,
        has_f0: true,
    }
}

/// Sizes of the small voice of version 1.
pub fn small_v1() -> VoiceConfig {
    VoiceConfig {
        hidden_channels: 48,
        filter_channels: 96,
        upsample_rates: vec![10, 4, 2, 2, 2],
        upsample_kernel_sizes: vec![16, 16, 4, 4, 4],
        unit_dim: 256,
        sample_rate_hz: 32_000,
        ..small_v2()
    }
}

fn full() -> VoiceConfig {
    VoiceConfig {
        inter_channels: 192,
        hidden_channels: 192,
        filter_channels: 768,
        layers: 6,
        upsample_initial_channel: 512,
        speakers: 109,
        gin_channels: 256,
        pitch_hz: None,
        ..small_v2()
    }
}

/// A voice of `config` from these tensors.
pub fn load(tensors: &Tensors, config: &VoiceConfig) -> Synthesizer<Cpu> {
    Synthesizer::load(&tensors.weights(), config, &Default::default()).expect("a voice")
}

fn open(name: &str, config: &VoiceConfig) -> Synthesizer<Cpu> {
    load(&Tensors::open(data(name)).expect("a checkpoint"), config)
}

fn values(tensor: Tensor<Cpu, 3>) -> Vec<f32> {
    tensor.into_data().into_vec().expect("f32")
}

/// Skipped, returned and stretched hops of the reference's real-time arguments.
struct RealTime {
    skip: usize,
    hops: usize,
    stretched: usize,
}

fn assert_matches(name: &str, voice: &Synthesizer<Cpu>, real_time: Option<RealTime>, tolerance: f32) {
    let golden = Golden::open(name);
    let coarse: Vec<u8> = golden.i64("in.pitch").iter().map(|&pitch| pitch as u8).collect();
    let RealTime { skip, hops, stretched } =
        real_time.unwrap_or(RealTime { skip: 0, hops: coarse.len(), stretched: coarse.len() });
    let first = skip.saturating_sub(24);
    let speaker = voice.speaker(golden.i64("in.sid")[0] as usize).expect("a speaker");
    let mut noise = if golden.has("noise.z") {
        Noise::Given { prior: golden.f32("noise.z"), source: golden.f32("noise.sine") }
    } else {
        Noise::Zero
    };

    let prior = voice.prior(&golden.f32("in.phone"), &coarse, first).expect("a prior");
    assert_close("mean", &values(prior.mean.clone()), &golden.f32("out.m_p"), PRIOR_TOLERANCE);
    assert_close("deviation", &values(prior.log_deviation.clone()), &golden.f32("out.logs_p"), PRIOR_TOLERANCE);
    let latents = voice.latents(prior, &speaker, &mut noise).narrow(2, skip - first, hops);
    assert_close("latents", &values(latents.clone()), &golden.f32("out.z"), 2.0 * PRIOR_TOLERANCE);

    let hop = voice.config().hop_samples();
    let source =
        voice.source(&golden.f32("in.pitchf")[skip..skip + hops], &mut 0.0, &mut noise).expect("a voice with pitch");
    assert_close("source", &source, &golden.f32("mid.dec.har_source"), SOURCE_TOLERANCE);
    let (latents, source) = (stretch(latents, stretched), resize(&source, stretched * hop));
    let audio = voice.generate(latents, Some(&source), &speaker, 0..stretched).expect("audio");
    assert_close("audio", &values(audio), &golden.f32("out.audio"), tolerance);
}

fn stretch(latents: Tensor<Cpu, 3>, length: usize) -> Tensor<Cpu, 3> {
    let [_, channels, hops] = latents.dims();
    let rows: Vec<f32> = values(latents).chunks(hops).flat_map(|row| resize(row, length)).collect();
    Tensor::from_data(burn::tensor::TensorData::new(rows, [1, channels, length]), &Default::default())
}

#[test]
fn a_small_v2_voice_offline_with_noise_and_without() {
    let voice = open("synth_small_v2_40k.pth", &small_v2());
    assert_matches("synth_small_v2_40k_off", &voice, None, AUDIO_TOLERANCE);
    assert_matches("synth_small_v2_40k_off_zero", &voice, None, AUDIO_TOLERANCE);
}

#[test]
fn a_small_v2_voice_with_real_time_arguments() {
    let voice = open("synth_small_v2_40k.pth", &small_v2());
    let cases = [
        ("synth_small_v2_40k_rt", RealTime { skip: 40, hops: 16, stretched: 16 }),
        ("synth_small_v2_40k_rt_formant", RealTime { skip: 40, hops: 16, stretched: 18 }),
        ("synth_small_v2_40k_rt_shorthead", RealTime { skip: 10, hops: 16, stretched: 16 }),
    ];
    for (name, real_time) in cases {
        assert_matches(name, &voice, Some(real_time), AUDIO_TOLERANCE);
    }
}

#[test]
fn a_small_v1_voice_of_five_stages() {
    assert_matches("synth_small_v1_32k_off", &open("synth_small_v1_32k.pth", &small_v1()), None, AUDIO_TOLERANCE);
}

#[test]
fn the_full_size_v2_voice() {
    let tensors = seeded_checkpoint(Family::Synthesizer, listing(include_str!("../data/voice_v2_40k_listing.txt")));
    let voice = load(&tensors, &full());
    assert_matches("synth_full_v2_40k_off", &voice, None, FULL_AUDIO_TOLERANCE);
    let real_time = RealTime { skip: 30, hops: 20, stretched: 20 };
    assert_matches("synth_full_v2_40k_rt", &voice, Some(real_time), FULL_AUDIO_TOLERANCE);
}

#[test]
fn the_sine_follows_an_exact_phase() {
    let golden = Golden::open("sinegen");
    for (rate_hz, hop) in [(40_000, 400), (48_000, 480)] {
        let sine = harmonic_sine(&golden.f32(&format!("{rate_hz}.f0")), hop, rate_hz, &mut 0.0);
        assert_close("f64", &sine, &golden.f32(&format!("{rate_hz}.f64")), 1e-7);
        // The reference's own f32 phase is this far from the exact one.
        assert_close("head", &sine, &golden.f32(&format!("{rate_hz}.head")), 5e-7);
        assert_close("classic", &sine, &golden.f32(&format!("{rate_hz}.classic")), 2e-6);
    }
}

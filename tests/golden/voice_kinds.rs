//! Voices of every kind: both residual blocks, with pitch and without, rendered whole and in tiles.

use std::sync::Arc;

use burn::Tensor;
use proptest::prelude::*;
use syrinx::checkpoint::voice::Resblock;
use syrinx::nn::Cpu;
use syrinx::nn::synthesizer::Noise;
use syrinx::params::{ConversionParams, NoiseChoice};
use syrinx::path::synth::{Rendering, SourcePhase, Synth};
use syrinx::units::{Pitch, Units};

use crate::support::{Golden, assert_close, uniform};
use crate::tiny;

/// f32 sums in another order.
const TOLERANCE: f32 = 5e-6;
/// Rounding only: the same sums over fewer samples.
const SEAM_TOLERANCE: f32 = 1e-6;

fn values(tensor: Tensor<Cpu, 3>) -> Vec<f32> {
    tensor.into_data().into_vec().expect("f32")
}

fn units(hops: usize, dim: usize) -> Units {
    Units { values: uniform("units", hops * dim).map(|u| u as f32).collect(), dim }
}

/// Voiced and unvoiced hops by turns.
fn pitch(hops: usize) -> Pitch {
    Pitch {
        f0_hz: (0..hops).map(|t| if t % 5 == 0 { 0.0 } else { 200.0 + t as f32 }).collect(),
        coarse: (0..hops).map(|t| (1 + t * 7 % 255) as u8).collect(),
    }
}

#[test]
fn both_residual_blocks_and_voices_without_pitch_give_the_reference_stages_and_audio() {
    // Recorded by tests/reference/record_voices.py.
    let golden = Golden::open("voice_kinds");
    let cases = [
        ("pitch_single", true, Resblock::Two),
        ("plain_single", false, Resblock::Two),
        ("plain_pairs", false, Resblock::One),
    ];
    for (case, has_f0, resblock) in cases {
        let mut config = tiny::voice_config(has_f0, resblock, &[6, 2, 2]);
        config.unit_dim = 256;
        let voice = tiny::voice(&config);
        let speaker = voice.speaker(1).expect("a speaker");
        let pitch = pitch(33);
        let check = |name: &str, found: Tensor<Cpu, 3>| {
            let name = format!("{case}.{name}");
            assert_close(&name, &values(found), &golden.f32(&name), TOLERANCE);
        };
        let prior = voice.prior(&units(33, 256).values, &pitch.coarse, 0).expect("a prior");
        check("mean", prior.mean.clone());
        check("log_deviation", prior.log_deviation.clone());
        let latents = voice.latents(prior, &speaker, &mut Noise::Zero);
        check("latent", latents.clone());
        let source = voice.source(&pitch.f0_hz, &mut 0.0, &mut Noise::Zero);
        assert_eq!(source.is_some(), has_f0, "{case}");
        check("audio", voice.generate(latents, source.as_deref(), &speaker, 0..33).expect("audio"));
    }
}

#[test]
fn a_long_rendering_has_no_seam_between_its_tiles() {
    // Tiles are 800 hops long.
    const HOPS: usize = 1000;
    let voice = Arc::new(tiny::voice(&tiny::voice_config(true, Resblock::One, &[10, 4, 2])));
    let (content, pitch) = (units(HOPS, 5), pitch(HOPS));
    let speaker = voice.speaker(0).expect("a speaker");
    let prior = voice.prior(&content.values, &pitch.coarse, 0).expect("a prior");
    let latents = voice.latents(prior, &speaker, &mut Noise::Zero);
    let source = voice.source(&pitch.f0_hz, &mut 0.0, &mut Noise::Zero).expect("a voice with pitch");
    let generate = |first: usize| {
        let latents = latents.clone().narrow(2, first, HOPS - first);
        values(voice.generate(latents, Some(&source[first * 80..]), &speaker, 0..HOPS - first).expect("audio"))
    };
    let whole = generate(0);

    let render = |head_hops, tail_hops| {
        let rendering = Rendering { head_hops, tail_hops, phase: SourcePhase::FromWindow };
        let rendered = Synth::new(voice.clone()).render(&content, &pitch, rendering, &ConversionParams::default());
        rendered.expect("audio")
    };
    assert_close("in tiles", &render(0, 0), &whole, SEAM_TOLERANCE);
    assert_close("a part", &render(700, 200), &whole[700 * 80..800 * 80], SEAM_TOLERANCE);

    let reach = voice.generator_reach_hops();
    assert_close("with context", &generate(800 - reach)[reach * 80..], &whole[800 * 80..], SEAM_TOLERANCE);
    let difference = |context: usize| (generate(800 - context)[context * 80] - whole[800 * 80]).abs();
    assert!(difference(0) > 1e-4, "a tile without context differs by {} only", difference(0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_voice_renders_the_hops_asked_for_and_its_noise_repeats(
        has_f0: bool,
        paired: bool,
        rates in prop_oneof![Just(vec![10, 4, 2]), Just(vec![5, 8, 2]), Just(vec![20, 4])],
        head_hops in 0_usize..40,
        hops in 1_usize..12,
        tail_hops in 0_usize..30,
        from_window: bool,
        formant_semitones in prop_oneof![Just(0.0_f32), -12.0_f32..12.0],
        seed: u64,
    ) {
        let resblock = if paired { Resblock::One } else { Resblock::Two };
        let voice = Arc::new(tiny::voice(&tiny::voice_config(has_f0, resblock, &rates)));
        let total = head_hops + hops + tail_hops;
        let phase = if from_window { SourcePhase::FromWindow } else { SourcePhase::FromRendering };
        let rendering = Rendering { head_hops, tail_hops, phase };
        let params = ConversionParams { formant_semitones, ..ConversionParams::default() };
        let run = |seed| {
            let mut synth = Synth::new(voice.clone());
            synth.restart_noise(NoiseChoice::Seeded(seed));
            synth.render(&units(total, 5), &pitch(total), rendering, &params).expect("audio")
        };
        let audio = run(seed);
        prop_assert_eq!(audio.len(), hops * 80);
        prop_assert!(audio.iter().all(|sample| sample.is_finite()));
        prop_assert_eq!(&audio, &run(seed));
        prop_assert_ne!(&audio, &run(seed.wrapping_add(1)));
    }
}

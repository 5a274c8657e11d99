//! The whole offline pipeline against the reference's int16 output.

use syrinx::dsp::stft::{Edge, pad};
use syrinx::params::{ConversionParams, Lengths, NoiseChoice, Unvoiced};
use syrinx::path::offline::Request;
use syrinx::path::retrieval::SmallCell;
use syrinx::path::synth::{Rendering, SourcePhase};
use syrinx::path::window::WindowSizes;
use syrinx::path::{Retrieving, Window, source};
use syrinx::telemetry::StageTimes;
use syrinx::units::Recording;

use crate::case::Case;
use crate::support::{Golden, assert_close};

/// Largest difference from the reference, in steps of its int16 output: truncation turns the least rounding
/// difference into one step, and an envelope taken over wholly raises quiet parts, with their rounding, once more.
const TOLERANCE_STEPS: i32 = 2;

fn assert_matches_the_reference(name: &str, case: &Case, sizes: WindowSizes, params: ConversionParams) {
    let golden = Golden::open(name);
    let recording = Recording { samples: golden.f32("in.wav"), sample_rate_hz: 16_000 };
    let request = Request {
        recording: &recording,
        pitch_curve: None,
        params: &params,
        own_pitch: false,
        sizes,
        output_rate_hz: None,
    };
    let conversion = case.converter().convert(request, &mut |_| Ok(())).expect("a conversion");

    let pitch = golden.f32("mid.pitchf");
    for (hop, (found, expected)) in conversion.f0_after_hz.iter().zip(&pitch[sizes.pad / 160..]).enumerate() {
        assert!((found - expected).abs() <= 1e-3 * expected.max(1.0), "hop {hop}: {found} Hz, expected {expected} Hz");
    }
    let expected = golden.i64("out.int16");
    assert_eq!(conversion.audio.samples.len(), expected.len(), "length");
    let worst = conversion
        .audio
        .samples
        .iter()
        .zip(&expected)
        .map(|(&found, &expected)| ((found * 32_768.0) as i32 - expected as i32).abs())
        .max();
    assert!(worst <= Some(TOLERANCE_STEPS), "differs by {worst:?} steps");
}

fn reference_params() -> ConversionParams {
    ConversionParams {
        noise: NoiseChoice::Zero,
        unvoiced: Unvoiced::Interpolate,
        lengths: Lengths::Reference,
        ..ConversionParams::default()
    }
}

#[test]
fn a_v1_voice_without_index() {
    let params = ConversionParams { index_rate: 0.0, protect: 0.5, rms_mix_rate: 1.0, ..reference_params() };
    assert_matches_the_reference("offline_v1_noindex", &Case::V1, WindowSizes::default(), params);
}

#[test]
fn a_v1_voice_with_index_transposition_protection_and_loudness() {
    let params = ConversionParams { transpose_semitones: 3.0, speaker: 1, ..reference_params() };
    assert_matches_the_reference("offline_v1_index", &Case::V1_INDEXED, WindowSizes::default(), params);
}

#[test]
fn a_recording_cut_into_four_pieces() {
    let params =
        ConversionParams { transpose_semitones: -5.0, index_rate: 0.5, rms_mix_rate: 0.0, ..reference_params() };
    assert_matches_the_reference("offline_v1_chunked", &Case::V1_INDEXED, WindowSizes::seconds(1, 1, 2, 3), params);
}

#[test]
fn a_v2_voice() {
    let params = ConversionParams { index_rate: 0.0, protect: 0.5, rms_mix_rate: 1.0, ..reference_params() };
    assert_matches_the_reference("offline_v2", &Case::V2, WindowSizes::default(), params);
}

/// The stages one by one over a recording of one window: prepared audio, coarse pitch, units, the voice before its end.
#[test]
fn every_stage_of_a_recording_in_one_window() {
    for (name, case) in [("offline_v1_noindex", Case::V1), ("offline_v2", Case::V2)] {
        let golden = Golden::open(name);
        let params = ConversionParams { index_rate: 0.0, protect: 0.5, ..reference_params() };
        let sizes = WindowSizes::default();
        let mut converter = case.converter();
        converter.synth.restart_noise(params.noise);
        let recording = Recording { samples: golden.f32("in.wav"), sample_rate_hz: 16_000 };
        let audio = pad(&source::prepare(&recording).expect("audio"), sizes.pad, sizes.pad, Edge::Reflect);
        assert_close("padded audio", &audio, &golden.f32("mid.audio_pad"), 1e-6);
        let (_, pitch) = converter.track(&audio, &params).expect("a track");
        let coarse: Vec<i64> = pitch.coarse.iter().map(|&value| value.into()).collect();
        assert_eq!(coarse, golden.i64("mid.pitch_coarse"), "{name}");
        if golden.has("mid.feats.0") {
            let units = converter.units.extract(&audio).expect("units");
            // Twelve layers of sums in another order.
            assert_close("units", &units.values, &golden.f32("mid.feats.0"), 2e-5);
            let hops = golden.f32("mid.chunk_pitchf.0").len();
            assert_close("units by hop", &units.per_hop(hops).values, &golden.f32("mid.phone.0"), 2e-5);
        }
        let chunk_pitch = golden.f32("mid.chunk_pitchf.0");
        for (found, expected) in pitch.f0_hz.iter().zip(&chunk_pitch) {
            assert!((found - expected).abs() <= 1e-3 * expected.max(1.0), "{found} Hz, expected {expected} Hz");
        }
        if golden.has("mid.chunk.0") {
            let window = Window {
                audio: &audio,
                pitch,
                retrieving: Retrieving { repeat_last_unit: false, first_unit: 0, small_cell: SmallCell::Blend },
                rendering: Rendering { head_hops: 0, tail_hops: 0, phase: SourcePhase::FromWindow },
            };
            let voice = converter.render(&window, &params, &mut StageTimes::default()).expect("a rendering");
            assert_close("the voice", &voice, &golden.f32("mid.chunk.0"), 2e-5);
        }
    }
}

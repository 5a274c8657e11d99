//! The whole real-time loop, chunk by chunk, against the reference's.

use syrinx::geometry::{Geometry, Timing};
use syrinx::params::{ConversionParams, NoiseChoice, Unvoiced};
use syrinx::path::gate::Gate;
use syrinx::path::history::{AudioHistory, PitchHistory};
use syrinx::path::retrieval::SmallCell;
use syrinx::path::stream::{JoinKind, Stream, StreamSettings};
use syrinx::path::synth::{Rendering, SourcePhase};
use syrinx::path::{Retrieving, Window};
use syrinx::telemetry::StageTimes;

use crate::case::Case;
use crate::support::{Golden, assert_close};

/// Largest difference of the output: the networks' and the noise gate's f32 rounding.
const TOLERANCE: f32 = 2e-5;

fn assert_matches_the_reference(name: &str, case: &Case, settings: StreamSettings, params: ConversionParams) {
    let golden = Golden::open(name);
    let mut stream = Stream::new(case.converter(), settings, &params).expect("a stream");
    let chunk = stream.geometry().chunk_samples();
    let input = golden.f32("in.wav");
    let shifts = golden.i64("mid.sola_offset");
    let mut output = vec![0.0; input.len()];
    for (index, (input, output)) in input.chunks(chunk).zip(output.chunks_mut(chunk)).enumerate() {
        let report = stream.step(input, &params, output).expect("a step");
        assert_eq!(report.shift_samples as i64, shifts[index], "shift of chunk {index}");
    }
    assert_close(name, &output, &golden.f32("out.wav"), TOLERANCE);
}

fn settings(rate_hz: u32, context: f64) -> StreamSettings {
    let timing = Timing { chunk: 0.25, crossfade: 0.05, context };
    StreamSettings {
        rate_hz,
        timing,
        join: JoinKind::Sola,
        gate_db: None,
        rest_db: None,
        denoise_input: false,
        denoise_output: false,
    }
}

fn reference_params() -> ConversionParams {
    ConversionParams {
        index_rate: 0.0,
        protect: 0.5,
        rms_mix_rate: 0.0,
        noise: NoiseChoice::Zero,
        unvoiced: Unvoiced::Interpolate,
        ..ConversionParams::default()
    }
}

#[test]
fn the_default_settings() {
    assert_matches_the_reference("rt_v1_default", &Case::V1, settings(32_000, 2.5), reference_params());
}

#[test]
fn a_device_rate_other_than_the_voices_and_an_index() {
    let params = ConversionParams { index_rate: 0.3, ..reference_params() };
    assert_matches_the_reference("rt_v2_dev48k", &Case::V2_INDEXED, settings(48_000, 0.5), params);
}

#[test]
fn formant_shift_transposition_gate_and_half_the_envelope() {
    let params =
        ConversionParams { transpose_semitones: 2.0, formant_semitones: 1.3, rms_mix_rate: 0.3, ..reference_params() };
    let settings = StreamSettings { gate_db: Some(-45.0), ..settings(32_000, 0.5) };
    assert_matches_the_reference("rt_v1_formant_gate", &Case::V1, settings, params);
}

#[test]
fn noise_reduction_of_input_and_output() {
    let settings = StreamSettings { denoise_input: true, denoise_output: true, ..settings(32_000, 0.5) };
    assert_matches_the_reference("rt_v1_denoise", &Case::V1, settings, reference_params());
}

/// Sums in another order through the encoder, the flow and four stages of the generator.
const INFER_TOLERANCE: f32 = 2e-5;
/// The reference's resampler computes its taps in f32.
const INPUT_TOLERANCE: f32 = 2e-5;

/// The stages one by one, as [`Stream`] runs them: resampled window, pitch as collected, the voice before its join.
fn assert_matches_the_references_intermediates(
    name: &str,
    case: &Case,
    settings: StreamSettings,
    params: ConversionParams,
) {
    let golden = Golden::open(name);
    let geometry = Geometry::new(settings.rate_hz, settings.timing).expect("sizes");
    let mut converter = case.converter();
    converter.synth.restart_noise(params.noise);
    let mut gate = settings.gate_db.map(|threshold| Gate::new(&geometry, threshold));
    let mut audio = AudioHistory::new(&geometry, settings.denoise_input);
    let mut pitch = PitchHistory::new(&geometry);
    let tracked = converter.tracker.live_samples(geometry.chunk_hops);
    let input = golden.f32("in.wav");
    let chunks = input.chunks_exact(geometry.chunk_samples());
    let count = chunks.len();
    let row = |key: &str, chunk: usize| {
        let all = golden.f32(key);
        let length = all.len() / count;
        all[chunk * length..][..length].to_vec()
    };
    let coarse = golden.i64("mid.cache_pitch");
    for (index, chunk) in chunks.enumerate() {
        match &mut gate {
            Some(gate) => audio.push(&gate.step(chunk)),
            None => audio.push(chunk),
        }
        let tail = row("mid.input_wav_res_tail", index);
        let window = audio.at_16_khz();
        assert_close("the window's end", &window[window.len() - tail.len()..], &tail, INPUT_TOLERANCE);

        let (_, tracked) = converter.track(&window[window.len() - tracked..], &params).expect("a track");
        pitch.push(&tracked);
        let collected = pitch.window();
        for (hop, (found, expected)) in collected.f0_hz.iter().zip(row("mid.cache_pitchf", index)).enumerate() {
            let near = (found - expected).abs() <= 1e-4 * expected.max(1.0);
            assert!(near, "chunk {index}, hop {hop}: {found} Hz, expected {expected} Hz");
        }
        let expected = &coarse[index * coarse.len() / count..][..coarse.len() / count];
        let found: Vec<i64> = collected.coarse.iter().map(|&value| value.into()).collect();
        assert_eq!(found, expected, "chunk {index}");

        let tail_hops = geometry.window_hops() - geometry.context_hops - geometry.rendered_hops();
        let window = Window {
            audio: window,
            pitch: collected,
            retrieving: Retrieving {
                repeat_last_unit: true,
                first_unit: geometry.context_hops / 2,
                small_cell: SmallCell::SkipRun,
            },
            rendering: Rendering { head_hops: geometry.context_hops, tail_hops, phase: SourcePhase::FromRendering },
        };
        let voice = converter.render(&window, &params, &mut StageTimes::default()).expect("a rendering");
        assert_close("the voice", &voice, &row("mid.infer", index), INFER_TOLERANCE);
    }
    let last = golden.f32("mid.input_wav_res_last");
    assert_close("the last window", audio.at_16_khz(), &last, INPUT_TOLERANCE);
}

#[test]
fn every_stage_of_the_loop_at_the_default_settings() {
    let name = "rt_v1_default";
    assert_matches_the_references_intermediates(name, &Case::V1, settings(32_000, 2.5), reference_params());
}

#[test]
fn every_stage_of_the_loop_with_a_device_rate_and_an_index() {
    let params = ConversionParams { index_rate: 0.3, ..reference_params() };
    let name = "rt_v2_dev48k";
    assert_matches_the_references_intermediates(name, &Case::V2_INDEXED, settings(48_000, 0.5), params);
}

#[test]
fn every_stage_of_the_loop_with_formants_shifted_and_gated() {
    let params =
        ConversionParams { transpose_semitones: 2.0, formant_semitones: 1.3, rms_mix_rate: 0.3, ..reference_params() };
    let settings = StreamSettings { gate_db: Some(-45.0), ..settings(32_000, 0.5) };
    assert_matches_the_references_intermediates("rt_v1_formant_gate", &Case::V1, settings, params);
}

#[test]
fn every_stage_of_the_loop_with_the_inputs_noise_reduced() {
    let settings = StreamSettings { denoise_input: true, denoise_output: true, ..settings(32_000, 0.5) };
    assert_matches_the_references_intermediates("rt_v1_denoise", &Case::V1, settings, reference_params());
}

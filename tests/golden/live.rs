//! The whole real-time loop, chunk by chunk, against the reference's.

use syrinx::geometry::Timing;
use syrinx::params::{ConversionParams, NoiseChoice, Unvoiced};
use syrinx::path::stream::{JoinKind, Stream, StreamSettings};

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

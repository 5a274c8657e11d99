//! Whole conversions by a tiny voice: lengths, silence, repeatability and what is refused.

use proptest::prelude::*;
use syrinx::dsp::rate::resampled_len;
use syrinx::error::Error;
use syrinx::geometry::Timing;
use syrinx::params::{ConversionParams, Lengths, NoiseChoice, Unvoiced};
use syrinx::path::offline::{Conversion, Request};
use syrinx::path::stream::{JoinKind, Stream, StreamSettings};
use syrinx::path::window::WindowSizes;
use syrinx::units::Recording;

use crate::tiny;

fn recording(samples: usize, sample_rate_hz: u32) -> Recording {
    // A tone that glides slowly and repeats every half second.
    let tone = |n: usize| {
        let seconds = n as f32 / sample_rate_hz as f32;
        0.4 * (std::f32::consts::TAU * (150.0 + 20.0 * (seconds % 0.5)) * seconds).sin()
    };
    Recording { samples: (0..samples).map(tone).collect(), sample_rate_hz }
}

/// No padding beyond a tenth of a second, so that many conversions take little time.
const SMALL: WindowSizes = WindowSizes { pad: 1_600, search: 800, spacing: 6_400, longest: 8_000 };

fn request<'a>(recording: &'a Recording, params: &'a ConversionParams) -> Request<'a> {
    Request { recording, pitch_curve: None, params, own_pitch: false, sizes: SMALL, output_rate_hz: None }
}

fn convert(has_f0: bool, request: Request<'_>) -> Result<Conversion, Error> {
    tiny::converter(has_f0).convert(request, &mut |share| {
        assert!((0.0..=1.0).contains(&share), "{share}");
        Ok(())
    })
}

fn quick() -> ConversionParams {
    ConversionParams { noise: NoiseChoice::Zero, ..ConversionParams::default() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_result_lasts_exactly_as_long_as_the_recording(
        samples in prop_oneof![3 => 1_usize..2_000, 1 => 2_000_usize..30_000],
        rate_hz in prop_oneof![Just(8_000_u32), Just(16_000), Just(22_050), Just(44_100), Just(48_000), Just(192_000)],
        output_rate_hz in prop_oneof![Just(None), Just(Some(16_000)), Just(Some(44_100)), Just(Some(48_000))],
        has_f0: bool,
        formant_semitones in prop_oneof![3 => Just(0.0_f32), 1 => -12.0_f32..12.0],
    ) {
        let recording = recording(samples, rate_hz);
        let params = ConversionParams { formant_semitones, ..quick() };
        let conversion = convert(has_f0, Request { output_rate_hz, ..request(&recording, &params) }).unwrap();
        let expected_hz = output_rate_hz.unwrap_or(8_000);
        prop_assert_eq!(conversion.audio.sample_rate_hz, expected_hz);
        let voice = resampled_len(samples, rate_hz, expected_hz);
        prop_assert_eq!(conversion.audio.samples.len(), voice);
        prop_assert!(conversion.audio.samples.iter().all(|sample| sample.abs() <= 1.0));
        prop_assert_eq!(conversion.f0_before_hz.len(), conversion.f0_after_hz.len());
    }

    #[test]
    fn the_references_lengths_lose_at_most_20_ms_per_window(
        samples in prop_oneof![1 => 1_usize..2_000, 1 => 2_000_usize..30_000],
        formant_semitones in prop_oneof![Just(0.0_f32), -12.0_f32..12.0],
    ) {
        let recording = recording(samples, 16_000);
        let params = ConversionParams { lengths: Lengths::Reference, formant_semitones, ..quick() };
        let length = convert(true, request(&recording, &params)).unwrap().audio.samples.len();
        let windows = 1 + samples / (SMALL.spacing - SMALL.search);
        prop_assert!(length <= samples / 2 && length + windows * 240 >= samples / 2, "{length} of {}", samples / 2);
    }
}

#[test]
fn silence_is_unvoiced_and_takes_the_inputs_silence_over() {
    let silence = Recording { samples: vec![0.0; 16_000], sample_rate_hz: 16_000 };
    let params = ConversionParams { rms_mix_rate: 0.0, ..quick() };
    for has_f0 in [true, false] {
        let conversion = convert(has_f0, request(&silence, &params)).expect("a conversion");
        assert!(conversion.f0_before_hz.iter().all(|&hz| hz == 0.0));
        assert!(conversion.audio.samples.iter().all(|&sample| sample == 0.0));
    }
}

#[test]
fn the_same_seed_gives_the_same_result_and_another_does_not() {
    let recording = recording(8_000, 16_000);
    let mut converter = tiny::converter(true);
    let mut run = |seed| {
        let params = ConversionParams { noise: NoiseChoice::Seeded(seed), ..quick() };
        converter.convert(request(&recording, &params), &mut |_| Ok(())).expect("a conversion").audio.samples
    };
    let first = run(7);
    assert_eq!(first, run(7));
    assert_ne!(first, run(8));
}

#[test]
fn a_given_pitch_replaces_the_tracked_one_and_unvoiced_hops_are_bridged_on_request() {
    let recording = recording(16_000, 16_000);
    let curve = [100.0, 0.0, 0.0, 130.0];
    let shaped = |unvoiced| {
        let params = ConversionParams { unvoiced, transpose_semitones: 12.0, ..quick() };
        let request = Request { pitch_curve: Some(&curve), ..request(&recording, &params) };
        let conversion = convert(true, request).expect("a conversion");
        assert_eq!(conversion.f0_before_hz.len(), 101);
        assert_eq!(conversion.f0_before_hz[..5], [100.0, 0.0, 0.0, 130.0, 0.0]);
        (conversion.f0_after_hz[..5].to_vec(), conversion.audio.samples)
    };
    let (zero, rough) = shaped(Unvoiced::Zero);
    let (bridged, smooth) = shaped(Unvoiced::Interpolate);
    assert_eq!(zero, [200.0, 0.0, 0.0, 260.0, 0.0]);
    assert_eq!(bridged, [200.0, 220.0, 240.0, 260.0, 260.0]);
    assert_ne!(rough, smooth);
}

#[test]
fn a_voice_without_pitch_tracks_none_and_hears_no_curve() {
    let recording = recording(8_000, 16_000);
    let params = quick();
    let tracked = convert(false, request(&recording, &params)).expect("a conversion");
    assert!(tracked.f0_before_hz.iter().all(|&hz| hz == 0.0));
    let curve = [220.0; 50];
    let given = convert(false, Request { pitch_curve: Some(&curve), ..request(&recording, &params) });
    assert_eq!(given.expect("a conversion").audio, tracked.audio);
}

#[test]
fn what_cannot_be_converted_is_refused_by_name() {
    let (good, params) = (recording(1_600, 16_000), quick());
    let with = |change: fn(&mut Recording)| {
        let mut recording = good.clone();
        change(&mut recording);
        convert(true, request(&recording, &params)).expect_err("a refusal").to_string()
    };
    assert!(with(|r| r.samples.clear()).starts_with("recording:"));
    assert!(with(|r| r.samples[3] = f32::NAN).starts_with("recording:"));
    assert!(with(|r| r.samples[3] = f32::INFINITY).starts_with("recording:"));
    for rate_hz in [0, u32::MAX] {
        let odd = Recording { sample_rate_hz: rate_hz, ..good.clone() };
        let error = convert(true, request(&odd, &params)).expect_err("a refusal").to_string();
        assert!(error.starts_with("recording rate:"), "{error}");
        let request = Request { output_rate_hz: Some(rate_hz), ..request(&good, &params) };
        let error = convert(true, request).expect_err("a refusal").to_string();
        assert!(error.starts_with("output rate:"), "{error}");
    }
    for bad in [f32::NAN, f32::INFINITY, -100.0] {
        let request = Request { pitch_curve: Some(&[100.0, bad]), ..request(&good, &params) };
        let error = convert(true, request).expect_err("a refusal").to_string();
        assert!(error.starts_with("pitch curve:"), "{error}");
    }
    let params = ConversionParams { speaker: 2, ..params };
    let error = convert(true, request(&good, &params)).expect_err("a refusal").to_string();
    assert!(error.starts_with("speaker:"), "{error}");
}

#[test]
fn a_stream_of_the_shortest_chunks_and_contexts_runs_with_and_without_pitch() {
    let sizes = [(true, 0.01, 0.05), (false, 0.01, 0.05), (true, 0.03, 0.06), (true, 2.0, 0.05)];
    let joins = [JoinKind::Sola, JoinKind::ClassicSola, JoinKind::Seamless];
    for ((has_f0, chunk, context), join) in sizes.into_iter().flat_map(|size| joins.map(|join| (size, join))) {
        let timing = Timing { chunk, crossfade: 0.05, context };
        let settings = StreamSettings {
            rate_hz: 48_000,
            timing,
            join,
            gate_db: Some(-60.0),
            rest_db: None,
            denoise_input: true,
            denoise_output: join != JoinKind::Seamless,
        };
        let mut stream = Stream::new(tiny::converter(has_f0), settings, &quick()).expect("a stream");
        let samples = stream.geometry().chunk_samples();
        let input = recording(3 * samples, 48_000).samples;
        let mut output = vec![0.0; samples];
        for chunk in input.chunks_exact(samples) {
            stream.step(chunk, &quick(), &mut output).expect("a step");
            assert!(output.iter().all(|sample| sample.is_finite()));
        }
    }
}

#[test]
fn a_seamless_stream_rests_resumes_and_changes_voices_without_a_jump() {
    /// Largest step between two samples of the voice itself, amply.
    const STEP: f32 = 0.2;
    let timing = Timing { chunk: 0.05, crossfade: 0.03, context: 0.5 };
    let settings = StreamSettings {
        rate_hz: 48_000,
        timing,
        join: JoinKind::Seamless,
        gate_db: None,
        rest_db: Some(-60.0),
        denoise_input: false,
        denoise_output: false,
    };
    let params = ConversionParams { rms_mix_rate: 1.0, ..quick() };
    let mut stream = Stream::new(tiny::converter(true), settings, &params).expect("a stream");
    let chunk = stream.geometry().chunk_samples();
    let loud = recording(12 * chunk, 48_000).samples;
    let silence = vec![0.0; chunk];
    let mut heard = Vec::new();
    let mut step = |stream: &mut Stream<_>, params: &ConversionParams, input: &[f32]| {
        let mut output = vec![f32::NAN; chunk];
        let report = stream.step(input, params, &mut output).expect("a step");
        heard.extend_from_slice(&output);
        report.rested
    };
    for input in loud.chunks_exact(chunk).take(6) {
        assert!(!step(&mut stream, &params, input));
    }
    let rested = (0..6).filter(|_| step(&mut stream, &params, &silence)).count();
    assert!((4..6).contains(&rested), "{rested} chunks rested");
    // A formant shift is joined otherwise; back and forth.
    let shifted = ConversionParams { formant_semitones: 2.0, ..params };
    for (index, input) in loud.chunks_exact(chunk).enumerate() {
        step(&mut stream, if index % 4 == 2 { &shifted } else { &params }, input);
        if index == 6 {
            let _ = stream.replace(tiny::converter(false), &params);
        }
    }
    assert!(heard[11 * chunk..12 * chunk].iter().all(|&value| value == 0.0), "silence sounds");
    assert!(heard.iter().any(|value| value.abs() > 1e-3), "nothing is heard");
    for (at, pair) in heard.windows(2).enumerate() {
        assert!((pair[1] - pair[0]).abs() < STEP, "a jump of {} at {at}", pair[1] - pair[0]);
    }
}

/// What is told of how far a conversion is, up to the word with this number, which is answered by a wish to end.
fn told(request: Request<'_>, last: usize) -> (Vec<f64>, syrinx::Result<Conversion>) {
    let mut told = Vec::new();
    let converted = tiny::converter(true).convert(request, &mut |share| {
        told.push(share);
        if told.len() == last { Err(Error::Stopped) } else { Ok(()) }
    });
    (told, converted)
}

#[test]
fn progress_is_told_while_pitch_and_content_are_read_and_within_each_window() {
    let (recording, params) = (recording(48_000, 16_000), quick());
    let request = Request { sizes: WindowSizes::default(), ..request(&recording, &params) };
    let (shares, converted) = told(request, usize::MAX);
    converted.expect("a conversion");
    // One window of three seconds: pitch, a tile of the content and its layer, one stretch, sink.
    assert!(shares.len() >= 5 && shares.is_sorted(), "{shares:?}");
    assert!(shares[0] > 0.0 && shares[0] < 0.5 && shares.last() == Some(&1.0), "{shares:?}");
    let long = self::recording(16_000 * 12, 16_000);
    let (shares, converted) = told(Request { recording: &long, ..request }, usize::MAX);
    converted.expect("a conversion");
    assert!(shares.len() >= 7 && shares.is_sorted(), "{shares:?}");
}

#[test]
fn a_wish_to_end_is_heard_wherever_progress_is_told() {
    let (long, params) = (recording(16_000 * 12, 16_000), quick());
    let request = Request { sizes: WindowSizes::default(), ..request(&long, &params) };
    let words = told(request, usize::MAX).0.len();
    for last in 1..=words {
        let (shares, converted) = told(request, last);
        assert!(matches!(converted, Err(Error::Stopped)), "{shares:?}");
        // And nothing was done after it.
        assert_eq!(shares.len(), last, "{shares:?}");
    }
}

#[test]
fn a_voice_that_overflows_is_an_error_and_no_sound() {
    let (recording, params) = (recording(8_000, 16_000), quick());
    let error = tiny::scaled_converter(true, 1e20).convert(request(&recording, &params), &mut |_| Ok(())).unwrap_err();
    assert!(matches!(error, Error::Format { .. }), "{error}");
    assert!(error.to_string().starts_with("random weights: expected a voice whose samples are finite"), "{error}");
    tiny::scaled_converter(true, 2.0).convert(request(&recording, &params), &mut |_| Ok(())).expect("a conversion");
}

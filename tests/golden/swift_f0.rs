//! SwiftF0 against the published package on speech and a glide.

use syrinx::error::Error;
use syrinx::nn::Cpu;
use syrinx::nn::swift_f0::{DEFAULT_THRESHOLD, NativeTrack, SwiftF0};

use crate::support::{Golden, assert_close, cents, speech};

/// Confidence is a sigmoid after sixteen layers of f32 sums in another order, over spectra of another transform.
const CONFIDENCE: f32 = 1e-3;
/// Cents of f0 on voiced frames: a softmax over three candidates 69 cents apart of the same sums.
const CENTS: f64 = 0.5;

fn model() -> SwiftF0<Cpu> {
    SwiftF0::embedded(&Default::default()).unwrap()
}

#[test]
fn the_embedded_network_gives_the_published_pitch_and_confidence() {
    let (model, golden) = (model(), Golden::open("f0_real"));
    for clip in ["speech1", "speech2", "glide"] {
        let found = model.native(&speech(clip)).unwrap();
        let confidence = golden.f32(&format!("swift.{clip}.conf"));
        assert_close(clip, &found.confidence, &confidence, CONFIDENCE);
        let f0 = golden.f32(&format!("swift.{clip}.f0"));
        let voiced = (0..f0.len()).filter(|&i| confidence[i] >= DEFAULT_THRESHOLD);
        let worst = voiced.map(|i| cents(found.f0_hz[i], f0[i]).abs()).fold(0.0, f64::max);
        assert!(worst < CENTS, "{clip}: {worst} cents");
    }
}

#[test]
fn the_grid_interpolates_in_log_frequency_between_voiced_frames_only() {
    let track = NativeTrack { f0_hz: vec![100.0, 200.0, 50.0], confidence: vec![0.9, 0.8, 0.1] };
    let grid = track.on_grid(6, 0.5);
    // Points lie at 0, 0.625, 1.25, 1.875, 2.5 and 3.125 native frames.
    let expected = [100.0, 100.0 * 2.0_f32.powf(0.625), 200.0, 0.0, 0.0, 0.0];
    assert_close("f0", &grid.f0_hz, &expected, 1e-3);
    assert_eq!(grid.voicing, [0.9, 0.8, 0.8, 0.1, 0.1, 0.1]);
}

#[test]
fn silence_is_unvoiced_and_any_length_gives_a_frame_every_160_samples() {
    let model = model();
    for length in [1, 159, 160, 255, 256, 257, 1000, 5000] {
        let track = model.f0(&vec![0.0; length], DEFAULT_THRESHOLD).unwrap();
        assert_eq!((track.f0_hz.len(), track.voicing.len()), (length / 160 + 1, length / 160 + 1));
        assert!(track.f0_hz.iter().all(|&hz| hz == 0.0));
        assert!(track.voicing.iter().all(|&v| v == 0.0));
    }
}

#[test]
fn audio_that_is_empty_or_not_finite_is_an_argument_error() {
    for audio in [&[][..], &[f32::NAN; 500], &[0.1, f32::INFINITY]] {
        assert!(matches!(model().f0(audio, DEFAULT_THRESHOLD), Err(Error::Argument { .. })));
    }
}

#[test]
fn the_newest_frames_alone_are_those_of_the_whole() {
    let (model, audio) = (model(), speech("speech1"));
    for (start, length) in [(0, 5_120), (16_000, 6_400), (40_000, 8_000), (8_000, 16_000)] {
        let audio = &audio[start..start + length];
        let whole = model.native(audio).unwrap();
        let frames = whole.f0_hz.len();
        for first in [1, 6, 7, 8, frames / 2, frames - 3, frames - 1, frames + 5] {
            let newest = model.native_from(audio, first).unwrap();
            let first = first.min(frames - 1);
            assert_eq!(newest.f0_hz.len(), frames);
            assert!(newest.f0_hz[..first].iter().chain(&newest.confidence[..first]).all(|&value| value == 0.0));
            assert_close("confidence", &newest.confidence[first..], &whole.confidence[first..], 1e-5);
            assert_close("f0", &newest.f0_hz[first..], &whole.f0_hz[first..], 0.05);
        }
    }
}

//! The tracker without weights against FCPE's recorded pitch of two spoken clips and a glide.

use proptest::prelude::*;
use syrinx::dsp::pitch_track::HOP_SAMPLES;
use syrinx::dsp::stft::{Edge, pad};
use syrinx::dsp::yin::{WINDOW_SAMPLES, Yin};
use syrinx::error::Error;
use syrinx::path::octave::repair_octaves;

use crate::support::{Golden, cents, speech, uniform};

/// How a track compares with a reference.
#[derive(Debug)]
struct Agreement {
    /// Share of frames whose voicing is equal.
    voicing: f64,
    /// Share of frames voiced in both whose pitch differs by more than 20 %.
    gross: f64,
    /// Root mean square difference in cents over the other frames voiced in both.
    fine_cents: f64,
    /// The largest difference in cents over frames voiced in both.
    worst_cents: f64,
}

fn agreement(found: &[f32], expected: &[f32]) -> Agreement {
    let same = found.iter().zip(expected).filter(|(a, b)| (**a > 0.0) == (**b > 0.0)).count();
    let both = found.iter().zip(expected).filter(|(a, b)| **a > 0.0 && **b > 0.0);
    let all: Vec<f64> = both.map(|(a, b)| cents(*a, *b)).collect();
    let is_gross = |c: &&f64| (c.abs() / 1200.0).exp2() > 1.2;
    let gross = all.iter().filter(is_gross).count() as f64 / all.len() as f64;
    let fine: Vec<f64> = all.iter().filter(|c| !is_gross(c)).copied().collect();
    Agreement {
        voicing: same as f64 / found.len() as f64,
        gross,
        fine_cents: (fine.iter().map(|c| c * c).sum::<f64>() / fine.len() as f64).sqrt(),
        worst_cents: all.iter().fold(0.0, |worst, c| c.abs().max(worst)),
    }
}

/// Frames of the pitch from which the glide was made, `220 * 2^(0.6 sin(2 pi 0.7 t))` Hz.
fn glide(frames: usize) -> impl Iterator<Item = f32> {
    let at = |t: f64| 220.0 * (0.6 * (std::f64::consts::TAU * 0.7 * t).sin()).exp2();
    (0..frames).map(move |frame| at(frame as f64 / 100.0) as f32)
}

#[test]
fn a_glide_is_followed_within_one_percent_and_its_pause_is_unvoiced() {
    let track = Yin::default().f0(&speech("glide")).unwrap();
    // The pause is from 0.9 s to 1.1 s; a window reaches 32 ms to each side of its centre.
    let whole = |frame: usize| (4..=86).contains(&frame) || (114..=196).contains(&frame);
    for (frame, (&found, truth)) in track.f0_hz.iter().zip(glide(track.len())).enumerate() {
        let error = (found / truth - 1.0).abs();
        if whole(frame) {
            assert!(error < 0.01, "frame {frame}: {found} Hz, truth {truth} Hz");
        } else if (94..=106).contains(&frame) {
            assert_eq!(found, 0.0, "frame {frame} lies in the pause");
        } else {
            // Windows that are part silence, where FCPE is off by as much.
            assert!(found == 0.0 || error < 0.02, "frame {frame}: {found} Hz, truth {truth} Hz");
        }
    }
}

#[test]
fn speech_has_the_pitch_that_crepe_gives_it_and_the_voicing_that_fcpe_gives_it() {
    let golden = Golden::open("f0_real");
    for clip in ["speech1", "speech2"] {
        let track = Yin::default().f0(&speech(clip)).unwrap();
        let fcpe = agreement(&track.f0_hz, &golden.f32(&format!("fcpe.{clip}.f0")));
        let crepe = agreement(&track.f0_hz, &golden.f32(&format!("crepe_tiny_viterbi_rvc.{clip}.f0")));
        // FCPE itself is an octave below CREPE in 16 % of the frames of the second, creaky clip.
        let most_gross = if clip == "speech1" { 0.005 } else { 0.2 };
        assert!(fcpe.voicing > 0.94 && fcpe.gross < most_gross && fcpe.fine_cents < 30.0, "{clip}: {fcpe:?}");
        assert!(crepe.gross < 0.005 && crepe.fine_cents < 20.0 && crepe.worst_cents < 120.0, "{clip}: {crepe:?}");
    }
}

#[test]
fn a_harmonic_tone_is_found_at_its_pitch_over_the_whole_range() {
    for hz in [55.0, 82.4, 110.0, 196.0, 329.6, 440.0, 659.3, 880.0, 1000.0_f32] {
        let partials = (1..=10).filter(|n| *n as f32 * hz < 7500.0);
        let sample = |i: usize| {
            let phase = |n: i32| (std::f64::consts::TAU * f64::from(hz) * f64::from(n) * i as f64 / 16_000.0).sin();
            partials.clone().map(|n| 0.2 * phase(n) / f64::from(n)).sum::<f64>() as f32
        };
        let audio: Vec<f32> = (0..8000).map(sample).collect();
        let track = Yin::default().f0(&audio).unwrap();
        for &found in &track.f0_hz[5..45] {
            // The parabola through three lags is least exact where a period is only 16 samples long.
            let most = if hz < 500.0 { 0.001 } else { 0.005 };
            assert!((found / hz - 1.0).abs() < most, "{found} Hz, truth {hz} Hz");
        }
        assert!(track.voicing[5..45].iter().all(|&v| v > 0.95));
    }
}

#[test]
fn noise_is_unvoiced() {
    let audio: Vec<f32> = uniform("noise", 32_000).map(|u| 0.3 * u as f32).collect();
    let track = Yin::default().f0(&audio).unwrap();
    let voiced = track.f0_hz.iter().filter(|&&hz| hz > 0.0).count();
    assert!(voiced <= track.len() / 50, "{voiced} of {}", track.len());
}

#[test]
fn a_stream_gives_the_same_frames_as_the_whole_each_after_the_stated_latency() {
    let audio = speech("speech2");
    let audio = &audio[..24_000];
    for lookahead_frames in [0, 1, 5] {
        let yin = Yin { lookahead_frames };
        let track = yin.f0(audio).unwrap();
        let padded = pad(audio, WINDOW_SAMPLES / 2, WINDOW_SAMPLES / 2, Edge::Zero);
        let mut stream = yin.stream();
        let mut found = Vec::new();
        for (step, window) in padded.windows(WINDOW_SAMPLES).step_by(HOP_SAMPLES).enumerate() {
            found.extend(stream.step(window).unwrap().map(|frame| frame.f0_hz));
            let last_heard = step * HOP_SAMPLES + WINDOW_SAMPLES / 2;
            let decided = (last_heard + HOP_SAMPLES).saturating_sub(yin.latency_samples()) / HOP_SAMPLES;
            assert_eq!(found.len(), decided);
        }
        found.extend(stream.finish().into_iter().map(|frame| frame.f0_hz));
        assert_eq!(found, track.f0_hz);
        assert_eq!(stream.step(&padded[..WINDOW_SAMPLES]).unwrap().is_some(), lookahead_frames == 0);
        assert!(matches!(stream.step(&padded[..10]), Err(Error::Argument { .. })));
    }
}

#[test]
fn silence_is_unvoiced_and_no_sample_is_an_error() {
    let track = Yin::default().f0(&vec![0.0; 5000]).unwrap();
    assert!(track.f0_hz.iter().chain(&track.voicing).all(|&v| v == 0.0));
    assert!(matches!(Yin::default().f0(&[]), Err(Error::Argument { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_audio_gives_a_finite_frame_every_160_samples(
        audio in prop::collection::vec(prop_oneof![
            9 => -1.0f32..1.0, 1 => prop::sample::select(vec![f32::NAN, f32::INFINITY, f32::MAX, 0.0])
        ], 1..3000)
    ) {
        let track = Yin::default().f0(&audio).unwrap();
        prop_assert_eq!(track.f0_hz.len(), audio.len() / HOP_SAMPLES + 1);
        prop_assert_eq!(track.voicing.len(), track.f0_hz.len());
        prop_assert!(track.f0_hz.iter().all(|&hz| hz == 0.0 || (50.0..=1100.0).contains(&hz)));
        prop_assert!(track.voicing.iter().all(|v| (0.0..=1.0).contains(v)));
    }
}

#[test]
fn octave_repair_mends_tracks_of_speech_and_leaves_right_ones_alone() {
    let golden = Golden::open("f0_real");
    let track = |name: &str| golden.f32(name);
    let repaired = |track: &[f32]| {
        let mut track = track.to_vec();
        repair_octaves(&mut track);
        track
    };
    // Hops an octave or more from CREPE's, before and after.
    let wrong = |track: &[f32], right: &[f32]| {
        let both = track.iter().zip(right).filter(|(a, b)| **a > 0.0 && **b > 0.0);
        both.filter(|(a, b)| (*a / *b).log2().abs() > 0.8).count()
    };
    let (mut before, mut after) = (0, 0);
    for clip in ["speech1", "speech2"] {
        let right = track(&format!("crepe_tiny_viterbi_rvc.{clip}.f0"));
        assert_eq!(repaired(&right), right, "{clip}");
        for tracker in ["fcpe", "pesto", "crepe_tiny_wargmax", "crepe_full_wargmax"] {
            let track = track(&format!("{tracker}.{clip}.f0"));
            let counts = [wrong(&track, &right), wrong(&repaired(&track), &right)];
            if (tracker, clip) == ("fcpe", "speech2") {
                assert_eq!(counts, [76, 0], "the creaky clip, of which FCPE reads a sixth an octave low");
            }
            before += counts[0];
            after += counts[1];
        }
    }
    assert_eq!(before, 192);
    assert!(after <= 40, "of {before} hops an octave off, {after} are left");
}

//! CREPE at a small size against the published package's own code, its random dither removed; the published weights
//! are tried in `tests/reference`.

use syrinx::checkpoint::Tensors;
use syrinx::error::Error;
use syrinx::nn::Cpu;
use syrinx::nn::crepe::{Crepe, DEFAULT_THRESHOLD, decode_path, decode_weighted, smooth};

use crate::support::{Golden, assert_close, cents, data};

/// Salience is a sigmoid after seven layers of f32 sums in another order; the last has weights sixteen times the usual.
const SALIENCE: f32 = 1e-4;
/// Cents of f0 from the reference's salience: it works in f32, whose last bit is 0.0005 cents at 8000 cents.
const CENTS: f64 = 0.01;

fn small() -> Crepe<Cpu> {
    let tensors = Tensors::open(data("crepe_small.weights.safetensors")).unwrap();
    Crepe::load(&tensors.weights(), &Default::default()).unwrap()
}

#[track_caller]
fn assert_same_pitch(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    let worst = found.iter().zip(expected).map(|(&a, &b)| cents(a, b).abs()).fold(0.0, f64::max);
    assert!(worst < CENTS, "{worst} cents");
}

#[test]
fn salience_is_the_references() {
    let (model, golden) = (small(), Golden::open("crepe_small"));
    let salience = model.salience(&golden.f32("wav")).unwrap();
    assert_close("salience", &salience, &golden.f32("salience"), SALIENCE);
}

#[test]
fn every_decoder_reads_the_reference_pitch_off_the_same_salience() {
    let golden = Golden::open("crepe_small");
    let salience = golden.f32("salience");
    let weighted = decode_weighted(&salience, 360);
    assert_same_pitch(&weighted.f0_hz, &golden.f32("weighted.f0"));
    assert_close("periodicity", &weighted.voicing, &golden.f32("weighted.periodicity"), 0.0);
    let path = decode_path(&salience, 360);
    assert_same_pitch(&path.f0_hz, &golden.f32("viterbi.f0"));
    assert_close("periodicity", &path.voicing, &golden.f32("viterbi.periodicity"), 0.0);
    let smoothed = smooth(&path, 0.0);
    assert_same_pitch(&smoothed.f0_hz, &golden.f32("rvc.smooth_f0"));
    assert_close("periodicity", &smoothed.voicing, &golden.f32("rvc.periodicity"), 0.0);
}

#[test]
fn the_likeliest_path_through_a_wandering_salience_is_the_references() {
    let golden = Golden::open("crepe_small");
    let path = decode_path(&golden.f32("moving.salience"), 360);
    assert_same_pitch(&path.f0_hz, &golden.f32("moving.f0"));
    assert_close("periodicity", &path.voicing, &golden.f32("moving.periodicity"), 0.0);
    let largest = decode_weighted(&golden.f32("moving.salience"), 360);
    let elsewhere = path.f0_hz.iter().zip(&largest.f0_hz).filter(|(a, b)| cents(**a, **b).abs() > 100.0).count();
    let moves = path.f0_hz.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(elsewhere > 10 && moves > 20, "the recording would prove little: {elsewhere} elsewhere, {moves} moves");
}

#[test]
fn frames_whose_smoothed_periodicity_is_below_the_threshold_are_unvoiced() {
    let mut salience = vec![0.01; 5 * 360];
    for (frame, peak) in [0.9, 0.9, 0.05, 0.05, 0.9].into_iter().enumerate() {
        salience[frame * 360 + 150] = peak;
    }
    let track = smooth(&decode_path(&salience, 360), DEFAULT_THRESHOLD);
    assert_eq!(track.voicing, [0.9, 0.9, 0.05, 0.05, 0.05]);
    assert_eq!(track.f0_hz.iter().map(|&hz| hz > 0.0).collect::<Vec<_>>(), [true, true, false, false, false]);
}

#[test]
fn any_length_gives_a_frame_every_160_samples_and_no_sample_is_an_error() {
    let model = small();
    for length in [1, 159, 160, 161, 1024, 4800] {
        for value in [0.0, 0.5, f32::NAN] {
            let track = model.f0(&vec![value; length], DEFAULT_THRESHOLD).unwrap();
            assert_eq!((track.f0_hz.len(), track.voicing.len()), (length / 160 + 1, length / 160 + 1));
            assert!(track.f0_hz.iter().chain(&track.voicing).all(|v| v.is_finite()), "{length} {value} {track:?}");
        }
    }
    assert!(matches!(model.f0(&[], DEFAULT_THRESHOLD), Err(Error::Argument { .. })));
}

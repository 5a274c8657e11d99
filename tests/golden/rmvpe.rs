//! RMVPE against the reference's mel, salience and f0.

use syrinx::checkpoint::Tensors;
use syrinx::dsp::mel::{FilterBank, MelScale};
use syrinx::error::Error;
use syrinx::nn::Cpu;
use syrinx::nn::rmvpe::{DEFAULT_THRESHOLD, Rmvpe, decode};

use crate::support::{Family, Golden, assert_close, data, seeded_checkpoint};

/// Log-mel: the reference's own f32 transform is 2.9e-4 from the same spectrogram in f64, in bands near its floor.
const MEL: f32 = 5e-4;
/// Salience is a sigmoid after some sixty layers of f32 sums in another order.
const SALIENCE: f32 = 1e-5;
/// The same after our own mel, whose difference (see [`MEL`]) the network carries on.
const SALIENCE_OF_AUDIO: f32 = 3e-5;
/// Cents of f0: the weighted mean divides out most of the salience's error.
const CENTS: f64 = 0.01;
/// Bins of the salience.
const BINS: usize = 360;

fn small() -> Rmvpe<Cpu> {
    let tensors = Tensors::open(data("rmvpe_small.pt")).unwrap();
    Rmvpe::load(&tensors.weights(), &Default::default()).unwrap()
}

/// Asserts equal voicing, and equal pitch within `tolerance` cents.
#[track_caller]
fn assert_same_pitch(found: &[f32], expected: &[f32], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (frame, (&a, &b)) in found.iter().zip(expected).enumerate() {
        assert_eq!(a > 0.0, b > 0.0, "frame {frame}: {a} Hz, expected {b} Hz");
        if b > 0.0 {
            let cents = 1200.0 * (f64::from(a) / f64::from(b)).log2().abs();
            assert!(cents <= tolerance, "frame {frame}: {a} Hz, expected {b} Hz");
        }
    }
}

fn check(model: &Rmvpe<Cpu>, golden: &Golden, case: usize) {
    let audio = golden.f32(&format!("{case}.in.wav"));
    let mel = model.mel(&audio).unwrap();
    // The reference stores bands first.
    let expected = golden.f32(&format!("{case}.out.mel"));
    let frames = audio.len() / 160 + 1;
    let by_frame: Vec<f32> = (0..frames).flat_map(|t| expected.iter().skip(t).step_by(frames).copied()).collect();
    assert_close("mel", &mel, &by_frame, MEL);
    let salience = golden.f32(&format!("{case}.out.salience"));
    assert_close("salience of the reference's mel", &model.salience(&by_frame).expect("salience"), &salience, SALIENCE);
    assert_close("salience", &model.salience(&mel).expect("salience"), &salience, SALIENCE_OF_AUDIO);
    let track = model.f0(&audio, DEFAULT_THRESHOLD).unwrap();
    assert_same_pitch(&track.f0_hz, &golden.f32(&format!("{case}.out.f0")), CENTS);
}

#[test]
fn the_small_network_gives_the_reference_mel_salience_and_pitch() {
    let (model, golden) = (small(), Golden::open("rmvpe_small"));
    check(&model, &golden, 0);
    check(&model, &golden, 1);
}

#[test]
fn the_published_size_gives_the_reference_mel_salience_and_pitch() {
    let listing = include_str!("../data/rmvpe_listing.txt").lines().map(|line| {
        let (name, shape) = line.split_once(' ').unwrap();
        (name, shape.split(',').map(|n| n.parse().unwrap()).collect())
    });
    let tensors = seeded_checkpoint(Family::Rmvpe, listing);
    let model = Rmvpe::load(&tensors.weights(), &Default::default()).unwrap();
    drop(tensors);
    check(&model, &Golden::open("rmvpe_full"), 0);
    check(&model, &Golden::open("rmvpe_full"), 1);
}

#[test]
fn decoding_follows_the_reference_at_edges_and_thresholds() {
    let golden = Golden::open("rmvpe_decode");
    let track = decode(&golden.f32("salience"), BINS, DEFAULT_THRESHOLD);
    assert_same_pitch(&track.f0_hz, &golden.f32("f0"), CENTS);
}

#[test]
fn the_mel_bank_is_librosas() {
    let bank = FilterBank::mel(MelScale::Htk, 16_000, 1024, 128, [30.0, 8000.0]);
    // Weights are at most 0.03, so this is the last bit or two of an f32.
    assert_close("mel basis", &bank.matrix(), &Golden::open("rmvpe_decode").f32("mel_basis"), 4e-9);
}

#[test]
fn any_length_gives_a_frame_every_160_samples_and_no_sample_is_an_error() {
    let model = small();
    for length in [1, 2, 159, 160, 161, 511, 512, 513, 1023, 4800] {
        let audio: Vec<f32> = (0..length).map(|i| (i as f32 * 0.1).sin()).collect();
        let track = model.f0(&audio, DEFAULT_THRESHOLD).unwrap();
        assert_eq!((track.f0_hz.len(), track.voicing.len()), (length / 160 + 1, length / 160 + 1));
        assert!(track.f0_hz.iter().chain(&track.voicing).all(|v| v.is_finite()));
    }
    assert!(matches!(model.f0(&[], DEFAULT_THRESHOLD), Err(Error::Argument { .. })));
}

#[test]
fn silence_and_sound_that_is_not_a_number_give_no_pitch_that_is_not_a_number() {
    let model = small();
    for value in [0.0, f32::NAN, f32::INFINITY] {
        let track = model.f0(&[value; 3000], DEFAULT_THRESHOLD).unwrap();
        assert!(track.f0_hz.iter().chain(&track.voicing).all(|v| v.is_finite()));
    }
}

#[test]
fn a_missing_or_misshapen_tensor_is_named() {
    let tensors = Tensors::open(data("rmvpe_small.pt")).unwrap();
    for victim in ["unet.decoder.layers.1.conv1.0.weight", "fc.0.gru.weight_ih_l0_reverse", "fc.1.weight"] {
        let rest = tensors.iter().filter(|(name, _)| *name != victim).map(|(n, t)| (n.to_owned(), t.clone()));
        let damaged = Tensors::new("damaged.pt", rest);
        let loaded = Rmvpe::<Cpu>::load(&damaged.weights(), &Default::default());
        assert!(matches!(&loaded, Err(Error::Tensor { tensor, .. }) if tensor == victim), "{loaded:?}");
    }
}

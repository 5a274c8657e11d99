//! Signal processing against the recordings of the reference.

use syrinx::dsp::phase_vocoder::PhaseVocoder;
use syrinx::dsp::sinc_hann::SincHann;
use syrinx::dsp::spectral_gate::SpectralGate;
use syrinx::dsp::{envelope, high_pass, interpolate};
use syrinx::path::pitch;

use crate::support::{Golden, assert_close};

#[test]
fn the_high_pass_matches_scipy() {
    let golden = Golden::open("dsp");
    // Both filter in f64; only the final rounding to f32 differs.
    assert_close("high-pass", &high_pass::zero_phase(&golden.f32("x")), &golden.f32("filtfilt"), 2e-7);
}

#[test]
fn the_envelope_mix_matches_the_reference() {
    let golden = Golden::open("dsp");
    for rate in [0.0, 0.25, 0.8] {
        let mut output = golden.f32("y");
        envelope::mix(&golden.f32("filtfilt"), 16_000, &mut output, 40_000, rate);
        // f32 sums of squares in another order, raised to a power.
        assert_close(&format!("rate {rate}"), &output, &golden.f32(&format!("change_rms_{rate:?}")), 2e-6);
    }
}

#[test]
fn the_resampler_matches_torchaudio() {
    let golden = Golden::open("dsp");
    let inputs = [(40_000, 16_000), (48_000, 16_000), (32_000, 16_000), (44_100, 16_000)];
    let ratios = [(40_000, 48_000), (32_000, 48_000), (421, 400), (378, 400)];
    for (from, to) in inputs.into_iter().chain(ratios) {
        let expected = golden.f32(&format!("resample_{from}_{to}"));
        let x = golden.f32("x");
        let input = &x[..8_000];
        // The reference computes the taps in f32, whose positions are off by 1e-5 of a sample after many blocks.
        assert_close(&format!("{from} to {to}"), &SincHann::new(from, to).resample(input), &expected, 2e-5);
    }
}

#[test]
fn coarse_pitch_matches_the_reference() {
    let golden = Golden::open("dsp");
    let found: Vec<i64> = golden.f32("coarse_f0_in").iter().map(|&hz| pitch::coarse(hz).into()).collect();
    assert_eq!(found, golden.i64("coarse_out"));
}

#[test]
fn linear_resizing_matches_torch() {
    let golden = Golden::open("dsp");
    let rows = golden.f32("interp_linear_in");
    for length in [13, 18] {
        let found: Vec<f32> = rows.chunks(16).flat_map(|row| interpolate::resize(row, length)).collect();
        // Torch computes positions in f32.
        assert_close("resize", &found, &golden.f32(&format!("interp_linear_{length}")), 2e-6);
    }
}

#[test]
fn the_spectral_gate_matches_the_reference() {
    let golden = Golden::open("dsp");
    let gated = SpectralGate::new(32_000).apply(&golden.f32("gate_x"), &golden.f32("gate_xn"));
    // Two f32 transforms of 1280 samples.
    assert_close("gate", &gated, &golden.f32("gate_y"), 2e-6);
}

#[test]
fn the_phase_vocoder_matches_classic_rvcs() {
    let golden = Golden::open("phase_vocoder");
    let blended = PhaseVocoder::new(golden.f32("fade_in")).blend(&golden.f32("a"), &golden.f32("b"));
    // The reference takes angles of up to 5000 radians in f32, each off by up to 2e-4.
    assert_close("blend", &blended, &golden.f32("out"), 1e-4);
}

//! HuBERT against the reference's intermediates and outputs.

use syrinx::checkpoint::Tensors;
use syrinx::checkpoint::hubert::{EncoderCheckpoint, EncoderConfig, FeatureNorm};
use syrinx::nn::Cpu;
use syrinx::nn::hubert::{Hubert, Projection};
use syrinx::nn::ops::Precision;

use crate::support::{Family, Golden, assert_close, data, listing, max_difference, seeded_checkpoint};

/// f32 sums over up to 3072 values in another order, through twelve layers.
const TOLERANCE: f32 = 2e-5;

/// Sizes of the recorded encoders.
pub fn config(
    hidden: usize,
    inner: usize,
    layers: usize,
    heads: usize,
    channels: usize,
    position: [usize; 2],
) -> EncoderConfig {
    EncoderConfig {
        hidden_size: hidden,
        layers,
        heads,
        intermediate_size: inner,
        conv_dim: vec![channels; 7],
        conv_kernel: vec![10, 3, 3, 3, 3, 2, 2],
        conv_stride: vec![5, 2, 2, 2, 2, 2, 2],
        feature_norm: FeatureNorm::OverTime,
        position_taps: position[0],
        position_groups: position[1],
        layer_norm_eps: 1e-5,
        attention_span: None,
        final_proj: Some(256),
    }
}

/// The small encoder of version 1.
pub fn small_v1() -> (Tensors, EncoderConfig) {
    let tensors = Tensors::open(data("hubert_small_v1.weights.safetensors")).expect("weights");
    (tensors, config(48, 96, 12, 4, 24, [32, 4]))
}

/// The small encoder of version 2, whose weights are seeded.
pub fn small_v2() -> (Tensors, EncoderConfig) {
    let config = config(768, 64, 1, 12, 16, [16, 16]);
    (seeded_checkpoint(Family::Hubert, listing(include_str!("../data/hubert_small_v2_listing.txt"))), config)
}

fn assert_matches(golden: &Golden, (tensors, config): &(Tensors, EncoderConfig)) {
    let load = |projection| {
        Hubert::<Cpu>::load(&tensors.weights(), config, projection, &Default::default()).expect("an encoder")
    };
    let whole = load(Projection::Layer12);
    let audio = golden.f32("in.wav");
    let values = |tensor: burn::Tensor<Cpu, 3>| tensor.into_data().into_vec::<f32>().expect("f32");

    let features = values(whole.features(&audio).expect("features"));
    assert_close("convolutions", &features, &golden.f32("mid.conv_out"), TOLERANCE);
    for layer in [0, 1, 2, 9, 12].into_iter().filter(|&layer| golden.has(&format!("out.hidden.{layer}"))) {
        let hidden = values(whole.hidden(&audio, layer).expect("hidden"));
        assert_close(&format!("layer {layer}"), &hidden, &golden.f32(&format!("out.hidden.{layer}")), TOLERANCE);
    }
    if golden.has("out.v2") {
        assert_close("v2", &values(whole.units(&audio).expect("units")), &golden.f32("out.v2"), TOLERANCE);
    }
    if golden.has("out.v1") {
        let projected = load(Projection::Layer9Projected).units(&audio).expect("units");
        assert_close("v1", &values(projected), &golden.f32("out.v1"), TOLERANCE);
    }
}

#[test]
fn the_small_encoder_of_version_1() {
    assert_matches(&Golden::open("hubert_small_v1"), &small_v1());
}

#[test]
fn the_small_encoder_of_version_2() {
    assert_matches(&Golden::open("hubert_small_v2"), &small_v2());
}

#[test]
fn units_of_reduced_precision_stay_within_what_its_documentation_says() {
    /// Factors of 8 significant bits, through twelve layers.
    const BOUND: f64 = 0.01;
    for (golden, (tensors, config)) in [("hubert_small_v1", small_v1()), ("hubert_small_v2", small_v2())] {
        let golden = Golden::open(golden);
        let encoder = Hubert::<Cpu>::load_for(
            &tensors.weights(),
            &config,
            Projection::Layer12,
            Precision::Reduced,
            &Default::default(),
        );
        let units = encoder.expect("an encoder").units(&golden.f32("in.wav")).expect("units");
        let units = units.into_data().into_vec::<f32>().expect("f32");
        let expected = golden.f32(if golden.has("out.v2") { "out.v2" } else { "out.hidden.12" });
        let energy = |values: &mut dyn Iterator<Item = f32>| values.map(|x| f64::from(x).powi(2)).sum::<f64>();
        let error = energy(&mut units.iter().zip(&expected).map(|(a, b)| a - b));
        let size = (error / energy(&mut expected.iter().copied())).sqrt();
        assert!(units.len() == expected.len() && size < BOUND, "{size}");
    }
}

#[test]
fn the_full_size_encoder() {
    let tensors = seeded_checkpoint(Family::Hubert, listing(include_str!("../data/hubert_listing.txt")));
    assert_matches(&Golden::open("hubert_full"), &(tensors, config(768, 3072, 12, 12, 512, [128, 16])));
}

/// Recorded by `tests/reference/record_stream_encoder.py`.
fn for_streams() -> EncoderCheckpoint {
    EncoderCheckpoint::open(data("hubert_stream.weights.safetensors")).expect("an encoder")
}

#[test]
fn an_encoder_for_streams() {
    let EncoderCheckpoint { config, tensors } = for_streams();
    assert_eq!((config.feature_norm, config.attention_span), (FeatureNorm::PerFrame, Some([7, 2])));
    assert_matches(&Golden::open("hubert_stream"), &(tensors, config));
}

#[test]
fn units_of_an_encoder_for_streams_are_those_of_the_whole_but_for_what_they_see() {
    let EncoderCheckpoint { config, tensors } = for_streams();
    let encoder =
        Hubert::<Cpu>::load(&tensors.weights(), &config, Projection::Layer9Projected, &Default::default()).unwrap();
    let units = |audio: &[f32]| encoder.units(audio).expect("units").into_data().into_vec::<f32>().expect("f32");
    let audio = Golden::open("hubert_stream").f32("in.wav");
    let whole = units(&audio);
    // Each of two layers sees 7 frames before and 2 after, the positions 3 before and 2 after.
    let (before, after, width) = (2 * 7 + 3, 2 * 2 + 2, 10);
    for (first, frames) in [(0, 40), (5, 30), (9, 24), (20, 27)] {
        let part = units(&audio[first * 320..(first + frames) * 320 + 80]);
        assert_eq!(part.len(), frames * width);
        let inner = if first == 0 { 0 } else { before }..frames - after;
        let expected = &whole[(first + inner.start) * width..(first + inner.end) * width];
        assert_close("inner units", &part[inner.start * width..inner.end * width], expected, 1e-5);
        let last = max_difference(&part[(frames - 1) * width..], &whole[(first + frames - 1) * width..][..width]);
        assert!(last > 1e-3, "the last unit saw nothing of what follows: {last}");
    }
}

#[test]
fn audio_shorter_than_a_frame_is_refused() {
    let (tensors, config) = small_v1();
    let encoder =
        Hubert::<Cpu>::load(&tensors.weights(), &config, Projection::Layer12, &Default::default()).expect("an encoder");
    let error = encoder.units(&[0.0; 399]).expect_err("too short").to_string();
    assert_eq!(error, "audio: expected at least 400 samples at 16 kHz, found 399");
    assert_eq!(encoder.units(&[0.0; 400]).expect("one frame").dims(), [1, 1, 48]);
}

#[test]
fn a_long_input_has_no_seam_between_its_tiles() {
    let (tensors, config) = small_v1();
    let encoder =
        Hubert::<Cpu>::load(&tensors.weights(), &config, Projection::Layer12, &Default::default()).expect("an encoder");
    // Frames lie 320 samples apart: of an input with that period all are alike, whatever tile of 256 they are in.
    let audio: Vec<f32> = (0..320 * 600 + 80).map(|n| (n % 320) as f32 / 320.0 - 0.5).collect();
    let features = encoder.features(&audio).expect("features");
    assert_eq!(features.dims(), [1, 24, 600]);
    let spread: f32 = (features.clone() - features.narrow(2, 0, 1)).abs().max().into_scalar();
    assert!(spread < 1e-5, "frames of a periodic input differ by {spread}");
}

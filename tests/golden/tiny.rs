//! Voices and an encoder of a few channels with random weights: whole conversions in milliseconds.

use std::sync::Arc;

use syrinx::checkpoint::hubert::EncoderConfig;
use syrinx::checkpoint::voice::{Resblock, Version, VoiceConfig, tensor_shapes};
use syrinx::checkpoint::{Tensor, Tensors};
use syrinx::dsp::yin::Yin;
use syrinx::nn::Cpu;
use syrinx::nn::hubert::{Hubert, Projection};
use syrinx::nn::synthesizer::Synthesizer;
use syrinx::path::Converter;
use syrinx::path::pitch::Tracker;
use syrinx::path::synth::Synth;
use syrinx::path::units::UnitEncoder;

use crate::support::uniform;

/// Sizes of a voice whose stages upsample by `rates`.
pub fn voice_config(has_f0: bool, resblock: Resblock, rates: &[usize]) -> VoiceConfig {
    let dilations = if resblock == Resblock::One { vec![1, 3, 5] } else { vec![1, 3] };
    VoiceConfig {
        version: Version::V1,
        info: String::new(),
        inter_channels: 6,
        hidden_channels: 8,
        filter_channels: 10,
        heads: 2,
        layers: 1,
        kernel_size: 3,
        resblock,
        resblock_kernel_sizes: vec![3, 5],
        resblock_dilation_sizes: vec![dilations; 2],
        upsample_rates: rates.to_vec(),
        upsample_kernel_sizes: rates.iter().map(|rate| 2 * rate + rate % 2).collect(),
        upsample_initial_channel: 16,
        speakers: 2,
        gin_channels: 4,
        pitch_hz: None,
        unit_dim: 5,
        sample_rate_hz: 8_000,
        has_f0,
    }
}

/// A voice of `config` with random weights.
pub fn voice(config: &VoiceConfig) -> Synthesizer<Cpu> {
    scaled_voice(config, 1.0)
}

/// The same with the generator's weights so many times as large.
fn scaled_voice(config: &VoiceConfig, generator_scale: f32) -> Synthesizer<Cpu> {
    let names = Names { listing: tensor_shapes(config) };
    let random = names.random();
    let scaled = random.iter().map(|(name, tensor)| {
        let scale = if name.starts_with("dec.") { generator_scale } else { 1.0 };
        let values = tensor.to_f32().into_iter().map(|value| value * scale).collect();
        (name.to_owned(), Tensor::from_f32(tensor.shape.clone(), values))
    });
    let tensors = Tensors::new("random weights", scaled.collect::<Vec<_>>());
    Synthesizer::load(&tensors.weights(), config, &Default::default()).expect("a voice")
}

/// A converter of such a voice, 8 kHz, without index, that tracks pitch by YIN.
pub fn converter(has_f0: bool) -> Converter<Cpu> {
    scaled_converter(has_f0, 1.0)
}

/// The same with the generator's weights so many times as large.
pub fn scaled_converter(has_f0: bool, generator_scale: f32) -> Converter<Cpu> {
    Converter {
        units: UnitEncoder::new(Arc::new(encoder())),
        retrieval: None,
        tracker: Tracker::Yin(Arc::new(Yin::default())),
        synth: Synth::new(Arc::new(scaled_voice(&voice_config(has_f0, Resblock::One, &[10, 4, 2]), generator_scale))),
    }
}

/// An encoder of one layer whose units have the voice's five values.
fn encoder() -> Hubert<Cpu> {
    let config = EncoderConfig { final_proj: Some(5), ..crate::hubert::config(8, 12, 1, 2, 4, [4, 2]) };
    let mut names = Names::default();
    for (i, &taps) in config.conv_kernel.iter().enumerate() {
        names.add(&format!("feature_extractor.conv_layers.{i}.conv.weight"), &[4, if i == 0 { 1 } else { 4 }, taps]);
    }
    names.add_biased("feature_extractor.conv_layers.0.layer_norm", &[4], 4);
    names.add_biased("feature_projection.layer_norm", &[4], 4);
    names.add_biased("feature_projection.projection", &[8, 4], 8);
    names.add_biased("encoder.pos_conv_embed.conv", &[8, 4, 4], 8);
    names.add_biased("encoder.layer_norm", &[8], 8);
    for part in ["q_proj", "k_proj", "v_proj", "out_proj"] {
        names.add_biased(&format!("encoder.layers.0.attention.{part}"), &[8, 8], 8);
    }
    names.add_biased("encoder.layers.0.layer_norm", &[8], 8);
    names.add_biased("encoder.layers.0.feed_forward.intermediate_dense", &[12, 8], 12);
    names.add_biased("encoder.layers.0.feed_forward.output_dense", &[8, 12], 8);
    names.add_biased("encoder.layers.0.final_layer_norm", &[8], 8);
    names.add_biased("final_proj", &[5, 8], 5);
    Hubert::load(&names.random().weights(), &config, Projection::Layer9Projected, &Default::default())
        .expect("an encoder")
}

/// Names and shapes of a checkpoint's tensors, as published ones have them.
#[derive(Default)]
struct Names {
    listing: Vec<(String, Vec<usize>)>,
}

impl Names {
    fn add(&mut self, name: &str, shape: &[usize]) {
        self.listing.push((name.to_owned(), shape.to_vec()));
    }

    fn add_biased(&mut self, stem: &str, weight: &[usize], biases: usize) {
        self.add(&format!("{stem}.weight"), weight);
        self.add(&format!("{stem}.bias"), &[biases]);
    }

    /// Every tensor with values in -0.3..0.3 that its name seeds.
    fn random(self) -> Tensors {
        let random = |(name, shape): (String, Vec<usize>)| {
            let values = uniform(&name, shape.iter().product()).map(|u| 0.3 * u as f32).collect();
            (name, Tensor::from_f32(shape, values))
        };
        Tensors::new("random weights", self.listing.into_iter().map(random))
    }
}

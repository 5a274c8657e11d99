//! Voices and an encoder of a few channels with random weights: whole conversions in milliseconds.

use std::sync::Arc;

use syrinx::checkpoint::hubert::EncoderConfig;
use syrinx::checkpoint::voice::{Resblock, Version, VoiceConfig};
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
        unit_dim: 5,
        sample_rate_hz: 8_000,
        has_f0,
    }
}

/// A voice of `config` with random weights.
pub fn voice(config: &VoiceConfig) -> Synthesizer<Cpu> {
    let mut names = Names::default();
    names.add_text_encoder(config);
    names.add_flow(config);
    names.add_generator(config);
    names.add("emb_g.weight", &[config.speakers, config.gin_channels]);
    Synthesizer::load(&names.random().weights(), config, &Default::default()).expect("a voice")
}

/// A converter of such a voice, 8 kHz, without index, that tracks pitch by YIN.
pub fn converter(has_f0: bool) -> Converter<Cpu> {
    Converter {
        units: UnitEncoder::new(Arc::new(encoder())),
        retrieval: None,
        tracker: Tracker::Yin(Arc::new(Yin::default())),
        synth: Synth::new(Arc::new(voice(&voice_config(has_f0, Resblock::One, &[10, 4, 2])))),
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

    fn add_text_encoder(&mut self, config: &VoiceConfig) {
        let (width, inner, taps) = (config.hidden_channels, config.filter_channels, config.kernel_size);
        self.add_biased("enc_p.emb_phone", &[width, config.unit_dim], width);
        if config.has_f0 {
            self.add("enc_p.emb_pitch.weight", &[256, width]);
        }
        for i in 0..config.layers {
            let attention = format!("enc_p.encoder.attn_layers.{i}");
            for part in ["q", "k", "v", "o"] {
                self.add_biased(&format!("{attention}.conv_{part}"), &[width, width, 1], width);
            }
            for part in ["emb_rel_k", "emb_rel_v"] {
                self.add(&format!("{attention}.{part}"), &[1, 21, width / config.heads]);
            }
            self.add_biased(&format!("enc_p.encoder.ffn_layers.{i}.conv_1"), &[inner, width, taps], inner);
            self.add_biased(&format!("enc_p.encoder.ffn_layers.{i}.conv_2"), &[width, inner, taps], width);
            for part in ["norm_layers_1", "norm_layers_2"] {
                self.add(&format!("enc_p.encoder.{part}.{i}.gamma"), &[width]);
                self.add(&format!("enc_p.encoder.{part}.{i}.beta"), &[width]);
            }
        }
        self.add_biased("enc_p.proj", &[2 * config.inter_channels, width, 1], 2 * config.inter_channels);
    }

    fn add_flow(&mut self, config: &VoiceConfig) {
        let (half, width) = (config.inter_channels / 2, config.hidden_channels);
        for flow in ["flow.flows.0", "flow.flows.2", "flow.flows.4", "flow.flows.6"] {
            self.add_biased(&format!("{flow}.pre"), &[width, half, 1], width);
            self.add_biased(&format!("{flow}.post"), &[half, width, 1], half);
            self.add_biased(&format!("{flow}.enc.cond_layer"), &[6 * width, config.gin_channels, 1], 6 * width);
            for i in 0..3 {
                let out = if i == 2 { width } else { 2 * width };
                self.add_biased(&format!("{flow}.enc.in_layers.{i}"), &[2 * width, width, 5], 2 * width);
                self.add_biased(&format!("{flow}.enc.res_skip_layers.{i}"), &[out, width, 1], out);
            }
        }
    }

    fn add_generator(&mut self, config: &VoiceConfig) {
        let first = config.upsample_initial_channel;
        self.add_biased("dec.conv_pre", &[first, config.inter_channels, 7], first);
        self.add_biased("dec.cond", &[first, config.gin_channels, 1], first);
        let lists: &[&str] = if config.resblock == Resblock::One { &["convs1", "convs2"] } else { &["convs"] };
        let mut block = 0;
        for (i, &taps) in config.upsample_kernel_sizes.iter().enumerate() {
            let channels = first >> (i + 1);
            self.add_biased(&format!("dec.ups.{i}"), &[2 * channels, channels, taps], channels);
            let stride: usize = config.upsample_rates[i + 1..].iter().product();
            let source_taps = if i + 1 == config.upsample_rates.len() { 1 } else { 2 * stride };
            if config.has_f0 {
                self.add_biased(&format!("dec.noise_convs.{i}"), &[channels, 1, source_taps], channels);
            }
            for (&taps, dilations) in config.resblock_kernel_sizes.iter().zip(&config.resblock_dilation_sizes) {
                for (list, d) in lists.iter().flat_map(|list| (0..dilations.len()).map(move |d| (list, d))) {
                    self.add_biased(
                        &format!("dec.resblocks.{block}.{list}.{d}"),
                        &[channels, channels, taps],
                        channels,
                    );
                }
                block += 1;
            }
        }
        self.add("dec.conv_post.weight", &[1, first >> config.upsample_rates.len(), 7]);
        if config.has_f0 {
            self.add_biased("dec.m_source.l_linear", &[1, 1], 1);
        }
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

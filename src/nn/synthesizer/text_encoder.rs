//! The text encoder: a transformer over units and coarse pitch with relative positions, giving the prior of each hop.
//!
//! Relative positions after Shaw et al., "Self-attention with relative position representations" (2018), within a
//! window of a few hops.

use burn::tensor::{Int, Tensor};

use super::Prior;
use crate::checkpoint::Weights;
use crate::checkpoint::voice::VoiceConfig;
use crate::error::Result;
use crate::nn::layers::{Conv1d, LayerNorm, Linear, load};
use crate::nn::ops::{Activation, AttentionSpec, Conv1dSpec, Fused, Relative, VoiceOps};

/// Slope of the rectifier after the embeddings.
const SLOPE: f32 = 0.1;
/// Rows of the pitch embedding: coarse pitch 0..=255.
const PITCHES: usize = 256;
/// Most distances that any voice worth loading tells apart: the attention holds a row of them for each hop and head.
const MOST_DISTANCES: usize = 1025;
/// Added to variances.
const EPSILON: f32 = 1e-5;

#[derive(Clone, Debug)]
pub(super) struct TextEncoder<B: VoiceOps> {
    units: Linear<B>,
    pitch: Option<Tensor<B, 2>>,
    layers: Vec<Layer<B>>,
    /// To mean and log deviation.
    projection: Linear<B>,
    config: VoiceConfig,
}

impl<B: VoiceOps> TextEncoder<B> {
    pub(super) fn load(weights: &Weights<'_>, config: &VoiceConfig, device: &B::Device) -> Result<Self> {
        let hidden = config.hidden_channels;
        let encoder = weights.child("encoder");
        let pitch = config.has_f0.then(|| load(weights, "emb_pitch.weight", [PITCHES, hidden], device)).transpose()?;
        let layers = (0..config.layers).map(|i| Layer::load(&encoder, i, config, device));
        Ok(Self {
            units: Linear::load(&weights.child("emb_phone"), [hidden, config.unit_dim], device)?,
            pitch,
            layers: layers.collect::<Result<_>>()?,
            projection: Linear::load_pointwise(&weights.child("proj"), [2 * config.inter_channels, hidden], device)?,
            config: config.clone(),
        })
    }

    /// Units `[1, hops, unit_dim]` and, for a voice with pitch, as many coarse pitches to the prior of the hops from
    /// `first_hop` on.
    pub(super) fn forward(&self, units: Tensor<B, 3>, coarse: Option<Tensor<B, 1, Int>>, first_hop: usize) -> Prior<B> {
        let x = self.embed(units, coarse);
        let wanted = match self.layers.split_last() {
            Some((last, layers)) => last.forward_from(layers.iter().fold(x, |x, layer| layer.forward(x)), first_hop),
            None => from_hop(x, first_hop),
        };
        let statistics = self.projection.forward(wanted).swap_dims(1, 2);
        let channels = self.config.inter_channels;
        Prior {
            mean: statistics.clone().narrow(1, 0, channels),
            log_deviation: statistics.narrow(1, channels, channels),
        }
    }

    fn embed(&self, units: Tensor<B, 3>, coarse: Option<Tensor<B, 1, Int>>) -> Tensor<B, 3> {
        let mut x = self.units.forward(units);
        if let Some((table, coarse)) = self.pitch.as_ref().zip(coarse) {
            x = x + table.clone().select(0, coarse).unsqueeze();
        }
        B::activate(x * (self.config.hidden_channels as f32).sqrt(), Activation::LeakyRelu(SLOPE))
    }
}

/// One post-norm layer.
#[derive(Clone, Debug)]
struct Layer<B: VoiceOps> {
    attention: Attention<B>,
    attention_norm: LayerNorm<B>,
    widen: Conv1d<B>,
    narrow: Conv1d<B>,
    final_norm: LayerNorm<B>,
    /// Hops on each side that the two convolutions see.
    reach: usize,
}

/// `x` `[1, hops, channels]` from hop `first` on.
fn from_hop<B: VoiceOps>(x: Tensor<B, 3>, first: usize) -> Tensor<B, 3> {
    let hops = x.dims()[1] - first;
    x.narrow(1, first, hops)
}

impl<B: VoiceOps> Layer<B> {
    fn load(encoder: &Weights<'_>, index: usize, config: &VoiceConfig, device: &B::Device) -> Result<Self> {
        let (hidden, inner, taps) = (config.hidden_channels, config.filter_channels, config.kernel_size);
        let same = Conv1dSpec::same(taps, 1);
        let feed_forward = encoder.child("ffn_layers").child(index);
        let norm =
            |name| LayerNorm::load(&encoder.child(name).child(index), ["gamma", "beta"], hidden, EPSILON, device);
        Ok(Self {
            attention: Attention::load(&encoder.child("attn_layers").child(index), config, device)?,
            attention_norm: norm("norm_layers_1")?,
            widen: Conv1d::load(&feed_forward.child("conv_1"), [inner, hidden, taps], same, device)?,
            narrow: Conv1d::load(&feed_forward.child("conv_2"), [hidden, inner, taps], same, device)?,
            final_norm: norm("norm_layers_2")?,
            reach: 2 * (taps / 2),
        })
    }

    /// `[1, hops, hidden]` to the same.
    fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        self.forward_from(x, 0)
    }

    /// The same of the hops from `first` on: the convolutions, most of the work, see no more than they need of the others.
    fn forward_from(&self, x: Tensor<B, 3>, first: usize) -> Tensor<B, 3> {
        let seen = first.saturating_sub(self.reach);
        let x = self.attention_norm.forward(from_hop(self.attention.forward(x), seen));
        let channels_first = x.swap_dims(1, 2);
        let inner = self.widen.fused(channels_first.clone(), Fused::after(Activation::Relu));
        let y = self.narrow.fused(inner, Fused::default().plus(channels_first));
        self.final_norm.forward(from_hop(y.swap_dims(1, 2), first - seen))
    }
}

/// Attention in which nearby hops also know their distance.
#[derive(Clone, Debug)]
struct Attention<B: VoiceOps> {
    query: Linear<B>,
    key: Linear<B>,
    value: Linear<B>,
    out: Linear<B>,
    relative: Relative<B>,
    heads: usize,
}

impl<B: VoiceOps> Attention<B> {
    fn load(weights: &Weights<'_>, config: &VoiceConfig, device: &B::Device) -> Result<Self> {
        let hidden = config.hidden_channels;
        let square = |name| Linear::load_pointwise(&weights.child(name), [hidden, hidden], device);
        let [_, distances, _] = weights.shape("emb_rel_k")?;
        if distances % 2 == 0 || distances > MOST_DISTANCES {
            let expected = format!("an odd number of distances, at most {MOST_DISTANCES}");
            return Err(weights.error("emb_rel_k", expected, distances));
        }
        let size = hidden / config.heads.max(1);
        let relative = |name| Ok(load::<B, 3>(weights, name, [1, distances, size], device)?.reshape([distances, size]));
        Ok(Self {
            query: square("conv_q")?,
            key: square("conv_k")?,
            value: square("conv_v")?,
            out: square("conv_o")?,
            relative: Relative { keys: relative("emb_rel_k")?, values: relative("emb_rel_v")? },
            heads: config.heads,
        })
    }

    /// `x` `[1, hops, hidden]` plus what each hop draws from the others.
    fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let size = x.dims()[2] / self.heads;
        let spec = AttentionSpec { heads: self.heads, scale: 1.0 / (size as f32).sqrt(), span: None };
        let (query, key) = (self.query.forward(x.clone()), self.key.forward(x.clone()));
        let value = self.value.forward(x.clone());
        let drawn = <B as VoiceOps>::attention(query, key, value, Some(&self.relative), spec);
        self.out.fused(drawn, Fused::default().plus(x))
    }
}

#[cfg(test)]
impl TextEncoder<crate::nn::Cpu> {
    /// Holds the embedding, the first layer's halves and what leaves the layers against a record.
    pub(super) fn check_parts(
        &self,
        units: Tensor<crate::nn::Cpu, 3>,
        coarse: &[u8],
        recorded: &crate::nn::recorded::Recorded,
        tolerance: f32,
    ) {
        recorded.check("mid.enc_p.emb_phone", self.units.forward(units.clone()), tolerance);
        let coarse: Vec<i32> = coarse.iter().map(|&pitch| pitch.into()).collect();
        let x = self.embed(units, Some(Tensor::from_data(&*coarse, &Default::default())));
        let first = &self.layers[0];
        // Here the residual is added in the same pass; the record has it without.
        let attended = first.attention.forward(x.clone());
        recorded.check("mid.enc_p.attn0", (attended.clone() - x.clone()).swap_dims(1, 2), tolerance);
        let between = first.attention_norm.forward(attended).swap_dims(1, 2);
        let inner = first.widen.fused(between, Fused::after(Activation::Relu));
        recorded.check("mid.enc_p.ffn0", first.narrow.forward(inner), tolerance);
        let out = self.layers.iter().fold(x, |x, layer| layer.forward(x));
        recorded.check("mid.enc_p.encoder_out", out.swap_dims(1, 2), tolerance);
    }
}

//! The encoder's transformer layers.

use burn::tensor::Tensor;

use crate::checkpoint::Weights;
use crate::checkpoint::hubert::EncoderConfig;
use crate::error::Result;
use crate::nn::layers::{LayerNorm, Linear};
use crate::nn::ops::{Activation, AttentionSpec, Fused, Precision, VoiceOps};

/// One post-norm transformer layer.
#[derive(Clone, Debug)]
pub(super) struct Layer<B: VoiceOps> {
    /// `None` where it would add nothing: all of its output's weights are zero.
    pub(super) attention: Option<Attention<B>>,
    attention_norm: LayerNorm<B>,
    widen: Linear<B>,
    narrow: Linear<B>,
    final_norm: LayerNorm<B>,
}

impl<B: VoiceOps> Layer<B> {
    pub(super) fn load(
        weights: &Weights<'_>,
        config: &EncoderConfig,
        precision: Precision,
        device: &B::Device,
    ) -> Result<Self> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let (attention, feed_forward) = (weights.child("attention"), weights.child("feed_forward"));
        let linear = |name, shape| Linear::load_for(&feed_forward.child(name), shape, precision, device);
        let norm = |name| {
            LayerNorm::load(&weights.child(name), ["weight", "bias"], hidden, config.layer_norm_eps as f32, device)
        };
        Ok(Self {
            attention: (!Attention::<B>::adds_nothing(&attention, hidden)?)
                .then(|| Attention::load(&attention, config, precision, device))
                .transpose()?,
            attention_norm: norm("layer_norm")?,
            widen: linear("intermediate_dense", [inner, hidden])?,
            narrow: linear("output_dense", [hidden, inner])?,
            final_norm: norm("final_layer_norm")?,
        })
    }

    /// `[1, frames, hidden]` to the same.
    pub(super) fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let attended = match &self.attention {
            Some(attention) => attention.forward(x),
            None => x,
        };
        self.after(attended)
    }

    /// The same where attention gives the mean of all in sight, which is `heard`.
    pub(super) fn forward_heard(&self, x: Tensor<B, 3>, heard: Option<Tensor<B, 3>>) -> Tensor<B, 3> {
        self.after(match (&self.attention, heard) {
            (Some(attention), Some(heard)) => {
                attention.out.fused(attention.value.forward(heard), Fused::default().plus(x))
            }
            _ => x,
        })
    }

    fn after(&self, attended: Tensor<B, 3>) -> Tensor<B, 3> {
        let x = self.attention_norm.forward(attended);
        let inner = self.widen.fused(x.clone(), Fused::after(Activation::Gelu));
        self.final_norm.forward(self.narrow.fused(inner, Fused::default().plus(x)))
    }
}

/// Every frame looks at every frame in sight.
#[derive(Clone, Debug)]
pub(super) struct Attention<B: VoiceOps> {
    query: Linear<B>,
    key: Linear<B>,
    value: Linear<B>,
    out: Linear<B>,
    heads: usize,
    span: Option<[usize; 2]>,
    /// Whether queries are 0, so that all rows in sight weigh alike.
    even: bool,
}

impl<B: VoiceOps> Attention<B> {
    /// Rows before its own whose mean, with its own, a row gets; `None` if it gets anything else.
    pub(super) fn mean_of_past(&self) -> Option<usize> {
        self.span.filter(|_| self.even).filter(|[_, after]| *after == 0).map(|[before, _]| before)
    }

    /// Whether no weight of its output is other than zero, as in encoders that were trained without attention.
    fn adds_nothing(weights: &Weights<'_>, hidden: usize) -> Result<bool> {
        is_zero(&weights.child("out_proj"), hidden)
    }

    fn load(weights: &Weights<'_>, config: &EncoderConfig, precision: Precision, device: &B::Device) -> Result<Self> {
        let hidden = config.hidden_size;
        let linear = |name| Linear::load_for(&weights.child(name), [hidden, hidden], precision, device);
        Ok(Self {
            query: linear("q_proj")?,
            key: linear("k_proj")?,
            value: linear("v_proj")?,
            out: linear("out_proj")?,
            heads: config.heads,
            span: config.attention_span,
            even: is_zero(&weights.child("q_proj"), hidden)?,
        })
    }

    /// `x` and what it sees.
    fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        self.out.fused(self.attend(x.clone()), Fused::default().plus(x))
    }

    /// In `heads` parts.
    fn attend(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let size = x.dims()[2] / self.heads;
        let scale = 1.0 / (size as f32).sqrt();
        let (query, key) = (self.query.forward(x.clone()), self.key.forward(x.clone()));
        let value = self.value.forward(x);
        let spec = AttentionSpec { heads: self.heads, scale, span: self.span };
        <B as VoiceOps>::attention(query, key, value, None, spec)
    }
}

/// Whether no weight of a square map is other than zero.
fn is_zero(map: &Weights<'_>, hidden: usize) -> Result<bool> {
    let zero = |values: Vec<f32>| values.iter().all(|value| *value == 0.0);
    Ok(zero(map.load("weight", &[hidden, hidden])?) && (!map.has("bias") || zero(map.load("bias", &[hidden])?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::hubert::EncoderCheckpoint;
    use crate::nn::Cpu;

    impl Layer<Cpu> {
        /// Hears the mean of the past, with these maps of its values and output, or nothing of it.
        pub(in crate::nn::hubert) fn hear_its_past(
            &mut self,
            past: Option<(&Weights<'_>, &EncoderConfig, Linear<Cpu>, Linear<Cpu>)>,
        ) {
            self.attention = past.map(|(weights, config, value, out)| {
                let attention = Attention::load(weights, config, Precision::Full, &Default::default());
                Attention { value, out, ..attention.expect("attention") }
            });
        }
    }

    #[test]
    fn attention_that_adds_nothing_is_left_out() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/models/default/encoder");
        let file = EncoderCheckpoint::open(path).expect("an encoder");
        let (weights, device) = (file.tensors.weights(), Default::default());
        let mut layer = |i| {
            let weights = weights.child("encoder").child("layers").child(i);
            let mut layer =
                Layer::<Cpu>::load(&weights, &file.config, Precision::Full, &device).expect("a transformer layer");
            let x = Tensor::random([1, 30, file.config.hidden_size], burn::tensor::Distribution::Default, &device);
            let without = crate::nn::values(layer.forward(x.clone()));
            assert!(layer.attention.is_none(), "the voice inside was trained without");
            let attention = Attention::load(&weights.child("attention"), &file.config, Precision::Full, &device);
            layer.attention = Some(attention.expect("attention"));
            assert_eq!(without, crate::nn::values(layer.forward(x)), "layer {i}");
        };
        (1..file.config.layers).for_each(&mut layer);
    }
}

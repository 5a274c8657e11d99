//! The inverse flow: carries samples of the prior to the latents of one speaker.
//!
//! Mean-only affine couplings whose shift comes from a WaveNet, with a channel flip between them.

use burn::tensor::Tensor;

use crate::checkpoint::Weights;
use crate::checkpoint::voice::VoiceConfig;
use crate::error::Result;
use crate::nn::layers::{Conv1d, Linear};
use crate::nn::ops::{Conv1dSpec, Fused, VoiceOps};

/// Couplings and flips alternate in the checkpoint: couplings have even numbers.
const COUPLINGS: [usize; 4] = [0, 2, 4, 6];
/// Gated layers of each WaveNet.
const LAYERS: usize = 3;

#[derive(Clone, Debug)]
pub(super) struct Flow<B: VoiceOps> {
    /// In the order of the forward direction.
    couplings: Vec<Coupling<B>>,
    taps: usize,
}

impl<B: VoiceOps> Flow<B> {
    pub(super) fn load(weights: &Weights<'_>, config: &VoiceConfig, device: &B::Device) -> Result<Self> {
        let flows = weights.child("flows");
        let [_, _, taps] = flows.shape("0.enc.in_layers.0.weight")?;
        // Couplings that never shift leave their flips, an even number, which cancel: such a flow is nothing to run.
        let mut shifts = COUPLINGS.iter().map(|i| Coupling::<B>::shifts(&flows.child(i), config));
        if !shifts.try_fold(false, |any, shifts| shifts.map(|shifts| any || shifts))? {
            return Ok(Self { couplings: Vec::new(), taps });
        }
        let couplings = COUPLINGS.iter().map(|i| Coupling::load(&flows.child(i), config, device));
        Ok(Self { couplings: couplings.collect::<Result<_>>()?, taps })
    }

    /// Runs backwards: `[1, inter_channels, hops]` of the prior to as many latents.
    pub(super) fn reverse(&self, prior: Tensor<B, 3>, speaker: &Tensor<B, 3>) -> Tensor<B, 3> {
        self.couplings.iter().rev().fold(prior, |z, coupling| coupling.reverse(z.flip([1]), speaker))
    }

    pub(super) fn reach_hops(&self) -> usize {
        self.couplings.len() * LAYERS * (self.taps / 2)
    }
}

#[derive(Clone, Debug)]
struct Coupling<B: VoiceOps> {
    pre: Conv1d<B>,
    condition: Linear<B>,
    layers: Vec<GatedLayer<B>>,
    post: Conv1d<B>,
    hidden: usize,
}

/// One layer of the WaveNet.
#[derive(Clone, Debug)]
struct GatedLayer<B: VoiceOps> {
    input: Conv1d<B>,
    /// To what is added to the signal, unless it is the last layer.
    signal: Option<Conv1d<B>>,
    /// To what is added to the output.
    output: Conv1d<B>,
}

impl<B: VoiceOps> Coupling<B> {
    fn load(weights: &Weights<'_>, config: &VoiceConfig, device: &B::Device) -> Result<Self> {
        let (half, hidden) = (config.inter_channels / 2, config.hidden_channels);
        let wavenet = weights.child("enc");
        let point = Conv1dSpec::default();
        let layers = (0..LAYERS).map(|i| {
            let (input, output) = (wavenet.child("in_layers").child(i), wavenet.child("res_skip_layers").child(i));
            let [_, _, taps] = input.shape("weight")?;
            if taps % 2 == 0 {
                return Err(input.error("weight", "an odd number of taps", taps));
            }
            // Both in one, the signal's first. Apart, each adds what it makes to what there is.
            let both = if i + 1 < LAYERS { 2 * hidden } else { hidden };
            let part = |outputs| Conv1d::load_outputs(&output, [both, hidden, 1], outputs, point, device);
            Ok(GatedLayer {
                input: Conv1d::load(&input, [2 * hidden, hidden, taps], Conv1dSpec::same(taps, 1), device)?,
                signal: (both > hidden).then(|| part(0..hidden)).transpose()?,
                output: part(both - hidden..both)?,
            })
        });
        let condition = [2 * hidden * LAYERS, config.gin_channels];
        Ok(Self {
            pre: Conv1d::load(&weights.child("pre"), [hidden, half, 1], point, device)?,
            condition: Linear::load_pointwise(&wavenet.child("cond_layer"), condition, device)?,
            layers: layers.collect::<Result<_>>()?,
            post: Conv1d::load(&weights.child("post"), [half, hidden, 1], point, device)?,
            hidden,
        })
    }

    /// Whether its last convolution can give anything but zero.
    fn shifts(weights: &Weights<'_>, config: &VoiceConfig) -> Result<bool> {
        let (half, post) = (config.inter_channels / 2, weights.child("post"));
        let weight = post.load("weight", &[half, config.hidden_channels, 1])?;
        Ok(weight.into_iter().chain(post.load("bias", &[half])?).any(|value| value != 0.0))
    }

    /// `x1 - shift(x0)`, with `x0` the first half of the channels and `x1` the second.
    fn reverse(&self, z: Tensor<B, 3>, speaker: &Tensor<B, 3>) -> Tensor<B, 3> {
        let half = z.dims()[1] / 2;
        let (kept, moved) = (z.clone().narrow(1, 0, half), z.narrow(1, half, half));
        let shift = self.post.forward(self.wavenet(self.pre.forward(kept.clone()), speaker));
        Tensor::cat(vec![kept, moved - shift], 1)
    }

    fn wavenet(&self, mut x: Tensor<B, 3>, speaker: &Tensor<B, 3>) -> Tensor<B, 3> {
        let condition = self.condition.forward(speaker.clone().swap_dims(1, 2)).swap_dims(1, 2);
        let mut output: Option<Tensor<B, 3>> = None;
        for (i, layer) in self.layers.iter().enumerate() {
            let condition = condition.clone().narrow(1, i * 2 * self.hidden, 2 * self.hidden);
            let gated = B::gate(layer.input.forward(x.clone()) + condition);
            let onto = output.take().map_or_else(Fused::default, |output| Fused::default().plus(output));
            output = Some(layer.output.fused(gated.clone(), onto));
            if let Some(signal) = &layer.signal {
                x = signal.fused(gated, Fused::default().plus(x));
            }
        }
        output.unwrap_or(x)
    }
}

#[cfg(test)]
impl Flow<crate::nn::Cpu> {
    /// Holds what leaves each coupling against a record; returns the latents.
    pub(super) fn check_parts(
        &self,
        prior: Tensor<crate::nn::Cpu, 3>,
        speaker: &Tensor<crate::nn::Cpu, 3>,
        recorded: &crate::nn::recorded::Recorded,
        tolerance: f32,
    ) -> Tensor<crate::nn::Cpu, 3> {
        self.couplings.iter().zip(COUPLINGS).rev().fold(prior, |z, (coupling, number)| {
            let z = coupling.reverse(z.flip([1]), speaker);
            recorded.check(&format!("mid.flow.flows.{number}.out"), z.clone(), tolerance);
            z
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use burn::tensor::{Distribution, TensorData};

    use super::*;
    use crate::checkpoint::voice::VoiceCheckpoint;
    use crate::checkpoint::{Tensor as Stored, Tensors};
    use crate::nn::Cpu;

    #[test]
    fn a_flow_that_never_shifts_is_left_out_and_changes_nothing() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/synth_small_v1_32k.pth");
        let VoiceCheckpoint { config, tensors } = VoiceCheckpoint::open(file).expect("a voice");
        let device = Default::default();
        let speaker = Tensor::<Cpu, 3>::random([1, config.gin_channels, 1], Distribution::Default, &device);
        let prior = Tensor::<Cpu, 3>::random([1, config.inter_channels, 20], Distribution::Default, &device);
        let values = |x: Tensor<Cpu, 3>| -> Vec<f32> { TensorData::to_vec(&x.into_data()).expect("floats") };

        let whole = Flow::<Cpu>::load(&tensors.weights().child("flow"), &config, &device).expect("a flow");
        assert!(whole.couplings.len() == 4 && whole.reach_hops() > 0);
        assert_ne!(values(whole.reverse(prior.clone(), &speaker)), values(prior.clone()));

        let stilled = |(name, tensor): (&str, &Stored)| {
            let values = if name.contains(".post.") { vec![0.0; tensor.len()] } else { tensor.to_f32() };
            (name.to_owned(), Stored::from_f32(tensor.shape.clone(), values))
        };
        let still = Tensors::new("still", tensors.iter().map(stilled));
        let still_weights = still.weights();
        let left_out = Flow::<Cpu>::load(&still_weights.child("flow"), &config, &device).expect("a flow");
        assert_eq!((left_out.couplings.len(), left_out.reach_hops()), (0, 0));
        assert_eq!(values(left_out.reverse(prior.clone(), &speaker)), values(prior.clone()));
        // What is left out would have changed nothing.
        let flows = still_weights.child("flow").child("flows");
        let couplings = COUPLINGS.iter().map(|i| Coupling::load(&flows.child(i), &config, &device));
        let run = Flow { couplings: couplings.collect::<Result<_>>().expect("couplings"), taps: 5 };
        assert_eq!(values(run.reverse(prior.clone(), &speaker)), values(prior));
    }
}

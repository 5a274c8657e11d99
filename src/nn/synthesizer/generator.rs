//! The generator: latents to audio, by upsampling and residual blocks, with the harmonic source added at each stage.
//!
//! HiFi-GAN (Kong et al., 2020) with a neural source filter where the voice follows pitch.

use std::ops::Range;

use burn::tensor::Tensor;

use crate::checkpoint::Weights;
use crate::checkpoint::voice::VoiceConfig;
use crate::error::Result;
use crate::nn::layers::{Conv1d, ConvTranspose1d, load_kernel};
use crate::nn::ops::{Activation, Conv1dSpec, Fused, ResidualBlock, ResidualUnit, VoiceOps};

/// Slope of the rectifiers between stages.
const SLOPE: f32 = 0.1;
/// Slope of the rectifier before the last convolution: torch's default, which the reference leaves there.
const LAST_SLOPE: f32 = 0.01;
/// Taps of the first and the last convolution.
const EDGE_TAPS: usize = 7;

#[derive(Clone, Debug)]
pub(super) struct Generator<B: VoiceOps> {
    pre: Conv1d<B>,
    condition: Conv1d<B>,
    stages: Vec<Stage<B>>,
    post: Conv1d<B>,
    /// Hops on each side that later stages need of what enters each stage, and of what the last one makes.
    margins_hops: Vec<f64>,
}

/// One upsampling with what follows it.
#[derive(Clone, Debug)]
struct Stage<B: VoiceOps> {
    upsample: ConvTranspose1d<B>,
    /// Samples of its output per hop.
    hop: usize,
    /// Brings the source to the stage's rate and channels.
    source: Option<Conv1d<B>>,
    blocks: B::ResidualStage,
}

impl<B: VoiceOps> Generator<B> {
    pub(super) fn load(weights: &Weights<'_>, config: &VoiceConfig, device: &B::Device) -> Result<Self> {
        let channels = config.upsample_initial_channel;
        let edge = Conv1dSpec::same(EDGE_TAPS, 1);
        let stages = (0..config.upsample_rates.len()).map(|stage| Stage::load(weights, stage, config, device));
        let last = channels >> config.upsample_rates.len();
        Ok(Self {
            pre: Conv1d::load(&weights.child("conv_pre"), [channels, config.inter_channels, EDGE_TAPS], edge, device)?,
            condition: Conv1d::load(
                &weights.child("cond"),
                [channels, config.gin_channels, 1],
                Conv1dSpec::default(),
                device,
            )?,
            stages: stages.collect::<Result<_>>()?,
            post: Conv1d::load(&weights.child("conv_post"), [1, last, EDGE_TAPS], edge, device)?,
            margins_hops: margins_hops(config),
        })
    }

    /// The hops `wanted` of latents `[1, inter_channels, hops]` and source `[1, 1, samples]`: audio `[1, 1, samples]`.
    ///
    /// Each stage runs on what later ones need, and little beside it.
    pub(super) fn forward(
        &self,
        latents: Tensor<B, 3>,
        source: Option<Tensor<B, 3>>,
        speaker: &Tensor<B, 3>,
        wanted: Range<usize>,
    ) -> Tensor<B, 3> {
        let conditioned = self.pre.forward(latents) + self.condition.forward(speaker.clone());
        let mut part = Part { samples: conditioned, start: 0, hop: 1 };
        for (stage, &margin) in self.stages.iter().zip(&self.margins_hops) {
            part = stage.forward(part.trim(&wanted, margin), source.as_ref());
        }
        let margin = self.margins_hops.last().copied().unwrap_or_default();
        let part = part.trim(&wanted, margin);
        let fused = Fused { before: Activation::LeakyRelu(LAST_SLOPE), after: Activation::Tanh, residual: None };
        Part { samples: self.post.fused(part.samples, fused), ..part }.cut(&wanted, 0.0).samples
    }
}

/// The share of a signal that must be beyond what is needed for it to be worth a copy: about what the copy costs.
const WORTH_TRIMMING: f64 = 1.0 / 16.0;

/// A stretch of a signal between stages.
struct Part<B: VoiceOps> {
    /// `[1, channels, samples]`.
    samples: Tensor<B, 3>,
    /// The first of them, counted from the first hop.
    start: usize,
    /// Samples per hop.
    hop: usize,
}

impl<B: VoiceOps> Part<B> {
    /// Without what neither lies in the hops `wanted` nor in `margin` hops around them, where that is much.
    fn trim(self, wanted: &Range<usize>, margin: f64) -> Self {
        let all = self.samples.dims()[2];
        let kept = self.range(wanted, margin).len();
        if (all - kept) as f64 <= WORTH_TRIMMING * all as f64 { self } else { self.cut(wanted, margin) }
    }

    /// What of it lies in the hops `wanted` and `margin` hops around them.
    fn cut(self, wanted: &Range<usize>, margin: f64) -> Self {
        let range = self.range(wanted, margin);
        if range.len() == self.samples.dims()[2] {
            return self;
        }
        let samples = self.samples.narrow(2, range.start - self.start, range.len());
        Self { samples, start: range.start, hop: self.hop }
    }

    /// The samples, counted from the first hop, that lie in the hops `wanted` and `margin` hops around them.
    fn range(&self, wanted: &Range<usize>, margin: f64) -> Range<usize> {
        let margin = (margin * self.hop as f64).ceil() as usize;
        let end = self.start + self.samples.dims()[2];
        let first = (wanted.start * self.hop).saturating_sub(margin).max(self.start);
        let last = (wanted.end * self.hop + margin).min(end);
        first..last.max(first)
    }
}

impl<B: VoiceOps> Stage<B> {
    fn load(weights: &Weights<'_>, stage: usize, config: &VoiceConfig, device: &B::Device) -> Result<Self> {
        let channels = config.upsample_initial_channel >> (stage + 1);
        let (rate, taps) = (config.upsample_rates[stage], config.upsample_kernel_sizes[stage]);
        let upsample = ConvTranspose1d::load(
            &weights.child("ups").child(stage),
            [2 * channels, channels, taps],
            rate,
            taps.saturating_sub(rate) / 2,
            device,
        )?;
        let source = config.has_f0.then(|| {
            let remaining: usize = config.upsample_rates[stage + 1..].iter().product();
            let last = stage + 1 == config.upsample_rates.len();
            let (taps, side) = if last { (1, 0) } else { (2 * remaining, remaining / 2) };
            let spec = Conv1dSpec { stride: remaining, padding: [side, side], ..Conv1dSpec::default() };
            Conv1d::load(&weights.child("noise_convs").child(stage), [channels, 1, taps], spec, device)
        });
        let count = config.resblock_kernel_sizes.len();
        let blocks = config.resblock_dilation_sizes.iter().enumerate().map(|(block, dilations)| {
            load_block(&weights.child("resblocks").child(stage * count + block), channels, dilations, device)
        });
        Ok(Self {
            upsample,
            hop: config.upsample_rates[..=stage].iter().product(),
            source: source.transpose()?,
            blocks: B::prepare_residual_stage(blocks.collect::<Result<_>>()?),
        })
    }

    fn forward(&self, x: Part<B>, source: Option<&Tensor<B, 3>>) -> Part<B> {
        let rate = self.hop / x.hop;
        let (start, length) = (x.start * rate, x.samples.dims()[2] * rate);
        let mut fused = Fused::before(Activation::LeakyRelu(SLOPE));
        if let (Some(conv), Some(source)) = (&self.source, source) {
            fused = fused.plus(conv.forward(source.clone()).narrow(2, start, length));
        }
        Part { samples: B::residual_stage(&self.blocks, self.upsample.fused(x.samples, fused)), start, hop: self.hop }
    }
}

/// A residual block of type 1 (`convs1`, `convs2`) or type 2 (`convs`), told apart by its names.
fn load_block<B: VoiceOps>(
    weights: &Weights<'_>,
    channels: usize,
    dilations: &[usize],
    device: &B::Device,
) -> Result<ResidualBlock<B>> {
    let paired = weights.has("convs1.0.weight");
    let units = dilations.iter().enumerate().map(|(i, &dilation)| {
        let kernel = |list: &str, dilation| load_kernel(&weights.child(list).child(i), channels, dilation, device);
        if paired {
            Ok(ResidualUnit { first: kernel("convs1", dilation)?, second: Some(kernel("convs2", 1)?) })
        } else {
            Ok(ResidualUnit { first: kernel("convs", dilation)?, second: None })
        }
    });
    Ok(ResidualBlock { units: units.collect::<Result<_>>()? })
}

/// Hops on each side that a sample depends on.
pub(super) fn reach_hops(config: &VoiceConfig) -> usize {
    let side = (EDGE_TAPS / 2) as f64;
    (side + margins_hops(config)[0]).ceil() as usize + 1
}

/// Hops on each side that a sample depends on, of what enters each stage and of what the last one makes.
fn margins_hops(config: &VoiceConfig) -> Vec<f64> {
    let widest_block =
        |taps: usize, dilations: &[usize]| dilations.iter().map(|dilation| (dilation + 1) * (taps / 2)).sum::<usize>();
    let blocks = config.resblock_kernel_sizes.iter().zip(&config.resblock_dilation_sizes);
    let block = blocks.map(|(&taps, dilations)| widest_block(taps, dilations)).max().unwrap_or_default() as f64;
    let mut rate: usize = config.upsample_rates.iter().product();
    let mut margins = vec![(EDGE_TAPS / 2) as f64 / rate as f64];
    for (&upsample, &taps) in config.upsample_rates.iter().zip(&config.upsample_kernel_sizes).rev() {
        let after = margins.last().copied().unwrap_or_default() + block / rate as f64;
        rate /= upsample.max(1);
        margins.push(after + (taps as f64 / upsample as f64) / rate.max(1) as f64);
    }
    margins.reverse();
    margins
}

#[cfg(test)]
impl Generator<crate::nn::Cpu> {
    /// Holds the first convolution, the source at each stage, the upsampled signal and the mean of the residual blocks
    /// against a record.
    pub(super) fn check_parts(
        &self,
        latents: Tensor<crate::nn::Cpu, 3>,
        source: &Tensor<crate::nn::Cpu, 3>,
        speaker: &Tensor<crate::nn::Cpu, 3>,
        recorded: &crate::nn::recorded::Recorded,
        tolerance: f32,
    ) {
        use crate::nn::Cpu;
        let pre = self.pre.forward(latents);
        recorded.check("mid.dec.conv_pre", pre.clone(), tolerance);
        for number in [0, 1, 3] {
            let conv = self.stages[number].source.as_ref().expect("a source");
            recorded.check(&format!("mid.dec.noise_convs.{number}"), conv.forward(source.clone()), tolerance);
        }
        let mut x = pre + self.condition.forward(speaker.clone());
        for (number, stage) in self.stages[..2].iter().enumerate() {
            let upsampled = stage.upsample.fused(x, Fused::before(Activation::LeakyRelu(SLOPE)));
            recorded.check(&format!("mid.dec.ups.{number}"), upsampled.clone(), tolerance);
            let conv = stage.source.as_ref().expect("a source");
            x = Cpu::residual_stage(&stage.blocks, upsampled + conv.forward(source.clone()));
            if number == 0 {
                let block = |index: usize| recorded.tensor::<3>(&format!("mid.dec.resblocks.{index}"));
                let worst: f32 = (x.clone() - (block(0) + block(1) + block(2)) / 3.0).abs().max().into_scalar();
                assert!(worst <= tolerance, "the mean of the first stage's blocks differs by {worst:e}");
            }
        }
    }
}

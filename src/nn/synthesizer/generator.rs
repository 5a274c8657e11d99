//! The generator: latents to audio, by upsampling and residual blocks, with the harmonic source added at each stage.
//!
//! HiFi-GAN (Kong et al., 2020) with a neural source filter where the voice follows pitch.

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
}

/// One upsampling with what follows it.
#[derive(Clone, Debug)]
struct Stage<B: VoiceOps> {
    upsample: ConvTranspose1d<B>,
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
        })
    }

    /// Latents `[1, inter_channels, hops]` and source `[1, 1, samples]` to audio `[1, 1, samples]`.
    pub(super) fn forward(
        &self,
        latents: Tensor<B, 3>,
        source: Option<Tensor<B, 3>>,
        speaker: &Tensor<B, 3>,
    ) -> Tensor<B, 3> {
        let conditioned = self.pre.forward(latents) + self.condition.forward(speaker.clone());
        let x = self.stages.iter().fold(conditioned, |x, stage| stage.forward(x, source.as_ref()));
        let fused = Fused { before: Activation::LeakyRelu(LAST_SLOPE), after: Activation::Tanh, residual: None };
        self.post.fused(x, fused)
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
            source: source.transpose()?,
            blocks: B::prepare_residual_stage(blocks.collect::<Result<_>>()?),
        })
    }

    fn forward(&self, x: Tensor<B, 3>, source: Option<&Tensor<B, 3>>) -> Tensor<B, 3> {
        let mut fused = Fused::before(Activation::LeakyRelu(SLOPE));
        if let (Some(conv), Some(source)) = (&self.source, source) {
            fused = fused.plus(conv.forward(source.clone()));
        }
        B::residual_stage(&self.blocks, self.upsample.fused(x, fused))
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
    let widest_block =
        |taps: usize, dilations: &[usize]| dilations.iter().map(|dilation| (dilation + 1) * (taps / 2)).sum::<usize>();
    let blocks = config.resblock_kernel_sizes.iter().zip(&config.resblock_dilation_sizes);
    let block = blocks.map(|(&taps, dilations)| widest_block(taps, dilations)).max().unwrap_or_default() as f64;
    let (mut hops, mut rate) = (side, 1.0);
    for (&upsample, &taps) in config.upsample_rates.iter().zip(&config.upsample_kernel_sizes) {
        hops += (taps as f64 / upsample as f64) / rate;
        rate *= upsample as f64;
        hops += block / rate;
    }
    (hops + side / rate).ceil() as usize + 1
}

//! The deep residual U-Net of RMVPE.

use burn::tensor::{Tensor, module};

use crate::checkpoint::Weights;
use crate::error::{Error, Result};
use crate::nn::layers::{BatchNorm, Conv2d, ConvTranspose2d};
use crate::nn::ops::{Activation, Fused, VoiceOps};
use crate::telemetry::Listener;

/// Added to running variances, as torch does by default.
pub(super) const NORM_EPSILON: f32 = 1e-5;

/// Most levels, blocks in a row, and channels of any network worth loading.
const MOST_LEVELS: usize = 8;
const MOST_BLOCKS: usize = 64;
const MOST_CHANNELS: usize = 8192;

/// Two 3 x 3 convolutions beside a shortcut.
#[derive(Clone, Debug)]
struct ResidualBlock<B: VoiceOps> {
    first: Conv2d<B>,
    second: Conv2d<B>,
    shortcut: Option<Conv2d<B>>,
}

impl<B: VoiceOps> ResidualBlock<B> {
    /// Loads a block that reads `input` channels; returns it with the channels it gives.
    fn load(weights: &Weights<'_>, input: usize, device: &B::Device) -> Result<(Self, usize)> {
        let [out, ..] = weights.shape_within::<4>("conv.0.weight", MOST_CHANNELS)?;
        let convolution = |index: usize, input: usize| {
            let norm = BatchNorm::load(&weights.child(format!("conv.{}", index + 1)), out, NORM_EPSILON)?;
            Conv2d::load_normalised(&weights.child(format!("conv.{index}")), [out, input, 3, 3], &norm, device)
        };
        let shortcut = weights.child("shortcut");
        let shortcut = (input != out).then(|| Conv2d::load(&shortcut, [out, input, 1, 1], device)).transpose()?;
        Ok((Self { first: convolution(0, input)?, second: convolution(3, out)?, shortcut }, out))
    }

    fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let y = self.first.fused(x.clone(), Fused::after(Activation::Relu));
        let residual = match &self.shortcut {
            Some(shortcut) => shortcut.fused(x, Fused::default()),
            None => x,
        };
        self.second.fused(y, Fused::after(Activation::Relu).plus(residual))
    }
}

/// Blocks one after another, called `0`, `1`, ... below one name.
#[derive(Clone, Debug)]
struct Blocks<B: VoiceOps>(Vec<ResidualBlock<B>>);

impl<B: VoiceOps> Blocks<B> {
    /// Loads as many blocks as the file has, at least one; returns them with the channels they give.
    fn load(weights: &Weights<'_>, mut channels: usize, device: &B::Device) -> Result<(Self, usize)> {
        let mut blocks = Vec::new();
        while blocks.is_empty() || weights.has(format!("{}.conv.0.weight", blocks.len())) {
            refuse_more(weights, blocks.len(), MOST_BLOCKS, "blocks in a row")?;
            let (block, out) = ResidualBlock::load(&weights.child(blocks.len()), channels, device)?;
            blocks.push(block);
            channels = out;
        }
        Ok((Self(blocks), channels))
    }

    fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        self.0.iter().fold(x, |x, block| block.forward(x))
    }
}

/// Refuses a part beyond the first `most`, of which `so_far` are loaded.
fn refuse_more(weights: &Weights<'_>, so_far: usize, most: usize, parts: &str) -> Result<()> {
    if so_far < most {
        return Ok(());
    }
    Err(Error::format(weights.path(), format!("at most {most} {parts}"), "more"))
}

/// One level of the decoder.
#[derive(Clone, Debug)]
struct Up<B: VoiceOps> {
    double: ConvTranspose2d<B>,
    blocks: Blocks<B>,
}

impl<B: VoiceOps> Up<B> {
    /// Loads the level that reads `input` channels and joins a skip of `skip` channels.
    fn load(weights: &Weights<'_>, input: usize, skip: usize, device: &B::Device) -> Result<(Self, usize)> {
        let [_, out, ..] = weights.shape_within::<4>("conv1.0.weight", MOST_CHANNELS)?;
        let norm = BatchNorm::load(&weights.child("conv1.1"), out, NORM_EPSILON)?;
        let double = ConvTranspose2d::load_normalised(&weights.child("conv1.0"), [input, out], &norm, device)?;
        let (blocks, channels) = Blocks::load(&weights.child("conv2"), out + skip, device)?;
        Ok((Self { double, blocks }, channels))
    }

    fn forward(&self, x: Tensor<B, 4>, skip: Tensor<B, 4>) -> Tensor<B, 4> {
        let x = self.double.fused(x, Fused::after(Activation::Relu));
        self.blocks.forward(Tensor::cat(vec![x, skip], 1))
    }
}

/// Encoder levels that halve time and mel, blocks at the bottom, decoder levels that double them again.
#[derive(Clone, Debug)]
pub(super) struct UNet<B: VoiceOps> {
    down: Vec<Blocks<B>>,
    bottom: Vec<Blocks<B>>,
    up: Vec<Up<B>>,
}

impl<B: VoiceOps> UNet<B> {
    /// Loads every level the file has; returns the network with the channels it gives.
    pub(super) fn load(weights: &Weights<'_>, device: &B::Device) -> Result<(Self, usize)> {
        let (mut down, mut bottom, mut up) = (Vec::new(), Vec::new(), Vec::new());
        let (mut channels, mut skips) = (1, Vec::new());
        let has = |part: &str, level: usize| weights.has(format!("{part}.layers.{level}.conv.0.conv.0.weight"));
        while down.is_empty() || has("encoder", down.len()) {
            refuse_more(weights, down.len(), MOST_LEVELS, "encoder levels")?;
            let at = weights.child(format!("encoder.layers.{}.conv", down.len()));
            let (blocks, out) = Blocks::load(&at, channels, device)?;
            down.push(blocks);
            skips.push(out);
            channels = out;
        }
        while bottom.is_empty() || has("intermediate", bottom.len()) {
            refuse_more(weights, bottom.len(), MOST_BLOCKS, "intermediate layers")?;
            let at = weights.child(format!("intermediate.layers.{}.conv", bottom.len()));
            let (blocks, out) = Blocks::load(&at, channels, device)?;
            bottom.push(blocks);
            channels = out;
        }
        for (level, &skip) in skips.iter().rev().enumerate() {
            let (step, out) = Up::load(&weights.child(format!("decoder.layers.{level}")), channels, skip, device)?;
            up.push(step);
            channels = out;
        }
        Ok((Self { down, bottom, up }, channels))
    }

    /// Time and mel must be multiples of this.
    pub(super) fn multiple(&self) -> Option<usize> {
        1_usize.checked_shl(u32::try_from(self.down.len()).ok()?)
    }

    /// Maps `x` `[1, 1, time, mel]` to `[1, channels, time, mel]`; `progress` hears the share of the levels done.
    pub(super) fn forward_telling(&self, mut x: Tensor<B, 4>, progress: &mut Listener<'_>) -> Result<Tensor<B, 4>> {
        let levels = self.down.len() + self.bottom.len() + self.up.len();
        let mut done = 0.0;
        let mut level_done = || {
            done += 1.0;
            progress(done / levels as f64)
        };
        let mut skips = Vec::with_capacity(self.down.len());
        for blocks in &self.down {
            let level = blocks.forward(x);
            x = module::avg_pool2d(level.clone(), [2, 2], [2, 2], [0, 0], true, false);
            skips.push(level);
            level_done()?;
        }
        for blocks in &self.bottom {
            x = blocks.forward(x);
            level_done()?;
        }
        for step in &self.up {
            if let Some(skip) = skips.pop() {
                x = step.forward(x, skip);
            }
            level_done()?;
        }
        Ok(x)
    }
}

#[cfg(test)]
impl UNet<crate::nn::Cpu> {
    /// Holds the first level on each way and what lies between them against a record.
    pub(super) fn check_parts(
        &self,
        x: Tensor<crate::nn::Cpu, 4>,
        recorded: &crate::nn::recorded::Recorded,
        tolerance: f32,
    ) {
        let (mut x, mut skips) = (x, Vec::new());
        for blocks in &self.down {
            let level = blocks.forward(x);
            x = module::avg_pool2d(level.clone(), [2, 2], [2, 2], [0, 0], true, false);
            skips.push(level);
        }
        recorded.check("0.mid.unet.encoder.0.pre_pool", skips[0].clone(), tolerance);
        recorded.check("0.mid.unet.encoder.out", x.clone(), tolerance);
        let x = self.bottom.iter().fold(x, |x, blocks| blocks.forward(x));
        recorded.check("0.mid.unet.intermediate", x.clone(), tolerance);
        let x = self.up[0].forward(x, skips.pop().expect("a level"));
        recorded.check("0.mid.unet.decoder.0", x.clone(), tolerance);
        let x = self.up[1..].iter().zip(skips.into_iter().rev()).fold(x, |x, (up, skip)| up.forward(x, skip));
        recorded.check("0.mid.unet.out", x, tolerance);
    }
}

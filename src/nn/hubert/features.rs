//! The encoder's first layers.

use burn::tensor::{Tensor, TensorData};

use crate::checkpoint::Weights;
use crate::checkpoint::hubert::{EncoderConfig, FeatureNorm};
use crate::error::{Error, Result};
use crate::nn::layers::{Conv1d, LayerNorm, floats};
use crate::nn::ops::{Activation, Conv1dSpec, Fed, Fused, Precision, VoiceOps};
use crate::telemetry::Listener;

/// The convolutions that turn audio into frames.
#[derive(Clone, Debug)]
pub(super) struct Features<B: VoiceOps> {
    first: First<B>,
    rest: Vec<FeatureConvolution<B>>,
    /// Taps and stride of each.
    sizes: Vec<(usize, usize)>,
}

/// The first of them.
#[derive(Clone, Debug)]
enum First<B: VoiceOps> {
    OverTime(FirstConvolution),
    PerFrame(FeatureConvolution<B>),
}

impl<B: VoiceOps> Features<B> {
    /// Frames made at once: bounds the memory of long inputs, 32 MiB for the first convolution's output.
    const TILE_FRAMES: usize = 256;

    pub(super) fn load(
        weights: &Weights<'_>,
        config: &EncoderConfig,
        precision: Precision,
        device: &B::Device,
    ) -> Result<Self> {
        let sizes: Vec<_> = config.conv_kernel.iter().copied().zip(config.conv_stride.iter().copied()).collect();
        let channels: Vec<usize> = std::iter::once(1).chain(config.conv_dim.iter().copied()).collect();
        let layers = channels.windows(2).zip(&sizes).enumerate();
        let mut layers = layers.map(|(i, (channels, &(taps, stride)))| {
            let shape = [channels[1], channels[0], taps];
            FeatureConvolution::load(&weights.child(i), shape, stride, config, precision, device)
        });
        let first = match config.feature_norm {
            FeatureNorm::OverTime => {
                layers.next();
                First::OverTime(FirstConvolution::load(&weights.child(0), config)?)
            }
            FeatureNorm::PerFrame => {
                let first = layers.next().transpose()?;
                First::PerFrame(first.ok_or_else(|| Error::format(weights.path(), "at least one convolution", "none"))?)
            }
        };
        let rest = layers.collect::<Result<_>>()?;
        Ok(Self { first, rest, sizes })
    }

    /// What the convolutions are fed with for audio of at least one frame: the first of them, where it depends on the audio,
    /// and the samples of each tile.
    pub(super) fn values(&self, audio: &[f32]) -> Vec<TensorData> {
        let (frames, reach, hop) = (self.frames(audio.len()), self.reach(), self.hop());
        let first = match &self.first {
            First::OverTime(first) => Vec::from(first.normalised_for(audio)),
            First::PerFrame(_) => Vec::new(),
        };
        let tiles = (0..frames).step_by(Self::TILE_FRAMES).map(|start| {
            let end = frames.min(start + Self::TILE_FRAMES);
            let samples = &audio[start * hop..(end - 1) * hop + reach];
            floats(samples.to_vec(), [1, 1, samples.len()])
        });
        first.into_iter().chain(tiles).collect()
    }

    /// What [`values`](Self::values) gave to `[1, channels, frames]`; `progress` hears the share of the tiles done.
    pub(super) fn forward_telling(&self, mut fed: Fed<B>, progress: &mut Listener<'_>) -> Result<Tensor<B, 3>> {
        let first: &dyn Fn(Tensor<B, 3>) -> Tensor<B, 3> = match &self.first {
            First::OverTime(first) => {
                let conv = first.prepare::<B>(fed.floats(), fed.floats());
                &move |x| <B as VoiceOps>::conv1d(&conv, x, Fused::after(Activation::Gelu))
            }
            First::PerFrame(first) => &|x| first.forward(x),
        };
        let tiles = fed.left();
        let features = (1..=tiles).map(|done| {
            let x = self.rest.iter().fold(first(fed.floats()), |x, conv| conv.forward(x));
            progress(done as f64 / tiles as f64).map(|()| x)
        });
        Ok(Tensor::cat(features.collect::<Result<_>>()?, 2))
    }

    /// Whether a frame depends only on the samples that it sees.
    pub(super) fn by_frame(&self) -> bool {
        matches!(self.first, First::PerFrame(_))
    }

    pub(super) fn frames(&self, samples: usize) -> usize {
        samples.checked_sub(self.reach()).map_or(0, |rest| rest / self.hop() + 1)
    }

    /// Samples from one frame to the next.
    fn hop(&self) -> usize {
        self.sizes.iter().map(|&(_, stride)| stride).product()
    }

    /// Samples that one frame sees.
    pub(super) fn reach(&self) -> usize {
        self.sizes.iter().rev().fold(1, |n, &(taps, stride)| (n - 1) * stride + taps)
    }
}

/// A convolution, the norm of each frame's channels where the encoder has it, and a Gaussian error linear unit.
#[derive(Clone, Debug)]
struct FeatureConvolution<B: VoiceOps> {
    conv: Conv1d<B>,
    norm: Option<LayerNorm<B>>,
}

impl<B: VoiceOps> FeatureConvolution<B> {
    /// Epsilon of the norm, which no config changes.
    const EPSILON: f32 = 1e-5;

    fn load(
        weights: &Weights<'_>,
        shape: [usize; 3],
        stride: usize,
        config: &EncoderConfig,
        precision: Precision,
        device: &B::Device,
    ) -> Result<Self> {
        let norm = || {
            let (weights, names) = (weights.child("layer_norm"), ["weight", "bias"]);
            LayerNorm::load(&weights, names, shape[0], Self::EPSILON, device)
        };
        let spec = Conv1dSpec { stride, ..Conv1dSpec::default() };
        Ok(Self {
            conv: Conv1d::load_for(&weights.child("conv"), shape, spec, precision, device)?,
            norm: (config.feature_norm == FeatureNorm::PerFrame).then(norm).transpose()?,
        })
    }

    /// `[1, channels, time]` to the same at the stride.
    fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let Some(norm) = &self.norm else { return self.conv.fused(x, Fused::after(Activation::Gelu)) };
        let frames = norm.forward(self.conv.forward(x).swap_dims(1, 2));
        <B as VoiceOps>::activate(frames, Activation::Gelu).swap_dims(1, 2)
    }
}

/// The first convolution with the norm of each channel over time that follows it.
#[derive(Clone, Debug)]
struct FirstConvolution {
    /// `[channels, taps]`.
    weight: Vec<f32>,
    /// Scale and shift of the norm.
    gamma: Vec<f32>,
    beta: Vec<f32>,
    taps: usize,
    stride: usize,
}

impl FirstConvolution {
    /// Epsilon of the norm, which no config changes.
    const EPSILON: f64 = 1e-5;

    fn load(weights: &Weights<'_>, config: &EncoderConfig) -> Result<Self> {
        let sizes = config.conv_dim.first().zip(config.conv_kernel.first()).zip(config.conv_stride.first());
        let Some(((&channels, &taps), &stride)) = sizes else {
            return Err(Error::format(weights.path(), "at least one convolution", "none"));
        };
        let (conv, norm) = (weights.child("conv"), weights.child("layer_norm"));
        Ok(Self {
            weight: conv.load("weight", &[channels, 1, taps])?,
            gamma: norm.load("weight", &[channels])?,
            beta: norm.load("bias", &[channels])?,
            taps,
            stride,
        })
    }

    /// Weight `[channels, 1, taps]` and bias `[channels]` of the convolution whose output on `audio` is normalised already.
    ///
    /// A channel's mean and variance over time follow from the mean `m` and the covariance `C` of the samples under its
    /// taps, as `w . m` and `w^T C w`. Summed in f64 they are more exact than from the channel itself, and the largest
    /// signal of the network need never be held as a whole.
    fn normalised_for(&self, audio: &[f32]) -> [TensorData; 2] {
        let (mean, covariance) = self.moments(audio);
        let (mut weight, mut bias) = (Vec::with_capacity(self.weight.len()), Vec::with_capacity(self.beta.len()));
        for ((taps, &gamma), &beta) in self.weight.chunks_exact(self.taps).zip(&self.gamma).zip(&self.beta) {
            let dot = |row: &[f64]| -> f64 { taps.iter().zip(row).map(|(&w, x)| f64::from(w) * x).sum() };
            let rows = taps.iter().zip(covariance.chunks_exact(self.taps));
            let variance: f64 = rows.map(|(&w, row)| f64::from(w) * dot(row)).sum();
            let scale = f64::from(gamma) / (variance.max(0.0) + Self::EPSILON).sqrt();
            weight.extend(taps.iter().map(|&w| (f64::from(w) * scale) as f32));
            bias.push((f64::from(beta) - dot(&mean) * scale) as f32);
        }
        let channels = bias.len();
        [floats(weight, [channels, 1, self.taps]), floats(bias, [channels])]
    }

    /// The convolution of what [`normalised_for`](Self::normalised_for) gave.
    fn prepare<B: VoiceOps>(&self, weight: Tensor<B, 3>, bias: Tensor<B, 1>) -> B::Conv1d {
        let spec = Conv1dSpec { stride: self.stride, ..Conv1dSpec::default() };
        B::prepare_conv1d(weight, Some(bias), spec, Precision::Full)
    }

    /// Mean `[taps]` and covariance `[taps, taps]` of the samples under the taps.
    fn moments(&self, audio: &[f32]) -> (Vec<f64>, Vec<f64>) {
        let (taps, stride) = (self.taps, self.stride);
        let Some(rest) = audio.len().checked_sub(taps) else { return (vec![0.0; taps], vec![0.0; taps * taps]) };
        let windows = rest / stride + 1;
        // Every stride-th sample, from the first, the second and so on: what a tap sees lies in one of them, side by side.
        let phases: Vec<Vec<f32>> =
            (0..stride).map(|phase| audio.iter().skip(phase).step_by(stride).copied().collect()).collect();
        let seen = |tap: usize| &phases[tap % stride][tap / stride..][..windows];
        let count = windows as f64;
        let mean: Vec<f64> = (0..taps).map(|tap| sum_of(seen(tap), |a, _| a, seen(tap)) / count).collect();
        let mut covariance = vec![0.0; taps * taps];
        for i in 0..taps {
            for j in i..taps {
                let value = sum_of(seen(i), |a, b| a * b, seen(j)) / count - mean[i] * mean[j];
                (covariance[i * taps + j], covariance[j * taps + i]) = (value, value);
            }
        }
        (mean, covariance)
    }
}

/// The sum of `term` over pairs of values, in lanes that the compiler keeps in vector registers.
fn sum_of(a: &[f32], term: impl Fn(f64, f64) -> f64, b: &[f32]) -> f64 {
    const LANES: usize = 16;
    let mut lanes = [0.0_f64; LANES];
    let ((a_blocks, a_rest), (b_blocks, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            lanes[lane] += term(f64::from(a[lane]), f64::from(b[lane]));
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(&a, &b)| term(f64::from(a), f64::from(b))).sum();
    lanes.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::hubert::EncoderCheckpoint;
    use crate::nn::Cpu;
    use crate::nn::recorded::Recorded;

    #[test]
    fn the_first_convolution_gives_what_the_reference_recorded() {
        /// Sums in another order.
        const TOLERANCE: f32 = 1e-5;
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/hubert_small_v1.weights.safetensors");
        let file = EncoderCheckpoint::open(path).expect("an encoder");
        let (weights, device) =
            (file.tensors.weights().child("feature_extractor").child("conv_layers"), Default::default());
        let features = Features::<Cpu>::load(&weights, &file.config, Precision::Full, &device).expect("weights");
        let First::OverTime(first) = &features.first else { panic!("another encoder than HuBERT base") };
        let recorded = Recorded::open("hubert_small_v1");
        let audio = crate::nn::values(recorded.tensor::<2>("in.wav"));
        let mut fed = Fed::with(first.normalised_for(&audio).into(), &device);
        let first = first.prepare::<Cpu>(fed.floats(), fed.floats());
        let x = Tensor::from_data(floats(audio.clone(), [1, 1, audio.len()]), &device);
        let x = <Cpu as VoiceOps>::conv1d(&first, x, Fused::after(Activation::Gelu));
        recorded.check("mid.conv0", x, TOLERANCE);
    }
}

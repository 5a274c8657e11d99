//! Layers: prepared weights with the loader that checks their shapes.

use std::ops::Range;

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

use super::ops::{Conv1dSpec, Fused, Kernel1d, Precision, VoiceOps};
use crate::checkpoint::Weights;
use crate::error::Result;

/// A burn tensor from row-major values; their number is the product of `shape`.
pub(crate) fn tensor<B: Backend, const D: usize>(
    values: Vec<f32>,
    shape: [usize; D],
    device: &B::Device,
) -> Tensor<B, D> {
    Tensor::from_data(floats(values, shape), device)
}

/// Row-major values for a network to be fed with; their number is the product of `shape`.
pub(super) fn floats<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> TensorData {
    TensorData::new(values, shape)
}

/// The tensor called `name`, of exactly this shape.
pub(super) fn load<B: Backend, const D: usize>(
    weights: &Weights<'_>,
    name: &str,
    shape: [usize; D],
    device: &B::Device,
) -> Result<Tensor<B, D>> {
    Ok(tensor(weights.load(name, &shape)?, shape, device))
}

/// `bias` `[out]` if the checkpoint has one.
fn load_bias<B: Backend>(weights: &Weights<'_>, out: usize, device: &B::Device) -> Result<Option<Tensor<B, 1>>> {
    if weights.has("bias") { load(weights, "bias", [out], device).map(Some) } else { Ok(None) }
}

/// A one-dimensional convolution.
#[derive(Clone, Debug)]
pub(super) struct Conv1d<B: VoiceOps> {
    prepared: B::Conv1d,
}

impl<B: VoiceOps> Conv1d<B> {
    /// Loads `weight` of shape `[out, in / groups, taps]` and `bias` if there is one.
    pub(super) fn load(weights: &Weights<'_>, shape: [usize; 3], spec: Conv1dSpec, device: &B::Device) -> Result<Self> {
        Self::load_for(weights, shape, spec, Precision::Full, device)
    }

    /// The same for products of some precision.
    pub(super) fn load_for(
        weights: &Weights<'_>,
        shape: [usize; 3],
        spec: Conv1dSpec,
        precision: Precision,
        device: &B::Device,
    ) -> Result<Self> {
        Self::load_first_taps(weights, shape, shape[2], spec, precision, device)
    }

    /// The same, without the taps after the first so many.
    pub(super) fn load_first_taps(
        weights: &Weights<'_>,
        shape: [usize; 3],
        taps: usize,
        spec: Conv1dSpec,
        precision: Precision,
        device: &B::Device,
    ) -> Result<Self> {
        let weight = load::<B, 3>(weights, "weight", shape, device)?.narrow(2, 0, taps);
        let bias = load_bias::<B>(weights, shape[0], device)?;
        Ok(Self { prepared: B::prepare_conv1d(weight, bias, spec, precision) })
    }

    /// Only some of the outputs of a convolution.
    pub(super) fn load_outputs(
        weights: &Weights<'_>,
        shape: [usize; 3],
        outputs: Range<usize>,
        spec: Conv1dSpec,
        device: &B::Device,
    ) -> Result<Self> {
        let weight = load::<B, 3>(weights, "weight", shape, device)?.narrow(0, outputs.start, outputs.len());
        let bias = load_bias::<B>(weights, shape[0], device)?;
        let bias = bias.map(|bias| bias.narrow(0, outputs.start, outputs.len()));
        Ok(Self { prepared: B::prepare_conv1d(weight, bias, spec, Precision::Full) })
    }

    pub(super) fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        self.fused(x, Fused::default())
    }

    pub(super) fn fused(&self, x: Tensor<B, 3>, fused: Fused<B, 3>) -> Tensor<B, 3> {
        <B as VoiceOps>::conv1d(&self.prepared, x, fused)
    }
}

/// A linear map of the last dimension.
#[derive(Clone, Debug)]
pub(super) struct Linear<B: VoiceOps> {
    prepared: B::Linear,
}

impl<B: VoiceOps> Linear<B> {
    /// Loads `weight` of shape `[out, in]` and `bias` if there is one.
    pub(super) fn load(weights: &Weights<'_>, shape: [usize; 2], device: &B::Device) -> Result<Self> {
        Self::load_for(weights, shape, Precision::Full, device)
    }

    /// The same for products of some precision.
    pub(super) fn load_for(
        weights: &Weights<'_>,
        shape: [usize; 2],
        precision: Precision,
        device: &B::Device,
    ) -> Result<Self> {
        let weight = load(weights, "weight", shape, device)?;
        Ok(Self { prepared: B::prepare_linear(weight, load_bias::<B>(weights, shape[0], device)?, precision) })
    }

    /// Loads a convolution of one tap, `weight` of shape `[out, in, 1]`, as the linear map it is.
    pub(super) fn load_pointwise(weights: &Weights<'_>, shape: [usize; 2], device: &B::Device) -> Result<Self> {
        let [out, input] = shape;
        let weight = load::<B, 3>(weights, "weight", [out, input, 1], device)?.reshape(shape);
        Ok(Self { prepared: B::prepare_linear(weight, load_bias::<B>(weights, out, device)?, Precision::Full) })
    }

    pub(super) fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        self.fused(x, Fused::default())
    }

    pub(super) fn fused(&self, x: Tensor<B, 3>, fused: Fused<B, 3>) -> Tensor<B, 3> {
        <B as VoiceOps>::linear(&self.prepared, x, fused)
    }
}

/// A one-dimensional transposed convolution.
#[derive(Clone, Debug)]
pub(super) struct ConvTranspose1d<B: VoiceOps> {
    prepared: B::ConvTranspose1d,
}

impl<B: VoiceOps> ConvTranspose1d<B> {
    /// Loads `weight` of shape `[in, out, taps]` and `bias` if there is one; `padding` is cut off both ends.
    pub(super) fn load(
        weights: &Weights<'_>,
        shape: [usize; 3],
        stride: usize,
        padding: usize,
        device: &B::Device,
    ) -> Result<Self> {
        let weight = load(weights, "weight", shape, device)?;
        let bias = load_bias::<B>(weights, shape[1], device)?;
        Ok(Self { prepared: B::prepare_conv_transpose1d(weight, bias, stride, padding) })
    }

    pub(super) fn fused(&self, x: Tensor<B, 3>, fused: Fused<B, 3>) -> Tensor<B, 3> {
        <B as VoiceOps>::conv_transpose1d(&self.prepared, x, fused)
    }
}

/// Layer normalisation over the last dimension.
#[derive(Clone, Debug)]
pub(super) struct LayerNorm<B: VoiceOps> {
    gamma: Tensor<B, 1>,
    beta: Tensor<B, 1>,
    epsilon: f32,
}

impl<B: VoiceOps> LayerNorm<B> {
    /// Loads scale and shift of `features` values, called `names` in the checkpoint (`weight, bias` or `gamma, beta`).
    pub(super) fn load(
        weights: &Weights<'_>,
        names: [&str; 2],
        features: usize,
        epsilon: f32,
        device: &B::Device,
    ) -> Result<Self> {
        let [gamma, beta] = names;
        Ok(Self {
            gamma: load(weights, gamma, [features], device)?,
            beta: load(weights, beta, [features], device)?,
            epsilon,
        })
    }

    /// Normalises `x` `[batch, rows, features]`.
    pub(super) fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        <B as VoiceOps>::layer_norm(x, &self.gamma, &self.beta, self.epsilon)
    }
}

/// An unprepared length-keeping convolution `[channels, channels, taps]`, its number of taps read from the file.
pub(super) fn load_kernel<B: Backend>(
    weights: &Weights<'_>,
    channels: usize,
    dilation: usize,
    device: &B::Device,
) -> Result<Kernel1d<B>> {
    let [_, _, taps] = weights.shape("weight")?;
    if taps % 2 == 0 {
        return Err(weights.error("weight", "an odd number of taps", taps));
    }
    Ok(Kernel1d {
        weight: load(weights, "weight", [channels, channels, taps], device)?,
        bias: load(weights, "bias", [channels], device)?,
        dilation,
    })
}

/// The values of a tensor, row-major.
pub(crate) fn values<B: Backend, const D: usize>(x: Tensor<B, D>) -> Vec<f32> {
    x.into_data().convert::<f32>().into_vec().expect("the data was just converted to f32")
}

/// Batch normalisation in evaluation: a scale and a shift of each channel.
#[derive(Clone, Debug)]
pub(super) struct BatchNorm {
    pub(super) scale: Vec<f32>,
    pub(super) shift: Vec<f32>,
}

impl BatchNorm {
    /// Loads `weight`, `bias`, `running_mean` and `running_var` of `channels` values.
    pub(super) fn load(weights: &Weights<'_>, channels: usize, epsilon: f32) -> Result<Self> {
        let [gamma, beta, mean, variance] =
            ["weight", "bias", "running_mean", "running_var"].map(|name| weights.load(name, &[channels]));
        let variance = variance?;
        if let Some(bad) = variance.iter().find(|&&v| v + epsilon <= 0.0) {
            return Err(weights.error("running_var", "positive values", bad));
        }
        let scale: Vec<f32> = gamma?.iter().zip(&variance).map(|(g, v)| g / (v + epsilon).sqrt()).collect();
        let shift = beta?.iter().zip(&mean?).zip(&scale).map(|((b, m), s)| b - m * s).collect();
        Ok(Self { scale, shift })
    }
}

/// A two-dimensional convolution that keeps the size.
#[derive(Clone, Debug)]
pub(super) struct Conv2d<B: VoiceOps> {
    prepared: B::Conv2d,
}

impl<B: VoiceOps> Conv2d<B> {
    /// Loads `weight` of shape `[out, in, k, k]` (`k` odd) and `bias` if there is one.
    pub(super) fn load(weights: &Weights<'_>, shape: [usize; 4], device: &B::Device) -> Result<Self> {
        let weight = load(weights, "weight", shape, device)?;
        Ok(Self { prepared: B::prepare_conv2d(weight, load_bias::<B>(weights, shape[0], device)?) })
    }

    /// Loads a `weight` without bias and folds into it the batch normalisation that follows.
    pub(super) fn load_normalised(
        weights: &Weights<'_>,
        shape: [usize; 4],
        norm: &BatchNorm,
        device: &B::Device,
    ) -> Result<Self> {
        let [out, ..] = shape;
        let weight: Tensor<B, 4> = load(weights, "weight", shape, device)?;
        let scale = tensor::<B, 4>(norm.scale.clone(), [out, 1, 1, 1], device);
        let shift = tensor(norm.shift.clone(), [out], device);
        Ok(Self { prepared: B::prepare_conv2d(weight * scale, Some(shift)) })
    }

    pub(super) fn fused(&self, x: Tensor<B, 4>, fused: Fused<B, 4>) -> Tensor<B, 4> {
        <B as VoiceOps>::conv2d(&self.prepared, x, fused)
    }
}

/// A transposed convolution that doubles height and width, with the batch normalisation that follows folded in.
#[derive(Clone, Debug)]
pub(super) struct ConvTranspose2d<B: VoiceOps> {
    prepared: B::ConvTranspose2d,
}

impl<B: VoiceOps> ConvTranspose2d<B> {
    /// Loads a `weight` `[in, out, 3, 3]` without bias.
    pub(super) fn load_normalised(
        weights: &Weights<'_>,
        channels: [usize; 2],
        norm: &BatchNorm,
        device: &B::Device,
    ) -> Result<Self> {
        let [input, out] = channels;
        let weight: Tensor<B, 4> = load(weights, "weight", [input, out, 3, 3], device)?;
        let scale = tensor::<B, 4>(norm.scale.clone(), [1, out, 1, 1], device);
        let shift = tensor(norm.shift.clone(), [out], device);
        Ok(Self { prepared: B::prepare_conv_transpose2d(weight * scale, Some(shift)) })
    }

    pub(super) fn fused(&self, x: Tensor<B, 4>, fused: Fused<B, 4>) -> Tensor<B, 4> {
        <B as VoiceOps>::conv_transpose2d(&self.prepared, x, fused)
    }
}

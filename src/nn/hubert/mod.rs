//! HuBERT / ContentVec: the content encoder.
//!
//! Hsu et al., "HuBERT" (2021), base form, as published for RVC: seven convolutions, a projection, a positional
//! convolution and post-norm transformer layers. 16 kHz audio goes in unnormalised; one vector per 20 ms comes out.
//! Encoders for streams, whose frames are normalised one by one and attend to a span around them, are the same network.

mod features;
mod transformer;

use burn::tensor::{Tensor, TensorData};

use self::features::Features;
use self::transformer::Layer;
use super::layers::{Conv1d, LayerNorm, Linear};
use super::ops::{Activation, Computation, Conv1dSpec, Fed, Fused, NetworkId, Precision, VoiceOps};
use crate::checkpoint::Weights;
use crate::checkpoint::hubert::EncoderConfig;
use crate::checkpoint::voice::Version;
use crate::error::{Error, Result};
use crate::telemetry::Listener;

/// Which vectors a voice was trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Projection {
    /// Layer 9 through `final_proj`: 256 values, voices of version 1.
    Layer9Projected,
    /// The last of 12 layers: 768 values, voices of version 2.
    Layer12,
}

impl From<Version> for Projection {
    fn from(version: Version) -> Self {
        match version {
            Version::V1 => Self::Layer9Projected,
            Version::V2 => Self::Layer12,
        }
    }
}

impl Projection {
    /// The layer whose output is taken; the last where the checkpoint has fewer.
    #[must_use]
    pub fn layer(self) -> usize {
        match self {
            Self::Layer9Projected => 9,
            Self::Layer12 => 12,
        }
    }
}

/// The encoder, cut off after the layer that is wanted.
#[derive(Clone, Debug)]
pub struct Hubert<B: VoiceOps> {
    id: NetworkId,
    features: Features<B>,
    feature_norm: LayerNorm<B>,
    feature_projection: Linear<B>,
    position: Conv1d<B>,
    /// Frames before and after one that the positional convolution sees.
    position_span: [usize; 2],
    norm: LayerNorm<B>,
    layers: Vec<Layer<B>>,
    projection: Option<Linear<B>>,
    unit_dim: usize,
    hidden_dim: usize,
    device: B::Device,
}

impl<B: VoiceOps> Hubert<B> {
    /// Loads what `projection` needs, by the names of the Hugging Face format.
    ///
    /// # Errors
    /// Tensors that are missing or of other shapes than `config` gives.
    pub fn load(
        weights: &Weights<'_>,
        config: &EncoderConfig,
        projection: Projection,
        device: &B::Device,
    ) -> Result<Self> {
        Self::load_for(weights, config, projection, Precision::Full, device)
    }

    /// The same with products of some precision. Reduced, units differ by some 0.5 % of their size.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_for(
        weights: &Weights<'_>,
        config: &EncoderConfig,
        projection: Projection,
        precision: Precision,
        device: &B::Device,
    ) -> Result<Self> {
        let hidden = config.hidden_size;
        let channels = config.conv_dim.last().copied().unwrap_or_default();
        let names = ["weight", "bias"];
        let epsilon = config.layer_norm_eps as f32;
        let encoder = weights.child("encoder");
        let (position, position_span) = load_position(&encoder, config, precision, device)?;
        let wanted = projection.layer().min(config.layers);
        let layers = (0..wanted).map(|i| Layer::load(&encoder.child("layers").child(i), config, precision, device));
        let (projection, unit_dim) = match projection {
            Projection::Layer9Projected => {
                let weights = weights.child("final_proj");
                let [out, _] = weights.shape("weight")?;
                (Some(Linear::load(&weights, [out, hidden], device)?), out)
            }
            Projection::Layer12 => (None, hidden),
        };
        Ok(Self {
            id: NetworkId::unique(),
            features: Features::load(
                &weights.child("feature_extractor").child("conv_layers"),
                config,
                precision,
                device,
            )?,
            feature_norm: LayerNorm::load(
                &weights.child("feature_projection").child("layer_norm"),
                names,
                channels,
                epsilon,
                device,
            )?,
            feature_projection: Linear::load_for(
                &weights.child("feature_projection").child("projection"),
                [hidden, channels],
                precision,
                device,
            )?,
            position,
            position_span,
            norm: LayerNorm::load(&encoder.child("layer_norm"), names, hidden, epsilon, device)?,
            layers: layers.collect::<Result<_>>()?,
            projection,
            unit_dim,
            hidden_dim: hidden,
            device: device.clone(),
        })
    }

    /// The units of 16 kHz `audio`: `[1, frames, dim]`.
    ///
    /// # Errors
    /// The audio is shorter than one frame.
    pub fn units(&self, audio: &[f32]) -> Result<Tensor<B, 3>> {
        self.units_of(self.feed(audio)?, &mut |_| Ok(()))
    }

    /// Reads the units of 16 kHz audio, `[frames, dim]`, row-major; `progress` hears the share done, 0..=1.
    ///
    /// # Errors
    /// The audio is shorter than one frame, the device fails, and what `progress` says.
    pub fn read_telling(&self, audio: &[f32], progress: &mut Listener<'_>) -> Result<Vec<f32>> {
        let values = self.values(audio)?;
        let units = B::compute(Computation::of(self.id), values, &self.device, |fed| self.units_of(fed, progress))?;
        progress(1.0).map(|()| units)
    }

    /// The output of transformer layer `layer` (0: what enters the first): `[1, frames, hidden]`.
    ///
    /// # Errors
    /// The audio is shorter than one frame.
    pub fn hidden(&self, audio: &[f32], layer: usize) -> Result<Tensor<B, 3>> {
        self.hidden_of(self.feed(audio)?, layer, &mut |_| Ok(()))
    }

    /// The output of the convolutions: `[1, channels, frames]`.
    ///
    /// # Errors
    /// The audio is shorter than one frame.
    pub fn features(&self, audio: &[f32]) -> Result<Tensor<B, 3>> {
        self.features.forward_telling(self.feed(audio)?, &mut |_| Ok(()))
    }

    fn feed(&self, audio: &[f32]) -> Result<Fed<B>> {
        Ok(Fed::with(self.values(audio)?, &self.device))
    }

    /// What the network is fed with for `audio`.
    fn values(&self, audio: &[f32]) -> Result<Vec<TensorData>> {
        if self.frames(audio.len()) == 0 {
            let least = self.features.reach();
            return Err(Error::argument("audio", format!("at least {least} samples at 16 kHz"), audio.len()));
        }
        Ok(self.features.values(audio))
    }

    fn units_of(&self, fed: Fed<B>, progress: &mut Listener<'_>) -> Result<Tensor<B, 3>> {
        let hidden = self.hidden_of(fed, self.layers.len(), progress)?;
        Ok(match &self.projection {
            Some(projection) => projection.forward(hidden),
            None => hidden,
        })
    }

    fn hidden_of(&self, fed: Fed<B>, layer: usize, progress: &mut Listener<'_>) -> Result<Tensor<B, 3>> {
        /// About what the convolutions take of all layers' time.
        const FEATURES_SHARE: f64 = 0.4;
        let features = self.features.forward_telling(fed, &mut |share| progress(FEATURES_SHARE * share))?;
        let mut x = self.embed(features);
        for (done, layer) in (1..=layer).zip(&self.layers) {
            x = layer.forward(x);
            progress(FEATURES_SHARE + (1.0 - FEATURES_SHARE) * done as f64 / self.layers.len() as f64)?;
        }
        Ok(x)
    }

    /// Projection, position and norm: `[1, channels, frames]` to `[1, frames, hidden]`.
    fn embed(&self, features: Tensor<B, 3>) -> Tensor<B, 3> {
        let projected = self.feature_projection.forward(self.feature_norm.forward(features.swap_dims(1, 2)));
        let channels_first = projected.swap_dims(1, 2);
        let fused = Fused::after(Activation::Gelu).plus(channels_first.clone());
        self.norm.forward(self.position.fused(channels_first, fused).swap_dims(1, 2))
    }

    /// Values per unit.
    #[must_use]
    pub fn unit_dim(&self) -> usize {
        self.unit_dim
    }

    /// Samples that one frame sees: 400 in the published encoder.
    #[must_use]
    pub fn reach_samples(&self) -> usize {
        self.features.reach()
    }

    /// Frames that `samples` give: `floor((samples - 400) / 320) + 1` in the published encoder.
    #[must_use]
    pub fn frames(&self, samples: usize) -> usize {
        self.features.frames(samples)
    }

    /// What a unit is made of; `None` where it depends on all of the audio, or on more than [`Sight`] tells.
    #[must_use]
    pub fn sight(&self) -> Option<Sight> {
        let (first, rest) = self.layers.split_first()?;
        let past = match &first.attention {
            None => 0,
            Some(attention) => attention.mean_of_past()?,
        };
        let alone = rest.iter().all(|layer| layer.attention.is_none());
        (self.features.by_frame() && alone).then_some(Sight { frames: self.position_span, past })
    }

    /// Reads what enters the first layer for 16 kHz audio, `[frames, hidden]`, row-major.
    ///
    /// # Errors
    /// The audio is shorter than one frame, or the device fails.
    pub fn embeddings(&self, audio: &[f32]) -> Result<Vec<f32>> {
        let computation = Computation { network: self.id, choices: vec![EMBEDDINGS] };
        B::compute(computation, self.values(audio)?, &self.device, |fed| self.hidden_of(fed, 0, &mut |_| Ok(())))
    }

    /// Values per row of [`embeddings`](Self::embeddings).
    #[must_use]
    pub fn hidden_dim(&self) -> usize {
        self.hidden_dim
    }

    /// Reads the units of the rows from `first` on of `embeddings`, those before them being their past, as far as it is seen.
    ///
    /// # Errors
    /// The network has no [`sight`](Self::sight), no rows are there, or the device fails.
    pub fn units_after(&self, first: usize, embeddings: &[f32]) -> Result<Vec<f32>> {
        let unseen = || Error::argument("encoder", "one whose units are made of a stretch of audio", "another");
        let (sight, dim) = (self.sight().ok_or_else(unseen)?, self.hidden_dim());
        let rows = embeddings.get(first * dim..).unwrap_or_default();
        if rows.len() < dim {
            let found = format!("{} in all", embeddings.len() / dim);
            return Err(Error::argument("embeddings", format!("at least one row after {first}"), found));
        }
        let shape = [1, rows.len() / dim, dim];
        let heard = means_of_past(embeddings, dim, sight.past, first);
        let values = vec![TensorData::new(rows.to_vec(), shape), TensorData::new(heard, shape)];
        let computation = Computation { network: self.id, choices: vec![UNITS_AFTER] };
        B::compute(computation, values, &self.device, |mut fed| {
            let (mut x, heard) = (fed.floats(), fed.floats());
            for (index, layer) in self.layers.iter().enumerate() {
                x = layer.forward_heard(x, (index == 0).then(|| heard.clone()));
            }
            Ok(match &self.projection {
                Some(projection) => projection.forward(x),
                None => x,
            })
        })
    }
}

/// What a unit is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// Frames before and after its own.
    pub frames: [usize; 2],
    /// Units before it whose mean, with its own, the first layer hears; none: 0.
    pub past: usize,
}

/// Choices of computations besides that of units from audio.
const EMBEDDINGS: usize = 1;
const UNITS_AFTER: usize = 2;

/// The mean of each row from `first` on and up to `past` rows before it.
fn means_of_past(rows: &[f32], dim: usize, past: usize, first: usize) -> Vec<f32> {
    let mut sum = vec![0.0_f64; dim];
    let mut means = Vec::with_capacity(rows.len().saturating_sub(first * dim));
    let begin = first.saturating_sub(past);
    for (index, row) in rows.chunks_exact(dim).enumerate().skip(begin) {
        for (sum, value) in sum.iter_mut().zip(row) {
            *sum += f64::from(*value);
        }
        if let Some(left) = index.checked_sub(past + 1).filter(|left| *left >= begin) {
            for (sum, value) in sum.iter_mut().zip(&rows[left * dim..]) {
                *sum -= f64::from(*value);
            }
        }
        if index >= first {
            let count = (index.min(past) + 1) as f64;
            means.extend(sum.iter().map(|sum| (sum / count) as f32));
        }
    }
    means
}

/// The positional convolution, and how many frames before and after one it sees: taps at its end whose weights are all
/// zero are left out.
fn load_position<B: VoiceOps>(
    encoder: &Weights<'_>,
    config: &EncoderConfig,
    precision: Precision,
    device: &B::Device,
) -> Result<(Conv1d<B>, [usize; 2])> {
    let weights = encoder.child("pos_conv_embed").child("conv");
    let (taps, groups, hidden) = (config.position_taps, config.position_groups, config.hidden_size);
    let shape = [hidden, hidden / groups.max(1), taps];
    // An even kernel would give one frame too many; the reference drops the last.
    let [before, after] = [taps / 2, taps.saturating_sub(1) / 2];
    let rows = weights.load("weight", &shape)?;
    let silent = |row: &[f32]| row.iter().rev().take_while(|weight| **weight == 0.0).count();
    let silent = rows.chunks_exact(taps.max(1)).map(silent).min().unwrap_or(0).min(after);
    let padding = [before, after - silent];
    let spec = Conv1dSpec { padding, groups, ..Conv1dSpec::default() };
    Ok((Conv1d::load_first_taps(&weights, shape, taps - silent, spec, precision, device)?, padding))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::checkpoint::hubert::EncoderCheckpoint;
    use crate::nn::Cpu;
    use crate::nn::recorded::Recorded;

    #[test]
    fn the_parts_before_the_transformer_give_what_the_reference_recorded() {
        /// Sums in another order.
        const TOLERANCE: f32 = 1e-5;
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/hubert_small_v1.weights.safetensors");
        let file = EncoderCheckpoint::open(path).expect("an encoder");
        let projection = Projection::Layer12;
        let encoder = Hubert::<Cpu>::load(&file.tensors.weights(), &file.config, projection, &Default::default())
            .expect("weights");
        let recorded = Recorded::open("hubert_small_v1");
        let audio = crate::nn::values(recorded.tensor::<2>("in.wav"));
        let features = encoder.features(&audio).expect("features");
        recorded.check("mid.conv_out", features.clone(), TOLERANCE);
        let projected = encoder.feature_projection.forward(encoder.feature_norm.forward(features.swap_dims(1, 2)));
        recorded.check("mid.feature_projection", projected.clone(), TOLERANCE);
        let position = encoder.position.fused(projected.swap_dims(1, 2), Fused::after(Activation::Gelu));
        recorded.check("mid.pos_conv", position.swap_dims(1, 2), TOLERANCE);
    }

    /// The voice's encoder, whose first layer hears the mean of the past or nothing of it, whatever it was trained to.
    pub(crate) fn hearing_its_past(hears: bool) -> Hubert<Cpu> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/models/default/encoder");
        let file = EncoderCheckpoint::open(path).expect("an encoder");
        let (weights, device) = (file.tensors.weights(), Default::default());
        let mut encoder =
            Hubert::load(&weights, &file.config, Projection::Layer9Projected, &device).expect("an encoder");
        let attention = weights.child("encoder").child("layers").child(0).child("attention");
        let map = || Linear::load(&weights.child("final_proj"), [256, 256], &device).expect("a square map");
        encoder.layers[0].hear_its_past(hears.then(|| (&attention, &file.config, map(), map())));
        encoder
    }

    #[test]
    fn units_after_their_past_are_those_of_the_whole() {
        /// Sums in another order.
        const TOLERANCE: f32 = 2e-4;
        let encoder = hearing_its_past(true);
        let sight = encoder.sight().expect("an encoder for streams");
        assert_eq!(sight.past, 50);
        let audio: Vec<f32> = (0..32_000).map(|i| 0.2 * (i as f32 * (0.05 + i as f32 * 1e-6)).sin()).collect();
        let whole = encoder.read_telling(&audio, &mut |_| Ok(())).expect("units");
        let embeddings = encoder.embeddings(&audio).expect("embeddings");
        let count = whole.len() / encoder.unit_dim();
        for first in [0, 1, 49, 50, 51, 80, count - 1] {
            let begin = first.saturating_sub(sight.past);
            let seen = &embeddings[begin * encoder.hidden_dim()..];
            let units = encoder.units_after(first - begin, seen).expect("units");
            let expected = &whole[first * encoder.unit_dim()..];
            assert_eq!(units.len(), expected.len());
            let off = units.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off < TOLERANCE, "from unit {first}: off by {off}");
        }
        let refused = encoder.units_after(count, &embeddings).expect_err("no rows are left");
        assert!(refused.to_string().contains("at least one row"), "{refused}");
    }
}

//! FCPE (Luo et al. 2025): pitch from a mel spectrogram through a convolution-only conformer.

use std::ops::Range;

use burn::tensor::{Tensor, TensorData, activation};

use super::layers::{Conv1d, LayerNorm, Linear, floats, load, tensor, values};
use super::ops::{Activation, Computation, Conv1dSpec, Fed, Fused, NetworkId, VoiceOps};
use crate::checkpoint::Weights;
use crate::dsp::PitchTrack;
use crate::dsp::mel::{FilterBank, LogMel, MelScale};
use crate::dsp::pitch_track::{HOP_SAMPLES, SAMPLE_RATE_HZ, TrackWindows, require_audio};
use crate::dsp::salience::{NEIGHBOURS, cents_to_hz, peak, weighted_cents};
use crate::dsp::stft::{Edge, Stft, pad};
use crate::error::Result;
use crate::telemetry::Listener;

/// The salience at or below which the reference calls a frame unvoiced.
pub const DEFAULT_THRESHOLD: f32 = 0.006;

/// Samples of each spectrum.
const FFT_SAMPLES: usize = 1024;
/// Samples added at each end, so that whole windows step by a hop from one end to the other.
const PADDING: usize = (FFT_SAMPLES - HOP_SAMPLES) / 2;
/// The mel bands' range in Hz.
const RANGE_HZ: [f64; 2] = [0.0, 8000.0];
/// Added to each squared magnitude.
const POWER_OFFSET: f32 = 1e-9;
/// Mel magnitudes below this count as this before the logarithm.
const MEL_FLOOR: f32 = 1e-5;
/// Groups of channels that the first layer normalises over.
const GROUPS: usize = 4;
/// Slope of the first layer's leaky rectifier.
const SLOPE: f32 = 0.01;
/// Added to variances, as torch does by default.
const NORM_EPSILON: f32 = 1e-5;

/// Largest sizes of any network worth loading: they bound what is allocated for a second of audio.
const MOST_BANDS: usize = 1024;
const MOST_BINS: usize = 4096;
const WIDEST: usize = 8192;
const MOST_BLOCKS: usize = 64;

/// Normalisation of groups of channels over time.
#[derive(Clone, Debug)]
struct GroupNorm<B: VoiceOps> {
    gamma: Tensor<B, 3>,
    beta: Tensor<B, 3>,
}

impl<B: VoiceOps> GroupNorm<B> {
    fn load(weights: &Weights<'_>, channels: usize, device: &B::Device) -> Result<Self> {
        if !channels.is_multiple_of(GROUPS) {
            return Err(weights.error("weight", format!("a multiple of {GROUPS} channels"), channels));
        }
        let column = |name: &str| load::<B, 1>(weights, name, [channels], device).map(|t| t.reshape([1, channels, 1]));
        Ok(Self { gamma: column("weight")?, beta: column("bias")? })
    }

    /// Normalises `x` by its own moments, or by those of what it is a part of.
    fn forward(&self, x: Tensor<B, 3>, whole: Option<&Moments>) -> Tensor<B, 3> {
        let [batch, channels, time] = x.dims();
        let grouped = x.reshape([batch, GROUPS, channels / GROUPS * time]);
        let (centred, variance) = match whole {
            None => {
                let centred = grouped.clone() - grouped.mean_dim(2);
                (centred.clone(), centred.powi_scalar(2).mean_dim(2))
            }
            Some(moments) => {
                let device = grouped.device();
                let column = |values: [f64; GROUPS]| {
                    tensor::<B, 3>(values.map(|value| value as f32).to_vec(), [1, GROUPS, 1], &device)
                };
                (grouped - column(moments.mean()), column(moments.variance()))
            }
        };
        let normalised = (centred / (variance + NORM_EPSILON).sqrt()).reshape([batch, channels, time]);
        normalised * self.gamma.clone() + self.beta.clone()
    }
}

/// Sums over each group of channels, of values and of their squares.
#[derive(Clone, Debug, Default)]
struct Moments {
    count: f64,
    sums: [f64; GROUPS],
    squares: [f64; GROUPS],
}

impl Moments {
    /// Takes in `values` `[channels, time]`.
    fn add(&mut self, values: &[f32]) {
        let group = values.len() / GROUPS;
        self.count += group as f64;
        for (index, values) in values.chunks_exact(group.max(1)).enumerate() {
            self.sums[index] += values.iter().map(|&v| f64::from(v)).sum::<f64>();
            self.squares[index] += values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>();
        }
    }

    fn mean(&self) -> [f64; GROUPS] {
        self.sums.map(|sum| sum / self.count)
    }

    fn variance(&self) -> [f64; GROUPS] {
        std::array::from_fn(|i| (self.squares[i] / self.count - (self.sums[i] / self.count).powi(2)).max(0.0))
    }
}

/// One convolution module of the conformer, added to what it reads.
#[derive(Clone, Debug)]
struct Block<B: VoiceOps> {
    norm: LayerNorm<B>,
    widen: Conv1d<B>,
    depthwise: Conv1d<B>,
    narrow: Conv1d<B>,
    /// Frames on each side that a frame depends on.
    reach_hops: usize,
}

impl<B: VoiceOps> Block<B> {
    fn load(weights: &Weights<'_>, channels: usize, device: &B::Device) -> Result<Self> {
        let [doubled, ..] = weights.shape_within::<3>("2.weight", WIDEST)?;
        let depthwise = weights.child("4.conv");
        let [inner, _, taps] = depthwise.shape_within::<3>("weight", WIDEST)?;
        if taps % 2 == 0 || doubled != 2 * inner {
            return Err(depthwise.error("weight", format!("[{doubled} / 2, 1, odd]"), format!("[{inner}, 1, {taps}]")));
        }
        let spec = Conv1dSpec { groups: inner, ..Conv1dSpec::same(taps, 1) };
        let pointwise = |name: &str, shape| Conv1d::load(&weights.child(name), shape, Conv1dSpec::default(), device);
        Ok(Self {
            norm: LayerNorm::load(&weights.child("0"), ["weight", "bias"], channels, NORM_EPSILON, device)?,
            widen: pointwise("2", [doubled, channels, 1])?,
            depthwise: Conv1d::load(&depthwise, [inner, 1, taps], spec, device)?,
            narrow: pointwise("6", [channels, inner, 1])?,
            reach_hops: taps / 2,
        })
    }

    /// Maps `x` `[1, channels, time]` to the same shape.
    fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let y = self.norm.forward(x.clone().swap_dims(1, 2)).swap_dims(1, 2);
        let y = self.widen.forward(y);
        let inner = y.dims()[1] / 2;
        let y = y.clone().narrow(1, 0, inner) * activation::sigmoid(y.narrow(1, inner, inner));
        let y = self.depthwise.fused(y, Fused::after(Activation::Silu));
        self.narrow.fused(y, Fused::default().plus(x))
    }
}

/// The pitch network of `torchfcpe`, all sizes from its checkpoint.
///
/// Its frame `i` is centred on sample `160 i + 80`, half a hop late; RVC takes it as frame `i`, and so does
/// [`PitchTrack`] here. The last frame repeats the one before.
#[derive(Clone, Debug)]
pub struct Fcpe<B: VoiceOps> {
    id: NetworkId,
    front_end: LogMel,
    input: Conv1d<B>,
    input_norm: GroupNorm<B>,
    mix: Conv1d<B>,
    blocks: Vec<Block<B>>,
    norm: LayerNorm<B>,
    output: Linear<B>,
    cents: Vec<f32>,
    /// Frames on each side that a frame depends on, the first layer's moments aside.
    reach_hops: usize,
    device: B::Device,
}

impl<B: VoiceOps> Fcpe<B> {
    /// Loads the state dictionary of `CFNaiveMelPE` without attention, as bundled with `torchfcpe`.
    ///
    /// # Errors
    /// A tensor is missing, holds a value that is not finite, or does not fit the one before it; or the network has
    /// attention.
    pub fn load(weights: &Weights<'_>, device: &B::Device) -> Result<Self> {
        let [hidden, bands, input_taps] = weights.shape_within::<3>("input_stack.0.weight", WIDEST)?;
        let [_, _, mix_taps] = weights.shape_within::<3>("input_stack.3.weight", WIDEST)?;
        let [bins] = weights.shape_within::<1>("cent_table", MOST_BINS)?;
        if bands > MOST_BANDS {
            return Err(weights.error("input_stack.0.weight", format!("1 to {MOST_BANDS} mel bands"), bands));
        }
        for (name, taps) in [("input_stack.0.weight", input_taps), ("input_stack.3.weight", mix_taps)] {
            if taps % 2 == 0 {
                return Err(weights.error(name, "an odd number of taps", taps));
            }
        }
        let convolution = |name: &str, shape: [usize; 3]| {
            Conv1d::load(&weights.child(name), shape, Conv1dSpec::same(shape[2], 1), device)
        };
        let mut blocks = Vec::new();
        while blocks.is_empty() || weights.has(format!("net.encoder_layers.{}.norm.weight", blocks.len())) {
            let layer = weights.child(format!("net.encoder_layers.{}", blocks.len()));
            if layer.has("attn.to_q.weight") {
                return Err(layer.error("attn.to_q.weight", "a network without attention", "attention"));
            }
            if blocks.len() == MOST_BLOCKS {
                return Err(layer.error("norm.weight", format!("at most {MOST_BLOCKS} layers"), "more"));
            }
            blocks.push(Block::load(&layer.child("conformer.net"), hidden, device)?);
        }
        let reach_hops = input_taps / 2 + mix_taps / 2 + blocks.iter().map(|block| block.reach_hops).sum::<usize>();
        Ok(Self {
            id: NetworkId::unique(),
            front_end: LogMel {
                stft: Stft::new(FFT_SAMPLES, HOP_SAMPLES),
                bank: FilterBank::mel(MelScale::Slaney, SAMPLE_RATE_HZ, FFT_SAMPLES, bands, RANGE_HZ),
                power_offset: POWER_OFFSET,
                floor: MEL_FLOOR,
            },
            input: convolution("input_stack.0", [hidden, bands, input_taps])?,
            input_norm: GroupNorm::load(&weights.child("input_stack.1"), hidden, device)?,
            mix: convolution("input_stack.3", [hidden, hidden, mix_taps])?,
            blocks,
            norm: LayerNorm::load(&weights.child("norm"), ["weight", "bias"], hidden, NORM_EPSILON, device)?,
            output: Linear::load(&weights.child("output_proj"), [bins, hidden], device)?,
            cents: weights.load("cent_table", &[bins])?,
            reach_hops,
            device: device.clone(),
        })
    }

    /// The centre of each bin, in cents above 10 Hz.
    #[must_use]
    pub fn cents(&self) -> &[f32] {
        &self.cents
    }

    /// The log-mel spectrogram `[samples / 160 + 1, bands]`, row-major, of 16 kHz audio.
    ///
    /// # Errors
    /// The audio is empty.
    pub fn mel(&self, audio_16k: &[f32]) -> Result<Vec<f32>> {
        require_audio(audio_16k)?;
        let after = PADDING.max(FFT_SAMPLES.saturating_sub(audio_16k.len() + PADDING));
        // The reference mirrors only where one mirror suffices.
        let edge = if after < audio_16k.len() { Edge::Reflect } else { Edge::Zero };
        let mut mel = self.front_end.compute(&pad(audio_16k, PADDING, after, edge));
        let bands = self.front_end.bank.bands();
        let wanted = PitchTrack::frames(audio_16k.len()) * bands;
        while mel.len() < wanted {
            mel.extend_from_within(mel.len() - bands..);
        }
        mel.truncate(wanted);
        Ok(mel)
    }

    /// The salience `[frames, bins]` in 0..=1, row-major, of a log-mel spectrogram `[frames, bands]`.
    ///
    /// # Errors
    /// The device fails.
    pub fn salience(&self, mel: &[f32]) -> Result<Vec<f32>> {
        self.salience_of(mel, None, &mut |_| Ok(()))
    }

    /// What the network is fed with for a log-mel spectrogram.
    fn values(&self, mel: &[f32]) -> Vec<TensorData> {
        let bands = self.front_end.bank.bands();
        let frames = mel.len() / bands;
        vec![floats(mel[..frames * bands].to_vec(), [1, frames, bands])]
    }

    /// The first layer of a log-mel spectrogram, `[1, channels, frames]`.
    fn enter(&self, mut fed: Fed<B>) -> Tensor<B, 3> {
        self.input.forward(fed.floats::<3>().swap_dims(1, 2))
    }

    /// The salience of a spectrogram, or of a part of one with these moments after the first layer; `progress` hears the
    /// share done, 0..=1.
    fn salience_of(&self, mel: &[f32], whole: Option<&Moments>, progress: &mut Listener<'_>) -> Result<Vec<f32>> {
        let forward = |fed: Fed<B>| {
            let x = self.input_norm.forward(self.enter(fed), whole);
            let mut x = self.mix.fused(x, Fused::before(Activation::LeakyRelu(SLOPE)));
            for (done, block) in (1..).zip(&self.blocks) {
                x = block.forward(x);
                progress(f64::from(done) / self.blocks.len() as f64)?;
            }
            let x = self.norm.forward(x.swap_dims(1, 2));
            Ok(self.output.fused(x, Fused::after(Activation::Sigmoid)))
        };
        let computation = Computation { network: self.id, choices: vec![usize::from(whole.is_some())] };
        let salience = B::compute(computation, self.values(mel), &self.device, forward)?;
        progress(1.0).map(|()| salience)
    }

    /// Reads the pitch off `salience` `[frames, bins]`: the weighted mean in cents of the nine bins around the largest;
    /// beyond the first and last bin these count again. Frames whose largest is at most `threshold` are unvoiced.
    #[must_use]
    pub fn decode(&self, salience: &[f32], threshold: f32) -> PitchTrack {
        let last = self.cents.len() - 1;
        let frame = |salience: &[f32]| {
            let Some((bin, confidence)) = peak(salience) else { return (0.0, 0.0) };
            let bins = (bin..=bin + 2 * NEIGHBOURS).map(|i| i.saturating_sub(NEIGHBOURS).min(last));
            let cents = weighted_cents(salience, bins, |bin| f64::from(self.cents[bin]));
            let f0_hz = if confidence > threshold { cents.map_or(0.0, cents_to_hz) } else { 0.0 };
            (f0_hz as f32, confidence.clamp(0.0, 1.0))
        };
        let (f0_hz, voicing) = salience.chunks_exact(self.cents.len()).map(frame).unzip();
        PitchTrack { f0_hz, voicing }
    }

    /// Tracks the pitch of 16 kHz audio; frames whose salience is at most `threshold` are unvoiced.
    ///
    /// The usual threshold is [`DEFAULT_THRESHOLD`]. `voicing` is the largest salience of a frame. Audio of more than 160
    /// seconds goes through in windows that hear all that the network reaches, normalised by the moments of the whole:
    /// nothing but the order of sums differs.
    ///
    /// # Errors
    /// The audio is empty.
    pub fn f0(&self, audio_16k: &[f32], threshold: f32) -> Result<PitchTrack> {
        self.f0_in(TrackWindows::default(), audio_16k, threshold)
    }

    /// As [`f0`](Self::f0) in windows of other sizes; their context is at least what the network reaches.
    ///
    /// # Errors
    /// The audio is empty.
    pub fn f0_in(&self, windows: TrackWindows, audio_16k: &[f32], threshold: f32) -> Result<PitchTrack> {
        self.f0_telling(windows, audio_16k, threshold, &mut |_| Ok(()))
    }

    /// As [`f0_in`](Self::f0_in); `progress` hears the share done, 0..=1.
    ///
    /// # Errors
    /// As there, and what `progress` says.
    pub fn f0_telling(
        &self,
        windows: TrackWindows,
        audio_16k: &[f32],
        threshold: f32,
        progress: &mut Listener<'_>,
    ) -> Result<PitchTrack> {
        /// About what the first of the two ways over the windows takes.
        const ENTRY_SHARE: f64 = 0.2;
        let mel = self.mel(audio_16k)?;
        let bands = self.front_end.bank.bands();
        let frames = mel.len() / bands;
        if frames <= windows.longest_hops {
            return Ok(self.decode(&self.salience_of(&mel, None, progress)?, threshold));
        }
        let context_hops = windows.context_hops.max(self.reach_hops);
        let windows = TrackWindows { context_hops, ..windows };
        let part = |hops: &Range<usize>| &mel[hops.start * bands..hops.end * bands];
        let mut moments = Moments::default();
        for (counted, heard) in windows.spans(frames) {
            let entered = self.enter(Fed::with(self.values(part(&heard)), &self.device));
            moments.add(&values(entered.narrow(2, counted.start - heard.start, counted.len())));
            progress(ENTRY_SHARE * counted.end as f64 / frames as f64)?;
        }
        let mut whole = PitchTrack::default();
        for (counted, heard) in windows.spans(frames) {
            let share = |share: f64| (counted.start as f64 + share * counted.len() as f64) / frames as f64;
            let told = &mut |done| progress(ENTRY_SHARE + (1.0 - ENTRY_SHARE) * share(done));
            let salience = self.salience_of(part(&heard), Some(&moments), told)?;
            let bins = self.cents.len();
            let inside = (counted.start - heard.start) * bins..(counted.end - heard.start) * bins;
            let PitchTrack { f0_hz, voicing } = self.decode(&salience[inside], threshold);
            whole.f0_hz.extend(f0_hz);
            whole.voicing.extend(voicing);
        }
        Ok(whole)
    }
}

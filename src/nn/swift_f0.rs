//! `SwiftF0` (Nieradzik 2025): a small convolutional pitch network over three spectrograms; its weights are embedded.

use std::ops::Range;

use burn::tensor::{Tensor, activation};

use super::layers::{Conv1d, floats, load};
use super::ops::{Activation, Computation, Conv1dSpec, Fed, Fused, NetworkId, Precision, VoiceOps};
use crate::checkpoint::{Tensors, Weights};
use crate::dsp::PitchTrack;
use crate::dsp::mel::FilterBank;
use crate::dsp::pitch_track::{HOP_SAMPLES, require_audio};
use crate::dsp::salience::peak;
use crate::dsp::stft::{Edge, Stft, pad};
use crate::error::{Error, Result};

/// Samples from one frame of the network to the next: 16 ms.
pub const NATIVE_HOP_SAMPLES: usize = 256;
/// The confidence from which the authors call a frame voiced.
pub const DEFAULT_THRESHOLD: f32 = 0.5;

/// The published weights.
pub(crate) const WEIGHTS: &[u8] = include_bytes!("../../models/swift_f0/swift_f0.safetensors");
/// Samples of the spectra, in the order of the network's input planes.
pub const FFT_SAMPLES: [usize; 3] = [1024, 2048, 512];
/// Bands into which each spectrum is gathered.
const BANDS: usize = 128;
/// Added to each band before the logarithm.
const BAND_OFFSET: f32 = 1e-8;
/// Bands between the taps of each residual block.
const DILATIONS: [usize; 6] = [1, 17, 27, 40, 48, 2];
/// A hop whose samples all lie below this has confidence 0: the network never saw digital silence.
const SILENCE_PEAK: f32 = 1e-3;

/// A spectrogram gathered into bands.
#[derive(Clone, Debug)]
struct Plane {
    stft: Stft,
    bank: FilterBank,
    reach: usize,
}

/// The published weights, which are part of the program.
///
/// # Errors
/// None, unless the program was built with a damaged file.
pub fn embedded_weights() -> Result<Tensors> {
    Tensors::from_safetensors("models/swift_f0/swift_f0.safetensors", WEIGHTS)
}

/// Loads the bands of spectra of `size` samples.
///
/// # Errors
/// A tensor is missing, or names a bin or band that there is not.
pub fn bank(weights: &Weights<'_>, size: usize) -> Result<FilterBank> {
    let [count] = weights.shape::<1>("index")?;
    let bins = size / 2 + 1;
    let index = weights.load("index", &[count])?;
    if let Some(bad) = index.iter().find(|&&i| i < 0.0 || i >= (bins * BANDS) as f32) {
        return Err(weights.error("index", format!("values below {}", bins * BANDS), bad));
    }
    let entries = index.iter().map(|&i| i as usize).zip(weights.load("weight", &[count])?);
    let entries = entries.map(|(i, weight)| (i % BANDS, i / BANDS, weight));
    Ok(FilterBank::from_entries(BANDS, bins, entries))
}

impl Plane {
    fn load(weights: &Weights<'_>, size: usize) -> Result<Self> {
        let bank = bank(weights, size)?;
        Ok(Self { stft: Stft::new(size, NATIVE_HOP_SAMPLES), bank, reach: size / 2 })
    }

    /// The logarithm of each band, `[frames, bands]`.
    fn compute(&self, audio: &[f32], frames: Range<usize>) -> Vec<f32> {
        let mut bands = Vec::new();
        let mut magnitudes = vec![0.0; self.stft.bins()];
        let (first, end) = (frames.start * NATIVE_HOP_SAMPLES, frames.end * NATIVE_HOP_SAMPLES);
        let (before, after) = (self.reach.saturating_sub(first), self.reach + end.saturating_sub(audio.len()));
        let seen = &audio[first.saturating_sub(self.reach)..];
        self.stft.for_each(&pad(seen, before, after, Edge::Zero), |spectrum| {
            for (magnitude, value) in magnitudes.iter_mut().zip(spectrum) {
                *magnitude = value.norm();
            }
            bands.extend(self.bank.apply(&magnitudes).map(|band| (band + BAND_OFFSET).ln()));
        });
        bands.truncate(frames.len() * BANDS);
        bands
    }
}

/// A convolution over bands and frames, run as one over bands: frames are independent entries of a batch, and the frames
/// around each are further channels of it.
#[derive(Clone, Debug)]
struct Conv<B: VoiceOps> {
    over_bands: B::Conv1d,
    /// Frames that an output sees: itself, and as many on both sides.
    frames: usize,
}

impl<B: VoiceOps> Conv<B> {
    /// Loads `weight` `[out, in, bands, frames]`, its taps `dilation` bands apart; tells how many channels come out.
    fn load(weights: &Weights<'_>, input: usize, dilation: usize, device: &B::Device) -> Result<(Self, usize)> {
        let [out, _, bands, frames] = weights.shape::<4>("weight")?;
        if bands % 2 == 0 || frames % 2 == 0 {
            return Err(weights.error("weight", "odd numbers of taps", format!("{bands} x {frames}")));
        }
        let weight: Tensor<B, 4> = load(weights, "weight", [out, input, bands, frames], device)?;
        let weight = weight.permute([0, 3, 1, 2]).reshape([out, frames * input, bands]);
        let bias = load(weights, "bias", [out], device)?;
        let spec = Conv1dSpec::same(bands, dilation);
        Ok((Self { over_bands: B::prepare_conv1d(weight, Some(bias), spec, Precision::Full), frames }, out))
    }

    fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        self.fused(x, Fused::default())
    }

    /// Maps `x` `[frames, channels, bands]` to as many frames and bands.
    fn fused(&self, x: Tensor<B, 3>, fused: Fused<B, 3>) -> Tensor<B, 3> {
        B::conv1d_with_neighbours(&self.over_bands, x, self.frames, fused)
    }

    /// Frames before an output that it sees.
    fn reach(&self) -> usize {
        self.frames / 2
    }
}

/// All but the first `count` frames of `[frames, channels, bands]`.
fn without_first<B: VoiceOps>(x: Tensor<B, 3>, count: usize) -> Tensor<B, 3> {
    let frames = x.dims()[0];
    if count == 0 { x } else { x.narrow(0, count, frames - count) }
}

/// The network's own frames: one every 256 samples, frame `i` centred on sample `256 i`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NativeTrack {
    /// The likeliest frequency in Hz, 46.875 to 2093.75, whether voiced or not.
    pub f0_hz: Vec<f32>,
    /// Confidence in 0..=1 that the frame is voiced.
    pub confidence: Vec<f32>,
}

/// The pitch network that needs no download.
#[derive(Clone, Debug)]
pub struct SwiftF0<B: VoiceOps> {
    id: NetworkId,
    planes: Vec<Plane>,
    stem: Conv<B>,
    blocks: Vec<[Conv<B>; 2]>,
    reduce: Conv<B>,
    pitch: Conv<B>,
    evidence: Conv<B>,
    hidden: Conv1d<B>,
    /// Frames before an output that `hidden` sees.
    hidden_reach: usize,
    voicing: Conv1d<B>,
    /// Natural logarithm of each candidate in Hz.
    candidates: Vec<f64>,
    device: B::Device,
}

impl<B: VoiceOps> SwiftF0<B> {
    /// The network with the published weights, which are part of the program.
    ///
    /// # Errors
    /// None, unless the program was built with a damaged file.
    pub fn embedded(device: &B::Device) -> Result<Self> {
        Self::load(&embedded_weights()?.weights(), device)
    }

    /// Loads other weights of the same form (see `models/swift_f0/README.md`). Its products are never of reduced precision: its few
    /// channels gain nothing by that (1.5 ms either way for 1 s on an H200), and 0.1 cents of pitch would move the phase of
    /// what follows.
    ///
    /// # Errors
    /// A tensor is missing, holds a value that is not finite, or does not fit the one before it.
    pub fn load(weights: &Weights<'_>, device: &B::Device) -> Result<Self> {
        let device = &B::full(device);
        let conv = |name: &str, input, dilation| Conv::<B>::load(&weights.child(name), input, dilation, device);
        let plane = |(i, &size)| Plane::load(&weights.child(format!("bank.{i}")), size);
        let planes = FFT_SAMPLES.iter().enumerate().map(plane).collect::<Result<Vec<_>>>()?;
        let (stem, channels) = conv("stem", planes.len(), 1)?;
        let block = |(i, &dilation): (usize, &usize)| {
            let (first, inner) = conv(&format!("blocks.{i}.first"), channels, dilation)?;
            let (second, out) = conv(&format!("blocks.{i}.second"), inner, dilation)?;
            if out == channels {
                return Ok([first, second]);
            }
            Err(weights.error(format!("blocks.{i}.second.weight"), format!("{channels} channels"), out))
        };
        let blocks = DILATIONS.iter().enumerate().map(block).collect::<Result<Vec<_>>>()?;
        let (reduce, reduced) = conv("pitch.reduce", channels, 1)?;
        let (pitch, planes_out) = conv("pitch.output", reduced, 1)?;
        if planes_out != 1 {
            return Err(weights.error("pitch.output.weight", "one channel", planes_out));
        }
        let (evidence, features) = conv("voicing.evidence", reduced, 1)?;
        let (hidden, voicing) = (weights.child("voicing.hidden"), weights.child("voicing.output"));
        let [wide, _, taps] = hidden.shape::<3>("weight")?;
        if taps % 2 == 0 {
            return Err(hidden.error("weight", "an odd number of taps", taps));
        }
        let [count] = weights.shape::<1>("pitch.frequencies")?;
        let frequencies = weights.load("pitch.frequencies", &[count])?;
        if count == 0 || count >= BANDS || frequencies.iter().any(|&hz| hz <= 0.0) {
            return Err(weights.error("pitch.frequencies", "positive values, fewer than the bands", count));
        }
        Ok(Self {
            id: NetworkId::unique(),
            planes,
            stem,
            blocks,
            reduce,
            pitch,
            evidence,
            hidden: Conv1d::load(&hidden, [wide, features + 1, taps], Conv1dSpec::same(taps, 1), device)?,
            hidden_reach: taps / 2,
            voicing: Conv1d::load(&voicing, [1, wide, 1], Conv1dSpec::default(), device)?,
            candidates: frequencies.iter().map(|&hz| f64::from(hz).ln()).collect(),
            device: device.clone(),
        })
    }

    /// Tracks the pitch of 16 kHz audio in the network's own `max(1, samples / 256)` frames.
    ///
    /// # Errors
    /// The audio is empty or holds a value that is not finite.
    pub fn native(&self, audio_16k: &[f32]) -> Result<NativeTrack> {
        self.native_from(audio_16k, 0)
    }

    /// As [`native`](Self::native), frames from `first` on alone; those before have frequency and confidence 0.
    ///
    /// # Errors
    /// As there.
    pub fn native_from(&self, audio_16k: &[f32], first: usize) -> Result<NativeTrack> {
        require_audio(audio_16k)?;
        if let Some(bad) = audio_16k.iter().find(|v| !v.is_finite()) {
            return Err(Error::argument("audio", "finite samples", bad));
        }
        let frames = (audio_16k.len() / NATIVE_HOP_SAMPLES).max(1);
        let first = first.min(frames - 1);
        // Each layer drops the frames whose past is missing, where the audio has a past.
        let trims = first >= self.reach();
        let heard = if trims { first - self.reach() } else { 0 }..frames;
        let spectra = self.planes.iter().flat_map(|plane| plane.compute(audio_16k, heard.clone())).collect();
        let spectra = floats(spectra, [self.planes.len(), heard.len(), BANDS]);
        let forward = |mut fed: Fed<B>| {
            let spectra = fed.floats::<3>().swap_dims(0, 1);
            let x = self.forward(spectra.clone(), trims);
            let logits = self.pitch.forward(x.clone());
            Ok(Tensor::cat(vec![logits.flatten::<1>(0, 2), self.confidence(&x, spectra).flatten(0, 2)], 0))
        };
        let computation = Computation { network: self.id, choices: vec![usize::from(trims)] };
        let mut logits = B::compute(computation, vec![spectra], &self.device, forward)?;
        let told = logits.len() / (self.candidates.len() + 1);
        let new = told - (frames - first);
        let confidence = logits.split_off(told * self.candidates.len());
        let mut track = NativeTrack { f0_hz: vec![0.0; frames], confidence: vec![0.0; frames] };
        let frequencies = logits.chunks_exact(self.candidates.len()).map(|frame| self.frequency(frame));
        for (place, hz) in track.f0_hz[first..].iter_mut().zip(frequencies.skip(new)) {
            *place = hz;
        }
        track.confidence[first..].copy_from_slice(&confidence[new..]);
        for (confidence, hop) in track.confidence.iter_mut().zip(audio_16k.chunks(NATIVE_HOP_SAMPLES)) {
            if hop.iter().all(|v| v.abs() < SILENCE_PEAK) {
                *confidence = 0.0;
            }
        }
        Ok(track)
    }

    /// Frames before an output that the layers see.
    fn reach(&self) -> usize {
        let blocks = self.blocks.iter().flatten().map(Conv::reach).sum::<usize>();
        let heads = self.pitch.reach().max(self.evidence.reach() + self.hidden_reach);
        self.stem.reach() + blocks + self.reduce.reach() + heads
    }

    /// The features `[frames, channels, candidates]` that both heads read, of `spectra` `[frames, planes, bands]`; where it `trims`
    /// without the frames that lack a part of their past.
    fn forward(&self, spectra: Tensor<B, 3>, trims: bool) -> Tensor<B, 3> {
        let relu = || Fused::after(Activation::Relu);
        let trim = |x, conv: &Conv<B>| if trims { without_first(x, conv.reach()) } else { x };
        let stem = trim(self.stem.fused(spectra, relu()), &self.stem);
        let x = self.blocks.iter().fold(stem, |x, [first, second]| {
            let y = trim(first.fused(x.clone(), relu()), first);
            let x = trim(x, first);
            trim(activation::relu(second.fused(y, Fused::default().plus(x))), second)
        });
        // The reference pads one band below and none above, which gives one candidate fewer than bands.
        let bands = self.candidates.len() + 1;
        let x = self.reduce.fused(x.narrow(2, 0, bands), relu());
        trim(x.narrow(2, 0, self.candidates.len()), &self.reduce)
    }

    /// Voicing of each frame, from the strongest evidence over candidates and the loudness: `[1, 1, frames]`.
    fn confidence(&self, x: &Tensor<B, 3>, spectra: Tensor<B, 3>) -> Tensor<B, 3> {
        let [frames, planes, bands] = spectra.dims();
        let loudness = without_first(spectra, frames - x.dims()[0]);
        let loudness = loudness.reshape([x.dims()[0], planes * bands, 1]).mean_dim(1);
        let evidence = self.evidence.forward(x.clone()).max_dim(2);
        let hidden = Tensor::cat(vec![evidence, loudness], 1).permute([2, 1, 0]);
        let hidden = self.hidden.fused(hidden, Fused::after(Activation::Relu));
        self.voicing.fused(hidden, Fused::after(Activation::Sigmoid))
    }

    /// The mean of the likeliest candidate and its neighbours in log frequency, weighted by their probability.
    fn frequency(&self, logits: &[f32]) -> f32 {
        let Some((bin, top)) = peak(logits) else { return 0.0 };
        let around = bin.saturating_sub(1)..(bin + 2).min(logits.len());
        let (sum, weight) = around.fold((0.0, 0.0), |(sum, weight), i| {
            let p = (f64::from(logits[i]) - f64::from(top)).exp();
            (sum + p * self.candidates[i], weight + p)
        });
        (sum / weight).exp() as f32
    }

    /// Tracks the pitch of 16 kHz audio on the 10 ms grid; frames whose confidence is below `threshold` are unvoiced.
    ///
    /// The usual threshold is [`DEFAULT_THRESHOLD`]. See [`NativeTrack::on_grid`] for the interpolation.
    ///
    /// # Errors
    /// The audio is empty or holds a value that is not finite.
    pub fn f0(&self, audio_16k: &[f32], threshold: f32) -> Result<PitchTrack> {
        self.f0_from(audio_16k, 0, threshold)
    }

    /// As [`f0`](Self::f0); points before `first` need not be told.
    ///
    /// # Errors
    /// As there.
    pub fn f0_from(&self, audio_16k: &[f32], first: usize, threshold: f32) -> Result<PitchTrack> {
        let native = self.native_from(audio_16k, first * HOP_SAMPLES / NATIVE_HOP_SAMPLES)?;
        Ok(native.on_grid(PitchTrack::frames(audio_16k.len()), threshold))
    }
}

impl NativeTrack {
    /// The track at `frames` points 10 ms apart.
    ///
    /// A point takes the confidence of the nearest native frame and is voiced if that is at least `threshold`; its
    /// pitch is interpolated linearly in log frequency between the native frames on both sides if both are voiced, and
    /// is that of the nearest otherwise. Beyond the last native frame the last holds.
    #[must_use]
    pub fn on_grid(&self, frames: usize, threshold: f32) -> PitchTrack {
        let last = self.f0_hz.len().saturating_sub(1);
        let point = |frame: usize| {
            let sample = frame * HOP_SAMPLES;
            let left = (sample / NATIVE_HOP_SAMPLES).min(last);
            let right = (left + 1).min(last);
            let toward = (sample - left * NATIVE_HOP_SAMPLES) as f32 / NATIVE_HOP_SAMPLES as f32;
            let nearest = if toward < 0.5 { left } else { right };
            let (Some(&f0), Some(&confidence)) = (self.f0_hz.get(nearest), self.confidence.get(nearest)) else {
                return (0.0, 0.0);
            };
            if confidence < threshold {
                return (0.0, confidence);
            }
            let both = self.confidence[left] >= threshold && self.confidence[right] >= threshold;
            let (low, high) = (self.f0_hz[left].ln(), self.f0_hz[right].ln());
            (if both { (low + (high - low) * toward.min(1.0)).exp() } else { f0 }, confidence)
        };
        let (f0_hz, voicing) = (0..frames).map(point).unzip();
        PitchTrack { f0_hz, voicing }
    }
}

//! RMVPE (Wei et al., Interspeech 2023): pitch from a mel spectrogram through a U-Net and a recurrent layer.

mod unet;

use burn::tensor::Tensor;

use self::unet::{NORM_EPSILON, UNet};
use super::layers::{BatchNorm, Conv2d, Linear, floats, load};
use super::ops::{Activation, Computation, Fed, Fused, NetworkId, VoiceOps};
use crate::checkpoint::Weights;
use crate::dsp::PitchTrack;
use crate::dsp::mel::{FilterBank, LogMel, MelScale};
use crate::dsp::pitch_track::{HOP_SAMPLES, SAMPLE_RATE_HZ, TrackWindows, require_audio};
use crate::dsp::salience::{around, bin_cents, cents_to_hz, peak, weighted_cents};
use crate::dsp::stft::{Edge, Stft, pad};
use crate::error::Result;
use crate::telemetry::Listener;

/// The salience at or below which RVC calls a frame unvoiced.
pub const DEFAULT_THRESHOLD: f32 = 0.03;

/// Samples of each spectrum.
const FFT_SAMPLES: usize = 1024;
/// The mel bands' range in Hz.
const RANGE_HZ: [f64; 2] = [30.0, 8000.0];
/// Mel magnitudes below this count as this before the logarithm.
const MEL_FLOOR: f32 = 1e-5;
/// Largest sizes of any network worth loading: they bound what is allocated for a second of audio.
const MOST_BANDS: usize = 1024;
const MOST_BINS: usize = 4096;
const WIDEST: usize = 8192;
/// The reference pads to this many frames whatever the depth of the network.
const FRAMES_MULTIPLE: usize = 32;

/// The pitch network of RVC, all sizes from its checkpoint.
///
/// Frames are centred on multiples of 160 samples, so its own grid is the grid of [`PitchTrack`].
#[derive(Clone, Debug)]
pub struct Rmvpe<B: VoiceOps> {
    id: NetworkId,
    front_end: LogMel,
    input: BatchNorm,
    unet: UNet<B>,
    join: Conv2d<B>,
    forward: B::Gru,
    backward: B::Gru,
    output: Linear<B>,
    bins: usize,
    device: B::Device,
}

impl<B: VoiceOps> Rmvpe<B> {
    /// Loads a bare state dictionary with the tensors of `rmvpe.pt`.
    ///
    /// # Errors
    /// A tensor is missing, holds a value that is not finite, or does not fit the one before it.
    pub fn load(weights: &Weights<'_>, device: &B::Device) -> Result<Self> {
        let (unet, channels) = UNet::load(&weights.child("unet"), device)?;
        let [planes, ..] = weights.shape_within::<4>("cnn.weight", WIDEST)?;
        let gru = weights.child("fc.0.gru");
        let [_, features] = gru.shape_within::<2>("weight_ih_l0", 3 * WIDEST)?;
        let [_, hidden] = gru.shape_within::<2>("weight_hh_l0", 3 * WIDEST)?;
        let bands = features.checked_div(planes).unwrap_or(0);
        let multiple = unet.multiple().unwrap_or(usize::MAX);
        if bands == 0 || bands > MOST_BANDS || bands * planes != features || bands % multiple != 0 {
            let expected = format!("a multiple of {planes} planes of {multiple} mel bands, at most {MOST_BANDS}");
            return Err(gru.error("weight_ih_l0", expected, features));
        }
        let [bins, inputs] = weights.shape_within::<2>("fc.1.weight", 6 * WIDEST)?;
        if bins > MOST_BINS {
            return Err(weights.error("fc.1.weight", format!("1 to {MOST_BINS} bins"), format!("[{bins}, {inputs}]")));
        }
        let direction = |suffix: &str| load_gru::<B>(&gru, suffix, features, hidden, device);
        Ok(Self {
            id: NetworkId::unique(),
            front_end: LogMel {
                stft: Stft::new(FFT_SAMPLES, HOP_SAMPLES),
                bank: FilterBank::mel(MelScale::Htk, SAMPLE_RATE_HZ, FFT_SAMPLES, bands, RANGE_HZ),
                power_offset: 0.0,
                floor: MEL_FLOOR,
            },
            input: BatchNorm::load(&weights.child("unet.encoder.bn"), 1, NORM_EPSILON)?,
            unet,
            join: Conv2d::load(&weights.child("cnn"), [planes, channels, 3, 3], device)?,
            forward: direction("")?,
            backward: direction("_reverse")?,
            output: Linear::load(&weights.child("fc.1"), [bins, 2 * hidden], device)?,
            bins,
            device: device.clone(),
        })
    }

    /// Number of pitch bins in a frame of [`salience`](Self::salience), 20 cents apart.
    #[must_use]
    pub fn bins(&self) -> usize {
        self.bins
    }

    /// The log-mel spectrogram `[samples / 160 + 1, bands]`, row-major, of 16 kHz audio.
    ///
    /// # Errors
    /// The audio is empty.
    pub fn mel(&self, audio_16k: &[f32]) -> Result<Vec<f32>> {
        require_audio(audio_16k)?;
        Ok(self.front_end.compute(&pad(audio_16k, FFT_SAMPLES / 2, FFT_SAMPLES / 2, Edge::Reflect)))
    }

    /// The salience `[frames, bins]` in 0..=1, row-major, of a log-mel spectrogram `[frames, bands]`.
    ///
    /// # Errors
    /// The device fails.
    pub fn salience(&self, mel: &[f32]) -> Result<Vec<f32>> {
        self.salience_telling(mel, &mut |_| Ok(()))
    }

    fn salience_telling(&self, mel: &[f32], progress: &mut Listener<'_>) -> Result<Vec<f32>> {
        let bands = self.front_end.bank.bands();
        let frames = mel.len() / bands;
        // Frames beyond the end are 0 in the logarithmic domain, which is not silence: so was the network trained.
        let padded = frames.next_multiple_of(FRAMES_MULTIPLE.max(self.unet.multiple().unwrap_or(1)));
        let (scale, shift) = (self.input.scale[0], self.input.shift[0]);
        let mut x: Vec<f32> = mel[..frames * bands].iter().map(|v| v * scale + shift).collect();
        x.resize(padded * bands, shift);
        let forward = |mut fed: Fed<B>| {
            let x = self.unet.forward_telling(fed.floats(), progress)?;
            let x = self.join.fused(x, Fused::default());
            let x: Tensor<B, 3> = x.swap_dims(1, 2).flatten(2, 3);
            let x = B::gru_both_ways(&self.forward, &self.backward, x);
            Ok(self.output.fused(x, Fused::after(Activation::Sigmoid)))
        };
        let x = floats(x, [1, 1, padded, bands]);
        let mut salience = B::compute(Computation::of(self.id), vec![x], &self.device, forward)?;
        progress(1.0)?;
        salience.truncate(frames * self.bins);
        Ok(salience)
    }

    /// Tracks the pitch of 16 kHz audio; frames whose salience is at most `threshold` are unvoiced.
    ///
    /// The usual threshold is [`DEFAULT_THRESHOLD`]. `voicing` is the largest salience of a frame. Audio of up to 160
    /// seconds goes through the network at once, as in the reference: its recurrent layer reads all of it in both
    /// directions. Longer audio goes through in windows: see [`f0_in`](Self::f0_in).
    ///
    /// # Errors
    /// The audio is empty.
    pub fn f0(&self, audio_16k: &[f32], threshold: f32) -> Result<PitchTrack> {
        self.f0_in(TrackWindows::default(), audio_16k, threshold)
    }

    /// As [`f0`](Self::f0) in windows of other sizes. The context holds all that the convolutions reach; what is left
    /// out is what the recurrent layer remembers from beyond it.
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
        windows.track(audio_16k, progress, |audio, told| {
            Ok(decode(&self.salience_telling(&self.mel(audio)?, told)?, self.bins, threshold))
        })
    }
}

/// Loads one direction of the recurrent layer.
fn load_gru<B: VoiceOps>(
    weights: &Weights<'_>,
    suffix: &str,
    features: usize,
    hidden: usize,
    device: &B::Device,
) -> Result<B::Gru> {
    let gates = 3 * hidden;
    let name = |part: &str| format!("{part}_l0{suffix}");
    Ok(B::prepare_gru(
        load(weights, &name("weight_ih"), [gates, features], device)?,
        load(weights, &name("weight_hh"), [gates, hidden], device)?,
        load(weights, &name("bias_ih"), [gates], device)?,
        load(weights, &name("bias_hh"), [gates], device)?,
    ))
}

/// Reads the pitch off `salience` `[frames, bins]`: the weighted mean in cents of the bins around the largest.
#[must_use]
pub fn decode(salience: &[f32], bins: usize, threshold: f32) -> PitchTrack {
    let frame = |salience: &[f32]| {
        let Some((bin, confidence)) = peak(salience) else { return (0.0, 0.0) };
        let cents = weighted_cents(salience, around(bin, salience.len()), bin_cents);
        let f0_hz = if confidence > threshold { cents.map_or(0.0, cents_to_hz) } else { 0.0 };
        (f0_hz as f32, confidence.clamp(0.0, 1.0))
    };
    let (f0_hz, voicing) = salience.chunks_exact(bins.max(1)).map(frame).unzip();
    PitchTrack { f0_hz, voicing }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Tensors;
    use crate::nn::Cpu;
    use crate::nn::recorded::Recorded;

    #[test]
    fn every_part_of_the_network_gives_what_the_reference_recorded() {
        /// Sums in another order, of values up to some tens.
        const TOLERANCE: f32 = 3e-5;
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/rmvpe_small.pt");
        let tensors = Tensors::open(path).expect("a checkpoint");
        let network = Rmvpe::<Cpu>::load(&tensors.weights(), &Default::default()).expect("a network");
        let recorded = Recorded::open("rmvpe_small");
        let mel = recorded.tensor::<3>("0.out.mel").swap_dims(1, 2).unsqueeze_dim::<4>(1);
        let x = mel * network.input.scale[0] + network.input.shift[0];
        recorded.check("0.mid.unet.encoder.bn", x.clone(), TOLERANCE);
        network.unet.check_parts(x.clone(), &recorded, TOLERANCE);
        let x = network.join.fused(network.unet.forward_telling(x, &mut |_| Ok(())).expect("levels"), Fused::default());
        recorded.check("0.mid.cnn", x.clone(), TOLERANCE);
        let x: Tensor<Cpu, 3> = x.swap_dims(1, 2).flatten(2, 3);
        let x = Cpu::gru_both_ways(&network.forward, &network.backward, x);
        recorded.check("0.mid.gru", x.clone(), TOLERANCE);
        recorded.check("0.mid.fc_linear", network.output.fused(x, Fused::default()), TOLERANCE);
    }
}

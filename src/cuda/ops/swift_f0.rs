//! `SwiftF0` as one launch.

use super::SWIFT_F0;
use super::log_mel::{Banks, roots_of_unity};
use crate::checkpoint::Weights;
use crate::cuda::launch::{Buffer, Launch, Machine, expect_at_least, expect_len};
use crate::dsp::stft::hann;
use crate::error::Result;
use crate::nn::swift_f0::{FFT_SAMPLES, NATIVE_HOP_SAMPLES, bank};

/// Frames that one block answers for.
const TILE: usize = 4;
/// Values of scratch that one block needs: 27 planes of 18 frames of 128 bands.
const SCRATCH: usize = 27 * 18 * 128;
/// Candidates in frequency.
const CANDIDATES: usize = 95;

/// The layers as the kernel takes them: name, and shape `[out, in, band taps, frame taps]`.
fn layers() -> Vec<(String, [usize; 4])> {
    let taps = [[7, 3], [7, 1], [5, 1], [3, 1], [3, 1], [7, 3]];
    let blocks = taps.into_iter().enumerate().flat_map(|(i, [bands, frames])| {
        ["first", "second"].map(|part| (format!("blocks.{i}.{part}"), [12, 12, bands, frames]))
    });
    let stem = std::iter::once(("stem".into(), [12, 3, 3, 3]));
    let heads = [("pitch.reduce", [4, 12, 3, 3]), ("pitch.output", [1, 4, 1, 1]), ("voicing.evidence", [4, 4, 5, 1])];
    stem.chain(blocks).chain(heads.map(|(name, shape)| (name.into(), shape))).collect()
}

/// The network in a machine's memory. Only the published shape fits the kernel.
pub struct SwiftF0Network<M: Machine> {
    table: Buffer<M, f32>,
    windows: Buffer<M, f32>,
    banks: Banks<M>,
    weights: Buffer<M, f32>,
    candidates: Buffer<M, f64>,
}

impl<M: Machine> SwiftF0Network<M> {
    /// Loads weights of the published shape (see `models/swift_f0/README.md`).
    ///
    /// # Errors
    /// A tensor is missing or of another shape, or there is no memory.
    pub fn load(machine: &M, weights: &Weights<'_>) -> Result<Self> {
        let banks = FFT_SAMPLES.iter().enumerate();
        let banks =
            banks.map(|(i, &size)| bank(&weights.child(format!("bank.{i}")), size)).collect::<Result<Vec<_>>>()?;
        let mut packed = Vec::new();
        for (name, shape) in layers() {
            let layer = weights.child(name);
            packed.extend(outputs_last(&layer.load("weight", &shape)?, shape));
            packed.extend(layer.load("bias", &shape[..1])?);
        }
        let (hidden, output) = (weights.child("voicing.hidden"), weights.child("voicing.output"));
        packed.extend(outputs_last(&hidden.load("weight", &[16, 5, 3])?, [16, 5, 1, 3]));
        packed.extend(hidden.load("bias", &[16])?);
        packed.extend(output.load("weight", &[1, 16, 1])?);
        packed.extend(output.load("bias", &[1])?);
        let frequencies = weights.load("pitch.frequencies", &[CANDIDATES])?;
        let candidates: Vec<f64> = frequencies.iter().map(|&hz| f64::from(hz).ln()).collect();
        let windows: Vec<f32> = FFT_SAMPLES.iter().flat_map(|&size| hann(size)).collect();
        Ok(Self {
            table: Buffer::new(machine, &roots_of_unity())?,
            windows: Buffer::new(machine, &windows)?,
            banks: Banks::new(machine, &banks)?,
            weights: Buffer::new(machine, &packed)?,
            candidates: Buffer::new(machine, &candidates)?,
        })
    }

    /// Frames of `samples` samples: one every 256, at least one.
    #[must_use]
    pub fn frames(samples: usize) -> usize {
        (samples / NATIVE_HOP_SAMPLES).max(1)
    }

    /// Values of scratch that `frames` frames need.
    #[must_use]
    pub fn scratch_len(frames: usize) -> usize {
        frames.div_ceil(TILE) * SCRATCH
    }

    /// Writes the likeliest frequency in Hz and the confidence of each frame of finite 16 kHz audio.
    ///
    /// # Errors
    /// An output has not [`Self::frames`] values, `scratch` is shorter than [`Self::scratch_len`], or the machine fails.
    pub fn swift_f0(
        &self,
        machine: &M,
        audio: &Buffer<M, f32>,
        scratch: &mut Buffer<M, f32>,
        f0_hz: &mut Buffer<M, f32>,
        confidence: &mut Buffer<M, f32>,
    ) -> Result<()> {
        expect_at_least("audio", audio.len(), 1)?;
        let frames = Self::frames(audio.len());
        expect_len("f0", f0_hz.len(), frames)?;
        expect_len("confidence", confidence.len(), frames)?;
        expect_at_least("scratch", scratch.len(), Self::scratch_len(frames))?;
        Launch::new(&SWIFT_F0, frames.div_ceil(TILE))
            .input(audio)
            .size(audio.len())
            .size(frames)
            .input(&self.table)
            .input(&self.windows)
            .input(&self.banks.first)
            .input(&self.banks.start)
            .input(&self.banks.weights)
            .input(&self.weights)
            .input(&self.candidates)
            .output(scratch)
            .output(f0_hz)
            .output(confidence)
            .run(machine)
    }
}

/// `[out, in, band taps, frame taps]` as `[in, frame taps, band taps, out]`.
fn outputs_last(weight: &[f32], [out, input, bands, frames]: [usize; 4]) -> Vec<f32> {
    let mut turned = Vec::with_capacity(weight.len());
    for i in 0..input {
        for t in 0..frames {
            for b in 0..bands {
                turned.extend((0..out).map(|o| weight[((o * input + i) * bands + b) * frames + t]));
            }
        }
    }
    turned
}

//! The harmonic source: a sine that follows the pitch, noise where there is none.
//!
//! Wang et al., "Neural source-filter waveform models" (2019), with the one harmonic that RVC voices use.

use super::Noise;
use crate::checkpoint::Weights;
use crate::checkpoint::voice::VoiceConfig;
use crate::error::Result;

/// Amplitude of the sine.
const SINE_AMPLITUDE: f32 = 0.1;
/// Standard deviation of the noise under the sine.
const VOICED_NOISE: f32 = 0.003;
/// Standard deviation of the noise where there is no pitch.
const UNVOICED_NOISE: f32 = SINE_AMPLITUDE / 3.0;

/// The source of one voice.
#[derive(Clone, Debug)]
pub(super) struct Source {
    hop: usize,
    rate_hz: u32,
    /// The source is `tanh(gain * signal + offset)`.
    gain: f32,
    offset: f32,
}

impl Source {
    pub(super) fn load(generator: &Weights<'_>, config: &VoiceConfig) -> Result<Self> {
        let linear = generator.child("m_source").child("l_linear");
        Ok(Self {
            hop: config.hop_samples(),
            rate_hz: config.sample_rate_hz,
            gain: linear.load("weight", &[1, 1])?[0],
            offset: linear.load("bias", &[1])?[0],
        })
    }

    /// The source of f0 in Hz per hop: one sample per output sample. Goes on from `phase`, in cycles.
    pub(super) fn render(&self, f0_hz: &[f32], phase: &mut f64, noise: &mut Noise) -> Vec<f32> {
        let noise = noise.source(f0_hz.len() * self.hop);
        harmonic_source(f0_hz, self.hop, self.rate_hz, [self.gain, self.offset], phase, noise.as_deref())
    }
}

/// `tanh(gain * (sine + deviation * noise) + offset)` with the [`harmonic_sine`] of `f0_hz`; `noise` is standard normal,
/// a value per sample, its deviation 0.003 under the sine and 0.1 / 3 where f0 is 0.
#[must_use]
pub fn harmonic_source(
    f0_hz: &[f32],
    hop: usize,
    rate_hz: u32,
    [gain, offset]: [f32; 2],
    phase: &mut f64,
    noise: Option<&[f32]>,
) -> Vec<f32> {
    let mut signal = harmonic_sine(f0_hz, hop, rate_hz, phase);
    if let Some(noise) = noise {
        for ((signal, noise), &hz) in signal.chunks_mut(hop).zip(noise.chunks(hop)).zip(f0_hz) {
            let deviation = if hz > 0.0 { VOICED_NOISE } else { UNVOICED_NOISE };
            signal.iter_mut().zip(noise).for_each(|(signal, noise)| *signal += deviation * noise);
        }
    }
    signal.iter_mut().for_each(|signal| *signal = (gain * *signal + offset).tanh());
    signal
}

/// A sine of amplitude 0.1 that follows f0 in Hz per `hop` samples, 0 where f0 is 0. Each hop's f0 is held and the
/// phase runs on, from one step after `phase` in cycles. It is summed in f64: in f32 it would drift audibly within
/// seconds.
#[must_use]
pub fn harmonic_sine(f0_hz: &[f32], hop: usize, rate_hz: u32, phase: &mut f64) -> Vec<f32> {
    let mut signal = Vec::with_capacity(f0_hz.len() * hop);
    for &hz in f0_hz {
        let step = f64::from(hz) / f64::from(rate_hz);
        for _ in 0..hop {
            *phase = (*phase + step).fract();
            signal.push(if hz > 0.0 { SINE_AMPLITUDE * (std::f64::consts::TAU * *phase).sin() as f32 } else { 0.0 });
        }
    }
    signal
}

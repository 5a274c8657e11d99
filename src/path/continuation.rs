//! Continuation: renders each hop of a live stream once, going on exactly where the last chunk ended.
//!
//! What the generator has seen before the chunk is kept: its latents, its source with the phase, and the noise of both.
//! They are never changed again, so its convolutions find on the left what they found, and a chunk's first sample
//! follows the last one's as if both had been made at once. On the right the generator looks ahead into hops whose
//! latents are provisional: the next chunk makes them anew, with more of their future known.

use super::synth::Synth;
use crate::error::{Error, Result};
use crate::geometry::Geometry;
use crate::nn::ops::VoiceOps;
use crate::nn::synthesizer::{Noise, Rendered, Stretch};
use crate::params::ConversionParams;
use crate::units::{HOPS_PER_SECOND, Pitch, Units};

/// A rendering that goes on.
#[derive(Clone, Debug)]
pub struct Continuation {
    chunk_hops: usize,
    look_ahead_hops: usize,
    left: Option<Left>,
    /// Of the source where the last chunk ended that nothing is left of, in cycles.
    last_phase: Option<f64>,
}

/// What lies to the left of the next chunk.
#[derive(Clone, Debug)]
struct Left {
    /// As far as the generator reaches, `[inter_channels, hops]`.
    latents: Vec<f32>,
    /// As long; none for a voice without pitch.
    source: Option<Vec<f32>>,
    /// Of the source where the chunk begins, in cycles.
    phase: f64,
    noise: Drawn,
}

/// Noise of the hops that may be rendered again, the newest last; empty without noise.
#[derive(Clone, Debug, Default)]
struct Drawn {
    /// `[hops, inter_channels]`.
    prior: Vec<f32>,
    /// `[samples]`.
    source: Vec<f32>,
}

impl Continuation {
    /// Starts with the next chunk of this geometry. The look-ahead is as long as the delay of the join.
    #[must_use]
    pub fn new(geometry: &Geometry) -> Self {
        Self { chunk_hops: geometry.chunk_hops, look_ahead_hops: geometry.delay_hops(), left: None, last_phase: None }
    }

    /// Whether the next chunk begins anew.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.left.is_none()
    }

    /// Forgets what was rendered: the next chunk begins anew, after its window's own past. Its source comes in phase, so
    /// that the last chunk can fade into it without cancelling.
    pub fn forget(&mut self) {
        self.last_phase = self.left.take().map(|left| left.phase).or(self.last_phase);
    }

    /// Renders the chunk that ends the look-ahead before the end of `content`, and `extra_hops` of the look-ahead: audio
    /// at the voice's rate.
    ///
    /// # Errors
    /// The voice lacks the speaker, or the window is shorter than chunk and look-ahead.
    pub fn render<B: VoiceOps>(
        &mut self,
        synth: &mut Synth<B>,
        content: &Units,
        pitch: &Pitch,
        extra_hops: usize,
        params: &ConversionParams,
    ) -> Result<Vec<f32>> {
        let voice = synth.voice.clone();
        voice.require_speaker(params.speaker)?;
        if voice.config().has_f0 && pitch.f0_hz.len() != content.count() {
            let expected = format!("{} hops, as units", content.count());
            return Err(Error::argument("pitch", expected, pitch.f0_hz.len()));
        }
        let (hop, reach) = (voice.config().hop_samples(), voice.generator_reach_hops());
        let rendered = self.chunk_hops + self.look_ahead_hops;
        let start = content.count().saturating_sub(rendered);
        let left = self.left.take();
        // Before the first chunk, the past comes from its own window.
        let past = if left.is_none() { reach.min(start) } else { 0 };
        let fresh = past + rendered;
        let first = (start - past).saturating_sub(Synth::<B>::FLOW_CONTEXT_HOPS);
        let in_flow = content.count() - first;

        let channels = voice.config().inter_channels;
        let (mut source, mut phase, mut noise, settled) = if let Some(left) = left {
            (left.source, left.phase, left.noise, left.latents)
        } else {
            let source = voice.config().has_f0.then(Vec::new);
            let phase = source.as_ref().map(|_| self.phase_before(&pitch.f0_hz[start - past..start]));
            (source, phase.unwrap_or_default(), Drawn::default(), Vec::new())
        };
        noise.extend(&mut synth.noise, in_flow * channels, fresh * hop);

        if let Some(source) = &mut source {
            let (settled, provisional) = pitch.f0_hz[start - past..].split_at(past + self.chunk_hops);
            let (before, after) = noise.source.split_at(noise.source.len().min(settled.len() * hop));
            source.extend(voice.source(settled, &mut phase, &mut given(before)).unwrap_or_default());
            let ahead = voice.source(provisional, &mut phase.clone(), &mut given(after));
            source.extend(ahead.unwrap_or_default());
        }

        let end = settled.len() / channels + fresh - self.look_ahead_hops;
        let kept = reach.min(end);
        let Rendered { audio, latents } = voice.render(&Stretch {
            speaker: params.speaker,
            units: &content.values,
            coarse: &pitch.coarse,
            first_hop: first,
            noise: (!noise.prior.is_empty()).then(|| transposed(&noise.prior, channels)),
            settled: &settled,
            fresh: in_flow - fresh..in_flow,
            source: source.as_deref(),
            wanted: end - self.chunk_hops..end + extra_hops.min(self.look_ahead_hops),
            kept: end - kept..end,
        })?;

        noise.keep((Synth::<B>::FLOW_CONTEXT_HOPS + self.look_ahead_hops) * channels, self.look_ahead_hops * hop);
        self.left = Some(Left {
            latents,
            source: source.map(|source| source[(end - kept) * hop..end * hop].to_vec()),
            phase,
            noise,
        });
        Ok(audio)
    }

    /// The phase from which hops of this f0, in Hz, lead to where the last chunk ended.
    fn phase_before(&self, f0_hz: &[f32]) -> f64 {
        let cycles = f0_hz.iter().map(|&hz| f64::from(hz) / HOPS_PER_SECOND as f64).sum::<f64>();
        self.last_phase.map_or(0.0, |phase| (phase - cycles).rem_euclid(1.0))
    }
}

impl Drawn {
    /// Draws what is missing of so many values.
    fn extend(&mut self, noise: &mut Noise, prior: usize, source: usize) {
        self.prior.extend(noise.prior(prior.saturating_sub(self.prior.len())).into_iter().flatten());
        self.source.extend(noise.source(source.saturating_sub(self.source.len())).into_iter().flatten());
    }

    /// Keeps the newest values.
    fn keep(&mut self, prior: usize, source: usize) {
        self.prior.drain(..self.prior.len().saturating_sub(prior));
        self.source.drain(..self.source.len().saturating_sub(source));
    }
}

/// Noise of the source of given values, or none.
fn given(source: &[f32]) -> Noise {
    if source.is_empty() { Noise::Zero } else { Noise::Given { prior: Vec::new(), source: source.to_vec() } }
}

/// `[hops, channels]` to `[channels, hops]`.
fn transposed(values: &[f32], channels: usize) -> Vec<f32> {
    (0..channels).flat_map(|channel| values[channel.min(values.len())..].iter().step_by(channels).copied()).collect()
}

//! Seamless join: chunks that go on where the last one ended, without search or cross-fade.
//!
//! The [`Continuation`] makes samples that follow each other; what remains is to keep the loudness and the change of
//! rate continuous, too. Only where rendering begins anew, after silence or with another voice, something is faded.

use super::continuation::Continuation;
use super::join::fade_in;
use super::synth::Synth;
use crate::dsp::envelope::{LIVE_FLOOR, gain};
use crate::dsp::sinc_hann::SincHann;
use crate::error::Result;
use crate::geometry::Geometry;
use crate::nn::ops::VoiceOps;
use crate::params::ConversionParams;
use crate::telemetry::{Stage, StageTimes};
use crate::units::{Pitch, Units};

/// Hops before a point in time over which loudness is measured, as in the reference.
const LOUDNESS_BEFORE: usize = 2;
/// Hops after it. The reference's are two; of a short chunk, the second would be a quarter of all that is rendered.
const LOUDNESS_AFTER: usize = 1;

/// The state of the join.
#[derive(Clone, Debug)]
pub struct Seamless {
    continuation: Continuation,
    chunk_hops: usize,
    /// One hop at the stream's rate.
    hop: usize,
    /// Hops before the chunk in the stream's window.
    context_hops: usize,
    fade_in: Vec<f32>,
    /// Mean squares of the voice's last hops, before its loudness was changed.
    loudness: Vec<f32>,
    /// Gain where the chunk begins.
    gain: f32,
    /// The voice's last hop, at its own rate.
    last_hop: Vec<f32>,
    /// One hop at the stream's rate that goes on after the last chunk, to be faded out.
    tail: Vec<f32>,
}

impl Seamless {
    /// A join of chunks of this geometry, silence before the first.
    #[must_use]
    pub fn new(geometry: &Geometry) -> Self {
        let hop = geometry.hop_samples;
        Self {
            continuation: Continuation::new(geometry),
            chunk_hops: geometry.chunk_hops,
            hop,
            context_hops: geometry.context_hops,
            fade_in: fade_in(hop),
            loudness: Vec::new(),
            gain: 1.0,
            last_hop: Vec::new(),
            tail: vec![0.0; hop],
        }
    }

    /// Forgets the last chunk.
    pub fn reset(&mut self) {
        self.begin_anew();
        self.tail.fill(0.0);
    }

    /// Begins anew with the next chunk, into which what is left of the last is faded.
    pub fn begin_anew(&mut self) {
        self.continuation.forget();
        self.loudness.clear();
        self.last_hop.clear();
    }

    /// Renders one chunk of `content` and writes it to `output`.
    ///
    /// `window` is the input that content and pitch belong to, at the stream's rate; `resampler` leads from the voice's
    /// rate to that, if they differ.
    ///
    /// # Errors
    /// The voice lacks the speaker.
    ///
    /// # Panics
    /// If the length of `output` is not the geometry's.
    #[allow(clippy::too_many_arguments, reason = "everything that the path has for one chunk")]
    pub fn step<B: VoiceOps>(
        &mut self,
        synth: &mut Synth<B>,
        (content, pitch): (&Units, &Pitch),
        window: &[f32],
        resampler: Option<&SincHann>,
        params: &ConversionParams,
        times: &mut StageTimes,
        output: &mut [f32],
    ) -> Result<()> {
        assert_eq!(output.len(), self.chunk_hops * self.hop, "output length");
        let begins = self.continuation.is_new();
        let render = || self.continuation.render(synth, content, pitch, LOUDNESS_AFTER, params);
        let voice = times.measure(Stage::Synth, render)?;
        times.measure(Stage::Sink, || self.join(voice, begins, window, resampler, params.rms_mix_rate, output));
        Ok(())
    }

    /// Writes `voice`, which goes on where the last chunk ended or `begins`, to `output`.
    fn join(
        &mut self,
        mut voice: Vec<f32>,
        begins: bool,
        window: &[f32],
        resampler: Option<&SincHann>,
        rms_mix_rate: f32,
        output: &mut [f32],
    ) {
        let voice_hop = voice.len() / (self.chunk_hops + LOUDNESS_AFTER);
        self.take_loudness(&mut voice, voice_hop, window, rms_mix_rate);

        // The hop after the chunk feeds the filter and is what fades if nothing follows.
        let lead = self.last_hop.len() / voice_hop * self.hop;
        let chunk = self.chunk_hops * voice_hop;
        let mut audio = std::mem::take(&mut self.last_hop);
        audio.extend_from_slice(&voice[..chunk + voice_hop]);
        self.last_hop = voice[chunk - voice_hop..chunk].to_vec();
        let audio = resampler.map(|resampler| resampler.resample(&audio)).unwrap_or(audio);
        output.copy_from_slice(&audio[lead..lead + output.len()]);
        if begins {
            output.iter_mut().zip(&self.fade_in).for_each(|(value, gain)| *value *= gain);
            for ((value, tail), gain) in output.iter_mut().zip(&self.tail).zip(&self.fade_in) {
                *value += tail * (1.0 - gain);
            }
        }
        self.tail.copy_from_slice(&audio[lead + output.len()..][..self.hop]);
    }

    /// Adds what is left of the last chunk to `output`, fading, and begins anew with the next.
    pub fn fade_into(&mut self, output: &mut [f32]) {
        for ((value, tail), gain) in output.iter_mut().zip(&self.tail).zip(&self.fade_in) {
            *value += tail * (1.0 - gain);
        }
        self.reset();
    }

    /// Moves the loudness of `voice` towards the input's: `voice *= (rms_in / rms_voice)^(1 - rate)`.
    ///
    /// The gain is fixed at each hop's start and runs linearly to the next.
    fn take_loudness(&mut self, voice: &mut [f32], voice_hop: usize, window: &[f32], rate: f32) {
        let mean_squares = |audio: &[f32], hop: usize| -> Vec<f32> {
            let mean_square = |hop: &[f32]| hop.iter().map(|value| value * value).sum::<f32>() / hop.len() as f32;
            audio.chunks_exact(hop).map(mean_square).collect()
        };
        let begins = self.loudness.is_empty();
        let past = self.loudness.len();
        let mut present = std::mem::take(&mut self.loudness);
        present.extend(mean_squares(voice, voice_hop));
        let first = self.context_hops.saturating_sub(past);
        let wanted = mean_squares(&window[first * self.hop..][..present.len() * self.hop], self.hop);
        let level = |mean_squares: &[f32], at: usize| {
            let around =
                &mean_squares[at.saturating_sub(LOUDNESS_BEFORE)..(at + LOUDNESS_AFTER).min(mean_squares.len())];
            (around.iter().sum::<f32>() / around.len() as f32).sqrt()
        };
        let gain_at = |hop: usize| gain(level(&wanted, past + hop), level(&present, past + hop), LIVE_FLOOR, rate);
        let mut gain = if begins { gain_at(0) } else { self.gain };
        for (index, hop) in voice.chunks_exact_mut(voice_hop).enumerate() {
            // Beyond the chunk, the gain of its end is held.
            let next = if index < self.chunk_hops { gain_at(index + 1) } else { gain };
            let step = (next - gain) / voice_hop as f32;
            hop.iter_mut().enumerate().for_each(|(n, value)| *value *= gain + step * n as f32);
            gain = next;
        }
        self.gain = gain;
        let end = past + self.chunk_hops;
        self.loudness = present[end.saturating_sub(LOUDNESS_BEFORE)..end].to_vec();
    }
}

//! Synth: content and pitch of a window to audio of the voice.

use std::sync::Arc;

use burn::tensor::Tensor;

use crate::dsp::interpolate::resize;
use crate::dsp::sinc_hann::SincHann;
use crate::error::Result;
use crate::nn::ops::VoiceOps;
use crate::nn::synthesizer::{Noise, Synthesizer};
use crate::nn::values;
use crate::params::{ConversionParams, NoiseChoice};
use crate::telemetry::Listener;
use crate::units::{HOPS_PER_SECOND, Pitch, Units, semitones_to_ratio};

/// Where the phase of the harmonic source is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourcePhase {
    /// At the window's first hop (offline reference).
    FromWindow,
    /// At the first hop that is rendered (real-time reference).
    FromRendering,
}

/// The part of a window that becomes audio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rendering {
    /// Hops at the start that are only context.
    pub head_hops: usize,
    /// Hops at the end that are only context.
    pub tail_hops: usize,
    /// Where the source's phase begins.
    pub phase: SourcePhase,
}

/// A voice with its source of noise.
#[derive(Clone, Debug)]
pub struct Synth<B: VoiceOps> {
    pub(super) voice: Arc<Synthesizer<B>>,
    pub(super) noise: Noise,
}

/// Latents and source of the hops that are rendered, and of the context the generator needs around them.
struct Excitation<B: VoiceOps> {
    latents: Tensor<B, 3>,
    source: Option<Vec<f32>>,
    /// The hops to render, counted in the latents.
    wanted: std::ops::Range<usize>,
}

impl<B: VoiceOps> Synth<B> {
    /// Hops before those rendered that the real-time reference lets the flow see.
    pub(super) const FLOW_CONTEXT_HOPS: usize = 24;
    /// Hops generated at once: bounds the memory of long windows.
    const GENERATED_HOPS: usize = 800;

    /// A voice without noise until [`restart_noise`](Self::restart_noise).
    #[must_use]
    pub fn new(voice: Arc<Synthesizer<B>>) -> Self {
        Self { voice, noise: Noise::Zero }
    }

    /// The voice's rate in Hz.
    #[must_use]
    pub fn sample_rate_hz(&self) -> u32 {
        self.voice.config().sample_rate_hz
    }

    /// The usual pitch of who speaks, in Hz, if the voice tells it.
    #[must_use]
    pub fn pitch_hz(&self) -> Option<f32> {
        self.voice.config().pitch_hz.map(|hz| hz as f32)
    }

    /// Whether the voice follows pitch.
    #[must_use]
    pub fn has_f0(&self) -> bool {
        self.voice.config().has_f0
    }

    /// Starts the noise anew.
    pub fn restart_noise(&mut self, noise: NoiseChoice) {
        self.noise = match noise {
            NoiseChoice::Zero => Noise::Zero,
            NoiseChoice::Seeded(seed) => Noise::seeded(seed),
        };
    }

    /// Renders the wanted hops of a window, 10 ms of audio at the voice's rate each.
    ///
    /// A formant shift stretches latents and source, and plays the longer result faster.
    ///
    /// # Errors
    /// The voice lacks the speaker, or nothing is left to render.
    pub fn render(
        &mut self,
        content: &Units,
        pitch: &Pitch,
        rendering: Rendering,
        params: &ConversionParams,
    ) -> Result<Vec<f32>> {
        self.render_telling(content, pitch, rendering, params, &mut |_| Ok(()))
    }

    /// As [`render`](Self::render); `progress` hears the share generated so far, 0..=1.
    ///
    /// # Errors
    /// As there, and what `progress` says.
    pub fn render_telling(
        &mut self,
        content: &Units,
        pitch: &Pitch,
        rendering: Rendering,
        params: &ConversionParams,
        progress: &mut Listener<'_>,
    ) -> Result<Vec<f32>> {
        let speaker = self.voice.speaker(params.speaker)?;
        let hops = content.count().saturating_sub(rendering.head_hops + rendering.tail_hops);
        let formant = semitones_to_ratio(params.formant_semitones);
        let stretched = (hops as f32 * formant).ceil() as usize;
        let pitch = &Pitch {
            f0_hz: pitch.f0_hz.iter().map(|hz| hz * (stretched as f32 / hops.max(1) as f32)).collect(),
            coarse: pitch.coarse.clone(),
        };
        let mut excitation = match rendering.phase {
            SourcePhase::FromWindow => self.excite_window(content, pitch, rendering, &speaker)?,
            SourcePhase::FromRendering => self.excite_rendering(content, pitch, rendering, hops, &speaker)?,
        };
        if stretched == hops && formant == 1.0 {
            return self.generate(&excitation, &speaker, progress);
        }
        excitation.stretch(stretched as f64 / hops as f64, self.hop_samples());
        let audio = self.generate(&excitation, &speaker, progress)?;
        Ok(self.play_faster(&audio, formant, hops))
    }

    fn hop_samples(&self) -> usize {
        self.voice.config().hop_samples()
    }

    /// The whole window goes through the flow and the source; the generator gets what it depends on.
    fn excite_window(
        &mut self,
        content: &Units,
        pitch: &Pitch,
        rendering: Rendering,
        speaker: &Tensor<B, 3>,
    ) -> Result<Excitation<B>> {
        let prior = self.voice.prior(&content.values, &pitch.coarse, 0)?;
        let latents = self.voice.latents(prior, speaker, &mut self.noise);
        let source = self.voice.source(&pitch.f0_hz, &mut 0.0, &mut self.noise);
        let (hop, hops) = (self.hop_samples(), content.count());
        let reach = self.voice.generator_reach_hops();
        let (start, end) = (rendering.head_hops.min(hops), hops.saturating_sub(rendering.tail_hops));
        let (first, last) = (start.saturating_sub(reach), (end + reach).min(hops));
        Ok(Excitation {
            latents: latents.narrow(2, first, last - first),
            source: source.map(|source| source[first * hop..last * hop].to_vec()),
            wanted: start - first..end.max(start) - first,
        })
    }

    /// As the real-time reference has it: little context for the flow, none for the generator.
    fn excite_rendering(
        &mut self,
        content: &Units,
        pitch: &Pitch,
        rendering: Rendering,
        hops: usize,
        speaker: &Tensor<B, 3>,
    ) -> Result<Excitation<B>> {
        let first = rendering.head_hops.saturating_sub(Self::FLOW_CONTEXT_HOPS);
        let prior = self.voice.prior(&content.values, &pitch.coarse, first)?;
        let latents = self.voice.latents(prior, speaker, &mut self.noise);
        let f0_hz = &pitch.f0_hz[rendering.head_hops..rendering.head_hops + hops];
        Ok(Excitation {
            latents: latents.narrow(2, rendering.head_hops - first, hops),
            source: self.voice.source(f0_hz, &mut 0.0, &mut self.noise),
            wanted: 0..hops,
        })
    }

    /// Generates the wanted hops, a stretch at a time.
    fn generate(
        &self,
        excitation: &Excitation<B>,
        speaker: &Tensor<B, 3>,
        progress: &mut Listener<'_>,
    ) -> Result<Vec<f32>> {
        let (hop, hops) = (self.hop_samples(), excitation.latents.dims()[2]);
        let reach = self.voice.generator_reach_hops();
        let mut audio = Vec::with_capacity(excitation.wanted.len() * hop);
        for start in excitation.wanted.clone().step_by(Self::GENERATED_HOPS) {
            let end = (start + Self::GENERATED_HOPS).min(excitation.wanted.end);
            let (first, last) = (start.saturating_sub(reach), (end + reach).min(hops));
            let latents = excitation.latents.clone().narrow(2, first, last - first);
            let source = excitation.source.as_ref().map(|source| &source[first * hop..last * hop]);
            audio.extend(self.voice.audio(latents, source, speaker, start - first..end - first)?);
            progress((end - excitation.wanted.start) as f64 / excitation.wanted.len() as f64)?;
        }
        Ok(audio)
    }

    /// Plays stretched audio so much faster that it lasts `hops` again and its formants rise by `formant`.
    fn play_faster(&self, audio: &[f32], formant: f32, hops: usize) -> Vec<f32> {
        let rate = self.sample_rate_hz() as usize / HOPS_PER_SECOND;
        let stretched_rate = (formant * self.sample_rate_hz() as f32 / HOPS_PER_SECOND as f32).floor() as usize;
        let played = &audio[..(hops * stretched_rate).min(audio.len())];
        let mut faster = SincHann::new(stretched_rate, rate).resample(played);
        faster.resize(hops * self.hop_samples(), 0.0);
        faster
    }
}

impl<B: VoiceOps> Excitation<B> {
    /// Makes everything `ratio` times as long, by linear interpolation.
    fn stretch(&mut self, ratio: f64, hop: usize) {
        let [_, channels, hops] = self.latents.dims();
        let longer = |hops: usize| (hops as f64 * ratio).round() as usize;
        let (stretched, device) = (longer(hops), self.latents.device());
        let rows = values(self.latents.clone());
        let rows: Vec<f32> = rows.chunks_exact(hops).flat_map(|row| resize(row, stretched)).collect();
        self.latents = Tensor::from_data(burn::tensor::TensorData::new(rows, [1, channels, stretched]), &device);
        self.source = self.source.take().map(|source| resize(&source, stretched * hop));
        self.wanted = longer(self.wanted.start)..longer(self.wanted.end);
    }
}

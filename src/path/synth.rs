//! Synth: content and pitch of a window to audio of the voice.

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::Tensor;

use crate::dsp::interpolate::resize;
use crate::dsp::sinc_hann::SincHann;
use crate::error::Result;
use crate::nn::ops::VoiceOps;
use crate::nn::synthesizer::{Noise, Stretch, Synthesizer};
use crate::nn::{tensor, values};
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

/// What the hops that are rendered, and the context that the generator needs around them, are made of besides units and pitch.
struct Excitation {
    /// The hop from which on latents are sampled.
    first_hop: usize,
    /// Of the prior, from there on.
    noise: Option<Vec<f32>>,
    /// The hops, counted from there.
    hops: Range<usize>,
    /// As long.
    source: Option<Vec<f32>>,
    /// Which of them to render.
    wanted: Range<usize>,
}

/// Latents and source of these hops.
struct Sounding<B: VoiceOps> {
    latents: Tensor<B, 3>,
    source: Option<Vec<f32>>,
    wanted: Range<usize>,
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
        self.voice.require_speaker(params.speaker)?;
        let hops = content.count().saturating_sub(rendering.head_hops + rendering.tail_hops);
        let formant = semitones_to_ratio(params.formant_semitones);
        let stretched = (hops as f32 * formant).ceil() as usize;
        let pitch = &Pitch {
            f0_hz: pitch.f0_hz.iter().map(|hz| hz * (stretched as f32 / hops.max(1) as f32)).collect(),
            coarse: pitch.coarse.clone(),
        };
        let excitation = match rendering.phase {
            SourcePhase::FromWindow => self.excite_window(content, pitch, rendering),
            SourcePhase::FromRendering => self.excite_rendering(content, pitch, rendering, hops),
        };
        let as_long = stretched == hops && formant == 1.0;
        if as_long && (1..=Self::GENERATED_HOPS).contains(&excitation.wanted.len()) {
            let Excitation { first_hop, noise, hops, source, wanted } = excitation;
            let rendered = self.voice.render(&Stretch {
                speaker: params.speaker,
                units: &content.values,
                coarse: &pitch.coarse,
                first_hop,
                noise,
                settled: &[],
                fresh: hops,
                source: source.as_deref(),
                wanted,
                kept: 0..0,
            })?;
            return progress(1.0).map(|()| rendered.audio);
        }
        let speaker = self.voice.speaker(params.speaker)?;
        let prior = self.voice.prior(&content.values, &pitch.coarse, excitation.first_hop)?;
        let noise = excitation.noise.map(|values| tensor(values, prior.mean.dims(), &speaker.device()));
        let Range { start, end } = excitation.hops;
        let sounding = Sounding {
            latents: self.voice.sample(prior, &speaker, noise).narrow(2, start, end - start),
            source: excitation.source,
            wanted: excitation.wanted,
        };
        if as_long {
            return self.generate(&sounding, &speaker, progress);
        }
        let sounding = sounding.stretched(stretched as f64 / hops as f64, self.hop_samples());
        let audio = self.generate(&sounding, &speaker, progress)?;
        Ok(self.play_faster(&audio, formant, hops))
    }

    fn hop_samples(&self) -> usize {
        self.voice.config().hop_samples()
    }

    /// The whole window goes through the flow and the source; the generator gets what it depends on.
    fn excite_window(&mut self, content: &Units, pitch: &Pitch, rendering: Rendering) -> Excitation {
        let (hop, count, reach) = (self.hop_samples(), content.count(), self.voice.generator_reach_hops());
        let start = rendering.head_hops.min(count);
        let end = count.saturating_sub(rendering.tail_hops).max(start);
        let (first, last) = (start.saturating_sub(reach), (end + reach).min(count));
        let source = self.voice.source(&pitch.f0_hz, &mut 0.0, &mut self.noise);
        Excitation {
            first_hop: 0,
            noise: self.prior_noise(count),
            hops: first..last,
            source: source.and_then(|source| source.get(first * hop..last * hop).map(<[f32]>::to_vec)),
            wanted: start - first..end - first,
        }
    }

    /// As the real-time reference has it: little context for the flow, none for the generator.
    fn excite_rendering(&mut self, content: &Units, pitch: &Pitch, rendering: Rendering, hops: usize) -> Excitation {
        let first_hop = rendering.head_hops.saturating_sub(Self::FLOW_CONTEXT_HOPS);
        let start = rendering.head_hops - first_hop;
        let f0_hz = pitch.f0_hz.get(rendering.head_hops..rendering.head_hops + hops).unwrap_or_default();
        Excitation {
            first_hop,
            noise: self.prior_noise(content.count().saturating_sub(first_hop)),
            hops: start..start + hops,
            source: self.voice.source(f0_hz, &mut 0.0, &mut self.noise),
            wanted: 0..hops,
        }
    }

    fn prior_noise(&mut self, hops: usize) -> Option<Vec<f32>> {
        self.noise.prior(hops * self.voice.config().inter_channels)
    }

    /// Generates the wanted hops, a stretch at a time.
    fn generate(
        &self,
        sounding: &Sounding<B>,
        speaker: &Tensor<B, 3>,
        progress: &mut Listener<'_>,
    ) -> Result<Vec<f32>> {
        let (hop, hops) = (self.hop_samples(), sounding.latents.dims()[2]);
        let reach = self.voice.generator_reach_hops();
        let mut audio = Vec::with_capacity(sounding.wanted.len() * hop);
        for start in sounding.wanted.clone().step_by(Self::GENERATED_HOPS) {
            let end = (start + Self::GENERATED_HOPS).min(sounding.wanted.end);
            let (first, last) = (start.saturating_sub(reach), (end + reach).min(hops));
            let latents = sounding.latents.clone().narrow(2, first, last - first);
            let source = sounding.source.as_ref().map(|source| &source[first * hop..last * hop]);
            audio.extend(self.voice.audio(latents, source, speaker, start - first..end - first)?);
            progress((end - sounding.wanted.start) as f64 / sounding.wanted.len() as f64)?;
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

impl<B: VoiceOps> Sounding<B> {
    /// Everything `ratio` times as long, by linear interpolation.
    fn stretched(self, ratio: f64, hop: usize) -> Self {
        let [_, channels, hops] = self.latents.dims();
        let longer = |hops: usize| (hops as f64 * ratio).round() as usize;
        let (stretched, device) = (longer(hops), self.latents.device());
        let rows = values(self.latents);
        let rows: Vec<f32> = rows.chunks_exact(hops).flat_map(|row| resize(row, stretched)).collect();
        Self {
            latents: tensor(rows, [1, channels, stretched], &device),
            source: self.source.map(|source| resize(&source, stretched * hop)),
            wanted: longer(self.wanted.start)..longer(self.wanted.end),
        }
    }
}

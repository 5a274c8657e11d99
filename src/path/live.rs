//! Live conversion: the path over a stream, one chunk at a time.
//!
//! This is the reference's real-time loop: each chunk renders the end of a window anew and joins it by SOLA.

use super::denoise::OutputDenoiser;
use super::gate::Gate;
use super::history::{AudioHistory, PitchHistory};
use super::join::Sola;
use super::retrieval::SmallCell;
use super::synth::{Rendering, SourcePhase};
use super::{Converter, Window};
use crate::dsp::envelope::rms;
use crate::dsp::interpolate::resize_ends_fixed;
use crate::dsp::sinc_hann::SincHann;
use crate::error::{Error, Result};
use crate::geometry::{Geometry, Timing};
use crate::nn::ops::VoiceOps;
use crate::params::ConversionParams;
use crate::telemetry::{Stage, StageTimes};
use crate::units::HOPS_PER_UNIT;

/// What stays fixed for the life of a stream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StreamSettings {
    /// Rate of the audio in and out, in Hz.
    pub rate_hz: u32,
    /// Chunk, context and cross-fade.
    pub timing: Timing,
    /// Level in dB below which input is silenced; `None` lets all through.
    pub gate_db: Option<f32>,
    /// Whether steady noise is taken out of the input; adds one cross-fade of latency.
    pub denoise_input: bool,
    /// Whether steady noise is taken out of the voice.
    pub denoise_output: bool,
}

/// A conversion that goes on.
pub struct Stream<B: VoiceOps> {
    converter: Converter<B>,
    geometry: Geometry,
    gate: Option<Gate>,
    audio: AudioHistory,
    pitch: PitchHistory,
    tracked_samples: usize,
    to_stream_rate: Option<SincHann>,
    denoiser: Option<OutputDenoiser>,
    join: Sola,
}

/// How one chunk went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChunkReport {
    /// Time by stage.
    pub times: StageTimes,
    /// Samples by which the join shifted the chunk.
    pub shift_samples: usize,
}

impl<B: VoiceOps> Stream<B> {
    /// Starts a stream through `converter`.
    ///
    /// # Errors
    /// Sizes out of their ranges.
    pub fn new(mut converter: Converter<B>, settings: StreamSettings, params: &ConversionParams) -> Result<Self> {
        params.validate()?;
        let geometry = Geometry::new(settings.rate_hz, settings.timing)?;
        let voice_rate_hz = converter.sample_rate_hz();
        converter.synth.restart_noise(params.noise);
        Ok(Self {
            gate: settings.gate_db.map(|threshold| Gate::new(&geometry, threshold)),
            audio: AudioHistory::new(&geometry, settings.denoise_input),
            pitch: PitchHistory::new(&geometry),
            tracked_samples: converter.tracker.live_samples(geometry.chunk_hops),
            to_stream_rate: (voice_rate_hz != settings.rate_hz)
                .then(|| SincHann::new(voice_rate_hz as usize, settings.rate_hz as usize)),
            denoiser: settings.denoise_output.then(|| OutputDenoiser::new(&geometry)),
            join: Sola::new(&geometry),
            geometry,
            converter,
        })
    }

    /// The sizes of the stream.
    #[must_use]
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Samples by which the output lags the input, apart from the time that computing takes: the chunk that must be
    /// gathered first, and what the join keeps back.
    #[must_use]
    pub fn latency_samples(&self) -> usize {
        self.geometry.chunk_samples() + self.audio.latency_samples() + self.join.latency_samples()
    }

    /// Forgets all audio.
    pub fn reset(&mut self) {
        if let Some(gate) = &mut self.gate {
            gate.reset();
        }
        self.audio.reset();
        self.pitch.reset();
        if let Some(denoiser) = &mut self.denoiser {
            denoiser.reset();
        }
        self.join.reset();
    }

    /// Converts one chunk of [`Geometry::chunk_samples`] samples into as many.
    ///
    /// # Errors
    /// Lengths that are not the chunk's, or a speaker that the voice lacks.
    pub fn step(&mut self, chunk: &[f32], params: &ConversionParams, output: &mut [f32]) -> Result<ChunkReport> {
        let expected = self.geometry.chunk_samples();
        for (name, length) in [("chunk", chunk.len()), ("output", output.len())] {
            if length != expected {
                return Err(Error::argument(name, format!("{expected} samples"), length));
            }
        }
        let mut times = StageTimes::default();
        times.measure(Stage::Source, || match &mut self.gate {
            Some(gate) => self.audio.push(&gate.step(chunk)),
            None => self.audio.push(chunk),
        });
        times.measure(Stage::Pitch, || self.track(params))?;
        let window = window(&self.geometry, &self.audio, &self.pitch);
        let mut voice = self.converter.render(&window, params, &mut times)?;
        let shift_samples = times.measure(Stage::Sink, || {
            if let Some(resampler) = &self.to_stream_rate {
                voice = resampler.resample(&voice);
            }
            if let Some(denoiser) = &mut self.denoiser {
                voice = denoiser.step(&voice);
            }
            self.take_envelope(&mut voice, params.rms_mix_rate);
            self.join.step(&voice, output)
        });
        Ok(ChunkReport { times, shift_samples })
    }

    /// Tracks the end of the window and appends what is settled of it.
    fn track(&mut self, params: &ConversionParams) -> Result<()> {
        let audio = self.audio.at_16_khz();
        let end = &audio[audio.len().saturating_sub(self.tracked_samples)..];
        let (_, pitch) = self.converter.track(end, params)?;
        self.pitch.push(&pitch);
        Ok(())
    }

    /// Moves the loudness of `voice` towards the input's: `voice *= (rms_in / rms_voice)^(1 - rate)`.
    fn take_envelope(&self, voice: &mut [f32], rate: f32) {
        if rate >= 1.0 {
            return;
        }
        /// Quietest voice level that is still scaled up: -60 dB.
        const FLOOR: f32 = 1e-3;
        let hop = self.geometry.hop_samples;
        let input = &self.audio.at_stream_rate()[self.geometry.context_hops * hop..];
        let envelope = |audio: &[f32]| resize_ends_fixed(&rms(audio, 4 * hop, hop), voice.len() + 1);
        let (wanted, present) = (envelope(&input[..voice.len()]), envelope(voice));
        for ((value, wanted), present) in voice.iter_mut().zip(wanted).zip(present) {
            *value *= (wanted / present.max(FLOOR)).powf(1.0 - rate);
        }
    }
}

/// The whole history, of which the end is rendered.
fn window<'a>(geometry: &Geometry, audio: &'a AudioHistory, pitch: &PitchHistory) -> Window<'a> {
    let tail_hops = geometry.window_hops() - geometry.context_hops - geometry.rendered_hops();
    Window {
        audio: audio.at_16_khz(),
        pitch: pitch.window(),
        repeat_last_unit: true,
        first_retrieved_unit: geometry.context_hops / HOPS_PER_UNIT,
        small_cell: SmallCell::SkipRun,
        rendering: Rendering { head_hops: geometry.context_hops, tail_hops, phase: SourcePhase::FromRendering },
    }
}

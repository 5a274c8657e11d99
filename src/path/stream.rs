//! Live conversion: the path over a stream, one chunk at a time.
//!
//! This is the reference's real-time loop with its join, SOLA, or a seamless one instead. Silence is not rendered, and
//! the converter can be replaced between two chunks.

use std::time::Instant;

use super::denoise::OutputDenoiser;
use super::gate::Gate;
use super::history::{AudioHistory, PitchHistory};
use super::join::Sola;
use super::retrieval::SmallCell;
use super::seamless::Seamless;
use super::synth::{Rendering, SourcePhase};
use super::units::UnitHistory;
use super::{Content, Converter, Retrieving, Window, shape, track_newest_hz};
use crate::dsp::envelope::{LIVE_FLOOR, gain, rms};
use crate::dsp::interpolate::resize_ends_fixed;
use crate::dsp::sinc_hann::SincHann;
use crate::error::{Error, Result};
use crate::geometry::{Geometry, Timing};
use crate::nn::ops::VoiceOps;
use crate::params::ConversionParams;
use crate::telemetry::{Stage, StageTimes};
use crate::units::{HOP_SAMPLES, HOPS_PER_UNIT};

/// How the chunks of a stream become one signal. All delay it by the overlap and one hop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JoinKind {
    /// Each chunk is rendered anew, shifted to where it resembles the last one and faded in: the reference.
    Sola,
    /// The same, faded by a phase vocoder: an option of RVC before 2026.
    ClassicSola,
    /// Each chunk goes on where the last one ended, and looks ahead as far as the other overlaps. Chunks with a formant
    /// shift, whose time runs otherwise, are joined by SOLA.
    #[default]
    Seamless,
}

/// What stays fixed for the life of a stream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StreamSettings {
    /// Rate of the audio in and out, in Hz.
    pub rate_hz: u32,
    /// Chunk, context and cross-fade.
    pub timing: Timing,
    /// How chunks become one signal.
    pub join: JoinKind,
    /// Level in dB below which input is silenced; `None` lets all through.
    pub gate_db: Option<f32>,
    /// Level in dB below which nothing is rendered and the output is silent; `None` renders everything.
    pub rest_db: Option<f32>,
    /// Whether steady noise is taken out of the input; adds one cross-fade of latency.
    pub denoise_input: bool,
    /// Whether steady noise is taken out of the voice; joined by SOLA only.
    pub denoise_output: bool,
}

/// A conversion that goes on.
pub struct Stream<B: VoiceOps> {
    converter: Converter<B>,
    geometry: Geometry,
    gate: Option<Gate>,
    rest_db: Option<f32>,
    audio: AudioHistory,
    units: UnitHistory,
    pitch: PitchHistory,
    tracked_samples: usize,
    to_stream_rate: Option<SincHann>,
    denoiser: Option<OutputDenoiser>,
    sola: Sola,
    /// The join of chunks without a formant shift, if it shall not be SOLA.
    seamless: Option<Seamless>,
}

/// How one chunk went.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ChunkReport {
    /// Time by stage.
    pub times: StageTimes,
    /// Samples by which the join shifted the chunk.
    pub shift_samples: usize,
    /// Whether the chunk was silent, and nothing was rendered.
    pub rested: bool,
    /// Pitch of the newest hop that is settled, in Hz, 0 unvoiced.
    pub f0_hz: f32,
}

impl<B: VoiceOps> Stream<B> {
    /// Starts a stream through `converter`.
    ///
    /// # Errors
    /// Sizes out of their ranges, or a join that cannot do what is asked for.
    pub fn new(mut converter: Converter<B>, settings: StreamSettings, params: &ConversionParams) -> Result<Self> {
        params.validate()?;
        if settings.denoise_output && settings.join == JoinKind::Seamless {
            return Err(Error::argument("join", "SOLA, to take noise out of the voice", "seamless"));
        }
        let geometry = Geometry::new(settings.rate_hz, settings.timing)?;
        converter.synth.restart_noise(params.noise);
        Ok(Self {
            gate: settings.gate_db.map(|threshold| Gate::new(&geometry, threshold)),
            rest_db: settings.rest_db,
            audio: AudioHistory::new(&geometry, settings.denoise_input),
            units: UnitHistory::default(),
            pitch: PitchHistory::new(&geometry),
            tracked_samples: converter.tracker.live_samples(geometry.chunk_hops),
            to_stream_rate: to_stream_rate(&converter, settings.rate_hz),
            denoiser: settings.denoise_output.then(|| OutputDenoiser::new(&geometry)),
            sola: match settings.join {
                JoinKind::ClassicSola => Sola::with_vocoder(&geometry),
                JoinKind::Sola | JoinKind::Seamless => Sola::new(&geometry),
            },
            seamless: (settings.join == JoinKind::Seamless).then(|| Seamless::new(&geometry)),
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
    /// gathered first, and what the join needs. The join's shift takes off up to [`Geometry::search_samples`].
    #[must_use]
    pub fn latency_samples(&self) -> usize {
        let delay = self.geometry.delay_hops() * self.geometry.hop_samples;
        self.geometry.chunk_samples() + self.audio.latency_samples() + delay
    }

    /// Goes on with another converter, and returns the last; what that left is faded into the first chunk of this.
    pub fn replace(&mut self, mut converter: Converter<B>, params: &ConversionParams) -> Converter<B> {
        converter.synth.restart_noise(params.noise);
        self.tracked_samples = converter.tracker.live_samples(self.geometry.chunk_hops);
        self.to_stream_rate = to_stream_rate(&converter, self.geometry.rate_hz);
        self.units.reset();
        if let Some(seamless) = &mut self.seamless {
            seamless.begin_anew();
        }
        std::mem::replace(&mut self.converter, converter)
    }

    /// Pitch of the hops that the latest chunk added, as the synthesizer reads it: Hz, 0 unvoiced.
    #[must_use]
    pub fn latest_pitch(&self) -> &[f32] {
        self.pitch.latest()
    }

    /// Ends the stream and gives the converter back.
    #[must_use]
    pub fn into_converter(self) -> Converter<B> {
        self.converter
    }

    /// Forgets all audio.
    pub fn reset(&mut self) {
        if let Some(gate) = &mut self.gate {
            gate.reset();
        }
        self.audio.reset();
        self.units.reset();
        self.pitch.reset();
        if let Some(denoiser) = &mut self.denoiser {
            denoiser.reset();
        }
        self.sola.reset();
        if let Some(seamless) = &mut self.seamless {
            seamless.reset();
        }
    }

    /// Converts one chunk of [`Geometry::chunk_samples`] samples into as many.
    ///
    /// # Errors
    /// Lengths that are not the chunk's, or a speaker that the voice lacks.
    pub fn step(&mut self, chunk: &[f32], params: &ConversionParams, output: &mut [f32]) -> Result<ChunkReport> {
        let times = self.take_in(chunk, output)?;
        if self.rest_db.is_some_and(|rest_db| self.is_below(rest_db)) {
            self.pitch.push_unvoiced();
            self.rest(output);
            return Ok(ChunkReport { times, rested: true, ..ChunkReport::default() });
        }
        B::in_pool(|| self.run_networks(params, times, output))
    }

    fn run_networks(
        &mut self,
        params: &ConversionParams,
        mut times: StageTimes,
        output: &mut [f32],
    ) -> Result<ChunkReport> {
        let content = self.listen(params, &mut times)?;
        let shift_samples = if self.seamless.is_some() && params.formant_semitones == 0.0 {
            self.step_seamlessly(&content, params, &mut times, output)?;
            0
        } else {
            self.step_by_sola(&content, params, &mut times, output)?
        };
        Ok(ChunkReport { times, shift_samples, rested: false, f0_hz: self.pitch.latest_hz() })
    }

    /// Tracks the end of the window, of which what is settled is appended to the pitch, and reads the window's content.
    fn listen(&mut self, params: &ConversionParams, times: &mut StageTimes) -> Result<Content> {
        let audio = self.audio.at_16_khz();
        let end = &audio[audio.len().saturating_sub(self.tracked_samples)..];
        let Converter { units: encoder, retrieval, tracker, synth } = &mut self.converter;
        let (has_f0, how, hops) = (synth.has_f0(), retrieving(&self.geometry), self.geometry.window_hops());
        let newest = PitchHistory::tracked_hops(&self.geometry);
        let (mut of_pitch, mut of_content) = (StageTimes::default(), StageTimes::default());
        let track = || {
            let track = || track_newest_hz(tracker, has_f0, end, params, newest);
            of_pitch.measure(Stage::Pitch, track)
        };
        let units = &mut self.units;
        let read = || {
            let units = of_content.measure(Stage::Units, || units.extract(encoder, audio))?;
            let retrieve = || Content::retrieved(units, retrieval.as_deref(), how, hops, params);
            Ok(of_content.measure(Stage::Retrieval, retrieve))
        };
        let began = Instant::now();
        let (f0_hz, content): (_, Result<Content>) = B::side_by_side(track, read);
        times.add_at_once([&of_pitch, &of_content], began.elapsed());
        self.pitch.push(&shape(&f0_hz?, params));
        content
    }

    /// Renders the end of the window anew and joins it by SOLA; returns the shift chosen.
    fn step_by_sola(
        &mut self,
        content: &Content,
        params: &ConversionParams,
        times: &mut StageTimes,
        output: &mut [f32],
    ) -> Result<usize> {
        let window = window(&self.geometry, &self.audio, &self.pitch);
        let mut voice = self.converter.render_content(content, &window, params, times, &mut |_| Ok(()))?;
        times.measure(Stage::Sink, || {
            if let Some(resampler) = &self.to_stream_rate {
                voice = resampler.resample(&voice);
            }
            if let Some(denoiser) = &mut self.denoiser {
                voice = denoiser.step(&voice);
            }
            self.take_envelope(&mut voice, params.rms_mix_rate);
            let shift_samples = self.sola.step(&voice, output);
            if let Some(seamless) = &mut self.seamless {
                seamless.fade_into(output);
            }
            Ok(shift_samples)
        })
    }

    /// Goes on where the last chunk ended.
    fn step_seamlessly(
        &mut self,
        content: &Content,
        params: &ConversionParams,
        times: &mut StageTimes,
        output: &mut [f32],
    ) -> Result<()> {
        let Some(seamless) = &mut self.seamless else { return Ok(()) };
        let (content, pitch) = content.per_hop(&self.pitch.window(), params, self.converter.synth.has_f0());
        let (synth, resampler) = (&mut self.converter.synth, self.to_stream_rate.as_ref());
        let input = self.audio.at_stream_rate();
        seamless.step(synth, (&content, &pitch), input, resampler, params, times, output)?;
        self.sola.fade_into(output);
        Ok(())
    }

    /// Lets what came before fade out.
    fn rest(&mut self, output: &mut [f32]) {
        output.fill(0.0);
        self.sola.fade_into(output);
        if let Some(seamless) = &mut self.seamless {
            seamless.fade_into(output);
        }
    }

    /// Takes one chunk in without converting it: the output falls silent. Later windows still hold the chunk.
    ///
    /// # Errors
    /// Lengths that are not the chunk's.
    pub fn skip(&mut self, chunk: &[f32], output: &mut [f32]) -> Result<ChunkReport> {
        let times = self.take_in(chunk, output)?;
        self.pitch.push_unvoiced();
        self.rest(output);
        Ok(ChunkReport { times, ..ChunkReport::default() })
    }

    /// Checks the lengths, and moves the window on.
    fn take_in(&mut self, chunk: &[f32], output: &[f32]) -> Result<StageTimes> {
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
        self.units.move_on(self.geometry.chunk_hops * HOP_SAMPLES);
        Ok(times)
    }

    /// Whether each hop of what this chunk renders lies below a level.
    fn is_below(&self, level_db: f32) -> bool {
        let hop = self.geometry.hop_samples;
        let rendered = &self.audio.at_stream_rate()[self.geometry.context_hops * hop..];
        let most = 10.0_f32.powf(level_db / 10.0) * hop as f32;
        rendered.chunks(hop).all(|hop| hop.iter().map(|value| value * value).sum::<f32>() < most)
    }

    /// Moves the loudness of `voice` towards the input's: `voice *= (rms_in / rms_voice)^(1 - rate)`.
    fn take_envelope(&self, voice: &mut [f32], rate: f32) {
        if rate >= 1.0 {
            return;
        }
        let hop = self.geometry.hop_samples;
        let input = &self.audio.at_stream_rate()[self.geometry.context_hops * hop..];
        let envelope = |audio: &[f32]| resize_ends_fixed(&rms(audio, 4 * hop, hop), voice.len() + 1);
        let (wanted, present) = (envelope(&input[..voice.len()]), envelope(voice));
        for ((value, wanted), present) in voice.iter_mut().zip(wanted).zip(present) {
            *value *= gain(wanted, present, LIVE_FLOOR, rate);
        }
    }
}

/// From the voice's rate to the stream's, if they differ.
fn to_stream_rate<B: VoiceOps>(converter: &Converter<B>, rate_hz: u32) -> Option<SincHann> {
    let voice_rate_hz = converter.sample_rate_hz();
    (voice_rate_hz != rate_hz).then(|| SincHann::new(voice_rate_hz as usize, rate_hz as usize))
}

/// The whole history, of which the end is rendered.
fn window<'a>(geometry: &Geometry, audio: &'a AudioHistory, pitch: &PitchHistory) -> Window<'a> {
    let tail_hops = geometry.window_hops() - geometry.context_hops - geometry.rendered_hops();
    Window {
        audio: audio.at_16_khz(),
        pitch: pitch.window(),
        retrieving: retrieving(geometry),
        rendering: Rendering { head_hops: geometry.context_hops, tail_hops, phase: SourcePhase::FromRendering },
    }
}

/// Content of what is rendered.
fn retrieving(geometry: &Geometry) -> Retrieving {
    let first_unit = geometry.context_hops / HOPS_PER_UNIT;
    Retrieving { repeat_last_unit: true, first_unit, small_cell: SmallCell::SkipRun }
}

//! Offline conversion: the path over a whole recording, in long windows.

use std::ops::Range;

use super::synth::{Rendering, SourcePhase};
use super::window::{WindowSizes, pieces};
use super::{Converter, Retrieving, Window, sink, source};
use crate::dsp::envelope;
use crate::dsp::rate::{self, resampled_len};
use crate::dsp::stft::{Edge, pad};
use crate::error::{Error, Result};
use crate::nn::ops::VoiceOps;
use crate::params::{ConversionParams, Lengths};
use crate::path::retrieval::SmallCell;
use crate::telemetry::{Listener, Stage, StageTimes};
use crate::units::{ANALYSIS_RATE_HZ, HOP_SAMPLES, Pitch, Recording, SAMPLE_RATES_HZ, semitones_to_ratio};

/// A recording to convert, and how.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The recording, at any rate.
    pub recording: &'a Recording,
    /// f0 in Hz per hop of 10 ms, 0 unvoiced, to use instead of the tracker's; hops beyond its end are unvoiced.
    pub pitch_curve: Option<&'a [f32]>,
    /// How to convert.
    pub params: &'a ConversionParams,
    /// Whether the tracked pitch is shifted to the voice's own, by [`own_transposition`](Converter::own_transposition), instead
    /// of by the parameters'; the voice may not tell its own, nothing may be voiced, or a curve be given: then by theirs.
    pub own_pitch: bool,
    /// Where to cut.
    pub sizes: WindowSizes,
    /// Rate of the result in Hz; `None` for the voice's.
    pub output_rate_hz: Option<u32>,
}

/// Highest frequency of a given pitch, in Hz: half the rate at which pitch is read.
const HIGHEST_PITCH_HZ: f32 = 8_000.0;

impl Request<'_> {
    /// Checks every range, since one value out of it spoils all that follows.
    fn validate(&self) -> Result<()> {
        self.params.validate()?;
        let rates = [("recording rate", Some(self.recording.sample_rate_hz)), ("output rate", self.output_rate_hz)];
        for (name, rate_hz) in rates.into_iter().filter_map(|(name, rate_hz)| Some((name, rate_hz?))) {
            if !SAMPLE_RATES_HZ.contains(&rate_hz) {
                let expected = format!("{} to {} Hz", SAMPLE_RATES_HZ.start(), SAMPLE_RATES_HZ.end());
                return Err(Error::argument(name, expected, rate_hz));
            }
        }
        if self.recording.samples.is_empty() {
            return Err(Error::argument("recording", "at least one sample", "none"));
        }
        if let Some(bad) = self.recording.samples.iter().find(|sample| !sample.is_finite()) {
            return Err(Error::argument("recording", "finite samples", bad));
        }
        let curve = self.pitch_curve.unwrap_or_default();
        match curve.iter().find(|hz| !(0.0..=HIGHEST_PITCH_HZ).contains(*hz)) {
            Some(bad) => Err(Error::argument("pitch curve", "0 to 8000 Hz", bad)),
            None => Ok(()),
        }
    }
}

/// A converted recording.
#[derive(Clone, Debug)]
pub struct Conversion {
    /// The voice.
    pub audio: Recording,
    /// The input's f0, Hz per hop of 10 ms, 0 unvoiced.
    pub f0_before_hz: Vec<f32>,
    /// The voice's f0 at the same hops.
    pub f0_after_hz: Vec<f32>,
    /// Semitones by which the pitch was shifted.
    pub transpose_semitones: f32,
    /// Time by stage.
    pub times: StageTimes,
}

/// About what source and pitch take of a conversion's time, with networks of full size on a CPU; and the windows, before
/// the little that the sink takes.
const PITCH_SHARE: f64 = 0.14;
const RENDER_SHARE: f64 = 0.85;

/// Level of a hop below which it does not tell who speaks, as a share of the loudest: -26 dB.
const SPEECH: f32 = 0.05;

impl<B: VoiceOps> Converter<B> {
    /// Converts a whole recording. `progress` hears the share done, 0..=1, often enough that its error ends the conversion
    /// within about a second: while pitch and content are read, and after each stretch that is generated.
    ///
    /// The result lasts exactly as long as the input (with [`Lengths::Reference`] up to 20 ms less per window).
    ///
    /// # Errors
    /// Parameters, rates, samples or a pitch curve out of range, or a speaker that the voice lacks; what `progress` says.
    pub fn convert(&mut self, request: Request<'_>, progress: &mut Listener<'_>) -> Result<Conversion> {
        request.validate()?;
        B::in_pool(|| self.convert_valid(request, progress))
    }

    fn convert_valid(&mut self, request: Request<'_>, progress: &mut Listener<'_>) -> Result<Conversion> {
        let Request { recording, sizes, .. } = request;
        let params = &mut { *request.params };
        self.synth.restart_noise(params.noise);
        let mut times = StageTimes::default();

        let audio = times.measure(Stage::Source, || source::prepare(recording))?;
        // Audio after a window's last hop with which units cover that hop.
        let reach = self.units.reach_samples();
        let padded = pad(&audio, sizes.pad, sizes.pad + HOP_SAMPLES + reach, Edge::Reflect);
        let tracked = &padded[..audio.len() + 2 * sizes.pad];
        let inside = sizes.pad / HOP_SAMPLES..sizes.pad / HOP_SAMPLES + audio.len() / HOP_SAMPLES + 1;
        let (f0_hz, pitch) = times.measure(Stage::Pitch, || {
            let f0_hz = match request.pitch_curve {
                Some(curve) => place(curve, tracked.len(), sizes),
                None => self.track_hz(tracked, params, &mut |share| progress(PITCH_SHARE * share))?,
            };
            if request.own_pitch && request.pitch_curve.is_none() {
                let own = self.transposition_of(&audio, &f0_hz[inside.clone()]);
                params.transpose_semitones = own.unwrap_or(params.transpose_semitones);
            }
            let pitch = super::shape(&f0_hz, params);
            Ok((f0_hz, pitch))
        })?;
        let params = &*params;
        progress(PITCH_SHARE)?;
        let mut voice = Vec::new();
        let samples = audio.len().max(1) as f64;
        for piece in pieces(&audio, sizes) {
            let window = match params.lengths {
                Lengths::Exact => exact_window(&padded, &pitch, &piece, reach, sizes),
                Lengths::Reference => reference_window(tracked, &pitch, &piece, audio.len(), sizes),
            };
            let told = &mut |share: f64| {
                let done = (piece.start as f64 + share * piece.len() as f64) / samples;
                progress(PITCH_SHARE + (RENDER_SHARE * done))
            };
            voice.extend(self.render_telling(&window, params, &mut times, told)?);
        }
        let voice = times.measure(Stage::Sink, || self.finish(voice, &audio, request))?;
        progress(1.0)?;

        let after_ratio = semitones_to_ratio(params.formant_semitones);
        Ok(Conversion {
            f0_before_hz: f0_hz[inside.clone()].to_vec(),
            f0_after_hz: pitch.f0_hz[inside].iter().map(|hz| hz * after_ratio).collect(),
            transpose_semitones: params.transpose_semitones,
            audio: voice,
            times,
        })
    }

    /// The transposition in semitones that brings the median pitch of a recording to the voice's own; `None` where the voice
    /// does not tell its pitch, or nothing is voiced.
    ///
    /// # Errors
    /// A recording that is empty, holds what is no number, or has a rate that cannot be converted.
    pub fn own_transposition(&mut self, recording: &Recording, params: &ConversionParams) -> Result<Option<f32>> {
        if self.pitch_hz().is_none() {
            return Ok(None);
        }
        let sizes = WindowSizes::default();
        Request { recording, pitch_curve: None, params, own_pitch: true, sizes, output_rate_hz: None }.validate()?;
        let audio = source::prepare(recording)?;
        let f0_hz = self.track_hz(&audio, params, &mut |_| Ok(()))?;
        Ok(self.transposition_of(&audio, &f0_hz))
    }

    /// The same of 16 kHz audio whose f0 is known.
    fn transposition_of(&self, audio: &[f32], f0_hz: &[f32]) -> Option<f32> {
        // A hum in the pauses is no speech.
        let levels: Vec<f32> = audio.chunks(HOP_SAMPLES).map(source::peak).collect();
        let loudest = levels.iter().copied().fold(0.0, f32::max);
        let spoken = |&(_, level): &(&f32, &f32)| *level >= SPEECH * loudest;
        let f0_hz: Vec<f32> = f0_hz.iter().zip(&levels).filter(spoken).map(|(hz, _)| *hz).collect();
        super::transposition_to(self.pitch_hz()?, &f0_hz)
    }

    /// Length, loudness, rate and peak of the joined voice.
    fn finish(&self, mut voice: Vec<f32>, audio: &[f32], request: Request<'_>) -> Result<Recording> {
        let Request { recording, params, .. } = request;
        let exact = |rate_hz| resampled_len(recording.samples.len(), recording.sample_rate_hz, rate_hz);
        let voice_rate_hz = self.sample_rate_hz();
        let rate_hz = request.output_rate_hz.unwrap_or(voice_rate_hz);
        if params.lengths == Lengths::Exact {
            voice.resize(exact(voice_rate_hz), 0.0);
        }
        envelope::mix(audio, ANALYSIS_RATE_HZ, &mut voice, voice_rate_hz, params.rms_mix_rate);
        let mut finished = rate::resample(&Recording { samples: voice, sample_rate_hz: voice_rate_hz }, rate_hz)?;
        if params.lengths == Lengths::Exact {
            finished.samples.resize(exact(rate_hz), 0.0);
        }
        sink::limit(&mut finished.samples);
        Ok(finished)
    }
}

/// A curve that begins with the recording, on the hops of the padded audio.
fn place(curve: &[f32], padded: usize, sizes: WindowSizes) -> Vec<f32> {
    let mut f0_hz = vec![0.0; sizes.pad / HOP_SAMPLES];
    f0_hz.extend_from_slice(curve);
    f0_hz.resize(padded / HOP_SAMPLES + 1, 0.0);
    f0_hz
}

/// The window around `piece` whose rendering lasts as long as the piece, to the hop above.
fn exact_window<'a>(
    padded: &'a [f32],
    pitch: &Pitch,
    piece: &Range<usize>,
    reach: usize,
    sizes: WindowSizes,
) -> Window<'a> {
    let (first_hop, pad_hops) = (piece.start / HOP_SAMPLES, sizes.pad / HOP_SAMPLES);
    let hops = piece.len().div_ceil(HOP_SAMPLES) + 2 * pad_hops;
    let end = (piece.start + hops * HOP_SAMPLES + reach).min(padded.len());
    window(&padded[piece.start..end], pitch.slice(first_hop, hops), pad_hops)
}

/// The reference's window: one hop longer than the piece and its padding, but units that end before it does.
fn reference_window<'a>(
    padded: &'a [f32],
    pitch: &Pitch,
    piece: &Range<usize>,
    length: usize,
    sizes: WindowSizes,
) -> Window<'a> {
    let last = piece.end == length;
    let end = if last { padded.len() } else { piece.end + 2 * sizes.pad + HOP_SAMPLES };
    let audio = &padded[piece.start..end.min(padded.len())];
    let hops = if last { audio.len() / HOP_SAMPLES } else { (piece.len() + 2 * sizes.pad) / HOP_SAMPLES };
    window(audio, pitch.slice(piece.start / HOP_SAMPLES, hops), sizes.pad / HOP_SAMPLES)
}

fn window(audio: &[f32], pitch: Pitch, pad_hops: usize) -> Window<'_> {
    Window {
        audio,
        pitch,
        retrieving: Retrieving { repeat_last_unit: false, first_unit: 0, small_cell: SmallCell::Blend },
        rendering: Rendering { head_hops: pad_hops, tail_hops: pad_hops, phase: SourcePhase::FromWindow },
    }
}

//! The path that audio takes, one file per stage.
//!
//! ```text
//! source -> resample -> window -> content units --> retrieval --\
//!                          \---> pitch (f0, voicing) ------------> synthesizer -> join -> resample -> sink
//! ```
//!
//! [`Converter::render`] is the middle of that line, for one window. [`offline`] feeds it long windows of a recording,
//! [`stream`] short ones of live audio.

pub mod continuation;
pub mod denoise;
pub mod gate;
pub mod history;
pub mod join;
pub mod octave;
pub mod offline;
pub mod pitch;
pub mod retrieval;
pub mod seamless;
pub mod sink;
pub mod source;
pub mod stream;
pub mod synth;
pub mod units;
pub mod window;

use std::sync::Arc;

use crate::error::Result;
use crate::nn::ops::VoiceOps;
use crate::params::{ConversionParams, TRANSPOSE_SEMITONES};
use crate::telemetry::{Listener, Stage, StageTimes};
use crate::units::{HOP_SAMPLES, HOPS_PER_UNIT, Pitch, Units, semitones_to_ratio};
use pitch::Tracker;
use retrieval::{Retrieval, SmallCell};
use synth::{Rendering, Synth};
use units::UnitEncoder;

/// All stages with their networks: what turns windows of audio into the voice. A clone shares the networks.
#[derive(Clone)]
pub struct Converter<B: VoiceOps> {
    /// Content units of 16 kHz audio.
    pub units: UnitEncoder<B>,
    /// Nearest units of the voice's training set, if it has an index.
    pub retrieval: Option<Arc<Retrieval<B>>>,
    /// Fundamental frequency of 16 kHz audio.
    pub tracker: Tracker<B>,
    /// The voice.
    pub synth: Synth<B>,
}

/// One stretch of audio and pitch, and which part of it becomes voice.
#[derive(Clone, Debug)]
pub struct Window<'a> {
    /// 16 kHz audio.
    pub audio: &'a [f32],
    /// Pitch of the window's hops, shaped.
    pub pitch: Pitch,
    /// Whether the last unit is repeated, so that units reach the window's end (real-time reference).
    pub repeat_last_unit: bool,
    /// Units before this one are not retrieved: nothing is rendered of them.
    pub first_retrieved_unit: usize,
    /// What retrieval does in small cells.
    pub small_cell: SmallCell,
    /// The part that is rendered.
    pub rendering: Rendering,
}

impl<B: VoiceOps> Converter<B> {
    /// One window through the path. Returns the rendered hops at the voice's rate.
    ///
    /// # Errors
    /// The window is shorter than one unit, or the voice lacks the speaker.
    pub fn render(
        &mut self,
        window: &Window<'_>,
        params: &ConversionParams,
        times: &mut StageTimes,
    ) -> Result<Vec<f32>> {
        self.render_telling(window, params, times, &mut |_| Ok(()))
    }

    /// As [`render`](Self::render); `progress` hears the share done, 0..=1, while content is read and after each stretch
    /// that is generated.
    ///
    /// # Errors
    /// As there, and what `progress` says.
    pub fn render_telling(
        &mut self,
        window: &Window<'_>,
        params: &ConversionParams,
        times: &mut StageTimes,
        progress: &mut Listener<'_>,
    ) -> Result<Vec<f32>> {
        /// About what the content takes of a window's time, with networks of full size on a CPU.
        const CONTENT_SHARE: f64 = 0.3;
        let told = &mut |share: f64| progress(CONTENT_SHARE * share);
        let (content, pitch) = self.content(window, params, times, told)?;
        let told = &mut |share: f64| progress(CONTENT_SHARE + (1.0 - CONTENT_SHARE) * share);
        times.measure(Stage::Synth, || self.synth.render_telling(&content, &pitch, window.rendering, params, told))
    }

    /// What the synthesizer reads of one window: content and pitch, one of each per hop.
    fn content(
        &self,
        window: &Window<'_>,
        params: &ConversionParams,
        times: &mut StageTimes,
        progress: &mut Listener<'_>,
    ) -> Result<(Units, Pitch)> {
        let mut units = times.measure(Stage::Units, || self.units.extract_telling(window.audio, progress))?;
        if window.repeat_last_unit {
            units.repeat_last_until(window.pitch.f0_hz.len().div_ceil(HOPS_PER_UNIT));
        }
        let hops = window.pitch.f0_hz.len().min(HOPS_PER_UNIT * units.count());
        let pitch = window.pitch.slice(0, hops);
        let content = times.measure(Stage::Retrieval, || self.retrieve(&units, window, &pitch, params));
        Ok((content, pitch))
    }

    /// Units per hop, pulled towards the index; unvoiced hops keep the share that `protect` leaves them.
    fn retrieve(&self, units: &Units, window: &Window<'_>, pitch: &Pitch, params: &ConversionParams) -> Units {
        let hops = pitch.f0_hz.len();
        let Some(retrieval) = &self.retrieval else { return units.per_hop(hops) };
        let mut retrieved = units.clone();
        retrieval.blend(&mut retrieved, window.first_retrieved_unit, params.index_rate, window.small_cell);
        let mut content = retrieved.per_hop(hops);
        // Without pitch nothing tells which hops are unvoiced.
        if params.protect < PROTECT_OFF && self.synth.has_f0() {
            content.protect(&units.per_hop(hops), &pitch.f0_hz, params.protect);
        }
        content
    }

    /// Tracks 16 kHz audio; returns the f0 as tracked and as the synthesizer shall read it.
    ///
    /// For a voice without pitch nothing is tracked: every hop is unvoiced.
    ///
    /// # Errors
    /// What the tracker reports.
    pub fn track(&mut self, audio: &[f32], params: &ConversionParams) -> Result<(Vec<f32>, Pitch)> {
        let f0_hz = self.track_hz(audio, params, &mut |_| Ok(()))?;
        let pitch = shape(&f0_hz, params);
        Ok((f0_hz, pitch))
    }

    /// The f0 as tracked; `progress` hears the share done, 0..=1.
    fn track_hz(&mut self, audio: &[f32], params: &ConversionParams, progress: &mut Listener<'_>) -> Result<Vec<f32>> {
        if !self.synth.has_f0() {
            return Ok(vec![0.0; audio.len() / HOP_SAMPLES + 1]);
        }
        let mut f0_hz = self.tracker.track_telling(audio, progress)?;
        if self.tracker.wants_median() {
            pitch::median_filter(&mut f0_hz, params.filter_radius);
        }
        if params.repair_octaves {
            octave::repair_octaves(&mut f0_hz);
        }
        Ok(f0_hz)
    }

    /// The usual pitch of who speaks in the voice, in Hz, if the voice tells it.
    #[must_use]
    pub fn pitch_hz(&self) -> Option<f32> {
        self.synth.pitch_hz()
    }

    /// The voice's rate in Hz.
    #[must_use]
    pub fn sample_rate_hz(&self) -> u32 {
        self.synth.sample_rate_hz()
    }
}

/// The protection value from which it is off.
const PROTECT_OFF: f32 = 0.5;

/// Semitones from the median of the voiced pitches to `own_hz`, within what a transposition may be; `None` where nothing is
/// voiced.
#[must_use]
pub fn transposition_to(own_hz: f32, f0_hz: &[f32]) -> Option<f32> {
    let semitones = 12.0 * (own_hz / median_hz(f0_hz)?).log2();
    Some(semitones.clamp(*TRANSPOSE_SEMITONES.start(), *TRANSPOSE_SEMITONES.end()))
}

/// The median of the voiced pitches, the upper one of two; `None` where nothing is voiced.
#[must_use]
pub fn median_hz(f0_hz: &[f32]) -> Option<f32> {
    let mut voiced: Vec<f32> = f0_hz.iter().copied().filter(|hz| *hz > 0.0).collect();
    if voiced.is_empty() {
        return None;
    }
    let middle = voiced.len() / 2;
    Some(*voiced.select_nth_unstable_by(middle, f32::total_cmp).1)
}

/// By how much the synthesizer's pitch stands above who speaks, as a ratio: a formant shift plays the voice faster, which
/// raises its pitch as well.
#[must_use]
pub fn pitch_ratio(params: &ConversionParams) -> f32 {
    semitones_to_ratio(params.transpose_semitones - params.formant_semitones)
}

/// An f0 as the synthesizer shall read it.
fn shape(f0_hz: &[f32], params: &ConversionParams) -> Pitch {
    pitch::shape(f0_hz, pitch_ratio(params), params.unvoiced)
}

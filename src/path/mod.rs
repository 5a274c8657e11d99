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
use crate::params::{ConversionParams, TRANSPOSE_SEMITONES, Unvoiced};
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
    /// How its units are retrieved.
    pub retrieving: Retrieving,
    /// The part that is rendered.
    pub rendering: Rendering,
}

/// Which units of a window are retrieved, and how.
#[derive(Clone, Copy, Debug)]
pub struct Retrieving {
    /// Whether the last unit is repeated, so that units reach the window's end (real-time reference).
    pub repeat_last_unit: bool,
    /// Units before this one are not retrieved: nothing is rendered of them.
    pub first_unit: usize,
    /// What happens in small cells.
    pub small_cell: SmallCell,
}

/// The units of a window, as they were read and pulled towards the index.
struct Content {
    read: Units,
    retrieved: Option<Units>,
}

impl Content {
    /// The units of `hops` hops.
    fn retrieved<B: VoiceOps>(
        mut read: Units,
        retrieval: Option<&Retrieval<B>>,
        how: Retrieving,
        hops: usize,
        params: &ConversionParams,
    ) -> Self {
        if how.repeat_last_unit {
            read.repeat_last_until(hops.div_ceil(HOPS_PER_UNIT));
        }
        let retrieved = retrieval.map(|retrieval| {
            let mut retrieved = read.clone();
            retrieval.blend(&mut retrieved, how.first_unit, params.index_rate, how.small_cell);
            retrieved
        });
        Self { read, retrieved }
    }

    /// What the synthesizer reads: units and pitch, one of each per hop. Unvoiced hops keep the share that `protect` leaves
    /// them.
    fn per_hop(&self, pitch: &Pitch, params: &ConversionParams, has_f0: bool) -> (Units, Pitch) {
        let hops = pitch.f0_hz.len().min(HOPS_PER_UNIT * self.read.count());
        let pitch = pitch.slice(0, hops);
        let Some(retrieved) = &self.retrieved else { return (self.read.per_hop(hops), pitch) };
        // Without pitch nothing tells which hops are unvoiced.
        if params.protect < PROTECT_OFF && has_f0 {
            (retrieved.per_hop_protecting(&self.read, &pitch.f0_hz, params.protect), pitch)
        } else {
            (retrieved.per_hop(hops), pitch)
        }
    }
}

/// The f0 of 16 kHz audio as tracked; `progress` hears the share done, 0..=1. For a voice without pitch nothing is tracked:
/// every hop is unvoiced.
fn track_hz<B: VoiceOps>(
    tracker: &mut Tracker<B>,
    has_f0: bool,
    audio: &[f32],
    params: &ConversionParams,
    progress: &mut Listener<'_>,
) -> Result<Vec<f32>> {
    if !has_f0 {
        return Ok(vec![0.0; audio.len() / HOP_SAMPLES + 1]);
    }
    let f0_hz = tracker.track_telling(audio, progress)?;
    Ok(mended(tracker, f0_hz, params))
}

/// As [`track_hz`], of the newest `hops` at least.
fn track_newest_hz<B: VoiceOps>(
    tracker: &Tracker<B>,
    has_f0: bool,
    audio: &[f32],
    params: &ConversionParams,
    hops: usize,
) -> Result<Vec<f32>> {
    if !has_f0 {
        return Ok(vec![0.0; audio.len() / HOP_SAMPLES + 1]);
    }
    // These tell a hop by what is around it.
    let wants_all = params.repair_octaves || params.unvoiced == Unvoiced::Interpolate;
    let f0_hz = if wants_all { tracker.track(audio)? } else { tracker.track_newest(audio, hops)? };
    Ok(mended(tracker, f0_hz, params))
}

/// A track without its outliers.
fn mended<B: VoiceOps>(tracker: &Tracker<B>, mut f0_hz: Vec<f32>, params: &ConversionParams) -> Vec<f32> {
    if tracker.wants_median() {
        pitch::median_filter(&mut f0_hz, params.filter_radius);
    }
    if params.repair_octaves {
        octave::repair_octaves(&mut f0_hz);
    }
    f0_hz
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
        let units = times.measure(Stage::Units, || self.units.extract_telling(window.audio, told))?;
        let content = times.measure(Stage::Retrieval, || {
            let hops = window.pitch.f0_hz.len();
            Content::retrieved(units, self.retrieval.as_deref(), window.retrieving, hops, params)
        });
        let told = &mut |share: f64| progress(CONTENT_SHARE + (1.0 - CONTENT_SHARE) * share);
        self.render_content(&content, window, params, times, told)
    }

    /// The same from a window's content on.
    fn render_content(
        &mut self,
        content: &Content,
        window: &Window<'_>,
        params: &ConversionParams,
        times: &mut StageTimes,
        progress: &mut Listener<'_>,
    ) -> Result<Vec<f32>> {
        let (units, pitch) = content.per_hop(&window.pitch, params, self.synth.has_f0());
        times.measure(Stage::Synth, || self.synth.render_telling(&units, &pitch, window.rendering, params, progress))
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

    /// The f0 of 16 kHz audio as tracked; `progress` hears the share done, 0..=1.
    fn track_hz(&mut self, audio: &[f32], params: &ConversionParams, progress: &mut Listener<'_>) -> Result<Vec<f32>> {
        track_hz(&mut self.tracker, self.synth.has_f0(), audio, params, progress)
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

/// Pitches below this, in Hz, are single pulses, not a pitch: such as mains hum between the words of who is transposed far down.
const LOWEST_HZ: f32 = 30.0;

/// An f0 as the synthesizer shall read it. The reference, which draws a pitch through what is unvoiced, keeps the lowest as well.
fn shape(f0_hz: &[f32], params: &ConversionParams) -> Pitch {
    let ratio = pitch_ratio(params);
    let lowest = if params.unvoiced == Unvoiced::Zero { LOWEST_HZ } else { 0.0 };
    let heard: Vec<f32> = f0_hz.iter().map(|&hz| if hz * ratio < lowest { 0.0 } else { hz }).collect();
    pitch::shape(&heard, ratio, params.unvoiced)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hum_that_would_become_pulses_is_unvoiced() {
        let params = ConversionParams { transpose_semitones: -12.0, ..ConversionParams::default() };
        assert_eq!(shape(&[0.0, 59.0, 60.0, 220.0], &params).f0_hz, [0.0, 0.0, 30.0, 110.0]);
        assert_eq!(shape(&[50.0], &ConversionParams::default()).f0_hz, [50.0]);
        let params = ConversionParams { unvoiced: Unvoiced::Interpolate, ..params };
        assert_eq!(shape(&[59.0, 220.0], &params).f0_hz, [29.5, 110.0]);
    }
}

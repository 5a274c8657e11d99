//! Pitch without a network: the YIN difference function (de Cheveigné & Kawahara 2002) and the cheapest path through
//! its minima.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};

use super::pitch_track::{HOP_SAMPLES, PitchTrack, SAMPLE_RATE_HZ, require_audio};
use super::stft::{Edge, pad};
use crate::error::{Error, Result};
use crate::telemetry::Listener;

/// The frequencies that can be found, in Hz.
pub const RANGE_HZ: [f32; 2] = [50.0, 1100.0];
/// Samples of the window from which one frame is found.
pub const WINDOW_SAMPLES: usize = CORE_SAMPLES + 2 * LONGEST_LAG;

/// The longest lag compared: one period of the lowest frequency.
pub const LONGEST_LAG: usize = 320;
/// The shortest lag compared: less than one period of the highest frequency.
const SHORTEST_LAG: usize = 14;
/// Samples in the middle of the window that are compared with their neighbours a lag before and after.
const CORE_SAMPLES: usize = 384;

/// What the path through the candidates pays; all in units of aperiodicity. Chosen on speech against FCPE.
#[derive(Clone, Copy, Debug)]
struct Costs {
    /// To be unvoiced for a frame: a candidate must be less aperiodic than about this.
    unvoiced: f32,
    /// For each octave that a candidate lies below the highest frequency: of equal minima the shortest lag is the period.
    octave: f32,
    /// For each octave that the pitch moves in a hop.
    leap: f32,
    /// To begin or end voicing.
    switch: f32,
}

const COSTS: Costs = Costs { unvoiced: 0.6, octave: 0.01, leap: 0.8, switch: 0.35 };
/// The root mean square below which a frame is silent: -60 dB of full scale.
const SILENCE_RMS: f32 = 1e-3;
/// Minima kept in a frame.
pub const MOST_CANDIDATES: usize = 12;

/// A tracker of one voice that needs no weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Yin {
    /// Later frames that are heard before a frame is decided. More of them avert more octave errors.
    pub lookahead_frames: usize,
}

impl Default for Yin {
    fn default() -> Self {
        Self { lookahead_frames: 3 }
    }
}

impl Yin {
    /// Samples between the centre of a frame and the last sample heard before it is decided.
    #[must_use]
    pub fn latency_samples(&self) -> usize {
        WINDOW_SAMPLES / 2 + self.lookahead_frames * HOP_SAMPLES
    }

    /// The tracker's state at the start of a signal.
    #[must_use]
    pub fn stream(&self) -> YinStream {
        let mut planner = RealFftPlanner::new();
        YinStream {
            lookahead: self.lookahead_frames,
            forward: planner.plan_fft_forward(WINDOW_SAMPLES),
            inverse: planner.plan_fft_inverse(WINDOW_SAMPLES),
            heard: VecDeque::new(),
        }
    }

    /// Tracks the pitch of 16 kHz audio, silence assumed beyond its ends.
    ///
    /// `voicing` is 1 less the aperiodicity of the frame's pitch, or of its best candidate where it is unvoiced. The
    /// frames are exactly those that [`Self::stream`] gives.
    ///
    /// # Errors
    /// The audio is empty.
    pub fn f0(&self, audio_16k: &[f32]) -> Result<PitchTrack> {
        self.f0_telling(audio_16k, &mut |_| Ok(()))
    }

    /// As [`f0`](Self::f0); `progress` hears the share done, 0..=1.
    ///
    /// # Errors
    /// As there, and what `progress` says.
    pub fn f0_telling(&self, audio_16k: &[f32], progress: &mut Listener<'_>) -> Result<PitchTrack> {
        /// Frames between two words of how far it is: ten seconds of audio.
        const TOLD_FRAMES: usize = 1000;
        require_audio(audio_16k)?;
        let padded = pad(audio_16k, WINDOW_SAMPLES / 2, WINDOW_SAMPLES / 2, Edge::Zero);
        let mut stream = self.stream();
        let count = PitchTrack::frames(audio_16k.len());
        let mut frames = Vec::with_capacity(count);
        for (frame, window) in padded.windows(WINDOW_SAMPLES).step_by(HOP_SAMPLES).enumerate() {
            frames.extend(stream.step(window)?);
            if frame % TOLD_FRAMES == TOLD_FRAMES - 1 {
                progress(frame as f64 / count as f64)?;
            }
        }
        frames.extend(stream.finish());
        let (f0_hz, voicing) = frames.into_iter().map(|frame| (frame.f0_hz, frame.voicing)).unzip();
        Ok(PitchTrack { f0_hz, voicing })
    }
}

/// One decided frame.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct YinFrame {
    /// Fundamental frequency in Hz; 0 where the frame is unvoiced.
    pub f0_hz: f32,
    /// 1 less the aperiodicity, 0..=1.
    pub voicing: f32,
}

/// A place where the path can be in a frame, and the cheapest way there.
#[derive(Clone, Copy, Debug)]
struct State {
    /// In Hz; 0 is the unvoiced state, which every frame has first.
    f0_hz: f32,
    voicing: f32,
    cost: f32,
    /// The state of the frame before from which the cheapest path comes.
    origin: usize,
}

/// A tracker in the middle of a signal.
#[derive(Clone)]
pub struct YinStream {
    lookahead: usize,
    forward: Arc<dyn RealToComplex<f32>>,
    inverse: Arc<dyn ComplexToReal<f32>>,
    /// The frames heard and not yet decided, and the last decided one, whose costs the next continues.
    heard: VecDeque<Vec<State>>,
}

impl fmt::Debug for YinStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("YinStream")
            .field("lookahead", &self.lookahead)
            .field("heard", &self.heard.len())
            .finish_non_exhaustive()
    }
}

impl YinStream {
    /// Hears the window of [`WINDOW_SAMPLES`] of 16 kHz audio around the next frame's centre, a hop after the last.
    ///
    /// Gives the frame that lies `lookahead_frames` back, nothing while there is none.
    ///
    /// # Errors
    /// The window has another length.
    pub fn step(&mut self, window: &[f32]) -> Result<Option<YinFrame>> {
        if window.len() != WINDOW_SAMPLES {
            return Err(Error::argument("window", format!("{WINDOW_SAMPLES} samples"), window.len()));
        }
        let states = self.states(window);
        let states = join(self.heard.back().map(Vec::as_slice), states);
        self.heard.push_back(states);
        if self.heard.len() <= self.lookahead {
            return Ok(None);
        }
        let decided = self.path().first().copied();
        self.heard.pop_front();
        Ok(decided)
    }

    /// Decides the frames still open and begins anew.
    pub fn finish(&mut self) -> Vec<YinFrame> {
        let open = self.path();
        self.reset();
        open
    }

    /// Forgets everything heard.
    pub fn reset(&mut self) {
        self.heard.clear();
    }

    /// The cheapest path through the frames heard, oldest first.
    fn path(&self) -> Vec<YinFrame> {
        let Some(last) = self.heard.back() else { return Vec::new() };
        let cheaper = |best: usize, next: usize| if last[next].cost < last[best].cost { next } else { best };
        let mut at = (0..last.len()).fold(0, cheaper);
        let mut path = Vec::with_capacity(self.heard.len());
        for states in self.heard.iter().rev() {
            let state = states[at];
            path.push(YinFrame { f0_hz: state.f0_hz, voicing: state.voicing });
            at = state.origin;
        }
        path.reverse();
        path
    }

    /// The unvoiced state and the candidates of a frame, with the costs of the frame itself.
    fn states(&self, window: &[f32]) -> Vec<State> {
        let voiced = self.aperiodicity(window).as_deref().map_or(Vec::new(), candidates);
        let voicing = voiced.iter().map(|candidate| candidate.voicing).fold(0.0, f32::max);
        let unvoiced = State { f0_hz: 0.0, voicing, cost: COSTS.unvoiced, origin: 0 };
        let state = |Candidate { f0_hz, voicing, cost }| State { f0_hz, voicing, cost, origin: 0 };
        std::iter::once(unvoiced).chain(voiced.into_iter().map(state)).collect()
    }

    /// The cumulative mean normalised difference of each lag from 0 to [`LONGEST_LAG`] in a window of
    /// [`WINDOW_SAMPLES`]; nothing for silence, sound that is not a number, or a window of another length.
    ///
    /// The core is compared with the samples a lag after and a lag before it, so that the answer belongs to the centre
    /// of the window whatever the lag.
    #[must_use]
    pub fn aperiodicity(&self, window: &[f32]) -> Option<Vec<f32>> {
        if window.len() != WINDOW_SAMPLES {
            return None;
        }
        let mean = window.iter().sum::<f32>() / WINDOW_SAMPLES as f32;
        let mut whole: Vec<f32> = window.iter().map(|v| v - mean).collect();
        let energy = running_energy(&whole);
        let core_energy = energy[LONGEST_LAG];
        // Written so that sound that is not a number counts as silence too.
        let heard = core_energy.is_finite() && (core_energy / CORE_SAMPLES as f64).sqrt() >= f64::from(SILENCE_RMS);
        if !heard {
            return None;
        }
        let mut core = vec![0.0; WINDOW_SAMPLES];
        core[LONGEST_LAG..][..CORE_SAMPLES].copy_from_slice(&whole[LONGEST_LAG..][..CORE_SAMPLES]);
        let correlation = self.correlation(&mut core, &mut whole)?;
        let mut sum = 0.0;
        let difference = (0..=LONGEST_LAG).map(|lag| {
            let (after, before) = (energy[LONGEST_LAG + lag], energy[LONGEST_LAG - lag]);
            let shared = correlation[lag] + correlation[(WINDOW_SAMPLES - lag) % WINDOW_SAMPLES];
            let difference = (core_energy + f64::midpoint(after, before) - f64::from(shared)).max(0.0);
            sum += if lag == 0 { 0.0 } else { difference };
            if sum > 0.0 { (difference * lag as f64 / sum) as f32 } else { 1.0 }
        });
        Some(difference.collect())
    }

    /// The circular correlation of `core` with `whole`: at `lag`, the sum of `core[i] whole[i + lag]`.
    fn correlation(&self, core: &mut [f32], whole: &mut [f32]) -> Option<Vec<f32>> {
        let mut spectra = [self.forward.make_output_vec(), self.forward.make_output_vec()];
        self.forward.process(core, &mut spectra[0]).ok()?;
        self.forward.process(whole, &mut spectra[1]).ok()?;
        let [core, whole] = &spectra;
        let mut product: Vec<Complex<f32>> = core.iter().zip(whole).map(|(c, w)| c.conj() * w).collect();
        // Real by definition, but for rounding that the inverse transform would refuse.
        for end in [0, WINDOW_SAMPLES / 2] {
            product[end].im = 0.0;
        }
        let mut correlation = self.inverse.make_output_vec();
        self.inverse.process(&mut product, &mut correlation).ok()?;
        for value in &mut correlation {
            *value /= WINDOW_SAMPLES as f32;
        }
        Some(correlation)
    }
}

/// The energy of the [`CORE_SAMPLES`] that begin at each sample.
fn running_energy(samples: &[f32]) -> Vec<f64> {
    let square = |v: f32| f64::from(v) * f64::from(v);
    let first: f64 = samples[..CORE_SAMPLES].iter().map(|&v| square(v)).sum();
    let steps = samples.iter().zip(&samples[CORE_SAMPLES..]);
    let later = steps.scan(first, |energy, (&gone, &come)| {
        *energy += square(come) - square(gone);
        Some(energy.max(0.0))
    });
    std::iter::once(first).chain(later).collect()
}

/// A frequency that a frame may have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// In Hz, inside [`RANGE_HZ`].
    pub f0_hz: f32,
    /// 1 less its aperiodicity.
    pub voicing: f32,
    /// What a path pays to pass here, in units of aperiodicity.
    pub cost: f32,
}

/// The cheapest minima of the aperiodicity of the lags up to [`LONGEST_LAG`], at most [`MOST_CANDIDATES`], cheapest
/// first, each placed between lags by the parabola through it and its neighbours.
///
/// # Panics
/// If there are fewer lags.
#[must_use]
pub fn candidates(aperiodicity: &[f32]) -> Vec<Candidate> {
    let minimum = |lag: usize| {
        let [before, here, after] = [lag - 1, lag, lag + 1].map(|lag| aperiodicity[lag]);
        if !(here < before && here <= after) {
            return None;
        }
        let bend = before + after - 2.0 * here;
        let shift = if bend > 0.0 { (0.5 * (before - after) / bend).clamp(-0.5, 0.5) } else { 0.0 };
        let depth = (here - 0.25 * (before - after) * shift).clamp(0.0, 1.0);
        let f0_hz = SAMPLE_RATE_HZ as f32 / (lag as f32 + shift);
        let [low, high] = RANGE_HZ;
        let cost = depth + COSTS.octave * (high / f0_hz).log2();
        (low..=high).contains(&f0_hz).then_some(Candidate { f0_hz, voicing: 1.0 - depth, cost })
    };
    let mut candidates: Vec<Candidate> = (SHORTEST_LAG..LONGEST_LAG).filter_map(minimum).collect();
    candidates.sort_by(|a, b| a.cost.total_cmp(&b.cost));
    candidates.truncate(MOST_CANDIDATES);
    candidates
}

/// Adds to each state of a frame the cost of the cheapest path to it from the frame before.
fn join(before: Option<&[State]>, mut states: Vec<State>) -> Vec<State> {
    let Some(before) = before else { return states };
    let least = before.iter().map(|state| state.cost).fold(f32::INFINITY, f32::min);
    for state in &mut states {
        let (mut origin, mut best) = (0, f32::INFINITY);
        for (i, from) in before.iter().enumerate() {
            // Costs count from the cheapest state, so that they stay small however long the signal.
            let cost = from.cost - least + step_cost(from.f0_hz, state.f0_hz);
            if cost < best {
                (origin, best) = (i, cost);
            }
        }
        state.origin = origin;
        state.cost += best;
    }
    states
}

/// The cost of a hop from one pitch to another, 0 Hz being unvoiced.
fn step_cost(from_hz: f32, to_hz: f32) -> f32 {
    match (from_hz > 0.0, to_hz > 0.0) {
        (true, true) => COSTS.leap * (to_hz / from_hz).log2().abs(),
        (false, false) => 0.0,
        _ => COSTS.switch,
    }
}

//! Pitch: from a tracked f0 to what the synthesizer reads.

use std::sync::Arc;

use crate::dsp::PitchTrack;
use crate::dsp::pitch_track::{TrackWindows, require_audio};
use crate::dsp::stft::{Edge, pad};
use crate::dsp::yin::Yin;
use crate::error::Result;
use crate::nn::crepe::{self, Crepe};
use crate::nn::fcpe::{self, Fcpe};
use crate::nn::ops::VoiceOps;
use crate::nn::rmvpe::{self, Rmvpe};
use crate::nn::swift_f0::{self, SwiftF0};
use crate::params::Unvoiced;
use crate::telemetry::Listener;
use crate::units::{HOP_SAMPLES, Pitch};

/// Lowest frequency of the coarse scale, in Hz.
const COARSE_LOW_HZ: f64 = 50.0;
/// Highest frequency of the coarse scale, in Hz.
const COARSE_HIGH_HZ: f64 = 1_100.0;

/// What reads the fundamental frequency off 16 kHz audio.
#[derive(Clone)]
pub enum Tracker<B: VoiceOps> {
    /// A U-Net over the mel spectrogram.
    Rmvpe(Arc<Rmvpe<B>>),
    /// A convolutional conformer over the mel spectrogram.
    Fcpe(Arc<Fcpe<B>>),
    /// Convolutions over the waveform, smoothed as RVC does.
    Crepe(Arc<Crepe<B>>),
    /// Convolutions over the spectrum; the weights are embedded.
    SwiftF0(Arc<SwiftF0<B>>),
    /// Difference functions, no weights.
    Yin(Arc<Yin>),
}

impl<B: VoiceOps> Tracker<B> {
    /// f0 in Hz at every hop of 10 ms, 0 where unvoiced: `audio.len() / 160 + 1` values, the first centred on sample 0.
    ///
    /// # Errors
    /// The audio is empty.
    pub fn track(&self, audio: &[f32]) -> Result<Vec<f32>> {
        self.track_in(TrackWindows::default(), audio)
    }

    /// As [`track`](Self::track); long audio in windows of other sizes. CREPE and YIN go through it once anyway.
    ///
    /// # Errors
    /// The audio is empty.
    pub fn track_in(&self, windows: TrackWindows, audio: &[f32]) -> Result<Vec<f32>> {
        self.track_in_telling(windows, audio, &mut |_| Ok(()))
    }

    /// As [`track`](Self::track); `progress` hears the share done, 0..=1.
    ///
    /// # Errors
    /// As there, and what `progress` says.
    pub fn track_telling(&self, audio: &[f32], progress: &mut Listener<'_>) -> Result<Vec<f32>> {
        self.track_in_telling(TrackWindows::default(), audio, progress)
    }

    /// As [`track`](Self::track), of a stream that needs no more than the newest `hops`: where it saves time, those alone.
    ///
    /// # Errors
    /// The audio is empty.
    pub fn track_newest(&self, audio: &[f32], hops: usize) -> Result<Vec<f32>> {
        match self {
            Self::SwiftF0(network) => {
                let first = PitchTrack::frames(audio.len()).saturating_sub(hops);
                Ok(between_mirrors(network, audio, first)?.f0_hz.split_off(first))
            }
            _ => self.track(audio),
        }
    }

    fn track_in_telling(&self, windows: TrackWindows, audio: &[f32], progress: &mut Listener<'_>) -> Result<Vec<f32>> {
        let track = match self {
            Self::Rmvpe(network) => network.f0_telling(windows, audio, rmvpe::DEFAULT_THRESHOLD, progress),
            Self::Fcpe(network) => network.f0_telling(windows, audio, fcpe::DEFAULT_THRESHOLD, progress),
            Self::Crepe(network) => network.f0_telling(audio, crepe::DEFAULT_THRESHOLD, progress),
            Self::SwiftF0(network) => {
                let windows = TrackWindows {
                    longest_hops: windows.longest_hops.min(SWIFT_F0_HOPS),
                    context_hops: SWIFT_F0_CONTEXT_HOPS,
                };
                windows.track(audio, progress, |audio, _| between_mirrors(network, audio, 0))
            }
            Self::Yin(yin) => yin.f0_telling(audio, progress),
        };
        track.map(|track| track.f0_hz)
    }

    /// Samples of 16 kHz audio that a live stream tracks anew for each chunk of `chunk_hops`, the chunk last.
    ///
    /// The reference's at chunks from 0.25 s on. Shorter chunks get no less past: windows of 64 ms must fit into it.
    #[must_use]
    pub fn live_samples(&self, chunk_hops: usize) -> usize {
        /// Past before the chunk in which the tracker settles.
        const SETTLE_HOPS: usize = 5;
        const FEWEST_HOPS: usize = 30;
        /// What RMVPE's network halves five times over; the hop that the audio's ends share is one of them.
        const RMVPE_GROUP_HOPS: usize = 32;
        let hops = (chunk_hops + SETTLE_HOPS).max(FEWEST_HOPS);
        let hops = match self {
            Self::Rmvpe(_) => hops.next_multiple_of(RMVPE_GROUP_HOPS) - 1,
            _ => hops,
        };
        hops * HOP_SAMPLES
    }

    /// Whether single outliers are left to the median filter.
    #[must_use]
    pub fn wants_median(&self) -> bool {
        matches!(self, Self::Yin(_))
    }
}

/// Longest audio that `SwiftF0` tracks at once: what its layers hand on stays in a processor's caches.
const SWIFT_F0_HOPS: usize = 1024;
/// Its spectra and convolutions reach 20 hops to each side.
const SWIFT_F0_CONTEXT_HOPS: usize = 32;

/// Tracks audio that goes on, mirrored, beyond its ends: `SwiftF0` calls the last four hops before silence unvoiced. Hops before
/// `first` need not be told.
fn between_mirrors<B: VoiceOps>(network: &SwiftF0<B>, audio: &[f32], first: usize) -> Result<PitchTrack> {
    /// Whole frames of the network, too, so that its frames stay where they were.
    const MIRRORED_HOPS: usize = 8;
    const MIRRORED: usize = MIRRORED_HOPS * HOP_SAMPLES;
    require_audio(audio)?;
    let mirrored = pad(audio, MIRRORED, MIRRORED, Edge::Reflect);
    let track = network.f0_from(&mirrored, first + MIRRORED_HOPS, swift_f0::DEFAULT_THRESHOLD)?;
    let inside = |values: &[f32]| values[MIRRORED_HOPS..values.len() - MIRRORED_HOPS].to_vec();
    Ok(PitchTrack { f0_hz: inside(&track.f0_hz), voicing: inside(&track.voicing) })
}

/// Shifts a tracked f0 (Hz per hop, 0 unvoiced) by the frequency ratio `transpose` and quantises it.
#[must_use]
pub fn shape(f0_hz: &[f32], transpose: f32, unvoiced: Unvoiced) -> Pitch {
    let mut f0_hz = f0_hz.to_vec();
    if unvoiced == Unvoiced::Interpolate {
        bridge_unvoiced(&mut f0_hz);
    }
    f0_hz.iter_mut().for_each(|hz| *hz *= transpose);
    let coarse = f0_hz.iter().map(|&hz| coarse(hz)).collect();
    Pitch { f0_hz, coarse }
}

/// Draws unvoiced hops linearly between their voiced neighbours, and holds the ends.
fn bridge_unvoiced(f0_hz: &mut [f32]) {
    let voiced: Vec<usize> = (0..f0_hz.len()).filter(|&hop| f0_hz[hop] > 0.0).collect();
    let (Some(&first), Some(&last)) = (voiced.first(), voiced.last()) else { return };
    let (start, end) = (f0_hz[first], f0_hz[last]);
    f0_hz[..first].fill(start);
    f0_hz[last + 1..].fill(end);
    for gap in voiced.windows(2) {
        let (left, right) = (gap[0], gap[1]);
        let (from, to) = (f64::from(f0_hz[left]), f64::from(f0_hz[right]));
        for (hop, hz) in (left + 1..right).zip(&mut f0_hz[left + 1..right]) {
            *hz = (from + (to - from) * (hop - left) as f64 / (right - left) as f64) as f32;
        }
    }
}

/// A frequency on the scale of 1..=255 that voices were trained with: `1 + 254 * (mel - low) / (high - low)`, ties to even.
#[must_use]
pub fn coarse(f0_hz: f32) -> u8 {
    let mel = |hz: f64| 1127.0 * (hz / 700.0).ln_1p();
    let (low, high) = (mel(COARSE_LOW_HZ), mel(COARSE_HIGH_HZ));
    let position = match mel(f64::from(f0_hz)) {
        mel if mel > 0.0 => (mel - low) * 254.0 / (high - low) + 1.0,
        _ => 1.0,
    };
    position.clamp(1.0, 255.0).round_ties_even() as u8
}

/// Median over `2 * (taps / 2) + 1` hops around each hop, of the values inside the track; fewer than 3 taps change nothing.
pub fn median_filter(f0_hz: &mut [f32], taps: usize) {
    if taps < 3 {
        return;
    }
    let (reach, source) = (taps / 2, f0_hz.to_vec());
    for (hop, value) in f0_hz.iter_mut().enumerate() {
        let mut around = source[hop.saturating_sub(reach)..(hop + reach + 1).min(source.len())].to_vec();
        around.sort_unstable_by(f32::total_cmp);
        *value = around[around.len() / 2];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unvoiced_hops_lie_on_the_line_between_their_neighbours() {
        let pitch = shape(&[0.0, 100.0, 0.0, 0.0, 130.0, 0.0], 2.0, Unvoiced::Interpolate);
        assert_eq!(pitch.f0_hz, [200.0, 200.0, 220.0, 240.0, 260.0, 260.0]);
        assert_eq!(shape(&[0.0, 100.0], 1.0, Unvoiced::Zero).f0_hz, [0.0, 100.0]);
        assert_eq!(shape(&[0.0; 3], 1.0, Unvoiced::Interpolate).f0_hz, [0.0; 3]);
    }

    #[test]
    fn swift_f0_hears_long_audio_in_windows_as_in_one() {
        let network = Arc::new(SwiftF0::<crate::nn::Cpu>::embedded(&Default::default()).expect("the embedded weights"));
        let mut phase = 0.0_f32;
        let glide = |i: usize| {
            // Ups and downs with a pause in each second.
            phase += (180.0 + 80.0 * (i as f32 / 9_000.0).sin()) / 16_000.0;
            let harmonics: f32 = (1..9).map(|h| (std::f32::consts::TAU * phase * h as f32).sin() / h as f32).sum();
            if i % 16_000 < 13_000 { 0.2 * harmonics } else { 0.0 }
        };
        let audio: Vec<f32> = (0..16_000 * 24).map(glide).collect();
        let whole = between_mirrors(&network, &audio, 0).expect("a track").f0_hz;
        let windows = Tracker::SwiftF0(network).track(&audio).expect("a track");
        assert!(whole.iter().filter(|hz| **hz > 0.0).count() > 1_200);
        assert_eq!(windows, whole);
    }

    #[test]
    fn a_median_of_three_removes_a_single_octave_jump() {
        let mut f0_hz = [100.0, 101.0, 202.0, 102.0, 103.0];
        median_filter(&mut f0_hz, 3);
        assert_eq!(f0_hz[2], 102.0);
    }
}

//! The one form in which every pitch tracker answers.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::telemetry::Listener;

/// Sample rate of the audio that trackers read, and samples from one frame of a [`PitchTrack`] to the next: 10 ms.
pub use crate::units::{ANALYSIS_RATE_HZ as SAMPLE_RATE_HZ, HOP_SAMPLES};

/// Fundamental frequency and confidence every 10 ms; frame `i` is centred on sample `160 i` of the 16 kHz audio.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PitchTrack {
    /// Fundamental frequency in Hz; 0 where the frame is unvoiced.
    pub f0_hz: Vec<f32>,
    /// The tracker's confidence in 0..=1 that the frame is voiced; its scale differs between trackers.
    pub voicing: Vec<f32>,
}

impl PitchTrack {
    /// The number of frames that `samples` of 16 kHz audio give: `samples / 160 + 1`.
    #[must_use]
    pub fn frames(samples: usize) -> usize {
        samples / HOP_SAMPLES + 1
    }

    /// Number of frames.
    #[must_use]
    pub fn len(&self) -> usize {
        self.f0_hz.len()
    }

    /// Whether there is no frame.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.f0_hz.is_empty()
    }
}

/// Windows in which long audio is tracked, so that memory does not grow with its length; all in hops.
///
/// Each window is tracked for the hops in its middle; the `context` on both sides is heard and left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrackWindows {
    /// Longest audio that is tracked at once, and the longest window.
    pub longest_hops: usize,
    /// What is heard on each side of the hops that count. Less than half of the longest.
    pub context_hops: usize,
}

impl TrackWindows {
    /// Windows begin at multiples of this: RMVPE halves time five times over, `SwiftF0` has frames of 1.6 hops.
    pub const GRID_HOPS: usize = 32;

    /// The hops of `frames` that each window counts for, and those that it hears.
    pub fn spans(self, frames: usize) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        let context = self.context_hops.next_multiple_of(Self::GRID_HOPS);
        let step = self.longest_hops.saturating_sub(2 * context) / Self::GRID_HOPS * Self::GRID_HOPS;
        let step = if frames <= self.longest_hops { frames.max(1) } else { step.max(Self::GRID_HOPS) };
        (0..frames).step_by(step).map(move |start| {
            let end = (start + step).min(frames);
            (start..end, start.saturating_sub(context)..(end + context).min(frames))
        })
    }

    /// Tracks 16 kHz audio window by window; `progress` hears the share done, also what `track` tells of each window.
    ///
    /// # Errors
    /// What `track` or `progress` says.
    pub fn track(
        self,
        audio_16k: &[f32],
        progress: &mut Listener<'_>,
        mut track: impl FnMut(&[f32], &mut Listener<'_>) -> Result<PitchTrack>,
    ) -> Result<PitchTrack> {
        let frames = PitchTrack::frames(audio_16k.len());
        let mut whole = PitchTrack::default();
        for (counted, heard) in self.spans(frames) {
            // The last frame is centred on the last sample, or on what would be the next.
            let end = if heard.end == frames { audio_16k.len() } else { heard.end * HOP_SAMPLES };
            let told =
                &mut |share: f64| progress((counted.start as f64 + share * counted.len() as f64) / frames as f64);
            let window = track(&audio_16k[heard.start * HOP_SAMPLES..end], told)?;
            told(1.0)?;
            let inside = counted.start - heard.start..counted.end - heard.start;
            whole.f0_hz.extend_from_slice(&window.f0_hz[inside.clone()]);
            whole.voicing.extend_from_slice(&window.voicing[inside]);
        }
        Ok(whole)
    }
}

impl Default for TrackWindows {
    /// Two minutes with 20 seconds on both sides: more than RMVPE's convolutions reach, which is 16 seconds.
    fn default() -> Self {
        Self { longest_hops: 16_032, context_hops: 2_016 }
    }
}

/// Refuses audio without a single sample: a track of it would be centred on nothing.
pub(crate) fn require_audio(audio_16k: &[f32]) -> Result<()> {
    if audio_16k.is_empty() { Err(Error::argument("audio", "at least one sample", "none")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_count_every_hop_once_and_hear_their_context() {
        let windows = TrackWindows { longest_hops: 128, context_hops: 32 };
        let spans: Vec<_> = windows.spans(200).collect();
        let expected = [(0..64, 0..96), (64..128, 32..160), (128..192, 96..200), (192..200, 160..200)];
        assert_eq!(spans, expected);
        assert_eq!(windows.spans(128).collect::<Vec<_>>(), [(0..128, 0..128)]);
        let default = TrackWindows::default();
        for (counted, heard) in default.spans(400_000) {
            assert!(heard.len() <= default.longest_hops && heard.start % TrackWindows::GRID_HOPS == 0);
            assert!(counted.start - heard.start >= default.context_hops.min(counted.start));
        }
    }

    #[test]
    fn a_track_in_windows_is_the_whole_one_where_frames_hear_no_further_than_the_context() {
        // The mean over three hops around each frame.
        let local = |audio: &[f32]| {
            let frames = 0..PitchTrack::frames(audio.len());
            let around = |frame: usize| {
                let centre = frame * HOP_SAMPLES;
                &audio[centre.saturating_sub(240).min(audio.len())..(centre + 240).min(audio.len())]
            };
            let f0_hz: Vec<f32> = frames.map(|frame| around(frame).iter().sum()).collect();
            Ok(PitchTrack { voicing: vec![1.0; f0_hz.len()], f0_hz })
        };
        let windows = TrackWindows { longest_hops: 128, context_hops: 32 };
        for samples in [1, 159, 160, 128 * 160, 40_000, 40_001, 40_159] {
            let audio: Vec<f32> = (0..samples).map(|n| ((n * 7919) % 101) as f32).collect();
            let mut told = Vec::new();
            let mut progress = |share: f64| {
                told.push(share);
                Ok(())
            };
            let track = windows.track(&audio, &mut progress, |audio, _| local(audio)).unwrap();
            assert_eq!(track, local(&audio).unwrap(), "{samples}");
            assert!(told.is_sorted() && told.last() == Some(&1.0), "{told:?}");
        }
    }
}

//! Windows: where a long recording is cut, and the audio around each piece.
//!
//! A piece is converted with `pad` of audio on both sides, so that every network has its context; long recordings are
//! cut where they are quiet.

use std::ops::Range;

use crate::dsp::stft::{Edge, pad};
use crate::units::{ANALYSIS_RATE_HZ, HOP_SAMPLES};

/// Sizes of offline windows, in samples at 16 kHz.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSizes {
    /// Audio around a piece, on each side.
    pub pad: usize,
    /// How far from its ideal place a cut may move to find quiet.
    pub search: usize,
    /// Distance between ideal cuts.
    pub spacing: usize,
    /// Longest recording that is not cut.
    pub longest: usize,
}

impl WindowSizes {
    /// Sizes in whole seconds.
    #[must_use]
    pub const fn seconds(pad: usize, search: usize, spacing: usize, longest: usize) -> Self {
        let rate = ANALYSIS_RATE_HZ as usize;
        Self { pad: pad * rate, search: search * rate, spacing: spacing * rate, longest: longest * rate }
    }
}

impl Default for WindowSizes {
    /// The reference's sizes on a CPU.
    fn default() -> Self {
        Self::seconds(1, 6, 38, 41)
    }
}

/// Cuts `audio` (16 kHz) into pieces that begin at whole hops and together cover it once.
#[must_use]
pub fn pieces(audio: &[f32], sizes: WindowSizes) -> Vec<Range<usize>> {
    let cuts = cuts(audio, sizes).into_iter().map(|cut| cut / HOP_SAMPLES * HOP_SAMPLES);
    let mut starts = vec![0];
    starts.extend(cuts);
    starts.dedup();
    let ends = starts.iter().skip(1).copied().chain([audio.len()]);
    starts.iter().copied().zip(ends).map(|(start, end)| start..end).collect()
}

/// The quietest sample near each ideal cut: where the sum of magnitude over one hop is least, the first of equals.
fn cuts(audio: &[f32], sizes: WindowSizes) -> Vec<usize> {
    let padded = pad(audio, HOP_SAMPLES / 2, HOP_SAMPLES / 2, Edge::Reflect);
    if padded.len() <= sizes.longest {
        return Vec::new();
    }
    let energy = |at: usize| padded[at..at + HOP_SAMPLES].iter().map(|v| f64::from(v.abs())).sum::<f64>();
    let ideal = (sizes.spacing..audio.len()).step_by(sizes.spacing.max(1));
    ideal
        .map(|ideal| {
            let range = ideal.saturating_sub(sizes.search)..(ideal + sizes.search).min(audio.len());
            let quietest =
                range.map(|at| (energy(at), at)).reduce(|best, next| if next.0 < best.0 { next } else { best });
            quietest.map_or(ideal, |(_, at)| at)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_recording_is_cut_at_its_silences_and_covered_once() {
        let sizes = WindowSizes::seconds(1, 1, 2, 3);
        let mut audio = vec![0.5; 16_000 * 7];
        for quiet in [30_000, 70_000, 95_000] {
            audio[quiet..quiet + 400].fill(0.0);
        }
        let pieces = pieces(&audio, sizes);
        let starts: Vec<usize> = pieces.iter().map(|piece| piece.start).collect();
        assert_eq!(starts, [0, 30_080, 70_080, 95_040]);
        assert!(pieces.windows(2).all(|pair| pair[0].end == pair[1].start));
        assert_eq!(pieces.last().map(|piece| piece.end), Some(audio.len()));
    }
}

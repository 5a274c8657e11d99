//! Windows: where a long recording is cut, and the audio around each piece.
//!
//! A piece is converted with `pad` of audio on both sides, so that every network has its context; long recordings are
//! cut where they are quiet.

use std::ops::Range;

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
    let padded = reflect_pad(audio, HOP_SAMPLES / 2, HOP_SAMPLES / 2);
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

/// `audio` with `before` and `after` samples mirrored at its ends, the end samples themselves not repeated.
///
/// Audio shorter than the padding is mirrored back and forth; a single sample is repeated, none gives zeros.
#[must_use]
pub fn reflect_pad(audio: &[f32], before: usize, after: usize) -> Vec<f32> {
    let period = 2 * audio.len().saturating_sub(1);
    let at = |position: isize| match (audio.len(), period) {
        (0, _) => 0.0,
        (_, 0) => audio[0],
        (length, period) => {
            let folded = position.rem_euclid(period as isize) as usize;
            audio[if folded < length { folded } else { period - folded }]
        }
    };
    let mut padded = Vec::with_capacity(before + audio.len() + after);
    padded.extend((-(before as isize)..0).map(at));
    padded.extend_from_slice(audio);
    padded.extend((audio.len() as isize..(audio.len() + after) as isize).map(at));
    padded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_mirrors_without_repeating_the_edge() {
        assert_eq!(reflect_pad(&[1.0, 2.0, 3.0], 2, 2), [3.0, 2.0, 1.0, 2.0, 3.0, 2.0, 1.0]);
        assert_eq!(reflect_pad(&[1.0, 2.0], 3, 3), [2.0, 1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0]);
        assert_eq!(reflect_pad(&[5.0], 2, 1), [5.0; 4]);
        assert_eq!(reflect_pad(&[], 1, 1), [0.0; 2]);
    }

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

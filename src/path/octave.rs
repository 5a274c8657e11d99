//! Octave repair: hops of a pitch track that stand an octave away from what surrounds them.
//!
//! Trackers take the second harmonic for the first, or half the pitch of a creaky voice for the pitch, for a few hops at
//! a time. Such hops lie whole octaves from the median around them, where a glide or an interval does not.

/// Hops on each side that a hop is compared with: longer than errors last, shorter than a phrase moves by an octave.
const REACH_HOPS: usize = 25;
/// Fewest voiced hops that tell where the pitch is.
const FEWEST_HOPS: usize = 5;
/// How far from whole octaves a hop may lie to count as misplaced, in octaves.
const TOLERANCE_OCTAVES: f32 = 0.3;

/// Moves hops of `f0_hz` (0 unvoiced) that lie an octave or two from the median of the voiced hops around them.
///
/// A leap by an octave that is meant is kept once it has lasted for half of what it is compared with: at once in a track
/// whose future is known, after an eighth of a second at the end of a live one.
pub fn repair_octaves(f0_hz: &mut [f32]) {
    let source = f0_hz.to_vec();
    for (hop, value) in f0_hz.iter_mut().enumerate().filter(|(_, value)| **value > 0.0) {
        let around = &source[hop.saturating_sub(REACH_HOPS)..(hop + REACH_HOPS + 1).min(source.len())];
        let mut voiced: Vec<f32> = around.iter().copied().filter(|&hz| hz > 0.0).collect();
        if voiced.len() < FEWEST_HOPS {
            continue;
        }
        let middle = voiced.len() / 2;
        let (_, median, _) = voiced.select_nth_unstable_by(middle, f32::total_cmp);
        let octaves = (*value / *median).log2();
        let whole = octaves.round();
        if (1.0..=2.0).contains(&whole.abs()) && (octaves - whole).abs() < TOLERANCE_OCTAVES {
            *value /= whole.exp2();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A glide from 100 to 150 Hz.
    fn glide() -> Vec<f32> {
        (0..100).map(|hop| 100.0 + 0.5 * hop as f32).collect()
    }

    #[test]
    fn hops_an_octave_off_return_to_their_neighbours() {
        let mut track = glide();
        for (hops, factor) in [(10..18, 2.0), (40..41, 0.5), (60..70, 0.5), (95..100, 2.0), (0..2, 4.0)] {
            track[hops].iter_mut().for_each(|hz| *hz *= factor);
        }
        track[30] = 0.0;
        repair_octaves(&mut track);
        let expected: Vec<f32> =
            glide().into_iter().enumerate().map(|(hop, hz)| if hop == 30 { 0.0 } else { hz }).collect();
        assert_eq!(track, expected);
    }

    #[test]
    fn glides_intervals_and_leaps_that_last_stay_as_they_are() {
        let leap = [vec![110.0; 40], vec![220.0; 40]].concat();
        let fifths = [vec![110.0; 10], vec![165.0; 5], vec![110.0; 10]].concat();
        for track in [glide(), leap, fifths, vec![0.0; 10], vec![100.0, 200.0], Vec::new()] {
            let mut repaired = track.clone();
            repair_octaves(&mut repaired);
            assert_eq!(repaired, track);
        }
    }
}

//! Lag: by how much one signal follows another that it repeats, found by correlation.

use realfft::RealFftPlanner;

/// Where a signal was found in another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lag {
    /// Samples before it begins, as a fraction.
    pub samples: f64,
    /// Cosine of the angle between the two there, 0..=1, whatever the sign: 1 is the same but for its level.
    pub agreement: f64,
}

/// Finds `said`, which is not silent, in the longer `heard`; nothing if `heard` is shorter or silent.
///
/// The place between two samples is the top of the parabola through the three greatest correlations.
#[must_use]
pub fn lag(said: &[f32], heard: &[f32]) -> Option<Lag> {
    let lags = heard.len().checked_sub(said.len())? + 1;
    let correlations = correlate(said, heard, lags)?;
    let said_energy = energy(said);
    // Sums of squares up to each sample, so that each window's energy is a difference.
    let sums: Vec<f64> = std::iter::once(0.0)
        .chain(heard.iter().scan(0.0, |sum, &x| {
            *sum += f64::from(x).powi(2);
            Some(*sum)
        }))
        .collect();
    let whole = sums.last().copied().filter(|&energy| energy > 0.0)?;
    let best = (0..lags).max_by(|&a, &b| correlations[a].abs().total_cmp(&correlations[b].abs()))?;
    let at = |index: usize| correlations[index].abs();
    let (between, top) = if best == 0 || best + 1 == lags {
        (0.0, at(best))
    } else {
        let (before, top, after) = (at(best - 1), at(best), at(best + 1));
        let curve = before - 2.0 * top + after;
        let between = if curve < 0.0 { 0.5 * (before - after) / curve } else { 0.0 };
        (between, top - 0.25 * (before - after) * between)
    };
    let heard_energy = sums[best + said.len()] - sums[best];
    // What is a billionth of the whole is rounding.
    let agreement =
        if heard_energy <= 1e-9 * whole { 0.0 } else { (top / (said_energy * heard_energy).sqrt()).min(1.0) };
    Some(Lag { samples: best as f64 + between, agreement })
}

fn energy(samples: &[f32]) -> f64 {
    samples.iter().map(|&x| f64::from(x).powi(2)).sum()
}

/// `sum over n of said[n] heard[n + lag]` for each lag below `lags`.
fn correlate(said: &[f32], heard: &[f32], lags: usize) -> Option<Vec<f64>> {
    let size = heard.len().next_power_of_two().max(2);
    let mut planner = RealFftPlanner::<f64>::new();
    let (forward, inverse) = (planner.plan_fft_forward(size), planner.plan_fft_inverse(size));
    let spectrum = |samples: &[f32]| {
        let mut padded = forward.make_input_vec();
        padded.iter_mut().zip(samples).for_each(|(padded, &x)| *padded = f64::from(x));
        let mut spectrum = forward.make_output_vec();
        forward.process(&mut padded, &mut spectrum).ok().map(|()| spectrum)
    };
    let (said, mut product) = (spectrum(said)?, spectrum(heard)?);
    product.iter_mut().zip(&said).for_each(|(heard, said)| *heard *= said.conj());
    // What the product leaves there is rounding, and the transform wants none.
    if let [first, .., last] = &mut product[..] {
        (first.im, last.im) = (0.0, 0.0);
    }
    let mut correlations = inverse.make_output_vec();
    inverse.process(&mut product, &mut correlations).ok()?;
    correlations.truncate(lags);
    let scale = 1.0 / size as f64;
    correlations.iter_mut().for_each(|value| *value *= scale);
    Some(correlations)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dsp::sweep::sweep;

    #[test]
    fn a_sweep_is_found_where_it_is_to_a_twentieth_of_a_sample_whatever_its_sign_and_level() {
        let said = sweep(48_000, 100.0, 16_000.0, 12_000);
        for (whole, part, gain) in [(0, 0.0, 1.0), (700, 0.25, -0.1), (4001, 0.5, 0.02), (9999, 0.8, -3.0)] {
            // A fraction of a sample later: the same sweep, read between its samples by a windowed sinc.
            let value = |n: usize| {
                let centre = n as f64 - whole as f64 - part;
                (-24..=24)
                    .map(|tap| {
                        let source = centre.floor() as i64 + tap;
                        let x = centre - source as f64;
                        let sinc = if x.abs() < 1e-9 {
                            1.0
                        } else {
                            (std::f64::consts::PI * x).sin() / (std::f64::consts::PI * x)
                        };
                        let window = (0.5 + 0.5 * (std::f64::consts::PI * x / 25.5).cos()).max(0.0);
                        usize::try_from(source)
                            .ok()
                            .and_then(|at| said.get(at))
                            .map_or(0.0, |&s| f64::from(s) * sinc * window)
                    })
                    .sum::<f64>()
            };
            let heard: Vec<f32> = (0..23_000).map(|n| (gain * value(n)) as f32).collect();
            let found = lag(&said, &heard).expect("a lag");
            assert!((found.samples - whole as f64 - part).abs() < 0.05, "{found:?} {whole} {part}");
            assert!(found.agreement > 0.95, "{found:?}");
        }
    }

    #[test]
    fn what_is_not_there_does_not_agree_and_silence_is_nothing() {
        let said = sweep(48_000, 100.0, 16_000.0, 12_000);
        let mut state = 1_u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        let heard: Vec<f32> = (0..48_000).map(|_| noise()).collect();
        assert!(lag(&said, &heard).expect("a lag").agreement < 0.1);
        assert_eq!(lag(&said, &vec![0.0; 48_000]), None);
        assert_eq!(lag(&said, &said[1..]), None);
    }
}

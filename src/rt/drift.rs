//! Drift: how fast another clock runs, learned from how a buffer between the two fills.

/// Share of the error that is made good per second.
const PROPORTIONAL: f64 = 0.1;
/// Share of the error that is added to the estimate of the drift per second: critically damped.
const INTEGRAL: f64 = PROPORTIONAL * PROPORTIONAL / 4.0;
/// Time constant with which the fill, which jumps by whole blocks, is smoothed, in seconds.
const SMOOTHING_S: f64 = 0.5;
/// Greatest correction and estimate.
const MOST: f64 = 0.005;

/// A proportional-integral loop from the fill of a buffer to the speed at which it is to be emptied.
#[derive(Clone, Copy, Debug, Default)]
pub struct DriftControl {
    smoothed_s: f64,
    drift: f64,
}

impl DriftControl {
    /// The fill exceeds its target by `excess_s` seconds, `elapsed_s` seconds after the last call. Returns how much
    /// faster than nominal the buffer is to be emptied: 1e-6 is one part per million.
    pub fn step(&mut self, excess_s: f64, elapsed_s: f64) -> f64 {
        self.smoothed_s += (excess_s - self.smoothed_s) * (elapsed_s / SMOOTHING_S).min(1.0);
        self.drift = (self.drift + INTEGRAL * self.smoothed_s * elapsed_s).clamp(-MOST, MOST);
        (PROPORTIONAL * self.smoothed_s + self.drift).clamp(-MOST, MOST)
    }

    /// How much faster than ours the other clock is believed to run.
    #[must_use]
    pub fn drift(&self) -> f64 {
        self.drift
    }

    /// Starts anew from a fill that has jumped, keeping the estimate.
    pub fn jumped(&mut self) {
        self.smoothed_s = 0.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drift_is_learned_and_the_fill_returns_to_its_target() {
        for ppm in [-500.0, -20.0, 100.0, 500.0] {
            let (mut control, mut fill, step) = (DriftControl::default(), 0.0_f64, 0.01);
            let mut worst: f64 = 0.0;
            for _ in 0..60_000 {
                fill += step * (ppm * 1e-6 - control.step(fill, step));
                worst = worst.max(fill.abs());
            }
            assert!((control.drift() * 1e6 - ppm).abs() < 1.0, "{ppm}: {}", control.drift() * 1e6);
            assert!(fill.abs() < 1e-5 && worst < 0.005, "{ppm}: {fill}, {worst}");
        }
    }
}

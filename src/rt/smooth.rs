//! Parameters that change without zipper noise.

/// A value that reaches each new target in a straight line over a fixed time, then is exactly the target.
#[derive(Clone, Copy, Debug)]
pub struct Smoothed {
    value: f32,
    target: f32,
    step: f32,
    left: usize,
    ramp: usize,
}

impl Smoothed {
    /// A value at rest that takes `ramp_samples` to reach a new target.
    #[must_use]
    pub fn new(value: f32, ramp_samples: usize) -> Self {
        Self { value, target: value, step: 0.0, left: 0, ramp: ramp_samples.max(1) }
    }

    /// Turns towards `target`, from wherever it is. A target that is no number is ignored.
    pub fn aim(&mut self, target: f32) {
        if target == self.target || !target.is_finite() {
            return;
        }
        self.target = target;
        self.left = self.ramp;
        self.step = (target - self.value) / self.ramp as f32;
    }

    /// Advances by one sample and returns the value.
    #[inline]
    pub fn advance(&mut self) -> f32 {
        if self.left > 0 {
            self.left -= 1;
            self.value = if self.left == 0 { self.target } else { self.value + self.step };
        }
        self.value
    }

    /// The value, if it does not move.
    #[must_use]
    pub fn settled(&self) -> Option<f32> {
        (self.left == 0).then_some(self.value)
    }

    /// Goes to the target at once.
    pub fn finish(&mut self) {
        (self.value, self.left) = (self.target, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_target_is_reached_in_equal_steps_and_then_exactly() {
        let mut value = Smoothed::new(0.3, 10);
        value.aim(1.0);
        let steps: Vec<f32> = (0..12).map(|_| value.advance()).collect();
        assert!(steps.windows(2).all(|pair| pair[1] - pair[0] < 0.0701));
        assert_eq!(steps[9..], [1.0; 3]);
        assert_eq!(value.settled(), Some(1.0));
    }

    #[test]
    fn what_is_no_number_is_no_target() {
        let mut value = Smoothed::new(0.5, 4);
        value.aim(f32::NAN);
        assert_eq!(value.settled(), Some(0.5));
    }
}

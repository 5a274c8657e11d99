//! Delay: what the builder puts where a path is earlier than the one it meets.

use crate::rt::{Block, RtNode};

/// Delays by a whole number of samples, at least 1.
pub struct Delay {
    line: Vec<f32>,
    at: usize,
}

impl Delay {
    /// A delay of `samples`.
    #[must_use]
    pub fn new(samples: usize) -> Self {
        Self { line: vec![0.0; samples.max(1)], at: 0 }
    }
}

impl RtNode for Delay {
    fn process(&mut self, _: &mut Block<'_>, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) {
        for (out, &x) in outputs[0].iter_mut().zip(inputs[0]) {
            *out = std::mem::replace(&mut self.line[self.at], x);
            self.at += 1;
            if self.at == self.line.len() {
                self.at = 0;
            }
        }
    }

    fn latency_samples(&self) -> f64 {
        self.line.len() as f64
    }

    fn reset(&mut self) {
        self.line.fill(0.0);
    }
}

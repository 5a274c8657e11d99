//! Limiter: nothing leaves above the ceiling.

use std::collections::VecDeque;

use super::SMOOTHING_MS;
use crate::error::{Error, Result};
use crate::rt::smooth::Smoothed;
use crate::rt::{Block, Node, Ports, RtNode, Setup};
use crate::units::db_to_gain;

/// Keeps every sample within the live `ceiling_db`.
///
/// The gain falls in a straight line over the look-ahead, reaching what a peak needs when the peak comes out, and rises
/// exponentially with the release time. What never exceeds the ceiling is only delayed, bit for bit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limiter {
    /// Time by which peaks are seen before they come out, in ms, 0..=20: the attack, and the latency. At 0 the gain
    /// falls at once.
    pub look_ahead_ms: f32,
    /// Time constant of the release, in ms, 1..=2000.
    pub release_ms: f32,
}

impl Node for Limiter {
    fn ports(&self, rate_hz: u32) -> Ports {
        Ports::at(rate_hz, 1, 1)
    }

    fn prepare(self: Box<Self>, setup: &Setup) -> Result<Box<dyn RtNode>> {
        for (name, value, range) in
            [("look-ahead", self.look_ahead_ms, 0.0..=20.0), ("release", self.release_ms, 1.0..=2000.0)]
        {
            if !range.contains(&value) {
                return Err(Error::argument(name, format!("{} to {} ms", range.start(), range.end()), value));
            }
        }
        let window = setup.samples(self.look_ahead_ms) + 1;
        Ok(Box::new(RtLimiter {
            ceiling_db: setup.live.ceiling_db,
            ceiling: Smoothed::new(db_to_gain(setup.live.ceiling_db), setup.samples(SMOOTHING_MS)),
            release: 1.0 - (-1.0 / setup.samples(self.release_ms).max(1) as f32).exp(),
            now: 0,
            least: VecDeque::with_capacity(window + 1),
            envelope: 1.0,
            gains: vec![1.0; window],
            sum: window as f64,
            delayed: vec![0.0; window],
            at: 0,
        }))
    }
}

struct RtLimiter {
    ceiling_db: f32,
    ceiling: Smoothed,
    release: f32,
    now: u64,
    /// Gains that samples of the window need, each with its time, rising: the first is the least of the window.
    least: VecDeque<(u64, f32)>,
    envelope: f32,
    /// The envelope over the window, of which the mean is the gain.
    gains: Vec<f32>,
    sum: f64,
    delayed: Vec<f32>,
    at: usize,
}

impl RtLimiter {
    /// The least gain that any sample of the window needs, `needed` being the newest.
    fn least(&mut self, needed: f32) -> f32 {
        while self.least.back().is_some_and(|&(_, gain)| gain >= needed) {
            self.least.pop_back();
        }
        self.least.push_back((self.now, needed));
        let window = self.delayed.len() as u64;
        while self.least.front().is_some_and(|&(time, _)| time + window <= self.now) {
            self.least.pop_front();
        }
        self.now += 1;
        self.least.front().map_or(1.0, |&(_, gain)| gain)
    }

    fn step(&mut self, x: f32) -> f32 {
        let x = if x.is_finite() { x } else { 0.0 };
        let ceiling = self.ceiling.advance();
        let needed = if x.abs() > ceiling { ceiling / x.abs() } else { 1.0 };
        let least = self.least(needed);
        self.envelope = least.min(self.envelope + (1.0 - self.envelope) * self.release);
        // The mean of a window in which no gain is greater than what the sample that leaves it needs.
        self.sum += f64::from(self.envelope) - f64::from(self.gains[self.at]);
        self.gains[self.at] = self.envelope;
        self.delayed[self.at] = x;
        self.at += 1;
        if self.at == self.delayed.len() {
            self.at = 0;
        }
        let gain = (self.sum / self.gains.len() as f64) as f32;
        // Rounding, and a ceiling that is just being lowered, may leave a trace above it.
        (self.delayed[self.at] * gain).clamp(-ceiling, ceiling)
    }
}

impl RtNode for RtLimiter {
    fn process(&mut self, block: &mut Block<'_>, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) {
        if block.live.ceiling_db != self.ceiling_db {
            self.ceiling_db = block.live.ceiling_db;
            self.ceiling.aim(db_to_gain(self.ceiling_db));
        }
        for (out, &x) in outputs[0].iter_mut().zip(inputs[0]) {
            *out = self.step(x);
        }
    }

    fn latency_samples(&self) -> f64 {
        self.delayed.len() as f64 - 1.0
    }

    fn reset(&mut self) {
        self.ceiling.finish();
        self.least.clear();
        self.envelope = 1.0;
        self.gains.fill(1.0);
        self.sum = self.gains.len() as f64;
        self.delayed.fill(0.0);
    }
}

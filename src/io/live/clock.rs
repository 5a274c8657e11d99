//! A clock of our own, for audio without a device.

use std::time::{Duration, Instant};

/// Tells how many frames of a rate have passed since it was started.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    start: Instant,
    rate_hz: u32,
    taken: u64,
}

impl Clock {
    pub(super) fn start(rate_hz: u32) -> Self {
        Self::since(Instant::now(), rate_hz)
    }

    /// A clock that was started at `start`.
    pub(super) fn since(start: Instant, rate_hz: u32) -> Self {
        Self { start, rate_hz, taken: 0 }
    }

    /// Takes `frames` frames; they are due when the clock is at their end.
    pub(super) fn take(&mut self, frames: usize) {
        self.taken += frames as u64;
    }

    /// How long until what was taken has passed; nothing if it has.
    pub(super) fn ahead(&self) -> Option<Duration> {
        let end = Duration::from_secs_f64(self.taken as f64 / f64::from(self.rate_hz.max(1)));
        end.checked_sub(self.start.elapsed()).filter(|ahead| !ahead.is_zero())
    }

    /// How far the clock is beyond what was taken.
    #[cfg(any(feature = "jack", feature = "cpal"))]
    pub(super) fn behind(&self) -> Duration {
        let end = Duration::from_secs_f64(self.taken as f64 / f64::from(self.rate_hz.max(1)));
        self.start.elapsed().saturating_sub(end)
    }
}

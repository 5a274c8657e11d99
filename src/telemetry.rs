//! What a conversion cost, by stage, and what the process holds.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::error::Result;

/// Hears the share of some work that is done, 0..=1. An error ends the work, which fails with it:
/// [`Error::Stopped`](crate::error::Error::Stopped) where no one wants it any more.
pub type Listener<'a> = dyn FnMut(f64) -> Result<()> + Send + 'a;

/// The stages of the path that take time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Resampling, levelling and filtering of the input.
    Source,
    /// Fundamental frequency.
    Pitch,
    /// Content units.
    Units,
    /// Nearest units of the index.
    Retrieval,
    /// The synthesizer.
    Synth,
    /// Joining, loudness, output rate.
    Sink,
}

impl Stage {
    /// All stages, in the order audio meets them.
    pub const ALL: [Self; 6] = [Self::Source, Self::Pitch, Self::Units, Self::Retrieval, Self::Synth, Self::Sink];

    /// The stage's name, as reports spell it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Pitch => "pitch",
            Self::Units => "units",
            Self::Retrieval => "retrieval",
            Self::Synth => "synthesizer",
            Self::Sink => "sink",
        }
    }
}

/// Time spent in each stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageTimes {
    spent: [Duration; Stage::ALL.len()],
}

impl StageTimes {
    /// Runs `work` and charges its time to `stage`.
    pub fn measure<T>(&mut self, stage: Stage, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        self.spent[stage as usize] += start.elapsed();
        result
    }

    /// Charges what was done at once in `took`: each stage of both its share of it.
    pub fn add_at_once(&mut self, both: [&Self; 2], took: Duration) {
        let sum: Duration = both.iter().map(|times| times.total()).sum();
        let share = if sum > took { took.as_secs_f64() / sum.as_secs_f64() } else { 1.0 };
        for times in both {
            for (spent, more) in self.spent.iter_mut().zip(&times.spent) {
                *spent += more.mul_f64(share);
            }
        }
    }

    /// Time spent in `stage`.
    #[must_use]
    pub fn of(&self, stage: Stage) -> Duration {
        self.spent[stage as usize]
    }

    /// Time spent in all stages.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.spent.iter().sum()
    }
}

/// How long something took, many times over: for percentiles to within 1 %.
#[derive(Clone, Debug)]
pub struct Distribution {
    micros: Histogram<u64>,
}

impl Distribution {
    /// Longest time told apart, in microseconds: a minute.
    const LONGEST_MICROS: u64 = 60_000_000;

    /// Adds one time.
    pub fn record(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.micros.saturating_record(micros.clamp(1, Self::LONGEST_MICROS));
    }

    /// Percentiles of all times so far, in ms; zeros if there are none.
    #[must_use]
    pub fn percentiles_ms(&self) -> Percentiles {
        if self.micros.is_empty() {
            return Percentiles::default();
        }
        let ms = |micros: u64| micros as f32 * 1e-3;
        let at = |quantile| ms(self.micros.value_at_quantile(quantile));
        Percentiles { p50: at(0.5), p95: at(0.95), p99: at(0.99), max: ms(self.micros.max()) }
    }
}

impl Default for Distribution {
    fn default() -> Self {
        let micros = Histogram::new_with_bounds(1, Self::LONGEST_MICROS, 2).expect("bounds that hold for any machine");
        Self { micros }
    }
}

/// Percentiles of a quantity.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Percentiles {
    /// Half of the values are at most this.
    pub p50: f32,
    /// 95 % of them.
    pub p95: f32,
    /// 99 % of them.
    pub p99: f32,
    /// All of them.
    pub max: f32,
}

/// Bytes of memory that this process holds; 0 where the system does not tell.
#[must_use]
pub fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()).unwrap_or_default() * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_times_recorded() {
        let mut times = Distribution::default();
        assert_eq!(times.percentiles_ms(), Percentiles::default());
        (1..=1000).for_each(|n| times.record(Duration::from_micros(100 * n)));
        let Percentiles { p50, p95, p99, max } = times.percentiles_ms();
        for (found, expected) in [(p50, 50.0), (p95, 95.0), (p99, 99.0), (max, 100.0)] {
            assert!((found / expected - 1.0).abs() < 0.011, "{found} {expected}");
        }
    }

    #[test]
    fn what_was_done_at_once_is_charged_once() {
        let ms = Duration::from_millis;
        let (mut one, mut other, mut all) = (StageTimes::default(), StageTimes::default(), StageTimes::default());
        one.spent[Stage::Pitch as usize] = ms(2);
        other.spent[Stage::Units as usize] = ms(2);
        all.add_at_once([&one, &other], ms(3));
        assert_eq!(all.total(), ms(3));
        assert_eq!(all.of(Stage::Pitch), all.of(Stage::Units));
        all.add_at_once([&one, &StageTimes::default()], ms(5));
        assert_eq!(all.total(), ms(5), "no more than was measured");
    }
}

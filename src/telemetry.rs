//! What a conversion cost, by stage.

use std::time::{Duration, Instant};

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

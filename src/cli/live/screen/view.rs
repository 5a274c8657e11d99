//! What the screen shows, as plain data.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tracing::Level;

use crate::cli::live::args::LiveArgs;
use crate::cli::live::moment::Moment;
use crate::cli::log;
use crate::graph::nodes::Levels;
use crate::live::Session;
use crate::nn::ops::VoiceOps;
use crate::path::Converter;
use crate::path::stream::Stream;
use crate::units::amplitude_to_db;

/// Chunks whose speed is remembered.
const REMEMBERED: usize = 400;
/// How long a peak is held.
const HOLD: Duration = Duration::from_millis(1500);

/// What stays as it is for a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// The audio system.
    pub host: String,
    /// Where the recording goes, if there is one.
    pub record: Option<PathBuf>,
    /// Time granted to convert one chunk.
    pub budget: Duration,
}

impl About {
    /// What stays as it is for `session`.
    #[must_use]
    pub fn of<B: VoiceOps>(args: &LiveArgs, session: &Session<B>) -> Self
    where
        Stream<B>: Send + 'static,
        Converter<B>: Send + 'static,
    {
        Self { host: args.host().to_owned(), record: args.record.clone(), budget: session.budget() }
    }
}

/// Everything that is drawn.
#[derive(Clone, Debug)]
pub struct View {
    /// What stays as it is.
    pub about: About,
    /// How the session goes.
    pub moment: Moment,
    /// Levels of the input.
    pub input: Peaks,
    /// Levels of the output.
    pub output: Peaks,
    /// Processing time over length of the last chunks, the latest last; 0 for one that was not converted.
    pub rtf: VecDeque<f32>,
    /// What happened, the latest last.
    pub messages: Vec<Note>,
    /// Whether the list of keys is shown.
    pub help: bool,
    /// Whether there are colours.
    pub color: bool,
}

/// The level of a signal, and what it was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peaks {
    /// RMS level in dB.
    pub rms_db: f32,
    /// Peak level in dB, falling slowly.
    pub peak_db: f32,
    /// Highest peak of the last moments, in dB.
    pub held_db: f32,
    /// Highest peak since the start or the last reset, in dB.
    pub highest_db: f32,
    /// Samples at full scale since then.
    pub clipped: u64,
    /// When the peak that is held was seen, in the session's time.
    held_at: Duration,
    /// Samples at full scale before that.
    forgotten: u64,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// When, since the screen came up.
    pub at: Duration,
    /// How much it matters.
    pub level: Level,
    /// What happened.
    pub text: String,
}

impl View {
    /// The view of a session's first moment.
    #[must_use]
    pub fn new(about: About, moment: Moment, color: bool) -> Self {
        let telemetry = &moment.metrics.telemetry;
        let peaks = [telemetry.input, telemetry.output].map(|levels| Peaks::new(levels, telemetry.running));
        let [input, output] = peaks;
        Self { about, moment, input, output, rtf: VecDeque::new(), messages: Vec::new(), help: false, color }
    }

    /// Goes on to the next moment.
    pub fn update(&mut self, moment: Moment) {
        let (before, now) = (&self.moment.metrics.telemetry, &moment.metrics.telemetry);
        if now.worker.chunks > before.worker.chunks {
            let idle = (now.worker.rested + now.worker.shed) - (before.worker.rested + before.worker.shed);
            let is_idle = idle == now.worker.chunks - before.worker.chunks;
            self.rtf.push_back(if is_idle { 0.0 } else { now.worker.rtf });
            self.rtf.drain(..self.rtf.len().saturating_sub(REMEMBERED));
        }
        self.input.update(now.input, now.running);
        self.output.update(now.output, now.running);
        self.moment = moment;
    }

    /// Forgets the highest peaks so far.
    pub fn reset_peaks(&mut self) {
        self.input.reset();
        self.output.reset();
    }

    /// Takes messages over, in the time of a screen that came up at `started`.
    pub fn set_messages(&mut self, messages: &[log::Message], started: Instant) {
        let note = |message: &log::Message| Note {
            at: message.at.saturating_duration_since(started),
            level: message.level,
            text: message.text.clone(),
        };
        self.messages = messages.iter().map(note).collect();
    }
}

impl Peaks {
    fn new(levels: Levels, now: Duration) -> Self {
        let peak_db = amplitude_to_db(levels.peak);
        Self {
            rms_db: amplitude_to_db(levels.rms),
            peak_db,
            held_db: peak_db,
            highest_db: peak_db,
            clipped: levels.clipped_samples,
            held_at: now,
            forgotten: 0,
        }
    }

    fn update(&mut self, levels: Levels, now: Duration) {
        self.rms_db = amplitude_to_db(levels.rms);
        self.peak_db = amplitude_to_db(levels.peak);
        if self.peak_db >= self.held_db || now.saturating_sub(self.held_at) > HOLD {
            (self.held_db, self.held_at) = (self.peak_db, now);
        }
        self.highest_db = self.highest_db.max(self.peak_db);
        self.clipped = levels.clipped_samples.saturating_sub(self.forgotten);
    }

    fn reset(&mut self) {
        self.highest_db = self.peak_db;
        self.held_db = self.peak_db;
        self.forgotten += self.clipped;
        self.clipped = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_is_held_for_a_while_and_the_highest_until_it_is_forgotten() {
        let levels = |peak, clipped_samples| Levels { peak, rms: 0.5 * peak, clipped_samples };
        let at = Duration::from_millis;
        let mut peaks = Peaks::new(levels(0.1, 0), at(0));
        peaks.update(levels(1.0, 3), at(100));
        peaks.update(levels(0.1, 3), at(1500));
        assert_eq!((peaks.peak_db, peaks.held_db, peaks.highest_db, peaks.clipped), (-20.0, 0.0, 0.0, 3));
        peaks.update(levels(0.1, 3), at(1601));
        assert_eq!((peaks.held_db, peaks.highest_db), (-20.0, 0.0));
        peaks.reset();
        assert_eq!((peaks.highest_db, peaks.clipped), (-20.0, 0));
        peaks.update(levels(1.0, 5), at(1700));
        assert_eq!((peaks.held_db, peaks.highest_db, peaks.clipped), (0.0, 0.0, 2));
    }
}

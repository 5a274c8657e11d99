//! The log: to standard error, or to a screen that shows it instead.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// Messages that are kept for a screen; the oldest go.
const KEPT: usize = 200;

/// Where messages go while a screen is up.
static DIVERTED: Mutex<Option<VecDeque<Message>>> = Mutex::new(None);

fn diverted() -> MutexGuard<'static, Option<VecDeque<Message>>> {
    DIVERTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// When it was written.
    pub at: Instant,
    /// How much it matters.
    pub level: Level,
    /// What it says, in one line.
    pub text: String,
}

/// Keeps messages from standard error. When it is dropped, those that matter are written there after all.
#[derive(Debug)]
pub struct Diversion(());

impl Diversion {
    /// From now on messages are kept.
    #[must_use]
    pub fn start() -> Self {
        *diverted() = Some(VecDeque::new());
        Self(())
    }

    /// The last messages, at most `count`, the latest last.
    #[must_use]
    pub fn last(&self, count: usize) -> Vec<Message> {
        let kept = diverted();
        let kept = kept.iter().flatten();
        let skipped = kept.clone().count().saturating_sub(count);
        kept.skip(skipped).cloned().collect()
    }
}

impl Drop for Diversion {
    fn drop(&mut self) {
        let kept = diverted().take();
        let mut stderr = io::stderr().lock();
        for message in kept.iter().flatten().filter(|message| message.level <= Level::WARN) {
            let _ = writeln!(stderr, "{:>5} {}", message.level, message.text);
        }
    }
}

/// Keeps a message that is not part of the log, if messages are being kept.
pub fn keep(level: Level, text: &str) {
    if let Some(kept) = diverted().as_mut() {
        if kept.len() == KEPT {
            kept.pop_front();
        }
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        kept.push_back(Message { at: Instant::now(), level, text });
    }
}

/// Makes the writer of each message.
#[derive(Clone, Copy, Debug)]
pub struct LogOutput;

impl<'a> MakeWriter<'a> for LogOutput {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { level: Level::INFO, bytes: Vec::new() }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line {
        Line { level: *metadata.level(), bytes: Vec::new() }
    }
}

/// Gathers one message, and passes it on when it is whole.
#[derive(Debug)]
pub struct Line {
    level: Level,
    bytes: Vec<u8>,
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if diverted().is_some() {
            let text = String::from_utf8_lossy(&self.bytes);
            let text = text.trim_start();
            keep(self.level, text.strip_prefix(self.level.as_str()).unwrap_or(text));
        } else {
            let _ = io::stderr().write_all(&self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_kept_while_a_screen_is_up_without_their_labels() {
        let diversion = Diversion::start();
        let line = |level, text: &str| Line { level, bytes: text.as_bytes().to_vec() };
        drop(line(Level::WARN, " WARN the device is lost:\n  unplugged\n"));
        drop(line(Level::INFO, " INFO it is back\n"));
        let kept = diversion.last(5);
        let texts: Vec<_> = kept.iter().map(|message| (message.level, message.text.as_str())).collect();
        assert_eq!(texts, [(Level::WARN, "the device is lost: unplugged"), (Level::INFO, "it is back")]);
        (0..2 * KEPT).for_each(|n| keep(Level::INFO, &n.to_string()));
        assert_eq!(diversion.last(KEPT).first().map(|message| message.text.clone()), Some(KEPT.to_string()));
        assert_eq!(diversion.last(1)[0].text, (2 * KEPT - 1).to_string());
    }
}

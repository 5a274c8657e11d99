//! What a person sees while files are converted: a bar on a terminal, plain lines elsewhere, nothing when quiet.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::report::rtf;

/// Shows the progress of a run on standard error.
#[derive(Debug)]
pub struct Progress {
    quiet: bool,
    terminal: bool,
}

impl Progress {
    /// A display for standard error as it is now.
    #[must_use]
    pub fn new(quiet: bool) -> Self {
        Self { quiet, terminal: std::io::stderr().is_terminal() }
    }

    /// Starts the display of one file of `audio_seconds`.
    #[must_use]
    pub fn file(&self, input: &Path, audio_seconds: f64) -> FileProgress {
        let shown = self.terminal && !self.quiet;
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(milliseconds(audio_seconds)), target);
        let layout = "{prefix} {bar:28.cyan/dim} {percent:>3} %  {msg}";
        bar.set_style(ProgressStyle::with_template(layout).unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix(input.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned()));
        bar.enable_steady_tick(Duration::from_millis(250));
        FileProgress { bar, started: Instant::now(), audio_seconds }
    }

    /// Tells something about the whole run.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }

    /// Tells that a file is done.
    pub fn done(&self, input: &Path, output: &Path, audio_seconds: f64, seconds: f64) {
        if !self.quiet {
            // A closed standard error is no reason to stop.
            let _ = writeln!(std::io::stderr(), "{}", done_line(input, output, audio_seconds, seconds));
        }
    }
}

/// The line that tells of a converted file.
#[must_use]
pub fn done_line(input: &Path, output: &Path, audio_seconds: f64, seconds: f64) -> String {
    format!(
        "{}: {audio_seconds:.1} s of audio in {seconds:.1} s, RTF {:.2} -> {}",
        input.display(),
        rtf(seconds, audio_seconds),
        output.display()
    )
}

/// The display of one file; it vanishes when dropped.
#[derive(Debug)]
pub struct FileProgress {
    bar: ProgressBar,
    started: Instant,
    audio_seconds: f64,
}

impl FileProgress {
    /// Shows that `done_seconds` of the file's audio are converted.
    pub fn advance(&self, done_seconds: f64) {
        self.bar.set_position(milliseconds(done_seconds));
        self.bar.set_message(state(self.started.elapsed().as_secs_f64(), done_seconds, self.audio_seconds));
    }
}

impl Drop for FileProgress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// RTF so far and time left, after `elapsed` seconds.
fn state(elapsed: f64, done_seconds: f64, audio_seconds: f64) -> String {
    let speed = rtf(elapsed, done_seconds);
    let left = ((audio_seconds - done_seconds).max(0.0) * speed).round() as u64;
    format!("RTF {speed:.2}  {}:{:02} left", left / 60, left % 60)
}

fn milliseconds(seconds: f64) -> u64 {
    (seconds * 1000.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_audio_time_rtf_and_output() {
        let line = done_line(Path::new("in/a.mp3"), Path::new("out/a.wav"), 12.34, 4.56);
        assert_eq!(line, "in/a.mp3: 12.3 s of audio in 4.6 s, RTF 0.37 -> out/a.wav");
    }

    #[test]
    fn time_left_follows_the_speed_so_far() {
        assert_eq!(state(10.0, 20.0, 200.0), "RTF 0.50  1:30 left");
        assert_eq!(state(10.0, 10.0, 129.7), "RTF 1.00  2:00 left");
        assert_eq!(state(1.0, 0.0, 10.0), "RTF 0.00  0:00 left");
    }
}

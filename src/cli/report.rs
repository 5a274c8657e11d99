//! The report of a run as JSON: what was converted, how fast, on what.
//!
//! Schema, version 1 (all times in seconds, all RTF processing time / audio time):
//! `schema`, `version` (of Syrinx), `command` (the arguments), `machine` (see [`Machine`]), `load_seconds` (models read
//! and prepared), `files` (see [`FileReport`]), `failures` (`input`, `error`), `total` (`audio_seconds`, `seconds`,
//! `rtf`), `peak_memory_bytes`.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::machine::{Machine, peak_memory_bytes};
use crate::error::{Error, Result};
use crate::io::write::write_aside;
use crate::telemetry::{Stage, StageTimes};

/// A whole run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Version of this layout.
    pub schema: u32,
    /// Version of Syrinx.
    pub version: String,
    /// The command line.
    pub command: Vec<String>,
    /// Where it ran.
    pub machine: Machine,
    /// Time to read and prepare all models.
    pub load_seconds: f64,
    /// The files that were converted.
    pub files: Vec<FileReport>,
    /// The files that were not.
    pub failures: Vec<Failure>,
    /// Sums over `files`.
    pub total: Total,
    /// Most memory the process held; absent where the system does not tell.
    pub peak_memory_bytes: Option<u64>,
}

/// One converted file.
#[derive(Clone, Debug, Serialize)]
pub struct FileReport {
    /// The recording.
    pub input: PathBuf,
    /// The result.
    pub output: PathBuf,
    /// Duration of the input.
    pub audio_seconds: f64,
    /// Duration of the output.
    pub output_seconds: f64,
    /// Rate of the input.
    pub input_rate_hz: u32,
    /// Rate of the output.
    pub output_rate_hz: u32,
    /// Semitones by which the pitch was shifted.
    pub transpose_semitones: f32,
    /// Time to convert, files excluded.
    pub seconds: f64,
    /// `seconds / audio_seconds`.
    pub rtf: f64,
    /// Time to decode the input.
    pub read_seconds: f64,
    /// Time to encode and write the output.
    pub write_seconds: f64,
    /// Time per stage, in the order of the path.
    pub stages: Vec<StageReport>,
}

/// One stage of one file.
#[derive(Clone, Debug, Serialize)]
pub struct StageReport {
    /// The stage's name.
    pub name: String,
    /// Its time.
    pub seconds: f64,
    /// Its share of real time.
    pub rtf: f64,
}

/// A file that was not converted.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// The recording.
    pub input: PathBuf,
    /// Why.
    pub error: String,
}

/// Sums over all files.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Total {
    /// Audio converted.
    pub audio_seconds: f64,
    /// Time to convert it.
    pub seconds: f64,
    /// `seconds / audio_seconds`, 0 for no audio.
    pub rtf: f64,
}

impl Report {
    /// An empty report of this run on this machine.
    #[must_use]
    pub fn new(load_seconds: f64) -> Self {
        Self {
            schema: 1,
            version: env!("CARGO_PKG_VERSION").into(),
            command: std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect(),
            machine: Machine::here(),
            load_seconds,
            files: Vec::new(),
            failures: Vec::new(),
            total: Total::default(),
            peak_memory_bytes: None,
        }
    }

    /// Adds a converted file.
    pub fn add(&mut self, file: FileReport) {
        self.total.audio_seconds += file.audio_seconds;
        self.total.seconds += file.seconds;
        self.total.rtf = rtf(self.total.seconds, self.total.audio_seconds);
        self.files.push(file);
        self.peak_memory_bytes = peak_memory_bytes();
    }

    /// Writes the report to `path`.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).map_err(|error| Error::io(path, error.into()))?;
        write_aside(path, |file| writeln!(file, "{text}"))
    }
}

/// The stages of a conversion of `audio_seconds` with their share of real time.
#[must_use]
pub fn stage_reports(times: &StageTimes, audio_seconds: f64) -> Vec<StageReport> {
    let stages = Stage::ALL.iter().map(|&stage| (stage.name(), times.of(stage).as_secs_f64()));
    stages.map(|(name, seconds)| StageReport { name: name.into(), seconds, rtf: rtf(seconds, audio_seconds) }).collect()
}

/// Processing time over audio time; 0 for no audio.
#[must_use]
pub fn rtf(seconds: f64, audio_seconds: f64) -> f64 {
    if audio_seconds > 0.0 { seconds / audio_seconds } else { 0.0 }
}

//! What the tests speak with.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::DirEntry;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use syrinx::dsp::yin::Yin;
use syrinx::path::median_hz;
use syrinx::path::source::prepare;
use syrinx::tts::{Manner, Source, SourceChoice, Speech};
use syrinx::units::Recording;
use tokio::runtime::Runtime;

/// What is said where nothing else matters.
pub const TEXT: &str = "The syrinx is the voice of birds. It sits where the windpipe forks.";

pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

pub fn choice(source: &str) -> SourceChoice {
    SourceChoice { source: source.into(), ..SourceChoice::default() }
}

pub fn open(source: &str) -> Arc<dyn Source> {
    choice(source).open().expect(source)
}

/// All that a source says, at its rate.
pub fn say(runtime: &Runtime, source: Arc<dyn Source>, text: &str) -> syrinx::Result<(Vec<f32>, u32)> {
    let mut speech = Speech::of_text(runtime.handle(), source, text, Manner::default());
    let (mut samples, mut rate_hz) = (Vec::new(), 0);
    while let Some(piece) = runtime.block_on(speech.next())? {
        rate_hz = piece.rate_hz;
        samples.extend(piece.samples);
    }
    Ok((samples, rate_hz))
}

/// The folder of the Python packages that `make service-packages` installs.
pub fn python() -> PathBuf {
    let folder = std::env::var_os("SYRINX_TTS_PYTHON").map(PathBuf::from);
    folder.expect("SYRINX_TTS_PYTHON: the virtual environment that `make service-packages` makes")
}

/// The model of the neural voice.
pub fn model() -> PathBuf {
    let lib = python().join("lib");
    let mut found = walkdir::WalkDir::new(lib).into_iter().flatten().map(|entry| entry.path().to_owned());
    found.find(|path| path.ends_with("en_US-joe-medium.onnx")).expect("the voice joe")
}

/// A port that is free.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port()
}

/// A server of another program. Dropping it kills it.
pub struct Server {
    process: Child,
    pub port: u16,
}

impl Server {
    /// Starts a module of the Python packages, and waits until it listens.
    pub fn python(port: u16, arguments: &[&str]) -> Self {
        let mut command = Command::new(python().join("bin/python"));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().expect("a server");
        let server = Self { process, port };
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(start.elapsed() < Duration::from_mins(2), "{arguments:?} does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    pub fn wyoming(port: u16) -> Self {
        Self::wyoming_with(port, &[])
    }

    /// Says the same text the same way each time.
    pub fn steady_wyoming(port: u16) -> Self {
        Self::wyoming_with(port, &["--noise-scale", "0", "--noise-w-scale", "0"])
    }

    fn wyoming_with(port: u16, options: &[&str]) -> Self {
        let (model, uri) = (model(), format!("tcp://127.0.0.1:{port}"));
        let folder = model.parent().expect("a folder").to_str().expect("a path");
        let voice = ["-m", "wyoming_piper", "--voice", "en_US-joe-medium", "--data-dir", folder];
        Self::python(port, &[&voice[..], &["--download-dir", folder, "--uri", &uri], options].concat())
    }

    pub fn piper(port: u16) -> Self {
        let (model, text) = (model(), port.to_string());
        let model = model.to_str().expect("a path");
        Self::python(port, &["-m", "piper.http_server", "-m", model, "--host", "127.0.0.1", "--port", &text])
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The usual pitch of speech in Hz.
pub fn pitch_hz(samples: &[f32], sample_rate_hz: u32) -> f32 {
    let audio = prepare(&Recording { samples: samples.to_vec(), sample_rate_hz }).expect("a rate");
    median_hz(&Yin::default().f0(&audio).expect("a track").f0_hz).expect("something voiced")
}

/// Semitones from one pitch to another.
pub fn semitones(from_hz: f32, to_hz: f32) -> f32 {
    12.0 * (to_hz / from_hz).log2()
}

/// Seconds that each thread of this process has waited so far for a processor that others had; none where the system does
/// not tell.
pub fn waits_s() -> HashMap<OsString, f64> {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let wait = |task: &DirEntry| {
        let stat = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        // Time on a processor, time waiting for one, both in nanoseconds, and how often.
        Some(stat.split_whitespace().nth(1)?.parse::<f64>().ok()? * 1e-9)
    };
    tasks.filter_map(|task| Some((task.file_name(), wait(&task)?))).collect()
}

/// How far samples swing.
pub fn peak(samples: &[f32]) -> f32 {
    samples.iter().fold(0.0, |most, sample| most.max(sample.abs()))
}

//! `syrinx live` as a process that is watched.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest wait for anything.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// A file of `tests/data`.
pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// `syrinx live` at clock speed. Dropping it ends it.
pub struct Running {
    child: Child,
    samples: Receiver<Value>,
    messages: Receiver<String>,
    told: Vec<String>,
    _folder: tempfile::TempDir,
}

impl Running {
    /// Starts it on spoken words, with these arguments beside its models.
    #[allow(dead_code, reason = "some tests have a device")]
    pub fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (words, output) = (data("audio/speech1.wav"), folder.path().join("out.wav"));
        let files = ["--in".as_ref(), words.as_os_str(), "--out".as_ref(), output.as_os_str()];
        let arguments: Vec<&OsStr> = files.into_iter().chain(arguments.iter().map(OsStr::new)).collect();
        Self::start_on("file", &arguments, folder)
    }

    /// The same on this audio system; `folder` lives as long.
    pub fn start_on(host: &str, arguments: &[impl AsRef<OsStr>], folder: tempfile::TempDir) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_syrinx"));
        command.args(["-v", "live", "--host", host, "--f0", "yin", "--chunk", "50", "--context", "300"]);
        command.args(["--json-lines", "--interval", "0.05", "--duration", "30"]).args(arguments);
        command.arg("--voice").arg(data("synth_small_v1_32k.pth"));
        command.arg("--encoder").arg(data("hubert_small_v1.weights.safetensors"));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program");
        let (samples_tx, samples) = channel();
        let stdout = BufReader::new(child.stdout.take().expect("standard output"));
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = samples_tx.send(serde_json::from_str(&line).expect("JSON"));
            }
        });
        let (messages_tx, messages) = channel();
        let stderr = BufReader::new(child.stderr.take().expect("standard error"));
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).for_each(|line| drop(messages_tx.send(line))));
        Self { child, samples, messages, told: Vec::new(), _folder: folder }
    }

    /// What the program says after `words`, to the end of the line.
    #[allow(dead_code, reason = "some tests only listen")]
    pub fn told_after(&mut self, words: &str) -> String {
        loop {
            let line = self.messages.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no `{words}`: {:?}", self.told));
            self.told.push(line.clone());
            if let Some((_, rest)) = line.split_once(words) {
                return rest.to_owned();
            }
        }
    }

    /// Waits for telemetry in which `holds`.
    pub fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        let mut last = Value::Null;
        while began.elapsed() < PATIENCE {
            last = self.samples.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("ended before {what}: {last}"));
            if holds(&last) {
                return last;
            }
        }
        panic!("never {what}: {last}");
    }

    /// Asks for the end and waits for it: the last telemetry, and all messages.
    pub fn end(mut self) -> (Value, Vec<String>) {
        let asked = Command::new("kill").arg(self.child.id().to_string()).status();
        assert!(asked.expect("a request to end").success());
        let last = self.samples.iter().last().expect("telemetry");
        assert!(self.child.wait().expect("the program").success());
        self.told.extend(self.messages.iter());
        (last, std::mem::take(&mut self.told))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

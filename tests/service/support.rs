//! A running service, and a client.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::{Client, Method, Response};
use serde_json::Value;
use syrinx::dsp::yin::Yin;
use syrinx::path::median_hz;
use syrinx::path::source::prepare;
use syrinx::tts::{Manner, SourceChoice, Speech};
use syrinx::units::Recording;
use tempfile::TempDir;
use tokio::runtime::Runtime;

pub const VOICE: &str = "synth_small_v1_32k.pth";
pub const INDEX: &str = "added_IVF15_Flat_nprobe_1_small_v1.index";
/// What is said where nothing else matters.
pub const TEXT: &str = "The syrinx is the voice of birds. It sits where the windpipe forks.";
/// Longest wait for a job.
const PATIENCE: Duration = Duration::from_mins(2);

pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

pub fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(data(name)).expect(name)
}

/// `syrinx serve` of this data, at a port that is free.
pub fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("syrinx"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(folder);
    command.arg("--encoder").arg(data("hubert_small_v1.weights.safetensors")).arg("--no-default-voice").args(arguments);
    // No models but these.
    command.env("SYRINX_MODELS", folder.join("models")).env_remove("SYRINX_TOKEN");
    command
}

/// A service in a process of its own. Dropping it kills it, as `kill -9` does.
pub struct Server {
    process: Child,
    pub address: String,
    pub wyoming: Option<String>,
    pub runtime: Runtime,
    client: Client,
    pub token: Option<String>,
}

impl Server {
    pub fn start(folder: &Path, arguments: &[&str]) -> Self {
        Self::run(command(folder, arguments))
    }

    pub fn run(mut command: Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).spawn().expect("the program");
        let has_wyoming = command.get_args().any(|argument| argument == "--wyoming");
        let mut output = BufReader::new(process.stdout.take().expect("a pipe"));
        let mut listening = || {
            let mut line = String::new();
            output.read_line(&mut line).expect("a line");
            let address = line.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("{line:?}"));
            address.trim_end_matches(" to Wyoming").to_owned()
        };
        let address = listening();
        let wyoming = has_wyoming.then(|| listening().replace("tcp://", ""));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let client = Client::builder().no_proxy().build().expect("a client");
        Self { process, address, wyoming, runtime: runtime.expect("a runtime"), client, token: None }
    }

    /// A service with the small voice, and the voice's id.
    pub fn with_voice(arguments: &[&str]) -> (Self, TempDir, String) {
        let folder = tempfile::tempdir().expect("a folder");
        let server = Self::start(folder.path(), arguments);
        let id = server.upload("small", VOICE);
        (server, folder, id)
    }

    /// A service with joe, the voice that is part of the program.
    pub fn with_joe(arguments: &[&str]) -> (Self, TempDir) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = Command::new(assert_cmd::cargo::cargo_bin("syrinx"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(folder.path()).args(arguments);
        command.env("SYRINX_MODELS", folder.path().join("models")).env_remove("SYRINX_TOKEN");
        (Self::run(command), folder)
    }

    pub fn upload(&self, name: &str, file: &str) -> String {
        let (status, voice) = self.form("/rvc-models", &[("name", name)], &[("pth_file", file, &bytes(file))]);
        assert_eq!(status, 201, "{voice}");
        voice["id"].as_str().expect("an id").to_owned()
    }

    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.address));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub fn send(&self, request: reqwest::RequestBuilder) -> Response {
        self.runtime.block_on(request.send()).expect("an answer")
    }

    /// Status and JSON of an answer; problems say so by their type.
    pub fn read(&self, response: Response) -> (u16, Value) {
        let status = response.status();
        let kind = response.headers().get("content-type").map(|kind| kind.to_str().expect("a type").to_owned());
        let body = self.runtime.block_on(response.bytes()).expect("a body");
        if status.is_client_error() || status.is_server_error() {
            assert_eq!(kind.as_deref(), Some("application/problem+json"), "{status}: {body:?}");
        }
        (status.as_u16(), serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    pub fn get(&self, path: &str) -> (u16, Value) {
        self.read(self.send(self.request(Method::GET, path)))
    }

    pub fn delete(&self, path: &str) -> u16 {
        self.read(self.send(self.request(Method::DELETE, path))).0
    }

    pub fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let request = self.request(Method::POST, path).header("content-type", "application/json");
        self.read(self.send(request.body(body.to_string())))
    }

    /// A form with fields and files.
    pub fn form(&self, path: &str, fields: &[(&str, &str)], files: &[(&str, &str, &[u8])]) -> (u16, Value) {
        let mut body = Vec::new();
        let mut part = |head: String, bytes: &[u8]| {
            body.extend(format!("--BOUNDARY\r\nContent-Disposition: form-data; {head}\r\n\r\n").into_bytes());
            body.extend_from_slice(bytes);
            body.extend_from_slice(b"\r\n");
        };
        for (name, value) in fields {
            part(format!("name=\"{name}\""), value.as_bytes());
        }
        for (name, file, bytes) in files {
            part(format!("name=\"{name}\"; filename=\"{file}\""), bytes);
        }
        body.extend_from_slice(b"--BOUNDARY--\r\n");
        let request = self.request(Method::POST, path);
        self.read(self.send(request.header("content-type", "multipart/form-data; boundary=BOUNDARY").body(body)))
    }

    /// A job's result as a wav, waited for.
    pub fn download(&self, id: &str) -> Vec<u8> {
        let response = self.send(self.request(Method::GET, &format!("/jobs/{id}/download?timeout=120")));
        assert_eq!(response.status().as_u16(), 200, "{:?}", self.get(&format!("/jobs/{id}")));
        self.runtime.block_on(response.bytes()).expect("a body").to_vec()
    }

    /// Waits until a job is as `is`.
    pub fn wait(&self, id: &str, is: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let (status, job) = self.get(&format!("/jobs/{id}"));
            assert_eq!(status, 200, "{job}");
            if is(&job) {
                return job;
            }
            assert!(start.elapsed() < PATIENCE, "{job}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Number of its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Kills it, as `kill -9` does.
    pub fn kill(&mut self) {
        self.process.kill().expect("a process");
    }

    /// Asks it to end, as a service manager does; returns its exit code.
    pub fn terminate(&mut self) -> Option<i32> {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill").success());
        self.process.wait().expect("an end").code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Samples and rate of a wav that must be whole.
pub fn decode(wav: &[u8]) -> (Vec<i16>, u32) {
    let mut reader = hound::WavReader::new(wav).expect("a wav");
    let rate_hz = reader.spec().sample_rate;
    assert_eq!(reader.len() as usize * 2 + 44, wav.len(), "not whole");
    (reader.samples().collect::<Result<_, _>>().expect("samples"), rate_hz)
}

/// The usual pitch of joe in Hz (`models/default/README.md`).
pub const JOES_HZ: f32 = 92.0;

/// All that a source says, whatever its rates.
pub fn say(runtime: &Runtime, source: &str, text: &str, manner: Manner) -> syrinx::Result<Recording> {
    let source = SourceChoice { source: source.to_owned(), ..SourceChoice::default() }.open()?;
    let mut speech = Speech::of_text(runtime.handle(), source, text, manner);
    let mut said = Recording { samples: Vec::new(), sample_rate_hz: 0 };
    while let Some(piece) = runtime.block_on(speech.next())? {
        said.sample_rate_hz = piece.rate_hz;
        said.samples.extend(piece.samples);
    }
    Ok(said)
}

/// How espeak-ng speaks as a woman.
pub fn high() -> Manner {
    Manner { voice: Some("en+f3".into()), ..Manner::default() }
}

/// The usual pitch of speech in Hz.
pub fn pitch_hz(speech: &Recording) -> f32 {
    let audio = prepare(speech).expect("a rate");
    median_hz(&Yin::default().f0(&audio).expect("a track").f0_hz).expect("something voiced")
}

/// Semitones from one pitch to another.
pub fn semitones(from_hz: f32, to_hz: f32) -> f32 {
    12.0 * (to_hz / from_hz).log2()
}

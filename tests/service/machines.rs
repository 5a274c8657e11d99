//! Several machines: services and workers with data of their own, which share a queue and blobs and nothing else.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::servers::*;
use crate::support::*;

/// Tells how often each job was completed: a table of the test's own, filled by the database itself.
const AUDIT: &str = "
CREATE TABLE audit (id TEXT);
CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN INSERT INTO audit VALUES (NEW.id); RETURN NULL; END $$;
CREATE TRIGGER audit AFTER UPDATE ON syrinx_jobs FOR EACH ROW
  WHEN (NEW.state = 'completed' AND OLD.state != 'completed') EXECUTE FUNCTION audit();";

/// What machines share, and the folders of each.
struct Machines {
    postgres: Arc<PostgresServer>,
    database: String,
    objects: ObjectServer,
    folders: TempDir,
}

impl Machines {
    fn with(postgres: Arc<PostgresServer>) -> Self {
        let database = postgres.database();
        Self { postgres, database, objects: ObjectServer::start(), folders: tempfile::tempdir().expect("a folder") }
    }

    fn new() -> Self {
        Self::with(PostgresServer::shared())
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.folders.path().join(name)
    }

    /// `syrinx` as `machine` runs it: by configuration alone, without secrets among its arguments.
    fn command(&self, machine: &str, subcommand: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin("syrinx"));
        command.arg(subcommand).arg("--data").arg(self.folder(machine)).args(arguments);
        command.args(["--queue", &self.postgres.url(&self.database), "--blobs", &format!("s3://{BUCKET}/test")]);
        command.arg("--encoder").arg(data("hubert_small_v1.weights.safetensors")).env("PGPASSWORD", PASSWORD);
        command.env("SYRINX_MODELS", self.folder("models")).env_remove("SYRINX_TOKEN").envs(self.objects.environment());
        command
    }

    /// A service whose jobs other machines do.
    fn serve(&self, machine: &str) -> Server {
        let arguments = ["--listen", "127.0.0.1:0", "--workers", "0", "--no-default-voice"];
        Server::run(self.command(machine, "serve", &arguments))
    }

    fn work(&self, machine: &str) -> Worker {
        Worker::run(self.command(machine, "worker", &["--no-default-voice"]))
    }

    /// Where a machine keeps the voices that it has fetched.
    fn voices(&self, machine: &str) -> PathBuf {
        self.folder(machine).join("shared-voices")
    }

    fn query(&self, statement: &str) -> String {
        self.postgres.query(&self.database, statement)
    }

    /// Names of the results in the bucket.
    fn results(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.objects.folder("test")).expect("a folder");
        let names = entries.map(|entry| entry.expect("an entry").path());
        let results = names.filter(|name| name.extension().is_some_and(|extension| extension == "wav"));
        results.map(|name| name.display().to_string()).collect()
    }
}

/// A worker in a process of its own. Dropping it kills it, as `kill -9` does.
struct Worker(Child);

impl Worker {
    fn run(mut command: Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).spawn().expect("the program");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
        assert!(line.starts_with("taking jobs from postgres://syrinx@127.0.0.1:"), "{line:?}");
        Self(process)
    }

    /// Asks it to end, as a service manager does; returns its exit code.
    fn terminate(&mut self) -> Option<i32> {
        assert!(Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status().expect("kill").success());
        self.0.wait().expect("an end").code()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn submit(server: &Server, voice: &str, text: &str) -> String {
    let wish = json!({ "text": text, "rvc_model_id": voice, "rvc_f0_method": "yin", "rvc_pitch": 0 });
    let (status, job) = server.post("/jobs", &wish);
    assert_eq!(status, 202, "{job}");
    job["id"].as_str().expect("an id").to_owned()
}

/// Samples of a job's result, which must be whole and heard.
fn result(server: &Server, job: &str) -> Vec<i16> {
    let (samples, rate_hz) = decode(&server.download(job));
    assert!(rate_hz == 32_000 && samples.iter().any(|sample| sample.abs() > 300), "{job}");
    samples
}

fn is_at_work(job: &Value) -> bool {
    job["status"] == "processing" && job["progress"].as_f64().is_some_and(|share| share > 0.02)
}

#[test]
fn two_workers_share_the_jobs_and_when_one_is_killed_the_other_does_its_job_once() {
    let machines = Machines::new();
    let server = machines.serve("server");
    machines.query(AUDIT);
    let voice = server.upload("small", VOICE);
    let (one, other) = (machines.work("one"), machines.work("other"));
    // The first two take as long as it needs to kill a worker in the middle.
    let counts = [40, 40, 1, 2, 3, 4];
    let jobs: Vec<String> = counts.iter().map(|count| submit(&server, &voice, &TEXT.repeat(*count))).collect();
    jobs[..2].iter().for_each(|job| drop(server.wait(job, is_at_work)));
    let holders = machines.query("SELECT count(DISTINCT holder) FROM syrinx_jobs WHERE state = 'processing'");
    assert_eq!(holders, "2", "each worker has one");
    drop(one);
    let lengths: Vec<usize> = jobs.iter().map(|job| result(&server, job).len()).collect();
    // Each holds what was asked for: the two long ones alike, though one was begun twice.
    assert!(lengths[0] == lengths[1] && lengths[2..].is_sorted() && lengths[0] > 9 * lengths[5], "{lengths:?}");
    let attempts: Vec<u64> =
        jobs.iter().map(|job| server.get(&format!("/jobs/{job}")).1["attempts"].as_u64().expect("a number")).collect();
    assert_eq!((attempts.iter().filter(|attempts| **attempts == 2).count(), attempts.iter().sum::<u64>()), (1, 7));
    assert_eq!(machines.query("SELECT count(*), count(DISTINCT id) FROM audit"), "6|6");
    assert_eq!(machines.results().len(), jobs.len(), "{:?}", machines.results());
    // Each machine fetched the voice by its hash.
    for machine in ["one", "other"] {
        let fetched = std::fs::read(machines.voices(machine).join(&voice).join("voice"));
        assert_eq!(fetched.expect("a voice"), bytes(VOICE), "{machine}");
    }
    drop(other);
}

#[test]
fn a_server_that_dies_in_the_middle_is_replaced_by_any_other() {
    let machines = Machines::new();
    let server = machines.serve("server");
    let voice = server.upload("small", VOICE);
    let worker = machines.work("worker");
    let job = submit(&server, &voice, &TEXT.repeat(12));
    server.wait(&job, is_at_work);
    drop(server);
    // One that has seen nothing of it: data of its own, empty.
    let server = machines.serve("other-server");
    assert_eq!(server.get("/rvc-models").1["models"][0]["id"], voice.as_str());
    assert!(result(&server, &job).len() > 32_000 * 20);
    assert_eq!(server.get(&format!("/jobs/{job}")).1["attempts"], 1);
    drop(worker);
}

#[test]
fn a_database_that_crashes_in_the_middle_loses_nothing_and_no_job_is_done_twice() {
    let machines = Machines::with(Arc::new(PostgresServer::start()));
    let server = machines.serve("server");
    machines.query(AUDIT);
    let voice = server.upload("small", VOICE);
    let worker = machines.work("worker");
    let jobs = [8, 1].map(|count| submit(&server, &voice, &TEXT.repeat(count)));
    server.wait(&jobs[0], is_at_work);
    machines.postgres.crash();
    let (status, problem) = server.get(&format!("/jobs/{}", jobs[0]));
    assert_eq!(status, 502, "{problem}");
    assert_eq!(server.get("/ready").0, 503);
    // Long enough for the job to be done, and for its result to wait for the queue.
    std::thread::sleep(Duration::from_secs(8));
    machines.postgres.go_on();
    for job in &jobs {
        result(&server, job);
        assert_eq!(server.get(&format!("/jobs/{job}")).1["attempts"], 1);
    }
    assert_eq!(machines.query("SELECT count(*), count(DISTINCT id) FROM audit"), "2|2");
    assert_eq!(machines.results().len(), 2);
    drop(worker);
}

#[test]
fn a_bucket_that_is_gone_for_a_while_delays_jobs_and_fails_none() {
    let mut machines = Machines::new();
    let server = machines.serve("server");
    let voice = server.upload("small", VOICE);
    let worker = machines.work("worker");
    let before = submit(&server, &voice, &TEXT.repeat(8));
    server.wait(&before, is_at_work);
    let idle = machines.work("idle");
    machines.objects.crash();
    // One of which neither voice nor recording can be had.
    let input = "input-00000000-0000-4000-8000-000000000000";
    let request = json!({ "input": input, "rvc_model_id": voice, "rvc_f0_method": "yin" });
    machines.query(&format!(
        "INSERT INTO syrinx_jobs (id, state, request, priority, created_ms, not_before_ms) \
         VALUES ('waits', 'queued', '{request}', 0, 0, 0)"
    ));
    // Its result is there, and has no place.
    server.wait(&before, |job| job["progress"] == 1.0);
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(server.get(&format!("/jobs/{before}")).1["status"], "processing");
    machines.objects.go_on();
    result(&server, &before);
    assert_eq!(server.get(&format!("/jobs/{before}")).1["attempts"], 1);
    // Now it is known that there is none.
    let waited = server.wait("waits", |job| job["status"] == "failed");
    assert!(waited["error"].as_str().is_some_and(|error| error.contains(input)), "{waited}");
    assert!(waited["attempts"].as_u64().is_some_and(|attempts| attempts > 1), "{waited}");
    drop((worker, idle));
}

#[test]
fn a_worker_that_is_asked_to_end_leaves_its_job_to_the_next_at_once() {
    let machines = Machines::new();
    let server = machines.serve("server");
    let voice = server.upload("small", VOICE);
    let mut worker = machines.work("worker");
    let job = submit(&server, &voice, &TEXT.repeat(12));
    server.wait(&job, is_at_work);
    assert_eq!(worker.terminate(), Some(0));
    // Before any lease is over.
    assert_eq!(server.get(&format!("/jobs/{job}")).1["status"], "queued");
    let worker = machines.work("other");
    server.wait(&job, |job| job["attempts"] == 2);
    result(&server, &job);
    drop(worker);
}

#[test]
fn a_recording_and_a_voice_that_brings_its_encoder_reach_workers_through_a_shared_folder() {
    let machines = Machines::new();
    let blobs = format!("file://{}", machines.folder("shared").display());
    // The whole address is in the environment; no encoder but the voice's own.
    let command = |machine: &str, subcommand: &str, arguments: &[&str]| {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin("syrinx"));
        command.arg(subcommand).arg("--data").arg(machines.folder(machine)).args(arguments).args(["--blobs", &blobs]);
        command.env("SYRINX_QUEUE", machines.postgres.secret_url(&machines.database)).env_remove("SYRINX_TOKEN");
        command.env("SYRINX_MODELS", machines.folder("models"));
        command
    };
    let server = Server::run(command("server", "serve", &["--listen", "127.0.0.1:0", "--workers", "0"]));
    let (_, voices) = server.get("/rvc-models");
    assert_eq!((voices["total"].as_u64(), voices["models"][0]["name"].as_str()), (Some(1), Some("joe")), "{voices}");
    let voice = voices["models"][0]["id"].as_str().expect("an id").to_owned();
    let worker = Worker::run(command("worker", "worker", &[]));
    let audio = bytes("audio/tone_stereo_44k1.flac");
    let fields = [("rvc_model_id", voice.as_str()), ("rvc_f0_method", "yin"), ("rvc_pitch", "0")];
    let (status, job) = server.form("/jobs/convert", &fields, &[("audio", "x.flac", &audio)]);
    assert_eq!(status, 202, "{job}");
    let job = job["id"].as_str().expect("an id");
    let (samples, rate_hz) = decode(&server.download(job));
    assert_eq!(2 * samples.len(), rate_hz as usize);
    assert!(machines.voices("worker").join(&voice).join("encoder/config.json").is_file());

    // Deleted, it is gone everywhere, and is not offered again.
    assert_eq!(server.delete(&format!("/rvc-models/{voice}")), 204);
    assert_eq!(server.form("/jobs/convert", &fields, &[("audio", "x.flac", &audio)]).0, 404);
    drop((server, worker));
    let server = Server::run(command("server", "serve", &["--listen", "127.0.0.1:0", "--workers", "0"]));
    assert_eq!(server.get("/rvc-models").1["total"], 0);
    let worker = Worker::run(command("worker", "worker", &[]));
    assert_eq!(std::fs::read_dir(machines.voices("worker")).expect("a folder").count(), 0);
    drop(worker);
}

#[test]
fn a_recording_is_kept_when_the_answer_about_its_job_was_lost() {
    let (postgres, folder) = (PostgresServer::shared(), tempfile::tempdir().expect("a folder"));
    let (link, database) = (LossyLink::to(&postgres), postgres.database());
    let blobs = folder.path().join("blobs");
    let mut serve = Command::new(assert_cmd::cargo::cargo_bin("syrinx"));
    serve.args(["serve", "--listen", "127.0.0.1:0", "--no-default-voice", "--data"]).arg(folder.path().join("data"));
    serve.arg("--encoder").arg(data("hubert_small_v1.weights.safetensors")).env_remove("SYRINX_TOKEN");
    serve.args(["--blobs", &format!("file://{}", blobs.display())]);
    serve.env("SYRINX_QUEUE", postgres.secret_url_through(&link, &database));
    let server = Server::run(serve);
    let voice = server.upload("small", VOICE);
    let audio = bytes("audio/tone_stereo_44k1.flac");
    let fields = [("rvc_model_id", voice.as_str()), ("rvc_f0_method", "yin"), ("rvc_pitch", "0")];
    link.lose_answer_to("\"rvc_f0_method\":\"yin\"");
    let (status, problem) = server.form("/jobs/convert", &fields, &[("audio", "x.flac", &audio)]);
    assert!(status == 502 && !link.is_waiting(), "{problem}");
    // It was queued nevertheless, and is done.
    let (_, jobs) = server.get("/jobs");
    assert_eq!(jobs["total"], 1, "{jobs}");
    let (samples, rate_hz) = decode(&server.download(jobs["jobs"][0]["id"].as_str().expect("an id")));
    assert_eq!(2 * samples.len(), rate_hz as usize);
}

#[test]
fn voices_that_a_machine_had_alone_are_there_when_it_is_alone_again() {
    let machines = Machines::new();
    let alone = || Server::start(&machines.folder("server"), &[]);
    let voice = alone().upload("small", VOICE);
    let server = machines.serve("server");
    assert_eq!(server.get("/rvc-models").1["total"], 0);
    drop(server);
    let server = alone();
    assert_eq!(server.get("/rvc-models").1["models"][0]["id"], voice.as_str());
    result(&server, &submit(&server, &voice, TEXT));
}

#[test]
fn a_voice_that_was_changed_on_its_way_is_refused() {
    let machines = Machines::new();
    let server = machines.serve("server");
    let voice = server.upload("small", VOICE);
    let blob = machines.objects.folder("test").join(format!("voice-{voice}-0"));
    let mut changed = std::fs::read(&blob).expect("the voice");
    assert_eq!(changed, bytes(VOICE));
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    std::fs::write(&blob, changed).expect("a voice of another");
    let worker = machines.work("worker");
    let job = submit(&server, &voice, TEXT);
    let job = server.wait(&job, |job| job["status"] == "failed");
    assert!(job["error"].as_str().is_some_and(|error| error.contains("bytes of SHA-256")), "{job}");
    assert_eq!(std::fs::read_dir(machines.voices("worker")).expect("a folder").count(), 0);
    drop(worker);
}

#[test]
fn what_was_left_behind_in_the_bucket_is_removed_and_what_others_are_putting_is_not() {
    let machines = Machines::new();
    let server = machines.serve("server");
    let voice = server.upload("small", VOICE);
    let folder = machines.objects.folder("test");
    let (fresh, old) = (Duration::ZERO, Duration::from_hours(2));
    for (name, age) in [
        ("input-00000000-0000-4000-8000-000000000000", fresh),
        ("input-00000000-0000-4000-8000-000000000001", old),
        ("voice-0123456789abcdef-0", fresh),
        ("voice-0123456789abcdee-0", old),
        ("00000000-0000-4000-8000-000000000002-1.wav", fresh),
        ("something-of-someone-else", old),
    ] {
        std::fs::write(folder.join(name), name).expect("a blob");
        let modified = std::time::SystemTime::now() - age;
        File::options().append(true).open(folder.join(name)).expect("a file").set_modified(modified).expect("a time");
    }
    let old_voice = File::options().append(true).open(folder.join(format!("voice-{voice}-0"))).expect("a file");
    old_voice.set_modified(std::time::SystemTime::now() - old).expect("a time");
    let (status, swept) = server.post("/admin/cleanup", &json!({}));
    assert_eq!((status, swept["removed_blobs"].as_u64()), (200, Some(3)), "{swept}");
    let names = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    // The server's own book-keeping.
    names.retain(|name| !name.starts_with(".object"));
    names.sort();
    assert_eq!(
        names,
        [
            "input-00000000-0000-4000-8000-000000000000".to_owned(),
            "owner".to_owned(),
            "something-of-someone-else".to_owned(),
            "voice-0123456789abcdef-0".to_owned(),
            format!("voice-{voice}-0"),
        ]
    );
}

/// Exit code and messages of a program that does not get far.
fn refused(command: Command) -> (i32, String) {
    let output = assert_cmd::Command::from_std(command).timeout(Duration::from_mins(1)).output().expect("the program");
    (output.status.code().expect("an end of its own"), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn what_cannot_be_reached_is_told_at_the_start_by_name_and_what_to_do() {
    let machines = Machines::new();
    let with = |name: &str, value: &str| {
        let mut command = machines.command("worker", "worker", &[]);
        command.env(name, value);
        refused(command)
    };
    let alone = |arguments: &[&str]| {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin("syrinx"));
        command.args(arguments).arg("--data").arg(machines.folder("alone")).env("PGPASSWORD", PASSWORD);
        refused(command)
    };
    let blobs = format!("file://{}", machines.folder("blobs").display());
    let url = machines.postgres.url(&machines.database);
    let none = "postgres://syrinx@127.0.0.1:1/x";
    let secret = machines.postgres.secret_url(&machines.database);
    for ((code, told), (expected, says)) in [
        (alone(&["worker", "--queue", none, "--blobs", &blobs]), (69, "postgres://syrinx@127.0.0.1:1/x: ")),
        (alone(&["worker", "--queue", none, "--blobs", &blobs]), (69, "does it run")),
        (with("PGPASSWORD", "wrong"), (69, "password authentication failed")),
        (with("AWS_ENDPOINT_URL", "http://127.0.0.1:1"), (69, "s3://voices-and-results/test: ")),
        (with("AWS_SECRET_ACCESS_KEY", "wrong"), (69, "AWS_SECRET_ACCESS_KEY")),
        (alone(&["worker", "--queue", &secret, "--blobs", &blobs]), (64, "PGPASSWORD")),
        (alone(&["worker"]), (64, "--queue: expected")),
        (alone(&["worker", "--blobs", &blobs]), (64, "--queue: expected")),
        (alone(&["serve", "--queue", &url]), (64, "--blobs: expected")),
        (alone(&["serve", "--workers", "0"]), (64, "--workers: expected at least 1")),
    ] {
        assert!(code == expected && told.contains(says), "{code}: {told}");
        assert!(!told.contains(RECOGNISED) && !told.contains("%70"), "{told}");
    }
    // Blobs of another queue would be taken for left behind.
    drop(machines.serve("server"));
    let other = Machines { objects: machines.objects, ..Machines::new() };
    let (code, told) = refused(other.command("other", "worker", &[]));
    assert!(code == 64 && told.contains("--blobs: expected a place that belongs to this --queue"), "{told}");
}

#[test]
fn secrets_are_neither_among_a_programs_arguments_nor_in_its_log() {
    let machines = Machines::new();
    let log = machines.folder("log");
    let mut command = machines.command("server", "serve", &["--listen", "127.0.0.1:0", "--no-default-voice"]);
    // Everything that it and its libraries tell.
    command.env("SYRINX_LOG", "trace").stderr(File::create(&log).expect("a log"));
    let server = Server::run(command);
    let voice = server.upload("small", VOICE);
    result(&server, &submit(&server, &voice, TEXT));
    let arguments = std::fs::read(Path::new("/proc").join(server.id().to_string()).join("cmdline")).expect("arguments");
    let arguments = String::from_utf8_lossy(&arguments).into_owned();
    let told = std::fs::read_to_string(log).expect("a log");
    assert!(arguments.contains("--queue") && told.len() > 10_000, "{} letters of log", told.len());
    for secret in [RECOGNISED, SECRET_KEY] {
        assert!(!arguments.contains(secret) && !told.contains(secret), "{secret}");
    }
    assert_eq!(server.send(server.request(Method::GET, "/ready")).status(), 200);
}

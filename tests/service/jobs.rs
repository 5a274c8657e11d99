//! Jobs: text and recordings in, results out.

use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::*;

#[test]
fn a_text_is_said_in_a_voice_and_can_be_had_in_every_format() {
    let (server, _folder, id) = Server::with_voice(&[]);
    let wish = json!({ "text": TEXT, "rvc_model_id": id, "rvc_pitch": 3, "rvc_f0_method": "harvest" });
    let (status, job) = server.post("/jobs", &wish);
    assert_eq!((status, job["text"].as_str(), job["rvc_pitch"].as_f64()), (202, Some(TEXT), Some(3.0)), "{job}");
    let id = job["id"].as_str().expect("an id");
    let (samples, rate_hz) = decode(&server.download(id));
    let seconds = samples.len() as f64 / f64::from(rate_hz);
    assert!(rate_hz == 32_000 && (2.5..8.0).contains(&seconds), "{seconds} s at {rate_hz} Hz");
    assert!(samples.iter().any(|sample| sample.abs() > 300));
    let job = server.wait(id, |job| job["status"] == "completed");
    assert_eq!((job["progress"].as_f64(), job["attempts"].as_u64()), (Some(1.0), Some(1)));
    assert!((job["outcome"]["duration_seconds"].as_f64().expect("seconds") - seconds).abs() < 1e-6, "{job}");

    let (_, formats) = server.get(&format!("/jobs/{id}/formats"));
    assert_eq!(formats["ready"], true);
    for (format, magic) in [("flac", &b"fLaC"[..]), ("mp3", b""), ("ogg", b"OggS"), ("opus", b"OggS"), ("m4a", b"")] {
        let response = server.send(server.request(Method::GET, &format!("/jobs/{id}/download?format={format}")));
        assert_eq!(response.status(), 200, "{format}");
        let bytes = server.runtime.block_on(response.bytes()).expect("a body");
        assert!(bytes.starts_with(magic) && bytes.len() > 2000, "{format}: {} bytes", bytes.len());
    }
    assert_eq!(server.get(&format!("/jobs/{id}/download?format=wma")).0, 422);
    assert_eq!(server.delete(&format!("/jobs/{id}")), 204);
    assert_eq!(server.get(&format!("/jobs/{id}")).0, 404);
}

#[test]
fn a_recording_is_converted_to_its_own_length() {
    let (server, folder, id) = Server::with_voice(&[]);
    let audio = bytes("audio/tone_stereo_44k1.flac");
    let fields = [("rvc_model_id", id.as_str()), ("rvc_f0_method", "yin"), ("rvc_index_rate", "0.5")];
    let (status, job) = server.form("/jobs/convert", &fields, &[("audio", "x.flac", &audio)]);
    assert_eq!((status, job["is_conversion"].as_bool()), (202, Some(true)), "{job}");
    let id = job["id"].as_str().expect("an id");
    let (samples, rate_hz) = decode(&server.download(id));
    assert_eq!((samples.len(), rate_hz), (16_000, 32_000));
    assert_eq!(server.delete(&format!("/jobs/{id}")), 204);
    assert_eq!(std::fs::read_dir(folder.path().join("blobs")).expect("a folder").count(), 0);
    let (status, problem) = server.form("/jobs/convert", &fields, &[("audio", "x.wav", b"noise")]);
    assert_eq!(status, 400, "{problem}");
    assert_eq!(server.form("/jobs/convert", &fields[1..], &[("audio", "x.flac", &audio)]).0, 422);
}

#[test]
fn forms_and_json_are_the_same_and_bad_fields_are_refused_by_name() {
    let (server, _folder, id) = Server::with_voice(&[]);
    let request = server.request(Method::POST, "/jobs");
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let form = format!("text=Hello+there.&rvc_model_id={id}&rvc_pitch=-2&enable_rvc=true&rvc_filter_radius=2");
    let (status, job) = server.read(server.send(request.body(form)));
    assert_eq!(
        (status, job["rvc_pitch"].as_f64(), job["enable_rvc"].as_bool()),
        (202, Some(-2.0), Some(true)),
        "{job}"
    );
    for (wish, status, told) in [
        (json!({ "text": "" }), 422, "text: expected 1 to 10000"),
        (json!({ "text": "x".repeat(10_001) }), 422, "text: expected 1 to 10000"),
        (json!({ "text": "x", "rvc_pitch": 13 }), 422, "rvc_pitch: expected -12 to 12, found 13"),
        (json!({ "text": "x", "rvc_pitch": "high" }), 422, ""),
        (json!({ "text": "x", "rvc_protect": 0.6 }), 422, "rvc_protect"),
        (json!({ "text": "x", "priority": 11 }), 422, "priority"),
        (json!({ "text": "x", "source_language": "en", "target_language": "pt" }), 422, "nothing is translated"),
        (json!({ "text": "x", "rvc_model_id": "none" }), 404, "voice `none` not found"),
    ] {
        let (found, problem) = server.post("/jobs", &wish);
        assert_eq!(found, status, "{problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(told)), "{problem}");
    }
    let request = server.request(Method::POST, "/jobs").header("content-type", "application/json").body("{");
    assert_eq!(server.read(server.send(request)).0, 400);
    assert_eq!(server.read(server.send(server.request(Method::POST, "/jobs").body("x"))).0, 415);
    assert_eq!(server.get("/jobs?limit=0").0, 422);
    assert_eq!(server.get("/jobs?status=lost").0, 422);
}

#[test]
fn waiting_cancelling_idempotency_and_limits() {
    let (server, _folder, id) = Server::with_voice(&["--max-queue", "2"]);
    let long = json!({ "text": TEXT.repeat(60), "rvc_model_id": id, "rvc_f0_method": "yin" });
    let (_, running) = server.post("/jobs", &long);
    let running = running["id"].as_str().expect("an id").to_owned();
    server.wait(&running, |job| job["status"] == "processing");
    assert_eq!(server.get(&format!("/jobs/{running}/download")).0, 425);
    assert_eq!(server.get(&format!("/jobs/{running}/download?timeout=1")).0, 408);
    assert_eq!(server.get(&format!("/jobs/{running}/download?timeout=601")).0, 422);

    let wish = |text: &str, key: &str| {
        let request = server.request(Method::POST, "/jobs").header("content-type", "application/json");
        server.read(server.send(request.header("idempotency-key", key).body(json!({ "text": text }).to_string())))
    };
    let (status, first) = wish("One.", "a");
    assert_eq!(status, 202);
    assert_eq!(wish("One.", "a"), (200, first));
    assert_eq!(wish("Two.", "a").0, 409);
    assert_eq!(wish("Three.", "c").0, 202);
    let request = server.request(Method::POST, "/jobs").header("content-type", "application/json");
    let full = server.send(request.body(json!({ "text": "Four." }).to_string()));
    assert_eq!(full.status(), 429);
    assert_eq!(full.headers()["retry-after"], "5");

    let (status, cancelled) = server.post(&format!("/jobs/{running}/cancel"), &json!({}));
    assert_eq!(
        (status, cancelled["status"].as_str(), cancelled["error"].as_str()),
        (200, Some("failed"), Some("cancelled"))
    );
    assert_eq!(server.post(&format!("/jobs/{running}/cancel"), &json!({})).0, 409);
    assert_eq!(server.get(&format!("/jobs/{running}/download")).0, 409);
    // The worker goes on to the next.
    let (_, jobs) = server.get("/jobs?status=queued");
    for job in jobs["jobs"].as_array().expect("jobs") {
        server.download(job["id"].as_str().expect("an id"));
    }
}

#[test]
fn progress_is_told_as_events_until_the_job_is_over() {
    let (server, _folder, id) = Server::with_voice(&[]);
    let wish = json!({ "text": TEXT.repeat(8), "rvc_model_id": id, "rvc_f0_method": "yin" });
    let (_, job) = server.post("/jobs", &wish);
    let path = format!("/jobs/{}/events", job["id"].as_str().expect("an id"));
    let response = server.send(server.request(Method::GET, &path));
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let body = server.runtime.block_on(response.text()).expect("events that end");
    let shares: Vec<f64> = body
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| {
            serde_json::from_str::<serde_json::Value>(data).expect("JSON")["progress"].as_f64().expect("a share")
        })
        .collect();
    assert!(shares.is_sorted() && shares.last() == Some(&1.0), "{shares:?}");
    assert!(body.contains("event: completed"), "{body}");
    assert_eq!(server.get("/jobs/none/events").0, 404);
}

#[test]
fn results_expire() {
    // A five-hundredth of an hour.
    let (server, folder, _) = Server::with_voice(&["--keep", "0.0005"]);
    let (_, job) = server.post("/jobs", &json!({ "text": "Hello." }));
    let id = job["id"].as_str().expect("an id");
    server.download(id);
    std::thread::sleep(Duration::from_secs(2));
    let (_, cleaned) = server.post("/admin/cleanup", &json!({}));
    assert_eq!(cleaned["expired_jobs"], 1, "{cleaned}");
    assert_eq!(server.get(&format!("/jobs/{id}")).0, 410);
    assert_eq!(server.get(&format!("/jobs/{id}/download")).0, 410);
    assert_eq!(server.get("/jobs").1["total"], 0);
    assert_eq!(std::fs::read_dir(folder.path().join("blobs")).expect("a folder").count(), 0);
    // A week later no one knows of it.
    let database = database(folder.path());
    let age = |days: i64| {
        let age = format!("UPDATE jobs SET expires_ms = expires_ms - {days} * 86400000");
        assert_eq!(database.execute(&age, []).expect("a job"), 1);
        assert_eq!(server.post("/admin/cleanup", &json!({})).0, 200);
        server.get(&format!("/jobs/{id}")).0
    };
    assert_eq!((age(6), age(2)), (410, 404));
}

/// The database of a service that runs.
fn database(folder: &Path) -> rusqlite::Connection {
    let database = rusqlite::Connection::open(folder.join("syrinx.db")).expect("a database");
    database.busy_timeout(Duration::from_secs(5)).expect("patience");
    database
}

/// Twenty minutes of speech, which take the worker much longer than it may take to end.
fn long_recording() -> Vec<u8> {
    let mut reader = hound::WavReader::open(data("audio/speech1.wav")).expect("a recording");
    let (spec, samples) = (reader.spec(), reader.samples::<i16>().map(|sample| sample.expect("a sample")));
    let samples: Vec<i16> = samples.collect();
    let count = 20 * 60 * spec.sample_rate as usize * usize::from(spec.channels);
    let mut wav = std::io::Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut wav, spec).expect("a wav");
    samples.iter().cycle().take(count).for_each(|sample| writer.write_sample(*sample).expect("a sample"));
    writer.finalize().expect("a wav");
    wav.into_inner()
}

/// Has a long recording converted, and waits until the worker is at it.
fn convert_long(server: &Server, voice: &str) -> String {
    let fields = [("rvc_model_id", voice), ("rvc_f0_method", "yin"), ("rvc_pitch", "0")];
    let (status, job) = server.form("/jobs/convert", &fields, &[("audio", "long.wav", &long_recording())]);
    assert_eq!(status, 202, "{job}");
    let id = job["id"].as_str().expect("an id").to_owned();
    server.wait(&id, |job| job["progress"].as_f64().is_some_and(|share| share > 0.05));
    id
}

fn moment_ms(database: &rusqlite::Connection, column: &str, id: &str) -> i64 {
    let query = format!("SELECT {column} FROM jobs WHERE id = ?1");
    database.query_row(&query, [id], |row| row.get(0)).expect("a moment")
}

/// Milliseconds within which work ends, on a machine that does other things: about a second where it does not.
const SOON_MS: i64 = 5000;

#[test]
fn a_long_conversion_ends_soon_after_it_is_cancelled_or_its_lease_is_lost() {
    let (server, folder, voice) = Server::with_voice(&[]);
    let database = database(folder.path());
    let begin_next = || {
        let (status, job) = server.post("/jobs", &json!({ "text": "Yes." }));
        assert_eq!(status, 202, "{job}");
        job["id"].as_str().expect("an id").to_owned()
    };
    let cancelled = convert_long(&server, &voice);
    let next = begin_next();
    assert_eq!(server.post(&format!("/jobs/{cancelled}/cancel"), &json!({})).0, 200);
    server.download(&next);
    // The only worker was at the long one.
    let took = moment_ms(&database, "started_ms", &next) - moment_ms(&database, "finished_ms", &cancelled);
    assert!((0..SOON_MS).contains(&took), "{took} ms");

    let lost = convert_long(&server, &voice);
    let next = begin_next();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a moment").as_millis() as i64;
    // As if another had taken it over.
    let take = "UPDATE jobs SET attempt = attempt + 1, lease_ms = lease_ms + 600000 WHERE id = ?1";
    assert_eq!(database.execute(take, [&lost]).expect("a job"), 1);
    server.download(&next);
    let took = moment_ms(&database, "started_ms", &next) - now;
    assert!((0..SOON_MS).contains(&took), "{took} ms");
    assert_eq!(server.get(&format!("/jobs/{lost}")).1["status"], "processing");
    let blobs = std::fs::read_dir(folder.path().join("blobs")).expect("a folder");
    let blobs = blobs.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    let results: Vec<String> = blobs.filter(|name| name.starts_with(&cancelled) || name.starts_with(&lost)).collect();
    assert!(results.is_empty(), "{results:?}");
}

#[test]
fn asked_to_end_in_a_long_conversion_the_service_ends_soon_and_does_it_again_next_time() {
    let (mut server, folder, voice) = Server::with_voice(&["--grace", "60"]);
    let long = convert_long(&server, &voice);
    let asked = std::time::Instant::now();
    assert_eq!(server.terminate(), Some(0));
    let took = asked.elapsed();
    assert!(took < Duration::from_millis(SOON_MS as u64), "{took:?}");
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    let query = "SELECT state, attempt, released FROM jobs WHERE id = ?1";
    let found: (String, i64, i64) = database(folder.path()).query_row(query, [&long], row).expect("a job");
    assert_eq!(found, ("queued".into(), 1, 1));
    let kept = std::fs::read_dir(folder.path().join("blobs")).expect("a folder");
    let kept: Vec<_> = kept.map(|entry| entry.expect("an entry").file_name()).collect();
    assert_eq!(kept, [format!("input-{long}").as_str()]);
    let server = Server::start(folder.path(), &[]);
    let job: Value = server.wait(&long, |job| job["status"] == "processing");
    assert_eq!(job["attempts"], 2);
    assert_eq!(server.delete(&format!("/jobs/{long}")), 204);
}

/// Name and niceness of each thread of a process.
#[cfg(target_os = "linux")]
fn threads(pid: u32) -> Vec<(String, i32)> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("threads");
    let thread = |task: std::io::Result<std::fs::DirEntry>| {
        // It may have ended.
        let told = std::fs::read_to_string(task.ok()?.path().join("stat")).ok()?;
        let (before, fields) = told.rsplit_once(')')?;
        let (_, name) = before.split_once('(')?;
        Some((name.to_owned(), fields.split_whitespace().nth(16)?.parse().ok()?))
    };
    tasks.filter_map(thread).collect()
}

#[cfg(target_os = "linux")]
#[test]
fn only_what_converts_for_jobs_lets_others_go_first() {
    let (server, _folder, id) = Server::with_voice(&["--threads", "3"]);
    let (_, job) = server.post("/jobs", &json!({ "text": TEXT, "rvc_model_id": id, "rvc_f0_method": "yin" }));
    server.download(job["id"].as_str().expect("an id"));
    let (converting, others): (Vec<_>, Vec<_>) =
        threads(server.id()).into_iter().partition(|(name, _)| name == "worker-0-conver");
    assert_eq!(converting.iter().map(|(_, niceness)| *niceness).collect::<Vec<_>>(), [19; 3], "{converting:?}");
    let own = others[0].1;
    assert!(others.iter().all(|(_, niceness)| *niceness == own), "{others:?}");
    assert!(others.iter().any(|(name, _)| name == "worker-0"), "{others:?}");
}

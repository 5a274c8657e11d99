//! Jobs: text and recordings in, results out.

use reqwest::Method;
use serde_json::json;

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
    std::thread::sleep(std::time::Duration::from_secs(2));
    let (_, cleaned) = server.post("/admin/cleanup", &json!({}));
    assert_eq!(cleaned["expired_jobs"], 1, "{cleaned}");
    assert_eq!(server.get(&format!("/jobs/{id}")).0, 410);
    assert_eq!(server.get(&format!("/jobs/{id}/download")).0, 410);
    assert_eq!(server.get("/jobs").1["total"], 0);
    assert_eq!(std::fs::read_dir(folder.path().join("blobs")).expect("a folder").count(), 0);
}

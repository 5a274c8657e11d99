//! What becomes of jobs and data when things break.

use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::support::*;

/// Files of results and uploads.
fn blobs(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder.join("blobs")).expect("a folder");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn jobs_survive_being_killed_at_any_moment_and_are_finished_once_and_whole() {
    let (server, folder, id) = Server::with_voice(&[]);
    let texts: Vec<String> = (1..=6).map(|count| TEXT.repeat(count)).collect();
    let jobs: Vec<String> = texts
        .iter()
        .map(|text| {
            let (status, job) =
                server.post("/jobs", &json!({ "text": text, "rvc_model_id": id, "rvc_f0_method": "yin" }));
            assert_eq!(status, 202);
            job["id"].as_str().expect("an id").to_owned()
        })
        .collect();
    let mut server = Some(server);
    // Kills spread over what a job takes: while it is claimed, said, converted, written, completed.
    for wait_ms in [0, 30, 80, 150, 250, 400, 600, 900] {
        std::thread::sleep(Duration::from_millis(wait_ms));
        drop(server.take());
        server = Some(Server::start(folder.path(), &[]));
    }
    let server = server.expect("a server");
    let mut lengths = Vec::new();
    for id in &jobs {
        let (samples, rate_hz) = decode(&server.download(id));
        assert!(rate_hz == 32_000 && samples.iter().any(|sample| sample.abs() > 300));
        lengths.push(samples.len());
    }
    // Each holds what was asked for.
    assert!(lengths.is_sorted() && lengths[5] > 4 * lengths[0], "{lengths:?}");
    server.post("/admin/cleanup", &json!({}));
    assert_eq!(blobs(folder.path()).len(), jobs.len(), "{:?}", blobs(folder.path()));
}

#[test]
fn an_upload_that_is_cut_off_by_a_kill_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path(), &[]);
    // Half of a voice, and then nothing more.
    let address = server.address.strip_prefix("http://").expect("an address").to_owned();
    let mut connection = std::net::TcpStream::connect(address).expect("a connection");
    let head = "POST /rvc-models HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=B\r\n\
                Content-Length: 1000000\r\n\r\n--B\r\nContent-Disposition: form-data; name=\"pth_file\"; filename=\"v.pth\"\r\n\r\n";
    std::io::Write::write_all(&mut connection, head.as_bytes()).expect("a head");
    std::io::Write::write_all(&mut connection, &bytes(VOICE)[..20_000]).expect("half a voice");
    let voices = folder.path().join("voices");
    let start = std::time::Instant::now();
    while std::fs::read_dir(&voices).expect("a folder").count() == 0 {
        assert!(start.elapsed() < Duration::from_secs(10), "nothing is received");
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(server);
    let server = Server::start(folder.path(), &[]);
    assert_eq!(std::fs::read_dir(&voices).expect("a folder").count(), 0);
    server.upload("small", VOICE);
}

#[test]
fn a_voice_that_is_deleted_while_a_job_uses_it_is_used_to_the_end() {
    let (server, _folder, id) = Server::with_voice(&[]);
    let wish = json!({ "text": TEXT.repeat(6), "rvc_model_id": id, "rvc_f0_method": "yin" });
    let (_, job) = server.post("/jobs", &wish);
    let job = job["id"].as_str().expect("an id").to_owned();
    server.wait(&job, |job| job["progress"].as_f64().is_some_and(|share| share > 0.02));
    assert_eq!(server.delete(&format!("/rvc-models/{id}")), 204);
    assert_eq!(server.post("/jobs", &wish).0, 404);
    decode(&server.download(&job));
}

#[test]
fn speech_that_is_cut_off_by_a_kill_does_not_seem_whole_and_the_next_start_speaks() {
    let (mut server, folder, id) = Server::with_voice(&[]);
    let speak = |server: &Server, text: &str| {
        let body = json!({ "input": text, "voice": id, "response_format": "pcm", "rvc_f0_method": "yin" });
        let request = server.request(Method::POST, "/v1/audio/speech").header("content-type", "application/json");
        server.send(request.body(body.to_string()))
    };
    let mut response = speak(&server, &TEXT.repeat(50));
    server.runtime.block_on(response.chunk()).expect("a chunk").expect("speech");
    server.kill();
    // What was on its way comes still.
    let end = loop {
        match server.runtime.block_on(response.chunk()) {
            Ok(Some(_)) => {}
            end => break end,
        }
    };
    assert!(end.is_err(), "it seems to be whole");
    drop(server);
    let server = Server::start(folder.path(), &[]);
    let response = speak(&server, "Hello again.");
    assert_eq!(response.status().as_u16(), 200);
    assert!(server.runtime.block_on(response.bytes()).expect("speech").len() > 20_000);
}

#[test]
fn asked_to_end_it_lets_streams_end_and_leaves_jobs_to_the_next_start() {
    let (mut server, folder, id) = Server::with_voice(&["--grace", "60"]);
    let wish = json!({ "text": TEXT.repeat(40), "rvc_model_id": id, "rvc_f0_method": "yin" });
    let (_, job) = server.post("/jobs", &wish);
    let job = job["id"].as_str().expect("an id").to_owned();
    server.wait(&job, |job| job["status"] == "processing");
    let body = json!({ "input": TEXT, "voice": id, "response_format": "pcm", "rvc_f0_method": "yin" });
    let request = server.request(Method::POST, "/v1/audio/speech").header("content-type", "application/json");
    let mut response = server.send(request.body(body.to_string()));
    let first = server.runtime.block_on(response.chunk()).expect("a chunk").expect("a chunk");
    let reading = server.runtime.spawn(async move {
        let mut length = first.len();
        while let Some(chunk) = response.chunk().await.expect("a stream that ends well") {
            length += chunk.len();
        }
        length
    });
    assert_eq!(server.terminate(), Some(0));
    let length = server.runtime.block_on(reading).expect("a reader");
    assert!(length > 2 * 32_000 * 5 / 2, "{length} bytes");
    let server = Server::start(folder.path(), &[]);
    assert!(
        ["queued", "processing"].contains(&server.get(&format!("/jobs/{job}")).1["status"].as_str().expect("a state"))
    );
    assert_eq!(server.delete(&format!("/jobs/{job}")), 204);
}

#[test]
fn a_full_disk_refuses_what_it_cannot_hold_and_delays_results_until_there_is_room() {
    let folder = tempfile::tempdir().expect("a folder");
    // A disk of its own, which goes with the process.
    let mut small = std::process::Command::new("unshare");
    small.args(["--map-root-user", "--mount", "sh", "-c", "mount -t tmpfs -o size=12m none \"$0\" && exec \"$@\""]);
    let serve = command(folder.path(), &[]);
    small.arg(folder.path()).arg(serve.get_program()).args(serve.get_args());
    for (name, value) in serve.get_envs() {
        match value {
            Some(value) => small.env(name, value),
            None => small.env_remove(name),
        };
    }
    let server = Server::run(small);
    let voice = server.upload("small", VOICE);
    let disk = Path::new("/proc")
        .join(server.id().to_string())
        .join("root")
        .join(folder.path().strip_prefix("/").expect("a root"));
    let fill = disk.join("fill");
    let mut file = std::fs::File::create(&fill).expect("a file");
    while std::io::Write::write_all(&mut file, &[0; 4096]).is_ok() {}
    // Room for the row of a job, and not for its result.
    file.set_len(file.metadata().expect("a length").len() - (100 << 10)).expect("room");
    drop(file);
    let wish = json!({ "text": TEXT.repeat(2), "rvc_model_id": voice, "rvc_f0_method": "yin" });
    let (status, job) = server.post("/jobs", &wish);
    assert_eq!(status, 202, "{job}");
    let job = job["id"].as_str().expect("an id");
    let (status, problem) =
        server.form("/rvc-models", &[("name", "other")], &[("pth_file", INDEX, &[7].repeat(2 << 20))]);
    assert_eq!(status, 507, "{problem}");
    // Long enough for it to be done, and to be tried again were it to fail.
    std::thread::sleep(Duration::from_secs(8));
    assert_eq!(server.get(&format!("/jobs/{job}")).1["status"], "processing");
    std::fs::remove_file(fill).expect("room");
    decode(&server.download(job));
    assert_eq!(server.get(&format!("/jobs/{job}")).1["attempts"], 1);
    assert_eq!(server.get("/rvc-models").1["total"], 1);
    let left = std::fs::read_dir(disk.join("blobs")).expect("a folder").count();
    assert_eq!((left, std::fs::read_dir(disk.join("voices")).expect("a folder").count()), (1, 1));
}

#[test]
fn data_that_is_in_use_or_damaged_is_refused_and_left_alone() {
    let (server, folder, _) = Server::with_voice(&[]);
    let refused = |code: i32, told: &str| {
        let mut command = assert_cmd::Command::from_std(command(folder.path(), &[]));
        command.assert().code(code).stderr(predicates::str::contains(told.to_owned()));
    };
    refused(64, "--data: expected a folder that no other service uses");
    drop(server);
    let database = folder.path().join("syrinx.db");
    for name in ["syrinx.db-wal", "syrinx.db-shm"] {
        let _ = std::fs::remove_file(folder.path().join(name));
    }
    std::fs::write(&database, [0x5a; 8192]).expect("damage");
    refused(69, "move it away");
    assert_eq!(std::fs::read(&database).expect("a file"), [0x5a; 8192]);
    // A page that is damaged in the middle of one that is whole.
    std::fs::remove_file(&database).expect("moved away");
    drop(Server::start(folder.path(), &[]));
    let whole = rusqlite::Connection::open(&database).expect("a database");
    whole.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("all in one file");
    drop(whole);
    let mut bytes = std::fs::read(&database).expect("a database");
    let page = bytes.len() / 4096 / 2 * 4096;
    assert!(page > 0, "{} bytes", bytes.len());
    bytes[page..page + 64].fill(0xa5);
    std::fs::write(&database, &bytes).expect("damage");
    refused(69, "move it away");
    assert_eq!(std::fs::read(&database).expect("a file"), bytes);
    // Without the database the voices' files are found again.
    std::fs::remove_file(&database).expect("moved away");
    let server = Server::start(folder.path(), &[]);
    assert_eq!(server.get("/rvc-models").1["total"], 1);
}

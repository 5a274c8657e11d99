//! Who may ask, how often, and how the service tells that it is well.

use reqwest::Method;
use serde_json::json;

use crate::support::*;

#[test]
fn without_a_token_it_does_not_open_to_the_network() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut open = assert_cmd::Command::cargo_bin("syrinx").expect("the program");
    open.args(["serve", "--listen", "0.0.0.0:0", "--data"]).arg(folder.path()).env_remove("SYRINX_TOKEN");
    open.assert().code(64).stderr(predicates::str::contains("--listen: expected an address of this machine only"));
}

#[test]
fn with_a_token_only_who_shows_it_is_answered() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    std::fs::write(&file, "a-long-and-secret-token\n").expect("a file");
    let mut server = Server::start(folder.path(), &["--token-file", file.to_str().expect("a path")]);
    let response = server.send(server.request(Method::GET, "/jobs"));
    assert_eq!(response.status(), 401);
    assert_eq!(response.headers()["www-authenticate"], "Bearer");
    assert_eq!(server.get("/metrics").0, 401);
    assert_eq!(server.get("/health").1["status"], "healthy");
    server.token = Some("a-long-and-secret-tokem".into());
    assert_eq!(server.get("/jobs").0, 401);
    server.token = Some("a-long-and-secret-token".into());
    assert_eq!(server.get("/jobs").0, 200);
}

#[test]
fn who_asks_too_often_is_told_when_to_come_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path(), &["--rate-limit", "5"]);
    let refused =
        (0..20).map(|_| server.send(server.request(Method::GET, "/jobs"))).find(|answer| answer.status() == 429);
    assert_eq!(refused.expect("a refusal").headers()["retry-after"], "1");
    assert_eq!(server.get("/health").0, 200);
}

#[test]
fn every_answer_that_is_no_success_is_a_problem() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path(), &[]);
    for (method, path, status) in [
        (Method::GET, "/nothing", 404),
        (Method::PUT, "/jobs", 405),
        (Method::GET, "/v1/audio/speech", 405),
        (Method::GET, "/jobs?limit=many", 400),
        (Method::POST, "/rvc-models", 400),
        (Method::GET, "/rvc-models/..%2F..%2Fetc%2Fpasswd", 404),
        (Method::DELETE, "/rvc-models/%00", 404),
    ] {
        let (found, problem) = server.read(server.send(server.request(method, path)));
        assert_eq!((found, problem["status"].as_u64()), (status, Some(u64::from(status))), "{path}: {problem}");
    }
    let large = server.request(Method::POST, "/jobs").header("content-type", "application/json");
    assert_eq!(server.read(server.send(large.body(vec![b' '; 2 << 20]))).0, 413);
}

#[test]
fn it_tells_whether_it_is_well_and_what_it_does() {
    let (server, _folder, id) = Server::with_voice(&[]);
    assert_eq!(server.get("/ready"), (200, json!({ "status": "ready" })));
    let (_, voices) = server.get("/voices");
    assert!(voices["total"].as_u64().is_some_and(|total| total > 50), "{voices}");
    assert!(server.get("/languages").1["languages"].as_array().expect("languages").contains(&json!("pt-br")));
    assert_eq!(server.get("/presets").1["total"], voices["total"]);
    server.post("/jobs", &json!({ "text": "Hi.", "rvc_model_id": id, "rvc_f0_method": "yin" }));
    server.wait(server.get("/jobs").1["jobs"][0]["id"].as_str().expect("an id"), |job| job["status"] == "completed");
    let (_, stats) = server.get("/admin/stats");
    assert_eq!((stats["jobs"]["completed"].as_u64(), stats["voices"]["loads"].as_u64()), (Some(1), Some(1)), "{stats}");
    let metrics = server.send(server.request(Method::GET, "/metrics"));
    let metrics = server.runtime.block_on(metrics.text()).expect("a text");
    for line in ["syrinx_service_jobs{state=\"completed\"} 1.0", "syrinx_service_loaded_voices 1.0", "# EOF"] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    let seconds = |name: &str| {
        let value = metrics.lines().find_map(|line| line.strip_prefix(name));
        value.and_then(|value| value.trim().parse::<f64>().ok()).unwrap_or_else(|| panic!("{name}: {metrics}"))
    };
    // One load, and no one has come by the voice again.
    assert!((1e-4..60.0).contains(&seconds("syrinx_service_voice_load_seconds_total")));
    assert_eq!(seconds("syrinx_service_voice_hit_seconds_total"), 0.0);

    let (_, api) = server.get("/openapi.json");
    let paths = api["paths"].as_object().expect("paths");
    assert!(api["openapi"].as_str().is_some_and(|version| version.starts_with("3.")) && paths.len() >= 17);
    for (path, methods) in paths {
        if methods.get("get").is_some() && !path.contains('{') {
            // Which is no request but a handshake.
            let expected = if path == "/stream" { 426 } else { 200 };
            assert_eq!(server.get(path).0, expected, "{path}");
        }
    }
}

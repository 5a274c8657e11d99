//! `examples/service/`, run as it stands.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::*;

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/service").join(name)
}

fn python(name: &str) -> Command {
    let python = std::env::var("SYRINX_TTS_PYTHON").expect("SYRINX_TTS_PYTHON: see `make service-packages`");
    let mut run = Command::new(format!("{python}/bin/python"));
    run.arg(example(name));
    run
}

fn succeed(mut run: Command) -> String {
    let Output { status, stdout, stderr } = run.output().expect("a program");
    let told = String::from_utf8_lossy(&stdout).into_owned();
    assert!(status.success(), "{told}\n{}", String::from_utf8_lossy(&stderr));
    told
}

/// Method and path, parameters as `{}`, of each request in a script of curl lines.
fn requests(script: &str) -> BTreeSet<(String, String)> {
    let script = script.replace("\\\n", " ");
    let request = |line: &str| {
        let (before, path) = line.split_once("\"$at")?;
        let path = path.split(['"', '?']).next()?;
        let parts: Vec<_> = path.split('/').map(|part| if part.starts_with('$') { "{}" } else { part }).collect();
        let words: Vec<_> = before.split_whitespace().collect();
        let method = match words.iter().position(|&word| word == "-X") {
            Some(place) => words[place + 1].to_lowercase(),
            None if words.iter().any(|word| ["-d", "-F"].contains(word)) => "post".into(),
            None => "get".into(),
        };
        Some((method, parts.join("/")))
    };
    script.lines().filter_map(request).collect()
}

#[test]
fn a_curl_line_for_every_endpoint_works() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = command(folder.path(), &[]);
    command.env("SYRINX_TOKEN", "0123456789abcdef-of-the-example");
    let mut server = Server::run(command);
    server.token = Some("0123456789abcdef-of-the-example".into());
    let mut run = Command::new("bash");
    run.arg(example("curl.sh"))
        .arg(data(VOICE))
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/inaugural.wav"));
    run.arg(&server.address).env("SYRINX_TOKEN", "0123456789abcdef-of-the-example");
    let told = succeed(run);
    assert!(told.contains("HTTP/1.1 101"), "{told}");
    for file in ["said.wav", "converted.flac", "speech.wav", "page.html"] {
        let size = told.lines().find(|line| line.ends_with(file)).and_then(|line| line.split_whitespace().nth(4));
        assert!(size.is_some_and(|size| size.parse::<u64>().is_ok_and(|size| size > 5_000)), "{file}: {told}");
    }
    assert_eq!(
        [server.get("/rvc-models").1["total"].clone(), server.get("/jobs").1["total"].clone()],
        [0, 0],
        "{told}"
    );

    let script = std::fs::read_to_string(example("curl.sh")).expect("a script");
    let requests = requests(&script);
    let (_, description) = server.get("/openapi.json");
    let paths = description["paths"].as_object().expect("paths");
    for (path, methods) in paths {
        let path: Vec<_> = path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part }).collect();
        for method in methods.as_object().expect("methods").keys() {
            let request = (method.clone(), path.join("/"));
            assert!(requests.contains(&request), "no line for {request:?}");
        }
    }
    assert!(paths.len() > 15 && requests.len() > 24, "{} paths, {} requests", paths.len(), requests.len());
}

#[test]
fn openais_own_client_speaks_to_it() {
    let (server, folder, _) = Server::with_voice(&[]);
    let output = folder.path().join("out.wav");
    let mut run = python("openai_client.py");
    run.args([&server.address, "small"]).arg(&output);
    succeed(run);
    let wav = std::fs::read(&output).expect("a file");
    assert!(wav.starts_with(b"RIFF") && wav.len() > 60_000, "{} bytes", wav.len());
}

#[test]
fn a_wyoming_client_says_text_that_streams_in() {
    let (server, folder, _) = Server::with_voice(&["--wyoming", "127.0.0.1:0"]);
    let output = folder.path().join("out.wav");
    let say = |voice: &str| {
        let mut run = python("wyoming_client.py");
        run.args([server.wyoming.as_deref().expect("an address"), voice]).arg(&output).arg(TEXT);
        run
    };
    assert!(succeed(say("small")).contains("voices: small"));
    let (samples, rate_hz) = decode(&std::fs::read(&output).expect("a file"));
    let seconds = samples.len() as f64 / f64::from(rate_hz);
    assert!(rate_hz == 32_000 && (2.5..8.0).contains(&seconds), "{seconds} s at {rate_hz} Hz");
    let refused = say("nobody").output().expect("Python");
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("voice `nobody` not found"));
}

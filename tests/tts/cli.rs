//! `syrinx speak`.

use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;

use assert_cmd::Command;
use predicates::str::contains;
use syrinx::io::read::read;

use crate::support::*;

fn arguments(text: &str) -> Vec<String> {
    let fixed = ["speak", text, "--f0", "yin", "--context", "300", "--voice"].map(str::to_owned);
    let voice = data("synth_small_v1_32k.pth").display().to_string();
    let encoder = data("hubert_small_v1.weights.safetensors").display().to_string();
    fixed.into_iter().chain([voice, "--encoder".into(), encoder]).collect()
}

fn speak(text: &str, output: &Path) -> Command {
    let mut command = Command::cargo_bin("syrinx").expect("the program");
    command.args(arguments(text)).arg("-o").arg(output);
    command
}

#[test]
fn text_becomes_a_file_at_the_voices_rate() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["out.wav", "out.flac"] {
        let output = folder.path().join(name);
        let run = speak(TEXT, &output).arg("--json").assert().success();
        let told: serde_json::Value = serde_json::from_slice(&run.get_output().stderr).expect("JSON");
        let recording = read(&output).expect("a recording").recording;
        assert_eq!(recording.sample_rate_hz, 32_000);
        assert!((recording.seconds() - told["audio_seconds"].as_f64().expect("seconds")).abs() < 1e-3, "{told}");
        assert!(peak(&recording.samples) > 0.01 && recording.seconds() > 2.5);
        speak(TEXT, &output).assert().code(64).stderr(contains("--force"));
    }
}

#[test]
fn text_from_standard_input_is_spoken_before_it_has_ended() {
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin("syrinx"));
    command.args(arguments("-")).args(["-o", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = command.spawn().expect("the program");
    let (mut stdin, mut stdout) = (process.stdin.take().expect("a pipe"), process.stdout.take().expect("a pipe"));
    // A sentence, and the beginning of the next that proves its end.
    stdin.write_all("Birds sing. W".as_bytes()).expect("a reader");
    let mut heard = vec![0; 32_000];
    stdout.read_exact(&mut heard).expect("half a second of voice");
    // A line that is left standing is taken as whole.
    stdin.write_all("e listen\n".as_bytes()).expect("a reader");
    stdout.read_exact(&mut heard).expect("more of it");
    drop(stdin);
    stdout.read_to_end(&mut heard).expect("the rest");
    assert!(process.wait().expect("an end").success());
    assert!(heard.chunks_exact(2).any(|pair| i16::from_le_bytes([pair[0], pair[1]]).abs() > 300));
}

#[test]
fn what_cannot_be_said_is_told_and_nothing_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("out.wav");
    for (text, arguments, code, told) in [
        ("Hello.", &["--tts", "siri"][..], 64, "--tts: expected espeak-ng"),
        ("Hello.", &["--tts-speed", "9"], 64, "--tts-speed: expected 0.25 to 4"),
        ("Hello.", &["--tts", "espeak-ng=/nowhere/x"], 69, "/nowhere/x: "),
        ("...", &[], 66, "anything to say"),
        ("Hello.", &["--chunk", "5"], 64, "chunk: expected"),
    ] {
        speak(text, &output).args(arguments).assert().code(code).stderr(contains(told));
        assert!(!output.exists());
    }
}

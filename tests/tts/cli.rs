//! `syrinx speak`.

use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;

use assert_cmd::Command;
use predicates::str::contains;
use syrinx::io::read::read;
use syrinx::tts::{Manner, Speech};

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

/// The usual pitch of joe, who is part of the program (`models/default/README.md`).
const JOES_HZ: f32 = 92.0;

/// What joe makes of a source's speech: its pitch in Hz, and the shift that is told.
fn of_joe(arguments: &[&str]) -> (f32, f32) {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("out.wav");
    let mut command = Command::cargo_bin("syrinx").expect("the program");
    command.args(["speak", TEXT, "--json", "--f0", "swift", "-o"]).arg(&output).args(arguments);
    let run = command.assert().success();
    let told: serde_json::Value = serde_json::from_slice(&run.get_output().stderr).expect("JSON");
    let recording = read(&output).expect("a recording").recording;
    let shift = told["transpose_semitones"].as_f64().expect("a shift") as f32;
    (pitch_hz(&recording.samples, recording.sample_rate_hz), shift)
}

#[test]
fn speech_is_brought_to_the_voices_own_pitch_unless_another_is_wanted() {
    let runtime = runtime();
    let piper = format!("command={} --model {} --output-raw", python().join("bin/piper").display(), model().display());
    for (arguments, manner) in [
        (&["--tts-voice", "en+f3"][..], Manner { voice: Some("en+f3".into()), ..Manner::default() }),
        (&["--tts-voice", "en+m3"], Manner { voice: Some("en+m3".into()), ..Manner::default() }),
        (&["--tts", &piper, "--tts-rate", "22050"], Manner::default()),
    ] {
        let mut choice = choice(if manner.voice.is_some() { "espeak-ng" } else { &piper });
        choice.rate_hz = Some(22_050);
        let mut speech = Speech::of_text(runtime.handle(), choice.open().expect("a source"), TEXT, manner);
        let (mut said, mut rate_hz) = (Vec::new(), 0);
        while let Some(piece) = runtime.block_on(speech.next()).expect("speech") {
            rate_hz = piece.rate_hz;
            said.extend(piece.samples);
        }
        let said_hz = pitch_hz(&said, rate_hz);
        let (hz, shift) = of_joe(arguments);
        eprintln!("{arguments:?}: {said_hz} Hz, shifted by {shift} to {hz} Hz");
        assert!((shift - semitones(said_hz, JOES_HZ)).abs() < 2.0, "{shift} from {said_hz} Hz");
        assert!(semitones(JOES_HZ, hz).abs() < 2.0, "{hz} Hz");
        let (hz, shift) = of_joe(&[arguments, &["--pitch", "1"]].concat());
        assert!(shift == 1.0 && (semitones(said_hz, hz) - 1.0).abs() < 1.0, "{hz} Hz from {said_hz} Hz");
    }
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

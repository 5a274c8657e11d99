//! The program as a script meets it: exit codes, messages, files.

mod conversion;
mod device;
mod latency;
mod live;
mod remote;
mod running;

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;

fn syrinx() -> Command {
    Command::cargo_bin("syrinx").unwrap()
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/audio").join(name)
}

/// `syrinx convert` of one tone into `folder`, with further arguments.
fn convert(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = syrinx();
    command.arg("convert").arg(fixture("tone_mono_16k_s16.wav")).arg("-o").arg(folder.join("out.wav"));
    command.args(["--voice", "no such voice.pth"]).args(arguments);
    command
}

#[test]
fn help_and_version_succeed_on_standard_output() {
    syrinx().arg("--help").assert().success().stdout(contains("convert"));
    syrinx().arg("--version").assert().success().stdout(contains(env!("CARGO_PKG_VERSION")));
    let help = syrinx().args(["convert", "--help"]).assert().success();
    let options = ["--voice", "--index-rate", "--protect", "--noise", "--reference", "--report", "--plot", "--encoder"];
    for option in options {
        assert!(String::from_utf8_lossy(&help.get_output().stdout).contains(option), "{option}");
    }
}

#[test]
fn a_wrong_command_line_exits_with_64_and_says_why_on_standard_error() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, message) in [
        (&["--f0", "magic"][..], "rmvpe"),
        (&["--noise", "white"], "seed:N"),
        (&["--pitch", "50"], "error: --pitch: expected -48 to 48 semitones, found 50"),
        (&["--protect", "0.9"], "error: protect: expected 0 to 0.5, found 0.9"),
        (&["--bits", "24", "--format", "mp3"], "flac"),
        (&["--format", "flac", "--bits", "float"], "error: bits: expected 16 or 24 in a flac file, found float"),
        (&["--reference", "head", "--unvoiced", "zero"], "cannot be used with"),
        (&["--output-rate", "12"], "--output-rate: expected 1000 to 768000 Hz"),
        (&["--threads", "0"], "--threads"),
    ] {
        convert(folder.path(), arguments).assert().code(64).stderr(contains(message)).stdout("");
    }
    syrinx().assert().code(64).stderr(contains("Usage"));
}

#[test]
fn missing_files_exit_with_66_and_name_the_file() {
    let folder = tempfile::tempdir().unwrap();
    convert(folder.path(), &[]).assert().code(66).stderr(contains("no such voice"));
    convert(folder.path(), &["--index", "no such.index"]).assert().code(66).stderr(contains("no such.index"));
    convert(folder.path(), &["no such.wav"]).assert().code(66).stderr(contains("no such.wav"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "a failed run left something");
}

#[test]
fn existing_files_are_kept_unless_forced_and_inputs_always() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("out.wav"), b"kept").unwrap();
    convert(folder.path(), &[]).assert().code(64).stderr(contains("or --force"));
    // With --force the next check is reached: the voice, which is missing.
    convert(folder.path(), &["--force"]).assert().code(66);
    assert_eq!(std::fs::read(folder.path().join("out.wav")).unwrap(), b"kept");

    let own = folder.path().join("own.wav");
    std::fs::copy(fixture("tone_mono_16k_s16.wav"), &own).unwrap();
    let mut command = syrinx();
    command.arg("convert").arg(&own).arg("-o").arg(&own).args(["--voice", "v.pth", "--force"]);
    command.assert().code(64).stderr(contains("another file than the inputs"));
}

#[test]
fn errors_come_as_error_and_help_lines() {
    let folder = tempfile::tempdir().unwrap();
    let lines = predicate::str::is_match("(?s)^error: .*\nhelp: .*\n$").unwrap();
    convert(folder.path(), &["--pitch", "99"]).assert().stderr(lines);
}

#[test]
fn inspect_and_models_tell_what_files_are_as_text_and_json() {
    let voice = fixture("../synth_small_v1_32k.pth");
    syrinx().arg("inspect").arg(&voice).assert().success().stdout(contains("v1").and(contains("32000")));
    let json = syrinx().arg("inspect").arg("--json").arg(&voice).assert().success();
    let json: serde_json::Value = serde_json::from_slice(&json.get_output().stdout).unwrap();
    assert!(json.to_string().contains("\"sample_rate_hz\":32000"), "{json}");
    syrinx().arg("inspect").arg(fixture("tone_mono_16k_s16.wav")).assert().code(65);

    let folder = tempfile::tempdir().unwrap();
    let models = syrinx().args(["models", "--models"]).arg(folder.path()).assert().success();
    let text = String::from_utf8_lossy(&models.get_output().stdout).into_owned();
    assert!(text.contains("hubert_base.pt") && text.contains("rmvpe.pt"), "{text}");
}

#[test]
fn bench_measures_every_stage_of_full_size_networks() {
    let json = syrinx().args(["bench", "--seconds", "0.3", "--repeat", "1", "--json"]).assert().success();
    let json: serde_json::Value = serde_json::from_slice(&json.get_output().stdout).unwrap();
    let names: Vec<&str> =
        json["stages"].as_array().unwrap().iter().filter_map(|stage| stage["name"].as_str()).collect();
    assert_eq!(names, ["source", "pitch", "units", "retrieval", "synthesizer", "sink"]);
    assert!(json["total_rtf"].as_f64().unwrap() > 0.0 && json["load_seconds"]["voice"].as_f64().unwrap() > 0.0);
    // A voice of version 1 reads other units than the untrained encoder's usual ones.
    let voice = fixture("../synth_small_v1_32k.pth");
    let mut version_1 = syrinx();
    version_1.args(["bench", "--seconds", "0.3", "--repeat", "1", "--voice"]).arg(&voice);
    version_1.arg("--pitch-model").arg(fixture("../rmvpe_small.pt")).assert().success().stdout(contains("synthesizer"));
    let mut misfit = syrinx();
    misfit.args(["bench", "--seconds", "0.3", "--voice"]).arg(fixture("../synth_small_v2_40k.pth"));
    misfit.arg("--encoder").arg(fixture("../hubert_small_v1.weights.safetensors")).arg("--pitch-model");
    misfit.arg(fixture("../rmvpe_small.pt")).assert().code(64).stderr(contains("units of 768 values"));
    syrinx().args(["bench", "--seconds", "0"]).assert().code(64).stderr(contains("--seconds: expected 0.1 to 600"));
}

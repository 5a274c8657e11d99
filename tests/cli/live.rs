//! Live conversion by the program, of a recording played as if it were spoken now.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use predicates::str::contains;
use syrinx::io::read::read;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// `syrinx live` with the small voice of version 1.
fn live(input: &Path, output: &Path) -> Command {
    let mut command = Command::cargo_bin("syrinx").expect("the program");
    command.arg("live").args(["--host", "file", "--f0", "yin", "--chunk", "50", "--context", "300"]);
    command.arg("--in").arg(input).arg("--out").arg(output);
    command.arg("--voice").arg(data("synth_small_v1_32k.pth"));
    command.arg("--encoder").arg(data("hubert_small_v1.weights.safetensors"));
    command
}

#[test]
fn a_recording_comes_out_as_long_as_it_went_in_with_nothing_late() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = data("audio/tone_stereo_44k1.flac");
    let (output, record) = (folder.path().join("out.wav"), folder.path().join("both.wav"));
    let run = live(&input, &output).arg("--fast").arg("--json-lines").arg("--record").arg(&record).assert().success();
    let lines = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    let last: serde_json::Value = serde_json::from_str(lines.lines().last().expect("a line")).expect("JSON");
    assert_eq!((last["device_state"].as_str(), last["starved"].as_u64()), (Some("ended"), Some(0)), "{last}");
    assert_eq!((last["shed"].as_u64(), last["failed"].as_u64()), (Some(0), Some(0)), "{last}");
    assert!(last["chunks"].as_u64().is_some_and(|chunks| chunks >= 10), "{last}");

    let (input, output) = (read(&input).expect("input").recording, read(&output).expect("output").recording);
    assert_eq!((input.samples.len(), input.sample_rate_hz), (output.samples.len(), output.sample_rate_hz));
    assert!(output.samples.iter().any(|sample| sample.abs() > 1e-3), "silence");
    let both = read(&record).expect("a recording");
    assert_eq!(both.channels, 2);
    assert!(both.recording.samples.len() >= input.samples.len());
}

#[test]
fn a_recording_of_any_rate_is_converted_and_that_is_told_in_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/syrinx.wav");
    let output = folder.path().join("out.wav");
    let run = live(&input, &output).args(["--fast", "--plain"]).assert().success();
    let told = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    let line = "played at 44100 Hz instead of 22050 Hz, and written at 22050 Hz again";
    assert_eq!(told.lines().filter(|told| told.contains(line)).count(), 1, "{told}");
    let (input, output) = (read(&input).expect("input").recording, read(&output).expect("output").recording);
    assert_eq!((output.samples.len(), output.sample_rate_hz), (input.samples.len(), 22_050));
    assert!(output.samples.iter().any(|sample| sample.abs() > 1e-3), "silence");
}

#[test]
fn an_index_beside_a_voice_is_told_of_as_for_a_recording() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = |from: &str, to: &str| std::fs::copy(data(from), folder.path().join(to)).expect("a copy");
    place("synth_small_v1_32k.pth", "alto.pth");
    place("added_IVF15_Flat_nprobe_1_small_v1.index", "added_IVF15_Flat_nprobe_1_alto_v1.index");
    let told = |arguments: &[&str]| {
        let mut command = Command::cargo_bin("syrinx").expect("the program");
        command.args(["live", "--host", "file", "--fast", "--f0", "yin", "--force", "--out", "out.wav", "--encoder"]);
        command.arg(data("hubert_small_v1.weights.safetensors")).arg("--in").arg(data("audio/tone_mono_16k_s16.wav"));
        let run = command.args(arguments).current_dir(folder.path()).assert().success();
        let text = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
        text.lines().filter(|line| line.contains("alto_v1.index, found by the voice's name")).count()
    };
    let other = data("synth_small_v1_32k.pth");
    let other = other.to_str().expect("text");
    assert_eq!(told(&["--voice", "alto.pth"]), 1);
    assert_eq!(told(&["--voice", other, "--slot", "alto.pth"]), 1);
    assert_eq!(told(&["--voice", "alto.pth", "--index-rate", "0"]), 0);
    assert_eq!(told(&["--voice", "alto.pth", "--index", "added_IVF15_Flat_nprobe_1_alto_v1.index"]), 0);
}

#[test]
fn wrong_settings_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let (input, output) = (data("audio/tone_mono_16k_s16.wav"), folder.path().join("out.wav"));
    for (arguments, message) in [
        (["--mix", "2"], "mix: expected 0 to 1, found 2"),
        (["--input-gain", "99"], "input gain: expected -60 to 36"),
        (["--high-pass", "10"], "high-pass: expected 20 to 2000, found 10"),
        (["--ceiling", "3"], "ceiling: expected -40 to 0, found 3"),
        (["--crossfade", "1"], "crossfade: expected 0.01 to 0.5 seconds"),
        (["--constant-delay", "70000"], "--constant-delay"),
        (["--duration", "inf"], "--duration: expected 0 to 10000000 seconds, found inf"),
        (["--interval", "nan"], "--interval: expected 0.05 to 3600 seconds, found NaN"),
        (["--rate", "22050"], "--rate: expected a multiple of 100 Hz from 8000 to 384000, found 22050"),
        (["--channel", "7"], "input channel: expected 1 to 1, as the device has, found 7"),
    ] {
        live(&input, &output).arg("--fast").args(arguments).assert().code(64).stderr(contains(message));
        assert!(!output.exists());
    }
    let mut nowhere = Command::cargo_bin("syrinx").expect("the program");
    nowhere.args(["live", "--host", "file", "--voice", "v.pth"]).assert().code(64).stderr(contains("--in"));
}

#[test]
fn files_that_are_there_are_kept_and_none_has_two_purposes() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    std::fs::copy(data("audio/tone_mono_16k_s16.wav"), path("in.wav")).expect("a copy");
    std::fs::write(path("old.wav"), "kept").expect("a file");
    let run = |output: &str, record: &str| {
        let mut command = live(&path("in.wav"), &path(output));
        command.arg("--fast").arg("--record").arg(path(record));
        command
    };
    for (output, record, message) in [
        ("old.wav", "both.wav", "--out: expected a file that does not exist yet, or --force"),
        ("out.wav", "old.wav", "--record: expected a file that does not exist yet, or --force"),
        ("out.wav", "in.wav", "--record: expected a file of its own"),
        ("in.wav", "both.wav", "--out: expected a file of its own"),
        ("out.wav", "out.wav", "--record: expected a file of its own"),
    ] {
        run(output, record).assert().code(64).stderr(contains(message));
        if message.contains("of its own") {
            run(output, record).arg("--force").assert().code(64).stderr(contains(message));
        }
    }
    assert_eq!(std::fs::read(path("old.wav")).expect("a file"), b"kept");
    assert_eq!(std::fs::read(path("in.wav")).unwrap(), std::fs::read(data("audio/tone_mono_16k_s16.wav")).unwrap());
    run("old.wav", "both.wav").arg("--force").assert().success();
    assert!(read(&path("old.wav")).is_ok());
}

#[test]
fn what_was_read_is_written_when_it_is_asked_to_end_however_long_the_delay() {
    let folder = tempfile::tempdir().expect("a folder");
    let (output, record) = (folder.path().join("out.flac"), folder.path().join("both.wav"));
    let mut command = live(&data("audio/speech1.wav"), &output);
    command.args(["--constant-delay", "9000", "--duration", "1", "--record"]).arg(&record);
    let began = std::time::Instant::now();
    command.timeout(std::time::Duration::from_mins(1)).assert().success();
    let seconds = read(&output).expect("an output").recording.seconds();
    assert!((0.9..5.0).contains(&seconds) && seconds <= began.elapsed().as_secs_f64(), "{seconds}");
    // The recording holds the delay, too, and is whole.
    assert!(read(&record).expect("a recording").recording.seconds() > 9.0);
}

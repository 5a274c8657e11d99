//! Whole conversions by the program, with small untrained models.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use safetensors::SafeTensors;
use syrinx::io::read::read;
use syrinx::io::write::{Container, Encoding, Quantise, SampleFormat, write};
use syrinx::units::Recording;

/// Largest difference from the reference in steps of 16 bits, as in the library's own comparison.
const TOLERANCE_STEPS: i32 = 2;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// `syrinx convert` with the small voice of version 1 and its encoder.
fn convert(input: &Path, output: &Path) -> Command {
    let mut command = Command::cargo_bin("syrinx").expect("the program");
    command.arg("convert").arg(input).arg("-o").arg(output);
    command.arg("--voice").arg(data("synth_small_v1_32k.pth"));
    command.arg("--encoder").arg(data("hubert_small_v1.weights.safetensors"));
    command
}

fn golden(name: &str, key: &str) -> Vec<u8> {
    let bytes = std::fs::read(data(name)).expect("a recording");
    let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    file.tensor(key).expect("an array").data().to_vec()
}

#[test]
fn a_recording_of_any_rate_comes_out_as_long_as_it_went_in() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["tone_stereo_44k1.flac", "tone_stereo_48k.ogg", "tone_mono_8k_u8.wav"] {
        let (input, output) = (data("audio").join(name), folder.path().join(name).with_extension("wav"));
        convert(&input, &output).args(["--f0", "yin", "--pitch", "5"]).assert().success();
        let (input, output) = (read(&input).expect("input").recording, read(&output).expect("output").recording);
        assert_eq!(output.sample_rate_hz, 32_000);
        let expected = (input.seconds() * 32_000.0).round() as usize;
        assert_eq!(output.samples.len(), expected, "{name}");
        assert!(output.samples.iter().any(|sample| sample.abs() > 1e-3), "{name} is silent");
    }
}

#[test]
fn a_seed_gives_the_same_bytes_and_another_seed_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let converted = |name: &str, noise: &str| {
        let output = folder.path().join(name);
        convert(&data("audio/tone_mono_16k_s16.wav"), &output)
            .args(["--f0", "swift", "--noise", noise])
            .assert()
            .success();
        std::fs::read(output).expect("an output")
    };
    assert_eq!(converted("a.wav", "seed:7"), converted("b.wav", "seed:7"));
    assert_ne!(converted("c.wav", "seed:8"), converted("d.wav", "seed:7"));
}

#[test]
fn the_reference_is_reproduced_from_the_command_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let (input, output) = (folder.path().join("in.wav"), folder.path().join("out.wav"));
    let samples = golden("offline_v1_noindex.safetensors", "in.wav");
    let samples = samples.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let float = Encoding::new(Container::Wav, SampleFormat::Float, Quantise::Round).expect("an encoding");
    write(&input, &Recording { samples, sample_rate_hz: 16_000 }, float).expect("an input");

    let expected = golden("offline_v1_noindex.safetensors", "out.int16");
    let expected: Vec<i32> = expected.as_chunks().0.iter().map(|bytes| i16::from_le_bytes(*bytes).into()).collect();
    // Every hop of this recording is voiced, so that the rules for those that are not make no difference.
    for reference in ["head", "classic"] {
        let settings = ["--reference", reference, "--noise", "zero", "--protect", "0.5", "--rms-mix-rate", "1"];
        let mut command = convert(&input, &output);
        command.args(["--force", "--f0", "rmvpe", "--pitch-model"]).arg(data("rmvpe_small.pt")).args(settings);
        command.assert().success();
        let found = read(&output).expect("an output").recording.samples;
        assert_eq!(found.len(), expected.len());
        let steps = found.iter().zip(&expected).map(|(found, expected)| ((found * 32_768.0) as i32 - expected).abs());
        let worst = steps.max();
        assert!(worst <= Some(TOLERANCE_STEPS), "{reference}: differs by {worst:?} steps");
    }
}

/// `convert` without any model.
fn bare(arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("syrinx").expect("the program");
    command.arg("convert").arg(data("audio/tone_mono_16k_s16.wav")).args(arguments);
    command
}

#[test]
fn an_index_beside_a_bare_voice_name_is_found_and_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = |from: &str, to: &str| std::fs::copy(data(from), folder.path().join(to)).expect("a copy");
    place("synth_small_v1_32k.pth", "alto.pth");
    place("hubert_small_v1.weights.safetensors", "encoder.weights.safetensors");
    place("hubert_small_v1.config.json", "encoder.config.json");
    place("added_IVF15_Flat_nprobe_1_small_v1.index", "added_IVF15_Flat_nprobe_1_alto_v1.index");
    let arguments = ["-o", "out.wav", "--voice", "alto.pth", "--encoder", "encoder.weights.safetensors", "--f0", "yin"];
    let assert = bare(&arguments).current_dir(folder.path()).assert().success();
    let told = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(told.contains("added_IVF15_Flat_nprobe_1_alto_v1.index, found by the voice's name"), "{told}");
    let without = bare(&arguments).args(["--force", "--index-rate", "0"]).current_dir(folder.path()).assert().success();
    assert!(!String::from_utf8_lossy(&without.get_output().stderr).contains("found by"));
}

#[test]
fn models_are_found_by_their_names_and_a_pitch_model_tells_its_tracker() {
    let folder = tempfile::tempdir().expect("a folder");
    let models = folder.path().join("models");
    std::fs::create_dir_all(models.join("voices")).expect("a folder");
    let place = |from: &str, to: &str| std::fs::copy(data(from), models.join(to)).expect("a copy");
    place("synth_small_v1_32k.pth", "voices/alto.pth");
    place("hubert_small_v1.weights.safetensors", "mine.safetensors");
    place("hubert_small_v1.config.json", "mine.config.json");
    place("fcpe_small.weights.safetensors", "tracker.safetensors");
    let output = folder.path().join("out.wav");
    let output = output.to_str().expect("text");
    let with = |rest: &[&str]| {
        let mut command = bare(&["-o", output, "--force", "--voice", "alto", "--encoder", "mine"]);
        command.args(rest).env("SYRINX_MODELS", &models);
        command
    };
    with(&["--pitch-model", "tracker"]).assert().success();
    let told = |rest: &[&str], code: i32| {
        let assert = with(rest).assert().code(code);
        String::from_utf8_lossy(&assert.get_output().stderr).into_owned()
    };
    let other = told(&["--pitch-model", "tracker", "--f0", "rmvpe"], 65);
    assert!(other.contains("expected rmvpe, found fcpe"), "{other}");
    let voice = told(&["--pitch-model", data("synth_small_v1_32k.pth").to_str().expect("text")], 65);
    assert!(voice.contains("expected a pitch network"), "{voice}");
    let weightless = told(&["--pitch-model", "tracker", "--f0", "swift"], 64);
    assert!(weightless.contains("--pitch-model: expected --f0 rmvpe, fcpe, crepe or crepe-tiny"), "{weightless}");
    assert!(weightless.contains("found --f0 swift, whose weights are inside the program"), "{weightless}");
    assert!(told(&["--pitch-model", "absent"], 66).contains("absent"));
}

#[cfg(unix)]
#[test]
fn outputs_obey_the_umask_and_devices_take_them_without_force() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let program = assert_cmd::cargo::cargo_bin("syrinx");
    let output = folder.path().join("out.wav");
    let models = [data("synth_small_v1_32k.pth"), data("hubert_small_v1.weights.safetensors")];
    let run = |umask: &str, output: &Path, format: &str| {
        let line = format!("umask {umask}; exec \"$@\"");
        let mut shell = Command::new("sh");
        shell.args(["-c", &line, "sh"]).arg(&program).arg("convert").arg(data("audio/tone_mono_16k_s16.wav"));
        shell.arg("-o").arg(output).args(["--format", format, "--f0", "yin", "--voice"]).arg(&models[0]);
        shell.arg("--encoder").arg(&models[1]).assert().success();
    };
    run("027", &output, "wav");
    assert_eq!(output.metadata().expect("an output").permissions().mode() & 0o777, 0o640);
    run("022", Path::new("/dev/null"), "flac");
}

#[cfg(target_os = "linux")]
#[test]
fn one_thread_computes_where_one_is_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let report = folder.path().join("report.json");
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin("syrinx"));
    command.arg("convert").arg(data("audio/speech2.wav")).arg("-o").arg(folder.path().join("out.wav"));
    command.arg("--voice").arg(data("synth_small_v1_32k.pth")).args(["--quiet", "--threads", "1", "--f0", "swift"]);
    command.arg("--encoder").arg(data("hubert_small_v1.weights.safetensors")).arg("--report").arg(&report);
    let mut child = command.spawn().expect("the program");
    // Those that compute bear their pool's name.
    let tasks = PathBuf::from(format!("/proc/{}/task", child.id()));
    let mut most = 0;
    let status = loop {
        let names = std::fs::read_dir(&tasks).into_iter().flatten().flatten();
        let names = names.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
        most = most.max(names.filter(|name| name.starts_with("syrinx-")).count());
        if let Some(status) = child.try_wait().expect("a status") {
            break status;
        }
        std::thread::yield_now();
    };
    assert!(status.success());
    assert_eq!(most, 1, "threads that compute");
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(&report).expect("a report")).expect("JSON");
    assert_eq!(report["machine"]["threads"], 1);
}

#[test]
fn a_misfit_of_voice_and_encoder_names_both_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("out.wav");
    let mut command = Command::cargo_bin("syrinx").expect("the program");
    command.arg("convert").arg(data("audio/tone_mono_16k_s16.wav")).arg("-o").arg(&output);
    command.arg("--voice").arg(data("synth_small_v2_40k.pth"));
    command.arg("--encoder").arg(data("hubert_small_v1.weights.safetensors")).args(["--f0", "yin"]);
    let assert = command.assert().code(65);
    let message = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(message.contains("expected units of 768 values") && message.contains("found units of 48"), "{message}");
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
}

#[cfg(feature = "default-voice")]
mod with_the_voice_inside {
    use super::*;
    use syrinx::dsp::yin::Yin;

    /// `syrinx convert` with nothing but a cache folder to lay the voice out in.
    fn convert(folder: &Path, input: &Path) -> Recording {
        let output = folder.join("out.wav");
        let mut command = Command::cargo_bin("syrinx").expect("the program");
        // At the voice's own loudness: what follows the input would be silent by that alone.
        command.arg("convert").arg(input).arg("-o").arg(&output).args(["--force", "--rms-mix-rate", "1"]);
        command.arg("--report").arg(folder.join("report.json"));
        command.env("XDG_CACHE_HOME", folder.join("cache")).env("SYRINX_MODELS", folder.join("models"));
        command.assert().success();
        read(&output).expect("an output").recording
    }

    #[test]
    fn a_person_speaks_at_its_pitch_without_a_word_about_models() {
        let folder = tempfile::tempdir().expect("a folder");
        let input = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/inaugural.wav");
        let output = convert(folder.path(), &input);
        assert_eq!(output.sample_rate_hz, 24_000);
        assert_eq!(output.samples.len(), 11 * 24_000);
        let report = std::fs::read(folder.path().join("report.json")).expect("a report");
        let report: serde_json::Value = serde_json::from_slice(&report).expect("JSON");
        let shift = report["files"][0]["transpose_semitones"].as_f64();
        assert!(shift.is_some_and(|shift| (-20.0..-12.0).contains(&shift)), "{shift:?}");
        let unpacked = std::fs::read_dir(folder.path().join("cache/syrinx")).expect("a folder").flatten().next();
        assert!(unpacked.expect("a folder").path().join("encoder/config.json").is_file());
        let at_16k = syrinx::dsp::rate::resample(&output, 16_000).expect("a rate").samples;
        let track = Yin::default().f0(&at_16k).expect("a track");
        let mut heard: Vec<f32> = track.f0_hz.into_iter().filter(|hz| *hz > 0.0).collect();
        heard.sort_by(f32::total_cmp);
        let median = heard[heard.len() / 2];
        assert!(heard.len() > 200 && (82.0..102.0).contains(&median), "{} hops, {median} Hz", heard.len());
    }

    #[test]
    fn silence_stays_silent() {
        let folder = tempfile::tempdir().expect("a folder");
        let input = folder.path().join("silence.wav");
        let silence = Recording { samples: vec![0.0; 32_000], sample_rate_hz: 16_000 };
        let encoding = Encoding::new(Container::Wav, SampleFormat::Int(16), Quantise::Round).expect("an encoding");
        write(&input, &silence, encoding).expect("a file");
        let output = convert(folder.path(), &input);
        let mean = output.samples.iter().map(|v| f64::from(v * v)).sum::<f64>() / output.samples.len() as f64;
        assert!(10.0 * (mean + 1e-20).log10() < -60.0, "{} dBFS", 10.0 * (mean + 1e-20).log10());
    }
}

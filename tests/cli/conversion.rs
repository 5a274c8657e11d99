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

    let settings = ["--reference", "head", "--noise", "zero", "--protect", "0.5", "--rms-mix-rate", "1"];
    let mut command = convert(&input, &output);
    command.args(["--f0", "rmvpe", "--pitch-model"]).arg(data("rmvpe_small.pt")).args(settings).assert().success();

    let expected = golden("offline_v1_noindex.safetensors", "out.int16");
    let expected: Vec<i32> = expected.as_chunks().0.iter().map(|bytes| i16::from_le_bytes(*bytes).into()).collect();
    let found = read(&output).expect("an output").recording.samples;
    assert_eq!(found.len(), expected.len());
    let worst = found.iter().zip(&expected).map(|(found, expected)| ((found * 32_768.0) as i32 - expected).abs()).max();
    assert!(worst <= Some(TOLERANCE_STEPS), "differs by {worst:?} steps");
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

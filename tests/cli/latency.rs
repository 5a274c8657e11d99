//! The delay by the program, through a cable of its own.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use predicates::str::contains;

fn latency() -> Command {
    let mut command = Command::cargo_bin("syrinx").expect("the program");
    command.args(["latency", "--host", "loop", "--fast", "--repeat", "3", "--chunk", "20", "--crossfade", "20"]);
    command
}

#[test]
fn it_is_told_in_its_parts_as_text_and_as_json() {
    latency()
        .args(["--block", "64", "--loop-delay", "480"])
        .assert()
        .success()
        .stdout(contains(format!("{:<28}{:>10.2}{:>10.2}", "device", 10.0, 10.0)))
        .stdout(contains("algorithmic and processing"));
    let data = |name: &str| -> PathBuf { Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name) };
    let run = latency()
        .args(["--json", "--context", "200", "--budget", "20", "--voice"])
        .arg(data("synth_small_v1_32k.pth"))
        .arg("--encoder")
        .arg(data("hubert_small_v1.weights.safetensors"))
        .assert()
        .success();
    let report: serde_json::Value = serde_json::from_slice(&run.get_output().stdout).expect("JSON");
    let of = |way: &str, what: &str| report[way][what].as_f64().unwrap_or_else(|| panic!("{way} {what}: {report}"));
    assert_eq!((of("device", "device_ms"), of("device", "algorithmic_ms")), (16.0, 0.0));
    // The chunk and the limiter; the budget and a block.
    assert!((of("graph", "algorithmic_ms") - 21.5).abs() < 0.01, "{report}");
    assert!((of("graph", "processing_ms") - 20.0 - 256.0 / 48.0).abs() < 0.01, "{report}");
    for way in ["device", "graph"] {
        assert!(of(way, "difference_samples").abs() < 0.01, "{report}");
    }
    assert!(of("voice", "difference_ms").abs() < of("voice", "resolution_ms"), "{report}");
    assert!(of("voice", "algorithmic_ms") > of("graph", "algorithmic_ms"), "{report}");
}

#[test]
fn wrong_settings_are_refused_by_name() {
    latency().args(["--loop-delay", "7"]).assert().code(64).stderr(contains("delay of the loop"));
    latency().args(["--channel", "2"]).assert().code(64).stderr(contains("input channel"));
    latency().args(["--voice", "nowhere.pth"]).assert().code(66);
}

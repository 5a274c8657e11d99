//! `--device` where there is no GPU, or none in the build: one line says why, and what `auto` does instead.

use std::path::Path;

use predicates::prelude::*;
use predicates::str::contains;

use crate::{fixture, syrinx};

/// Whether this machine has all that networks on a GPU need, as `syrinx doctor` tells.
fn has_gpu() -> bool {
    let doctor = syrinx().args(["doctor", "--json"]).assert().success();
    let checks: serde_json::Value = serde_json::from_slice(&doctor.get_output().stdout).unwrap();
    let cuda: Vec<_> = checks.as_array().unwrap().iter().filter(|check| check["group"] == "cuda").collect();
    assert!(!cuda.is_empty(), "{checks}");
    // Headers are burn's need alone.
    let needed = |check: &&&serde_json::Value| !check["name"].as_str().is_some_and(|name| name.starts_with("headers"));
    cuda.iter().filter(needed).all(|check| check["ok"] == true)
}

/// `syrinx convert` of a tone by a small voice, into `output`, with further arguments.
fn convert(output: &Path, arguments: &[&str]) -> assert_cmd::Command {
    let mut command = syrinx();
    command.arg("convert").arg(fixture("tone_mono_16k_s16.wav")).arg("-o").arg(output).arg("--voice");
    command.arg(fixture("../synth_small_v1_32k.pth")).arg("--encoder");
    command.arg(fixture("../hubert_small_v1.weights.safetensors")).args(["--f0", "yin"]).args(arguments);
    command
}

#[test]
fn a_gpu_asked_for_by_name_that_is_not_there_is_one_clear_line_and_no_output() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.wav");
    let line = predicate::str::is_match("^error: CUDA: [^\n]+; [^\n]+\n$").unwrap();
    for device in ["cuda:1000", "cuda:1000+burn"] {
        convert(&output, &["--device", device]).assert().code(69).stderr(line.clone());
        assert!(!output.exists());
    }
    syrinx().args(["bench", "--device", "cuda:1000"]).assert().code(69).stderr(line.clone());
    let mut live = syrinx();
    live.args(["live", "--host", "file", "--device", "cuda:1000", "--in"]).arg(fixture("tone_mono_16k_s16.wav"));
    live.arg("--out").arg(&output).assert().code(69).stderr(line.clone());
    if !has_gpu() {
        convert(&output, &["--device", "cuda"]).assert().code(69).stderr(line);
    }
}

#[test]
fn auto_takes_the_processor_where_there_is_no_gpu_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let [by_default, by_auto, by_name] =
        ["default", "auto", "cpu"].map(|name| folder.path().join(name).with_extension("wav"));
    convert(&by_default, &[]).assert().success().stderr(contains("processor").not());
    convert(&by_name, &["--device", "cpu"]).assert().success();
    let auto = convert(&by_auto, &["--device", "auto"]).assert().success();
    let read = |path: &Path| std::fs::read(path).unwrap();
    assert_eq!(read(&by_default), read(&by_name));
    if !has_gpu() {
        auto.stderr(contains("networks run on the processor, since there is no GPU for them: CUDA: "));
        assert_eq!(read(&by_auto), read(&by_name));
    }
}

#[test]
fn what_names_no_device_is_refused_with_what_would() {
    let folder = tempfile::tempdir().unwrap();
    for device in ["gpu", "cuda:", "cuda:-1", "metal"] {
        let refused = convert(&folder.path().join("out.wav"), &["--device", device]).assert().code(64);
        refused.stderr(contains("expected `cpu`, `cuda`, `cuda:N`, one of these with `+burn`, or `auto`"));
    }
}

/// `syrinx bench` of small networks, told as JSON.
fn small_bench(arguments: &[&str]) -> serde_json::Value {
    let mut command = syrinx();
    command.args(["bench", "--json"]).args(arguments).arg("--voice").arg(fixture("../synth_small_v1_32k.pth"));
    command.arg("--encoder").arg(fixture("../hubert_small_v1.weights.safetensors"));
    let json = command.arg("--pitch-model").arg(fixture("../rmvpe_small.pt")).assert().success();
    serde_json::from_slice(&json.get_output().stdout).unwrap()
}

#[test]
fn bench_times_chunks_of_each_length() {
    let json = small_bench(&["--chunks", "100,250", "--contexts", "200", "--repeat", "3"]);
    assert_eq!(json["device"], "cpu");
    let rows = json["rows"].as_array().unwrap();
    let lengths: Vec<_> = rows.iter().map(|row| (row["chunk_ms"].as_f64(), row["context_ms"].as_f64())).collect();
    assert_eq!(lengths, [(Some(100.0), Some(200.0)), (Some(250.0), Some(200.0))]);
    for row in rows {
        let at = |name: &str| row[name].as_f64().unwrap();
        assert!(0.0 < at("p50_ms") && at("p50_ms") <= at("p95_ms") && at("p99_ms") <= at("max_ms"), "{row}");
        assert!((at("rtf") - at("p50_ms") / at("chunk_ms")).abs() < 1e-6 && row["count"] == 3, "{row}");
        for held in row["held"].as_array().unwrap() {
            assert!(held["process"].as_u64().unwrap() > 1 << 20 && held["gpu"].is_null(), "{row}");
        }
    }
    syrinx().args(["bench", "--chunks", "5"]).assert().code(64);
}

#[test]
fn bench_retrieves_where_there_is_an_index() {
    let retrieval = |json: serde_json::Value| json["rows"][0]["stages_ms"][2].as_f64().unwrap();
    let chunks = ["--chunks", "100", "--contexts", "200", "--repeat", "9"];
    let without = retrieval(small_bench(&chunks));
    // The centres of 769 lists and the rows of one.
    let many = retrieval(small_bench(&[&chunks[..], &["--index-rows", "30000"]].concat()));
    assert!(many > 4.0 * without, "{without} ms without, {many} ms with an index");
    let index = fixture("../added_IVF15_Flat_nprobe_1_small_v1.index");
    assert!(retrieval(small_bench(&[&chunks[..], &["--index", index.to_str().unwrap()]].concat())) > 0.0);
}

#[test]
fn bench_ends_after_the_time_that_it_is_given() {
    let json = small_bench(&["--chunks", "20", "--contexts", "100", "--repeat", "1000000", "--at-most", "1"]);
    let count = json["rows"][0]["count"].as_u64().unwrap();
    assert!((1..100_000).contains(&count), "{count} chunks in a second");
}

#[test]
fn bench_tells_how_many_streams_keep_up() {
    let arguments = ["--chunks", "500", "--contexts", "100", "--repeat", "3", "--streams", "1,2"];
    let rows = small_bench(&arguments)["rows"].clone();
    let rows = rows.as_array().unwrap();
    // How fast this machine is right now decides what keeps up, and that whether more are tried.
    let kept_up = |row: &serde_json::Value| row["kept_up"].as_bool().unwrap();
    assert_eq!(rows.len(), if kept_up(&rows[0]) { 2 } else { 1 }, "{rows:?}");
    for (row, streams) in rows.iter().zip([1, 2]) {
        let [count, late] = ["count", "late"].map(|name| row[name].as_u64().unwrap());
        assert!(row["streams"] == streams && (1..=3 * streams).contains(&count) && late <= count, "{row}");
        assert!(!kept_up(row) || late == 0, "{row}");
        let [p50, max] = ["p50_ms", "max_ms"].map(|name| row[name].as_f64().unwrap());
        assert!(0.0 < p50 && p50 <= max && (max > 500.0) == (late > 0), "{row}");
    }
    // Untrained networks of full size do not convert 10 ms within 10 ms on any processor: more streams are not tried.
    let arguments = ["bench", "--chunks", "10", "--contexts", "500", "--repeat", "4", "--streams", "1,2"];
    let told = syrinx().args(arguments).assert().success();
    let told = String::from_utf8_lossy(&told.get_output().stdout).into_owned();
    assert!(told.contains("chunks of 10 ms with 500 ms of context: not even 1 kept up"), "{told}");
    syrinx().args(["bench", "--streams", "2"]).assert().code(64).stderr(contains("--chunks"));
}

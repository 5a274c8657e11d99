//! What `inspect` and `models` print.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use syrinx::cli::{inspect, models};

use crate::support::{data, folder};

fn inspected(files: &[PathBuf], json: bool, tensors: bool) -> String {
    let args = inspect::InspectArgs { files: files.to_vec(), json, tensors };
    let texts: Vec<String> = files.iter().map(|file| inspect::describe(file, &args).unwrap()).collect();
    texts.join("\n")
}

#[test]
fn inspect_tells_a_voice_as_json() {
    let text = inspected(&[data("voice_zip.pth")], true, false);
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&value["kind"], &value["version"]), (&"voice".into(), &"v1".into()));
    assert_eq!((&value["sample_rate_hz"], &value["f0"], &value["speakers"]), (&8000.into(), &true.into(), &2.into()));
    assert_eq!(value["bytes"], fs::metadata(data("voice_zip.pth")).unwrap().len());
    assert_eq!(value["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(value["precisions"]["f16"], value["tensor_count"]);
    assert!(value.get("tensors").is_none());
    let applio: Value = serde_json::from_str(&inspected(&[data("voice_parametrizations.pth")], true, false)).unwrap();
    assert_eq!(applio["embedder_model"], "contentvec");
}

#[test]
fn inspect_counts_the_parameters_that_are_stored() {
    let value: Value = serde_json::from_str(&inspected(&[data("rmvpe_small.pt")], true, true)).unwrap();
    let tensors = value["tensors"].as_array().unwrap();
    assert_eq!(tensors.len() as u64, value["tensor_count"].as_u64().unwrap());
    let floats = tensors.iter().filter(|tensor| tensor["precision"] != "integer");
    let product =
        |tensor: &Value| tensor["shape"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).product::<u64>();
    assert_eq!(floats.map(product).sum::<u64>(), value["parameters"].as_u64().unwrap());
}

#[test]
fn inspect_tells_an_index_and_an_encoder_as_text() {
    let files = [data("added_IVF15_Flat_nprobe_1_small_v1.index"), data("encoder_fairseq.pt")];
    let text = inspected(&files, false, true);
    for line in [
        "  kind                      index",
        "  rows                      600",
        "  lists                     15",
        "  bytes                     634,819",
        "  kind                      encoder",
        "  hidden size               64",
    ] {
        assert!(text.lines().any(|found| found == line), "{line:?} is not in\n{text}");
    }
    assert!(text.contains("encoder.layers.0.attention.q_proj.weight"), "{text}");
}

#[test]
fn inspect_fails_on_what_it_does_not_know() {
    let args = inspect::InspectArgs { files: vec![data("make_checkpoints.py")], json: false, tensors: false };
    let error = inspect::run(&args).unwrap_err();
    assert_eq!(error.exit_code(), 65);
}

#[test]
fn models_lists_what_is_there_and_what_is_missing() {
    let folder = folder();
    fs::create_dir(folder.path().join("voices")).unwrap();
    fs::copy(data("voice_zip.pth"), folder.path().join("voices/anna.pth")).unwrap();
    fs::write(folder.path().join("voices/broken.pth"), b"RIFF").unwrap();
    fs::copy(data("rmvpe_small.pt"), folder.path().join("rmvpe.pt")).unwrap();
    let args = models::ModelsArgs { models: Some(folder.path().to_owned()), json: true, verify: true };
    let value: Value = serde_json::from_str(&models::describe(&args).unwrap()).unwrap();
    let model =
        |name: &str| value["models"].as_array().unwrap().iter().find(|row| row["name"] == name).unwrap().clone();
    assert_eq!(model("hubert")["path"], Value::Null);
    assert_eq!(model("rmvpe")["verified"], "cut short: 2,390,494 of 181,184,272 bytes; fetch it again");
    assert_eq!((&model("swift")["embedded"], &model("swift")["path"]), (&true.into(), &Value::Null));
    let voices = value["voices"].as_array().unwrap();
    assert_eq!(voices.iter().map(|row| row["name"].as_str().unwrap()).collect::<Vec<_>>(), ["anna", "broken"]);
    assert_eq!(voices[0]["verified"], "readable");
    assert!(voices[1]["verified"].as_str().unwrap().contains("a RIFF (wav) file"));

    // Scripts learn of the first difference by the exit code.
    let error = models::run(&args).unwrap_err();
    assert_eq!(error.exit_code(), 65);
    assert!(error.to_string().contains("rmvpe.pt: expected a file that passes --verify, found cut short"), "{error}");
    fs::remove_file(folder.path().join("rmvpe.pt")).unwrap();
    assert!(models::run(&args).unwrap_err().to_string().contains("broken.pth"));
    fs::remove_file(folder.path().join("voices/broken.pth")).unwrap();
    models::run(&args).unwrap();

    let text = models::describe(&models::ModelsArgs { json: false, verify: false, ..args }).unwrap();
    assert!(text.contains("hubert      missing (content encoder, needed by every voice)"), "{text}");
    assert!(text.contains("189,507,909 bytes\n"), "{text}");
    assert!(text.contains("swift       inside the program (pitch, small and fast)"), "{text}");
    assert!(text.contains("43,363,260 bytes\n"), "{text}");
}

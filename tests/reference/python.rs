//! Runs the scripts beside this file.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

use crate::support::{cents, max_difference};

/// The folder that `prepare.sh` fills.
pub fn models() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from);
    set("SYRINX_REFERENCE_MODELS").unwrap_or_else(|| {
        let cache = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
        cache.expect("HOME is set").join("syrinx/reference")
    })
}

/// What all that is random in this run follows from: `SYRINX_REFERENCE_SEED`, or the time.
pub fn seed() -> u32 {
    static SEED: OnceLock<u32> = OnceLock::new();
    *SEED.get_or_init(|| {
        let seed = match std::env::var("SYRINX_REFERENCE_SEED") {
            Ok(text) => text.parse().expect("SYRINX_REFERENCE_SEED is a whole number of 32 bits"),
            Err(_) => SystemTime::UNIX_EPOCH.elapsed().expect("a time").subsec_nanos(),
        };
        println!("SYRINX_REFERENCE_SEED={seed}");
        seed
    })
}

/// Runs `{name}.py` with an empty folder, the seed and `arguments`; returns the folder, now filled.
pub fn run(name: &str, arguments: &[&Path]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("reference").join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).expect("the last run's folder goes");
    }
    std::fs::create_dir_all(&folder).expect("a folder");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(name).with_extension("py");
    let python =
        std::env::var_os("SYRINX_REFERENCE_PYTHON").map_or_else(|| models().join("venv/bin/python"), PathBuf::from);
    let mut command = Command::new(&python);
    command.args(["-W", "ignore"]).arg(script).arg(&folder).arg(seed().to_string()).args(arguments);
    command.env("HF_HUB_OFFLINE", "1").env("TRANSFORMERS_VERBOSITY", "error");
    let done = command.output().unwrap_or_else(|e| panic!("{}: {e}; run `make test-reference`", python.display()));
    assert!(done.status.success(), "seed {}: {name}.py: {}", seed(), String::from_utf8_lossy(&done.stderr));
    folder
}

/// Asserts that two arrays differ by at most `tolerance`, relative to the larger of 1 and the largest magnitude
/// expected, and prints by how much they do.
#[track_caller]
pub fn compare(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    let scale = expected.iter().fold(1.0_f32, |scale, value| scale.max(value.abs()));
    let worst = max_difference(found, expected) / scale;
    println!("{what}: differs by {worst:.1e}, allowed {tolerance:.0e}, values up to {scale:.1}");
    assert!(worst <= tolerance, "seed {}: {what}: differs by {worst:e}, allowed {tolerance:e}", seed());
}

/// Asserts equal voicing, and equal pitch within `tolerance` cents, and prints by how much it differs.
#[track_caller]
pub fn compare_pitch(what: &str, found: &[f32], expected: &[f32], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "seed {}: {what}", seed());
    let mut worst = 0.0_f64;
    for (frame, (&a, &b)) in found.iter().zip(expected).enumerate() {
        assert_eq!(a > 0.0, b > 0.0, "seed {}: {what}, frame {frame}: {a} Hz, expected {b} Hz", seed());
        if b > 0.0 {
            worst = worst.max(cents(a, b).abs());
        }
    }
    println!("{what}: differs by {worst:.1e} cents, allowed {tolerance}");
    assert!(worst <= tolerance, "seed {}: {what}: {worst} cents", seed());
}

//! The order of modules: each imports only those before it.

use std::collections::BTreeMap;
use std::path::Path;

/// Modules by layer; a module may import its own layer's modules named before it and all layers above.
const ORDER: [&str; 21] = [
    "sync",
    "error",
    "units",
    "geometry",
    "params",
    "telemetry",
    "memory",
    "dsp",
    "checkpoint",
    "nn",
    "cuda",
    "place",
    "rt",
    "graph",
    "io",
    "path",
    "engine",
    "live",
    "tts",
    "service",
    "cli",
];

/// The module a source file belongs to: its first folder or its own name.
fn module_of(path: &Path, root: &Path) -> String {
    let relative = path.strip_prefix(root).expect("below the root");
    let first = relative.iter().next().expect("a file").to_string_lossy().into_owned();
    first.strip_suffix(".rs").unwrap_or(&first).to_owned()
}

#[test]
fn modules_import_only_what_stands_before_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let rank: BTreeMap<&str, usize> = ORDER.iter().enumerate().map(|(rank, name)| (*name, rank)).collect();
    let mut checked = 0;
    for entry in walkdir::WalkDir::new(&root).into_iter().map(|entry| entry.expect("a readable folder")) {
        if entry.path().extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let module = module_of(entry.path(), &root);
        if ["lib", "main"].contains(&&*module) {
            continue;
        }
        let own = rank.get(&*module).unwrap_or_else(|| panic!("`{module}` has no place in the order"));
        let text = std::fs::read_to_string(entry.path()).expect("source text");
        // Tests may use anything.
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for import in code.lines().filter_map(|line| line.trim().strip_prefix("use crate::")) {
            let target = import.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or_default();
            let Some(other) = rank.get(target) else { continue };
            assert!(other <= own, "{}: `{module}` imports `{target}`, which comes after it", entry.path().display());
            checked += 1;
        }
    }
    assert!(checked > 100, "only {checked} imports found");
}

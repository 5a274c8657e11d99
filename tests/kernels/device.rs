//! What there is without a GPU: clear errors, and modules compiled and kept on disk.

use std::fs;
use std::path::Path;

use syrinx::cuda::{Device, ModuleCache, probe};

use crate::host::ops;

/// The one file of a folder.
fn only_file(folder: &Path) -> std::path::PathBuf {
    let mut files = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let file = files.next().expect("a file");
    assert_eq!(files.next(), None, "one file alone");
    file
}

#[test]
fn a_gpu_that_is_not_there_is_one_clear_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let error = Device::open(1000, ModuleCache::at(folder.path())).map(drop).expect_err("no machine has so many");
    assert_eq!(error.exit_code(), 69);
    let text = error.to_string();
    assert!(text.starts_with("CUDA: ") && !text.contains('\n'), "{text}");
    match probe::gpus() {
        Ok(gpus) => assert!(text.contains(&format!("there are {}", gpus.len())), "{text}"),
        Err(gap) => assert_eq!(text, format!("CUDA: {}; {}", gap.problem, gap.remedy)),
    }
    if probe::driver().is_err() {
        assert!(text.contains("driver") || text.contains("GPU"), "{text}");
    }
}

#[test]
fn without_a_compiler_a_module_is_one_clear_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let module = ModuleCache::at(folder.path()).module(ops()[0], [7, 5]);
    match probe::nvrtc() {
        Ok(_) => assert!(!module.expect("compiled").image.is_empty()),
        Err(gap) => {
            let text = module.expect_err("no compiler").to_string();
            assert_eq!(text, format!("CUDA: {}; {}", gap.problem, gap.remedy));
            assert!(text.contains("NVRTC") && text.contains("libnvrtc"), "{text}");
        }
    }
}

#[test]
#[ignore = "needs NVRTC in LD_LIBRARY_PATH: make test-cuda"]
fn modules_are_compiled_once_for_each_architecture_and_made_anew_when_damaged() {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = ModuleCache::at(folder.path().join("below").join("it"));
    let median = ops().into_iter().find(|op| op.name == "median").expect("an op");
    let first = cache.module(median, [8, 6]).expect("compiled");
    assert!(!first.cached && first.image.starts_with(b"\x7fELF"));
    let second = cache.module(median, [8, 6]).expect("read");
    assert!(second.cached && second.image == first.image);

    let path = only_file(&folder.path().join("below/it"));
    let whole = fs::read(&path).expect("a file");
    for damaged in [&whole[..whole.len() - 1], &whole[..10], b""] {
        fs::write(&path, damaged).expect("written");
        let again = cache.module(median, [8, 6]).expect("compiled");
        assert!(!again.cached && again.image == first.image);
        assert_eq!(fs::read(&path).expect("a file"), whole);
    }

    assert!(!cache.module(median, [9, 0]).expect("compiled").cached);
    // No compiler knows this architecture yet: the driver makes of PTX what it can.
    let later = cache.module(median, [98, 0]).expect("compiled");
    assert!(later.image.starts_with(b"//") && later.image.ends_with(b"\0"));
    assert!(cache.module(median, [3, 0]).expect_err("too old").to_string().contains("this GPU is sm_30"));
}

#[test]
#[ignore = "needs NVRTC in LD_LIBRARY_PATH: make test-cuda"]
fn a_folder_that_cannot_be_written_is_done_without() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let cache = ModuleCache::at(file.path());
    assert!(!cache.module(ops()[0], [7, 5]).expect("compiled").cached);
}

#[test]
#[ignore = "needs NVRTC in LD_LIBRARY_PATH: make test-cuda"]
fn the_run_time_compiler_takes_every_op() {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = ModuleCache::at(folder.path());
    for op in ops() {
        assert!(cache.module(op, [7, 5]).expect("compiled").image.starts_with(b"\x7fELF"), "{}", op.name);
    }
}

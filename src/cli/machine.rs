//! The machine a program runs on, as far as figures of speed depend on it.

use std::collections::HashSet;
use std::path::Path;

use serde::Serialize;

/// Processor and memory facts for a report.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Machine {
    /// The processor's name as the system tells it, or `unknown`.
    pub cpu: String,
    /// Instructions that the kernels use, chosen at run time: `avx512`, `avx2+fma` or `portable`.
    pub simd: String,
    /// Threads that compute.
    pub threads: usize,
    /// Physical cores.
    pub cores: usize,
}

impl Machine {
    /// This machine, with the thread pool as it is configured now.
    #[must_use]
    pub fn here() -> Self {
        Self {
            cpu: cpu_name(),
            simd: crate::nn::ops::instructions().into(),
            threads: rayon::current_num_threads(),
            cores: physical_cores(),
        }
    }
}

fn cpu_name() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or("unknown".into(), |(_, name)| name.trim().into())
}

/// Cores without their hyper-threads, never more than the process may use.
#[must_use]
pub fn physical_cores() -> usize {
    let allowed = std::thread::available_parallelism().map_or(1, usize::from);
    match cores_below(Path::new("/sys/devices/system/cpu")) {
        0 => allowed,
        cores => allowed.min(cores),
    }
}

/// Cores whose topology the folder tells; a processor that is offline has none.
fn cores_below(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let siblings = entries.filter_map(|cpu| std::fs::read_to_string(cpu.path().join(SIBLINGS)).ok());
    siblings.collect::<HashSet<String>>().len()
}

/// The processors that share a core, below a processor's folder.
const SIBLINGS: &str = "topology/thread_siblings_list";

/// Most memory this process ever held, in bytes; `None` where the system does not tell.
#[must_use]
pub fn peak_memory_bytes() -> Option<u64> {
    #[cfg(unix)]
    {
        use nix::sys::resource::{UsageWho, getrusage};
        let held = u64::try_from(getrusage(UsageWho::RUSAGE_SELF).ok()?.max_rss()).ok()?;
        // Linux counts in KiB, macOS in bytes.
        Some(if cfg!(target_os = "macos") { held } else { held * 1024 })
    }
    #[cfg(not(unix))]
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_counted_once_and_beyond_a_processor_that_is_offline() {
        let folder = tempfile::tempdir().unwrap();
        for (cpu, siblings) in [("cpu0", "0-1"), ("cpu1", "0-1"), ("cpu3", "3"), ("cpu10", "10")] {
            std::fs::create_dir_all(folder.path().join(cpu).join("topology")).unwrap();
            std::fs::write(folder.path().join(cpu).join(SIBLINGS), siblings).unwrap();
        }
        std::fs::create_dir_all(folder.path().join("cpu2")).unwrap();
        assert_eq!(cores_below(folder.path()), 3);
        assert_eq!(cores_below(&folder.path().join("cpufreq")), 0);
    }

    #[test]
    fn the_machine_has_a_core_and_the_process_some_memory() {
        assert!(physical_cores() >= 1);
        // A Rust test binary alone takes more than a megabyte, and no test here takes a terabyte.
        assert!((1 << 20..1 << 40).contains(&peak_memory_bytes().unwrap()));
    }
}

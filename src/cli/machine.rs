//! The machine a program runs on, as far as figures of speed depend on it.

use std::collections::HashSet;

use serde::Serialize;

/// Processor and memory facts for a report.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Machine {
    /// The processor's name as the system tells it, or `unknown`.
    pub cpu: String,
    /// Widest vector instructions found at run time: `avx512`, `avx2+fma`, `neon` or `portable`.
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
            simd: simd_level().into(),
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

fn simd_level() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            return "avx512";
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return "avx2+fma";
        }
    }
    if cfg!(target_arch = "aarch64") { "neon" } else { "portable" }
}

/// Cores without their hyper-threads, never more than the process may use.
#[must_use]
pub fn physical_cores() -> usize {
    let allowed = std::thread::available_parallelism().map_or(1, usize::from);
    let siblings =
        |cpu| std::fs::read_to_string(format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"));
    let cores: HashSet<String> = (0..).map_while(|cpu: usize| siblings(cpu).ok()).collect();
    if cores.is_empty() { allowed } else { allowed.min(cores.len()) }
}

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
    fn the_machine_has_a_core_and_the_process_some_memory() {
        assert!(physical_cores() >= 1);
        // A Rust test binary alone takes more than a megabyte, and no test here takes a terabyte.
        assert!((1 << 20..1 << 40).contains(&peak_memory_bytes().unwrap()));
    }
}

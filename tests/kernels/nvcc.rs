//! Every kernel through nvcc, for each architecture that the program is meant for.

use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use syrinx::cuda::Kernel;
use syrinx::cuda::ops::KERNELS;

use crate::host::ops;

/// Turing, Ampere, Hopper, Blackwell.
const ARCHITECTURES: [&str; 4] = ["sm_75", "sm_86", "sm_90", "sm_120"];

/// Registers of a multiprocessor, on all of them.
const MULTIPROCESSOR_REGISTERS: u32 = 65_536;
/// Shared memory that a block has on all of them without asking for more.
const SHARED_BYTES: u32 = 48 * 1024;

/// What ptxas tells of one kernel.
#[derive(Debug)]
struct Usage {
    kernel: String,
    architecture: String,
    registers: u32,
    spilled_bytes: u32,
    shared_bytes: u32,
}

/// The number before `unit` in `line`.
fn number(line: &str, unit: &str) -> Option<u32> {
    line[..line.find(unit)?].split_whitespace().next_back()?.parse().ok()
}

fn usages(log: &str) -> Vec<Usage> {
    let mut found: Vec<Usage> = Vec::new();
    for line in log.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            let mut names = rest.split('\'');
            let (kernel, architecture) = (names.next().unwrap_or_default(), names.nth(1).unwrap_or_default());
            let [kernel, architecture] = [kernel, architecture].map(str::to_owned);
            found.push(Usage { kernel, architecture, registers: 0, spilled_bytes: 0, shared_bytes: 0 });
        }
        let Some(last) = found.last_mut() else { continue };
        last.registers = number(line, " registers").unwrap_or(last.registers);
        last.shared_bytes = number(line, " bytes smem").unwrap_or(last.shared_bytes);
        last.spilled_bytes += number(line, " bytes spill stores").unwrap_or(0);
        last.spilled_bytes += number(line, " bytes spill loads").unwrap_or(0);
    }
    found
}

#[test]
#[ignore = "needs nvcc, the path of which SYRINX_NVCC may tell: make test-cuda"]
fn every_kernel_compiles_for_every_architecture_without_spills() {
    let nvcc = std::env::var_os("SYRINX_NVCC").unwrap_or_else(|| "nvcc".into());
    let folder = tempfile::tempdir().expect("a folder");
    let jobs: Vec<_> = ops().into_iter().flat_map(|op| ARCHITECTURES.map(|architecture| (op, architecture))).collect();
    let next = AtomicUsize::new(0);
    let all = Mutex::new(Vec::new());
    let worker = || {
        while let Some((op, architecture)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            // The flattened text, which is what NVRTC reads.
            let source = folder.path().join(format!("{}-{architecture}.cu", op.name));
            std::fs::write(&source, op.source()).expect("a source");
            let output = Command::new(&nvcc)
                .args(["-std=c++17", "-cubin", "-Werror", "all-warnings", "-Xptxas", "-v", "-arch", architecture, "-o"])
                .args([source.with_extension("cubin"), source])
                .output()
                .expect("nvcc, the path of which SYRINX_NVCC tells");
            let log = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{} for {architecture}: {log}", op.name);
            all.lock().expect("no worker failed").extend(usages(&log));
        }
    };
    std::thread::scope(|scope| {
        (0..std::thread::available_parallelism().map_or(1, usize::from)).for_each(|_| drop(scope.spawn(worker)));
    });
    let all = all.into_inner().expect("no worker failed");
    assert_eq!(all.len(), KERNELS.len() * ARCHITECTURES.len(), "kernels that ptxas told of");

    println!("{:<18} {:>7} {:>12}  registers: {}", "kernel", "threads", "shared bytes", ARCHITECTURES.join(" "));
    let problems: Vec<String> = KERNELS.iter().flat_map(|kernel| check(kernel, &all)).collect();
    assert!(problems.is_empty(), "{problems:#?}");
}

/// Prints a line of the table; returns what is wrong.
fn check(kernel: &Kernel, all: &[Usage]) -> Vec<String> {
    let of = |architecture: &&str| {
        let of = |usage: &&Usage| usage.kernel == kernel.name && usage.architecture == **architecture;
        all.iter().find(of).unwrap_or_else(|| panic!("{} for {architecture}", kernel.name))
    };
    let usages: Vec<&Usage> = ARCHITECTURES.iter().map(of).collect();
    let registers: Vec<String> = usages.iter().map(|usage| format!("{:>5}", usage.registers)).collect();
    let shared = usages.iter().map(|usage| usage.shared_bytes).max().unwrap_or(0);
    println!("{:<18} {:>7} {shared:>12}             {}", kernel.name, kernel.threads, registers.join(" "));

    let stated = kernel.op.text.lines().find_map(|line| {
        let (_, rest) = line.strip_prefix("// registers")?.split_once(&format!(" {} ", kernel.name))?;
        rest.split([' ', ',']).next()?.parse::<u32>().ok()
    });
    let wrong = |usage: &&Usage| {
        let fits = usage.registers * kernel.threads <= MULTIPROCESSOR_REGISTERS && usage.shared_bytes <= SHARED_BYTES;
        if usage.spilled_bytes > 0 {
            return Some(format!("{usage:?}: it spills"));
        }
        if !fits {
            return Some(format!("{usage:?}: a block does not fit a multiprocessor"));
        }
        (stated.is_none_or(|stated| usage.registers > stated))
            .then(|| format!("{usage:?}: {}.cu states {stated:?} registers", kernel.op.name))
    };
    usages.into_iter().filter_map(|usage| wrong(&usage)).collect()
}

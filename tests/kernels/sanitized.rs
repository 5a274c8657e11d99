//! All of these tests again, with kernels built under sanitizers, in a process that the sanitizers' run-time is loaded
//! into.

use std::process::Command;

use crate::host::SANITIZED;

#[test]
#[ignore = "slow: make test-cuda"]
fn kernels_stay_inside_their_memory_under_address_and_undefined_behaviour_sanitizers() {
    let run_time = Command::new("g++").arg("-print-file-name=libasan.so").output().expect("g++").stdout;
    let run_time = String::from_utf8(run_time).expect("a path");
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--test-threads=1"])
        .env(SANITIZED, "1")
        .env("LD_PRELOAD", run_time.trim())
        // Leaks are the stacks of fibres, which live as long as the process.
        .env("ASAN_OPTIONS", "detect_leaks=0")
        .env("UBSAN_OPTIONS", "print_stacktrace=1")
        .output()
        .expect("this program");
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    text.lines().filter(|line| line.starts_with("test result")).for_each(|line| println!("{line}"));
    assert!(output.status.success(), "a kernel fails under sanitizers: {text}");
    assert!(text.contains("test result: ok") && !text.contains(" 0 passed"), "nothing ran: {text}");
}

#[test]
fn a_read_beyond_a_buffer_is_seen_under_sanitizers() {
    // The process that reads beyond ends there: only a child may.
    if std::env::var_os(SANITIZED).is_none() || std::env::var_os(BEYOND).is_some() {
        return;
    }
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "--include-ignored", "sanitized::reads_beyond_a_buffer"])
        .env(BEYOND, "1")
        .output()
        .expect("this program");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && text.contains("heap-buffer-overflow"), "{text}");
}

/// Set in the child that reads beyond a buffer.
const BEYOND: &str = "SYRINX_KERNELS_BEYOND";

#[test]
#[ignore = "ends the process: a part of another test"]
fn reads_beyond_a_buffer() {
    use crate::host::{Host, Order};
    use crate::support::{blank, upload};
    if std::env::var_os(BEYOND).is_none() {
        return;
    }
    let op = crate::host::ops().into_iter().find(|op| op.name == "median").expect("an op");
    let text = op.text.replace("min(hop + reach + 1, hops)", "hop + reach + 1");
    let host = Host::of("median", text, Order::Forwards);
    let f0 = upload(&host, &[100.0; 64]);
    let _ = syrinx::cuda::ops::median(&host, &f0, 9, &mut blank(&host, 64));
}

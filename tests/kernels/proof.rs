//! The proof of the proof: kernels that are wrong are found out, and declarations agree.

use syrinx::cuda::ops::{self, KERNELS, envelope_rms, median, retrieval_nearest};
use syrinx::cuda::{Buffer, Machine};
use syrinx::dsp::envelope::rms;

use crate::host::{Host, ORDERS, Order, declared, ops};
use crate::support::{blank, noise, upload};

/// The op's source with `from`, which it holds, replaced by `to`.
fn broken(op: &str, from: &str, to: &str) -> String {
    let text = ops().into_iter().find(|known| known.name == op).expect("an op").text;
    assert!(text.contains(from), "{op}.cu no longer holds `{from}`");
    // As a user of the header, so that a broken header can be put in its place.
    text.replacen(from, to, 1)
}

/// The same with its header in place and broken.
fn broken_header(op: &str, from: &str, to: &str) -> String {
    let op = ops().into_iter().find(|known| known.name == op).expect("an op");
    let source = op.source();
    assert!(source.contains(from), "the headers of {}.cu no longer hold `{from}`", op.name);
    source.replacen(from, to, 1)
}

fn envelope_by(host: &Host, audio: &[f32]) -> Vec<f32> {
    let mut out = blank(host, 1 + audio.len() / 100);
    envelope_rms(host, &upload(host, audio), 400, 100, &mut out).expect("a launch");
    out.read(host).expect("values")
}

#[test]
fn every_kernel_is_declared_once_with_the_threads_its_wrapper_launches() {
    let mut count = 0;
    for op in ops() {
        for (name, threads) in declared(op.text) {
            let kernel = KERNELS.iter().find(|kernel| kernel.name == name).unwrap_or_else(|| panic!("no {name}"));
            assert_eq!(kernel.op.name, op.name);
            let defined = op.text.lines().find_map(|line| line.strip_prefix(&format!("#define {threads} ")));
            assert_eq!(defined.unwrap_or(&threads), kernel.threads.to_string(), "threads of {name}");
            count += 1;
        }
    }
    assert_eq!(count, KERNELS.len());
}

#[test]
fn a_missing_barrier_shows_in_some_order_of_threads() {
    let audio = noise(1, 1000);
    let expected = rms(&audio, 400, 100);
    let text = broken_header("envelope", "    __syncthreads();\n    T sum = 0;", "    T sum = 0;");
    let wrong = ORDERS.into_iter().filter(|&order| {
        let found = envelope_by(&Host::of("envelope", text.clone(), order), &audio);
        found.iter().zip(&expected).any(|(f, e)| f.is_nan() || (f - e).abs() > 1e-5)
    });
    assert!(wrong.count() > 0, "no order of threads shows the missing barrier");
}

#[test]
fn a_barrier_that_some_threads_leave_out_ends_the_launch() {
    let text = broken_header("envelope", "__syncthreads();", "if (threadIdx.x > 3) __syncthreads();");
    let host = Host::of("envelope", text, Order::Forwards);
    let audio = upload(&host, &noise(1, 1000));
    let error = envelope_rms(&host, &audio, 400, 100, &mut blank(&host, 11)).expect_err("a launch that hangs");
    assert!(error.to_string().contains("wait for each other"), "{error}");
}

#[test]
fn a_wrong_formula_shows() {
    let audio = noise(1, 1000);
    let text = broken("envelope", "audio[i] * audio[i]", "audio[i]");
    let found = envelope_by(&Host::of("envelope", text, Order::Forwards), &audio);
    assert!(found.iter().zip(rms(&audio, 400, 100)).any(|(f, e)| f.is_nan() || (f - e).abs() > 1e-5));
}

#[test]
fn shared_memory_that_no_one_wrote_shows() {
    let text = broken_header("envelope", "if (threadIdx.x % WARP == 0) shared", "if (threadIdx.x == 0) shared");
    let found = envelope_by(&Host::of("envelope", text, Order::Forwards), &noise(1, 1000));
    assert!(found.iter().all(|value| value.is_nan()));
}

#[test]
fn wrappers_refuse_buffers_of_the_wrong_length() {
    let host = Host::new(Order::Forwards);
    let f0 = upload(&host, &[100.0; 5]);
    let error = median(&host, &f0, 3, &mut blank(&host, 4)).expect_err("too short");
    assert_eq!(error.to_string(), "filtered: expected 5 values, found 4");
    let mut found = ops::Neighbours::new(&host, 1, 8, 4).expect("memory");
    let rows = blank(&host, 48);
    let error = retrieval_nearest(&host, &rows, &blank(&host, 6), 6, &mut found).expect_err("a dim of 6");
    assert_eq!(error.to_string(), "values of a unit: expected a multiple of 4 up to 1024, found 6");
    assert!(ops::Neighbours::new(&host, 1, 8, 0).is_err());
    assert!(envelope_rms(&host, &f0, 0, 1, &mut blank(&host, 6)).is_err());
    assert!(ops::CrepePath::new(&host, 10).is_err());
}

#[test]
fn an_empty_launch_touches_nothing() {
    let host = Host::new(Order::Forwards);
    let empty = upload(&host, &[]);
    let mut out = blank(&host, 0);
    ops::octave(&host, &empty, &mut out).expect("nothing to do");
    assert!(out.read(&host).expect("nothing").is_empty());
    assert!(out.is_empty() && Buffer::<Host, u8>::zeros(&host, 0).expect("nothing").is_empty());
    let _ = Host::address(&host.allocate(0).expect("nothing"));
}

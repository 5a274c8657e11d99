//! Signals, comparisons, and how often to try.

use proptest::prelude::*;
use syrinx::cuda::Buffer;

use crate::host::{Host, ORDERS, Order, SANITIZED};
pub use crate::noise::noise;

/// Floats in a machine's memory.
pub type Floats = Buffer<Host, f32>;

/// Random cases of each property; fewer under sanitizers, which are slow.
pub fn config() -> ProptestConfig {
    let cases = if std::env::var_os(SANITIZED).is_some() { 4 } else { 24 };
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// Any order of threads.
pub fn order() -> impl Strategy<Value = Order> {
    proptest::sample::select(ORDERS.to_vec())
}

/// Runs `case` in each order of threads; all give the same.
pub fn in_every_order<T: PartialEq + std::fmt::Debug>(case: impl Fn(&Host) -> T) -> T {
    let [first, others @ ..] = ORDERS.map(|order| case(&Host::new(order)));
    for other in others {
        assert_eq!(other, first, "the result depends on the order of threads");
    }
    first
}

/// Bits, which compare NaN as equal to itself.
pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// A copy in the machine's memory.
pub fn upload(host: &Host, values: &[f32]) -> Floats {
    Buffer::new(host, values).expect("memory")
}

/// What an output holds before a kernel writes it: no value that any kernel computes.
pub fn blank(host: &Host, len: usize) -> Floats {
    upload(host, &vec![-12_345.0; len])
}

/// Fails where two values differ by more than `tolerance`, or one is NaN and the other is not.
#[track_caller]
pub fn assert_close(what: &str, found: &[f32], expected: &[f32], tolerance: impl Fn(f32) -> f32) {
    assert_eq!(found.len(), expected.len(), "{what}: length");
    for (i, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let near = (found - expected).abs() <= tolerance(expected) || found == expected;
        assert!(near || (found.is_nan() && expected.is_nan()), "{what} {i}: found {found}, expected {expected}");
    }
}

/// A voice-like tone that glides, with some noise, at 16 kHz.
pub fn voice(seed: u64, len: usize) -> Vec<f32> {
    let mut phase = 0.0_f64;
    let noise = noise(seed, len);
    let base = 90.0 + (seed % 200) as f64;
    let tone = |(i, noise): (usize, f32)| {
        phase += (base + i as f64 * 0.01) / 16_000.0;
        let harmonics: f64 = (1..6).map(|h| (std::f64::consts::TAU * phase * f64::from(h)).sin() / f64::from(h)).sum();
        0.2 * harmonics as f32 + 0.01 * noise
    };
    noise.into_iter().enumerate().map(tone).collect()
}

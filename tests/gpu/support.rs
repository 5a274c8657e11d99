//! Recordings, and how two backends are compared.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use safetensors::SafeTensors;
use syrinx::nn::Cpu;
use syrinx::nn::ops::VoiceOps;

use crate::noise::noise;

/// Runs of which the fastest counts, after the first.
const RUNS: usize = 5;

/// A file below `tests/data`.
pub fn data(name: &str) -> PathBuf {
    Path::new("tests/data").join(name)
}

/// The array `key` of the recording `name`, f32, row-major.
pub fn recorded(name: &str, key: &str) -> Vec<f32> {
    let bytes = std::fs::read(data(&format!("{name}.safetensors"))).unwrap_or_else(|e| panic!("{name}: {e}"));
    let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let array = file.tensor(key).unwrap_or_else(|e| panic!("{name}: {key}: {e}"));
    assert_eq!(array.dtype(), safetensors::Dtype::F32, "{name}: {key}");
    array.data().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four bytes"))).collect()
}

/// Root of the mean square of what `found` lies off, as a share of that of `expected`.
pub fn relative_error(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len(), "lengths differ");
    assert!(found.iter().all(|value| value.is_finite()), "a value is not finite");
    let energy = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>();
    let off = energy(&mut found.iter().zip(expected).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    (off / energy(&mut expected.iter().copied().map(f64::from))).sqrt()
}

/// Runs both, prints how far apart they are and what they take, and fails where they differ by more than `bound`, a share
/// of the size of what is `expected`: of the CPU's, or what was recorded.
pub fn compare(
    what: &str,
    bound: f64,
    recorded: Option<&[f32]>,
    mut on_cpu: impl FnMut() -> Vec<f32> + Send,
    mut on_gpu: impl FnMut() -> Vec<f32> + Send,
) {
    let timed = |work: &mut (dyn FnMut() -> Vec<f32> + Send)| {
        let started = Instant::now();
        let values = work();
        (values, started.elapsed())
    };
    let (expected, cpu) = Cpu::in_pool(|| timed(&mut on_cpu));
    let (found, first) = timed(&mut on_gpu);
    let fastest = (0..RUNS).map(|_| timed(&mut on_gpu).1).min().unwrap_or_default();
    let error = relative_error(&found, &expected);
    let from_recorded = recorded.map(|recorded| relative_error(&found, recorded));
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let told = from_recorded.map(|error| format!(", from the recording {error:.2e}")).unwrap_or_default();
    println!(
        "| {what:<44} | off by {error:.2e} of {bound:.0e}{told} | GPU {:.2} ms, at first {:.0} ms; CPU once {:.1} ms |",
        ms(fastest),
        ms(first),
        ms(cpu)
    );
    assert!(error <= bound, "{what}: off by {error:e} of the CPU's, allowed {bound:e}");
    assert!(from_recorded.is_none_or(|error| error <= bound), "{what}: off by {from_recorded:?} of what was recorded");
}

/// A voice-like tone that glides, with some noise, at 16 kHz.
pub fn voice(seconds: f64) -> Vec<f32> {
    let len = (seconds * 16_000.0) as usize;
    let mut phase = 0.0_f64;
    let tone = |(i, noise): (usize, f32)| {
        phase += (120.0 + i as f64 * 0.002) / 16_000.0;
        let harmonics: f64 = (1..6).map(|h| (std::f64::consts::TAU * phase * f64::from(h)).sin() / f64::from(h)).sum();
        0.2 * harmonics as f32 + 0.01 * noise
    };
    noise(1, len).into_iter().enumerate().map(tone).collect()
}

//! The harmonic source against its twin.

use proptest::prelude::*;
use syrinx::cuda::Buffer;
use syrinx::cuda::ops::{SourceShape, harmonic_source};
use syrinx::nn::synthesizer;

use crate::host::{Host, Order};
use crate::support::{assert_close, bits, blank, config, in_every_order, noise, order, upload};

const SHAPE: SourceShape = SourceShape { hop: 400, rate_hz: 40_000, gain: 1.3, offset: -0.02 };

fn by_kernel(host: &Host, f0_hz: &[f32], noise: Option<&[f32]>, phase: &mut f64, shape: SourceShape) -> Vec<f32> {
    let mut source = blank(host, f0_hz.len() * shape.hop);
    let before = Buffer::new(host, &[*phase]).expect("memory");
    let mut after = Buffer::new(host, &[f64::NAN]).expect("memory");
    let noise = noise.map(|noise| upload(host, noise));
    let f0_hz = upload(host, f0_hz);
    harmonic_source(host, &f0_hz, shape, noise.as_ref(), &before, &mut after, &mut source).expect("a launch");
    *phase = after.read(host).expect("values")[0];
    source.read(host).expect("values")
}

fn by_twin(f0_hz: &[f32], noise: Option<&[f32]>, phase: &mut f64, shape: SourceShape) -> Vec<f32> {
    synthesizer::harmonic_source(f0_hz, shape.hop, shape.rate_hz, [shape.gain, shape.offset], phase, noise)
}

/// The distance between two phases on the circle, in cycles.
fn apart(a: f64, b: f64) -> f64 {
    let difference = a - b;
    (difference - difference.round()).abs()
}

fn f0(seed: u64, hops: usize) -> Vec<f32> {
    noise(seed, hops).into_iter().map(|n| if n > 0.4 { 0.0 } else { 300.0 + 250.0 * n }).collect()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_source_matches_its_twin_chunk_after_chunk(
        seed: u64, chunks in prop::collection::vec(0_usize..5, 1..5), hop in 1_usize..500, noisy: bool, order in order(),
    ) {
        let shape = SourceShape { hop, rate_hz: 48_000, ..SHAPE };
        let host = Host::new(order);
        let (mut phase, mut expected_phase) = (0.25, 0.25);
        for (i, hops) in chunks.into_iter().enumerate() {
            let f0_hz = f0(seed ^ i as u64, hops);
            let noise = noise(seed, hops * hop);
            let noise = noisy.then_some(&*noise);
            let found = by_kernel(&host, &f0_hz, noise, &mut phase, shape);
            assert_close("sample", &found, &by_twin(&f0_hz, noise, &mut expected_phase, shape), |_| 1.3e-6);
            prop_assert!(apart(phase, expected_phase) < 1e-11, "{phase} {expected_phase}");
        }
    }
}

#[test]
fn chunks_make_the_same_sound_as_one_rendering() {
    let f0_hz = f0(5, 12);
    let host = Host::new(Order::Forwards);
    let whole = by_kernel(&host, &f0_hz, None, &mut 0.0, SHAPE);
    let mut phase = 0.0;
    let parts: Vec<f32> = [&f0_hz[..5], &[], &f0_hz[5..6], &f0_hz[6..]]
        .into_iter()
        .flat_map(|part| by_kernel(&host, part, None, &mut phase, SHAPE))
        .collect();
    assert_close("sample", &parts, &whole, |_| 2e-7);
}

#[test]
fn unvoiced_hops_are_noise_alone_and_threads_may_run_in_any_order() {
    let noise = noise(1, 800);
    let found = in_every_order(|host| bits(&by_kernel(host, &[0.0, 0.0], Some(&noise), &mut 0.5, SHAPE)));
    assert_eq!(found.len(), 800);
    let expected = by_twin(&[0.0, 0.0], Some(&noise), &mut 0.5, SHAPE);
    let found: Vec<f32> = found.into_iter().map(f32::from_bits).collect();
    assert_close("sample", &found, &expected, |_| 1e-7);
}

#[test]
fn the_phase_is_the_twins_after_a_long_time() {
    let host = Host::new(Order::Forwards);
    let (mut phase, mut expected) = (0.0, 0.0);
    for i in 0..40 {
        let f0_hz = f0(i, 50);
        by_kernel(&host, &f0_hz, None, &mut phase, SHAPE);
        by_twin(&f0_hz, None, &mut expected, SHAPE);
    }
    assert!(apart(phase, expected) < 1e-9, "{phase} {expected}");
}

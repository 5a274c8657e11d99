//! Loudness envelopes against their twins.

use proptest::prelude::*;
use syrinx::cuda::ops::{envelope_mix, envelope_rms};
use syrinx::dsp::envelope::{mix, rms};

use crate::host::{Host, Order};
use crate::support::{assert_close, bits, blank, config, in_every_order, noise, order, upload, voice};

fn rms_by_kernel(host: &Host, audio: &[f32], frame: usize, hop: usize) -> Vec<f32> {
    let mut out = blank(host, 1 + audio.len() / hop);
    envelope_rms(host, &upload(host, audio), frame, hop, &mut out).expect("a launch");
    out.read(host).expect("values")
}

/// As the twin mixes: windows of a second every half second.
fn mix_by_kernel(host: &Host, input: &[f32], input_hz: usize, output: &[f32], output_hz: usize, rate: f32) -> Vec<f32> {
    let mut values = upload(host, output);
    let envelope = |audio: &[f32], hz: usize| upload(host, &rms_by_kernel(host, audio, hz / 2 * 2, hz / 2));
    let (wanted, present) = (envelope(input, input_hz), envelope(output, output_hz));
    envelope_mix(host, &mut values, &wanted, &present, rate).expect("a launch");
    values.read(host).expect("values")
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn rms_matches_its_twin(
        seed: u64, samples in 0_usize..4000, frame in 1_usize..1500, hop in 1_usize..900, order in order(),
    ) {
        let audio = noise(seed, samples);
        let found = rms_by_kernel(&Host::new(order), &audio, frame, hop.max(samples / 40));
        assert_close("value", &found, &rms(&audio, frame, hop.max(samples / 40)), |v| 1e-5 * v + 1e-9);
    }

    #[test]
    fn the_mix_matches_its_twin(seed: u64, tenths in 1_usize..25, rate in 0.0_f32..1.2, order in order()) {
        let (input, mut expected) = (voice(seed, 80 * tenths), noise(seed, 100 * tenths));
        let found = mix_by_kernel(&Host::new(order), &input, 800, &expected, 1000, rate);
        mix(&input, 800, &mut expected, 1000, rate);
        assert_close("sample", &found, &expected, |v| 1e-5 * v.abs() + 1e-9);
    }
}

#[test]
fn envelopes_of_nothing_silence_one_sample_and_nan() {
    let host = Host::new(Order::Shuffled);
    for audio in [vec![], vec![0.0; 50], vec![0.7], vec![1e-20; 30]] {
        assert_close("value", &rms_by_kernel(&host, &audio, 20, 5), &rms(&audio, 20, 5), |v| 1e-5 * v + 1e-12);
    }
    let mut audio = voice(1, 100);
    audio[40] = f32::NAN;
    let found = rms_by_kernel(&host, &audio, 20, 10);
    // Windows 4 and 5, and 3 up to its end, cover sample 40; no other does.
    let broken: Vec<usize> = (0..found.len()).filter(|&i| found[i].is_nan()).collect();
    assert_eq!(broken, [4, 5]);
    in_every_order(|host| bits(&rms_by_kernel(host, &voice(2, 3000), 1000, 500)));
    let silent = mix_by_kernel(&host, &[0.0; 800], 800, &[0.5; 1000], 1000, 0.25);
    assert!(silent.iter().all(|&v| v == 0.0));
}

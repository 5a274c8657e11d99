//! Reading pitch off salience, and what is done to a track, against their twins.

use std::ops::Range;

use proptest::prelude::*;
use syrinx::checkpoint::Tensors;
use syrinx::cuda::Buffer;
use syrinx::cuda::ops::{CrepePath, Decoding, crepe_smooth, median, octave, pitch_shape, salience};
use syrinx::dsp::PitchTrack;
use syrinx::dsp::salience::bin_cents;
use syrinx::nn::{Cpu, crepe, fcpe::Fcpe, rmvpe};
use syrinx::params::Unvoiced;
use syrinx::path::octave::repair_octaves;
use syrinx::path::pitch::{median_filter, shape};

use crate::host::{Host, Order};
use crate::support::{assert_close, bits, blank, config, in_every_order, noise, order, upload};

/// Salience in 0..1 with a peak that wanders, some frames weak, and, if asked, values that are no number.
fn wandering(seed: u64, frames: usize, bins: usize, broken: bool) -> Vec<f32> {
    let noise = noise(seed, frames * bins + frames);
    let mut at = bins as f32 * 0.4;
    let mut values = Vec::with_capacity(frames * bins);
    for frame in 0..frames {
        at = (at + 9.0 * noise[frames * bins + frame]).clamp(0.0, bins as f32 - 1.0);
        let height = if noise[frame] > 0.7 { 0.01 } else { 0.9 };
        values.extend((0..bins).map(|bin| {
            let from = bin as f32 - at;
            let value = height * (-from * from / 8.0).exp() + 0.005 * noise[frame * bins + bin].abs();
            if broken && noise[frame * bins + bin] > 0.95 { f32::NAN } else { value }
        }));
    }
    values
}

fn read(host: &Host, values: &[f32], cents: &[f64], range: Range<usize>, decoding: Decoding) -> PitchTrack {
    let frames = values.len() / cents.len();
    let (mut f0_hz, mut voicing) = (blank(host, frames), blank(host, frames));
    let cents = Buffer::new(host, cents).expect("memory");
    salience(host, &upload(host, values), &cents, range, decoding, &mut f0_hz, &mut voicing).expect("a launch");
    PitchTrack { f0_hz: f0_hz.read(host).expect("values"), voicing: voicing.read(host).expect("values") }
}

fn assert_track(found: &PitchTrack, expected: &PitchTrack) {
    assert_eq!(found.voicing, expected.voicing);
    assert_close("f0 of frame", &found.f0_hz, &expected.f0_hz, |hz| 2e-7 * hz);
}

fn fcpe() -> Fcpe<Cpu> {
    // From the current folder, which is the package's under cargo: the program is carried to machines with a GPU.
    let tensors = Tensors::open("tests/data/fcpe_small.weights.safetensors").expect("weights");
    Fcpe::load(&tensors.weights(), &Default::default()).expect("a network")
}

/// All three ways to read salience, against their twins.
fn assert_readings(host: &Host, seed: u64, frames: usize, broken: bool) {
    let bins = 360;
    let cents: Vec<f64> = (0..bins).map(bin_cents).collect();
    let values = wandering(seed, frames, bins, broken);
    let found = read(host, &values, &cents, 0..bins, Decoding::Cut(0.03));
    assert_track(&found, &rmvpe::decode(&values, bins, 0.03));
    let found = read(host, &values, &cents, crepe::bins_in_range(bins), Decoding::Logistic);
    assert_track(&found, &crepe::decode_weighted(&values, bins));
    let fcpe = fcpe();
    let cents: Vec<f64> = fcpe.cents().iter().map(|&cents| cents.into()).collect();
    let values = wandering(seed, frames, cents.len(), broken);
    let found = read(host, &values, &cents, 0..cents.len(), Decoding::Clamped(0.006));
    assert_track(&found, &fcpe.decode(&values, 0.006));
}

fn path_by_kernel(host: &Host, values: &[f32], bins: usize) -> PitchTrack {
    let frames = values.len() / bins;
    let path = CrepePath::new(host, bins).expect("constants");
    let mut scratch = Buffer::zeros(host, path.scratch_len(frames)).expect("memory");
    let (mut f0_hz, mut periodicity) = (blank(host, frames), blank(host, frames));
    path.crepe_path(host, &upload(host, values), &mut scratch, &mut f0_hz, &mut periodicity).expect("a launch");
    PitchTrack { f0_hz: f0_hz.read(host).expect("values"), voicing: periodicity.read(host).expect("values") }
}

fn path_by_twin(values: &[f32], bins: usize) -> PitchTrack {
    let mut track = PitchTrack::default();
    for values in values.chunks(crepe::PATH_FRAMES * bins) {
        let PitchTrack { f0_hz, voicing } = crepe::decode_path(values, bins);
        track.f0_hz.extend(f0_hz);
        track.voicing.extend(voicing);
    }
    track
}

fn smooth_by_kernel(host: &Host, track: &PitchTrack, threshold: f32) -> PitchTrack {
    let [f0_hz, periodicity] = [&track.f0_hz, &track.voicing].map(|values| upload(host, values));
    let (mut smooth_hz, mut voicing) = (blank(host, track.len()), blank(host, track.len()));
    crepe_smooth(host, &f0_hz, &periodicity, threshold, &mut smooth_hz, &mut voicing).expect("a launch");
    PitchTrack { f0_hz: smooth_hz.read(host).expect("values"), voicing: voicing.read(host).expect("values") }
}

/// A track in Hz with unvoiced hops, octave errors and, if asked, values that are no frequency.
fn track(seed: u64, hops: usize, hostile: bool) -> Vec<f32> {
    let noise = noise(seed, 2 * hops);
    let hop = |hop: usize| match noise[hops + hop] {
        n if n > 0.6 => 0.0,
        n if hostile && n > 0.5 => f32::NAN,
        n if hostile && n > 0.45 => -0.0,
        n if hostile && n > 0.4 => -50.0,
        n if hostile && n > 0.38 => f32::INFINITY,
        n if n > 0.2 => 2.0 * (150.0 + 20.0 * noise[hop]),
        n if n > 0.1 => 0.25 * (150.0 + 20.0 * noise[hop]),
        _ => 150.0 + 20.0 * noise[hop] + hop as f32,
    };
    (0..hops).map(hop).collect()
}

fn octave_by_kernel(host: &Host, f0_hz: &[f32]) -> Vec<f32> {
    let mut repaired = blank(host, f0_hz.len());
    octave(host, &upload(host, f0_hz), &mut repaired).expect("a launch");
    repaired.read(host).expect("values")
}

fn median_by_kernel(host: &Host, f0_hz: &[f32], taps: usize) -> Vec<f32> {
    let mut filtered = blank(host, f0_hz.len());
    median(host, &upload(host, f0_hz), taps, &mut filtered).expect("a launch");
    filtered.read(host).expect("values")
}

fn shape_by_kernel(host: &Host, f0_hz: &[f32], ratio: f32, interpolate: bool) -> (Vec<f32>, Vec<u8>) {
    let mut shaped = blank(host, f0_hz.len());
    let mut coarse = Buffer::zeros(host, f0_hz.len()).expect("memory");
    pitch_shape(host, &upload(host, f0_hz), ratio, interpolate, &mut shaped, &mut coarse).expect("a launch");
    (shaped.read(host).expect("values"), coarse.read(host).expect("values"))
}

/// All that is done to a track, against the twins.
fn assert_post(host: &Host, f0_hz: &[f32], taps: usize, ratio: f32) {
    let mut expected = f0_hz.to_vec();
    repair_octaves(&mut expected);
    assert_eq!(bits(&octave_by_kernel(host, f0_hz)), bits(&expected), "octaves of {f0_hz:?}");
    let mut expected = f0_hz.to_vec();
    median_filter(&mut expected, taps);
    assert_eq!(bits(&median_by_kernel(host, f0_hz, taps)), bits(&expected), "median over {taps} of {f0_hz:?}");
    for (interpolate, unvoiced) in [(false, Unvoiced::Zero), (true, Unvoiced::Interpolate)] {
        let (shaped, coarse) = shape_by_kernel(host, f0_hz, ratio, interpolate);
        let expected = shape(f0_hz, ratio, unvoiced);
        assert_close("hop", &shaped, &expected.f0_hz, |_| 0.0);
        assert_eq!(coarse, expected.coarse, "coarse pitch of {shaped:?}");
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn salience_is_read_as_the_twins_read_it(seed: u64, frames in 1_usize..12, broken: bool, order in order()) {
        assert_readings(&Host::new(order), seed, frames, broken);
    }

    #[test]
    fn the_path_is_the_twins_bin_for_bin(seed: u64, frames in 1_usize..20, broken: bool, order in order()) {
        let values = wandering(seed, frames, 360, broken);
        let found = path_by_kernel(&Host::new(order), &values, 360);
        let expected = path_by_twin(&values, 360);
        prop_assert_eq!(&found, &expected);
        let smooth = smooth_by_kernel(&Host::new(order), &expected, 0.1);
        prop_assert_eq!(smooth, crepe::smooth(&expected, 0.1));
    }

    #[test]
    fn a_track_is_repaired_filtered_and_shaped_as_by_the_twins(
        seed: u64, hops in 1_usize..90, hostile: bool, taps in 0_usize..14, semitones in -24.0_f32..24.0,
        order in order(),
    ) {
        assert_post(&Host::new(order), &track(seed, hops, hostile), taps, (semitones / 12.0).exp2());
    }
}

#[test]
fn salience_of_silence_of_equal_bins_and_of_nan() {
    let bins = 360;
    let cents: Vec<f64> = (0..bins).map(bin_cents).collect();
    for value in [0.0, 0.5, 1.0, f32::NAN, f32::NEG_INFINITY, f32::INFINITY, -1.0] {
        let mut values = vec![value; 2 * bins];
        // In the second frame one bin at the end stands out.
        values[2 * bins - 1] = 0.7;
        let found = in_every_order(|host| {
            let track = read(host, &values, &cents, 0..bins, Decoding::Cut(0.03));
            (bits(&track.f0_hz), bits(&track.voicing))
        });
        let expected = rmvpe::decode(&values, bins, 0.03);
        assert_eq!(found, (bits(&expected.f0_hz), bits(&expected.voicing)), "{value}");
    }
}

#[test]
fn paths_begin_anew_after_512_frames_and_survive_frames_without_numbers() {
    let bins = 360;
    let mut values = wandering(17, 515, bins, false);
    values[20 * bins..21 * bins].fill(f32::NAN);
    values[30 * bins..31 * bins].fill(0.0);
    values[514 * bins..].fill(f32::NAN);
    assert_eq!(path_by_kernel(&Host::new(Order::Shuffled), &values, bins), path_by_twin(&values, bins));
    let silent = vec![0.0; 3 * bins];
    assert_eq!(path_by_kernel(&Host::new(Order::Backwards), &silent, bins), path_by_twin(&silent, bins));
    let host = Host::new(Order::Forwards);
    assert_eq!(path_by_kernel(&host, &[], bins), PitchTrack::default());
    for length in 1..4 {
        let track = PitchTrack { f0_hz: vec![100.0; length], voicing: vec![0.1; length] };
        assert_eq!(smooth_by_kernel(&host, &track, 0.1), crepe::smooth(&track, 0.1));
        assert_eq!(smooth_by_kernel(&host, &track, 0.2), crepe::smooth(&track, 0.2));
    }
}

#[test]
fn tracks_of_no_one_or_only_unvoiced_hops() {
    let host = Host::new(Order::Forwards);
    for f0_hz in [vec![], vec![220.0], vec![0.0; 40], vec![0.0, 0.0, 330.0, 0.0], vec![f32::NAN; 9], vec![1e30; 6]] {
        for taps in [0, 3, 4, 1_000_000_000_000] {
            assert_post(&host, &f0_hz, taps, 1.5);
        }
    }
    in_every_order(|host| bits(&octave_by_kernel(host, &track(1, 300, false))));
}

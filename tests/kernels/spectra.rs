//! Log-mel spectrograms, YIN and SwiftF0 against their twins.

use proptest::prelude::*;
use syrinx::cuda::ops::{LogMelFrames, LogMelTables, SwiftF0Network, YinCandidates, yin};
use syrinx::cuda::{Buffer, Machine};
use syrinx::dsp::PitchTrack;
use syrinx::dsp::mel::{FilterBank, LogMel, MelScale};
use syrinx::dsp::stft::{Edge, Stft, pad};
use syrinx::dsp::yin::{LONGEST_LAG, MOST_CANDIDATES, WINDOW_SAMPLES, Yin, candidates};
use syrinx::nn::Cpu;
use syrinx::nn::swift_f0::{SwiftF0, embedded_weights};

use crate::host::{Host, Order};
use crate::support::{assert_close, bits, blank, config, in_every_order, noise, order, upload, voice};

/// RMVPE's or FCPE's front end.
fn front_end(fcpe: bool) -> LogMel {
    let (scale, low) = if fcpe { (MelScale::Slaney, 0.0) } else { (MelScale::Htk, 30.0) };
    LogMel {
        stft: Stft::new(1024, 160),
        bank: FilterBank::mel(scale, 16_000, 1024, 128, [low, 8000.0]),
        power_offset: if fcpe { 1e-9 } else { 0.0 },
        floor: 1e-5,
    }
}

fn mel_by_kernel(host: &Host, audio: &[f32], fcpe: bool, frames: LogMelFrames, count: usize) -> Vec<f32> {
    let LogMel { bank, power_offset, floor, .. } = front_end(fcpe);
    let tables = LogMelTables::new(host, &bank, power_offset, floor).expect("tables");
    let mut mel = blank(host, count * bank.bands());
    tables.log_mel(host, &upload(host, audio), frames, &mut mel).expect("a launch");
    mel.read(host).expect("values")
}

/// Compares band magnitudes: their logarithms make much of what is next to nothing.
fn assert_mel(found: &[f32], expected: &[f32]) {
    let magnitudes = |mel: &[f32]| mel.iter().map(|v| v.exp()).collect::<Vec<f32>>();
    for (frame, (found, expected)) in found.chunks(128).zip(expected.chunks(128)).enumerate() {
        let (found, expected) = (magnitudes(found), magnitudes(expected));
        let most = expected.iter().copied().fold(0.0, f32::max);
        assert_close(&format!("frame {frame}, band"), &found, &expected, |_| 1e-5 * most + 1e-9);
    }
    assert_eq!(found.len(), expected.len());
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn log_mel_matches_its_twin(
        samples in 1_usize..2500, seed: u64, fcpe: bool, mirrored: bool, before in 0_usize..600, order in order(),
    ) {
        let edge = if mirrored { Edge::Reflect } else { Edge::Zero };
        let audio = voice(seed, samples);
        let padded = pad(&audio, before, 1024, edge);
        let computed = front_end(fcpe).stft.frames(padded.len());
        let expected = front_end(fcpe).compute(&padded);
        let frames = LogMelFrames { before, edge, computed };
        assert_mel(&mel_by_kernel(&Host::new(order), &audio, fcpe, frames, computed), &expected);
    }

    #[test]
    fn yin_matches_its_twin(samples in 1_usize..1200, seed: u64, order in order()) {
        assert_yin(&voice(seed, samples), order);
    }
}

#[test]
fn log_mel_of_silence_is_the_floor_and_later_frames_repeat_the_last() {
    let frames = LogMelFrames { before: 512, edge: Edge::Reflect, computed: 2 };
    let found = in_every_order(|host| bits(&mel_by_kernel(host, &[0.0; 320], false, frames, 2)));
    assert!(found.iter().all(|&v| f32::from_bits(v) == 1e-5_f32.ln()));
    let audio = voice(3, 700);
    let found = mel_by_kernel(&Host::new(Order::Forwards), &audio, true, frames, 4);
    assert_eq!(found[128..256], found[256..384]);
    assert_eq!(found[128..256], found[384..]);
    assert_ne!(found[..128], found[128..256]);
}

#[test]
fn log_mel_of_a_single_sample_or_of_nan_stays_in_its_frames() {
    let frames = LogMelFrames { before: 512, edge: Edge::Reflect, computed: 1 };
    let host = Host::new(Order::Backwards);
    let expected = front_end(false).compute(&pad(&[0.5], 512, 512, Edge::Reflect));
    assert_mel(&mel_by_kernel(&host, &[0.5], false, frames, 1), &expected[..128]);
    let mut audio = voice(5, 4000);
    audio[100] = f32::NAN;
    let frames = LogMelFrames { before: 512, edge: Edge::Zero, computed: 20 };
    let found = mel_by_kernel(&host, &audio, false, frames, 20);
    let expected = front_end(false).compute(&pad(&audio, 512, 1024, Edge::Zero));
    // Frames from 4 on begin after the sample that is no number.
    assert_mel(&found[4 * 128..], &expected[4 * 128..20 * 128]);
}

#[test]
fn log_mel_refuses_mirrors_of_nothing_and_banks_of_other_spectra() {
    let host = Host::new(Order::Forwards);
    let tables = LogMelTables::new(&host, &front_end(false).bank, 0.0, 1e-5).expect("tables");
    let frames = LogMelFrames { before: 512, edge: Edge::Reflect, computed: 1 };
    let empty = upload(&host, &[]);
    assert!(tables.log_mel(&host, &empty, frames, &mut blank(&host, 128)).is_err());
    let zero = LogMelFrames { edge: Edge::Zero, ..frames };
    let mut mel = blank(&host, 128);
    tables.log_mel(&host, &empty, zero, &mut mel).expect("zeros");
    assert!(mel.read(&host).expect("values").iter().all(|&v| v == 1e-5_f32.ln()));
    assert!(tables.log_mel(&host, &empty, LogMelFrames { computed: 0, ..zero }, &mut mel).is_err());
    let other = FilterBank::mel(MelScale::Htk, 16_000, 512, 64, [30.0, 8000.0]);
    assert!(LogMelTables::new(&host, &other, 0.0, 1e-5).is_err());
}

fn assert_yin(audio: &[f32], order: Order) {
    let host = Host::new(order);
    let frames = PitchTrack::frames(audio.len());
    let mut found = YinCandidates::new(&host, frames).expect("memory");
    yin(&host, &upload(&host, audio), &mut found).expect("a launch");
    let difference = found.difference.read(&host).expect("values");
    let count = found.count.read(&host).expect("values");
    let values = [&found.f0_hz, &found.voicing, &found.cost].map(|buffer| buffer.read(&host).expect("values"));

    let padded = pad(audio, WINDOW_SAMPLES / 2, WINDOW_SAMPLES / 2, Edge::Zero);
    let stream = Yin::default().stream();
    let windows = padded.windows(WINDOW_SAMPLES).step_by(160);
    for (frame, (window, found)) in windows.zip(difference.chunks(LONGEST_LAG + 1)).enumerate() {
        let twin = stream.aperiodicity(window);
        let expected = twin.clone().unwrap_or_else(|| vec![1.0; LONGEST_LAG + 1]);
        assert_close(&format!("frame {frame}, lag"), found, &expected, |_| 1e-4);
        // What the twin reads off the kernel's own difference: a minimum may hang on a last bit.
        let expected = twin.map_or(Vec::new(), |_| candidates(found));
        assert_eq!(count[frame] as usize, expected.len(), "candidates of frame {frame}");
        for (i, expected) in expected.iter().enumerate() {
            let [f0_hz, voicing, cost] = [0, 1, 2].map(|kind| values[kind][frame * MOST_CANDIDATES + i]);
            assert!((f0_hz - expected.f0_hz).abs() <= 1e-5 * expected.f0_hz, "{f0_hz} {expected:?}");
            assert!((voicing - expected.voicing).abs() <= 1e-6, "{voicing} {expected:?}");
            assert!((cost - expected.cost).abs() <= 1e-6, "{cost} {expected:?}");
        }
    }
}

#[test]
fn yin_of_silence_noise_nothing_and_nan() {
    let mut broken = voice(9, 2000);
    broken[1500] = f32::NAN;
    let mut infinite = voice(9, 600);
    infinite[10] = f32::INFINITY;
    let cases = [vec![], vec![0.0; 700], vec![0.5; 300], noise(2, 900), vec![1e-4; 400], broken, infinite, vec![1.0]];
    for audio in cases {
        assert_yin(&audio, Order::Shuffled);
    }
    in_every_order(|host| {
        let mut found = YinCandidates::new(host, 3).expect("memory");
        yin(host, &upload(host, &voice(1, 480)), &mut found).expect("a launch");
        (bits(&found.difference.read(host).expect("values")), found.count.read(host).expect("values"))
    });
}

fn assert_swift_f0(audio: &[f32], host: &Host) {
    let weights = embedded_weights().expect("the published weights");
    let expected = SwiftF0::<Cpu>::embedded(&Default::default()).expect("the network").native(audio).expect("a track");
    let network = SwiftF0Network::load(host, &weights.weights()).expect("the network");
    let frames = expected.f0_hz.len();
    assert_eq!(SwiftF0Network::<Host>::frames(audio.len()), frames);
    let mut scratch = blank(host, SwiftF0Network::<Host>::scratch_len(frames));
    let (mut f0_hz, mut confidence) = (blank(host, frames), blank(host, frames));
    network.swift_f0(host, &upload(host, audio), &mut scratch, &mut f0_hz, &mut confidence).expect("a launch");
    let confidence = confidence.read(host).expect("values");
    assert_close("confidence", &confidence, &expected.confidence, |_| 1e-4);
    for (frame, (found, expected)) in f0_hz.read(host).expect("values").iter().zip(&expected.f0_hz).enumerate() {
        // Where nothing is voiced, candidates may be equal but for rounding.
        let near = (found - expected).abs() <= 1e-4 * expected || confidence[frame] < 0.05;
        assert!(near, "frame {frame}: found {found} Hz, expected {expected}");
    }
}

#[test]
fn swift_f0_matches_its_twin_in_tiles_at_ends_in_silence_and_in_short_audio() {
    let mut paused = voice(11, 256 * 9 + 70);
    paused[600..1800].fill(0.0);
    for (audio, order) in [
        (voice(7, 256 * 11), Order::Forwards),
        (paused, Order::Backwards),
        (voice(8, 100), Order::Shuffled),
        (vec![0.0; 600], Order::Forwards),
        (noise(4, 256 * 5), Order::Shuffled),
    ] {
        assert_swift_f0(&audio, &Host::new(order));
    }
}

#[test]
fn swift_f0_refuses_scratch_that_is_too_short_and_no_audio() {
    let host = Host::new(Order::Forwards);
    let weights = embedded_weights().expect("the published weights");
    let network = SwiftF0Network::load(&host, &weights.weights()).expect("the network");
    let mut scratch: Buffer<Host, f32> = Buffer::zeros(&host, 100).expect("memory");
    let (mut f0_hz, mut confidence) = (blank(&host, 1), blank(&host, 1));
    for audio in [vec![0.1; 256], vec![]] {
        assert!(network.swift_f0(&host, &upload(&host, &audio), &mut scratch, &mut f0_hz, &mut confidence).is_err());
    }
    assert!(Host::address(&host.allocate(8).expect("memory")).is_multiple_of(64));
}

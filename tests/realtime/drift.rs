//! Two devices whose clocks differ: no gap, no jump, for ten minutes.

use syrinx::graph::GraphBuilder;
use syrinx::graph::nodes::Capture;
use syrinx::graph::nodes::capture::{CaptureSettings, CaptureTelemetry};
use syrinx::rt::ring::AudioTx;
use syrinx::rt::snapshot::SnapshotRx;

use crate::support::{Device, finish, mono, steepest};

const OTHER_BLOCK: usize = 441;
const OWN_BLOCK: usize = 480;

fn capturing(rate_hz: u32) -> (Device, AudioTx, SnapshotRx<CaptureTelemetry>) {
    let settings = CaptureSettings { rate_hz, target_samples: 1200, capacity: 9600, fade_ms: 2.0 };
    let (capture, tx, telemetry) = Capture::new(settings);
    let mut graph = GraphBuilder::new(mono());
    let capture = graph.add("capture", capture).unwrap();
    (Device::playing(&mono(), finish(graph, &[capture])), tx, telemetry)
}

/// A tone of the other device, sample by sample.
struct Tone {
    angle: f64,
    step: f64,
}

impl Tone {
    fn new(rate_hz: f64) -> Self {
        Self { angle: 0.0, step: std::f64::consts::TAU * 440.0 / rate_hz }
    }

    fn block(&mut self) -> [f32; OTHER_BLOCK] {
        std::array::from_fn(|_| {
            self.angle = (self.angle + self.step) % std::f64::consts::TAU;
            self.angle.sin() as f32
        })
    }
}

#[test]
fn ten_minutes_of_two_clocks_500_ppm_apart_have_no_gap_and_no_jump() {
    for ppm in [-500.0, 500.0] {
        let rate_hz = 44_100.0;
        let (mut device, mut other, mut telemetry) = capturing(44_100);
        let mut tone = Tone::new(rate_hz);
        let (mut sent, mut last, mut steepest_step, mut silent) = (0_usize, 0.0, 0.0_f32, true);
        let mut drifts = Vec::new();
        for block in 0..600 * 100 {
            let now = (block * OWN_BLOCK) as f64 / 48_000.0;
            // What the other clock has brought by now.
            while (sent + OTHER_BLOCK) as f64 <= now * rate_hz * (1.0 + ppm * 1e-6) {
                assert_eq!(other.push(&tone.block()), OTHER_BLOCK);
                sent += OTHER_BLOCK;
            }
            let played = device.block(&[0.0; OWN_BLOCK]);
            silent &= played.iter().all(|&x| x == 0.0);
            if block > 100 {
                steepest_step = steepest_step.max((played[0] - last).abs()).max(steepest(&played));
            }
            last = played[OWN_BLOCK - 1];
            drifts.push(f64::from(telemetry.latest().drift_ppm));
        }
        let telemetry = telemetry.latest();
        assert!(!silent);
        assert_eq!((telemetry.starvation.times, telemetry.dropped_samples), (0, 0), "{ppm} ppm");
        // Whole blocks beat against each other every 20 s, so the estimate is taken over the last minute.
        let drift = drifts[drifts.len() - 6000..].iter().sum::<f64>() / 6000.0;
        assert!((drift - ppm).abs() < 25.0, "{drift} ppm, not {ppm}");
        // The tone's own slope at 48 kHz is 2 pi 440 / 48000.
        assert!(steepest_step < 0.0576 * 1.01, "{ppm} ppm: {steepest_step}");
        let excess = telemetry.waiting_samples as f64 - 1200.0;
        assert!(excess.abs() < 600.0, "{telemetry:?}");
    }
}

#[test]
fn a_pause_of_the_other_device_is_bridged_without_a_click() {
    let (mut device, mut other, mut telemetry) = capturing(48_000);
    let mut tone = Tone::new(48_000.0);
    let mut played = Vec::new();
    for block in 0..1000 {
        if !(400..450).contains(&block) {
            other.push(&tone.block());
        }
        // As much goes out as comes in.
        played.extend(device.block(&[0.0; OTHER_BLOCK]));
    }
    assert_eq!(telemetry.latest().starvation.times, 1);
    assert!(steepest(&played) < 0.0576 + 2.5 / 96.0, "{}", steepest(&played));
    let end = &played[played.len() - 4800..];
    assert!(end.iter().any(|x| x.abs() > 0.99));
}

#[test]
fn after_a_short_pause_of_our_own_device_the_delay_is_as_before_within_half_a_second() {
    let (mut device, mut other, mut telemetry) = capturing(48_000);
    let mut tone = Tone::new(48_000.0);
    let (mut played, mut before, mut after) = (Vec::new(), 0, None);
    for block in 0..1000 {
        other.push(&tone.block());
        // 28 ms: less than what is left out at once.
        if (400..403).contains(&block) {
            continue;
        }
        played.extend(device.block(&[0.0; OTHER_BLOCK]));
        let waiting = telemetry.latest().waiting_samples;
        match block {
            399 => before = waiting,
            403 => assert!(waiting >= before + 3 * OTHER_BLOCK - 8, "{waiting} {before}"),
            404.. if after.is_none() && waiting.abs_diff(before) < OTHER_BLOCK / 2 => after = Some(block),
            _ => {}
        }
    }
    let took = after.expect("as before") - 403;
    assert!(took * OTHER_BLOCK < 24_000, "{took} blocks");
    let telemetry = telemetry.latest();
    assert!(telemetry.dropped_samples > 0 && telemetry.starvation.times == 0, "{telemetry:?}");
    assert!(telemetry.waiting_samples.abs_diff(before) < OTHER_BLOCK / 2, "{telemetry:?}");
    assert!(steepest(&played) < 0.0576 + 2.5 / 96.0, "{}", steepest(&played));
}

#[test]
fn a_pause_of_our_own_device_leaves_out_the_oldest_without_a_click() {
    let (mut device, mut other, mut telemetry) = capturing(48_000);
    let mut tone = Tone::new(48_000.0);
    let mut played = Vec::new();
    for block in 0..1000 {
        other.push(&tone.block());
        if !(400..410).contains(&block) {
            played.extend(device.block(&[0.0; OTHER_BLOCK]));
        }
    }
    let telemetry = telemetry.latest();
    assert!(telemetry.dropped_samples > 0 && telemetry.starvation.times == 0, "{telemetry:?}");
    assert!((telemetry.waiting_samples as f64 - 1200.0).abs() < 600.0, "{telemetry:?}");
    assert!(steepest(&played) < 0.0576 + 2.5 / 96.0, "{}", steepest(&played));
}

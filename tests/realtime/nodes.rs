//! What each node does to a signal.

use proptest::prelude::*;
use syrinx::graph::GraphBuilder;
use syrinx::graph::GraphSettings;
use syrinx::graph::nodes::{Gain, Gate, HighPass, Input, Limiter, Meter, Mix, Output};
use syrinx::params::{GateParams, HighPassParams, LiveParams};

use crate::support::{Device, RATE_HZ, mono, mono_with, noise, peak, sine, steepest, through};

fn scaled(samples: &[f32], by: f32) -> Vec<f32> {
    samples.iter().map(|x| x * by).collect()
}

fn db(db: f32) -> f32 {
    10_f32.powf(db / 20.0)
}

#[test]
fn a_gain_that_changes_makes_no_zipper_noise() {
    let mut device = Device::playing(&mono(), through(&mono(), Gain::of(|live| live.input_gain_db)));
    let constant = vec![1.0; 4800];
    device.run(&constant, &[64]);
    device.control.set_params(LiveParams { input_gain_db: -20.0, ..LiveParams::default() }).unwrap();
    let played = device.run(&constant, &[64]);
    // 0.9 over 20 ms.
    assert!(steepest(&played) < 0.9 / 960.0 * 1.01, "{}", steepest(&played));
    assert!((played[4799] - 0.1).abs() < 1e-7);
}

#[test]
fn a_ceiling_and_a_gate_that_are_moved_make_no_zipper_noise() {
    let limiter = Limiter { look_ahead_ms: 1.5, release_ms: 60.0 };
    let (live, constant) = (LiveParams::default(), vec![0.5; 4800]);
    let mut device = Device::playing(&mono(), through(&mono(), limiter));
    device.run(&constant, &[64]);
    device.control.set_params(LiveParams { ceiling_db: -26.0, ..live }).unwrap();
    let played = device.run(&constant, &[64]);
    // From -1 dB to -26 dB over 20 ms, of which the look-ahead makes a mean.
    assert!(steepest(&played) < 0.85 / 960.0 * 1.05, "{}", steepest(&played));
    assert!((peak(&played[2400..]) - db(-26.0)).abs() < 1e-6);

    let gate = GateParams { on: true, threshold_db: -60.0, ..GateParams::default() };
    let settings = mono_with(LiveParams { gate, ..live });
    let mut device = Device::playing(&settings, through(&settings, Gate));
    device.run(&vec![0.25; 4800], &[64]);
    let set = |device: &mut Device, on, threshold_db| {
        let gate = GateParams { on, threshold_db, ..gate };
        device.control.set_params(LiveParams { gate, ..live }).unwrap();
        device.run(&vec![0.25; 24_000], &[64])
    };
    // Closed by its threshold within release, opened by its switch within attack.
    let closing = set(&mut device, true, -1.0);
    assert!(closing[23_999] == 0.0 && steepest(&closing) < 0.25 / 7200.0 * 1.01, "{}", steepest(&closing));
    let opening = set(&mut device, false, -1.0);
    assert!(opening[23_999] == 0.25 && steepest(&opening) < 0.25 / 96.0 * 1.01, "{}", steepest(&opening));
}

#[test]
fn parameters_out_of_range_are_refused_by_name() {
    let mut device = Device::playing(&mono(), through(&mono(), Gain::of(|live| live.input_gain_db)));
    let refused = device.control.set_params(LiveParams { mix: f32::NAN, ..LiveParams::default() });
    assert_eq!(refused.unwrap_err().to_string(), "mix: expected 0 to 1, found NaN");
}

#[test]
fn a_gate_opens_at_its_threshold_and_closes_only_below_its_hysteresis() {
    let gate = GateParams {
        on: true,
        threshold_db: -40.0,
        hysteresis_db: 6.0,
        attack_ms: 1.0,
        hold_ms: 50.0,
        release_ms: 20.0,
    };
    let settings = mono_with(LiveParams { gate, ..LiveParams::default() });
    let mut device = Device::playing(&settings, through(&settings, Gate));
    let tone = sine(500.0, 9600);
    let mut play = |level_db: f32| {
        let played = device.run(&scaled(&tone, db(level_db)), &[64, 100]);
        peak(&played[4800..]) / db(level_db)
    };
    // Closed below the threshold, open above, still open between, closed under both, still closed between.
    assert_eq!(play(-42.0), 0.0);
    assert!((play(-38.0) - 1.0).abs() < 1e-3);
    assert!((play(-44.0) - 1.0).abs() < 1e-3);
    assert_eq!(play(-48.0), 0.0);
    assert_eq!(play(-44.0), 0.0);
}

#[test]
fn a_gate_holds_before_it_closes_and_closes_without_a_click() {
    let gate = GateParams { on: true, threshold_db: -40.0, hold_ms: 100.0, release_ms: 50.0, ..GateParams::default() };
    let settings = mono_with(LiveParams { gate, ..LiveParams::default() });
    let mut device = Device::playing(&settings, through(&settings, Gate));
    device.run(&sine(500.0, 4800), &[64]);
    // A whisper below both thresholds, so that the gain can be read off it.
    let quiet = device.run(&vec![1e-4; 24_000], &[64]);
    let closed = quiet.iter().position(|&x| x == 0.0).expect("closed at last");
    // The level needs some 50 ms to fall by 46 dB, then hold and release.
    assert!((9600..10_800).contains(&closed), "{closed}");
    assert!(quiet[..4800].iter().all(|&x| x == 1e-4));
    assert!(steepest(&quiet) < 1e-4 / 2000.0);
}

#[test]
fn a_high_pass_takes_an_offset_and_keeps_a_voice() {
    let settings =
        mono_with(LiveParams { high_pass: HighPassParams { on: true, cutoff_hz: 80.0 }, ..LiveParams::default() });
    let response = |input: &[f32]| {
        let played = Device::playing(&settings, through(&settings, HighPass)).run(input, &[64, 7]);
        peak(&played[24_000..])
    };
    assert!(response(&vec![0.5; 48_000]) < 1e-6);
    // -3 dB at the cut-off, 12 dB per octave below.
    for (frequency_hz, expected) in [(80.0, 0.5_f32.sqrt()), (20.0, 1.0 / 16.0), (1000.0, 1.0)] {
        let found = response(&sine(frequency_hz, 48_000));
        assert!((found - expected).abs() < 1e-2 * expected, "{frequency_hz} Hz: {found}, not {expected}");
    }
}

#[test]
fn a_high_pass_that_is_moved_or_taken_out_makes_no_click() {
    let mut device = Device::playing(&mono(), through(&mono(), HighPass));
    let tone = sine(220.0, 96_000);
    let mut played = Vec::new();
    for (part, high_pass_hz) in tone.chunks(9600).zip([0.0_f32, 80.0, 400.0, 20.0, 0.0, 1000.0, 0.0, 60.0, 0.0, 0.0]) {
        let high_pass = HighPassParams { on: high_pass_hz > 0.0, cutoff_hz: high_pass_hz.max(20.0) };
        device.control.set_params(LiveParams { high_pass, ..LiveParams::default() }).unwrap();
        played.extend(device.run(part, &[64]));
    }
    assert!(steepest(&played) < 1.5 * steepest(&tone), "{} against {}", steepest(&played), steepest(&tone));
    assert_eq!(played[95_000..], tone[95_000..]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn nothing_exceeds_the_ceiling(
        seed: u64, loud in 0.0..60.0_f32, ceiling_db in -40.0..0.0_f32, look_ahead_ms in 0.0..20.0_f32,
        release_ms in 1.0..2000.0_f32, block in 1..600_usize,
    ) {
        let settings = mono_with(LiveParams { ceiling_db, ..LiveParams::default() });
        let mut captured = scaled(&noise(seed, 8000), db(loud));
        // Bursts after quiet, and what no limiter should see.
        captured.iter_mut().enumerate().filter(|(n, _)| n / 700 % 3 == 1).for_each(|(_, x)| *x *= 1e-3);
        captured[100] = f32::INFINITY;
        captured[200] = f32::NAN;
        let graph = through(&settings, Limiter { look_ahead_ms, release_ms });
        let played = Device::playing(&settings, graph).run(&captured, &[block]);
        prop_assert!(peak(&played) <= db(ceiling_db), "{} above {}", peak(&played), db(ceiling_db));
        prop_assert!(played.iter().all(|x| x.is_finite()));
    }
}

#[test]
fn a_limiter_turns_down_smoothly_and_comes_back() {
    let settings = mono_with(LiveParams { ceiling_db: -6.0, ..LiveParams::default() });
    let mut device = Device::playing(&settings, through(&settings, Limiter { look_ahead_ms: 2.0, release_ms: 50.0 }));
    let mut constant = vec![0.25; 24_000];
    constant[4800..9600].fill(2.0);
    let played = device.run(&constant, &[64]);
    // Before the burst of 0.25 * 8 comes out, the quiet part has been turned down in a line over 96 samples.
    let before = &played[4800..4896];
    assert!(before.windows(2).all(|pair| pair[1] <= pair[0]) && before[95] < 0.07, "{before:?}");
    let step = 0.25 * (1.0 - db(-6.0) / 2.0) / 96.0;
    assert!(steepest(before) < step * 1.05, "{}", steepest(before));
    // Six time constants later.
    assert!((played[23_999] - 0.25).abs() < 1e-3);
}

#[test]
fn a_meter_shows_peak_and_rms_and_lets_the_peak_fall_by_20_db_per_second() {
    let mut graph = GraphBuilder::new(mono());
    let input = graph.add("input", Input::of(0)).unwrap();
    let (meter, mut levels) = Meter::new();
    let meter = graph.add("meter", meter).unwrap();
    graph.connect(input, meter).unwrap();
    let mut device = Device::playing(&mono(), graph.build().unwrap());
    device.run(&scaled(&sine(1000.0, 96_000), 0.5), &[480]);
    let shown = levels.latest();
    assert!((shown.peak - 0.5).abs() < 1e-3, "{shown:?}");
    assert!((shown.rms - 0.5 * 0.5_f32.sqrt()).abs() < 2e-3, "{shown:?}");
    assert_eq!(shown.clipped_samples, 0);
    device.run(&vec![0.0; RATE_HZ as usize], &[480]);
    let shown = levels.latest();
    assert!((shown.peak - 0.05).abs() < 1e-3 && shown.rms < 0.1, "{shown:?}");
    device.run(&[1.0; 48], &[48]);
    assert_eq!(levels.latest().clipped_samples, 48);
}

#[test]
fn bypass_is_the_dry_path_and_fades() {
    let settings = mono_with(LiveParams::default());
    let mut graph = GraphBuilder::new(settings.clone());
    let input = graph.add("input", Input::of(0)).unwrap();
    let wet = graph.add("wet", Gain::of(|_| 6.0)).unwrap();
    let mix = graph.add("mix", Mix).unwrap();
    graph.connect(input, wet).unwrap();
    graph.connect(input, (mix, Mix::DRY)).unwrap();
    graph.connect(wet, (mix, Mix::WET)).unwrap();
    let mut device = Device::playing(&settings, crate::support::finish(graph, &[mix]));
    let mut played = device.run(&vec![0.25; 4800], &[64]);
    device.control.set_params(LiveParams { bypass: true, ..LiveParams::default() }).unwrap();
    played.extend(device.run(&vec![0.25; 4800], &[64]));
    assert!((played[4799] - 0.25 * db(6.0)).abs() < 1e-6);
    assert_eq!(played[9599], 0.25);
    assert!(steepest(&played) < 0.25 / 960.0 * 1.01);
}

#[test]
fn mute_and_monitor_act_on_their_own_channels() {
    let settings = GraphSettings { device_outputs: 3, ..mono() };
    let mut graph = GraphBuilder::new(settings.clone());
    let input = graph.add("input", Input::of(0)).unwrap();
    let output = graph.add("output", Output::to([0, 1])).unwrap();
    let monitor = graph.add("monitor", Output::monitor([2])).unwrap();
    graph.connect(input, output).unwrap();
    graph.connect(input, monitor).unwrap();
    let mut device = Device::playing(&settings, graph.build().unwrap());
    let mut play = |live: LiveParams| {
        device.control.set_params(live).unwrap();
        let mut played = [vec![0.0; 4800], vec![0.0; 4800], vec![0.0; 4800]];
        let [left, right, ear] = &mut played;
        device.processor.process(&[&vec![0.5; 4800]], &mut [left, right, ear]);
        played.map(|channel| channel[4799])
    };
    assert_eq!(play(LiveParams::default()), [0.5, 0.5, 0.0]);
    assert_eq!(play(LiveParams { mute: true, monitor: true, ..LiveParams::default() }), [0.0, 0.0, 0.5]);
}

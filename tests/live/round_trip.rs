//! The delay that is measured by ear is the one that is reported.

use std::path::{Path, PathBuf};
use std::time::Duration;

use syrinx::engine::{Engine, ModelFiles, TrackerFile};
use syrinx::geometry::Timing;
use syrinx::io::live::{Loopback, Pace};
use syrinx::live::{SessionSettings, round_trip};
use syrinx::nn::Cpu;
use syrinx::params::LiveParams;

fn cable(delay_samples: usize) -> Loopback {
    Loopback { rate_hz: 48_000, block_frames: 256, delay_samples, pace: Pace::AsFastAsPossible }
}

fn settings() -> SessionSettings {
    SessionSettings {
        timing: Timing { chunk: 0.05, crossfade: 0.04, context: 0.3 },
        budget: Some(Duration::from_millis(30)),
        ..SessionSettings::default()
    }
}

#[test]
fn a_cable_is_measured_to_a_fraction_of_a_sample() {
    for delay in [256, 1000, 30_001] {
        let way = round_trip::device(&mut cable(delay), &settings(), 3).unwrap();
        assert!((way.samples - delay as f64).abs() < 0.01, "{way:?}");
        assert_eq!((way.reported.total(), way.spread_samples), (delay, 0.0));
        assert!(way.agreement > 0.999, "{way:?}");
    }
}

#[test]
fn the_graph_adds_what_it_reports_to_the_sample_in_either_mode() {
    for total_delay in [None, Some(Duration::from_millis(333))] {
        let settings = SessionSettings { total_delay, ..settings() };
        let way = round_trip::graph(&mut cable(777), &settings, 3).unwrap();
        assert!((way.samples - way.reported.total() as f64).abs() < 0.01, "{way:?}");
        assert_eq!(way.reported.device, 777);
        match total_delay {
            None => assert_eq!((way.reported.processing, way.reported.algorithmic), (1440 + 256, 2400 + 72)),
            Some(_) => assert_eq!(way.reported.total(), 15_984),
        }
    }
}

#[test]
fn a_voice_is_as_late_as_it_reports_within_the_resolution() {
    let data = |name: &str| -> PathBuf { Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name) };
    let files = ModelFiles {
        voice: data("synth_small_v1_32k.pth"),
        index: None,
        encoder: data("hubert_small_v1.weights.safetensors"),
        tracker: TrackerFile::Yin,
    };
    let voice = Engine::<Cpu>::new(Default::default()).converter(&files).unwrap();
    let way = round_trip::voice(&mut cable(512), voice, &settings(), 3).unwrap();
    let difference = way.samples - way.reported.total() as f64;
    println!("{way:?}: {:+.1} ms", difference / 48.0);
    assert_eq!(way.resolution_samples, 960.0);
    assert!(difference.abs() < way.resolution_samples, "{way:?}");
    assert!(way.agreement > 0.6, "{way:?}");
}

#[test]
fn a_cable_that_is_not_there_is_an_error_that_says_what_to_do() {
    // Muted, nothing comes back.
    let live = LiveParams { mute: true, ..LiveParams::default() };
    let error = round_trip::graph(&mut cable(256), &SessionSettings { live, ..settings() }, 1).unwrap_err().to_string();
    assert!(error.contains("did not come back") && error.contains("cable"), "{error}");
    let error =
        round_trip::graph(&mut cable(256), &SessionSettings { input: 1, ..settings() }, 1).unwrap_err().to_string();
    assert!(error.starts_with("input channel"), "{error}");
    assert!(round_trip::device(&mut cable(255), &settings(), 1).is_err());
}

//! A recording through the live engine.

use std::path::Path;
use std::time::{Duration, Instant};

use syrinx::io::live::{Backend, DeviceEvent, DeviceState, FileDevice, Pace};
use syrinx::io::read::read;
use syrinx::io::write::{Container, Encoding, Quantise, SampleFormat, write};
use syrinx::units::Recording;

use crate::support::{limited, noise, through_a_worker};

fn float() -> Encoding {
    Encoding::new(Container::Wav, SampleFormat::Float, Quantise::Round).unwrap()
}

fn device(folder: &Path, recording: &Recording, block_frames: usize, pace: Pace) -> FileDevice {
    let (input, output) = (folder.join("in.wav"), folder.join("out.wav"));
    write(&input, recording, float()).unwrap();
    FileDevice { input, output, encoding: float(), rate_hz: None, block_frames, pace }
}

#[test]
fn as_fast_as_possible_every_sample_comes_out_in_step_through_a_worker_on_another_thread() {
    let folder = tempfile::tempdir().unwrap();
    let recording = Recording { samples: noise(3, 30 * 44_100 + 17), sample_rate_hz: 44_100 };
    let mut backend = device(folder.path(), &recording, 441, Pace::AsFastAsPossible);
    let device = backend.open().unwrap();
    assert_eq!((device.format().rate_hz, device.format().inputs), (44_100, 1));
    let (control, processor) = through_a_worker(device.format(), 4410);
    let start = Instant::now();
    let device = device.start(processor);
    assert!(device.wait_for(DeviceState::Ended, Duration::from_mins(1)));
    assert!(start.elapsed() < Duration::from_secs(20), "{:?} for 30 s of audio", start.elapsed());
    let events: Vec<DeviceEvent> = std::iter::from_fn(|| device.next_event()).collect();
    assert_eq!(events, [DeviceEvent::Freewheel(true), DeviceEvent::Ended]);
    let stopped = device.stop();
    assert!(stopped.problem.is_none() && stopped.processor.is_some());
    assert_eq!(stopped.telemetry.graph_latency_samples, control.latency_samples);
    assert_eq!(stopped.telemetry.frames as usize, recording.samples.len() + control.latency_samples);
    assert_eq!(read(&folder.path().join("out.wav")).unwrap().recording, recording);
}

#[test]
fn a_rate_that_no_stream_takes_is_resampled_and_every_sample_comes_out_at_its_own_rate() {
    use std::f64::consts::TAU;
    let folder = tempfile::tempdir().unwrap();
    for (rate_hz, asked_hz, played_hz) in [
        (22_050, None, 44_100),
        (11_025, None, 44_100),
        (22_255, None, 48_000),
        (4_000, None, 48_000),
        (44_100, None, 44_100),
        (22_050, Some(16_000), 16_000),
        (44_101, Some(96_000), 96_000),
    ] {
        let tone = |n: usize| 0.5 * (TAU * 440.0 * n as f64 / f64::from(rate_hz)).sin() as f32;
        let recording = Recording { samples: (0..rate_hz as usize + 13).map(tone).collect(), sample_rate_hz: rate_hz };
        let backend = device(folder.path(), &recording, 480, Pace::AsFastAsPossible);
        let mut backend = FileDevice { rate_hz: asked_hz, ..backend };
        let device = backend.open().unwrap();
        assert_eq!(device.format().rate_hz, played_hz);
        let (_control, processor) = limited(device.format());
        let device = device.start(processor);
        assert!(device.wait_for(DeviceState::Ended, Duration::from_secs(30)));
        assert!(device.stop().problem.is_none());
        let written = read(&folder.path().join("out.wav")).unwrap().recording;
        assert_eq!((written.samples.len(), written.sample_rate_hz), (recording.samples.len(), rate_hz));
        // Beyond the reach of two filters from the ends, it is the same tone at the same place.
        let inner = rate_hz as usize / 3..rate_hz as usize * 2 / 3;
        let error = inner.map(|n| (written.samples[n] - recording.samples[n]).abs()).fold(0.0, f32::max);
        assert!(error < 1e-3, "{rate_hz} Hz played at {played_hz} Hz: {error}");
    }
}

#[test]
fn at_clock_speed_a_second_takes_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let recording = Recording { samples: noise(4, 48_000), sample_rate_hz: 48_000 };
    let mut backend = device(folder.path(), &recording, 480, Pace::Clock);
    let device = backend.open().unwrap();
    let (_control, processor) = limited(device.format());
    let start = Instant::now();
    let device = device.start(processor);
    assert!(device.wait_for(DeviceState::Ended, Duration::from_secs(30)));
    assert!(start.elapsed() >= Duration::from_millis(995), "{:?}", start.elapsed());
    drop(device);
    assert_eq!(read(&folder.path().join("out.wav")).unwrap().recording, recording);
}

#[test]
fn stopped_early_the_file_holds_what_was_read_until_then() {
    let folder = tempfile::tempdir().unwrap();
    let recording = Recording { samples: noise(5, 60 * 48_000), sample_rate_hz: 48_000 };
    let mut backend = device(folder.path(), &recording, 480, Pace::Clock);
    let device = backend.open().unwrap();
    let (_control, processor) = limited(device.format());
    let device = device.start(processor);
    while device.telemetry().callbacks < 20 {
        std::thread::yield_now();
    }
    let stopped = device.stop();
    assert!(stopped.problem.is_none());
    let written = read(&folder.path().join("out.wav")).unwrap().recording.samples;
    assert!(written.len() >= 20 * 480 && written.len() < recording.samples.len(), "{}", written.len());
    assert_eq!(written[..], recording.samples[..written.len()]);
}

#[test]
fn a_file_that_cannot_be_read_or_written_is_an_error_and_never_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let recording = Recording { samples: noise(6, 4800), sample_rate_hz: 48_000 };
    let backend = device(folder.path(), &recording, 480, Pace::AsFastAsPossible);
    assert!(FileDevice { input: folder.path().join("none.wav"), ..backend.clone() }.open().is_err());
    assert!(FileDevice { block_frames: 0, ..backend.clone() }.open().is_err());
    let mut backend = FileDevice { output: folder.path().join("none").join("out.wav"), ..backend };
    let device = backend.open().unwrap();
    let (_control, processor) = limited(device.format());
    let device = device.start(processor);
    assert!(device.wait_for(DeviceState::Ended, Duration::from_secs(30)));
    let failed = std::iter::from_fn(|| device.next_event()).any(|event| matches!(event, DeviceEvent::Failed { .. }));
    let stopped = device.stop();
    assert!(failed && stopped.problem.is_some() && stopped.processor.is_some());
}

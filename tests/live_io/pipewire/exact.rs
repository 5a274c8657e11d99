//! What is heard is what was said, as late as was told.

use std::time::Duration;

use syrinx::io::live::sound_card::devices;
use syrinx::io::live::{Backend, DeviceState, SoundCard};

use super::rig::{Rig, card, folder, lost_cycles, play, record, with_environment};
use crate::server::wait_until;
use crate::support::{limited, noise};

const LONG: Duration = Duration::from_secs(30);

/// Noise below about 1 kHz, so that a fraction of a sample of delay costs little.
fn rumble(samples: usize) -> Vec<f32> {
    let (mut once, mut twice) = (0.0, 0.0);
    let smooth = |x: f32| {
        once += 0.1 * (x - once);
        twice += 0.1 * (once - twice);
        twice
    };
    noise(9, samples).into_iter().map(smooth).collect()
}

/// The correlation, -1..=1, of `heard` from `lag` on with `said`.
fn correlation(said: &[f32], heard: &[f32], lag: usize) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
    let heard = &heard[lag..lag + said.len()];
    dot(said, heard) / (dot(said, said) * dot(heard, heard)).sqrt().max(1e-12)
}

/// The lag at which they agree best, and how well.
fn best_lag(said: &[f32], heard: &[f32], lags: std::ops::Range<usize>) -> (usize, f64) {
    let by_lag = lags.map(|lag| (lag, correlation(said, heard, lag)));
    by_lag.max_by(|a, b| a.1.total_cmp(&b.1)).expect("a lag")
}

#[test]
fn noise_crosses_two_streams_of_512_frames_unharmed_with_the_latency_that_is_reported() {
    noise_crosses(
        "pipewire::exact::noise_crosses_two_streams_of_512_frames_unharmed_with_the_latency_that_is_reported",
        512,
    );
}

#[test]
fn noise_crosses_two_streams_of_1024_frames_unharmed_with_the_latency_that_is_reported() {
    noise_crosses(
        "pipewire::exact::noise_crosses_two_streams_of_1024_frames_unharmed_with_the_latency_that_is_reported",
        1024,
    );
}

/// Windows of a measurement.
const WINDOWS: usize = 25;
/// Fewest of them, in a row, that a disturbed measurement must have undisturbed: 1.6 s.
const IN_A_ROW: usize = 8;

/// The most windows in a row of which `is_good`.
fn longest_stretch(windows: &[(usize, f64)], is_good: impl Fn(&(usize, f64)) -> bool) -> usize {
    windows.split(|window| !is_good(window)).map(<[_]>::len).max().unwrap_or_default()
}

/// A machine that does other things loses blocks before they reach us. Where PipeWire or we counted such a loss, only
/// the longest stretch without one must be whole; where no one did, everything must.
fn noise_crosses(name: &str, frames: u32) {
    with_environment(name, || {
        let _rig = Rig::start(frames);
        let device = card(frames).open().expect("a card");
        let format = *device.format();
        assert_eq!((format.rate_hz, format.inputs, format.outputs), (48_000, 1, 1));
        assert_eq!(format.block_frames, frames as usize);
        let (_control, processor) = limited(device.format());
        let device = device.start(processor);
        let undisturbed = (1..=4).any(|attempt| {
            // The ratio settles.
            std::thread::sleep(Duration::from_secs(10));
            let (before, lost_before) = (device.telemetry(), lost_cycles());
            let windows = measure(attempt);
            let (after, lost) = (device.telemetry(), lost_cycles() - lost_before);
            assert_eq!((after.state, after.losses), (DeviceState::Running, 0));
            // What waits in the bridge may be on its way back to its aim.
            let mut reported = [before.latency_samples(), after.latency_samples()];
            reported.sort_unstable();
            let xruns = after.xruns - before.xruns;
            println!("{frames} frames: reported {reported:?}, xruns {xruns}, PipeWire's {lost}: {windows:?}");
            // What waits moves while it is measured.
            let slack = frames as usize / 4;
            let near = |lag: usize| (reported[0] - slack..=reported[1] + slack).contains(&lag);
            let disturbed = xruns > 0 || lost > 0;
            let least = if disturbed { IN_A_ROW } else { WINDOWS };
            longest_stretch(&windows, |&(lag, correlation)| correlation > 0.99 && near(lag)) >= least
        });
        assert!(undisturbed, "no measurement is whole, at the latency that was reported");
        assert!(device.stop().processor.is_some());
    });
}

/// Plays noise into what the device captures, and finds it in what it plays: lag and correlation, window by window.
fn measure(attempt: u32) -> Vec<(usize, f64)> {
    let file = |name: &str| folder().join(format!("{name}-{attempt}.raw"));
    let (said, heard) = (file("said"), file("heard"));
    let said_frames = rumble(6 * 48_000).into_iter().map(|x| [0.9 * x, 0.0, 0.0, 0.0]);
    let bytes: Vec<u8> = said_frames.flatten().flat_map(f32::to_le_bytes).collect();
    std::fs::write(&said, bytes).expect("a file");
    let recorder = record(&heard);
    wait_until("the recorder", LONG, || heard.metadata().is_ok_and(|file| file.len() > 100_000));
    play(&said);
    std::thread::sleep(Duration::from_secs(1));
    drop(recorder);

    let bytes = std::fs::read(&heard).expect("a recording");
    let samples = bytes.chunks_exact(4).map(|x| f32::from_le_bytes(x.try_into().expect("four bytes")));
    let samples: Vec<f32> = samples.collect();
    let channel = |n: usize| samples.iter().skip(n).step_by(4).copied().collect::<Vec<f32>>();
    let (said, heard) = (channel(0), channel(2));
    let start = said.iter().position(|&x| x != 0.0).expect("noise") + 9600;
    let windows = (0..WINDOWS).map(|window| start + window * 9600).filter(|at| at + 960 + 8000 <= heard.len());
    windows.map(|at| best_lag(&said[at..at + 960], &heard[at..], 500..8000)).collect()
}

#[test]
fn cards_are_listed_and_wrong_names_are_refused_with_those_that_there_are() {
    with_environment("pipewire::exact::cards_are_listed_and_wrong_names_are_refused_with_those_that_there_are", || {
        let _rig = Rig::start(512);
        let hosts = devices();
        let host = hosts.iter().find(|host| host.host == "pipewire").expect("the host");
        let sink = host.devices.iter().find(|device| device.id == "M").expect("the sink");
        let output = sink.output.as_ref().expect("an output");
        assert_eq!((output.channels, output.default_rate_hz), (4, 48_000));
        assert!(host.devices.iter().any(|device| device.output.as_ref().is_some_and(|output| output.default)));

        let named = |name: &str| SoundCard { output: syrinx::io::live::Choice::Named(name.into()), ..card(512) };
        let error = named("no such card").open().err().expect("a refusal").to_string();
        assert!(error.contains("none; there are") && error.contains('M'), "{error}");
        let error =
            SoundCard { host: Some("nothing".into()), ..card(512) }.open().err().expect("a refusal").to_string();
        assert!(error.contains("expected one of") && error.contains("pipewire"), "{error}");
        let error = SoundCard { output_channels: vec![7], ..card(512) }.open().err().expect("a refusal").to_string();
        assert!(error.contains("has no 8 channels"), "{error}");
    });
}

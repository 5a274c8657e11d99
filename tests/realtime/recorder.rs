//! Recordings are complete, aligned, and never in the way.

use std::path::Path;
use std::time::{Duration, Instant};

use syrinx::graph::nodes::recorder::Recording;
use syrinx::graph::nodes::recorder::RecordingFormat;
use syrinx::graph::nodes::{Input, Limiter, Recorder};
use syrinx::graph::{CompiledGraph, GraphBuilder};
use syrinx::rt::events::{Event, EventTx, event_queue};

use crate::support::{Device, RATE_HZ, finish, mono, noise};

fn quiet(seed: u64, samples: usize) -> Vec<f32> {
    noise(seed, samples).iter().map(|x| 0.8 * x).collect()
}

/// `input -> limiter -> output`, with the input and the output recorded.
fn recorded(path: &Path, format: RecordingFormat, events: EventTx) -> (CompiledGraph, Recording) {
    let (recorder, recording) = Recorder::start(path, RATE_HZ, format, events).unwrap();
    (recording_graph(recorder), recording)
}

fn recording_graph(recorder: Recorder) -> CompiledGraph {
    let mut graph = GraphBuilder::new(mono());
    let input = graph.add("input", Input::of(0)).unwrap();
    let limiter = graph.add("limiter", Limiter { look_ahead_ms: 1.0, release_ms: 50.0 }).unwrap();
    let recorder = graph.add("recorder", recorder).unwrap();
    graph.connect(input, (recorder, Recorder::LEFT)).unwrap();
    graph.connect(input, limiter).unwrap();
    graph.connect(limiter, (recorder, Recorder::RIGHT)).unwrap();
    finish(graph, &[limiter])
}

fn read(path: &Path) -> (Vec<f32>, Vec<f32>) {
    let mut file = hound::WavReader::open(path).expect("a wav file");
    assert_eq!((file.spec().channels, file.spec().sample_rate), (2, RATE_HZ));
    let samples: Vec<f32> = match file.spec().sample_format {
        hound::SampleFormat::Float => file.samples::<f32>().map(|x| x.expect("a sample")).collect(),
        hound::SampleFormat::Int => file.samples::<i32>().map(|x| x.expect("a sample") as f32 / 8_388_608.0).collect(),
    };
    samples.chunks(2).map(|frame| (frame[0], frame[1])).unzip()
}

#[test]
fn a_recording_holds_every_sample_with_input_and_output_aligned() {
    let folder = tempfile::tempdir().unwrap();
    for (format, tolerance) in [(RecordingFormat::Float, 0.0), (RecordingFormat::Int24, 0.5 / 8_388_608.0)] {
        let path = folder.path().join(format!("{format:?}.wav"));
        let (graph, recording) = recorded(&path, format, event_queue(16).0);
        let mut device = Device::playing(&mono(), graph);
        let captured = quiet(5, 100_000);
        let played = device.run(&captured, &[64, 480, 1000]);
        let report = recording.stop().expect("a report");
        assert_eq!((report.frames, report.lost_frames), (100_000, 0));
        assert!(report.failure.is_none() && report.files == [path.clone()]);
        let (left, right) = read(&path);
        assert!(right.iter().zip(&played).all(|(file, heard)| (file - heard).abs() <= tolerance));
        // The input is delayed by the limiter's latency, so that both sides show the same moment.
        assert!(left[48..].iter().zip(&captured).all(|(file, said)| (file - said).abs() <= tolerance));
        assert_eq!((left.len(), right.len()), (100_000, 100_000));
    }
}

#[test]
fn a_recording_that_is_dropped_is_closed_and_the_graph_plays_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dropped.wav");
    let (graph, recording) = recorded(&path, RecordingFormat::Float, event_queue(16).0);
    let mut device = Device::playing(&mono(), graph);
    device.run(&quiet(6, 10_000), &[64]);
    drop(recording);
    assert_eq!(read(&path).0.len(), 10_000);
    // Longer than the queue to the disk, which no one empties any more.
    let played = device.run(&quiet(7, 250_000), &[64]);
    assert!(played[249_999] != 0.0);
}

#[test]
fn a_recording_can_be_read_while_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("running.wav");
    let (graph, recording) = recorded(&path, RecordingFormat::Float, event_queue(16).0);
    let mut device = Device::playing(&mono(), graph);
    device.run(&quiet(8, 96_000), &[64]);
    let patience = Instant::now();
    while recording.progress().0 < 48_000 {
        assert!(patience.elapsed() < Duration::from_secs(20), "{:?}", recording.progress());
        std::thread::yield_now();
    }
    assert!(read(&path).0.len() >= 48_000);
}

#[test]
fn a_graph_that_takes_over_goes_on_with_the_recording_without_losing_or_doubling_a_frame() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("one.wav");
    let (graph, recording) = recorded(&path, RecordingFormat::Float, event_queue(1).0);
    let mut device = Device::playing(&mono(), graph);
    let captured = quiet(12, 60_000);
    let mut played = device.run(&captured[..20_000], &[64]);
    for _ in 0..2 {
        device.control.swap(recording_graph(recording.tap(RATE_HZ))).unwrap();
    }
    played.extend(device.run(&captured[20_000..], &[64, 100, 1000]));
    assert_eq!(device.control.telemetry().swaps, 2);
    let report = recording.stop().expect("a report");
    assert!(report.failure.is_none());
    assert_eq!((report.frames, report.lost_frames), (60_000, 0));
    let (left, right) = read(&path);
    assert_eq!(right, played);
    assert_eq!(left[48..], captured[..60_000 - 48]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_counted_and_reported_and_the_audio_goes_on() {
    let (tx, events) = event_queue(16);
    let (graph, recording) = recorded(Path::new("/dev/full"), RecordingFormat::Float, tx);
    let mut device = Device::playing(&mono(), graph);
    let captured = quiet(9, 96_000);
    let played = device.run(&captured, &[64]);
    assert_eq!(played[48..], captured[..96_000 - 48]);
    let report = recording.stop().expect("a report");
    assert_eq!((report.frames, report.lost_frames), (0, 96_000));
    let failure = report.failure.expect("a failure").to_string();
    assert!(failure.starts_with("/dev/full: ") && failure.contains("No space left"), "{failure}");
    assert_eq!([events.next(), events.next()], [Some(Event::RecorderFailed), None]);
}

/// A file system of 256 kB, where this process may mount one.
#[cfg(target_os = "linux")]
fn small_disk(folder: &Path) -> bool {
    let mount =
        std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(folder).output();
    mount.is_ok_and(|output| output.status.success())
}

#[cfg(target_os = "linux")]
#[test]
fn what_was_written_before_the_disk_was_full_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    if !small_disk(folder.path()) {
        eprintln!("no right to mount a small file system: only /dev/full is tested");
        return;
    }
    let path = folder.path().join("cut.wav");
    let (graph, recording) = recorded(&path, RecordingFormat::Float, event_queue(16).0);
    let mut device = Device::playing(&mono(), graph);
    let captured = quiet(10, 96_000);
    let played: Vec<f32> = captured
        .chunks(4800)
        .flat_map(|part| {
            // At the pace of a disk, so that it has been made sure of before it is full.
            std::thread::sleep(Duration::from_millis(20));
            device.run(part, &[64])
        })
        .collect();
    let report = recording.stop().expect("a report");
    let file = std::fs::metadata(&path).map(|metadata| metadata.len());
    let kept = std::panic::catch_unwind(|| read(&path));
    std::process::Command::new("umount").arg(folder.path()).status().expect("unmounted");
    assert!(report.failure.is_some() && report.frames > 0, "{report:?} {file:?}");
    assert_eq!(report.frames + report.lost_frames, 96_000);
    let (_, right) = kept.expect("readable");
    assert!(right.len() as u64 >= report.frames);
    assert_eq!(right[..], played[..right.len()]);
}

#[test]
fn a_file_that_cannot_be_created_is_refused_by_name() {
    let refused = Recorder::start(Path::new("/nowhere/at/all.wav"), RATE_HZ, RecordingFormat::Float, event_queue(1).0);
    let message = refused.err().expect("a refusal").to_string();
    assert!(message.starts_with("/nowhere/at/all.wav: "), "{message}");
}

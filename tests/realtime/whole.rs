//! Everything at once: the whole live graph with a worker of its own thread, parameters that change with every block,
//! swaps, starvation and a recorder, under the allocator that aborts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use syrinx::graph::live::{LiveSettings, Source};
use syrinx::graph::nodes::link::{LinkEnd, LinkSettings};
use syrinx::graph::nodes::recorder::RecordingFormat;
use syrinx::graph::nodes::{Limiter, Recorder};
use syrinx::graph::{GraphSettings, LiveGraph, processor};
use syrinx::params::{GateParams, HighPassParams, LiveParams};
use syrinx::rt::events::{EventTx, event_queue};
use syrinx::rt::{Block, Node, Ports, RtNode, Setup};

use crate::support::{Device, MAX_BLOCK, RATE_HZ, link_settings, mono, noise, through};

/// A worker that echoes on a thread of its own until the graph is freed, pausing now and then.
fn spawn_worker(mut end: LinkEnd, asleep: Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let mut samples = vec![0.0; 4096];
        while !end.input.is_abandoned() {
            if !asleep.load(Ordering::Relaxed) {
                let count = end.input.pop(&mut samples);
                end.output.push(&samples[..count]);
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    })
}

fn live(settings: &GraphSettings, recorder: Option<Recorder>, converter_hz: u32, events: EventTx) -> LiveGraph {
    let live = LiveSettings {
        source: Source::Channel(0),
        outputs: vec![0, 1],
        monitors: vec![2],
        converter_input_rate_hz: converter_hz,
        link: LinkSettings { output_rate_hz: converter_hz, ..link_settings(2048) },
        limiter: Limiter { look_ahead_ms: 1.5, release_ms: 60.0 },
        recorder,
    };
    LiveGraph::build(settings.clone(), live, events).unwrap()
}

/// Parameters that differ from block to block.
fn params(block: usize) -> LiveParams {
    let wave = |period: f32| (block as f32 / period).sin();
    LiveParams {
        input_gain_db: 12.0 * wave(3.0),
        high_pass: HighPassParams { on: block % 7 > 2, cutoff_hz: 100.0 + 80.0 * wave(5.0) },
        gate: GateParams { on: block % 5 > 1, threshold_db: -40.0 + 20.0 * wave(11.0), ..GateParams::default() },
        mix: 0.5 + 0.5 * wave(13.0),
        bypass: block.is_multiple_of(31),
        output_gain_db: 12.0 * wave(17.0),
        ceiling_db: -6.0 + 5.0 * wave(19.0),
        mute: block.is_multiple_of(101),
        monitor: block % 9 > 4,
        monitor_gain_db: -6.0,
    }
}

#[test]
fn nothing_allocates_and_every_sample_is_in_bounds_whatever_happens_at_once() {
    let settings = GraphSettings::new(RATE_HZ, MAX_BLOCK, 1, 3);
    let (events, happened) = event_queue(4096);
    let (mut control, mut processor) = processor(&settings, events.clone());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whole.wav");
    let (recorder, recording) = Recorder::start(&path, RATE_HZ, RecordingFormat::Int24, events.clone()).unwrap();
    let asleep = Arc::new(AtomicBool::new(false));
    let mut workers = Vec::new();
    let first = live(&settings, Some(recorder), 48_000, events.clone());
    workers.push(spawn_worker(first.worker, asleep.clone()));
    control.swap(first.graph).unwrap();

    let captured = noise(11, 3 * RATE_HZ as usize);
    let sizes = [64, 1, 480, 1024, 37, 256, 128, 2000];
    let (mut rest, mut block, mut played) = (&captured[..], 0, 0);
    let mut out = [vec![0.0; 2000], vec![0.0; 2000], vec![0.0; 2000]];
    while !rest.is_empty() {
        let size = sizes[block % sizes.len()].min(rest.len());
        let (input, after) = rest.split_at(size);
        control.set_params(params(block)).unwrap();
        asleep.store(block % 60 > 50, Ordering::Relaxed);
        if block % 40 == 20 {
            let next = live(&settings, None, [16_000, 40_000, 48_000][block / 40 % 3], events.clone());
            workers.push(spawn_worker(next.worker, asleep.clone()));
            control.swap(next.graph).unwrap();
        }
        out.iter_mut().for_each(|channel| channel.fill(f32::NAN));
        let [left, right, ear] = &mut out;
        processor.process(&[input], &mut [&mut left[..size], &mut right[..size], &mut ear[..size]]);
        assert!(left[..size].iter().all(|x| x.abs() <= 1.0), "block {block}");
        assert_eq!(left[..size], right[..size]);
        assert!(ear[..size].iter().all(|x| x.is_finite()));
        (rest, block, played) = (after, block + 1, played + size);
        std::thread::sleep(Duration::from_micros(300));
    }
    let telemetry = control.telemetry();
    assert_eq!((played, telemetry.frames), (captured.len(), captured.len() as u64));
    assert_eq!((telemetry.node_panics, telemetry.callback_panics, telemetry.non_finite_samples), (0, 0, 0));
    assert!(telemetry.swaps >= 3, "{telemetry:?}");
    assert!(happened.lost() == 0 && happened.next().is_some());
    // Graphs die here, on control, and with them their workers.
    drop(processor);
    assert!(control.is_abandoned());
    drop(control);
    asleep.store(false, Ordering::Relaxed);
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    let report = recording.stop().unwrap();
    assert_eq!(report.lost_frames, 0);
    assert!(report.frames > 0 && report.failure.is_none());
}

/// What no node may be.
struct Allocating;

impl Node for Allocating {
    fn ports(&self, rate_hz: u32) -> Ports {
        Ports::at(rate_hz, 1, 1)
    }

    fn prepare(self: Box<Self>, _: &Setup) -> syrinx::Result<Box<dyn RtNode>> {
        Ok(self)
    }
}

impl RtNode for Allocating {
    fn process(&mut self, _: &mut Block<'_>, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) {
        outputs[0].copy_from_slice(&std::hint::black_box(inputs[0].to_vec()));
    }

    fn reset(&mut self) {}
}

#[test]
fn a_node_that_allocates_aborts_the_process() {
    const IN_CHILD: &str = "SYRINX_TEST_ALLOCATES";
    if std::env::var_os(IN_CHILD).is_some() {
        Device::playing(&mono(), through(&mono(), Allocating)).block(&[0.0; 64]);
        return;
    }
    let name = "whole::a_node_that_allocates_aborts_the_process";
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    let output = child.args(["--exact", name]).env(IN_CHILD, "1").env("RUST_BACKTRACE", "0").output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && message.contains("memory allocation of 256 bytes failed"), "{message}");
}

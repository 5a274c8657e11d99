//! What the live graph costs without the networks: `cargo bench --bench graph`.
//!
//! The whole graph at 48 kHz in blocks of 64: input gain, high-pass, gate, the link to a converter and back, mix with a
//! delayed dry path, output gain, look-ahead limiter, two meters, recorder tap, monitor, output. A converter that echoes
//! runs beside it, outside the time that is measured. The target is below 1 % of one core in real time, which the bench
//! asserts after it has checked that the graph does its work.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use syrinx::graph::live::{LiveSettings, Source};
use syrinx::graph::nodes::link::{LinkEnd, LinkSettings};
use syrinx::graph::nodes::recorder::{Recording, RecordingFormat};
use syrinx::graph::nodes::{Limiter, Recorder};
use syrinx::graph::{GraphHandle, GraphSettings, LiveGraph, Processor, processor};
use syrinx::params::{GateParams, HighPassParams, LiveParams};
use syrinx::rt::events::event_queue;

const RATE_HZ: u32 = 48_000;
const BLOCK: usize = 64;
/// Share of one core that the graph may take in real time.
const TARGET: f64 = 0.01;

struct Rig {
    processor: Processor,
    control: GraphHandle,
    worker: LinkEnd,
    recording: Recording,
    captured: Vec<f32>,
    at: usize,
    echoed: Vec<f32>,
    latency_samples: usize,
}

impl Rig {
    /// A rig whose converter runs at `converter_hz`, with everything switched on.
    fn new(converter_hz: u32) -> Self {
        let live = LiveParams {
            high_pass: HighPassParams { on: true, cutoff_hz: 80.0 },
            gate: GateParams { on: true, threshold_db: -60.0, ..GateParams::default() },
            mix: 0.7,
            monitor: true,
            input_gain_db: 3.0,
            output_gain_db: -1.0,
            ..LiveParams::default()
        };
        let settings = GraphSettings { live, ..GraphSettings::new(RATE_HZ, BLOCK, 1, 4) };
        let (events, _) = event_queue(64);
        let path = std::env::temp_dir().join(format!("syrinx-bench-{}.wav", std::process::id()));
        let (recorder, recording) =
            Recorder::start(&path, RATE_HZ, RecordingFormat::Float, events.clone()).expect("a recorder");
        let live = LiveSettings {
            source: Source::Channel(0),
            outputs: vec![0, 1],
            monitors: vec![2, 3],
            converter_input_rate_hz: converter_hz,
            link: LinkSettings {
                output_rate_hz: converter_hz,
                lead_samples: 1024,
                worker_latency_samples: 0,
                capacity: 1 << 15,
                fade_ms: 2.0,
            },
            limiter: Limiter { look_ahead_ms: 1.5, release_ms: 60.0 },
            recorder: Some(recorder),
        };
        let (mut control, processor) = processor(&settings, events.clone());
        let LiveGraph { graph, worker, .. } = LiveGraph::build(settings, live, events).expect("a graph");
        let latency_samples = graph.latency_samples();
        control.swap(graph).expect("room");
        let captured = (0..RATE_HZ as usize).map(|n| 0.3 * (n as f32 * 0.2).sin() + 0.1 * (n as f32 * 0.5).sin());
        let captured = captured.collect();
        Self { processor, control, worker, recording, captured, at: 0, echoed: vec![0.0; 1 << 15], latency_samples }
    }

    /// One callback, timed, and one turn of the converter, not timed.
    fn block(&mut self, played: &mut [[f32; BLOCK]; 4]) -> Duration {
        self.at = if self.at + BLOCK > self.captured.len() { 0 } else { self.at };
        let captured = &self.captured[self.at..self.at + BLOCK];
        self.at += BLOCK;
        let mut channels = played.each_mut().map(|channel| &mut channel[..]);
        let start = Instant::now();
        self.processor.process(black_box(&[captured]), &mut channels);
        let spent = start.elapsed();
        let count = self.worker.input.pop(&mut self.echoed);
        self.worker.output.push(&self.echoed[..count]);
        spent
    }

    /// The output is the input, louder by 2 dB and later by the latency, but for the high-pass.
    fn check(&mut self) {
        let mut played = [[0.0; BLOCK]; 4];
        let blocks = 300;
        let output: Vec<f32> = (0..blocks)
            .flat_map(|_| {
                self.block(&mut played);
                played[0]
            })
            .collect();
        assert_eq!(played[0], played[1]);
        let end = blocks * BLOCK;
        let (heard, said) = (&output[end - 4800..], &self.captured[end - 4800 - self.latency_samples..]);
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
        let similarity = dot(heard, said) / (dot(heard, heard) * dot(&said[..4800], &said[..4800])).sqrt();
        assert!(similarity > 0.98, "the graph does not pass its input on: {similarity}");
        let telemetry = self.control.telemetry();
        assert_eq!((telemetry.node_panics, telemetry.non_finite_samples), (0, 0));
    }
}

fn live_graph(criterion: &mut Criterion) {
    for converter_hz in [48_000, 40_000] {
        let mut rig = Rig::new(converter_hz);
        rig.check();
        let (mut blocks, mut spent) = (0_u64, Duration::ZERO);
        let mut group = criterion.benchmark_group("graph");
        group.bench_function(format!("live, block {BLOCK}, converter at {converter_hz} Hz"), |bencher| {
            bencher.iter_custom(|count| {
                let mut played = [[0.0; BLOCK]; 4];
                let sum = (0..count).map(|_| rig.block(&mut played)).sum();
                black_box(played);
                blocks += count;
                spent += sum;
                sum
            });
        });
        group.finish();
        if blocks > 0 {
            let share = spent.as_secs_f64() * f64::from(RATE_HZ) / (blocks as f64 * BLOCK as f64);
            println!("converter at {converter_hz} Hz: {:.3} % of one core in real time", 100.0 * share);
            assert!(share < TARGET, "above {} %", 100.0 * TARGET);
        }
        let report = rig.recording.stop().expect("a report");
        report.files.iter().for_each(|file| std::fs::remove_file(file).expect("removed"));
    }
}

criterion_group!(benches, live_graph);
criterion_main!(benches);

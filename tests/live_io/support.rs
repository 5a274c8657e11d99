//! Graphs, signals and a worker that echoes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use syrinx::graph::nodes::link::{LinkEnd, LinkSettings};
use syrinx::graph::nodes::{Input, Limiter, Link, Output};
use syrinx::graph::{GraphBuilder, GraphHandle, GraphSettings, Processor, processor};
use syrinx::io::live::DeviceFormat;
use syrinx::params::LiveParams;
use syrinx::rt::events::event_queue;

/// A device of one channel each way at 48 kHz.
pub fn mono(block_frames: usize) -> DeviceFormat {
    DeviceFormat {
        rate_hz: 48_000,
        block_frames,
        max_block_frames: block_frames,
        inputs: 1,
        outputs: 1,
        input_latency_samples: 0,
        output_latency_samples: 0,
    }
}

/// A worker thread that returns what it gets, until its graph is freed.
pub struct Echo {
    thread: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl Echo {
    fn start(mut end: LinkEnd) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut samples = vec![0.0; 4096];
            while !asked.load(Ordering::Relaxed) {
                let count = end.input.pop(&mut samples);
                end.output.push(&samples[..count]);
                if count == 0 {
                    std::thread::sleep(Duration::from_micros(50));
                }
            }
        });
        Self { thread: Some(thread), stop }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("one end").join().expect("the worker");
    }
}

/// What a running graph needs beside its device.
pub struct Control {
    pub handle: GraphHandle,
    pub latency_samples: usize,
    _worker: Option<Echo>,
}

/// A limiter that never limits: every bit passes, later.
const LIMITER: Limiter = Limiter { look_ahead_ms: 1.5, release_ms: 60.0 };

fn settings(format: &DeviceFormat) -> GraphSettings {
    GraphSettings { live: LiveParams { ceiling_db: 0.0, ..LiveParams::default() }, ..format.graph_settings() }
}

/// `input -> limiter -> output`: exact, with a latency of 1.5 ms.
pub fn limited(format: &DeviceFormat) -> (Control, Processor) {
    let settings = settings(format);
    let mut graph = GraphBuilder::new(settings.clone());
    let input = graph.add("input", Input::of(0)).unwrap();
    let limiter = graph.add("limiter", LIMITER).unwrap();
    let output = graph.add("output", Output::to([0])).unwrap();
    graph.chain(&[input, limiter, output]).unwrap();
    finish(&settings, graph, None)
}

/// The same through a worker on another thread, which has `lead_samples` to answer.
pub fn through_a_worker(format: &DeviceFormat, lead_samples: usize) -> (Control, Processor) {
    let settings = settings(format);
    let mut graph = GraphBuilder::new(settings.clone());
    let link = LinkSettings {
        output_rate_hz: format.rate_hz,
        lead_samples,
        worker_latency_samples: 0,
        capacity: 48_000,
        fade_ms: 2.0,
    };
    let (link, end, _) = Link::new(link, event_queue(64).0);
    let input = graph.add("input", Input::of(0)).unwrap();
    let link = graph.add("link", link).unwrap();
    let limiter = graph.add("limiter", LIMITER).unwrap();
    let output = graph.add("output", Output::to([0])).unwrap();
    graph.chain(&[input, link, limiter, output]).unwrap();
    finish(&settings, graph, Some(Echo::start(end)))
}

fn finish(settings: &GraphSettings, graph: GraphBuilder, worker: Option<Echo>) -> (Control, Processor) {
    let graph = graph.build().unwrap();
    let latency_samples = graph.latency_samples();
    let (mut handle, processor) = processor(settings, event_queue(1024).0);
    handle.swap(graph).unwrap();
    (Control { handle, latency_samples, _worker: worker }, processor)
}

/// White noise, uniform on -0.5..0.5, the same for the same seed.
pub fn noise(seed: u64, samples: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..samples).map(|_| next()).collect()
}

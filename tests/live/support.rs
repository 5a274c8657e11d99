//! A graph with a worker, clocked by the test.

use syrinx::graph::nodes::link::LinkSettings;
use syrinx::graph::nodes::{Input, Link, Output};
use syrinx::graph::{GraphBuilder, GraphHandle, GraphSettings, Processor, processor};
use syrinx::live::{ChunkConverter, Worker, WorkerSettings};
use syrinx::params::ConversionParams;
use syrinx::rt::events::{EventRx, event_queue};

/// The rate of everything, in Hz.
pub const RATE_HZ: u32 = 48_000;

/// Input, worker, output, and the samples that have gone through.
pub struct Bench<C: ChunkConverter> {
    pub graph: GraphHandle,
    pub processor: Processor,
    pub worker: Worker<C>,
    pub events: EventRx,
    /// Samples by which the graph says that output lags input.
    pub latency: usize,
    pub captured: Vec<f32>,
    pub played: Vec<f32>,
}

impl<C: ChunkConverter> Bench<C> {
    /// `converter` behind a link that leaves it `lead` samples; `converter_latency` is what it says of itself.
    pub fn new(converter: C, converter_latency: usize, lead: usize, params: ConversionParams) -> Self {
        let settings = GraphSettings::new(RATE_HZ, 4096, 1, 1);
        let (events_tx, events) = event_queue(64);
        let (mut graph, processor) = processor(&settings, events_tx.clone());
        let link = LinkSettings {
            output_rate_hz: RATE_HZ,
            lead_samples: lead,
            worker_latency_samples: converter_latency,
            capacity: 1 << 18,
            fade_ms: 5.0,
        };
        let (link, end, _telemetry) = Link::new(link, events_tx.clone());
        let mut builder = GraphBuilder::new(settings);
        let input = builder.add("input", Input::of(0)).unwrap();
        let link = builder.add("converter", link).unwrap();
        let output = builder.add("output", Output::to([0])).unwrap();
        builder.chain(&[input, link, output]).unwrap();
        let compiled = builder.build().unwrap();
        let latency = compiled.latency_samples();
        graph.swap(compiled).unwrap();
        let settings = WorkerSettings { rate_hz: RATE_HZ, lead_samples: lead, params };
        let worker = Worker::start(converter, end, settings, events_tx).unwrap();
        Self { graph, processor, worker, events, latency, captured: Vec::new(), played: Vec::new() }
    }

    /// Whether no clock runs, so that the graph waits for the worker.
    pub fn freewheel(&mut self, freewheel: bool) {
        self.processor.set_freewheel(freewheel);
    }

    /// One device block.
    pub fn block(&mut self, input: &[f32]) {
        let mut output = vec![f32::NAN; input.len()];
        self.processor.process(&[input], &mut [&mut output]);
        self.captured.extend_from_slice(input);
        self.played.extend_from_slice(&output);
    }
}

/// A tone with a slow beat: no two stretches are alike.
pub fn tone(start: usize, samples: usize) -> Vec<f32> {
    let value = |n: usize| {
        let seconds = n as f64 / f64::from(RATE_HZ);
        (0.4 * (1300.0 * seconds).sin() * (0.8 + 0.2 * (7.1 * seconds).sin())) as f32
    };
    (start..start + samples).map(value).collect()
}

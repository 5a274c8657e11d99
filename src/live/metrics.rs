//! Telemetry as the text that Prometheus reads.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::session::{Latency, LiveTelemetry};
use crate::graph::nodes::Levels;
use crate::io::live::DeviceState;
use crate::telemetry::{Percentiles, Stage};
use crate::units::amplitude_to_db;

/// Media type of [`LiveMetrics::text`].
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All that a session counts, at one moment.
#[derive(Clone, Copy, Debug)]
pub struct LiveMetrics {
    /// What is counted.
    pub telemetry: LiveTelemetry,
    /// What the delay is made of.
    pub latency: Latency,
    /// Rate of the device in Hz.
    pub rate_hz: u32,
}

impl LiveMetrics {
    /// The metrics in the `OpenMetrics` text format, which Prometheus reads. Every name begins with `syrinx_`.
    #[must_use]
    pub fn text(self) -> String {
        let mut registry = Registry::with_prefix("syrinx");
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        // A string takes everything.
        let _ = encode(&mut text, &registry);
        text
    }

    fn seconds(&self, samples: u64) -> f64 {
        samples as f64 / f64::from(self.rate_hz)
    }

    fn times(&self, page: &mut Page<'_>) -> fmt::Result {
        let worker = &self.telemetry.worker;
        page.gauge(
            "running",
            "Time since the session started",
            Some(Unit::Seconds),
            self.telemetry.running.as_secs_f64(),
        )?;
        page.gauge("chunk", "Length of a chunk", Some(Unit::Seconds), f64::from(worker.chunk_ms) * 1e-3)?;
        page.gauge(
            "rtf",
            "Processing time of the latest chunk over its length",
            Some(Unit::Other("ratio".into())),
            f64::from(worker.rtf),
        )?;
        page.quantiles("conversion", "Time to convert a chunk", &[(None, worker.total_ms)])?;
        page.quantiles(
            "queue_age",
            "Time that a chunk had waited when its conversion began",
            &[(None, worker.queue_age_ms)],
        )?;
        let stages: Vec<_> = Stage::ALL.into_iter().map(|stage| Some(stage.name())).zip(worker.stage_ms).collect();
        page.quantiles("stage", "Time that a stage takes of a chunk", &stages)?;
        let parts = [
            ("algorithmic", self.latency.algorithmic),
            ("processing", self.latency.processing),
            ("device", self.latency.device),
        ];
        let parts = parts.map(|(part, samples)| (part, self.seconds(samples as u64)));
        page.gauges("latency", "Delay from microphone to loudspeaker, by part", Some(Unit::Seconds), "part", &parts)?;
        let graph = &self.telemetry.graph;
        page.gauge(
            "longest_callback",
            "Longest time in a device callback",
            Some(Unit::Seconds),
            graph.longest.as_secs_f64(),
        )
    }

    fn counts(&self, page: &mut Page<'_>) -> fmt::Result {
        let LiveTelemetry { device, graph, link, worker, .. } = &self.telemetry;
        page.counter("callbacks", "Callbacks of the device", device.callbacks)?;
        page.counter("xruns", "Late or missing data, as the device reports it", device.xruns)?;
        page.counter("device_losses", "Times that the device was lost", device.losses)?;
        page.counter("chunks", "Chunks taken in", worker.chunks)?;
        page.counter("rested_chunks", "Chunks that were silent and not rendered", worker.rested)?;
        page.counter("overruns", "Chunks that took longer to convert than they last", worker.overruns)?;
        page.counter("failed_chunks", "Chunks that failed and were silent", worker.failed)?;
        page.counter("shed_chunks", "Chunks left out since they came too late", worker.shed)?;
        let chunk = (f64::from(worker.chunk_ms) * 1e-3 * f64::from(self.rate_hz)).round() as u64;
        page.counter("shed_samples", "Samples of the chunks left out", worker.shed * chunk)?;
        page.counter("starvations", "Times that the voice was not ready", link.starvation.times)?;
        page.counter(
            "starved_samples",
            "Samples that were silent since the voice was not ready",
            link.starvation.samples,
        )?;
        page.counter(
            "lost_samples",
            "Samples that the converter never got, since it was far behind",
            link.lost_samples,
        )?;
        page.counter("node_panics", "Nodes of the graph that failed and were silent", graph.node_panics)?;
        page.counter("callback_panics", "Device callbacks that failed and were silent", graph.callback_panics)?;
        page.counter("lost_events", "Events that no one read", self.telemetry.lost_events)?;
        page.counter("recorded_frames", "Frames recorded", self.telemetry.recorded.0)?;
        page.counter("recorder_lost_frames", "Frames that the recorder lost", self.telemetry.recorded.1)
    }

    fn levels(&self, page: &mut Page<'_>) -> fmt::Result {
        let LiveTelemetry { device, input, output, worker, .. } = &self.telemetry;
        let levels = |value: fn(&Levels) -> f32| {
            [("input", input), ("output", output)]
                .map(|(side, levels)| (side, f64::from(amplitude_to_db(value(levels)))))
        };
        let decibels = || Some(Unit::Other("dbfs".into()));
        page.gauges("peak", "Peak level, falling by 20 dB per second", decibels(), "side", &levels(|side| side.peak))?;
        page.gauges("rms", "RMS level over about 300 ms", decibels(), "side", &levels(|side| side.rms))?;
        let hertz = Some(Unit::Other("hertz".into()));
        page.gauge(
            "f0",
            "Pitch that the voice of the latest chunk follows, 0 unvoiced",
            hertz,
            f64::from(worker.f0_hz),
        )?;
        let up = device.state == DeviceState::Running;
        page.gauge("device_running", "Whether the device runs", None, f64::from(u8::from(up)))
    }
}

impl Collector for LiveMetrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page { encoder };
        self.times(&mut page)?;
        self.counts(&mut page)?;
        self.levels(&mut page)
    }
}

/// What is written to.
struct Page<'a> {
    encoder: DescriptorEncoder<'a>,
}

impl Page<'_> {
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let counter = ConstCounter::new(value);
        counter.encode(self.encoder.encode_descriptor(name, help, None, counter.metric_type())?)
    }

    fn gauge(&mut self, name: &str, help: &str, unit: Option<Unit>, value: f64) -> fmt::Result {
        let gauge = ConstGauge::new(value);
        gauge.encode(self.encoder.encode_descriptor(name, help, unit.as_ref(), gauge.metric_type())?)
    }

    /// One value per value of a label.
    fn gauges(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        label: &str,
        values: &[(&str, f64)],
    ) -> fmt::Result {
        let kind = ConstGauge::new(0.0).metric_type();
        let mut family = self.encoder.encode_descriptor(name, help, unit.as_ref(), kind)?;
        values.iter().try_for_each(|(name, value)| member(&mut family, &[(label, *name)], *value))
    }

    /// Percentiles in seconds, by quantile and, where one is named, by stage.
    fn quantiles(&mut self, name: &str, help: &str, stages: &[(Option<&str>, Percentiles)]) -> fmt::Result {
        let kind = ConstGauge::new(0.0).metric_type();
        let mut family = self.encoder.encode_descriptor(name, help, Some(&Unit::Seconds), kind)?;
        for (stage, Percentiles { p50, p95, p99, max }) in stages {
            for (quantile, ms) in [("0.5", p50), ("0.95", p95), ("0.99", p99), ("1", max)] {
                let stage = stage.map(|stage| ("stage", stage));
                let labels: Vec<_> = stage.into_iter().chain([("quantile", quantile)]).collect();
                member(&mut family, &labels, f64::from(*ms) * 1e-3)?;
            }
        }
        Ok(())
    }
}

fn member(family: &mut MetricEncoder<'_>, labels: &[(&str, &str)], value: f64) -> fmt::Result {
    ConstGauge::new(value).encode(family.encode_family(&labels)?)
}

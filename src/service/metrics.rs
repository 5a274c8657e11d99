//! Metrics of the service, as Prometheus reads them.

use std::fmt;
use std::sync::atomic::Ordering;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::App;
use super::jobs::{Counts, JobState};
use super::voices::loaded::LoadedCounts;
use crate::error::Result;
use crate::telemetry::resident_bytes;

/// All metrics, now.
pub fn text(app: &App) -> Result<String> {
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let moment = Moment {
        jobs: app.bench.counts()?,
        loaded: app.tools.loaded.counts(),
        requests: [
            ("requests", "Requests answered", count(&app.counts.requests)),
            ("refused_requests", "Requests answered with a fault of who asked", count(&app.counts.refused)),
            ("failed_requests", "Requests answered with a fault of the service", count(&app.counts.failed)),
            ("speech_streams", "Streams of speech begun", count(&app.counts.speech_streams)),
            ("voice_uploads", "Uploads of voices that were checked", count(&app.counts.uploads)),
            ("live_streams", "Live streams begun", count(&app.stream_counts.begun)),
            ("live_chunks", "Chunks that live streams took in", count(&app.stream_counts.chunks)),
            ("live_late_chunks", "Chunks of them that were not ready in time", count(&app.stream_counts.late_chunks)),
        ],
        streams: app.settings.most_streams - app.streams.available_permits(),
        live: app.settings.most_live - app.live.available_permits(),
        uptime_s: app.started.elapsed().as_secs_f64(),
    };
    let mut registry = Registry::with_prefix("syrinx_service");
    registry.register_collector(Box::new(moment));
    let mut text = String::new();
    // A string takes everything.
    let _ = encode(&mut text, &registry);
    Ok(text)
}

#[derive(Debug)]
struct Moment {
    jobs: Counts,
    loaded: LoadedCounts,
    requests: [(&'static str, &'static str, u64); 8],
    streams: usize,
    live: usize,
    uptime_s: f64,
}

impl Collector for Moment {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let kind = ConstGauge::new(0.0).metric_type();
        let mut family = encoder.encode_descriptor("jobs", "Jobs by state", None, kind)?;
        for (state, count) in JobState::ALL.iter().zip(self.jobs.by_state) {
            ConstGauge::new(count as f64).encode(family.encode_family(&[("state", state.name())])?)?;
        }
        let counters = self.requests.into_iter().chain([
            ("voice_loads", "Times that a voice was read from disk", self.loaded.loads),
            ("voice_hits", "Times that a voice was in memory already", self.loaded.hits),
            ("voice_evictions", "Times that a voice was let go for another", self.loaded.evictions),
        ]);
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        for (name, help, time) in [
            ("voice_load", "Time that these took until the voice could convert", self.loaded.load_time),
            ("voice_hit", "Time that it took to come by a voice in memory", self.loaded.hit_time),
        ] {
            let counter = ConstCounter::new(time.as_secs_f64());
            counter.encode(encoder.encode_descriptor(name, help, Some(&Unit::Seconds), counter.metric_type())?)?;
        }
        for (name, help, unit, value) in [
            ("loaded_voices", "Voices in memory", None, self.loaded.voices as f64),
            ("loaded", "Memory of voices", Some(Unit::Bytes), self.loaded.bytes as f64),
            ("resident", "Memory of the process", Some(Unit::Bytes), resident_bytes() as f64),
            ("running_streams", "Streams of speech that run", None, self.streams as f64),
            ("running_live_streams", "Live streams that are open", None, self.live as f64),
            ("uptime", "Time since the service started", Some(Unit::Seconds), self.uptime_s),
        ] {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, unit.as_ref(), gauge.metric_type())?)?;
        }
        Ok(())
    }
}

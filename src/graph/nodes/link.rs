//! Link: audio through another thread and back, as the converter's worker.
//!
//! The worker owns a [`LinkEnd`]: it takes samples from [`input`](LinkEnd::input) and puts as many, at its own rate, into
//! [`output`](LinkEnd::output), whenever it is ready. Number n out answers number n in. What it leaves out to catch up
//! it replaces by [`push_silence`](AudioTx::push_silence), which is dropped unheard as any late sample is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::rt::events::{Event, EventTx};
use crate::rt::playout::{AfterGap, Playout, PlayoutSettings, Starvation};
use crate::rt::ring::{AudioRx, AudioTx, audio_ring};
use crate::rt::snapshot::{SnapshotRx, SnapshotTx, snapshot};
use crate::rt::{Block, Node, Ports, RtNode, Setup};

/// Longest wait for the worker while the audio server has no clock.
const FREEWHEEL_PATIENCE: Duration = Duration::from_secs(10);
/// Pause between two looks at the ring meanwhile.
const FREEWHEEL_PAUSE: Duration = Duration::from_micros(50);

/// How a link keeps time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinkSettings {
    /// Rate of what comes back, in Hz.
    pub output_rate_hz: u32,
    /// Time that the worker has, in samples at the output rate: it gathers a chunk and processes it within this.
    pub lead_samples: usize,
    /// Samples at the output rate by which what the worker puts out lags what it took in, number for number.
    pub worker_latency_samples: usize,
    /// Samples that each ring holds at most: what the worker may be behind before audio is lost.
    pub capacity: usize,
    /// Length of the fades around a gap, in ms.
    pub fade_ms: f32,
}

/// What a link has seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkTelemetry {
    /// What came too late.
    pub starvation: Starvation,
    /// Samples that the worker never got, since the ring to it was full.
    pub lost_samples: u64,
    /// Samples that wait to be heard.
    pub waiting_samples: usize,
}

/// The worker's ends of a link.
#[derive(Debug)]
pub struct LinkEnd {
    /// What is to be converted.
    pub input: AudioRx,
    /// What was converted.
    pub output: AudioTx,
    waited_for: Arc<AtomicBool>,
}

impl LinkEnd {
    /// Whether the graph waits for what is late, since no clock runs: then nothing is too late.
    #[must_use]
    pub fn is_waited_for(&self) -> bool {
        self.waited_for.load(Ordering::Relaxed)
    }
}

/// Sends its input to a worker and puts out what the worker sends, at its moment or not at all.
///
/// A worker that is late, stuck or gone is heard as silence, faded; [`Event::Starved`] and [`Event::Resumed`] tell.
#[derive(Debug)]
pub struct Link {
    settings: LinkSettings,
    tx: AudioTx,
    rx: AudioRx,
    waited_for: Arc<AtomicBool>,
    telemetry: SnapshotTx<LinkTelemetry>,
    events: EventTx,
}

impl Link {
    /// A link, the worker's ends of it, and where to read how it goes.
    #[must_use]
    pub fn new(settings: LinkSettings, events: EventTx) -> (Self, LinkEnd, SnapshotRx<LinkTelemetry>) {
        let (tx, input) = audio_ring(settings.capacity);
        let (output, rx) = audio_ring(settings.capacity);
        let (telemetry, reader) = snapshot(LinkTelemetry::default());
        let waited_for = Arc::new(AtomicBool::new(false));
        let end = LinkEnd { input, output, waited_for: waited_for.clone() };
        (Self { settings, tx, rx, waited_for, telemetry, events }, end, reader)
    }
}

impl Node for Link {
    fn ports(&self, rate_hz: u32) -> Ports {
        Ports { inputs: 1, input_rate_hz: rate_hz, outputs: 1, output_rate_hz: self.settings.output_rate_hz }
    }

    fn prepare(self: Box<Self>, setup: &Setup) -> Result<Box<dyn RtNode>> {
        let Self { settings, tx, rx, waited_for, telemetry, events } = *self;
        // The longest block must fit beside what is on its way.
        let least = settings.lead_samples + setup.max_output_block.max(setup.max_block);
        if settings.capacity < least {
            return Err(Error::argument("capacity", format!("at least {least} samples"), settings.capacity));
        }
        let fade_samples = (settings.fade_ms * 1e-3 * setup.output_rate_hz as f32) as usize;
        let lead_samples = settings.lead_samples;
        let playout = PlayoutSettings { lead_samples, fade_samples, after_gap: AfterGap::KeepTime };
        let playout = Playout::new(rx, playout);
        Ok(Box::new(RtLink {
            tx,
            playout,
            latency_samples: settings.lead_samples + settings.worker_latency_samples,
            rates_hz: (u64::from(setup.rate_hz), u64::from(setup.output_rate_hz)),
            sent: 0,
            forgiven: 0,
            starved: None,
            patient: true,
            waited_for,
            telemetry,
            events,
        }))
    }
}

struct RtLink {
    tx: AudioTx,
    playout: Playout,
    latency_samples: usize,
    rates_hz: (u64, u64),
    /// Samples that the worker has got or will get.
    sent: u64,
    /// Samples at the output rate that will never come, as far as the playout was told.
    forgiven: u64,
    /// The count of silent samples when the gap that lasts began.
    starved: Option<u64>,
    /// Whether the worker has kept up whenever it was waited for.
    patient: bool,
    waited_for: Arc<AtomicBool>,
    telemetry: SnapshotTx<LinkTelemetry>,
    events: EventTx,
}

impl RtLink {
    fn send(&mut self, samples: &[f32]) {
        self.sent += self.tx.push(samples) as u64;
        let (in_hz, out_hz) = self.rates_hz;
        let never = self.tx.lost() * out_hz / in_hz;
        self.playout.forgive(self.sent * out_hz / in_hz, (never - self.forgiven) as usize);
        self.forgiven = never;
    }

    /// Waits for the worker, since no clock runs.
    fn wait(&mut self, samples: usize) {
        let start = Instant::now();
        while self.patient && self.playout.missing(samples) > 0 && !self.playout.is_abandoned() {
            self.patient = start.elapsed() < FREEWHEEL_PATIENCE;
            std::thread::sleep(FREEWHEEL_PAUSE);
        }
    }

    fn report(&mut self, missed: usize) {
        let starvation = self.playout.starvation();
        match (missed, self.starved) {
            (0, Some(before)) => {
                self.starved = None;
                self.events.send(Event::Resumed(starvation.samples - before));
            }
            (1.., None) => {
                self.starved = Some(starvation.samples - missed as u64);
                self.events.send(Event::Starved);
            }
            _ => {}
        }
        let (lost_samples, waiting_samples) = (self.tx.lost(), self.playout.waiting());
        self.telemetry.publish(LinkTelemetry { starvation, lost_samples, waiting_samples });
    }
}

impl RtNode for RtLink {
    fn process(&mut self, block: &mut Block<'_>, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) {
        // Before the worker sees the samples.
        self.waited_for.store(block.freewheel && self.patient, Ordering::Relaxed);
        self.send(inputs[0]);
        if block.freewheel {
            self.wait(outputs[0].len());
        }
        let missed = self.playout.pull(outputs[0]);
        self.report(missed);
    }

    fn latency_samples(&self) -> f64 {
        self.latency_samples as f64
    }

    /// Keeps time: what is on its way through the worker cannot be called back, and comes out at its moment.
    fn reset(&mut self) {}
}

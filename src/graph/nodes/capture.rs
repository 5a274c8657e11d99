//! Capture: audio from a device with a clock of its own.

use crate::error::{Error, Result};
use crate::rt::drift::DriftControl;
use crate::rt::playout::{AfterGap, Playout, PlayoutSettings, Starvation};
use crate::rt::resample::{MAX_NEEDED_EXCESS, StreamResampler};
use crate::rt::ring::{AudioRx, AudioTx, audio_ring};
use crate::rt::snapshot::{SnapshotRx, SnapshotTx, snapshot};
use crate::rt::{Block, Node, Ports, RtNode, Setup};

/// How the other device's audio is taken over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CaptureSettings {
    /// The other device's nominal rate, in Hz.
    pub rate_hz: u32,
    /// Samples of it that shall be waiting on average: at least the sum of both devices' blocks.
    pub target_samples: usize,
    /// Samples that the ring holds at most, a multiple of the target.
    pub capacity: usize,
    /// Length of the fades around a gap or a jump, in ms.
    pub fade_ms: f32,
}

/// How a capture goes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CaptureTelemetry {
    /// What was missing.
    pub starvation: Starvation,
    /// Samples that were left out since too many waited.
    pub dropped_samples: u64,
    /// Times that samples were left out.
    pub drops: u64,
    /// Samples that wait.
    pub waiting_samples: usize,
    /// Samples that were taken so far, heard or left out.
    pub taken_samples: u64,
    /// How much faster than ours the other clock runs, in parts per million.
    pub drift_ppm: f32,
}

/// A source fed from another device's callback, resampled to the graph's rate and trimmed to its clock.
#[derive(Debug)]
pub struct Capture {
    settings: CaptureSettings,
    rx: AudioRx,
    telemetry: SnapshotTx<CaptureTelemetry>,
}

impl Capture {
    /// A capture, the end that the other callback pushes to, and where to read how it goes.
    #[must_use]
    pub fn new(settings: CaptureSettings) -> (Self, AudioTx, SnapshotRx<CaptureTelemetry>) {
        let (tx, rx) = audio_ring(settings.capacity);
        let (telemetry, reader) = snapshot(CaptureTelemetry::default());
        (Self { settings, rx, telemetry }, tx, reader)
    }
}

impl Node for Capture {
    fn ports(&self, rate_hz: u32) -> Ports {
        Ports::at(rate_hz, 0, 1)
    }

    fn prepare(self: Box<Self>, setup: &Setup) -> Result<Box<dyn RtNode>> {
        let Self { settings, rx, telemetry } = *self;
        let CaptureSettings { rate_hz, target_samples, capacity, fade_ms } = settings;
        if capacity < OVERFULL * target_samples {
            let expected = format!("at least {} samples", OVERFULL * target_samples);
            return Err(Error::argument("capacity", expected, capacity));
        }
        let fade_samples = (fade_ms * 1e-3 * rate_hz as f32) as usize;
        let playout = PlayoutSettings { lead_samples: target_samples, fade_samples, after_gap: AfterGap::Refill };
        let max_needed = (setup.max_block as f64 * f64::from(rate_hz) / f64::from(setup.rate_hz) * 1.01).ceil();
        let max_needed = max_needed as usize + MAX_NEEDED_EXCESS;
        Ok(Box::new(RtCapture {
            settings,
            graph_rate_hz: setup.rate_hz,
            playout: Playout::new(rx, playout),
            drift: DriftControl::default(),
            look: Look::new(rate_hz, target_samples),
            silent: true,
            stream: StreamResampler::new(rate_hz, setup.rate_hz, max_needed, setup.max_block)?,
            scratch: vec![0.0; max_needed],
            telemetry,
            counts: CaptureTelemetry::default(),
        }))
    }
}

/// How often the target may wait before the oldest is left out at once.
const OVERFULL: usize = 4;
/// Time over which what waits is averaged, in seconds: long against blocks.
const LOOK_S: f64 = 0.125;
/// What may wait beyond the target and half of it, in seconds: a drift of 500 ppm takes 5 ms until it is learned.
const LEARNING_S: f64 = 0.003;

/// What waits too long, after our own device stood still: more than blocks and drift explain, time and again.
struct Look {
    /// What one look lasts, in samples of the other device.
    lasts: f64,
    target: f64,
    /// What may wait beyond the target.
    slack: f64,
    sum: f64,
    seen: f64,
    /// Whether the last look saw too much.
    much: bool,
}

impl Look {
    fn new(rate_hz: u32, target_samples: usize) -> Self {
        let (rate_hz, target) = (f64::from(rate_hz), target_samples as f64);
        let slack = target / 2.0 + LEARNING_S * rate_hz;
        Self { lasts: LOOK_S * rate_hz, target, slack, sum: 0.0, seen: 0.0, much: false }
    }

    /// `waiting` samples wait before `taken` are taken. Returns how many are to be left out.
    fn at(&mut self, waiting: usize, taken: f64) -> usize {
        self.sum += waiting as f64 * taken;
        self.seen += taken;
        if self.seen < self.lasts {
            return 0;
        }
        let excess = self.sum / self.seen - self.target;
        let much = std::mem::replace(&mut self.much, excess > self.slack);
        (self.sum, self.seen) = (0.0, 0.0);
        // Two in a row, so that the second saw nothing of what was before the device stood still.
        if !(much && self.much) {
            return 0;
        }
        self.much = false;
        (excess as usize).min(waiting)
    }

    fn restart(&mut self) {
        (self.sum, self.seen, self.much) = (0.0, 0.0, false);
    }
}

struct RtCapture {
    settings: CaptureSettings,
    graph_rate_hz: u32,
    playout: Playout,
    drift: DriftControl,
    look: Look,
    /// Whether nothing was heard at the last block.
    silent: bool,
    stream: StreamResampler,
    scratch: Vec<f32>,
    telemetry: SnapshotTx<CaptureTelemetry>,
    counts: CaptureTelemetry,
}

impl RtCapture {
    /// Trims the ratio to how many samples wait; leaves out what is too much.
    fn steer(&mut self, frames: usize) {
        let (target, waiting) = (self.settings.target_samples, self.playout.waiting());
        let elapsed_s = frames as f64 / f64::from(self.graph_rate_hz);
        let rate_hz = f64::from(self.settings.rate_hz);
        let was_silent = std::mem::replace(&mut self.silent, self.playout.is_silent());
        if waiting > (OVERFULL - 1) * target {
            self.leave_out(waiting - target);
        } else if self.silent {
            self.look.restart();
        } else if was_silent {
            // Blocks come whole: more than the target may have gathered, which no one has missed.
            self.playout.drop_oldest(waiting.saturating_sub(target));
        } else {
            let late = self.look.at(waiting, elapsed_s * rate_hz);
            if late > 0 {
                return self.leave_out(late);
            }
            // What the look will leave out is none of the drift's.
            let excess = (waiting as f64 - target as f64).min(self.look.slack);
            let faster = self.drift.step(excess / rate_hz, elapsed_s);
            self.stream.set_trim(1.0 / (1.0 + faster));
        }
    }

    fn leave_out(&mut self, samples: usize) {
        self.playout.drop_oldest(samples);
        self.counts.dropped_samples += samples as u64;
        self.counts.drops += 1;
        self.drift.jumped();
        self.look.restart();
    }
}

impl RtNode for RtCapture {
    fn process(&mut self, _: &mut Block<'_>, _: &[&[f32]], outputs: &mut [&mut [f32]]) {
        self.steer(outputs[0].len());
        let needed = self.stream.needed(outputs[0].len()).min(self.scratch.len());
        self.playout.pull(&mut self.scratch[..needed]);
        self.stream.push(&self.scratch[..needed]);
        self.stream.pull(outputs[0]);
        self.counts.starvation = self.playout.starvation();
        self.counts.waiting_samples = self.playout.waiting();
        self.counts.taken_samples = self.playout.taken();
        self.counts.drift_ppm = (self.drift.drift() * 1e6) as f32;
        self.telemetry.publish(self.counts);
    }

    fn latency_samples(&self) -> f64 {
        let target = self.settings.target_samples as f64 * f64::from(self.graph_rate_hz);
        target / f64::from(self.settings.rate_hz) + self.stream.latency_samples()
    }

    fn reset(&mut self) {
        self.stream.reset();
        self.drift = DriftControl::default();
    }
}

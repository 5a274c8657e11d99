//! Noise gate: silence where the input is no louder than the room.

use crate::error::Result;
use crate::params::GateParams;
use crate::rt::{Block, Node, Ports, RtNode, Setup};
use crate::units::db_to_gain;

/// Time in which the level that is compared falls by 8.7 dB, in ms: bridges the zero crossings of a low voice.
const LEVEL_DECAY_MS: f32 = 10.0;

/// Opens when the level reaches the threshold; closes when it has been below threshold less hysteresis for the hold
/// time. Live parameters: [`LiveParams::gate`](crate::params::LiveParams::gate).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate;

impl Node for Gate {
    fn ports(&self, rate_hz: u32) -> Ports {
        Ports::at(rate_hz, 1, 1)
    }

    fn prepare(self: Box<Self>, setup: &Setup) -> Result<Box<dyn RtNode>> {
        let decay = (-1.0 / setup.samples(LEVEL_DECAY_MS).max(1) as f32).exp();
        let gain = if setup.live.gate.on { 0.0 } else { 1.0 };
        let limits = Limits::new(&setup.live.gate, setup);
        Ok(Box::new(RtGate { setup: *setup, params: setup.live.gate, limits, decay, level: 0.0, held: 0, gain }))
    }
}

/// The parameters in the units of samples.
#[derive(Clone, Copy)]
struct Limits {
    open_from: f32,
    close_below: f32,
    hold: usize,
    rise: f32,
    fall: f32,
}

impl Limits {
    fn new(gate: &GateParams, setup: &Setup) -> Self {
        let per_sample = |ms: f32| 1.0 / setup.samples(ms).max(1) as f32;
        Self {
            open_from: db_to_gain(gate.threshold_db),
            close_below: db_to_gain(gate.threshold_db - gate.hysteresis_db),
            hold: setup.samples(gate.hold_ms),
            rise: per_sample(gate.attack_ms),
            fall: per_sample(gate.release_ms),
        }
    }
}

struct RtGate {
    setup: Setup,
    params: GateParams,
    limits: Limits,
    decay: f32,
    level: f32,
    /// Samples for which it stays open, however quiet.
    held: usize,
    gain: f32,
}

impl RtGate {
    /// Whether it is open, after a sample of this magnitude.
    fn listen(&mut self, magnitude: f32) -> bool {
        self.level = magnitude.max(self.level * self.decay);
        let open = self.held > 0;
        if self.level >= self.limits.open_from || (open && self.level >= self.limits.close_below) {
            // One more than the hold, so that being held is being open.
            self.held = self.limits.hold + 1;
        } else {
            self.held = self.held.saturating_sub(1);
        }
        self.held > 0
    }
}

impl RtNode for RtGate {
    fn process(&mut self, block: &mut Block<'_>, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) {
        if block.live.gate != self.params {
            self.params = block.live.gate;
            self.limits = Limits::new(&self.params, &self.setup);
        }
        for (out, &x) in outputs[0].iter_mut().zip(inputs[0]) {
            let open = self.listen(x.abs()) || !self.params.on;
            let step = if open { self.limits.rise } else { -self.limits.fall };
            self.gain = (self.gain + step).clamp(0.0, 1.0);
            *out = x * self.gain;
        }
    }

    fn reset(&mut self) {
        (self.level, self.held) = (0.0, 0);
        self.gain = if self.params.on { 0.0 } else { 1.0 };
    }
}

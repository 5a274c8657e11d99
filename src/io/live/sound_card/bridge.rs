//! The bridge: captured audio from the input's callback to the output's, between two clocks.
//!
//! One [`Capture`] per channel, each with a ring. Control builds a bridge for the blocks that it saw and hands its ends
//! over; an end that is replaced comes back to be freed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::streams::Arrival;
use crate::error::Result;
use crate::graph::nodes::Capture;
use crate::graph::nodes::capture::{CaptureSettings, CaptureTelemetry};
use crate::params::LiveParams;
use crate::rt::garbage::{Receiver, Sender, hand_over};
use crate::rt::ring::AudioTx;
use crate::rt::snapshot::SnapshotRx;
use crate::rt::{Block, Node, RtNode, Setup};

/// Frames that cross at a time; longer blocks cross in several.
pub(super) const PIECE: usize = 256;
/// What waits beyond the two blocks, for callbacks that come late, in seconds.
const MARGIN_S: f64 = 0.002;
/// Room of a ring, in targets.
const ROOM: usize = 8;
/// Share of each look at what waits in its mean.
const SMOOTHING: f64 = 0.03;
/// Length of fades around a gap, in ms.
const FADE_MS: f32 = 2.0;

/// One per channel, at the input.
struct Rings(Vec<AudioTx>);

/// One per channel, at the output.
struct Captures(Vec<Box<dyn RtNode>>);

/// The ends of a way without a bridge yet: control's, the input's and the output's.
pub(super) fn crossing() -> (BridgeControl, Far, Near) {
    let (to_far, far) = hand_over();
    let (to_near, near) = hand_over();
    let overflows = Arc::new(AtomicU64::new(0));
    let control = BridgeControl {
        to_far,
        to_near,
        built: Built::default(),
        telemetry: Vec::new(),
        gaps: 0,
        overflows: overflows.clone(),
        told_overflows: 0,
    };
    (control, Far { arriving: far, rings: None, full: false, overflows }, Near { arriving: near, captures: None })
}

/// Control's end.
pub(super) struct BridgeControl {
    to_far: Sender<Rings>,
    to_near: Sender<Captures>,
    built: Built,
    telemetry: Vec<SnapshotRx<CaptureTelemetry>>,
    /// Gaps counted so far.
    gaps: u64,
    /// Times that captured audio did not fit, and how many of them were told.
    overflows: Arc<AtomicU64>,
    told_overflows: u64,
}

/// What a bridge was built for, and how full it is.
#[derive(Clone, Copy, Default)]
struct Built {
    in_block: usize,
    out_block: usize,
    /// Samples of the output's rate in one of the input's.
    ratio: f64,
    /// The filter's own latency, in samples of the output's rate.
    filter_samples: f64,
    /// Age of the oldest sample when a block is taken, in samples of the input, on average of late.
    age: f64,
}

impl BridgeControl {
    /// Builds a bridge for blocks of `in_block` and `out_block` frames, which takes over at once.
    pub(super) fn build(
        &mut self,
        in_hz: u32,
        channels: usize,
        out_hz: u32,
        in_block: usize,
        out_block: usize,
    ) -> Result<()> {
        while self.to_far.take_back().is_some() || self.to_near.take_back().is_some() {}
        // Either all is sent or nothing, and that is tried again.
        if self.to_near.out() == Sender::<()>::LIMIT || self.to_far.out() == Sender::<()>::LIMIT {
            return Ok(());
        }
        let out_in_input_samples = out_block as f64 * f64::from(in_hz) / f64::from(out_hz);
        let target = in_block as f64 + out_in_input_samples + MARGIN_S * f64::from(in_hz);
        let target_samples = target.ceil() as usize;
        let settings =
            CaptureSettings { rate_hz: in_hz, target_samples, capacity: ROOM * target_samples, fade_ms: FADE_MS };
        let setup = Setup {
            rate_hz: out_hz,
            max_block: PIECE,
            output_rate_hz: out_hz,
            max_output_block: PIECE,
            device_inputs: channels,
            device_outputs: 0,
            live: LiveParams::default(),
        };
        let (mut rings, mut captures, mut latency_samples) = (Rings(Vec::new()), Captures(Vec::new()), 0.0);
        self.telemetry.clear();
        for _ in 0..channels {
            let (capture, ring, telemetry) = Capture::new(settings);
            let capture = Box::new(capture).prepare(&setup)?;
            latency_samples = capture.latency_samples();
            captures.0.push(capture);
            rings.0.push(ring);
            self.telemetry.push(telemetry);
        }
        let ratio = f64::from(out_hz) / f64::from(in_hz);
        let age = target_samples as f64;
        let filter_samples = latency_samples - age * ratio;
        self.built = Built { in_block, out_block, ratio, filter_samples, age };
        self.gaps = 0;
        let _ = self.to_near.send(Box::new(captures));
        let _ = self.to_far.send(Box::new(rings));
        Ok(())
    }

    /// Whether blocks of these lengths are more than it was built for.
    pub(super) fn is_outgrown(&self, in_block: usize, out_block: usize) -> bool {
        in_block > self.built.in_block || out_block > self.built.out_block
    }

    /// Looks at how old the audio is that is taken now: `found` is what had arrived before the last block was taken. To
    /// be called every few milliseconds.
    ///
    /// The ring's own count would not do: where both devices call back at once, it tells by chance of one block more.
    pub(super) fn observe(&mut self, found: Arrival, in_hz: u32) {
        let Some(telemetry) = self.telemetry.first_mut() else { return };
        let Built { in_block, out_block, ratio, .. } = self.built;
        let block = out_block as f64 / ratio;
        let taken_before = telemetry.latest().taken_samples as f64 - block;
        let waited = found.beyond(taken_before.max(0.0) as u64);
        let age = waited + found.us as f64 * 1e-6 * f64::from(in_hz);
        // Else the two counts are those of different bridges.
        if (0.0..(ROOM * in_block) as f64 + ROOM as f64 * block).contains(&age) {
            self.built.age += SMOOTHING * (age - self.built.age);
        }
    }

    /// Samples of the output's rate by which what crosses is late: more than was aimed at while a disturbance, such as
    /// a callback that came late, is being made good.
    pub(super) fn latency_samples(&self) -> f64 {
        self.built.age * self.built.ratio + self.built.filter_samples
    }

    /// Times that audio was missing, too much or did not fit, since the last call.
    pub(super) fn new_gaps(&mut self) -> u64 {
        let telemetry = self.telemetry.iter_mut().map(SnapshotRx::latest);
        let gaps = telemetry.map(|seen| seen.starvation.times + seen.drops).max();
        let new = gaps.unwrap_or_default().saturating_sub(self.gaps);
        self.gaps += new;
        let overflows = self.overflows.load(Ordering::Relaxed);
        let new_overflows = overflows - self.told_overflows;
        self.told_overflows = overflows;
        new + new_overflows
    }
}

/// The input callback's end.
pub(super) struct Far {
    arriving: Receiver<Rings>,
    rings: Option<Box<Rings>>,
    /// Whether what came last did not fit: all that is lost in a row is one gap.
    full: bool,
    overflows: Arc<AtomicU64>,
}

impl Far {
    /// To be called once per callback.
    pub(super) fn turn(&mut self) {
        if let Some(rings) = self.arriving.receive()
            && let Some(old) = self.rings.replace(rings)
        {
            self.arriving.give_back(old);
        }
    }

    /// Samples of each channel that were sent since the bridge was built.
    pub(super) fn sent(&self) -> u64 {
        self.rings.as_ref().and_then(|rings| rings.0.first()).map_or(0, AudioTx::sent)
    }

    /// Sends samples of one channel. What does not fit is lost; the first channel counts it for all.
    pub(super) fn send(&mut self, channel: usize, samples: &[f32]) {
        let Some(ring) = self.rings.as_mut().and_then(|rings| rings.0.get_mut(channel)) else { return };
        let is_lost = ring.push(samples) < samples.len();
        if channel == 0 {
            self.overflows.fetch_add(u64::from(is_lost && !self.full), Ordering::Relaxed);
            self.full = is_lost;
        }
    }
}

/// The output callback's end.
pub(super) struct Near {
    arriving: Receiver<Captures>,
    captures: Option<Box<Captures>>,
}

impl Near {
    /// To be called once per callback.
    pub(super) fn turn(&mut self) {
        if let Some(captures) = self.arriving.receive()
            && let Some(old) = self.captures.replace(captures)
        {
            self.arriving.give_back(old);
        }
    }

    /// Fills at most [`PIECE`] samples of each channel.
    pub(super) fn receive(&mut self, captured: &mut [Vec<f32>], frames: usize) {
        let Some(captures) = &mut self.captures else {
            captured.iter_mut().for_each(|channel| channel[..frames].fill(0.0));
            return;
        };
        let live = LiveParams::default();
        for (capture, channel) in captures.0.iter_mut().zip(captured) {
            let mut block = Block::new(&live, false, true, &[], 0, frames, &mut []);
            capture.process(&mut block, &[], &mut [&mut channel[..frames]]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bridge_that_is_replaced_returns_to_be_freed_and_the_new_one_is_heard() {
        let (mut control, mut far, mut near) = crossing();
        for round in 0..20 {
            control.build(48_000, 2, 48_000, 64 + round, 64).expect("a bridge");
            far.turn();
            near.turn();
            assert!(control.to_far.out() <= 2 && control.to_near.out() <= 2);
        }
        let mut captured = vec![vec![0.0; PIECE]; 2];
        for _ in 0..100 {
            far.send(0, &[0.25; 64]);
            far.send(1, &[-0.5; 64]);
            near.receive(&mut captured, 64);
        }
        assert!((captured[0][63] - 0.25).abs() < 1e-3 && (captured[1][63] + 0.5).abs() < 1e-3, "{:?}", captured[0]);
        assert_eq!(control.new_gaps(), 0);
        assert!(control.is_outgrown(64, 65) && !control.is_outgrown(83, 64));
    }

    #[test]
    fn what_does_not_fit_while_the_output_stands_still_is_one_gap_of_all_channels() {
        let (mut control, mut far, mut near) = crossing();
        control.build(48_000, 2, 48_000, 64, 64).expect("a bridge");
        far.turn();
        near.turn();
        let stand_still = |far: &mut Far| {
            for _ in 0..200 {
                far.send(0, &[0.25; 64]);
                far.send(1, &[0.25; 64]);
            }
        };
        stand_still(&mut far);
        assert_eq!((control.new_gaps(), control.new_gaps()), (1, 0));
        // What is too old is left out then, which is another gap.
        let mut captured = vec![vec![0.0; PIECE]; 2];
        for _ in 0..20 {
            near.receive(&mut captured, 64);
            far.send(0, &[0.25; 64]);
            far.send(1, &[0.25; 64]);
        }
        assert_eq!(control.new_gaps(), 1);
        stand_still(&mut far);
        assert_eq!(control.new_gaps(), 1);
    }
}

//! Playback: audio that comes when it comes, heard on a device.
//!
//! ```text
//! feed -> limiter -> output
//! ```

use std::time::{Duration, Instant};

use super::assembly::{FADE_MS, LIMITER};
use crate::error::{Error, Result};
use crate::graph::nodes::{Feed, Output};
use crate::graph::{GraphBuilder, GraphHandle, processor};
use crate::io::live::{Backend, RunningDevice};
use crate::rt::events::{EventRx, event_queue};
use crate::rt::ring::AudioTx;

/// Audio that may wait, in seconds.
const AHEAD_S: usize = 20;
/// Audio that is gathered before the first is heard, in ms: the time by which what follows may be late.
const LEAD_MS: f32 = 40.0;
/// A device that takes nothing for so long has failed.
const STALLED: Duration = Duration::from_secs(10);

/// A device that plays. Dropping it stops it.
pub struct Playback {
    device: RunningDevice,
    tx: AudioTx,
    capacity: usize,
    control: GraphHandle,
    _events: EventRx,
}

impl Playback {
    /// Opens the device, and plays silence on all of its channels.
    ///
    /// # Errors
    /// A device that cannot be had.
    pub fn start(backend: &mut dyn Backend) -> Result<Self> {
        let device = backend.open()?;
        let format = *device.format();
        let settings = format.graph_settings();
        let capacity = AHEAD_S * format.rate_hz as usize;
        let (events_tx, events) = event_queue(64);
        let mut graph = GraphBuilder::new(settings.clone());
        let (feed, tx) = Feed::new(capacity, LEAD_MS, FADE_MS);
        let feed = graph.add("feed", feed)?;
        let limiter = graph.add("limiter", LIMITER)?;
        let output = graph.add("output", Output::to((0..format.outputs).collect::<Vec<_>>()))?;
        graph.chain(&[feed, limiter, output])?;
        let (mut control, processor) = processor(&settings, events_tx);
        control.swap(graph.build()?)?;
        Ok(Self { device: device.start(processor), tx, capacity, control, _events: events })
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> &RunningDevice {
        &self.device
    }

    /// Sends what there is room for of `samples`, at the device's rate; returns how many.
    pub fn push(&mut self, samples: &[f32]) -> usize {
        self.control.collect();
        let count = samples.len().min(self.tx.free());
        self.tx.push(&samples[..count])
    }

    /// Samples that were sent and not taken by the device yet.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.capacity - self.tx.free()
    }

    /// Sends all of `samples`, waiting for room; `goes_on` is asked meanwhile. Says whether all were sent.
    ///
    /// # Errors
    /// A device that takes nothing any more.
    pub fn play(&mut self, mut samples: &[f32], goes_on: &dyn Fn() -> bool) -> Result<bool> {
        let mut last = Instant::now();
        while !samples.is_empty() {
            let sent = self.push(samples);
            samples = &samples[sent..];
            if sent > 0 {
                last = Instant::now();
            } else {
                wait(last)?;
            }
            if !goes_on() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Waits until all that was sent has been heard; `goes_on` is asked meanwhile.
    ///
    /// # Errors
    /// A device that takes nothing any more.
    pub fn finish(&mut self, goes_on: &dyn Fn() -> bool) -> Result<()> {
        let rate_hz = self.device.format().rate_hz as usize;
        // A lead of silence lets the last of it go, and whatever the device holds.
        let held = LEAD_MS as usize * rate_hz / 1000 + self.device.telemetry().latency_samples();
        let mut silence = held + 2 * self.device.format().max_block_frames;
        let (mut last, mut waiting) = (Instant::now(), usize::MAX);
        while (silence > 0 || self.waiting() > 0) && goes_on() {
            silence -= self.tx.push_silence(silence);
            if self.waiting() < waiting {
                (last, waiting) = (Instant::now(), self.waiting());
            }
            wait(last)?;
        }
        Ok(())
    }

    /// Stops the device; returns what went wrong with it.
    #[must_use]
    pub fn stop(self) -> Option<Error> {
        self.device.stop().problem
    }
}

/// Waits a moment for a device that took something `last`.
fn wait(last: Instant) -> Result<()> {
    if last.elapsed() > STALLED {
        return Err(Error::device("the device", "takes no audio any more", "it may be gone"));
    }
    std::thread::sleep(Duration::from_millis(2));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::live::{DeviceFormat, Null};

    #[test]
    fn what_is_sent_in_parts_is_heard_whole_and_in_order() {
        let format = DeviceFormat {
            rate_hz: 16_000,
            block_frames: 160,
            max_block_frames: 160,
            inputs: 0,
            outputs: 2,
            input_latency_samples: 0,
            output_latency_samples: 0,
        };
        let (mut device, mut clock) = Null::new(format);
        let mut playback = Playback::start(&mut device).expect("a device");
        let said: Vec<f32> = (0..4000).map(|n| 0.5 * (n as f32 * 0.05).sin()).collect();
        let mut heard = Vec::new();
        let mut hear = |blocks: usize| {
            for _ in 0..blocks {
                let (mut left, mut right) = ([0.0; 160], [0.0; 160]);
                clock.block(&[], &mut [&mut left, &mut right]);
                assert_eq!(left, right);
                heard.extend(left);
            }
        };
        // The graph fades in first.
        hear(10);
        assert!(playback.play(&said[..3000], &|| true).expect("room"));
        hear(5);
        assert!(playback.play(&said[3000..], &|| true).expect("room"));
        hear(30);
        assert_eq!(playback.waiting(), 0);
        let start = heard.iter().position(|sample| sample.abs() > 1e-3).expect("sound");
        // Behind the fade after silence, all is as it was.
        let at = (start - 3..=start).find(|at| (heard[at + 1000] - said[1000]).abs() < 1e-6).expect("the same");
        assert!(said[200..].iter().zip(&heard[at + 200..]).all(|(said, heard)| (said - heard).abs() < 1e-6));
    }
}

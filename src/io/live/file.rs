//! A recording played through the live engine, as if it were a device.

use std::path::PathBuf;
use std::sync::Arc;

use super::Backend;
use super::clock::Clock;
use super::device::{DeviceEvent, DeviceFormat, DeviceState};
use super::open::{OpenDevice, RunningDevice};
use super::priority::ask_for_real_time;
use super::seat::{Callback, Seat};
use crate::dsp::rate::{resample, resampled_len};
use crate::error::{Error, Result};
use crate::geometry::Geometry;
use crate::io::read::read;
use crate::io::write::{Encoding, write};
use crate::units::Recording;

/// How fast a recording is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As a device would play it.
    Clock,
    /// As fast as the graph goes; nodes that depend on another thread wait for it.
    AsFastAsPossible,
}

/// A recording as a device of one channel each way.
///
/// The file it writes is as long as the one it reads, at its rate and in step with it: the latency of the graph is cut
/// off in front, and at the end silence is played until the last sample is out. If it is stopped early, the file holds
/// what was read until then, and as much.
#[derive(Clone, Debug, PartialEq)]
pub struct FileDevice {
    /// The recording to be read.
    pub input: PathBuf,
    /// Where what is played goes; written when it is whole.
    pub output: PathBuf,
    /// How it is written.
    pub encoding: Encoding,
    /// Rate at which it is played, in Hz; if none is named, the recording's own, or 44.1 or 48 kHz where no stream takes
    /// that. It is resampled to it, and what is written is resampled back.
    pub rate_hz: Option<u32>,
    /// Frames of each callback, at least 1.
    pub block_frames: usize,
    /// How fast it is played.
    pub pace: Pace,
}

/// The rate at which a recording of `rate_hz` is played unless one is named: its own, or a usual one.
fn playable(rate_hz: u32) -> u32 {
    const USUAL: [u32; 2] = [44_100, 48_000];
    if Geometry::takes_rate(rate_hz) {
        return rate_hz;
    }
    // A whole multiple is the gentlest.
    USUAL.into_iter().find(|usual| usual.is_multiple_of(rate_hz.max(1))).unwrap_or(USUAL[1])
}

impl Backend for FileDevice {
    fn open(&mut self) -> Result<OpenDevice> {
        if self.block_frames == 0 {
            return Err(Error::argument("block", "at least 1 frame", 0));
        }
        let source = read(&self.input)?.recording;
        let whole = Extent { samples: source.samples.len(), rate_hz: source.sample_rate_hz };
        let rate_hz = self.rate_hz.unwrap_or_else(|| playable(whole.rate_hz));
        if rate_hz != whole.rate_hz {
            tracing::warn!(
                "{}: played at {rate_hz} Hz instead of {} Hz, and written at {} Hz again",
                self.input.display(),
                whole.rate_hz,
                whole.rate_hz
            );
        }
        let recording = resample(&source, rate_hz)?;
        let format = DeviceFormat {
            rate_hz,
            block_frames: self.block_frames,
            max_block_frames: self.block_frames,
            inputs: 1,
            outputs: 1,
            input_latency_samples: 0,
            output_latency_samples: 0,
        };
        let seat = Seat::new();
        seat.admit(1, &format);
        seat.set_freewheel(self.pace == Pace::AsFastAsPossible);
        let (running, device) = (seat.clone(), self.clone());
        Ok(OpenDevice::new(format, seat, move |processor| {
            running.put(Box::new(processor));
            running.set_state(DeviceState::Running);
            let player = Player::new(device, recording, whole, running.clone());
            RunningDevice::run(running, format, move || player.run()).complete()
        }))
    }
}

/// How long a recording is, and at which rate.
#[derive(Clone, Copy)]
struct Extent {
    samples: usize,
    rate_hz: u32,
}

struct Player {
    device: FileDevice,
    /// At the rate at which it is played.
    recording: Recording,
    /// As it was read.
    whole: Extent,
    seat: Arc<Seat>,
    callback: Callback,
    clock: Clock,
    played: Vec<f32>,
}

impl Player {
    fn new(device: FileDevice, recording: Recording, whole: Extent, seat: Arc<Seat>) -> Self {
        let callback = seat.callback(1);
        let played = Vec::with_capacity(recording.samples.len() + device.block_frames);
        Self { clock: Clock::start(recording.sample_rate_hz), device, recording, whole, seat, callback, played }
    }

    /// Plays all, then writes what came out.
    fn run(mut self) -> Option<Error> {
        if self.device.pace == Pace::Clock {
            self.seat.set_priority(ask_for_real_time());
        }
        self.clock = Clock::start(self.recording.sample_rate_hz);
        let samples = std::mem::take(&mut self.recording.samples);
        let all = samples.len();
        let mut latency = None;
        let mut heard = 0;
        for block in samples.chunks(self.device.block_frames) {
            if self.seat.is_stopping() {
                break;
            }
            self.play(block);
            heard += block.len();
            // A graph that takes over later keeps its own pace; the file's start is given by the first.
            latency.get_or_insert_with(|| self.seat.graph_latency());
        }
        let latency = latency.unwrap_or_default();
        if self.seat.is_stopping() {
            // No one listens any more: what is on its way comes as fast as it goes.
            self.device.pace = Pace::AsFastAsPossible;
            self.seat.set_freewheel(true);
        }
        self.drain(heard + latency);
        let samples = self.played[latency..latency + heard].to_vec();
        let played = Recording { samples, sample_rate_hz: self.recording.sample_rate_hz };
        // Two roundings may differ from none.
        let count = if heard == all {
            self.whole.samples
        } else {
            resampled_len(heard, played.sample_rate_hz, self.whole.rate_hz).min(self.whole.samples)
        };
        let written = resample(&played, self.whole.rate_hz).and_then(|mut recording| {
            recording.samples.resize(count, 0.0);
            write(&self.device.output, &recording, self.device.encoding)
        });
        let problem = written.err();
        if let Some(error) = &problem {
            self.seat.send(DeviceEvent::Failed { reason: error.to_string() });
        }
        self.seat.send(DeviceEvent::Ended);
        self.seat.set_state(DeviceState::Ended);
        problem
    }

    /// Plays silence until `frames` are out in all.
    fn drain(&mut self, frames: usize) {
        let silence = vec![0.0; self.device.block_frames];
        while self.played.len() < frames {
            let left = (frames - self.played.len()).min(silence.len());
            self.play(&silence[..left]);
        }
    }

    fn play(&mut self, block: &[f32]) {
        let start = self.played.len();
        self.played.resize(start + block.len(), 0.0);
        self.callback.run(&[block], &mut [&mut self.played[start..]]);
        if self.device.pace == Pace::AsFastAsPossible {
            return;
        }
        self.clock.take(block.len());
        if let Some(ahead) = self.clock.ahead() {
            std::thread::sleep(ahead);
        } else {
            // A device would have run dry.
            self.seat.count_xrun();
            self.clock = Clock::start(self.recording.sample_rate_hz);
        }
    }
}

//! A device without hardware whose output comes back as its input, as through a cable.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Backend;
use super::clock::Clock;
use super::device::{DeviceFormat, DeviceState};
use super::file::Pace;
use super::open::{OpenDevice, RunningDevice};
use super::priority::ask_for_real_time;
use super::seat::{Callback, Seat};
use crate::error::{Error, Result};

/// One channel each way, clocked by a thread. It runs until it is stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loopback {
    /// Samples per second.
    pub rate_hz: u32,
    /// Frames of each callback, at least 1.
    pub block_frames: usize,
    /// Samples after which what was played is captured, at least a block; reported as the device's latency.
    pub delay_samples: usize,
    /// How fast it runs.
    pub pace: Pace,
}

impl Backend for Loopback {
    fn open(&mut self) -> Result<OpenDevice> {
        let Self { rate_hz, block_frames, delay_samples, pace } = *self;
        if block_frames == 0 || rate_hz == 0 {
            return Err(Error::argument("loop", "at least 1 frame a block and 1 Hz", "0"));
        }
        if delay_samples < block_frames {
            let expected = format!("at least a block of {block_frames} samples");
            return Err(Error::argument("delay of the loop", expected, delay_samples));
        }
        let format = DeviceFormat {
            rate_hz,
            block_frames,
            max_block_frames: block_frames,
            inputs: 1,
            outputs: 1,
            input_latency_samples: delay_samples - block_frames,
            output_latency_samples: block_frames,
        };
        let seat = Seat::new();
        seat.admit(1, &format);
        seat.set_freewheel(pace == Pace::AsFastAsPossible);
        let running = seat.clone();
        Ok(OpenDevice::new(format, seat, move |processor| {
            running.put(Box::new(processor));
            running.set_state(DeviceState::Running);
            let circle = Circle::new(&format, pace, running.clone());
            RunningDevice::run(running, format, move || circle.run())
        }))
    }
}

struct Circle {
    seat: Arc<Seat>,
    callback: Callback,
    format: DeviceFormat,
    pace: Pace,
    /// What is on its way from the output to the input.
    cable: VecDeque<f32>,
}

impl Circle {
    fn new(format: &DeviceFormat, pace: Pace, seat: Arc<Seat>) -> Self {
        let cable = VecDeque::from(vec![0.0; format.latency_samples()]);
        Self { callback: seat.callback(1), seat, format: *format, pace, cable }
    }

    fn run(mut self) -> Option<Error> {
        if self.pace == Pace::Clock {
            self.seat.set_priority(ask_for_real_time());
        }
        let (mut captured, mut played) = (vec![0.0; self.format.block_frames], vec![0.0; self.format.block_frames]);
        let mut clock = Clock::start(self.format.rate_hz);
        while !self.seat.is_stopping() {
            captured.iter_mut().zip(self.cable.drain(..self.format.block_frames)).for_each(|(x, sample)| *x = sample);
            self.callback.run(&[&captured], &mut [&mut played]);
            self.cable.extend(&played);
            if self.pace == Pace::AsFastAsPossible {
                continue;
            }
            clock.take(self.format.block_frames);
            if let Some(ahead) = clock.ahead() {
                std::thread::sleep(ahead);
            } else {
                // A device would have run dry.
                self.seat.count_xrun();
                clock = Clock::start(self.format.rate_hz);
            }
        }
        None
    }
}

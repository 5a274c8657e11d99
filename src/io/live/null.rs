//! A device clocked by hand: nothing is heard, nothing passes until someone calls.

use std::sync::Arc;
use std::time::Duration;

use super::Backend;
use super::device::{DeviceEvent, DeviceFormat, DeviceState};
use super::open::{OpenDevice, RunningDevice};
use super::seat::{Callback, Seat};
use crate::error::{Error, Result};

/// A device without sound.
pub struct Null {
    format: DeviceFormat,
    seat: Option<Arc<Seat>>,
}

/// The clock of a [`Null`] device, which stands for its hardware.
pub struct NullClock {
    callback: Callback,
    seat: Arc<Seat>,
    format: DeviceFormat,
}

impl Null {
    /// A device of this format, which can be opened once, and its clock.
    #[must_use]
    pub fn new(format: DeviceFormat) -> (Self, NullClock) {
        let seat = Seat::new();
        let clock = NullClock { callback: seat.callback(1), seat: seat.clone(), format };
        (Self { format, seat: Some(seat) }, clock)
    }
}

impl Backend for Null {
    fn open(&mut self) -> Result<OpenDevice> {
        let seat = self.seat.take().ok_or_else(|| Error::device("null", "is open already", "make another"))?;
        let format = self.format;
        seat.admit(1, &format);
        let running = seat.clone();
        Ok(OpenDevice::new(format, seat, move |processor| {
            running.put(Box::new(processor));
            running.set_state(DeviceState::Running);
            RunningDevice::unattended(running, format)
        }))
    }
}

impl NullClock {
    /// One callback of the device: one slice per channel, all of one length, whatever it is.
    pub fn block(&mut self, captured: &[&[f32]], played: &mut [&mut [f32]]) {
        if let Some(frames) = played.first().map(|channel| channel.len()) {
            self.callback.set_block(frames);
        }
        self.callback.run(captured, played);
    }

    /// The device is gone: its callbacks are silent.
    pub fn lose(&mut self, reason: &str) {
        self.seat.lose(reason);
    }

    /// The device is back.
    pub fn regain(&mut self) {
        self.seat.regain(self.format, Duration::ZERO);
    }

    /// The device is back at another rate, for which it must be opened anew.
    pub fn change_rate(&mut self, rate_hz: u32) {
        self.seat.send(DeviceEvent::OtherRate { rate_hz });
    }

    /// The device reports other latencies, in samples from the microphone to the callback and from there to the
    /// loudspeaker.
    pub fn set_latencies(&mut self, input_samples: usize, output_samples: usize) {
        self.seat.set_latencies(input_samples, output_samples);
    }

    /// The device has lost data.
    pub fn xrun(&mut self) {
        self.seat.count_xrun();
    }

    /// Whether the clock stands for a server that runs as fast as it can.
    pub fn set_freewheel(&mut self, freewheel: bool) {
        self.seat.set_freewheel(freewheel);
    }
}

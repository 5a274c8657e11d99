//! Devices that are open, silent or running.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::device::{DeviceEvent, DeviceFormat, DeviceState, DeviceTelemetry};
use super::seat::Seat;
use crate::error::Error;
use crate::graph::Processor;

/// Time that a device may take to stop; it is left behind after.
const STOPPING: Duration = Duration::from_secs(4);
/// Time that a callback may still be running.
const LAST_CALLBACK: Duration = Duration::from_secs(1);

/// What makes an open device run.
type Start = Box<dyn FnOnce(Processor) -> RunningDevice + Send>;

/// A device that is open and plays silence. Dropping it closes it.
pub struct OpenDevice {
    format: DeviceFormat,
    seat: Arc<Seat>,
    start: Start,
}

impl OpenDevice {
    pub(super) fn new(
        format: DeviceFormat,
        seat: Arc<Seat>,
        start: impl FnOnce(Processor) -> RunningDevice + Send + 'static,
    ) -> Self {
        Self { format, seat, start: Box::new(start) }
    }

    /// What it is like; graphs are built for this.
    #[must_use]
    pub fn format(&self) -> &DeviceFormat {
        &self.format
    }

    /// What it has done so far.
    #[must_use]
    pub fn telemetry(&self) -> DeviceTelemetry {
        self.seat.telemetry()
    }

    /// Has `processor`, made for this device's rate, answer its callbacks from now on.
    #[must_use]
    pub fn start(self, processor: Processor) -> RunningDevice {
        (self.start)(processor)
    }
}

/// A device whose callbacks run a processor. Dropping it stops it.
pub struct RunningDevice {
    seat: Arc<Seat>,
    format: DeviceFormat,
    thread: Option<JoinHandle<Option<Error>>>,
    /// Time that it may take to stop; nothing for as long as it takes.
    patience: Option<Duration>,
    /// Whether its thread can let the device go, and stand in for it.
    #[cfg(any(feature = "jack", feature = "cpal"))]
    stands_in: bool,
}

/// A device that is being let go, for another thread to wait for.
pub struct Release {
    seat: Arc<Seat>,
}

impl Release {
    /// Waits until the device is closed, for at most `limit`; says whether it is.
    #[must_use]
    pub fn wait(&self, limit: Duration) -> bool {
        let start = Instant::now();
        while !self.seat.is_released() && start.elapsed() < limit {
            std::thread::sleep(Duration::from_millis(2));
        }
        self.seat.is_released()
    }
}

/// What a device gives back.
pub struct Stopped {
    /// The processor; nothing if a callback that hangs has not given it back.
    pub processor: Option<Processor>,
    /// What the device did in all.
    pub telemetry: DeviceTelemetry,
    /// What went wrong while it ran or stopped.
    pub problem: Option<Error>,
}

impl RunningDevice {
    /// A device looked after by `work` on a thread of its own, which ends when the seat says stop.
    pub(super) fn run(
        seat: Arc<Seat>,
        format: DeviceFormat,
        work: impl FnOnce() -> Option<Error> + Send + 'static,
    ) -> Self {
        let thread = std::thread::Builder::new().name("syrinx device".into()).spawn(work);
        let thread = thread.inspect_err(|error| seat.send(DeviceEvent::Failed { reason: error.to_string() })).ok();
        Self {
            seat,
            format,
            thread,
            patience: Some(STOPPING),
            #[cfg(any(feature = "jack", feature = "cpal"))]
            stands_in: false,
        }
    }

    /// The same for a device whose thread closes it where it is to be let go, and runs the graph on silence from then on.
    #[cfg(any(feature = "jack", feature = "cpal"))]
    pub(super) fn standing_in(mut self) -> Self {
        self.stands_in = true;
        self
    }

    /// The same for a device that no server can hang, and that has work to complete when it stops.
    pub(super) fn complete(mut self) -> Self {
        self.patience = None;
        self
    }

    /// A device that needs no looking after.
    pub(super) fn unattended(seat: Arc<Seat>, format: DeviceFormat) -> Self {
        Self {
            seat,
            format,
            thread: None,
            patience: Some(STOPPING),
            #[cfg(any(feature = "jack", feature = "cpal"))]
            stands_in: false,
        }
    }

    /// What it was like when it was opened.
    #[must_use]
    pub fn format(&self) -> &DeviceFormat {
        &self.format
    }

    /// What it has done so far.
    #[must_use]
    pub fn telemetry(&self) -> DeviceTelemetry {
        self.seat.telemetry()
    }

    /// The oldest event that was not read; the last 256 are kept.
    #[must_use]
    pub fn next_event(&self) -> Option<DeviceEvent> {
        self.seat.next_event()
    }

    /// Waits until the device is in `state`, for at most `limit`; says whether it is.
    #[must_use]
    pub fn wait_for(&self, state: DeviceState, limit: Duration) -> bool {
        let start = Instant::now();
        while self.seat.state() != state && start.elapsed() < limit {
            std::thread::sleep(Duration::from_millis(2));
        }
        self.seat.state() == state
    }

    /// Closes the device and gives everything back, within a few seconds even if its server hangs.
    #[must_use]
    pub fn stop(mut self) -> Stopped {
        let problem = self.close();
        let processor = self.seat.take(LAST_CALLBACK).map(|processor| *processor);
        Stopped { processor, telemetry: self.seat.telemetry(), problem }
    }

    /// Begins to let the device go, so that it can be opened anew. A device with a server does not wait for that, and runs
    /// its graph on silence at clock speed until it is [closed](Self::close); others are closed here.
    #[must_use]
    pub fn release(&mut self) -> Release {
        #[cfg(any(feature = "jack", feature = "cpal"))]
        if let Some(thread) = self.thread.as_ref().filter(|thread| self.stands_in && !thread.is_finished()) {
            self.seat.ask_to_release();
            thread.thread().unpark();
            return Release { seat: self.seat.clone() };
        }
        self.close();
        self.seat.set_released();
        Release { seat: self.seat.clone() }
    }

    /// Closes the device, within a few seconds even if its server hangs; returns what went wrong. What it counted can
    /// still be read.
    pub fn close(&mut self) -> Option<Error> {
        self.seat.ask_to_stop();
        let problem = self.thread.take().and_then(|thread| {
            thread.thread().unpark();
            let start = Instant::now();
            while !thread.is_finished() {
                if self.patience.is_some_and(|patience| start.elapsed() > patience) {
                    return Some(Error::device("the device", "does not stop", "it was left behind"));
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            let panicked = |_| Some(Error::device("the device", "its thread panicked", "this is a fault of Syrinx"));
            thread.join().unwrap_or_else(panicked)
        });
        self.seat.dismiss();
        problem
    }
}

impl Drop for RunningDevice {
    fn drop(&mut self) {
        self.close();
    }
}

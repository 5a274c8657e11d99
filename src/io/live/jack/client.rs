//! What a JACK server calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use ::jack::{
    AudioIn, AudioOut, Client, ClientStatus, Control, Frames, MidiIn, NotificationHandler, Port, PortId,
    ProcessHandler, ProcessScope,
};

use crate::io::live::midi::MidiInbox;
use crate::io::live::priority;
use crate::io::live::seat::{Callback, Seat};

/// Most ports of one direction.
pub(super) const MAX_PORTS: usize = 64;

/// The real-time callback.
pub(super) struct Process {
    callback: Callback,
    inputs: Vec<Port<AudioIn>>,
    outputs: Vec<Port<AudioOut>>,
    midi: Option<(Port<MidiIn>, Arc<MidiInbox>)>,
    /// Whether the thread's priority is known; JACK raises it after all of its notices to that thread.
    known: bool,
}

impl Process {
    pub(super) fn new(
        callback: Callback,
        inputs: Vec<Port<AudioIn>>,
        outputs: Vec<Port<AudioOut>>,
        midi: Option<(Port<MidiIn>, Arc<MidiInbox>)>,
    ) -> Self {
        Self { callback, inputs, outputs, midi, known: false }
    }
}

impl ProcessHandler for Process {
    fn process(&mut self, _: &Client, scope: &ProcessScope) -> Control {
        if !self.known {
            self.known = true;
            self.callback.seat().set_priority(priority::of_this_thread());
        }
        if let Some((port, inbox)) = &self.midi {
            port.iter(scope).for_each(|message| inbox.push(message.bytes));
        }
        let mut captured: [&[f32]; MAX_PORTS] = [&[]; MAX_PORTS];
        for (captured, port) in captured.iter_mut().zip(&self.inputs) {
            *captured = port.as_slice(scope);
        }
        let mut played: [&mut [f32]; MAX_PORTS] = std::array::from_fn(|_| Default::default());
        let count = self.outputs.len();
        for (played, port) in played.iter_mut().zip(&mut self.outputs) {
            *played = port.as_mut_slice(scope);
        }
        self.callback.run(&captured[..self.inputs.len()], &mut played[..count]);
        Control::Continue
    }

    fn buffer_size(&mut self, _: &Client, frames: Frames) -> Control {
        self.callback.set_block(frames as usize);
        Control::Continue
    }
}

/// What a server has said, for the supervisor to act on.
pub(super) struct Signals {
    shut_down: AtomicBool,
    rate_hz: AtomicU32,
    first_rate_hz: u32,
    /// Whether ports have come or gone.
    pub(super) ports_changed: AtomicBool,
}

impl Signals {
    pub(super) fn new(rate_hz: u32) -> Self {
        Self {
            shut_down: AtomicBool::new(false),
            rate_hz: AtomicU32::new(rate_hz),
            first_rate_hz: rate_hz,
            ports_changed: AtomicBool::new(true),
        }
    }

    /// Why the client is of no use any more, if so.
    pub(super) fn failure(&self) -> Option<String> {
        if self.shut_down.load(Ordering::Relaxed) {
            return Some("the JACK server is gone".into());
        }
        let rate_hz = self.rate_hz.load(Ordering::Relaxed);
        (rate_hz != self.first_rate_hz).then(|| format!("the JACK server changed its rate to {rate_hz} Hz"))
    }
}

/// Callbacks outside of real time.
pub(super) struct Notifications {
    seat: Arc<Seat>,
    signals: Arc<Signals>,
}

impl Notifications {
    pub(super) fn new(seat: Arc<Seat>, signals: Arc<Signals>) -> Self {
        Self { seat, signals }
    }
}

#[expect(unsafe_code, reason = "a method of this trait is unsafe")]
impl NotificationHandler for Notifications {
    unsafe fn shutdown(&mut self, _: ClientStatus, _: &str) {
        self.signals.shut_down.store(true, Ordering::Relaxed);
    }

    fn freewheel(&mut self, _: &Client, on: bool) {
        self.seat.set_freewheel(on);
    }

    fn sample_rate(&mut self, _: &Client, rate_hz: Frames) -> Control {
        self.signals.rate_hz.store(rate_hz, Ordering::Relaxed);
        Control::Continue
    }

    fn port_registration(&mut self, _: &Client, _: PortId, _: bool) {
        self.signals.ports_changed.store(true, Ordering::Relaxed);
    }

    fn xrun(&mut self, _: &Client) -> Control {
        self.seat.count_xrun();
        Control::Continue
    }
}

//! The seat of the processor: where device callbacks, one connection after another, find it.
//!
//! A server that dies takes its callbacks with it. The [`Processor`] must outlive them, so it belongs to none: a
//! callback takes it from the seat, runs it and puts it back, without waiting. A callback that finds it gone, or that
//! belongs to a connection given up, plays silence.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam::atomic::AtomicCell;
use crossbeam::queue::ArrayQueue;

use super::device::{DeviceEvent, DeviceFormat, DeviceState, DeviceTelemetry};
use super::priority::{self, Priority};
use crate::graph::Processor;
use crate::rt::guard;

const _: () = assert!(AtomicCell::<Option<Box<Processor>>>::is_lock_free());

/// Events that wait to be read; older ones are dropped.
const EVENTS: usize = 256;

/// What all parts of a device share.
pub(super) struct Seat {
    /// The processor, unless someone is running it. One pointer, so that no one ever waits for another in the middle of
    /// an exchange.
    processor: AtomicCell<Option<Box<Processor>>>,
    /// The connection whose callbacks count.
    connection: AtomicU64,
    /// Whether the processor is run by the supervisor instead.
    standby: AtomicBool,
    state: AtomicU8,
    callbacks: AtomicU64,
    frames: AtomicU64,
    standby_frames: AtomicU64,
    xruns: AtomicU64,
    block_frames: AtomicUsize,
    block_changes: AtomicU64,
    input_latency: AtomicUsize,
    output_latency: AtomicUsize,
    graph_latency: AtomicUsize,
    losses: AtomicU64,
    returns: AtomicU64,
    freewheel: AtomicBool,
    priority: AtomicU8,
    priority_level: AtomicU8,
    stop: AtomicBool,
    /// Whether the device is to be let go.
    #[cfg(any(feature = "jack", feature = "cpal"))]
    release: AtomicBool,
    /// Whether it was.
    released: AtomicBool,
    events: ArrayQueue<DeviceEvent>,
}

/// States by their codes.
const STATES: [DeviceState; 4] = [DeviceState::Silent, DeviceState::Running, DeviceState::Lost, DeviceState::Ended];

impl Seat {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            processor: AtomicCell::new(None),
            connection: AtomicU64::new(0),
            standby: AtomicBool::new(false),
            state: AtomicU8::new(0),
            callbacks: AtomicU64::new(0),
            frames: AtomicU64::new(0),
            standby_frames: AtomicU64::new(0),
            xruns: AtomicU64::new(0),
            block_frames: AtomicUsize::new(0),
            block_changes: AtomicU64::new(0),
            input_latency: AtomicUsize::new(0),
            output_latency: AtomicUsize::new(0),
            graph_latency: AtomicUsize::new(0),
            losses: AtomicU64::new(0),
            returns: AtomicU64::new(0),
            freewheel: AtomicBool::new(false),
            priority: AtomicU8::new(Priority::Unknown as u8),
            priority_level: AtomicU8::new(0),
            stop: AtomicBool::new(false),
            #[cfg(any(feature = "jack", feature = "cpal"))]
            release: AtomicBool::new(false),
            released: AtomicBool::new(false),
            events: ArrayQueue::new(EVENTS),
        })
    }

    /// A callback for a new connection, which plays silence until [`admit`](Self::admit)ted.
    pub(super) fn callback(self: &Arc<Self>, connection: u64) -> Callback {
        Callback { seat: self.clone(), connection }
    }

    /// From now on the callbacks of this connection count, and no others.
    pub(super) fn admit(&self, connection: u64, format: &DeviceFormat) {
        self.block_frames.store(format.block_frames, Ordering::Relaxed);
        self.set_latencies(format.input_latency_samples, format.output_latency_samples);
        self.connection.store(connection, Ordering::Release);
    }

    /// From now on no callback counts.
    pub(super) fn dismiss(&self) {
        self.connection.store(0, Ordering::Release);
    }

    /// Puts the processor in its place.
    pub(super) fn put(&self, processor: Box<Processor>) {
        // There is one processor and one place: it is empty.
        self.processor.store(Some(processor));
    }

    /// Takes the processor, waiting for a callback that is running it for at most `patience`.
    pub(super) fn take(&self, patience: Duration) -> Option<Box<Processor>> {
        let start = Instant::now();
        loop {
            match self.processor.take() {
                Some(processor) => return Some(processor),
                None if start.elapsed() > patience => return None,
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// Runs the processor once, if it is in its place; says whether it was.
    pub(super) fn run(&self, captured: &[&[f32]], played: &mut [&mut [f32]]) -> bool {
        let Some(mut processor) = self.processor.take() else { return false };
        processor.set_freewheel(self.freewheel.load(Ordering::Relaxed));
        processor.process(captured, played);
        self.graph_latency.store(processor.latency_samples(), Ordering::Relaxed);
        self.put(processor);
        true
    }

    pub(super) fn state(&self) -> DeviceState {
        STATES[self.state.load(Ordering::Acquire) as usize % STATES.len()]
    }

    pub(super) fn set_state(&self, state: DeviceState) {
        self.state.store(state as u8, Ordering::Release);
    }

    /// The device is gone: the supervisor runs the processor.
    pub(super) fn lose(&self, reason: impl Into<String>) {
        self.standby.store(true, Ordering::Release);
        self.losses.fetch_add(1, Ordering::Relaxed);
        self.set_state(DeviceState::Lost);
        self.send(DeviceEvent::Lost { reason: reason.into() });
    }

    /// The device is back: its callback runs the processor.
    pub(super) fn regain(&self, format: DeviceFormat, after: Duration) {
        self.returns.fetch_add(1, Ordering::Relaxed);
        self.set_state(DeviceState::Running);
        self.send(DeviceEvent::Returned { format, after });
        self.standby.store(false, Ordering::Release);
    }

    pub(super) fn send(&self, event: DeviceEvent) {
        // The oldest goes if no one reads.
        let _ = self.events.force_push(event);
    }

    /// The same from a callback, which frees nothing: the new one goes if no one reads. It holds no text.
    fn send_plain(&self, event: DeviceEvent) {
        let _ = self.events.push(event);
    }

    pub(super) fn next_event(&self) -> Option<DeviceEvent> {
        self.events.pop()
    }

    #[cfg(any(feature = "jack", feature = "cpal"))]
    pub(super) fn count_standby(&self, frames: usize) {
        self.standby_frames.fetch_add(frames as u64, Ordering::Relaxed);
    }

    pub(super) fn count_xrun(&self) {
        self.xruns.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn callbacks(&self) -> u64 {
        self.callbacks.load(Ordering::Relaxed)
    }

    pub(super) fn block_frames(&self) -> usize {
        self.block_frames.load(Ordering::Relaxed)
    }

    pub(super) fn graph_latency(&self) -> usize {
        self.graph_latency.load(Ordering::Relaxed)
    }

    pub(super) fn set_latencies(&self, input_samples: usize, output_samples: usize) {
        self.input_latency.store(input_samples, Ordering::Relaxed);
        self.output_latency.store(output_samples, Ordering::Relaxed);
    }

    pub(super) fn latencies(&self) -> (usize, usize) {
        (self.input_latency.load(Ordering::Relaxed), self.output_latency.load(Ordering::Relaxed))
    }

    pub(super) fn freewheels(&self) -> bool {
        self.freewheel.load(Ordering::Relaxed)
    }

    pub(super) fn set_freewheel(&self, freewheel: bool) {
        if self.freewheel.swap(freewheel, Ordering::Relaxed) != freewheel {
            self.send_plain(DeviceEvent::Freewheel(freewheel));
        }
    }

    /// Takes note of the priority of audio; of one that was granted on its own thread.
    pub(super) fn set_priority(&self, priority: Priority) {
        let level = if priority == Priority::RealTime { priority::level_of_this_thread() } else { 0 };
        self.priority_level.store(level, Ordering::Relaxed);
        if self.priority.swap(priority as u8, Ordering::Relaxed) != priority as u8 {
            self.send_plain(DeviceEvent::Priority(priority));
        }
    }

    pub(super) fn ask_to_stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    #[cfg(any(feature = "jack", feature = "cpal"))]
    pub(super) fn ask_to_release(&self) {
        self.release.store(true, Ordering::Release);
    }

    #[cfg(any(feature = "jack", feature = "cpal"))]
    pub(super) fn is_releasing(&self) -> bool {
        self.release.load(Ordering::Acquire)
    }

    /// The device was let go: another may take its place.
    pub(super) fn set_released(&self) {
        self.released.store(true, Ordering::Release);
    }

    pub(super) fn is_released(&self) -> bool {
        self.released.load(Ordering::Acquire)
    }

    pub(super) fn telemetry(&self) -> DeviceTelemetry {
        let (input_latency_samples, output_latency_samples) = self.latencies();
        DeviceTelemetry {
            state: self.state(),
            callbacks: self.callbacks(),
            frames: self.frames.load(Ordering::Relaxed),
            standby_frames: self.standby_frames.load(Ordering::Relaxed),
            xruns: self.xruns.load(Ordering::Relaxed),
            block_frames: self.block_frames(),
            block_changes: self.block_changes.load(Ordering::Relaxed),
            input_latency_samples,
            output_latency_samples,
            graph_latency_samples: self.graph_latency(),
            losses: self.losses.load(Ordering::Relaxed),
            returns: self.returns.load(Ordering::Relaxed),
            freewheel: self.freewheels(),
            priority: Priority::from_code(self.priority.load(Ordering::Relaxed)),
            priority_level: self.priority_level.load(Ordering::Relaxed),
        }
    }
}

/// What the callbacks of one connection call.
pub(super) struct Callback {
    seat: Arc<Seat>,
    connection: u64,
}

impl Callback {
    /// Answers one device block: one slice per channel, all of one length. Every sample of `played` is written.
    ///
    /// Allocates, frees and waits for nothing.
    pub(super) fn run(&self, captured: &[&[f32]], played: &mut [&mut [f32]]) {
        let frames = played.first().map(|channel| channel.len());
        let frames = frames.or_else(|| captured.first().map(|channel| channel.len())).unwrap_or_default();
        self.count(frames);
        self.run_piece(captured, played);
    }

    /// Answers a piece of a device block that was [`count`](Self::count)ed.
    pub(super) fn run_piece(&self, captured: &[&[f32]], played: &mut [&mut [f32]]) {
        let seat = &self.seat;
        let is_seated = self.is_ours() && !seat.standby.load(Ordering::Acquire);
        if guard::enter(|| is_seated && seat.run(captured, played)) != Ok(true) {
            played.iter_mut().for_each(|channel| channel.fill(0.0));
        }
    }

    /// Counts a device block.
    pub(super) fn count(&self, frames: usize) {
        if self.is_ours() {
            self.seat.callbacks.fetch_add(1, Ordering::Relaxed);
            self.seat.frames.fetch_add(frames as u64, Ordering::Relaxed);
        }
    }

    /// Whether this connection is the one that counts.
    fn is_ours(&self) -> bool {
        self.seat.connection.load(Ordering::Acquire) == self.connection
    }

    /// Takes note of a block that is now usual.
    pub(super) fn set_block(&self, frames: usize) {
        if self.is_ours() && self.seat.block_frames.swap(frames, Ordering::Relaxed) != frames {
            self.seat.block_changes.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[cfg(any(feature = "jack", feature = "cpal"))]
    pub(super) fn seat(&self) -> &Seat {
        &self.seat
    }
}

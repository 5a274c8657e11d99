//! The callbacks of the two streams.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ::cpal::{ErrorKind, FromSample, InputCallbackInfo, OutputCallbackInfo, Sample};
use crossbeam::queue::ArrayQueue;

use super::bridge::{Far, Near, PIECE};
use crate::io::live::device::DeviceEvent;
use crate::io::live::priority::{self, Priority};
use crate::io::live::seat::{Callback, Seat};
use crate::rt::guard;

/// Most channels of a device that are used.
pub(super) const MAX_CHANNELS: usize = 32;
/// The callback at which the thread's priority is looked at: the system raises it a little after the first.
const SETTLED: u64 = 32;

/// What a stream's callbacks are like, for control to read.
#[derive(Default)]
pub(super) struct Measure {
    callbacks: AtomicU64,
    longest: AtomicUsize,
    /// Latency that the system names, as bits of an f32, in seconds.
    latency: AtomicU32,
    /// Nanoseconds since the process's epoch at which the last callback began.
    last_ns: AtomicU64,
    /// What the input had sent when its last callback ended, and when that was.
    arrived: AtomicU64,
    /// The same as this stream's last callback found it, with the time since in place of the moment.
    found: AtomicU64,
}

/// How much had arrived at a moment, or a while before: one word, since the two callbacks run side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    /// Samples that were sent, modulo [`Arrival::COUNT`].
    pub(super) sent: u32,
    /// Microseconds, modulo 2^40.
    pub(super) us: u64,
}

impl Arrival {
    pub(super) const COUNT: u32 = 1 << 24;
    const BITS_OF_TIME: u32 = 40;

    fn new(sent: u64, us: u64) -> Self {
        Self { sent: (sent % u64::from(Self::COUNT)) as u32, us: us % (1 << Self::BITS_OF_TIME) }
    }

    fn word(self) -> u64 {
        u64::from(self.sent) << Self::BITS_OF_TIME | self.us
    }

    fn of(word: u64) -> Self {
        Self::new(word >> Self::BITS_OF_TIME, word)
    }

    /// The same, told by how long ago it was at `now_us`.
    fn ago(self, now_us: u64) -> Self {
        Self::new(self.sent.into(), now_us.wrapping_sub(self.us))
    }

    /// Samples of the input that were there and not taken yet, if `taken` had been; negative if more had.
    pub(super) fn beyond(self, taken: u64) -> f64 {
        let taken = (taken % u64::from(Self::COUNT)) as u32;
        let beyond = self.sent.wrapping_sub(taken) % Self::COUNT;
        f64::from(beyond) - if beyond >= Self::COUNT / 2 { f64::from(Self::COUNT) } else { 0.0 }
    }
}

/// Nanoseconds since this was first asked.
fn now_ns() -> u64 {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    EPOCH.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

impl Measure {
    /// Takes note of a callback.
    fn note(&self, frames: usize, latency: Duration) {
        self.callbacks.fetch_add(1, Ordering::Relaxed);
        self.longest.fetch_max(frames, Ordering::Relaxed);
        self.latency.store(latency.as_secs_f32().to_bits(), Ordering::Relaxed);
        self.last_ns.store(now_ns(), Ordering::Relaxed);
    }

    /// Takes note, at the end of the input's callback, of how many samples it has sent in all.
    fn note_sent(&self, sent: u64) {
        self.arrived.store(Arrival::new(sent, now_ns() / 1000).word(), Ordering::Relaxed);
    }

    /// Takes note, at the start of the output's callback, of what the input has sent.
    fn note_found(&self, input: &Self) {
        let arrival = Arrival::of(input.arrived.load(Ordering::Relaxed));
        self.found.store(arrival.ago(now_ns() / 1000).word(), Ordering::Relaxed);
    }

    pub(super) fn callbacks(&self) -> u64 {
        self.callbacks.load(Ordering::Relaxed)
    }

    /// Most frames of one callback so far.
    pub(super) fn longest(&self) -> usize {
        self.longest.load(Ordering::Relaxed)
    }

    pub(super) fn latency_s(&self) -> f64 {
        f64::from(f32::from_bits(self.latency.load(Ordering::Relaxed)))
    }

    /// What had arrived when the output's last callback began, and how long before.
    pub(super) fn found(&self) -> Arrival {
        Arrival::of(self.found.load(Ordering::Relaxed))
    }

    /// The time since the last callback.
    pub(super) fn silent_for(&self) -> Duration {
        Duration::from_nanos(now_ns().saturating_sub(self.last_ns.load(Ordering::Relaxed)))
    }
}

/// The input's callback: sends chosen channels across the bridge.
pub(super) struct Recording {
    far: Far,
    measure: Arc<Measure>,
    channels: Vec<usize>,
    device_channels: usize,
    scratch: Vec<f32>,
}

impl Recording {
    pub(super) fn new(far: Far, measure: Arc<Measure>, channels: Vec<usize>, device_channels: usize) -> Self {
        now_ns();
        Self { far, measure, channels, device_channels, scratch: vec![0.0; PIECE] }
    }

    pub(super) fn run<T: Sample>(&mut self, data: &[T], info: &InputCallbackInfo)
    where
        f32: FromSample<T>,
    {
        let _ = guard::enter(|| {
            let stamp = info.timestamp();
            self.measure
                .note(data.len() / self.device_channels, stamp.callback.saturating_duration_since(stamp.capture));
            self.far.turn();
            for piece in data.chunks(PIECE * self.device_channels) {
                for (n, &channel) in self.channels.iter().enumerate() {
                    let frames = piece.chunks_exact(self.device_channels);
                    let count = frames.len();
                    for (sample, frame) in self.scratch.iter_mut().zip(frames) {
                        *sample = frame[channel].to_sample();
                    }
                    self.far.send(n, &self.scratch[..count]);
                }
            }
            self.measure.note_sent(self.far.sent());
        });
    }
}

/// The output's callback in the making.
pub(super) struct Playing {
    pub(super) near: Near,
    pub(super) callback: Callback,
    pub(super) measure: Arc<Measure>,
    /// The input stream's measure, if there is one.
    pub(super) other: Option<Arc<Measure>>,
    pub(super) channels: Vec<usize>,
    pub(super) device_channels: usize,
}

/// The output's callback: takes what has crossed the bridge, runs the processor, plays on chosen channels.
pub(super) struct PlayingNow {
    parts: Playing,
    captured: Vec<Vec<f32>>,
    played: Vec<Vec<f32>>,
    longest: usize,
}

impl Playing {
    /// With buffers for `inputs` captured channels.
    pub(super) fn prepare(self, inputs: usize) -> PlayingNow {
        now_ns();
        let (captured, played) = (vec![vec![0.0; PIECE]; inputs], vec![vec![0.0; PIECE]; self.channels.len()]);
        PlayingNow { parts: self, captured, played, longest: 0 }
    }
}

impl PlayingNow {
    pub(super) fn run<T: Sample + FromSample<f32>>(&mut self, data: &mut [T], info: &OutputCallbackInfo) {
        data.fill(T::EQUILIBRIUM);
        let _ = guard::enter(|| {
            let stamp = info.timestamp();
            let frames = data.len() / self.parts.device_channels;
            self.parts.measure.note(frames, stamp.playback.saturating_duration_since(stamp.callback));
            if let Some(other) = &self.parts.other {
                self.parts.measure.note_found(other);
            }
            if frames > self.longest {
                self.longest = frames;
                self.parts.callback.set_block(frames);
            }
            self.parts.callback.count(frames);
            self.parts.near.turn();
            for piece in data.chunks_mut(PIECE * self.parts.device_channels) {
                self.piece(piece);
            }
        });
        if self.parts.measure.callbacks() == SETTLED {
            let seat = self.parts.callback.seat();
            if seat.telemetry().priority == Priority::Unknown {
                seat.set_priority(priority::of_this_thread());
            }
        }
    }

    fn piece<T: Sample + FromSample<f32>>(&mut self, data: &mut [T]) {
        let frames = data.len() / self.parts.device_channels;
        self.parts.near.receive(&mut self.captured, frames);
        let mut captured: [&[f32]; MAX_CHANNELS] = [&[]; MAX_CHANNELS];
        for (slice, channel) in captured.iter_mut().zip(&self.captured) {
            *slice = &channel[..frames];
        }
        let (inputs, outputs) = (self.captured.len(), self.played.len());
        let mut played: [&mut [f32]; MAX_CHANNELS] = std::array::from_fn(|_| Default::default());
        for (slice, channel) in played.iter_mut().zip(&mut self.played) {
            *slice = &mut channel[..frames];
        }
        self.parts.callback.run_piece(&captured[..inputs], &mut played[..outputs]);
        for (&channel, samples) in self.parts.channels.iter().zip(&self.played) {
            for (frame, &sample) in data.chunks_exact_mut(self.parts.device_channels).zip(samples) {
                frame[channel] = T::from_sample(sample);
            }
        }
    }
}

/// What the streams have said beside audio, for the supervisor to act on.
pub(super) struct Signals {
    failure: ArrayQueue<String>,
    /// Whether we are ending the streams: what they say then is no news.
    pub(super) closing: AtomicBool,
}

impl Default for Signals {
    fn default() -> Self {
        Self { failure: ArrayQueue::new(1), closing: AtomicBool::new(false) }
    }
}

impl Signals {
    /// Why the streams are of no use any more, if so.
    pub(super) fn failure(&self) -> Option<String> {
        self.failure.pop()
    }

    /// What a stream calls with errors. Systems call it off their real-time threads.
    pub(super) fn handler(self: &Arc<Self>, seat: Arc<Seat>) -> impl FnMut(::cpal::Error) + Send + 'static {
        let signals = self.clone();
        move |error| {
            if signals.closing.load(Ordering::Relaxed) {
                return;
            }
            match error.kind() {
                ErrorKind::Xrun => seat.count_xrun(),
                ErrorKind::DeviceChanged => seat.send(DeviceEvent::Moved),
                ErrorKind::RealtimeDenied => seat.set_priority(Priority::Refused),
                // Where the stream is really gone, it ceases to call back, and is opened anew for that.
                ErrorKind::BackendError | ErrorKind::Other => tracing::warn!("sound card: {error}"),
                _ => drop(signals.failure.force_push(error.to_string())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_arrived_is_told_across_the_wrap_of_its_count() {
        let arrival = Arrival::new(u64::from(Arrival::COUNT) + 5, 1_000_000);
        assert_eq!(Arrival::of(arrival.word()), arrival);
        assert_eq!(arrival.ago(1_002_000).us, 2000);
        assert_eq!(arrival.beyond(u64::from(Arrival::COUNT) - 3), 8.0);
        assert_eq!(arrival.beyond(u64::from(Arrival::COUNT) + 6), -1.0);
    }
}

//! The supervising thread of a device: notices that it is gone, runs the graph on silence meanwhile, and calls it back.
//!
//! Nothing here waits for a server: whatever may hang is a [`Job`] that is looked at now and then.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::clock::Clock;
use super::device::{DeviceEvent, DeviceFormat, DeviceState};
use super::job::{Job, within};
use super::open::{OpenDevice, RunningDevice};
use super::seat::Seat;
use crate::error::{Error, Result};
use crate::graph::Processor;

/// How often the supervisor looks, while all goes well and while it does not.
const CALM: Duration = Duration::from_millis(20);
const BUSY: Duration = Duration::from_millis(4);
/// A device that does not call back for so long is lost, unless its blocks are longer.
const SILENCE: Duration = Duration::from_secs(1);
/// The same while the server has no clock, so that a callback may wait for the converter.
const FREEWHEEL_SILENCE: Duration = Duration::from_secs(20);
/// Pauses between two attempts to call a device back: each twice the last.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Time that closing may take.
const CLOSING: Duration = Duration::from_secs(2);
/// Silence that the graph is fed at once at most, where the supervisor itself was held up: it waits in queues.
const MOST_AT_ONCE: Duration = Duration::from_secs(3);
/// Blocks per second that the graph is fed while the device is lost.
const STANDBY_BLOCKS_PER_SECOND: usize = 100;

/// A way to a device, which can be gone again and again.
pub(super) trait Connector: Send + Sync + 'static {
    /// A device that calls back.
    type Connection: Connection;

    /// Connects `seat.callback(number)` to the device. May take long, or hang.
    fn connect(&self, seat: &Arc<Seat>, number: u64) -> Result<(Self::Connection, DeviceFormat)>;

    /// How long connecting takes at most if nothing hangs.
    fn patience(&self) -> Duration;

    /// What a person calls it.
    fn name(&self) -> String;
}

/// A device that calls back. Dropping it closes it, which may hang.
pub(super) trait Connection: Send + 'static {
    /// Why it is of no use any more, if so; it has not called back for `stalled`. Does not wait.
    fn failure(&mut self, stalled: Duration) -> Option<String>;

    /// Whether there is something to [`tend`](Self::tend). Does not wait.
    fn wants_tending(&self) -> bool;

    /// Does what is to be done at the server. May hang.
    fn tend(&mut self);
}

/// Opens a device that plays silence.
///
/// # Errors
/// What the connector says; [`Error::Device`] if it says nothing in time.
pub(super) fn open<C: Connector>(connector: C) -> Result<OpenDevice> {
    let (connector, seat) = (Arc::new(connector), Seat::new());
    let connected = within(connector.patience(), {
        let (connector, seat) = (connector.clone(), seat.clone());
        move || connector.connect(&seat, 1)
    });
    let silent = || Error::device(connector.name(), "does not answer", "it may hang: restart it");
    let (connection, format) = connected.ok_or_else(silent)??;
    seat.admit(1, &format);
    let connection = Closing(Some(connection));
    let start = {
        let seat = seat.clone();
        move |processor: Processor| {
            seat.put(Box::new(processor));
            seat.set_state(DeviceState::Running);
            let supervisor = Supervisor::new(connector, seat.clone(), connection, format);
            RunningDevice::run(seat, format, move || supervisor.run()).standing_in()
        }
    };
    Ok(OpenDevice::new(format, seat, start))
}

/// A connection that is closed in the end, without waiting for ever.
struct Closing<C: Connection>(Option<C>);

impl<C: Connection> Drop for Closing<C> {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            within(CLOSING, move || drop(connection));
        }
    }
}

/// How the connection stands.
enum Line<C> {
    /// It works, as far as it says.
    Up(C),
    /// It works; something is being done at the server.
    Tended(Job<C>),
    /// It is to be made, the old one closed first.
    Down { retry: Instant, old: Option<C> },
    /// It is being made.
    Opening(Job<Result<(C, DeviceFormat)>>),
    /// It is being closed for good.
    Closing(Job<()>),
    /// It is closed for good.
    Closed,
}

struct Supervisor<C: Connector> {
    connector: Arc<C>,
    seat: Arc<Seat>,
    /// What the device was like when it last connected.
    format: DeviceFormat,
    line: Option<Line<C::Connection>>,
    /// The connection's number.
    number: u64,
    /// Callbacks seen, and when the last was new.
    callbacks: u64,
    heard: Instant,
    /// When the device was lost, and the clock that stands in for it.
    lost: Option<(Instant, Clock)>,
    pause: Duration,
    /// The last reason given for not having it back.
    reason: String,
    block_frames: usize,
}

impl<C: Connector> Supervisor<C> {
    fn new(connector: Arc<C>, seat: Arc<Seat>, connection: Closing<C::Connection>, format: DeviceFormat) -> Self {
        let mut connection = connection;
        let line = connection.0.take().map(Line::Up);
        Self {
            callbacks: seat.callbacks(),
            connector,
            seat,
            format,
            line,
            number: 1,
            heard: Instant::now(),
            lost: None,
            pause: FIRST_PAUSE,
            reason: String::new(),
            block_frames: format.block_frames,
        }
    }

    fn run(mut self) -> Option<Error> {
        while !self.seat.is_stopping() {
            let releasing = self.seat.is_releasing();
            if let Some(line) = self.line.take() {
                self.line = Some(if releasing { self.let_go(line) } else { self.advance(line) });
            }
            if !releasing {
                self.listen();
                self.announce();
            }
            self.stand_in();
            let calm = self.lost.is_none() && matches!(self.line, Some(Line::Up(_)));
            std::thread::park_timeout(if calm { CALM } else { BUSY });
        }
        self.seat.dismiss();
        match self.line.take() {
            Some(Line::Up(connection) | Line::Down { old: Some(connection), .. }) => drop(Closing(Some(connection))),
            Some(Line::Closing(job)) => drop(job.wait(CLOSING)),
            _ => {}
        }
        None
    }

    /// Moves on with the connection, without waiting.
    fn advance(&mut self, line: Line<C::Connection>) -> Line<C::Connection> {
        match line {
            Line::Up(mut connection) => match connection.failure(self.heard.elapsed()) {
                Some(reason) => {
                    self.lose(&reason);
                    self.again(Some(connection))
                }
                None if connection.wants_tending() => tended(connection),
                None => Line::Up(connection),
            },
            Line::Tended(job) => match job.result() {
                Ok(Some(connection)) => Line::Up(connection),
                Ok(None) => {
                    self.lose("a call to the server failed");
                    self.again(None)
                }
                Err(job) => {
                    if job.age() > self.connector.patience() {
                        self.lose("the server does not answer");
                    }
                    Line::Tended(job)
                }
            },
            Line::Down { retry, old } if Instant::now() >= retry => self.reopen(old),
            Line::Down { retry, old } => Line::Down { retry, old },
            Line::Opening(job) => match job.result() {
                Ok(Some(Ok((connection, format)))) => self.opened(connection, format),
                Ok(Some(Err(error))) => {
                    self.still_lost(error.to_string());
                    self.again(None)
                }
                Ok(None) => {
                    self.still_lost("connecting failed".into());
                    self.again(None)
                }
                // Never a second attempt beside one that hangs: the library may hold a lock.
                Err(job) => {
                    if job.age() > self.connector.patience() {
                        self.still_lost(format!("{} does not answer", self.connector.name()));
                    }
                    Line::Opening(job)
                }
            },
            closing @ (Line::Closing(_) | Line::Closed) => closing,
        }
    }

    /// Moves on with closing the connection for good, without waiting. The graph runs on silence from now on.
    fn let_go(&mut self, line: Line<C::Connection>) -> Line<C::Connection> {
        self.lose("it is opened anew");
        let connection = match line {
            Line::Up(connection) | Line::Down { old: Some(connection), .. } => Some(connection),
            Line::Tended(job) => match job.result() {
                Ok(connection) => connection,
                Err(job) => return Line::Tended(job),
            },
            Line::Opening(job) => match job.result() {
                Ok(opened) => opened.and_then(Result::ok).map(|(connection, _)| connection),
                Err(job) => return Line::Opening(job),
            },
            Line::Closing(job) => match job.result() {
                Ok(_) => None,
                Err(job) => return Line::Closing(job),
            },
            Line::Down { old: None, .. } | Line::Closed => None,
        };
        let Some(connection) = connection else {
            self.seat.set_released();
            return Line::Closed;
        };
        Job::begin(move || drop(connection)).map_or(Line::Closed, Line::Closing)
    }

    /// The next attempt, after a pause.
    fn again(&mut self, old: Option<C::Connection>) -> Line<C::Connection> {
        let retry = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Line::Down { retry, old }
    }

    fn reopen(&mut self, old: Option<C::Connection>) -> Line<C::Connection> {
        self.number += 1;
        let (connector, seat, number) = (self.connector.clone(), self.seat.clone(), self.number);
        let job = Job::begin(move || {
            drop(old);
            connector.connect(&seat, number)
        });
        match job {
            Some(job) => Line::Opening(job),
            None => self.again(None),
        }
    }

    fn opened(&mut self, connection: C::Connection, format: DeviceFormat) -> Line<C::Connection> {
        if format.rate_hz != self.format.rate_hz {
            let reason = format!("it runs at {} Hz now, the graph at {} Hz", format.rate_hz, self.format.rate_hz);
            if self.still_lost(reason) {
                self.seat.send(DeviceEvent::OtherRate { rate_hz: format.rate_hz });
            }
            return self.again(Some(connection));
        }
        self.format = format;
        self.block_frames = format.block_frames;
        self.seat.admit(self.number, &format);
        self.regain();
        Line::Up(connection)
    }

    /// Notices callbacks that cease, and that come back.
    fn listen(&mut self) {
        let callbacks = self.seat.callbacks();
        if callbacks != self.callbacks {
            self.callbacks = callbacks;
            self.heard = Instant::now();
            if matches!(self.line, Some(Line::Up(_))) {
                self.regain();
            }
            return;
        }
        let blocks = Duration::from_secs_f64(8.0 * self.block_frames as f64 / f64::from(self.format.rate_hz));
        let patience = if self.seat.freewheels() { FREEWHEEL_SILENCE } else { SILENCE.max(blocks) };
        if self.heard.elapsed() > patience {
            self.lose("it has ceased to call back");
        }
    }

    fn announce(&mut self) {
        let frames = self.seat.block_frames();
        if frames != self.block_frames {
            self.block_frames = frames;
            self.seat.send(DeviceEvent::BlockChanged { frames });
        }
    }

    fn lose(&mut self, reason: &str) {
        if self.lost.is_none() {
            tracing::warn!("{}: lost: {reason}", self.connector.name());
            // What is recorded keeps its length by the clock. A server without one has none.
            let since = if self.seat.freewheels() { Instant::now() } else { self.heard };
            self.lost = Some((Instant::now(), Clock::since(since, self.format.rate_hz)));
            self.seat.lose(reason);
        }
    }

    /// Says why the device is not back, once per reason; returns whether it was said.
    fn still_lost(&mut self, reason: String) -> bool {
        if self.reason == reason {
            return false;
        }
        tracing::info!("{}: still lost: {reason}", self.connector.name());
        self.seat.send(DeviceEvent::StillLost { reason: reason.clone() });
        self.reason = reason;
        true
    }

    fn regain(&mut self) {
        let Some((since, _)) = self.lost.take() else { return };
        tracing::info!("{}: back after {:.1} s", self.connector.name(), since.elapsed().as_secs_f64());
        self.pause = FIRST_PAUSE;
        self.reason.clear();
        self.heard = Instant::now();
        self.seat.regain(self.format, since.elapsed());
    }

    /// Runs the graph on silence at clock speed while the device is lost: recordings, swaps and meters go on.
    fn stand_in(&mut self) {
        let Some((_, clock)) = &mut self.lost else { return };
        if clock.behind() > MOST_AT_ONCE {
            *clock = Clock::start(self.format.rate_hz);
        }
        let frames = (self.format.rate_hz as usize / STANDBY_BLOCKS_PER_SECOND).max(1);
        let silence = vec![0.0; frames];
        let captured = vec![&silence[..]; self.format.inputs];
        let mut unheard = vec![vec![0.0; frames]; self.format.outputs.max(1)];
        while clock.ahead().is_none() {
            let mut played: Vec<&mut [f32]> = unheard.iter_mut().map(Vec::as_mut_slice).collect();
            if self.seat.run(&captured, &mut played) {
                self.seat.count_standby(frames);
            }
            clock.take(frames);
        }
    }
}

/// `connection`, while something is being done at its server.
fn tended<C: Connection>(mut connection: C) -> Line<C> {
    let job = Job::begin(move || {
        connection.tend();
        connection
    });
    job.map_or_else(|| Line::Down { retry: Instant::now() + FIRST_PAUSE, old: None }, Line::Tended)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::graph::{GraphHandle, processor};
    use crate::rt::events::event_queue;

    /// A way to a device that never calls back.
    struct Mute {
        closed: Arc<AtomicBool>,
        /// What closing it waits for.
        hang: Mutex<Option<Receiver<()>>>,
    }

    struct MuteConnection {
        closed: Arc<AtomicBool>,
        hang: Option<Receiver<()>>,
    }

    impl Connector for Mute {
        type Connection = MuteConnection;

        fn connect(&self, _: &Arc<Seat>, _: u64) -> Result<(MuteConnection, DeviceFormat)> {
            let hang = self.hang.lock().expect("no panic").take();
            let format = DeviceFormat {
                rate_hz: 48_000,
                block_frames: 64,
                max_block_frames: 64,
                inputs: 1,
                outputs: 1,
                input_latency_samples: 0,
                output_latency_samples: 0,
            };
            Ok((MuteConnection { closed: self.closed.clone(), hang }, format))
        }

        fn patience(&self) -> Duration {
            Duration::from_secs(2)
        }

        fn name(&self) -> String {
            "mute".into()
        }
    }

    impl Connection for MuteConnection {
        fn failure(&mut self, _: Duration) -> Option<String> {
            None
        }

        fn wants_tending(&self) -> bool {
            false
        }

        fn tend(&mut self) {}
    }

    impl Drop for MuteConnection {
        fn drop(&mut self) {
            let _ = self.hang.take().map(|hang| hang.recv());
            self.closed.store(true, Ordering::Release);
        }
    }

    fn running(hang: Option<Receiver<()>>) -> (GraphHandle, RunningDevice, Arc<AtomicBool>) {
        let closed = Arc::new(AtomicBool::new(false));
        let device = open(Mute { closed: closed.clone(), hang: Mutex::new(hang) }).expect("a device");
        let (control, processor) = processor(&device.format().graph_settings(), event_queue(64).0);
        (control, device.start(processor), closed)
    }

    fn until(what: &str, mut happened: impl FnMut() -> bool) {
        let start = Instant::now();
        while !happened() {
            assert!(start.elapsed() < Duration::from_secs(20), "{what}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_device_that_is_let_go_is_closed_while_its_graph_runs_on_silence_however_long_that_takes() {
        let (let_close, hang) = channel();
        for hang in [None, Some(hang)] {
            let hangs = hang.is_some();
            let (_control, mut device, closed) = running(hang);
            let start = Instant::now();
            let release = device.release();
            assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
            let limit = Duration::from_millis(if hangs { 100 } else { 20_000 });
            assert_eq!((release.wait(limit), closed.load(Ordering::Acquire)), (!hangs, !hangs));
            let before = device.telemetry().standby_frames;
            until("silence in its place", || device.telemetry().standby_frames > before + 4800);
            assert_eq!(device.telemetry().state, DeviceState::Lost);
            if hangs {
                let_close.send(()).expect("it waits");
                assert!(release.wait(Duration::from_secs(20)) && closed.load(Ordering::Acquire));
            }
            assert!(device.stop().processor.is_some());
        }
    }

    #[test]
    fn silence_stands_for_a_device_from_its_last_callback_on() {
        let start = Instant::now();
        let (_control, device, _) = running(None);
        assert!(device.wait_for(DeviceState::Lost, Duration::from_secs(20)));
        // What passed until it was given up is made up for.
        let behind = || start.elapsed().as_secs_f64() - device.telemetry().standby_frames as f64 / 48_000.0;
        until("all of the time", || behind() < 0.5);
    }
}

//! Clients of the test: one plays, one records.
#![expect(unsafe_code, reason = "the C interface of JACK")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use jack::jack_sys::jack_set_freewheel;
use jack::{
    AsyncClient, AudioIn, AudioOut, Client, ClientOptions, Control, LatencyType, Port, ProcessHandler, ProcessScope,
};

/// Plays samples once it is told to, then silence, or the same again.
pub struct Player {
    client: AsyncClient<(), Playing>,
    go: Arc<AtomicBool>,
}

struct Playing {
    port: Port<AudioOut>,
    samples: Vec<f32>,
    at: usize,
    again: bool,
    go: Arc<AtomicBool>,
    began: Option<u32>,
}

impl ProcessHandler for Playing {
    fn process(&mut self, _: &Client, scope: &ProcessScope) -> Control {
        let out = self.port.as_mut_slice(scope);
        out.fill(0.0);
        if self.go.load(Ordering::Relaxed) {
            self.began.get_or_insert(scope.last_frame_time());
            let rest = &self.samples[self.at..];
            let count = rest.len().min(out.len());
            out[..count].copy_from_slice(&rest[..count]);
            self.at += count;
            if self.again && self.at == self.samples.len() {
                self.at = 0;
            }
        }
        Control::Continue
    }
}

impl Player {
    /// A client `player` with a port `out`.
    pub fn start(samples: Vec<f32>) -> Self {
        Self::playing(samples, false)
    }

    /// The same, over and over.
    pub fn start_over_and_over(samples: Vec<f32>) -> Self {
        Self::playing(samples, true)
    }

    fn playing(samples: Vec<f32>, again: bool) -> Self {
        let (client, _) = Client::new("player", ClientOptions::NO_START_SERVER).expect("a client");
        let port = client.register_port("out", AudioOut::default()).expect("a port");
        let go = Arc::new(AtomicBool::new(false));
        let playing = Playing { port, samples, at: 0, again, go: go.clone(), began: None };
        Self { client: client.activate_async((), playing).expect("an active client"), go }
    }

    /// Begins to play.
    pub fn go(&self) {
        self.go.store(true, Ordering::Relaxed);
    }

    /// Has the server run without a clock, or with one again.
    pub fn freewheel(&self, on: bool) {
        // SAFETY: the client is open.
        let result = unsafe { jack_set_freewheel(self.client.as_client().raw(), i32::from(on)) };
        assert_eq!(result, 0);
    }

    /// Changes the server's block.
    pub fn set_block(&self, frames: u32) {
        self.client.as_client().set_buffer_size(frames).expect("a server that can");
    }

    /// The latency range that the server tells of any port.
    pub fn latency(&self, port: &str, direction: LatencyType) -> (u32, u32) {
        self.client.as_client().port_by_name(port).expect("a port").get_latency_range(direction)
    }

    /// The frame at which the first sample was played.
    pub fn stop(self) -> u32 {
        let (_, (), playing) = self.client.deactivate().expect("a live server");
        playing.began.expect("it has played")
    }
}

/// Records what arrives.
pub struct Listener {
    client: AsyncClient<(), Listening>,
    count: Arc<AtomicUsize>,
}

struct Listening {
    port: Port<AudioIn>,
    samples: Vec<f32>,
    count: Arc<AtomicUsize>,
    began: Option<u32>,
}

impl ProcessHandler for Listening {
    fn process(&mut self, _: &Client, scope: &ProcessScope) -> Control {
        self.began.get_or_insert(scope.last_frame_time());
        let room = self.samples.capacity() - self.samples.len();
        let input = self.port.as_slice(scope);
        self.samples.extend_from_slice(&input[..input.len().min(room)]);
        self.count.store(self.samples.len(), Ordering::Relaxed);
        Control::Continue
    }
}

impl Listener {
    /// A client `listener` with a port `in`, for at most `capacity` samples.
    pub fn start(capacity: usize) -> Self {
        let (client, _) = Client::new("listener", ClientOptions::NO_START_SERVER).expect("a client");
        let port = client.register_port("in", AudioIn::default()).expect("a port");
        let count = Arc::new(AtomicUsize::new(0));
        let listening = Listening { port, samples: Vec::with_capacity(capacity), count: count.clone(), began: None };
        Self { client: client.activate_async((), listening).expect("an active client"), count }
    }

    /// Samples recorded so far.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether something is connected to it.
    pub fn is_connected(&self) -> bool {
        let port = self.client.as_client().port_by_name("listener:in").expect("its port");
        port.connected_count().expect("a live client") > 0
    }

    /// The frame of the first sample, and all samples.
    pub fn stop(self) -> (u32, Vec<f32>) {
        let (_, (), listening) = self.client.deactivate().expect("a live server");
        (listening.began.expect("it has recorded"), listening.samples)
    }
}

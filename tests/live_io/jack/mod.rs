//! Through a real JACK server without hardware.

mod chaos;
mod exact;
mod midi;
mod probe;
mod soak;
mod voice;

use std::time::Duration;

use syrinx::io::live::jack::devices;

use crate::server::{Server, wait_until};

/// Starts jackd with its dummy driver at 48 kHz under the name that this process uses.
///
/// Synchronous, and patient with clients on a loaded machine: no cycle is cut short.
fn jackd(block_frames: usize) -> Server {
    jackd_at(48_000, block_frames)
}

/// The same at another rate.
fn jackd_at(rate_hz: u32, block_frames: usize) -> Server {
    start(rate_hz, block_frames, &[])
}

/// The same at 48 kHz with a cable, `loopback:playback_1` to `loopback:capture_1`.
fn jackd_with_cable(block_frames: usize) -> Server {
    start(48_000, block_frames, &["-L", "1"])
}

fn start(rate_hz: u32, block_frames: usize, more: &[&str]) -> Server {
    let name = std::env::var("JACK_DEFAULT_SERVER").expect("the test sets it");
    let (rate, frames) = (rate_hz.to_string(), block_frames.to_string());
    let server = ["-r", "-S", "-t", "10000", "-n", &name];
    let driver = ["-d", "dummy", "-r", &rate, "-p", &frames];
    let server = Server::start("jackd", &[&server, more, &driver].concat());
    wait_until("jackd answers", Duration::from_secs(20), || devices().problem.is_none());
    server
}

//! Through a real JACK server without hardware.

mod chaos;
mod exact;
mod probe;

use std::time::Duration;

use syrinx::io::live::jack::devices;

use crate::server::{Server, wait_until};

/// Starts jackd with its dummy driver at 48 kHz under the name that this process uses.
///
/// Synchronous, and patient with clients on a loaded machine: no cycle is cut short.
fn jackd(block_frames: usize) -> Server {
    let name = std::env::var("JACK_DEFAULT_SERVER").expect("the test sets it");
    let frames = block_frames.to_string();
    let arguments = ["-r", "-S", "-t", "10000", "-n", &name, "-d", "dummy", "-r", "48000", "-p", &frames];
    let server = Server::start("jackd", &arguments);
    wait_until("jackd answers", Duration::from_secs(20), || devices().problem.is_none());
    server
}

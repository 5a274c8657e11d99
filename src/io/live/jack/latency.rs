//! What the `jack` crate leaves to the C interface: the latency of ports.
#![expect(unsafe_code, reason = "the C interface of JACK")]

use std::ffi::c_void;
use std::sync::Arc;

use ::jack::jack_sys::{
    JackCaptureLatency, jack_latency_callback_mode_t, jack_recompute_total_latencies, jack_set_latency_callback,
};
use ::jack::{AudioIn, AudioOut, Client, LatencyType, Port, Unowned};

use crate::io::live::seat::Seat;
use crate::rt::guard;

/// The ports of a client, for its latency callback.
pub(super) struct LatencyPorts {
    inputs: Vec<Port<Unowned>>,
    outputs: Vec<Port<Unowned>>,
    seat: Arc<Seat>,
}

impl LatencyPorts {
    /// Has the server ask for the latencies of `client`, which is not active yet. The result must outlive the client.
    pub(super) fn register(
        client: &Client,
        inputs: &[Port<AudioIn>],
        outputs: &[Port<AudioOut>],
        seat: Arc<Seat>,
    ) -> Arc<Self> {
        let ports = Arc::new(Self {
            inputs: inputs.iter().map(Port::clone_unowned).collect(),
            outputs: outputs.iter().map(Port::clone_unowned).collect(),
            seat,
        });
        let context = Arc::as_ptr(&ports).cast_mut().cast::<c_void>();
        // SAFETY: the client is open; `context` points to what its owner keeps until the client is closed.
        unsafe { jack_set_latency_callback(client.raw(), Some(on_latency), context) };
        ports
    }

    /// Passes latency on through this client: what leaves it is later by the graph's latency than what enters it.
    fn pass_on(&self, direction: LatencyType) {
        let (from, to) = match direction {
            LatencyType::Capture => (&self.inputs, &self.outputs),
            LatencyType::Playback => (&self.outputs, &self.inputs),
        };
        let (least, most) = range(from, direction);
        let graph = self.seat.graph_latency() as u32;
        to.iter().for_each(|port| port.set_latency_range(direction, (least + graph, most + graph)));
        let (input, output) = self.of_the_device();
        self.seat.set_latencies(input, output);
    }

    /// Samples before the inputs and after the outputs.
    pub(super) fn of_the_device(&self) -> (usize, usize) {
        let (_, input) = range(&self.inputs, LatencyType::Capture);
        let (_, output) = range(&self.outputs, LatencyType::Playback);
        (input as usize, output as usize)
    }
}

/// The least and the greatest latency among the ports that are connected.
fn range(ports: &[Port<Unowned>], direction: LatencyType) -> (u32, u32) {
    let connected = ports.iter().filter(|port| port.connected_count().is_ok_and(|count| count > 0));
    let ranges = connected.map(|port| port.get_latency_range(direction));
    ranges.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))).unwrap_or_default()
}

unsafe extern "C" fn on_latency(mode: jack_latency_callback_mode_t, context: *mut c_void) {
    // SAFETY: `context` is what `register` gave; its owner closes the client before freeing it.
    let ports = unsafe { &*context.cast::<LatencyPorts>() };
    let direction = if mode == JackCaptureLatency { LatencyType::Capture } else { LatencyType::Playback };
    // No panic may enter C code.
    let _ = guard::contain(|| ports.pass_on(direction));
}

/// Has the server ask all clients for their latencies.
pub(super) fn tell(client: &Client) {
    // SAFETY: the client is open.
    unsafe { jack_recompute_total_latencies(client.raw()) };
}

//! The two halves of a graph node: plain data on control, state on the real-time thread.

use crate::error::Result;
use crate::params::LiveParams;

/// Most inputs or outputs of one node.
pub const MAX_PORTS: usize = 8;

/// The control half of a node: plain data that says what shall run, and builds it.
///
/// # Life cycle
/// 1. Control makes a `Node` and adds it to a [`GraphBuilder`](crate::graph::GraphBuilder) under a name.
/// 2. The builder asks for [`ports`](Self::ports), and checks all connections.
/// 3. The builder consumes the node by [`prepare`](Self::prepare): everything that allocates, opens or computes tables
///    happens here, on control. The result is the [`RtNode`].
/// 4. The builder reads [`RtNode::latency_samples`] and delays other paths to match.
/// 5. The compiled graph, with the `RtNode` in it, goes to the real-time thread through a ring.
/// 6. Real-time calls [`RtNode::process`] once per block, alone, until the graph is swapped for another.
/// 7. If `process` panics, the node is never called again: its outputs are silent, the event is counted and reported.
/// 8. The dead graph returns to control through the garbage ring, where the `RtNode` is dropped.
pub trait Node: 'static {
    /// How many ports this node has and at which rates, in a graph whose rate at this place is `rate_hz`.
    fn ports(&self, rate_hz: u32) -> Ports;

    /// What this node does at the edge of the graph.
    fn role(&self) -> Role {
        Role::Inner
    }

    /// Builds the real-time half.
    ///
    /// # Errors
    /// Settings that cannot run, named as the user knows them.
    fn prepare(self: Box<Self>, setup: &Setup) -> Result<Box<dyn RtNode>>;
}

/// The real-time half of a node. Its methods never allocate, free, lock, wait or call the system.
pub trait RtNode: Send {
    /// Processes one block.
    ///
    /// `inputs` and `outputs` are one slice per port, in the order of [`Ports`], never overlapping. All inputs have
    /// one length and so have all outputs; both are at most [`Setup::max_block`] at the input rate and
    /// [`Setup::max_output_block`] at the output rate, and may be 0. Outputs hold arbitrary values before and must be
    /// written in full.
    fn process(&mut self, block: &mut Block<'_>, inputs: &[&[f32]], outputs: &mut [&mut [f32]]);

    /// Samples, at the output's rate, by which outputs lag inputs. Never changes: another latency is another node.
    ///
    /// Whole, except where a node changes the rate.
    fn latency_samples(&self) -> f64 {
        0.0
    }

    /// Forgets all audio, as if just prepared.
    fn reset(&mut self);
}

/// What a node does at the edge of the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Nothing: it is inside, or a side exit.
    Inner,
    /// It plays what the graph is for: its latency is the graph's.
    Output,
}

/// Ports of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Number of inputs, at most [`MAX_PORTS`]. Each must be connected.
    pub inputs: usize,
    /// Rate of all inputs, in Hz.
    pub input_rate_hz: u32,
    /// Number of outputs, at most [`MAX_PORTS`]. Each may feed any number of inputs, or none.
    pub outputs: usize,
    /// Rate of all outputs, in Hz.
    pub output_rate_hz: u32,
}

impl Ports {
    /// `inputs` and `outputs` ports, all at one rate.
    #[must_use]
    pub const fn at(rate_hz: u32, inputs: usize, outputs: usize) -> Self {
        Self { inputs, input_rate_hz: rate_hz, outputs, output_rate_hz: rate_hz }
    }
}

/// What a node is prepared for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setup {
    /// Rate of the node's inputs, in Hz.
    pub rate_hz: u32,
    /// Most samples of one input block.
    pub max_block: usize,
    /// Rate of the node's outputs, in Hz.
    pub output_rate_hz: u32,
    /// Most samples of one output block.
    pub max_output_block: usize,
    /// Channels that the device records.
    pub device_inputs: usize,
    /// Channels that the device plays.
    pub device_outputs: usize,
    /// The parameters in force, from which smoothed ones start.
    pub live: LiveParams,
}

impl Setup {
    /// `ms` milliseconds in whole samples at the input rate.
    #[must_use]
    pub fn samples(&self, ms: f32) -> usize {
        (f64::from(ms.max(0.0)) * 1e-3 * f64::from(self.rate_hz)).round() as usize
    }
}

/// What surrounds one block: the parameters, and the device's channels.
#[derive(Debug)]
pub struct Block<'a> {
    /// The parameters in force for this block.
    pub live: &'a LiveParams,
    /// Whether the audio server runs without a clock, so that a node that waits for another thread may really wait.
    pub freewheel: bool,
    /// Whether this graph leads: of two, in a swap, the new one from the beginning of the fade on.
    pub leads: bool,
    captured: &'a [&'a [f32]],
    start: usize,
    frames: usize,
    played: &'a mut [Vec<f32>],
}

impl<'a> Block<'a> {
    /// The `frames` frames from `start` on of the device's `captured` channels, to be answered in `played`.
    pub fn new(
        live: &'a LiveParams,
        freewheel: bool,
        leads: bool,
        captured: &'a [&'a [f32]],
        start: usize,
        frames: usize,
        played: &'a mut [Vec<f32>],
    ) -> Self {
        Self { live, freewheel, leads, captured, start, frames, played }
    }

    /// What the device recorded on `channel`, if it has that channel.
    #[must_use]
    pub fn captured(&self, channel: usize) -> Option<&'a [f32]> {
        self.captured.get(channel)?.get(self.start..self.start + self.frames)
    }

    /// What the device shall play on `channel`, silent before it is written, if there is such a channel.
    pub fn played(&mut self, channel: usize) -> Option<&mut [f32]> {
        self.played.get_mut(channel)?.get_mut(..self.frames)
    }
}

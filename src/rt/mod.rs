//! What every real-time thread is built from: it copies, mixes and meters, and never waits for anyone.
//!
//! | file | subject |
//! |---|---|
//! | [`guard`] | the one entry: denormals off, panics caught, allocation refused where the binary checks it |
//! | [`node`] | the two halves of a graph node and their life cycle |
//! | [`ring`] | audio between threads, in order |
//! | [`playout`] | the receiving end of audio that has a moment to be heard: starves without a click |
//! | [`resample`] | a stream between two rates or two clocks |
//! | [`drift`] | how fast another clock runs |
//! | [`snapshot`] | the latest value of something, parameters one way, telemetry the other |
//! | [`garbage`] | hand-over of boxed things to a real-time thread, and the way back to be freed |
//! | [`events`] | what happened, from many threads to control |
//! | [`smooth`] | parameters that change without zipper noise |
//!
//! Lock-free parts come from crates, each where it serves best: `rtrb` for audio and hand-over (one producer, one
//! consumer, slices in place), `crossbeam`'s `ArrayQueue` for events (many producers) and its `AtomicCell` for the seat
//! of the processor, `ringbuf` for the recorder's way to the disk (see [`crate::graph::nodes::Recorder`]). The one of our
//! own is the triple buffer behind [`snapshot`]; `tests/loom` takes it through every order of its steps.

pub mod drift;
pub mod events;
pub mod garbage;
pub mod guard;
pub mod node;
pub mod playout;
pub mod resample;
pub mod ring;
pub mod smooth;
pub mod snapshot;

use crate::sync;
pub use node::{Block, Node, Ports, RtNode, Setup};

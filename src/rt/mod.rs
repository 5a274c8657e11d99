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
//! All lock-free parts come from crates, each where it serves best: `rtrb` for audio and hand-over (one producer, one
//! consumer, slices in place), `triple_buffer` for latest values, `crossbeam`'s `ArrayQueue` for events (many
//! producers), `ringbuf` for the recorder's way to the disk (see [`crate::graph::nodes::Recorder`]). None is our own,
//! so there is nothing here for loom to explore: the crates carry their own loom tests.

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

pub use node::{Block, Node, Ports, RtNode, Setup};

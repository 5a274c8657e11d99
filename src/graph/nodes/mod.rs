//! The nodes. Each file holds both halves of one: the settings that control adds to a graph, and what runs.
//!
//! | node | inputs -> outputs | latency |
//! |---|---|---|
//! | [`Input`] | -> 1 | 0 |
//! | [`Gain`], [`Gate`], [`HighPass`] | 1 -> 1 | 0 |
//! | [`Limiter`] | 1 -> 1 | its look-ahead |
//! | [`Resampler`] | 1 -> 1, at another rate | 35 samples of its input, less one of its output |
//! | [`Link`] | 1 -> 1, through another thread | its lead, and the converter's own |
//! | [`Capture`] | -> 1, from another clock | its target fill |
//! | [`Feed`] | -> 1, from another thread | 0 |
//! | [`Probe`] | -> 1, a signal of its own | 0 |
//! | [`Mix`] | dry, wet -> 1 | 0; the builder delays the dry path |
//! | [`Meter`] | 1 -> | |
//! | [`Recorder`] | left, right -> | |
//! | [`Output`] | 1 -> device channels | 0 |

pub mod capture;
pub(super) mod delay;
pub mod feed;
mod gain;
mod gate;
mod high_pass;
mod input;
mod limiter;
pub mod link;
mod meter;
mod mix;
mod output;
mod probe;
pub mod recorder;
mod resampler;

pub use capture::Capture;
pub use feed::Feed;
pub use gain::Gain;
pub use gate::Gate;
pub use high_pass::HighPass;
pub use input::Input;
pub use limiter::Limiter;
pub use link::Link;
pub use meter::{Levels, Meter};
pub use mix::Mix;
pub use output::Output;
pub use probe::Probe;
pub use recorder::Recorder;
pub use resampler::Resampler;

/// Time in which a changed parameter reaches its new value, in ms.
const SMOOTHING_MS: f32 = 20.0;

//! Checkpoints in the formats the field publishes, read as untrusted data.
//!
//! A file becomes a [`Tensors`] map of named tensors with every weight norm folded; a network takes
//! what it needs through [`Weights`], a view that scopes names and checks shapes. What kind of
//! network a file holds, and of which sizes, is read from the file and checked against its tensors:
//! [`voice`], [`hubert`], [`pitch`]; retrieval indexes are read by [`index`]. [`identify()`] tells
//! which of these a file is, [`catalogue`] lists the published ones, [`store`] finds files by name, and `built_in` is
//! the voice that is part of the program.

#[cfg(feature = "default-voice")]
pub mod built_in;
pub mod catalogue;
mod container;
pub mod hubert;
mod identify;
pub mod index;
mod pickle;
pub mod pitch;
mod pytorch;
mod safetensors;
pub mod seeded;
pub mod store;
mod tensors;
pub mod voice;
mod voice_shapes;
mod weight_norm;

pub use container::{Format, Precision};
pub use identify::{Kind, Summary, TensorSummary, identify, summarise};
pub use tensors::{Tensor, Tensors, Values, Weights};

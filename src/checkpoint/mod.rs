//! Checkpoints in the formats the field publishes, read as untrusted data.
//!
//! A file becomes a [`Tensors`] map of named tensors with every weight norm folded; a network takes
//! what it needs through [`Weights`], a view that scopes names and checks shapes.

mod pytorch;
mod safetensors;
mod tensors;
mod weight_norm;

pub use tensors::{Tensor, Tensors, Weights};

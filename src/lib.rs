//! Real-time streaming voice conversion.

pub mod checkpoint;
pub mod cli;
pub mod error;
pub mod nn;

pub use error::{Error, Result};

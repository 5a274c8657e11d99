//! Real-time streaming voice conversion.

pub mod checkpoint;
pub mod cli;
pub mod dsp;
pub mod engine;
pub mod error;
pub mod geometry;
pub mod io;
pub mod nn;
pub mod params;
pub mod path;
pub mod telemetry;
pub mod units;

pub use error::{Error, Result};

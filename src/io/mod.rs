//! Audio files in and out.

pub mod pitch_curve;
pub mod read;
pub mod write;

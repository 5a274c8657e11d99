//! Audio files in and out, and the devices of live conversion.

pub mod live;
pub mod pitch_curve;
pub mod read;
pub mod write;

//! Audio files in and out, and the devices of live conversion.

mod edit_list;
pub mod live;
pub mod pitch_curve;
pub mod read;
pub mod write;

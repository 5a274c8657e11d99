//! Through a real PipeWire without hardware, by the sound-card back end.

mod chaos;
mod exact;
mod rig;

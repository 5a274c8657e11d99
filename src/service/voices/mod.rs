//! Voices: received, recognised by content, checked in full, kept by content hash, loaded when used.

pub mod loaded;
pub mod store;
pub mod upload;

pub use loaded::LoadedVoices;
pub use store::{Voice, VoiceStore};
pub use upload::{Received, VoiceFiles};

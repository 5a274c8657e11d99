//! Voices: received, recognised by content, checked in full, kept by content hash, loaded when used.

pub mod catalogue;
pub mod loaded;
pub mod store;
pub mod upload;

pub use catalogue::{Catalogue, Voice};
pub use loaded::LoadedVoices;
pub use store::VoiceStore;
pub use upload::{Received, VoiceFiles};

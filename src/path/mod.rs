//! The path that audio takes, one file per stage.
//!
//! ```text
//! source -> resample -> window -> content units --> retrieval --\
//!                          \---> pitch (f0, voicing) ------------> synthesizer -> join -> resample -> sink
//! ```

pub mod gate;
pub mod history;
pub mod join;
pub mod pitch;
pub mod window;

//! Live conversion: the worker between a running graph and the path, and the session that keeps both going.
//!
//! ```text
//! device callback -> graph -> link --ring--> worker: window -> units, pitch -> synthesizer -> join --ring--> link -> graph
//!                                    control: parameters, other voices ^      | telemetry
//! ```
//!
//! [`Playback`] is the way to a device for audio that comes from elsewhere.
//!
//! A session goes on whatever happens to its parts ([`recovery`]); [`round_trip`] measures how late it is. Control speaks
//! to it in [`Command`]s, wherever they come from, and reads [`LiveTelemetry`], which [`LiveMetrics`] puts into the text
//! that Prometheus reads.

mod assembly;
pub mod control;
pub mod metrics;
pub mod own_pitch;
pub mod playback;
pub mod recovery;
mod reopening;
pub mod round_trip;
pub mod session;
pub mod worker;

pub use control::{Command, Control, ControlState, Setting, Slot, SlotParams, Switch};
pub use metrics::LiveMetrics;
pub use own_pitch::OwnPitch;
pub use playback::Playback;
pub use recovery::Cause;
pub use session::{Latency, LiveTelemetry, Session, SessionEvent, SessionReport, SessionSettings};
pub use worker::{ChunkConverter, Worker, WorkerSettings, WorkerTelemetry};

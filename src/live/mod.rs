//! Live conversion: the worker between a running graph and the path, and the session that keeps both going.
//!
//! ```text
//! device callback -> graph -> link --ring--> worker: window -> units, pitch -> synthesizer -> join --ring--> link -> graph
//!                                    control: parameters, other voices ^      | telemetry
//! ```

pub mod session;
pub mod worker;

pub use session::{Latency, LiveTelemetry, Session, SessionEvent, SessionReport, SessionSettings};
pub use worker::{ChunkConverter, Worker, WorkerSettings, WorkerTelemetry};

//! Live conversion: the worker between a running graph and the path, and the session that keeps both going.
//!
//! ```text
//! device callback -> graph -> link --ring--> worker: window -> units, pitch -> synthesizer -> join --ring--> link -> graph
//!                                    control: parameters, other voices ^      | telemetry
//! ```

pub mod worker;

pub use worker::{ChunkConverter, Worker, WorkerSettings, WorkerTelemetry};

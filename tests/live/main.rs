//! Live conversion without a sound card: the graph is clocked by hand, the worker runs on its own thread.

mod control;
mod engine;
mod round_trip;
mod session;
mod support;
mod worker;

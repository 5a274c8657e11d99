//! Live conversion without a sound card: the graph is clocked by hand, the worker runs on its own thread.

mod engine;
mod support;
mod worker;

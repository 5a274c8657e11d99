//! The audio graph: built and checked on control, run on the real-time thread, swapped while it runs.
//!
//! ```text
//! GraphBuilder --build--> CompiledGraph --GraphHandle::swap--> ring --> Processor --+
//!      ^ names, ports,        nodes, schedule,                           one block  |
//!      | rates, cycles        buffers, latency        garbage ring <----------------+
//! ```
//!
//! - [`builder`] (control) takes nodes and connections, says by name what is wrong with them, and delays paths so that
//!   whatever meets in one node meets at the same moment.
//! - [`schedule`] (data) is the order of nodes and the buffers they share.
//! - [`compiled`] (real-time) runs a schedule over one block.
//! - [`mod@processor`] (real-time) is what a device callback calls: any block size, swaps, parameters, telemetry.
//! - [`nodes`] are the parts, [`live`] is what live conversion makes of them.
//!
//! # Example
//! A graph is built and swapped in on control; a back end calls [`Processor::process`] from its callback.
//!
//! ```
//! use syrinx::graph::nodes::{Gain, Input, Meter, Output};
//! use syrinx::graph::{GraphBuilder, GraphSettings, processor};
//! use syrinx::params::LiveParams;
//! use syrinx::rt::events::event_queue;
//!
//! # fn main() -> syrinx::Result<()> {
//! let settings = GraphSettings::new(48_000, 1024, 1, 2);
//! let (events, _happened) = event_queue(64);
//! let (mut control, mut processor) = processor(&settings, events);
//!
//! let mut graph = GraphBuilder::new(settings);
//! let input = graph.add("input", Input::of(0))?;
//! let gain = graph.add("gain", Gain::of(|live| live.input_gain_db))?;
//! let (meter, mut level) = Meter::new();
//! let meter = graph.add("level", meter)?;
//! let output = graph.add("output", Output::to([0, 1]))?;
//! graph.chain(&[input, gain, output])?;
//! graph.connect(gain, meter)?;
//! control.swap(graph.build()?)?;
//! control.set_params(LiveParams { input_gain_db: 6.0, ..LiveParams::default() })?;
//!
//! // In the device callback, with blocks of any size:
//! let (microphone, mut left, mut right) = ([0.25; 300], [0.0; 300], [0.0; 300]);
//! processor.process(&[&microphone], &mut [&mut left, &mut right]);
//! assert!(left[299] > 0.25 && left == right);
//! assert_eq!(level.latest().clipped_samples, 0);
//! # Ok(())
//! # }
//! ```

pub mod builder;
pub mod compiled;
pub mod live;
pub mod nodes;
pub mod processor;
pub mod schedule;

pub use builder::{GraphBuilder, GraphSettings, NodeId};
pub use compiled::CompiledGraph;
pub use live::LiveGraph;
pub use processor::{GraphHandle, GraphTelemetry, Processor, processor};

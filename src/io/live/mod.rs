//! Back ends of live conversion: each runs a [`Processor`](crate::graph::Processor) in the callback of a device.
//!
//! ```text
//! Backend --open--> OpenDevice --start--> RunningDevice --stop--> Stopped
//!                   silent, format        telemetry, events       the processor
//! ```
//!
//! | back end | device |
//! |---|---|
//! | [`Null`] | clocked by hand, for tests |
//! | [`FileDevice`] | a recording, at clock speed or as fast as possible |
//! | [`Loopback`] | no hardware: the output comes back as the input |
//! | `Jack` (feature `jack`) | ports of a JACK server, with their latency told to it |
//! | `SoundCard` (feature `cpal`) | what the system offers: ALSA, PipeWire, PulseAudio, CoreAudio, WASAPI, ASIO |
//!
//! A device that is lost, because its server died or hangs or its cable was pulled, is never an error of a running
//! device: its [`DeviceEvent`]s tell, a supervising thread calls it back, and the graph runs on silence meanwhile. The
//! processor stays the same, and so does what control holds of it. Nothing waits for a server longer than a stated time.
//!
//! # Example
//! ```
//! use syrinx::graph::nodes::{Input, Output};
//! use syrinx::graph::{GraphBuilder, processor};
//! use syrinx::io::live::{Backend, DeviceFormat, Null};
//! use syrinx::rt::events::event_queue;
//!
//! # fn main() -> syrinx::Result<()> {
//! let format = DeviceFormat {
//!     rate_hz: 48_000,
//!     block_frames: 64,
//!     max_block_frames: 64,
//!     inputs: 1,
//!     outputs: 1,
//!     input_latency_samples: 0,
//!     output_latency_samples: 0,
//! };
//! let (mut device, mut clock) = Null::new(format);
//! let device = device.open()?;
//!
//! let settings = device.format().graph_settings();
//! let (mut control, processor) = processor(&settings, event_queue(64).0);
//! let mut graph = GraphBuilder::new(settings);
//! let input = graph.add("input", Input::of(0))?;
//! let output = graph.add("output", Output::to([0]))?;
//! graph.connect(input, output)?;
//! control.swap(graph.build()?)?;
//!
//! let device = device.start(processor);
//! let mut played = [0.0; 64];
//! clock.block(&[&[0.5; 64]], &mut [&mut played]);
//! assert_eq!(played, [0.5; 64]);
//! assert_eq!(device.telemetry().callbacks, 1);
//! assert!(device.stop().processor.is_some());
//! # Ok(())
//! # }
//! ```

mod clock;
pub mod device;
pub mod file;
#[cfg(feature = "jack")]
pub mod jack;
#[cfg(any(feature = "jack", feature = "cpal"))]
mod job;
pub mod listing;
pub mod loopback;
pub mod midi;
pub mod null;
mod open;
pub mod priority;
mod seat;
#[cfg(feature = "cpal")]
pub mod sound_card;
#[cfg(any(feature = "jack", feature = "cpal"))]
mod supervisor;

pub use device::{DeviceEvent, DeviceFormat, DeviceState, DeviceTelemetry};
pub use file::{FileDevice, Pace};
#[cfg(feature = "jack")]
pub use jack::Jack;
pub use listing::{DeviceInfo, DirectionInfo, HostInfo};
pub use loopback::Loopback;
pub use midi::MidiInbox;
pub use null::{Null, NullClock};
pub use open::{OpenDevice, Release, RunningDevice, Stopped};
#[cfg(feature = "cpal")]
pub use sound_card::{Choice, SoundCard};

use crate::error::Result;

/// A way to a device.
pub trait Backend: Send {
    /// Opens the device. It plays silence until it is [started](OpenDevice::start).
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) if there is none or it cannot be had, within a few seconds even if its
    /// server hangs; errors of files.
    fn open(&mut self) -> Result<OpenDevice>;
}

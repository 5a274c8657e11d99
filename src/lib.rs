//! Real-time streaming voice conversion with RVC voices.
//!
//! # The path
//!
//! ```text
//! source -> resample -> window -> content units --> retrieval --\
//!                          \---> pitch (f0, voicing) ------------> synthesizer -> join -> resample -> sink
//! ```
//!
//! Offline conversion ([`path::offline`]) and live conversion ([`path::stream`]) run the same stages over the same
//! networks: a recording goes through in long windows, a stream in short ones. [`path::Converter::render`] is the part
//! they share, and reads like the line above.
//!
//! # Convert a recording
//!
//! ```no_run
//! use std::path::Path;
//! use syrinx::engine::{Engine, ModelFiles, TrackerFile};
//! use syrinx::nn::Cpu;
//! use syrinx::params::ConversionParams;
//! use syrinx::path::offline::Request;
//! use syrinx::path::window::WindowSizes;
//!
//! # fn main() -> syrinx::Result<()> {
//! let models = ModelFiles {
//!     voice: "voice.pth".into(),
//!     index: Some("added_voice.index".into()),
//!     encoder: "hubert_base.pt".into(),
//!     tracker: TrackerFile::SwiftF0,
//! };
//! let mut converter = Engine::<Cpu>::new(Default::default()).converter(&models)?;
//! let recording = syrinx::io::read::read(Path::new("speech.wav"))?.recording;
//! let params = ConversionParams { transpose_semitones: 12.0, ..ConversionParams::default() };
//! let conversion = converter.convert(
//!     Request {
//!         recording: &recording,
//!         pitch_curve: None,
//!         params: &params,
//!         own_pitch: false,
//!         sizes: WindowSizes::default(),
//!         output_rate_hz: None,
//!     },
//!     &mut |share| {
//!         eprintln!("{:.0} %", 100.0 * share);
//!         Ok(())
//!     },
//! )?;
//! assert_eq!(conversion.audio.sample_rate_hz, converter.sample_rate_hz());
//! # Ok(())
//! # }
//! ```
//!
//! # Modules, each importing only those before it
//!
//! | module | subject |
//! |---|---|
//! | [`error`], [`units`] | what can go wrong; the quantities that travel between stages |
//! | [`geometry`], [`params`], [`telemetry`], [`dsp`] | sizes, choices, times; signal processing without weights |
//! | [`checkpoint`] | published model files, read as untrusted data |
//! | [`nn`] | the networks, generic over a burn backend, with CPU kernels for their hot operations |
//! | `cuda` (feature `cuda-kernels`) | NVIDIA GPUs: what there is of them, the networks there, kernels of our own |
//! | [`place`] | where networks run: the processor or a GPU |
//! | [`rt`] | what real-time threads are built from: the guarded entry, rings, snapshots, hand-over |
//! | [`graph`] | the audio graph: built on control, run in the device callback, swapped while it runs |
//! | [`io`] | audio files in and out, and live devices |
//! | [`path`] | the stages, one file each, offline and live |
//! | [`engine`] | control: load models, keep them, build converters |
//! | [`live`] | live conversion: the worker between graph and path, the session, and what steers and watches it |
//! | `tts` (feature `service`) | text to speech as a stream, and through a voice |
//! | `service` (feature `service`) | voices, jobs and streams of speech over HTTP |
//! | [`cli`] | the command line |
//!
//! Six files to read first: `path/mod.rs`, `path/offline.rs`, `path/stream.rs`, `nn/synthesizer/mod.rs`,
//! `nn/ops/mod.rs`, `checkpoint/tensors.rs`.

pub mod checkpoint;
pub mod cli;
#[cfg(feature = "cuda-kernels")]
pub mod cuda;
pub mod dsp;
pub mod engine;
pub mod error;
pub mod geometry;
pub mod graph;
pub mod io;
pub mod live;
#[allow(unsafe_code, reason = "calls of the C library")]
#[cfg_attr(not(feature = "service"), allow(dead_code, reason = "only the service gives memory back"))]
mod memory;
pub mod nn;
pub mod params;
pub mod path;
pub mod place;
pub mod rt;
#[cfg(feature = "service")]
pub mod service;
mod sync;
pub mod telemetry;
#[cfg(feature = "service")]
pub mod tts;
pub mod units;

pub use error::{Error, Result};

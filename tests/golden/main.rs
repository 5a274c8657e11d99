//! Parity with the reference implementation on its recorded inputs, intermediates and outputs.
//!
//! Where the recordings come from, and how they were made, is told in `tests/data/README.md`.

mod case;
mod conversion;
mod crepe;
mod dsp;
mod fcpe;
mod hubert;
mod live;
mod long;
mod offline;
mod retrieval;
mod rmvpe;
mod streaming;
mod support;
mod swift_f0;
mod synthesizer;
mod tiny;
mod voice_kinds;
mod yin;

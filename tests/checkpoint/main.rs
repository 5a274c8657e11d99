//! Checkpoints and indexes: every published form is read, every hostile one refused with its message.
//!
//! `tests/data/make_checkpoints.py` wrote the small files; the others are recordings of the reference.

mod cli;
mod encoder;
mod fuzz;
mod hostile;
mod hostile_pitch;
mod index;
mod pitch;
mod store;
mod support;
mod voice;

//! Text to speech, by programs and servers that really speak: espeak-ng, piper with a neural voice, wyoming-piper.
//!
//! `make service-packages` installs them, and `make test-service` runs this.

mod cli;
mod command;
mod converted;
mod faults;
mod fixture;
mod servers;
mod support;

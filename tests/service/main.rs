//! The service as its clients meet it: `syrinx serve` in a process of its own, with espeak-ng behind it.
//!
//! `make service-packages` installs what it needs, and `make test-service` runs this.

mod access;
mod blobs;
mod chaos;
mod chromium;
mod examples;
mod jobs;
mod machines;
mod page;
mod queue;
mod schema;
mod servers;
mod socket;
mod speech;
mod stream;
mod support;
mod voices;
mod wyoming;

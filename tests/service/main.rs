//! The service as its clients meet it: `syrinx serve` in a process of its own, with espeak-ng behind it.
//!
//! `make service-packages` installs what it needs, and `make test-service` runs this.

mod access;
mod chaos;
mod chromium;
mod jobs;
mod page;
mod schema;
mod socket;
mod speech;
mod stream;
mod support;
mod voices;
mod wyoming;

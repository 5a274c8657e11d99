//! Syrinx beside the published packages, afresh: `make test-reference` prepares everything and runs this.
//!
//! [`published`] holds the published weights of FCPE and CREPE against recordings of their packages. [`fresh`] lets the
//! reference's own code run random networks that are others every time, [`speech`] networks of full size on human speech.
//! The seed of a run is printed; `SYRINX_REFERENCE_SEED` repeats it. Without `make`: `tests/reference/prepare.sh`, then
//! `cargo test --release --features reference-tests --test reference -- --nocapture`.

mod fresh;
mod published;
mod python;
mod speech;
#[path = "../golden/support.rs"]
#[expect(dead_code, reason = "shared with the golden tests, which use all of it")]
mod support;

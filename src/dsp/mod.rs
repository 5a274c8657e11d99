//! Signal processing without weights.

pub mod envelope;
pub mod high_pass;
pub mod interpolate;
pub mod rate;
pub mod sinc_hann;

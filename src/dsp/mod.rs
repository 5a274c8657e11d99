//! Signal processing without weights.

pub mod envelope;
pub mod high_pass;
pub mod interpolate;
pub mod sinc_hann;
pub mod spectral_gate;
pub mod stft;

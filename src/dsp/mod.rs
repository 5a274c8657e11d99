//! Signal processing without weights.

pub mod envelope;
pub mod high_pass;
pub mod interpolate;
pub mod lag;
pub mod mel;
pub mod phase_vocoder;
pub mod pitch_track;
pub mod rate;
pub mod salience;
pub mod sinc_hann;
pub mod spectral_gate;
pub mod stft;
pub mod sweep;
pub mod yin;

pub use pitch_track::PitchTrack;

//! Wavs in memory: whole, or begun before their length is known.

use crate::io::write::Quantise;
use crate::units::Recording;

/// Length that stands for "not known yet".
pub const UNKNOWN: u32 = u32::MAX;

/// The header of a wav of one channel of 16 bits, with so many bytes of samples.
#[must_use]
pub fn header(rate_hz: u32, bytes: u32) -> Vec<u8> {
    let mut header = Vec::with_capacity(44);
    header.extend(b"RIFF");
    header.extend(bytes.saturating_add(36).to_le_bytes());
    header.extend(b"WAVEfmt ");
    header.extend(16_u32.to_le_bytes());
    header.extend(1_u16.to_le_bytes());
    header.extend(1_u16.to_le_bytes());
    header.extend(rate_hz.to_le_bytes());
    header.extend((2 * rate_hz).to_le_bytes());
    header.extend(2_u16.to_le_bytes());
    header.extend(16_u16.to_le_bytes());
    header.extend(b"data");
    header.extend(bytes.to_le_bytes());
    header
}

/// Samples as 16 bits each.
#[must_use]
pub fn pcm(samples: &[f32], quantise: Quantise) -> Vec<u8> {
    samples.iter().flat_map(|&sample| (quantise.apply(sample, 16) as i16).to_le_bytes()).collect()
}

/// A whole wav.
#[must_use]
pub fn wav(recording: &Recording, quantise: Quantise) -> Vec<u8> {
    let samples = pcm(&recording.samples, quantise);
    let mut bytes = header(recording.sample_rate_hz, samples.len() as u32);
    bytes.extend(samples);
    bytes
}

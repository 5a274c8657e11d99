//! Noise reduction of a live stream, before and after the networks.

use super::history::slide;
use super::join::fade_in;
use crate::dsp::spectral_gate::SpectralGate;
use crate::geometry::Geometry;

/// Reduces the noise of the input; delays it by one cross-fade.
#[derive(Clone)]
pub struct InputDenoiser {
    gate: SpectralGate,
    chunk: usize,
    fade_in: Vec<f32>,
    /// The gated end of the last chunk, to be faded into the next.
    tail: Vec<f32>,
}

impl InputDenoiser {
    /// A denoiser for chunks of this geometry.
    #[must_use]
    pub fn new(geometry: &Geometry) -> Self {
        let fade_in = fade_in(geometry.crossfade_samples());
        let tail = vec![0.0; fade_in.len()];
        Self { gate: SpectralGate::new(geometry.rate_hz), chunk: geometry.chunk_samples(), fade_in, tail }
    }

    /// Forgets the last chunk.
    pub fn reset(&mut self) {
        self.tail.fill(0.0);
    }

    /// Samples by which the output lags the input.
    #[must_use]
    pub fn latency_samples(&self) -> usize {
        self.tail.len()
    }

    /// One denoised chunk, from a window of input that ends with the newest.
    #[must_use]
    pub fn step(&mut self, window: &[f32]) -> Vec<f32> {
        let end = &window[window.len() - self.tail.len() - self.chunk..];
        let mut gated = self.gate.apply(end, window);
        for ((value, gain), old) in gated.iter_mut().zip(&self.fade_in).zip(&self.tail) {
            *value = *value * gain + old * (1.0 - gain);
        }
        self.tail = gated.split_off(self.chunk);
        gated
    }
}

/// Reduces the noise of the voice by what it has learnt from the last seconds.
#[derive(Clone)]
pub struct OutputDenoiser {
    gate: SpectralGate,
    chunk: usize,
    heard: Vec<f32>,
}

impl OutputDenoiser {
    /// A denoiser for chunks of this geometry.
    #[must_use]
    pub fn new(geometry: &Geometry) -> Self {
        Self {
            gate: SpectralGate::new(geometry.rate_hz),
            chunk: geometry.chunk_samples(),
            heard: vec![0.0; geometry.window_hops() * geometry.hop_samples],
        }
    }

    /// Forgets all it has heard.
    pub fn reset(&mut self) {
        self.heard.fill(0.0);
    }

    /// Denoises one rendering, of at least a chunk.
    #[must_use]
    pub fn step(&mut self, rendered: &[f32]) -> Vec<f32> {
        slide(&mut self.heard, self.chunk);
        let start = self.heard.len() - self.chunk;
        self.heard[start..].copy_from_slice(&rendered[rendered.len() - self.chunk..]);
        self.gate.apply(rendered, &self.heard)
    }
}

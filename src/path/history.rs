//! What a live stream remembers between chunks: the audio window and the pitch track.

use super::denoise::InputDenoiser;
use crate::dsp::sinc_hann::SincHann;
use crate::geometry::Geometry;
use crate::units::{ANALYSIS_RATE_HZ, HOP_SAMPLES, Pitch};

/// The last seconds of audio, at the stream's rate and at 16 kHz.
#[derive(Clone)]
pub struct AudioHistory {
    resampler: SincHann,
    hop: usize,
    chunk: usize,
    stream: Vec<f32>,
    denoised: Option<Denoised>,
    analysis: Vec<f32>,
}

/// The window once more, with its noise reduced.
#[derive(Clone)]
struct Denoised {
    denoiser: InputDenoiser,
    stream: Vec<f32>,
}

impl AudioHistory {
    /// A window of silence; `denoise` reduces the noise of what comes.
    #[must_use]
    pub fn new(geometry: &Geometry, denoise: bool) -> Self {
        let stream = vec![0.0; geometry.window_hops() * geometry.hop_samples];
        Self {
            resampler: SincHann::new(geometry.rate_hz as usize, ANALYSIS_RATE_HZ as usize),
            hop: geometry.hop_samples,
            chunk: geometry.chunk_samples(),
            denoised: denoise.then(|| Denoised { denoiser: InputDenoiser::new(geometry), stream: stream.clone() }),
            stream,
            analysis: vec![0.0; geometry.window_hops() * HOP_SAMPLES],
        }
    }

    /// Forgets all audio.
    pub fn reset(&mut self) {
        self.stream.fill(0.0);
        self.analysis.fill(0.0);
        if let Some(denoised) = &mut self.denoised {
            denoised.denoiser.reset();
            denoised.stream.fill(0.0);
        }
    }

    /// Samples by which the window lags what was pushed.
    #[must_use]
    pub fn latency_samples(&self) -> usize {
        self.denoised.as_ref().map_or(0, |denoised| denoised.denoiser.latency_samples())
    }

    /// Moves on by one chunk and overwrites the end with `audio`: the chunk, and whole hops before it that changed.
    pub fn push(&mut self, audio: &[f32]) {
        slide(&mut self.stream, self.chunk);
        overwrite_end(&mut self.stream, audio);
        let (stream, changed) = match &mut self.denoised {
            None => (&self.stream, audio.len()),
            Some(Denoised { denoiser, stream }) => {
                slide(stream, self.chunk);
                overwrite_end(stream, &denoiser.step(&self.stream));
                (&*stream, self.chunk)
            }
        };
        // The hop before what changed is resampled again, since it ended at an edge; one more feeds the filter.
        let start = stream.len().saturating_sub(changed + 2 * self.hop);
        let resampled = self.resampler.resample(&stream[start..]);
        slide(&mut self.analysis, self.chunk / self.hop * HOP_SAMPLES);
        overwrite_end(&mut self.analysis, &resampled[HOP_SAMPLES..]);
    }

    /// The window at the stream's rate.
    #[must_use]
    pub fn at_stream_rate(&self) -> &[f32] {
        self.denoised.as_ref().map_or(&self.stream, |denoised| &denoised.stream)
    }

    /// The window at 16 kHz.
    #[must_use]
    pub fn at_16_khz(&self) -> &[f32] {
        &self.analysis
    }
}

/// The pitch of the window, of which each chunk tracks only the end anew.
#[derive(Clone, Debug)]
pub struct PitchHistory {
    chunk_hops: usize,
    f0_hz: Vec<f32>,
    coarse: Vec<u8>,
}

impl PitchHistory {
    /// First hops of a track, which are dropped because the tracker lacks their past.
    const UNSETTLED_START: usize = 3;
    /// Last hops of a track, which are dropped because the tracker lacks their future.
    const UNSETTLED_END: usize = 1;

    /// Newest hops of a window whose track each chunk needs: those that it adds and those that are rendered with it, with what
    /// [`push`](Self::push) drops. What lies before them was settled earlier.
    #[must_use]
    pub fn tracked_hops(geometry: &Geometry) -> usize {
        /// Hops before those rendered that may still change.
        const MAY_CHANGE: usize = 5;
        Self::UNSETTLED_START + MAY_CHANGE + geometry.chunk_hops + geometry.delay_hops() + Self::UNSETTLED_END
    }

    /// A window of unvoiced hops.
    #[must_use]
    pub fn new(geometry: &Geometry) -> Self {
        let hops = geometry.window_hops();
        Self { chunk_hops: geometry.chunk_hops, f0_hz: vec![0.0; hops], coarse: vec![0; hops] }
    }

    /// Forgets all pitch.
    pub fn reset(&mut self) {
        self.f0_hz.fill(0.0);
        self.coarse.fill(0);
    }

    /// Moves on by one chunk and takes over the settled part of a track that ends with the window.
    pub fn push(&mut self, track: &Pitch) {
        slide(&mut self.f0_hz, self.chunk_hops);
        slide(&mut self.coarse, self.chunk_hops);
        let settled = Self::UNSETTLED_START..track.f0_hz.len().saturating_sub(Self::UNSETTLED_END);
        overwrite_end(&mut self.f0_hz, track.f0_hz.get(settled.clone()).unwrap_or_default());
        overwrite_end(&mut self.coarse, track.coarse.get(settled).unwrap_or_default());
    }

    /// Pitch in Hz of the hops that came with the latest chunk, 0 unvoiced.
    #[must_use]
    pub fn latest(&self) -> &[f32] {
        &self.f0_hz[self.f0_hz.len() - self.chunk_hops..]
    }

    /// Moves on by one chunk that was not tracked.
    pub fn push_unvoiced(&mut self) {
        slide(&mut self.f0_hz, self.chunk_hops);
        slide(&mut self.coarse, self.chunk_hops);
        let start = self.f0_hz.len().saturating_sub(self.chunk_hops);
        self.f0_hz[start..].fill(0.0);
        self.coarse[start..].fill(1);
    }

    /// The newest hop's f0 in Hz, 0 unvoiced.
    #[must_use]
    pub fn latest_hz(&self) -> f32 {
        self.f0_hz.last().copied().unwrap_or_default()
    }

    /// The pitch of the whole window.
    #[must_use]
    pub fn window(&self) -> Pitch {
        Pitch { f0_hz: self.f0_hz.clone(), coarse: self.coarse.clone() }
    }
}

/// Moves values `by` places towards the start; what was there last stays to be overwritten.
pub(super) fn slide<T: Copy>(values: &mut [T], by: usize) {
    let by = by.min(values.len());
    values.copy_within(by.., 0);
}

/// Overwrites the end of `values` with as much of the end of `fresh` as fits.
fn overwrite_end<T: Copy>(values: &mut [T], fresh: &[T]) {
    let fresh = &fresh[fresh.len().saturating_sub(values.len())..];
    let start = values.len() - fresh.len();
    values[start..].copy_from_slice(fresh);
}

//! Log-mel spectrograms.

use super::LOG_MEL;
use crate::cuda::launch::{Buffer, Launch, Machine, expect_len};
use crate::dsp::mel::FilterBank;
use crate::dsp::pitch_track::HOP_SAMPLES;
use crate::dsp::stft::{Edge, hann};
use crate::error::{Error, Result};

/// Points of the table of roots of unity that every transform reads.
const TABLE: usize = 2048;
/// Samples of each spectrum.
const SIZE: usize = 1024;

/// `exp(-2 pi i k / 2048)`, real and imaginary part in turn.
pub(super) fn roots_of_unity() -> Vec<f32> {
    let root = |k: usize| {
        let (sin, cos) = (std::f64::consts::TAU * k as f64 / TABLE as f64).sin_cos();
        [cos as f32, -sin as f32]
    };
    (0..TABLE).flat_map(root).collect()
}

/// Filterbanks in a machine's memory, one after the other.
pub(super) struct Banks<M: Machine> {
    pub(super) first: Buffer<M, i32>,
    pub(super) start: Buffer<M, i32>,
    pub(super) weights: Buffer<M, f32>,
}

impl<M: Machine> Banks<M> {
    pub(super) fn new(machine: &M, banks: &[FilterBank]) -> Result<Self> {
        let (mut first, mut start, mut weights) = (Vec::new(), vec![0], Vec::new());
        for (bin, band) in banks.iter().flat_map(FilterBank::stretches) {
            first.push(bin as i32);
            weights.extend_from_slice(band);
            start.push(weights.len() as i32);
        }
        Ok(Self {
            first: Buffer::new(machine, &first)?,
            start: Buffer::new(machine, &start)?,
            weights: Buffer::new(machine, &weights)?,
        })
    }
}

/// The constants of one log-mel spectrogram in a machine's memory: 1024 samples every 160.
pub struct LogMelTables<M: Machine> {
    window: Buffer<M, f32>,
    table: Buffer<M, f32>,
    bank: Banks<M>,
    bands: usize,
    power_offset: f32,
    floor: f32,
}

/// Where the frames of a log-mel spectrogram lie.
#[derive(Clone, Copy, Debug)]
pub struct LogMelFrames {
    /// Samples before the audio at which frame 0 begins.
    pub before: usize,
    /// What stands beyond the ends of the audio.
    pub edge: Edge,
    /// Frames that are computed; those after them repeat the last. Not 0.
    pub computed: usize,
}

impl<M: Machine> LogMelTables<M> {
    /// Bands of a spectrum of 1024 samples; `power_offset` is added to each squared magnitude, band magnitudes below
    /// `floor` count as that.
    ///
    /// # Errors
    /// The bank is for spectra of another size, or there is no memory.
    pub fn new(machine: &M, bank: &FilterBank, power_offset: f32, floor: f32) -> Result<Self> {
        if bank.bins() != SIZE / 2 + 1 {
            return Err(Error::argument("bank", format!("bands of {} bins", SIZE / 2 + 1), bank.bins()));
        }
        Ok(Self {
            window: Buffer::new(machine, &hann(SIZE))?,
            table: Buffer::new(machine, &roots_of_unity())?,
            bank: Banks::new(machine, std::slice::from_ref(bank))?,
            bands: bank.bands(),
            power_offset,
            floor,
        })
    }

    /// Writes the log-mel spectrogram `[frames, bands]` of 16 kHz audio, as many frames as `mel` holds.
    ///
    /// # Errors
    /// There is no audio but mirrored edges, no frame is computed, `mel` is not made of whole frames, or the machine
    /// fails.
    pub fn log_mel(
        &self,
        machine: &M,
        audio: &Buffer<M, f32>,
        frames: LogMelFrames,
        mel: &mut Buffer<M, f32>,
    ) -> Result<()> {
        let mirrored = frames.edge == Edge::Reflect;
        if mirrored && audio.is_empty() {
            return Err(Error::argument("audio", "at least one sample", "none"));
        }
        let last = frames.computed.checked_sub(1);
        let last = last.ok_or_else(|| Error::argument("frames computed", "at least one", "none"))?;
        let count = mel.len().checked_div(self.bands).unwrap_or(0);
        expect_len("mel", mel.len(), count * self.bands)?;
        // Positions of samples are ints, too.
        let reach = frames.before + count.saturating_mul(HOP_SAMPLES) + SIZE;
        if i32::try_from(reach.saturating_add(audio.len())).is_err() {
            return Err(Error::argument("audio and frames", "fewer than 2^31 samples", reach));
        }
        Launch::new(&LOG_MEL, count)
            .input(audio)
            .size(audio.len())
            .size(frames.before)
            .size(mirrored.into())
            .size(last)
            .input(&self.window)
            .input(&self.table)
            .input(&self.bank.first)
            .input(&self.bank.start)
            .input(&self.bank.weights)
            .size(self.bands)
            .f32(self.power_offset)
            .f32(self.floor)
            .output(mel)
            .run(machine)
    }
}

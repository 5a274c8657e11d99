//! CREPE's likeliest path and RVC's smoothing of it.

use super::{CREPE_PATH, CREPE_SMOOTH};
use crate::cuda::launch::{Buffer, Launch, Machine, expect_at_least, expect_len};
use crate::dsp::salience::{bin_cents, cents_to_hz};
use crate::error::{Error, Result};
use crate::nn::crepe::{PATH_FRAMES, PathSteps};

/// The constants of the path in a machine's memory.
pub struct CrepePath<M: Machine> {
    bins: usize,
    first: usize,
    totals: Buffer<M, f64>,
    heights: Buffer<M, f64>,
    hz: Buffer<M, f32>,
}

impl<M: Machine> CrepePath<M> {
    /// A path over frames of `bins` bins.
    ///
    /// # Errors
    /// No bin, or more than 384, lie in the range that CREPE may answer, or there is no memory.
    pub fn new(machine: &M, bins: usize) -> Result<Self> {
        let steps = PathSteps::new(bins);
        let count = steps.totals.len();
        if !(1..=CREPE_PATH.threads as usize).contains(&count) {
            let expected = format!("1 to {} between 50 and 1100 Hz", CREPE_PATH.threads);
            return Err(Error::argument("bins", expected, count));
        }
        let hz: Vec<f32> = (steps.first..steps.first + count).map(|bin| cents_to_hz(bin_cents(bin)) as f32).collect();
        Ok(Self {
            bins,
            first: steps.first,
            totals: Buffer::new(machine, &steps.totals)?,
            heights: Buffer::new(machine, &steps.heights)?,
            hz: Buffer::new(machine, &hz)?,
        })
    }

    /// Values of scratch that `frames` frames need.
    #[must_use]
    pub fn scratch_len(&self, frames: usize) -> usize {
        frames * self.hz.len()
    }

    /// Reads f0 in Hz and periodicity off the likeliest paths through `salience` `[frames, bins]`, 512 frames each.
    ///
    /// # Errors
    /// A buffer is not of `f0_hz`'s number of frames, `scratch` is shorter than [`Self::scratch_len`], or the machine
    /// fails.
    pub fn crepe_path(
        &self,
        machine: &M,
        salience: &Buffer<M, f32>,
        scratch: &mut Buffer<M, u16>,
        f0_hz: &mut Buffer<M, f32>,
        periodicity: &mut Buffer<M, f32>,
    ) -> Result<()> {
        let frames = f0_hz.len();
        expect_len("salience", salience.len(), frames * self.bins)?;
        expect_len("periodicity", periodicity.len(), frames)?;
        expect_at_least("scratch", scratch.len(), self.scratch_len(frames))?;
        Launch::new(&CREPE_PATH, frames.div_ceil(PATH_FRAMES))
            .input(salience)
            .size(frames)
            .size(self.bins)
            .size(self.first)
            .size(self.hz.len())
            .input(&self.totals)
            .input(&self.heights)
            .input(&self.hz)
            .output(scratch)
            .output(f0_hz)
            .output(periodicity)
            .run(machine)
    }
}

/// Smooths a path over three frames; frames whose periodicity's median is below `threshold` are unvoiced.
///
/// # Errors
/// A buffer is not of `f0_hz`'s length, or the machine fails.
pub fn crepe_smooth<M: Machine>(
    machine: &M,
    f0_hz: &Buffer<M, f32>,
    periodicity: &Buffer<M, f32>,
    threshold: f32,
    smooth_hz: &mut Buffer<M, f32>,
    voicing: &mut Buffer<M, f32>,
) -> Result<()> {
    let frames = f0_hz.len();
    expect_len("periodicity", periodicity.len(), frames)?;
    expect_len("smooth f0", smooth_hz.len(), frames)?;
    expect_len("voicing", voicing.len(), frames)?;
    Launch::over(&CREPE_SMOOTH, frames)
        .input(f0_hz)
        .input(periodicity)
        .size(frames)
        .f32(threshold)
        .output(smooth_hz)
        .output(voicing)
        .run(machine)
}

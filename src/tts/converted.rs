//! Speech in a voice: each chunk is converted as soon as it was said, while the rest is still being said.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::runtime::Handle;

use super::own_pitch::{JUDGED_SECONDS, OwnPitch};
use super::speech::{Piece, Speech};
use crate::error::Result;
use crate::nn::ops::VoiceOps;
use crate::params::ConversionParams;
use crate::path::pitch_ratio;
use crate::path::stream::Stream;
use crate::rt::resample::StreamResampler;
use crate::units::Recording;

/// Most samples that a resampler takes and gives at once.
const BLOCK: usize = 4096;
/// Silence behind the last sample of a rate: what its filter still holds.
const TAIL: usize = 64;

/// What came of waiting.
#[derive(Debug, PartialEq)]
pub enum Heard<'a> {
    /// The voice goes on.
    Voice(&'a [f32]),
    /// Nothing was said for as long as one wanted to wait.
    Waiting,
    /// All was said.
    End,
}

/// Speech that is converted while it is said. What comes out lasts as long as what was said, to the sample.
pub struct ConvertedSpeech<B: VoiceOps> {
    speech: Speech,
    stream: Stream<B>,
    params: ConversionParams,
    /// Present where the pitch is brought to the voice's own.
    own_pitch: Option<OwnPitch>,
    /// Whether what comes next is another utterance.
    is_between: bool,
    input: Input,
    /// Samples of delay that are still to be left out.
    lag: usize,
    /// Samples said and not given yet.
    owed: usize,
    chunk: Vec<f32>,
    output: Vec<f32>,
    has_ended: bool,
}

impl<B: VoiceOps> ConvertedSpeech<B> {
    /// Converts `speech` through `stream`, which is made ready meanwhile; `own_pitch` sets the transposition, where there is
    /// one.
    ///
    /// # Errors
    /// Parameters that the voice does not take.
    pub fn new(
        speech: Speech,
        mut stream: Stream<B>,
        params: ConversionParams,
        own_pitch: Option<OwnPitch>,
    ) -> Result<Self> {
        warm_up(&mut stream, &params)?;
        let samples = stream.geometry().chunk_samples();
        Ok(Self {
            speech,
            input: Input::new(stream.geometry().rate_hz),
            lag: stream.latency_samples() - samples,
            owed: 0,
            chunk: vec![0.0; samples],
            output: vec![0.0; samples],
            has_ended: false,
            is_between: false,
            stream,
            params,
            own_pitch,
        })
    }

    /// Rate of the voice in Hz.
    #[must_use]
    pub fn rate_hz(&self) -> u32 {
        self.stream.geometry().rate_hz
    }

    /// Semitones by which the pitch was brought to the voice's own last, once something voiced was said.
    #[must_use]
    pub fn shift(&self) -> Option<f32> {
        self.own_pitch.as_ref()?.shift()
    }

    /// Samples of a chunk.
    #[must_use]
    pub fn chunk_samples(&self) -> usize {
        self.chunk.len()
    }

    /// The next of the voice, or nothing if nothing is said within `patience`. Not to be called by a task, but by a thread.
    ///
    /// # Errors
    /// What the source reports, once what it said before was given.
    pub fn next(&mut self, runtime: &Handle, patience: Duration) -> Result<Heard<'_>> {
        loop {
            if self.input.ready.len() >= self.chunk.len() || self.has_ended {
                if self.has_ended && self.owed == 0 {
                    return Ok(Heard::End);
                }
                self.fit_pitch()?;
                let given = self.step()?;
                if !given.is_empty() {
                    return Ok(Heard::Voice(&self.output[given]));
                }
                continue;
            }
            let speech = &mut self.speech;
            match runtime.block_on(async { tokio::time::timeout(patience, speech.next()).await }) {
                Err(_) => return Ok(Heard::Waiting),
                Ok(piece) => {
                    if let Some(piece) = piece? {
                        if let (true, Some(own_pitch)) = (std::mem::take(&mut self.is_between), &mut self.own_pitch) {
                            own_pitch.begin();
                        }
                        self.owed += self.input.push(&piece)?;
                    } else {
                        self.owed += self.input.finish();
                        self.has_ended = true;
                    }
                }
            }
        }
    }

    /// Lets what was said so far be heard to its end although more may come: silence follows it, and what comes then is
    /// another utterance.
    pub fn pause(&mut self) {
        self.is_between = true;
        if self.owed > 0 {
            let (chunk, ready) = (self.chunk.len(), self.input.ready.len());
            let held = self.stream.latency_samples() - chunk;
            let silence = (ready + held).next_multiple_of(chunk) - ready;
            self.input.ready.extend(std::iter::repeat_n(0.0, silence));
            self.owed += silence;
        }
    }

    /// Ends the speech in the middle of a word.
    pub fn cancel(&mut self) {
        self.speech.cancel();
        self.input.ready.clear();
        (self.owed, self.has_ended) = (0, true);
    }

    /// Sets the shift of an utterance before anything of it that is voiced is converted, by what has come of it.
    fn fit_pitch(&mut self) -> Result<()> {
        let Some(own_pitch) = self.own_pitch.as_mut().filter(|own_pitch| !own_pitch.is_set()) else { return Ok(()) };
        let rate_hz = self.input.rate_hz;
        let most = (JUDGED_SECONDS * f64::from(rate_hz)) as usize;
        while self.input.ready.len() < most
            && let Some(piece) = self.speech.next_at_hand()
        {
            if std::mem::take(&mut self.is_between) {
                own_pitch.begin();
            }
            self.owed += self.input.push(&piece)?;
        }
        let samples: Vec<f32> = self.input.ready.iter().copied().take(most).collect();
        if !samples.is_empty()
            && let Some(semitones) = own_pitch.judge(&Recording { samples, sample_rate_hz: rate_hz })?
        {
            self.params.transpose_semitones = semitones;
        }
        Ok(())
    }

    /// Converts one chunk; returns where in the output there is what was not left out.
    fn step(&mut self) -> Result<std::ops::Range<usize>> {
        let count = self.input.ready.len().min(self.chunk.len());
        self.chunk[count..].fill(0.0);
        self.chunk.iter_mut().zip(self.input.ready.drain(..count)).for_each(|(sample, said)| *sample = said);
        let Self { stream, chunk, params, output, own_pitch, .. } = self;
        stream.step(chunk, params, output)?;
        if let Some(own_pitch) = own_pitch {
            let ratio = pitch_ratio(params);
            own_pitch.hear(stream.latest_pitch().iter().map(|hz| hz / ratio));
        }
        let start = self.lag.min(self.output.len());
        self.lag -= start;
        let end = (start + self.owed).min(self.output.len());
        self.owed -= end - start;
        Ok(start..end)
    }
}

/// Converts a few chunks of noise, so that memory and caches are ready before the first word.
fn warm_up<B: VoiceOps>(stream: &mut Stream<B>, params: &ConversionParams) -> Result<()> {
    let count = stream.geometry().chunk_samples();
    let noise = |n: usize| 0.1 * ((n as u32).wrapping_mul(2_654_435_761) as f32 / u32::MAX as f32 - 0.5);
    let chunk: Vec<f32> = (0..count).map(noise).collect();
    let mut output = vec![0.0; count];
    for _ in 0..2 {
        stream.step(&chunk, params, &mut output)?;
    }
    stream.reset();
    Ok(())
}

/// Pieces of any rate as samples of one.
struct Input {
    rate_hz: u32,
    ready: VecDeque<f32>,
    /// From this rate, unless it is the same.
    resampler: Option<(u32, StreamResampler)>,
}

impl Input {
    fn new(rate_hz: u32) -> Self {
        Self { rate_hz, ready: VecDeque::new(), resampler: None }
    }

    /// Takes a piece in; returns how many samples became ready.
    fn push(&mut self, piece: &Piece) -> Result<usize> {
        let before = self.ready.len();
        if self.resampler.as_ref().map_or(self.rate_hz, |(rate_hz, _)| *rate_hz) != piece.rate_hz {
            self.finish();
            if piece.rate_hz != self.rate_hz {
                let resampler = StreamResampler::new(piece.rate_hz, self.rate_hz, BLOCK, BLOCK)?;
                self.resampler = Some((piece.rate_hz, resampler));
            }
        }
        match &mut self.resampler {
            None => self.ready.extend(&piece.samples),
            Some((_, resampler)) => resample(resampler, &piece.samples, &mut self.ready),
        }
        Ok(self.ready.len() - before)
    }

    /// Nothing more of this rate comes; returns how many samples became ready.
    fn finish(&mut self) -> usize {
        let before = self.ready.len();
        if let Some((_, mut resampler)) = self.resampler.take() {
            resample(&mut resampler, &[0.0; TAIL], &mut self.ready);
        }
        self.ready.len() - before
    }
}

fn resample(resampler: &mut StreamResampler, samples: &[f32], ready: &mut VecDeque<f32>) {
    const OUT: usize = 64;
    let mut out = [0.0; OUT];
    for samples in samples.chunks(BLOCK) {
        resampler.push(samples);
        while resampler.needed(OUT) == 0 {
            resampler.pull(&mut out);
            ready.extend(&out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_changing_rates_last_as_long_as_they_did() {
        let mut input = Input::new(48_000);
        let mut ready = 0;
        for (rate_hz, count) in [(22_050, 2205), (22_050, 4410), (16_000, 3200), (48_000, 9600), (24_000, 2400)] {
            ready += input.push(&Piece { samples: vec![0.5; count], rate_hz }).expect("two rates");
        }
        ready += input.finish();
        assert_eq!(ready, input.ready.len());
        // 0.3 + 0.2 + 0.2 + 0.1 seconds, and the silence with which each filter ends.
        let seconds = ready as f64 / 48_000.0;
        assert!((0.8..0.815).contains(&seconds), "{seconds}");
        let loud = input.ready.iter().filter(|sample| **sample > 0.45).count();
        assert!(loud > 48 * 790, "{loud}");
    }
}

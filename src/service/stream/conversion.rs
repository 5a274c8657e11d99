//! The conversion of a stream: the session that `syrinx live` runs, on a thread of its own, clocked by what comes.
//!
//! As with a recording played live, the graph's latency is cut off in front and drained at the end, so that what is sent
//! back is in step with what came, and as long.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc};

use super::messages::{LatencyView, Pace, Start, StreamParams, Telemetry, Word};
use crate::error::Result;
use crate::geometry::Geometry;
use crate::io::live::{DeviceFormat, Null, NullClock};
use crate::live::own_pitch::Heard;
use crate::live::{OwnPitch, Session, SessionSettings};
use crate::nn::Cpu;
use crate::path::{Converter, pitch_ratio};
use crate::service::problem::Problem;
use crate::units::HOPS_PER_SECOND;

/// How far a live conversion may be behind what has come, before chunks are left out.
const MOST_BEHIND: Duration = Duration::from_millis(500);
/// Time between two telemetry messages.
const PACE_OF_TELEMETRY: Duration = Duration::from_millis(250);

/// What comes to the thread. It takes room, which is given back once it is through.
pub enum Inward {
    /// Audio.
    Audio(Vec<f32>),
    /// Other parameters.
    Params(StreamParams),
    /// Another voice, ready, under its name.
    Voice(Converter<Cpu>, String),
    /// No more audio comes.
    Stop,
}

impl Inward {
    /// Room that it takes, in samples, of `capacity` in all.
    pub fn room(&self, capacity: usize) -> usize {
        /// So that no one has memory filled with small messages.
        const LEAST: usize = 256;
        match self {
            Self::Audio(samples) => samples.len().max(LEAST).min(capacity),
            Self::Params(_) => LEAST,
            Self::Voice(..) | Self::Stop => 0,
        }
    }
}

/// What the thread sends.
pub enum Outward {
    /// Samples, as many as came.
    Audio(Vec<f32>),
    /// A message.
    Word(Word),
    /// All is sent.
    End {
        /// Samples that came.
        samples: u64,
    },
}

/// What all streams count.
#[derive(Debug, Default)]
pub struct StreamCounts {
    /// Streams that were begun.
    pub begun: AtomicU64,
    /// Chunks taken in.
    pub chunks: AtomicU64,
    /// Chunks whose voice was not there at its moment.
    pub late_chunks: AtomicU64,
}

/// What a conversion begins with.
pub struct Begin {
    /// As the client asked.
    pub start: Start,
    /// The same, checked.
    pub settings: SessionSettings,
    /// The voice.
    pub voice: Converter<Cpu>,
    /// What comes.
    pub inward: mpsc::UnboundedReceiver<Inward>,
    /// Samples that may come now.
    pub room: Arc<Semaphore>,
    /// Samples that may come while none waits.
    pub capacity: usize,
    /// What is sent.
    pub outward: mpsc::Sender<Outward>,
    /// Most bytes of a message.
    pub most_bytes: usize,
}

/// A conversion that runs.
struct Conversion {
    session: Session<Cpu>,
    clock: NullClock,
    start: Start,
    settings: SessionSettings,
    /// A voice that the session has had no room for yet, and the name of the last one.
    next_voice: Option<(Converter<Cpu>, String)>,
    voice: String,
    /// Whether no one has set the pitch; and what brings it to the voice's own, where the voice tells it.
    fits_pitch: bool,
    own_pitch: Option<OwnPitch>,
    /// Whether the pitch was shifted, and no one was told yet.
    has_shifted: bool,
    /// What came and fills no block yet.
    rest: Vec<f32>,
    /// Samples of a block, and of a chunk.
    block: usize,
    chunk_samples: usize,
    /// Samples of silence in front, still to be cut off.
    ahead: usize,
    /// Samples that came, were played through the graph, and were given back.
    samples_in: u64,
    played: u64,
    samples_out: u64,
    /// Whether no more audio comes.
    is_draining: bool,
    late: LateChunks,
    told: Counted,
}

/// What was added to the counts of all streams.
#[derive(Clone, Copy, Default)]
struct Counted {
    chunks: u64,
    late_chunks: u64,
}

/// Counts chunks of which some block took longer than it lasts.
#[derive(Clone, Copy, Default)]
struct LateChunks {
    count: u64,
    /// The chunk counted last, from 1.
    latest: u64,
}

impl LateChunks {
    fn note(&mut self, chunk: u64) {
        if chunk + 1 > self.latest {
            self.latest = chunk + 1;
            self.count += 1;
        }
    }
}

/// Converts until all is sent or no one listens.
///
/// # Errors
/// A session that cannot be started.
pub fn run(begin: Begin, counts: &StreamCounts) -> Result<()> {
    let Begin { start, settings, voice, mut inward, room, capacity, outward, most_bytes } = begin;
    let mut conversion = Conversion::new(start, settings, voice)?;
    counts.begun.fetch_add(1, Ordering::Relaxed);
    let mut said = vec![Outward::Word(conversion.ready(most_bytes))];
    let mut told = Instant::now();
    // A send that fails means that no one listens.
    while said.drain(..).all(|word| outward.blocking_send(word).is_ok())
        && let Some(message) = inward.blocking_recv()
    {
        let taken = message.room(capacity);
        let is_last = matches!(message, Inward::Stop);
        // Behind this message.
        let waiting = capacity.saturating_sub(room.available_permits() + taken);
        said = conversion.hear(message, waiting);
        room.add_permits(taken);
        if conversion.hand_over() {
            said.push(Outward::Word(conversion.changed()));
        }
        if is_last || told.elapsed() > PACE_OF_TELEMETRY {
            told = Instant::now();
            conversion.count(counts);
            said.push(Outward::Word(conversion.telemetry(waiting)));
        }
        if is_last {
            said.push(Outward::End { samples: conversion.samples_in });
        }
    }
    conversion.count(counts);
    Ok(())
}

/// Samples to be sent, if there are any.
fn spoken(voice: Vec<f32>) -> Vec<Outward> {
    if voice.is_empty() { Vec::new() } else { vec![Outward::Audio(voice)] }
}

impl Conversion {
    fn new(start: Start, settings: SessionSettings, voice: Converter<Cpu>) -> Result<Self> {
        let block = start.rate_hz as usize / HOPS_PER_SECOND;
        let format = DeviceFormat {
            rate_hz: start.rate_hz,
            block_frames: block,
            max_block_frames: block,
            inputs: 1,
            outputs: 1,
            input_latency_samples: 0,
            output_latency_samples: 0,
        };
        let chunk_samples = Geometry::new(start.rate_hz, settings.timing)?.chunk_samples();
        let fits_pitch = start.params.transpose.is_none();
        let own_hz = voice.pitch_hz().filter(|_| fits_pitch);
        let own_pitch = own_hz.map(|hz| OwnPitch::new(hz, settings.params.transpose_semitones));
        let (device, clock) = Null::new(format);
        let session = Session::start(Box::new(device), voice, &settings)?;
        let ahead = session.latency().total();
        Ok(Self {
            session,
            clock,
            voice: start.voice.clone(),
            start,
            settings,
            next_voice: None,
            fits_pitch,
            own_pitch,
            has_shifted: false,
            rest: Vec::new(),
            block,
            chunk_samples,
            ahead,
            samples_in: 0,
            played: 0,
            samples_out: 0,
            is_draining: false,
            late: LateChunks::default(),
            told: Counted::default(),
        })
    }

    /// Does what comes, while so many samples wait behind it; gives what is to be sent.
    fn hear(&mut self, message: Inward, waiting: usize) -> Vec<Outward> {
        match message {
            Inward::Audio(samples) => {
                let most_waiting = MOST_BEHIND.as_secs_f64() * f64::from(self.start.rate_hz);
                let waits = self.start.pace == Pace::Free || waiting as f64 <= most_waiting;
                let mut said = spoken(self.take(&samples, waits));
                if std::mem::take(&mut self.has_shifted) {
                    said.push(Outward::Word(self.changed()));
                }
                said
            }
            Inward::Params(params) => vec![Outward::Word(match self.set(&params) {
                Ok(()) => {
                    self.fits_pitch &= params.transpose.is_none();
                    self.changed()
                }
                Err(error) => Word::Error { problem: Problem::from(error) },
            })],
            Inward::Voice(voice, name) => {
                self.next_voice = Some((voice, name));
                Vec::new()
            }
            Inward::Stop => spoken(self.drain()),
        }
    }

    /// Takes samples in, in whole blocks, and gives back what is ready.
    fn take(&mut self, samples: &[f32], waits: bool) -> Vec<f32> {
        self.samples_in += samples.len() as u64;
        self.rest.extend_from_slice(samples);
        let whole = self.rest.len() / self.block * self.block;
        let blocks: Vec<f32> = self.rest.drain(..whole).collect();
        self.play(&blocks, waits)
    }

    /// Plays silence until all that came is out, and gives the last of it back.
    fn drain(&mut self) -> Vec<f32> {
        self.is_draining = true;
        let mut blocks = std::mem::take(&mut self.rest);
        let missing = (self.samples_in - self.samples_out) as usize + self.ahead;
        blocks.resize(missing.next_multiple_of(self.block), 0.0);
        self.play(&blocks, true)
    }

    /// Plays whole blocks, `waits` telling whether the converter is waited for. Gives back no more than came.
    fn play(&mut self, blocks: &[f32], waits: bool) -> Vec<f32> {
        self.clock.set_freewheel(waits);
        let mut voice = vec![0.0; blocks.len()];
        let lasts = Duration::from_secs_f64(1.0 / HOPS_PER_SECOND as f64);
        let chunk = self.chunk_samples as u64;
        // What is drained comes all at once, before its moment.
        let counts_late = self.start.pace == Pace::Live && !self.is_draining;
        for (block, played) in blocks.chunks(self.block).zip(voice.chunks_mut(self.block)) {
            let began = Instant::now();
            self.clock.block(&[block], &mut [&mut *played]);
            if counts_late && began.elapsed() > lasts {
                self.late.note(self.played / chunk);
            }
            self.played += block.len() as u64;
            if self.played % chunk < block.len() as u64 {
                self.fit_pitch();
            }
            // The session tends to itself meanwhile.
            while let Some(event) = self.session.next_event() {
                tracing::debug!("stream: {event:?}");
            }
        }
        let cut = self.ahead.min(voice.len());
        self.ahead -= cut;
        voice.drain(..cut);
        voice.truncate((self.samples_in - self.samples_out) as usize);
        self.samples_out += voice.len() as u64;
        voice
    }

    /// Puts parameters in force.
    fn set(&mut self, params: &StreamParams) -> Result<()> {
        let (params, live) = params.over(self.settings.params, self.settings.live)?;
        self.session.set_params(params)?;
        self.session.set_live(live)?;
        (self.settings.params, self.settings.live) = (params, live);
        Ok(())
    }

    /// Brings the pitch of who speaks to the voice's own, once they have spoken a little, unless it is set.
    fn fit_pitch(&mut self) {
        let mut params = self.settings.params;
        let own_pitch =
            self.own_pitch.as_mut().filter(|own| self.fits_pitch && !own.is_over(params.transpose_semitones));
        let Some(own_pitch) = own_pitch else { return };
        let worker = self.session.telemetry().worker;
        let input_hz = Some(worker.f0_hz / pitch_ratio(&params)).filter(|hz| *hz > 0.0);
        let heard = Heard { chunks: worker.chunks, chunk_ms: worker.chunk_ms, input_hz };
        let Some(semitones) = own_pitch.hear(heard) else { return };
        params.transpose_semitones = semitones;
        // What it finds is in range.
        if self.session.set_params(params).is_ok() {
            self.settings.params = params;
            self.has_shifted = true;
        }
    }

    /// Gives the session a voice that waits, if it has room; says whether it took it. Unless the pitch is set, the speaker's is
    /// brought to that voice's own from its first chunk on, as far as it is known.
    fn hand_over(&mut self) -> bool {
        let Some((voice, name)) = self.next_voice.take() else { return false };
        let mut params = self.settings.params;
        let mut own_pitch = None;
        if self.fits_pitch {
            own_pitch = voice.pitch_hz().map(|own_hz| match &self.own_pitch {
                Some(own_pitch) => own_pitch.in_voice(own_hz),
                None => OwnPitch::new(own_hz, 0.0),
            });
            params.transpose_semitones = own_pitch.as_ref().map_or(0.0, OwnPitch::transpose_semitones);
        }
        match self.session.replace_voice(voice, params) {
            Ok(()) => {
                self.voice = name;
                (self.settings.params, self.own_pitch) = (params, own_pitch);
                true
            }
            Err(voice) => {
                self.next_voice = Some((voice, name));
                false
            }
        }
    }

    fn ready(&self, most_bytes: usize) -> Word {
        let chunk_samples = self.chunk_samples;
        Word::Ready {
            voice: self.voice.clone(),
            rate_hz: self.start.rate_hz,
            format: self.start.format,
            chunk_samples,
            chunk_ms: 1e3 * chunk_samples as f64 / f64::from(self.start.rate_hz),
            latency: LatencyView::of(self.session.latency(), self.start.rate_hz),
            most_bytes,
            params: StreamParams::of(&self.settings.params, &self.settings.live),
        }
    }

    fn changed(&self) -> Word {
        let params = StreamParams::of(&self.settings.params, &self.settings.live);
        Word::Changed { voice: self.voice.clone(), params }
    }

    fn telemetry(&mut self, waiting_samples: usize) -> Word {
        let (telemetry, latency) = (self.session.telemetry(), self.session.latency());
        let rate_hz = self.start.rate_hz;
        Word::Telemetry(Box::new(Telemetry {
            samples_in: self.samples_in,
            samples_out: self.samples_out,
            late_chunks: self.late.count + telemetry.worker.shed,
            waiting_ms: 1e3 * waiting_samples as f64 / f64::from(rate_hz),
            ..Telemetry::of(&telemetry, latency, rate_hz)
        }))
    }

    /// Adds what is new to the counts of all streams.
    fn count(&mut self, counts: &StreamCounts) {
        let worker = self.session.telemetry().worker;
        let now = Counted { chunks: worker.chunks, late_chunks: self.late.count + worker.shed };
        counts.chunks.fetch_add(now.chunks - self.told.chunks, Ordering::Relaxed);
        counts.late_chunks.fetch_add(now.late_chunks - self.told.late_chunks, Ordering::Relaxed);
        self.told = now;
    }
}

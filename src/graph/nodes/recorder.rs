//! Recorder: two signals into a stereo file, written by a thread of its own.
//!
//! A graph that takes over from another goes on with its recording by a [tap](Recording::tap) of its own: whichever graph
//! leads records, so that every frame is in the file once.

use std::collections::VecDeque;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, unbounded};
use hound::{SampleFormat, WavSpec, WavWriter};
use ringbuf::traits::{Consumer, Observer, Producer, Split};
use ringbuf::{HeapCons, HeapProd, HeapRb};

use crate::error::{Error, Result};
use crate::rt::events::{Event, EventTx};
use crate::rt::{Block, Node, Ports, RtNode, Setup};

/// One sample of both channels.
type Frame = [f32; 2];

/// Seconds that a slow disk may take before frames are lost.
const PATIENCE_S: usize = 4;
/// Longest wait for the disk while the audio server has no clock.
const FREEWHEEL_PATIENCE: Duration = Duration::from_secs(10);
/// Pause between two looks at the queue meanwhile.
const FREEWHEEL_PAUSE: Duration = Duration::from_micros(500);
/// How often the writer looks for frames.
const PAUSE: Duration = Duration::from_millis(10);
/// How often what was written is made sure of, per second.
const FLUSHES_PER_SECOND: u64 = 4;
/// Bytes that a wav file of 32-bit sizes can hold, with room for its headers.
const MOST_BYTES: u64 = u32::MAX as u64 - 4096;

/// How samples are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RecordingFormat {
    /// 32-bit floating point: nothing is lost.
    #[default]
    Float,
    /// 24-bit integers, which every program reads.
    Int24,
}

/// What became of a recording.
#[derive(Debug)]
pub struct RecordingReport {
    /// Files that were written, in order: a file that is full (4 GB), or whose rate is not the graph's any more, is
    /// followed by another.
    pub files: Vec<PathBuf>,
    /// Frames in them.
    pub frames: u64,
    /// Frames that are in none of them, since the disk was too slow, full or gone.
    pub lost_frames: u64,
    /// What ended the writing before it was asked to end.
    pub failure: Option<Error>,
}

/// Records two inputs, which the builder aligns: usually what came in and what goes out.
pub struct Recorder {
    frames: HeapProd<Frame>,
    counts: Arc<Counts>,
    rate_hz: u32,
}

/// Control's side of a recording. Dropping it ends the recording as [`stop`](Self::stop) does.
pub struct Recording {
    counts: Arc<Counts>,
    taps: Sender<Tap>,
    writer: Option<JoinHandle<RecordingReport>>,
}

/// The frames of one graph.
struct Tap {
    queue: HeapCons<Frame>,
    rate_hz: u32,
}

/// Both ends of a tap at `rate_hz`.
fn tap(rate_hz: u32) -> (HeapProd<Frame>, Tap) {
    let (frames, queue) = HeapRb::new(PATIENCE_S * rate_hz as usize).split();
    (frames, Tap { queue, rate_hz })
}

#[derive(Default)]
struct Counts {
    stop: AtomicBool,
    written: AtomicU64,
    lost: AtomicU64,
}

impl Recorder {
    /// The input for the left channel.
    pub const LEFT: usize = 0;
    /// The input for the right channel.
    pub const RIGHT: usize = 1;

    /// Opens `path`, written over if it exists, and starts the writing thread.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be created.
    pub fn start(path: &Path, rate_hz: u32, format: RecordingFormat, events: EventTx) -> Result<(Self, Recording)> {
        let counts = Arc::new(Counts::default());
        let (frames, tap) = tap(rate_hz);
        let (taps, arriving) = unbounded();
        let writer = Writer {
            tap,
            arriving,
            next: VecDeque::new(),
            counts: counts.clone(),
            events,
            file: Some(open(path, rate_hz, format)?),
            format,
            frames_in_file: 0,
            unsure: 0,
            report: RecordingReport { files: vec![path.to_owned()], frames: 0, lost_frames: 0, failure: None },
        };
        let thread = std::thread::Builder::new().name("recorder".into()).spawn(|| writer.run());
        let writer = thread.map_err(|source| Error::io(path, source))?;
        Ok((Self { frames, counts: counts.clone(), rate_hz }, Recording { counts, taps, writer: Some(writer) }))
    }
}

impl Recording {
    /// Frames written and frames lost so far.
    #[must_use]
    pub fn progress(&self) -> (u64, u64) {
        (self.counts.written.load(Ordering::Relaxed), self.counts.lost.load(Ordering::Relaxed))
    }

    /// A recorder for the graph that takes over next: the recording goes on with what that records. At another rate
    /// it goes on in another file, `name-2.wav` and so on.
    #[must_use]
    pub fn tap(&self, rate_hz: u32) -> Recorder {
        let (frames, tap) = tap(rate_hz);
        // A writer that is gone has said why.
        let _ = self.taps.send(tap);
        Recorder { frames, counts: self.counts.clone(), rate_hz }
    }

    /// Writes what has been recorded up to now and closes the file.
    #[must_use]
    pub fn stop(mut self) -> Option<RecordingReport> {
        self.finish()
    }

    fn finish(&mut self) -> Option<RecordingReport> {
        let writer = self.writer.take()?;
        self.counts.stop.store(true, Ordering::Release);
        writer.thread().unpark();
        Some(writer.join().unwrap_or_else(|_| RecordingReport {
            files: Vec::new(),
            frames: self.counts.written.load(Ordering::Relaxed),
            lost_frames: self.counts.lost.load(Ordering::Relaxed),
            failure: Some(Error::io("the recording", std::io::Error::other("its thread panicked"))),
        }))
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Node for Recorder {
    fn ports(&self, rate_hz: u32) -> Ports {
        Ports::at(rate_hz, 2, 0)
    }

    fn prepare(self: Box<Self>, setup: &Setup) -> Result<Box<dyn RtNode>> {
        if setup.rate_hz != self.rate_hz {
            return Err(Error::argument("rate", format!("{} Hz, as its file has", self.rate_hz), setup.rate_hz));
        }
        Ok(Box::new(RtRecorder {
            queue: self.frames,
            counts: self.counts,
            frames: vec![[0.0; 2]; setup.max_block],
            patient: true,
        }))
    }
}

struct RtRecorder {
    queue: HeapProd<Frame>,
    counts: Arc<Counts>,
    frames: Vec<Frame>,
    /// Whether the disk has kept up whenever it was waited for.
    patient: bool,
}

impl RtNode for RtRecorder {
    fn process(&mut self, block: &mut Block<'_>, inputs: &[&[f32]], _: &mut [&mut [f32]]) {
        if !block.leads {
            return;
        }
        let [left, right] = [inputs[Recorder::LEFT], inputs[Recorder::RIGHT]];
        let frames = &mut self.frames[..left.len()];
        for ((frame, &left), &right) in frames.iter_mut().zip(left).zip(right) {
            *frame = [left, right];
        }
        let mut sent = self.queue.push_slice(frames);
        let start = Instant::now();
        while sent < frames.len() && block.freewheel && self.patient {
            self.patient = start.elapsed() < FREEWHEEL_PATIENCE;
            std::thread::sleep(FREEWHEEL_PAUSE);
            sent += self.queue.push_slice(&frames[sent..]);
        }
        let lost = frames.len() - sent;
        if lost > 0 && !self.counts.stop.load(Ordering::Relaxed) {
            self.counts.lost.fetch_add(lost as u64, Ordering::Relaxed);
        }
    }

    /// What was recorded stays recorded.
    fn reset(&mut self) {}
}

type WavFile = WavWriter<BufWriter<File>>;

fn open(path: &Path, rate_hz: u32, format: RecordingFormat) -> Result<WavFile> {
    let (bits_per_sample, sample_format) = match format {
        RecordingFormat::Float => (32, SampleFormat::Float),
        RecordingFormat::Int24 => (24, SampleFormat::Int),
    };
    let spec = WavSpec { channels: 2, sample_rate: rate_hz, bits_per_sample, sample_format };
    WavWriter::create(path, spec).map_err(|error| of_file(path, error))
}

fn of_file(path: &Path, error: hound::Error) -> Error {
    match error {
        hound::Error::IoError(source) => Error::io(path, source),
        other => Error::format(path, "a wav file that can be written", other),
    }
}

/// The writing thread.
struct Writer {
    /// Of the graph that leads, as far as is known.
    tap: Tap,
    arriving: Receiver<Tap>,
    /// Of graphs that lead next, in order.
    next: VecDeque<Tap>,
    counts: Arc<Counts>,
    events: EventTx,
    /// Gone after a failure.
    file: Option<WavFile>,
    format: RecordingFormat,
    frames_in_file: u64,
    /// Frames that may still be in memory only.
    unsure: u64,
    report: RecordingReport,
}

impl Writer {
    fn run(mut self) -> RecordingReport {
        let mut frames = vec![[0.0; 2]; self.tap.rate_hz as usize / 10 + 1];
        loop {
            let stopping = self.counts.stop.load(Ordering::Acquire);
            // Asked first: once another graph has recorded, the one before records no more.
            while let Some(tap) = self.next_tap() {
                self.empty_tap(&mut frames);
                self.turn_to(tap);
            }
            self.empty_tap(&mut frames);
            // So that the file can be read even if the process dies.
            if self.unsure * FLUSHES_PER_SECOND > u64::from(self.tap.rate_hz) {
                self.attempt(|writer, file| file.flush().map_err(|error| of_file(writer.path(), error)));
                self.settle();
            }
            if stopping {
                return self.close();
            }
            std::thread::park_timeout(PAUSE);
        }
    }

    /// The first of the next taps that has frames. Graphs that were never heard have none.
    fn next_tap(&mut self) -> Option<Tap> {
        self.next.extend(self.arriving.try_iter());
        // Graphs that could not be built leave taps in which nothing will ever be.
        self.next.retain(|tap| tap.queue.write_is_held() || !tap.queue.is_empty());
        let first = self.next.iter().position(|tap| !tap.queue.is_empty())?;
        self.next.drain(..first);
        self.next.pop_front()
    }

    /// Writes what waits now.
    fn empty_tap(&mut self, frames: &mut [Frame]) {
        let mut waiting = self.tap.queue.occupied_len();
        while waiting > 0 {
            let taken = self.tap.queue.pop_slice(frames);
            self.write(&frames[..taken]);
            waiting = waiting.saturating_sub(taken);
        }
    }

    fn turn_to(&mut self, tap: Tap) {
        let last = std::mem::replace(&mut self.tap, tap);
        if last.rate_hz != self.tap.rate_hz {
            self.attempt(Self::continue_in_next);
        }
    }

    /// The file that is being written.
    fn path(&self) -> &Path {
        self.report.files.last().map_or(Path::new(""), PathBuf::as_path)
    }

    /// Does `work` with the file, if there still is one; a failure is the end of it.
    fn attempt(&mut self, work: impl FnOnce(&mut Self, &mut WavFile) -> Result<()>) {
        let Some(mut file) = self.file.take() else { return };
        match work(self, &mut file) {
            Ok(()) => self.file = Some(file),
            Err(error) => self.fail(error),
        }
    }

    fn fail(&mut self, error: Error) {
        self.report.failure = Some(error);
        self.lose(self.unsure);
        self.unsure = 0;
        self.events.send(Event::RecorderFailed);
    }

    /// Counts the frames that are on the disk for sure by now.
    fn settle(&mut self) {
        self.report.frames += self.unsure;
        self.unsure = 0;
        self.counts.written.store(self.report.frames, Ordering::Relaxed);
    }

    fn lose(&self, frames: u64) {
        self.counts.lost.fetch_add(frames, Ordering::Relaxed);
    }

    fn write(&mut self, frames: &[Frame]) {
        let mut rest = frames.iter();
        self.attempt(|writer, file| rest.try_for_each(|&frame| writer.write_frame(file, frame)));
        if self.file.is_none() {
            // With the one that failed, unless none was tried.
            let failed = u64::from(rest.len() < frames.len());
            self.lose(rest.len() as u64 + failed);
        }
    }

    fn write_frame(&mut self, file: &mut WavFile, frame: Frame) -> Result<()> {
        let bytes_per_frame = if self.format == RecordingFormat::Float { 8 } else { 6 };
        if (self.frames_in_file + 1) * bytes_per_frame > MOST_BYTES {
            self.continue_in_next(file)?;
        }
        for sample in frame {
            match self.format {
                RecordingFormat::Float => file.write_sample(sample),
                RecordingFormat::Int24 => file.write_sample(to_24_bits(sample)),
            }
            .map_err(|error| of_file(self.path(), error))?;
        }
        self.frames_in_file += 1;
        self.unsure += 1;
        Ok(())
    }

    /// Closes `file` and opens `name-2.wav`, `name-3.wav` and so on in its place, the first that is not there.
    fn continue_in_next(&mut self, file: &mut WavFile) -> Result<()> {
        let first = &self.report.files[0];
        let stem = first.file_stem().unwrap_or_default().to_string_lossy();
        let names = (self.report.files.len() + 1..).map(|n| first.with_file_name(format!("{stem}-{n}.wav")));
        let next = names.into_iter().find(|path| !path.exists()).unwrap_or_else(|| first.clone());
        let full = std::mem::replace(file, open(&next, self.tap.rate_hz, self.format)?);
        full.finalize().map_err(|error| of_file(self.path(), error))?;
        self.settle();
        self.report.files.push(next);
        self.frames_in_file = 0;
        Ok(())
    }

    fn close(mut self) -> RecordingReport {
        match self.file.take().map(WavFile::finalize) {
            Some(Err(error)) => {
                let error = of_file(self.path(), error);
                self.fail(error);
            }
            Some(Ok(())) => self.settle(),
            None => {}
        }
        self.report.lost_frames = self.counts.lost.load(Ordering::Relaxed);
        self.report
    }
}

/// Full scale at -1..1, to the nearest, clamped.
fn to_24_bits(sample: f32) -> i32 {
    (f64::from(sample) * 8_388_608.0).round().clamp(-8_388_608.0, 8_388_607.0) as i32
}

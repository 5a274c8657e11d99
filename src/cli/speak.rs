//! `syrinx speak`: text in, speech in a voice out, while it is still being said.

use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use clap::Args;
use tokio::runtime::{Handle, Runtime};

use super::conversion::{ModelArgs, ModelChoice, TrackerArgs, VoiceArgs};
use super::device::{OutputArgs, TimingArgs};
use super::live::on_interrupt;
#[cfg(feature = "cuda-kernels")]
use crate::cuda::trace::Graphs;
use crate::error::{Error, Result};
use crate::io::live::Backend;
use crate::io::write::{Container, Encoding, Quantise, SampleFormat, write};
use crate::live::Playback;
use crate::nn::Cpu;
#[cfg(feature = "cuda")]
use crate::nn::Cuda;
use crate::nn::ops::{Precision, VoiceOps};
use crate::params::ConversionParams;
use crate::path::Converter;
use crate::path::stream::{JoinKind, Stream, StreamSettings};
use crate::place::Place;
use crate::tts::choice::Delivery;
use crate::tts::speech::{TextRx, TextTx, text_channel};
use crate::tts::{ConvertedSpeech, Heard, Manner, OwnPitch, Sentences, SourceChoice, Speaker, Speech};
use crate::units::Recording;

/// Longest wait before one looks whether to stop.
const PACE: Duration = Duration::from_millis(20);
/// Silence of the source after which what was said is played to its end.
const PAUSE: Duration = Duration::from_millis(120);
/// Time without more text after which a line is taken as whole.
const LINE_ENDS: Duration = Duration::from_millis(300);
/// Name of the variable with a token for servers.
const TOKEN: &str = "SYRINX_TTS_TOKEN";

/// Speaks text in a voice.
#[derive(Args, Clone, Debug)]
pub struct SpeakArgs {
    /// What to say; `-` reads it from standard input and says it as it comes
    #[arg(value_name = "TEXT")]
    text: String,
    /// Output file (.wav or .flac), or `-` for raw PCM of 16 bits on standard output; without this, a device
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,
    /// Overwrite an output that exists
    #[arg(long)]
    force: bool,
    /// Tell times as JSON on standard error
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    voice: VoiceArgs,
    #[command(flatten)]
    tracker: TrackerArgs,
    #[command(flatten)]
    models: ModelArgs,
    #[command(flatten)]
    device: OutputArgs,
    #[command(flatten)]
    timing: TimingArgs,
}

/// What speaks.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Text to speech")]
pub struct SourceArgs {
    /// What speaks: `espeak-ng`, `piper=MODEL.onnx`, `command=PROGRAM ARGUMENTS`, `openai=URL`, `wyoming=HOST:PORT`,
    /// `xtts=URL`, `piper-http=URL`. A token for a server is read from `SYRINX_TTS_TOKEN`
    #[arg(long = "tts", value_name = "SOURCE", default_value = "espeak-ng")]
    source: String,
    /// Its voice, as it names it
    #[arg(long = "tts-voice", value_name = "NAME")]
    tts_voice: Option<String>,
    /// The text's language, as `en` or `pt-br`
    #[arg(long = "tts-language", value_name = "LANGUAGE")]
    language: Option<String>,
    /// Its speed, 0.25 to 4
    #[arg(long = "tts-speed", value_name = "X")]
    speed: Option<f32>,
    /// Model to ask an OpenAI-style server for
    #[arg(long = "tts-model", value_name = "NAME")]
    model: Option<String>,
    /// Rate of raw PCM in Hz, where nothing else tells it
    #[arg(long = "tts-rate", value_name = "HZ")]
    tts_rate: Option<u32>,
    /// How a server shall deliver
    #[arg(long = "tts-delivery", value_name = "HOW", default_value = "stream")]
    delivery: Delivery,
}

impl SourceArgs {
    /// The source that is asked for.
    #[must_use]
    pub fn choice(&self) -> SourceChoice {
        SourceChoice {
            source: self.source.clone(),
            model: self.model.clone(),
            rate_hz: self.tts_rate,
            delivery: self.delivery,
            token: std::env::var(TOKEN).ok().filter(|token| !token.is_empty()),
        }
    }

    /// How it shall speak.
    ///
    /// # Errors
    /// [`Error::Argument`] for a speed out of range.
    pub fn manner(&self) -> Result<Manner> {
        if let Some(speed) = self.speed.filter(|speed| !(0.25..=4.0).contains(speed)) {
            return Err(Error::argument("--tts-speed", "0.25 to 4", speed));
        }
        Ok(Manner { voice: self.tts_voice.clone(), language: self.language.clone(), speed: self.speed })
    }
}

impl OutputArgs {
    fn backend(&self) -> Result<Box<dyn Backend>> {
        match self.host.as_str() {
            #[cfg(feature = "jack")]
            "jack" => Ok(Box::new(self.jack("syrinx"))),
            _ => self.sound_card(),
        }
    }
}

/// Speaks until all is said, or the program is asked to stop.
///
/// # Errors
/// Arguments out of range, models, devices or sources that are not there, a file that cannot be written.
pub fn run(args: &SpeakArgs) -> Result<()> {
    args.voice.check()?;
    let models = ModelChoice::new(&args.voice, &args.tracker, &args.models)?;
    match models.place()? {
        Place::Cpu => run_on::<Cpu>(Default::default(), args, &models),
        #[cfg(feature = "cuda")]
        Place::Burn(device) => run_on::<Cuda>(device, args, &models),
        #[cfg(feature = "cuda-kernels")]
        Place::Cuda(device) => run_on::<Graphs>(device, args, &models),
    }
}

fn run_on<B: VoiceOps>(device: B::Device, args: &SpeakArgs, models: &ModelChoice) -> Result<()> {
    let manner = args.source.manner()?;
    let params = ConversionParams { rms_mix_rate: 0.0, ..args.voice.params(&args.tracker) };
    params.validate()?;
    let mut sink = Sink::open(args)?;
    let files = models.files()?;
    if let Some(note) = models.index_note(&files) {
        tracing::warn!("{note}");
    }
    let source = args.source.choice().open()?;
    let speaker = Speaker::of(&*source, &manner);
    let interrupted = on_interrupt()?;
    let runtime = runtime()?;

    // Loading the voice takes longer than the first word: both begin now.
    let started = Instant::now();
    let speech = if args.text == "-" {
        let (tx, rx): (TextTx, TextRx) = text_channel();
        read_text(tx)?;
        Speech::start(runtime.handle(), source, rx, manner)
    } else {
        Speech::of_text(runtime.handle(), source, &args.text, manner)
    };
    let voice = models.engine::<B>(device, Precision::Reduced).converter(&files)?;
    let own_hz = voice.pitch_hz().filter(|_| args.voice.fits_pitch());
    let own_pitch = own_hz.map(|hz| OwnPitch::new(hz, speaker, Arc::default()));
    let stream = stream(voice, sink.rate_hz(), args, &params)?;
    let loaded = started.elapsed();
    let mut speech = ConvertedSpeech::new(speech, stream, params, own_pitch)?;
    let goes_on = || !interrupted.load(Ordering::Relaxed);
    let said = say(runtime.handle(), &mut speech, &mut sink, &goes_on);
    // What was said before it broke off is kept.
    let finished = sink.finish(speech.rate_hz(), args, &goes_on);
    let (first, samples) = said?;
    finished?;
    let transpose_semitones = speech.shift().unwrap_or(params.transpose_semitones);
    tell(args, started, loaded, first, samples as f64 / f64::from(speech.rate_hz()), transpose_semitones);
    runtime.shutdown_background();
    Ok(())
}

fn runtime() -> Result<Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.map_err(|error| Error::io("the runtime", error))
}

/// A stream at the sink's rate, or at the voice's own.
fn stream<B: VoiceOps>(
    voice: Converter<B>,
    rate_hz: Option<u32>,
    args: &SpeakArgs,
    params: &ConversionParams,
) -> Result<Stream<B>> {
    let settings = StreamSettings {
        rate_hz: rate_hz.unwrap_or(voice.sample_rate_hz()),
        timing: args.timing.timing(),
        join: JoinKind::default(),
        gate_db: None,
        rest_db: Some(-60.0),
        denoise_input: false,
        denoise_output: false,
    };
    Stream::new(voice, settings, params)
}

/// Says all; returns when the first was heard, and how many samples there were.
fn say<B: VoiceOps>(
    runtime: &Handle,
    speech: &mut ConvertedSpeech<B>,
    sink: &mut Sink,
    goes_on: &dyn Fn() -> bool,
) -> Result<(Option<Instant>, usize)> {
    let (mut first, mut samples, mut silent_since, mut shift) = (None, 0, Some(Instant::now()), None);
    loop {
        if !goes_on() {
            speech.cancel();
            return Ok((first, samples));
        }
        if let Some(semitones) = speech.shift().filter(|_| speech.shift() != shift) {
            tracing::info!("pitch shifted by {semitones:.1} semitones, to the voice's own; --pitch 0 keeps it");
            shift = Some(semitones);
        }
        match speech.next(runtime, PACE)? {
            Heard::End => return Ok((first, samples)),
            Heard::Voice(voice) => {
                first.get_or_insert_with(Instant::now);
                samples += voice.len();
                silent_since = Some(Instant::now());
                sink.take(voice, goes_on)?;
            }
            Heard::Waiting => {
                if sink.is_live() && silent_since.is_some_and(|since| since.elapsed() > PAUSE) {
                    silent_since = None;
                    speech.pause();
                }
            }
        }
    }
}

fn tell(
    args: &SpeakArgs,
    started: Instant,
    loaded: Duration,
    first: Option<Instant>,
    seconds: f64,
    transpose_semitones: f32,
) {
    let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
    let first = first.map(|first| first.duration_since(started));
    if args.json {
        let json = serde_json::json!({
            "voice_loaded_ms": ms(loaded),
            "first_audio_ms": first.map(ms),
            "audio_seconds": seconds,
            "transpose_semitones": transpose_semitones,
            "seconds": started.elapsed().as_secs_f64(),
        });
        eprintln!("{json}");
    } else if let Some(first) = first {
        tracing::info!("first audio after {:.0} ms, the voice was ready after {:.0} ms", ms(first), ms(loaded));
    }
}

/// Reads standard input on a thread of its own: the sentences of what comes, and what stands in a line once it rests.
fn read_text(tx: TextTx) -> Result<()> {
    let (bytes_tx, bytes) = channel();
    let thread = |name: &str| std::thread::Builder::new().name(name.into());
    let failed = |error| Error::io("standard input", error);
    let reader = move || {
        let mut buffer = [0; 4096];
        let mut stdin = std::io::stdin().lock();
        while let Ok(count @ 1..) = stdin.read(&mut buffer) {
            if bytes_tx.send(buffer[..count].to_vec()).is_err() {
                return;
            }
        }
    };
    thread("stdin").spawn(reader).map_err(failed)?;
    let splitter = move || {
        let (mut sentences, mut pending) = (Sentences::new(), Vec::new());
        let mut ends_line = false;
        loop {
            let found = match bytes.recv_timeout(LINE_ENDS) {
                Ok(more) => {
                    ends_line = more.ends_with(b"\n");
                    pending.extend(more);
                    sentences.push(&take_text(&mut pending))
                }
                Err(RecvTimeoutError::Timeout) if ends_line => sentences.finish(),
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => {
                    let mut last = sentences.push(&String::from_utf8_lossy(&pending));
                    last.extend(sentences.finish());
                    for sentence in last {
                        let _ = tx.blocking_send(sentence);
                    }
                    return;
                }
            };
            for sentence in found {
                if tx.blocking_send(sentence).is_err() {
                    return;
                }
            }
        }
    };
    thread("sentences").spawn(splitter).map_err(failed)?;
    Ok(())
}

/// Takes the text that is whole from bytes; a letter that is not whole yet stays.
fn take_text(bytes: &mut Vec<u8>) -> String {
    let whole = match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        Ok(_) | Err(_) => bytes.len(),
    };
    let text = String::from_utf8_lossy(&bytes[..whole]).into_owned();
    bytes.drain(..whole);
    text
}

/// Where the voice goes.
enum Sink {
    Device(Box<Playback>),
    File(Container, PathBuf, Vec<f32>),
    Output(std::io::Stdout),
}

impl Sink {
    fn open(args: &SpeakArgs) -> Result<Self> {
        let Some(path) = &args.output else {
            let mut backend = args.device.backend()?;
            return Ok(Self::Device(Box::new(Playback::start(&mut *backend)?)));
        };
        if path == Path::new("-") {
            let stdout = std::io::stdout();
            if stdout.is_terminal() {
                return Err(Error::argument("--output", "a pipe behind `-o -`", "a terminal"));
            }
            return Ok(Self::Output(stdout));
        }
        let container = Container::of(path)
            .ok_or_else(|| Error::argument("--output", "a name that ends in .wav or .flac, or -", path.display()))?;
        if path.exists() && !args.force {
            let expected = "a file that does not exist yet, or --force";
            return Err(Error::argument("--output", expected, path.display()));
        }
        Ok(Self::File(container, path.clone(), Vec::new()))
    }

    fn rate_hz(&self) -> Option<u32> {
        match self {
            Self::Device(playback) => Some(playback.device().format().rate_hz),
            _ => None,
        }
    }

    fn is_live(&self) -> bool {
        !matches!(self, Self::File(..))
    }

    fn take(&mut self, voice: &[f32], goes_on: &dyn Fn() -> bool) -> Result<()> {
        match self {
            Self::Device(playback) => playback.play(voice, goes_on).map(|_| ()),
            Self::File(_, _, samples) => {
                samples.extend(voice);
                Ok(())
            }
            Self::Output(stdout) => {
                let sample = |&sample: &f32| (Quantise::Round.apply(sample, 16) as i16).to_le_bytes();
                let bytes: Vec<u8> = voice.iter().flat_map(sample).collect();
                let written = stdout.write_all(&bytes).and_then(|()| stdout.flush());
                written.map_err(|error| Error::io("standard output", error))
            }
        }
    }

    fn finish(self, rate_hz: u32, args: &SpeakArgs, goes_on: &dyn Fn() -> bool) -> Result<()> {
        match self {
            Self::Device(mut playback) => {
                playback.finish(goes_on)?;
                playback.stop().map_or(Ok(()), Err)
            }
            Self::File(_, path, samples) if samples.is_empty() => {
                let what = format!("anything to say in {:?}", args.text);
                Err(Error::NotFound { what, hint: format!("{} was not written", path.display()) })
            }
            Self::File(container, path, samples) => {
                let encoding = Encoding::new(container, SampleFormat::Int(16), Quantise::Round)?;
                write(&path, &Recording { samples, sample_rate_hz: rate_hz }, encoding)
            }
            Self::Output(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_that_are_not_whole_yet_wait_and_those_that_are_none_do_not() {
        let mut bytes = "né".as_bytes()[..2].to_vec();
        assert_eq!(take_text(&mut bytes), "n");
        bytes.push(0xa9);
        assert_eq!(take_text(&mut bytes), "é");
        bytes.extend([b'a', 0xff, b'b']);
        assert_eq!(take_text(&mut bytes), "a\u{fffd}b");
        assert!(bytes.is_empty());
    }
}

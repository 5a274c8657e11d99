//! `syrinx live`: a microphone, a JACK port or a recording in, the voice out, block after block.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;

use super::conversion::{ModelArgs, ModelChoice, TrackerArgs, VoiceArgs};
use super::live_lines::{self, Sample};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::geometry::Timing;
use crate::io::live::{Backend, DeviceState, FileDevice, Pace};
use crate::io::write::{Container, Encoding, Quantise, SampleFormat};
use crate::live::{Session, SessionReport, SessionSettings};
use crate::nn::Cpu;
use crate::params::{ConversionParams, GateParams, LiveParams, Unvoiced};

/// Converts live audio.
#[derive(Args, Clone, Debug)]
pub struct LiveArgs {
    #[command(flatten)]
    voice: VoiceArgs,
    #[command(flatten)]
    tracker: TrackerArgs,
    #[command(flatten)]
    models: ModelArgs,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    timing: TimingArgs,
    #[command(flatten)]
    levels: LevelArgs,
    /// Record: a stereo wav with the input on the left and the output, aligned, on the right
    #[arg(long, value_name = "WAV")]
    record: Option<PathBuf>,
    /// Stop after so many seconds
    #[arg(long, value_name = "S")]
    duration: Option<f64>,
    /// Telemetry as JSON, one object a line, on standard output
    #[arg(long)]
    json_lines: bool,
    /// Seconds between two lines of telemetry
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    interval: f64,
}

/// Frames of a block of a recording.
const DEFAULT_BLOCK: u32 = 512;

/// The audio system that is taken unless another is named.
const DEFAULT_HOST: &str = if cfg!(feature = "cpal") {
    "default"
} else if cfg!(feature = "jack") {
    "jack"
} else {
    "file"
};

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Devices")]
struct DeviceArgs {
    /// Audio system: `file`, `jack`, `default`, or another that `syrinx devices` lists
    #[arg(long, value_name = "HOST", default_value = DEFAULT_HOST)]
    host: String,
    /// What to convert: a device, or with `--host file` a recording
    #[arg(long = "in", value_name = "INPUT")]
    input: Option<String>,
    /// Where it is heard: a device, or with `--host file` a wav or flac
    #[arg(long = "out", value_name = "OUTPUT")]
    output: Option<String>,
    /// Channel to convert, from 1
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    channel: u16,
    /// Frames of a device block to ask for
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    block: Option<u32>,
    /// Rate to ask for in Hz; without this, the device's own
    #[arg(long, value_name = "HZ")]
    rate: Option<u32>,
    /// With `--host file`: as fast as it goes, not as fast as it plays
    #[arg(long)]
    fast: bool,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Time")]
struct TimingArgs {
    /// New audio of each conversion in ms, 10 to 2000
    #[arg(long, value_name = "MS", default_value_t = 100.0)]
    chunk: f64,
    /// Past audio that the networks see in ms, 50 to 10000
    #[arg(long, value_name = "MS", default_value_t = 1000.0)]
    context: f64,
    /// Overlap in which chunks are joined in ms, 10 to 500
    #[arg(long, value_name = "MS", default_value_t = 40.0)]
    crossfade: f64,
    /// Time granted to convert a chunk in ms; without this, twice what it takes at the start
    #[arg(long, value_name = "MS")]
    budget: Option<f64>,
    /// Delay of the whole graph in ms, held to the sample: for pictures that go with the sound
    #[arg(long, value_name = "MS")]
    constant_delay: Option<f64>,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Levels")]
struct LevelArgs {
    /// Loudness: 0 follows the input, 1 is the voice's own
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    rms_mix_rate: f32,
    /// Gain of the input in dB, -60 to 36
    #[arg(long, value_name = "DB", default_value_t = 0.0, allow_negative_numbers = true)]
    input_gain: f32,
    /// Gain of the output in dB, -60 to 36
    #[arg(long, value_name = "DB", default_value_t = 0.0, allow_negative_numbers = true)]
    output_gain: f32,
    /// Noise gate that opens at this level in dB, -100 to 0
    #[arg(long, value_name = "DB", allow_negative_numbers = true)]
    gate: Option<f32>,
    /// Cut-off of a high-pass in Hz, 20 to 2000
    #[arg(long, value_name = "HZ", default_value_t = 0.0)]
    high_pass: f32,
    /// Share of the voice, 0 to 1; the rest is the input, delayed to match
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    mix: f32,
    /// Take steady noise out of the input, at one crossfade of delay
    #[arg(long)]
    denoise: bool,
}

impl LiveArgs {
    fn settings(&self) -> Result<SessionSettings> {
        self.voice.check()?;
        let seconds = |name: &str, ms: f64| {
            let range = 0.0..=60_000.0;
            if range.contains(&ms) { Ok(ms * 1e-3) } else { Err(Error::argument(name, "0 to 60000 ms", ms)) }
        };
        let duration =
            |name: &str, ms: Option<f64>| ms.map(|ms| seconds(name, ms).map(Duration::from_secs_f64)).transpose();
        let params = ConversionParams {
            rms_mix_rate: self.levels.rms_mix_rate,
            unvoiced: Unvoiced::Zero,
            ..self.voice.params(&self.tracker)
        };
        params.validate()?;
        let gate = GateParams::default();
        let live = LiveParams {
            input_gain_db: self.levels.input_gain,
            output_gain_db: self.levels.output_gain,
            high_pass_hz: self.levels.high_pass,
            gate: GateParams {
                on: self.levels.gate.is_some(),
                threshold_db: self.levels.gate.unwrap_or(gate.threshold_db),
                ..gate
            },
            mix: self.levels.mix,
            ..LiveParams::default()
        };
        live.validate()?;
        Ok(SessionSettings {
            timing: Timing {
                chunk: seconds("--chunk", self.timing.chunk)?,
                crossfade: seconds("--crossfade", self.timing.crossfade)?,
                context: seconds("--context", self.timing.context)?,
            },
            budget: duration("--budget", self.timing.budget)?,
            total_delay: duration("--constant-delay", self.timing.constant_delay)?,
            input: usize::from(self.device.channel) - 1,
            denoise: self.levels.denoise,
            record: self.record.clone(),
            params,
            live,
            ..SessionSettings::default()
        })
    }

    fn backend(&self) -> Result<Box<dyn Backend>> {
        match self.device.host.as_str() {
            "file" => Ok(Box::new(self.device.file()?)),
            #[cfg(feature = "jack")]
            "jack" => Ok(Box::new(self.device.jack())),
            #[cfg(feature = "cpal")]
            host => Ok(Box::new(self.device.sound_card(host))),
            #[cfg(not(feature = "cpal"))]
            host => {
                Err(Error::argument("--host", "one that this build has (`--features jack`, `--features cpal`)", host))
            }
        }
    }
}

impl DeviceArgs {
    fn file(&self) -> Result<FileDevice> {
        let path = |name: &str, value: &Option<String>| {
            let path = value.as_ref().map(PathBuf::from);
            path.ok_or_else(|| Error::argument(name, "a file, with --host file", "none"))
        };
        let (input, output) = (path("--in", &self.input)?, path("--out", &self.output)?);
        let container = Container::of(&output)
            .ok_or_else(|| Error::argument("--out", "a name that ends in .wav or .flac", output.display()))?;
        Ok(FileDevice {
            input,
            output,
            encoding: Encoding::new(container, SampleFormat::Int(16), Quantise::Round)?,
            block_frames: self.block.unwrap_or(DEFAULT_BLOCK) as usize,
            pace: if self.fast { Pace::AsFastAsPossible } else { Pace::Clock },
        })
    }

    #[cfg(feature = "jack")]
    fn jack(&self) -> crate::io::live::Jack {
        crate::io::live::Jack {
            client: "syrinx".into(),
            inputs: (1..=self.channel).map(|channel| format!("in_{channel}")).collect(),
            outputs: vec!["out_left".into(), "out_right".into()],
            capture: self.input.clone().into_iter().collect(),
            play: self.output.clone().into_iter().collect(),
        }
    }

    #[cfg(feature = "cpal")]
    fn sound_card(&self, host: &str) -> crate::io::live::SoundCard {
        use crate::io::live::{Choice, SoundCard};
        let choice = |name: &Option<String>| name.clone().map_or(Choice::Default, Choice::Named);
        SoundCard {
            host: (host != "default").then(|| host.to_owned()),
            input: choice(&self.input),
            output: choice(&self.output),
            rate_hz: self.rate,
            block_frames: self.block,
            input_channels: (0..usize::from(self.channel)).collect(),
            output_channels: Vec::new(),
        }
    }
}

/// Runs until the audio ends, the time is up, or the program is asked to stop.
///
/// # Errors
/// Arguments out of range, models or devices that are not there, files that cannot be written.
pub fn run(args: &LiveArgs) -> Result<()> {
    let settings = args.settings()?;
    let models = ModelChoice::new(&args.voice, &args.tracker, &args.models)?;
    let mut backend = args.backend()?;
    let interrupted = on_interrupt()?;
    let converter = Engine::<Cpu>::new(Default::default()).converter(&models.files()?)?;
    let mut session = Session::start(backend.as_mut(), converter, &settings)?;
    live_lines::tell_start(&session, args.json_lines)?;

    let interval = Duration::from_secs_f64(args.interval.clamp(0.05, 3600.0));
    let limit = args.duration.map(|seconds| Duration::from_secs_f64(seconds.max(0.0)));
    let started = Instant::now();
    let mut next = interval;
    loop {
        let running = started.elapsed();
        let over = interrupted.load(Ordering::Relaxed)
            || limit.is_some_and(|limit| running >= limit)
            || session.device().telemetry().state == DeviceState::Ended;
        while let Some(event) = session.next_event() {
            live_lines::tell_event(&event);
        }
        if over || running >= next {
            next = running + interval;
            live_lines::tell(&Sample::of(&mut session), args.json_lines)?;
        }
        if over {
            break;
        }
        std::thread::sleep(Duration::from_millis(10).min(interval));
    }
    finish(session.stop())
}

/// Says what became of the recording; the first problem is the error.
fn finish(report: SessionReport) -> Result<()> {
    let recording = report.recording.map(|recording| {
        let files: Vec<String> = recording.files.iter().map(|file| file.display().to_string()).collect();
        tracing::warn!("recorded {} frames, lost {}: {}", recording.frames, recording.lost_frames, files.join(", "));
        recording.failure.map_or(Ok(()), Err)
    });
    report.problem.map_or(Ok(()), Err)?;
    recording.unwrap_or(Ok(()))
}

/// A flag that an interrupt or a request to end sets, so that files are completed.
fn on_interrupt() -> Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = flag.clone();
    let handler = ctrlc::set_handler(move || set.store(true, Ordering::Relaxed));
    handler.map_err(|error| Error::io("the interrupt signal", std::io::Error::other(error)))?;
    Ok(flag)
}

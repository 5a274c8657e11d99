//! Arguments of `syrinx live`.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::midi::Binding;
use super::slots::SlotChoice;
use crate::cli::conversion::{ModelArgs, ModelChoice, TrackerArgs, VoiceArgs};
use crate::cli::device::{DeviceArgs, OutputArgs, TimingArgs, default_host, time};
use crate::error::{Error, Result};
use crate::geometry::Geometry;
use crate::io::live::{Backend, FileDevice, MidiInbox, Pace};
use crate::io::write::{Container, Encoding, Quantise, SampleFormat};
use crate::live::SessionSettings;
use crate::params::{ConversionParams, GateParams, HighPassParams, LiveParams, Unvoiced};
use crate::path::stream::JoinKind;

/// Converts live audio.
#[derive(Args, Clone, Debug)]
#[command(
    mut_arg("host", |host| host.default_value(default_host("file")).help(HOST_HELP)),
    mut_arg("input", |input| input.help("What to convert: a device, or with `--host file` a recording")),
    mut_arg("out", |out| out.help("Where it is heard: a device, or with `--host file` a wav or flac")),
    mut_arg("channel", |channel| channel.help("Channel to convert, from 1")),
    mut_arg("rate", |rate| rate.help("Rate to ask for in Hz; without this, the device's or the recording's own")),
)]
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
    more: MoreDeviceArgs,
    #[command(flatten)]
    timing: TimingArgs,
    #[command(flatten)]
    delay: DelayArgs,
    #[command(flatten)]
    levels: LevelArgs,
    #[command(flatten)]
    pub(super) remote: RemoteArgs,
    /// Another voice to change to while audio runs, with what is its own, as
    /// `VOICE,index=FILE,pitch=N,formant=N,speaker=N`. May be given many times; `--voice` is slot 1, these are 2, 3 and so on
    #[arg(long = "slot", value_name = "VOICE[,KEY=VALUE]...")]
    pub(super) slots: Vec<SlotChoice>,
    /// Record: a stereo wav with the input on the left and the output, aligned, on the right
    #[arg(long, value_name = "WAV")]
    pub(super) record: Option<PathBuf>,
    /// Write over files that are there
    #[arg(long)]
    force: bool,
    /// Stop after so many seconds
    #[arg(long, value_name = "S")]
    duration: Option<f64>,
    /// Telemetry as JSON, one object a line, on standard output
    #[arg(long)]
    json_lines: bool,
    /// Telemetry as lines of text, also where a terminal could show more
    #[arg(long, conflicts_with = "json_lines")]
    plain: bool,
    /// Seconds between two lines of telemetry
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    interval: f64,
}

/// Frames of a block of a recording.
const DEFAULT_BLOCK: u32 = 512;

const HOST_HELP: &str = "Audio system: `file`, `jack`, `default`, or another that `syrinx devices` lists";

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Devices")]
struct MoreDeviceArgs {
    /// Channel that plays the monitor, the input as the voice gets it, from 1; may be given many times. The others play
    /// the voice
    #[arg(long = "monitor", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    monitors: Vec<u16>,
    /// With `--host file`: as fast as it goes, not as fast as it plays
    #[arg(long)]
    fast: bool,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Time")]
struct DelayArgs {
    /// How chunks become one signal
    #[arg(long, value_enum, default_value_t = JoinArg::Seamless)]
    join: JoinArg,
    /// Time granted to convert a chunk in ms; without this, twice what it takes at the start
    #[arg(long, value_name = "MS")]
    budget: Option<f64>,
    /// Delay from the microphone to the loudspeaker in ms, held to the sample with what the device reports as its own:
    /// for pictures that go with the sound
    #[arg(long, value_name = "MS")]
    constant_delay: Option<f64>,
}

/// How chunks become one signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum JoinArg {
    /// Each goes on exactly where the last one ended
    Seamless,
    /// Shifted to where it resembles the last one and faded in, as the reference does
    Sola,
}

impl From<JoinArg> for JoinKind {
    fn from(join: JoinArg) -> Self {
        match join {
            JoinArg::Seamless => Self::Seamless,
            JoinArg::Sola => Self::Sola,
        }
    }
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
    /// High-pass with this cut-off in Hz, 20 to 2000
    #[arg(long, value_name = "HZ")]
    high_pass: Option<f32>,
    /// Level in dB that the limiter at the end never lets pass, -40 to 0
    #[arg(long, value_name = "DB", default_value_t = -1.0, allow_negative_numbers = true)]
    ceiling: f32,
    /// Share of the voice, 0 to 1; the rest is the input, delayed to match
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    mix: f32,
    /// Take steady noise out of the input, at one crossfade of delay
    #[arg(long)]
    denoise: bool,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Remote control")]
pub(super) struct RemoteArgs {
    /// Listen for OSC messages at this UDP address, as in 127.0.0.1:9000
    #[arg(long, value_name = "ADDRESS")]
    pub(super) osc: Option<SocketAddr>,
    /// Listen to MIDI: with `--host jack` to the server's ports that this pattern matches, else to the system's ports
    /// with this in their names; also to those that appear later
    #[arg(long, value_name = "PORT")]
    pub(super) midi: Option<String>,
    /// What a MIDI control does, as `cc1=mix`, `note60=transpose:+12` or `note36=slot:2`. May be given many times; without
    /// it, programs choose the slot, the sustain pedal bypasses and the soft pedal mutes
    #[arg(long, value_name = "EVENT=ACTION", requires = "midi")]
    pub(super) midi_map: Vec<Binding>,
    /// Serve metrics for Prometheus at this TCP address, as in 127.0.0.1:9100, under /metrics
    #[arg(long, value_name = "ADDRESS")]
    pub(super) metrics: Option<SocketAddr>,
}

/// How a session tells what happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// On the whole terminal.
    Screen,
    /// In lines for people.
    Plain,
    /// In lines for programs.
    Json,
}

impl LiveArgs {
    /// How the session tells what happens.
    #[must_use]
    pub fn manner(&self) -> Manner {
        let is_terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        match (self.json_lines, self.plain) {
            (true, _) => Manner::Json,
            (false, false) if cfg!(feature = "tui") && is_terminal && !is_dumb => Manner::Screen,
            _ => Manner::Plain,
        }
    }

    /// The recording that is the input, if one is.
    pub(super) fn input_file(&self) -> Option<PathBuf> {
        self.device.input.as_ref().filter(|_| self.host() == "file").map(PathBuf::from)
    }

    /// Whether the pitch shall be brought to the voice's own.
    pub(super) fn fits_pitch(&self) -> bool {
        self.voice.fits_pitch()
    }

    /// The voice of the first slot, with the other models.
    ///
    /// # Errors
    /// Files named by path that are not there.
    pub(super) fn models(&self) -> Result<ModelChoice> {
        ModelChoice::new(&self.voice, &self.tracker, &self.models)
    }

    /// Checked and put together.
    ///
    /// # Errors
    /// [`Error::Argument`] naming what is out of range.
    pub(super) fn settings(&self) -> Result<SessionSettings> {
        self.voice.check()?;
        let params = ConversionParams {
            rms_mix_rate: self.levels.rms_mix_rate,
            unvoiced: Unvoiced::Zero,
            ..self.voice.params(&self.tracker)
        };
        params.validate()?;
        let (gate, usual) = (GateParams::default(), LiveParams::default());
        let live = LiveParams {
            input_gain_db: self.levels.input_gain,
            output_gain_db: self.levels.output_gain,
            high_pass: HighPassParams {
                on: self.levels.high_pass.is_some(),
                cutoff_hz: self.levels.high_pass.unwrap_or(usual.high_pass.cutoff_hz),
            },
            ceiling_db: self.levels.ceiling,
            gate: GateParams {
                on: self.levels.gate.is_some(),
                threshold_db: self.levels.gate.unwrap_or(gate.threshold_db),
                ..gate
            },
            mix: self.levels.mix,
            monitor: !self.more.monitors.is_empty(),
            ..usual
        };
        live.validate()?;
        Ok(SessionSettings {
            timing: self.timing.timing(),
            join: self.delay.join.into(),
            budget: self.delay.budget.map(|ms| time("--budget", ms)).transpose()?,
            total_delay: self.delay.constant_delay.map(|ms| time("--constant-delay", ms)).transpose()?,
            input: usize::from(self.device.channel) - 1,
            monitors: self.more.monitors.iter().map(|&channel| usize::from(channel) - 1).collect(),
            denoise: self.levels.denoise,
            record: self.record.clone(),
            params,
            live,
            ..SessionSettings::default()
        })
    }

    /// The time after which it ends, and the time between two lines of telemetry.
    ///
    /// # Errors
    /// [`Error::Argument`] for times that no one waits for.
    pub(super) fn times(&self) -> Result<(Option<Duration>, Duration)> {
        let time = |name: &str, seconds: f64, range: RangeInclusive<f64>| {
            let expected = || format!("{} to {} seconds", range.start(), range.end());
            // Also refuses NaN.
            if !range.contains(&seconds) {
                return Err(Error::argument(name, expected(), seconds));
            }
            Ok(Duration::from_secs_f64(seconds))
        };
        let duration = self.duration.map(|seconds| time("--duration", seconds, 0.0..=1e7)).transpose()?;
        Ok((duration, time("--interval", self.interval, 0.05..=3600.0)?))
    }

    /// Whether what is written takes the place of nothing that shall be kept.
    ///
    /// # Errors
    /// [`Error::Argument`] for a file that is there, without `--force`, and for one file with two purposes.
    pub(super) fn check_files(&self) -> Result<()> {
        let is_file = self.host() == "file";
        let file = |name: &Option<String>| name.as_ref().filter(|_| is_file).map(PathBuf::from);
        let read = file(&self.device.input);
        let written = [("--out", file(&self.device.output.out)), ("--record", self.record.clone())];
        let mut taken: Vec<PathBuf> = read.iter().map(|path| place_of(path)).collect();
        for (name, path) in written.into_iter().filter_map(|(name, path)| Some((name, path?))) {
            let place = place_of(&path);
            if taken.contains(&place) {
                return Err(Error::argument(name, "a file of its own", path.display()));
            }
            if path.exists() && !self.force {
                return Err(Error::argument(name, "a file that does not exist yet, or --force", path.display()));
            }
            taken.push(place);
        }
        Ok(())
    }

    /// Whether the audio system brings MIDI, too.
    pub(super) fn carries_midi(&self) -> bool {
        self.host() == "jack"
    }

    /// The audio system's name.
    pub(super) fn host(&self) -> &str {
        &self.device.output.host
    }

    /// What leads to the device, whose MIDI ports are heard in `midi` if it has such ports.
    ///
    /// # Errors
    /// [`Error::Argument`] for an audio system that this build lacks, or files that are not named as they must be.
    #[cfg_attr(not(feature = "jack"), expect(unused_variables, reason = "JACK alone carries both"))]
    pub(super) fn backend(&self, midi: &Arc<MidiInbox>) -> Result<Box<dyn Backend>> {
        match self.host() {
            "file" => Ok(Box::new(self.file()?)),
            #[cfg(feature = "jack")]
            "jack" => {
                let midi = self.remote.midi.clone().map(|pattern| (pattern, midi.clone()));
                Ok(Box::new(self.jack(midi)))
            }
            _ => self.device.sound_card(),
        }
    }

    fn file(&self) -> Result<FileDevice> {
        let OutputArgs { out, block, rate, .. } = &self.device.output;
        let path = |name: &str, value: &Option<String>| {
            let path = value.as_ref().map(PathBuf::from);
            path.ok_or_else(|| Error::argument(name, "a file, with --host file", "none"))
        };
        let (input, output) = (path("--in", &self.device.input)?, path("--out", out)?);
        let container = Container::of(&output)
            .ok_or_else(|| Error::argument("--out", "a name that ends in .wav or .flac", output.display()))?;
        if let Some(rate_hz) = rate.filter(|rate_hz| !Geometry::takes_rate(*rate_hz)) {
            return Err(Error::argument("--rate", Geometry::RATES, rate_hz));
        }
        Ok(FileDevice {
            input,
            output,
            encoding: Encoding::new(container, SampleFormat::Int(16), Quantise::Round)?,
            rate_hz: *rate,
            block_frames: block.unwrap_or(DEFAULT_BLOCK) as usize,
            pace: if self.more.fast { Pace::AsFastAsPossible } else { Pace::Clock },
        })
    }

    #[cfg(feature = "jack")]
    fn jack(&self, midi: Option<(String, Arc<MidiInbox>)>) -> crate::io::live::Jack {
        let monitors = &self.more.monitors;
        let channels = monitors.iter().copied().max().unwrap_or(0).max(2);
        let output = |channel: u16| match (monitors.contains(&channel), channel) {
            (true, _) => format!("monitor_{channel}"),
            (false, 1) => "out_left".into(),
            (false, 2) => "out_right".into(),
            (false, _) => format!("out_{channel}"),
        };
        crate::io::live::Jack { outputs: (1..=channels).map(output).collect(), midi, ..self.device.jack("syrinx") }
    }
}

/// Where a file is or will be, whatever leads there.
fn place_of(path: &Path) -> PathBuf {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = parent.canonicalize().unwrap_or_else(|_| parent.to_owned());
    path.canonicalize().unwrap_or_else(|_| folder.join(path.file_name().unwrap_or_default()))
}

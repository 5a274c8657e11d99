//! Arguments that choose devices and the lengths of chunks, shared by `live`, `latency` and `speak`.

use std::time::Duration;

use clap::Args;

use crate::error::{Error, Result};
use crate::geometry::Timing;
use crate::io::live::Backend;

/// The audio system that is taken unless another is named; `otherwise` where the build has none.
pub const fn default_host(otherwise: &'static str) -> &'static str {
    if cfg!(feature = "cpal") {
        "default"
    } else if cfg!(feature = "jack") {
        "jack"
    } else {
        otherwise
    }
}

/// Where audio is heard.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Devices")]
pub struct OutputArgs {
    /// Audio system: `jack`, `default`, or another that `syrinx devices` lists
    #[arg(long, value_name = "HOST", default_value = default_host("jack"))]
    pub host: String,
    /// Device that plays
    #[arg(long, value_name = "OUTPUT")]
    pub out: Option<String>,
    /// Frames of a device block to ask for
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub block: Option<u32>,
    /// Rate to ask for in Hz; without this, the device's own
    #[arg(long, value_name = "HZ")]
    pub rate: Option<u32>,
}

/// Where audio comes from, and where it is heard.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Devices")]
pub struct DeviceArgs {
    #[command(flatten)]
    pub output: OutputArgs,
    /// Device that captures
    #[arg(long = "in", value_name = "INPUT")]
    pub input: Option<String>,
    /// Channel that captures, from 1
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub channel: u16,
}

impl OutputArgs {
    /// A client of a JACK server with a stereo output and no input.
    #[cfg(feature = "jack")]
    pub fn jack(&self, client: &str) -> crate::io::live::Jack {
        crate::io::live::Jack {
            client: client.into(),
            inputs: Vec::new(),
            outputs: vec!["out_left".into(), "out_right".into()],
            capture: Vec::new(),
            play: self.out.clone().into_iter().collect(),
            midi: None,
        }
    }

    /// A sound card that plays and captures nothing.
    ///
    /// # Errors
    /// [`Error::Argument`] for an audio system that this build lacks.
    #[cfg(feature = "service")]
    #[cfg_attr(feature = "cpal", expect(clippy::unnecessary_wraps, reason = "other builds have no sound cards"))]
    pub fn sound_card(&self) -> Result<Box<dyn Backend>> {
        #[cfg(feature = "cpal")]
        return Ok(Box::new(self.card()));
        #[cfg(not(feature = "cpal"))]
        Err(self.unknown_host())
    }

    #[cfg(feature = "cpal")]
    fn card(&self) -> crate::io::live::SoundCard {
        use crate::io::live::{Choice, SoundCard};
        SoundCard {
            host: (self.host != "default").then(|| self.host.clone()),
            input: Choice::None,
            output: choice(self.out.as_ref()),
            rate_hz: self.rate,
            block_frames: self.block,
            input_channels: Vec::new(),
            output_channels: Vec::new(),
        }
    }

    #[cfg(not(feature = "cpal"))]
    fn unknown_host(&self) -> Error {
        Error::argument("--host", "one that this build has (`--features jack`, `--features cpal`)", &self.host)
    }
}

impl DeviceArgs {
    /// A client of a JACK server that also has an input for each channel up to the one asked for.
    #[cfg(feature = "jack")]
    pub fn jack(&self, client: &str) -> crate::io::live::Jack {
        crate::io::live::Jack {
            inputs: (1..=self.channel).map(|channel| format!("in_{channel}")).collect(),
            capture: self.input.clone().into_iter().collect(),
            ..self.output.jack(client)
        }
    }

    /// A sound card that plays and captures.
    ///
    /// # Errors
    /// [`Error::Argument`] for an audio system that this build lacks.
    #[cfg_attr(feature = "cpal", expect(clippy::unnecessary_wraps, reason = "other builds have no sound cards"))]
    pub fn sound_card(&self) -> Result<Box<dyn Backend>> {
        #[cfg(feature = "cpal")]
        return Ok(Box::new(crate::io::live::SoundCard {
            input: choice(self.input.as_ref()),
            input_channels: (0..usize::from(self.channel)).collect(),
            ..self.output.card()
        }));
        #[cfg(not(feature = "cpal"))]
        Err(self.output.unknown_host())
    }
}

#[cfg(feature = "cpal")]
fn choice(name: Option<&String>) -> crate::io::live::Choice {
    use crate::io::live::Choice;
    name.cloned().map_or(Choice::Default, Choice::Named)
}

/// How long chunks and what surrounds them are.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Time")]
pub struct TimingArgs {
    /// New audio of each conversion in ms, 10 to 2000
    #[arg(long, value_name = "MS", default_value_t = 100.0)]
    chunk: f64,
    /// Past audio that the networks see in ms, 50 to 10000
    #[arg(long, value_name = "MS", default_value_t = 1000.0)]
    context: f64,
    /// Overlap in which chunks are joined in ms, 10 to 500
    #[arg(long, value_name = "MS", default_value_t = 40.0)]
    crossfade: f64,
}

impl TimingArgs {
    /// In seconds; the ranges are checked where the sizes are derived.
    pub fn timing(&self) -> Timing {
        Timing { chunk: self.chunk * 1e-3, crossfade: self.crossfade * 1e-3, context: self.context * 1e-3 }
    }
}

/// `ms` milliseconds, the value of the argument `name`.
///
/// # Errors
/// [`Error::Argument`] for a time that is longer than a minute, negative or none.
pub fn time(name: &str, ms: f64) -> Result<Duration> {
    // Also refuses NaN.
    if (0.0..=60_000.0).contains(&ms) {
        Ok(Duration::from_secs_f64(ms * 1e-3))
    } else {
        Err(Error::argument(name, "0 to 60000 ms", ms))
    }
}

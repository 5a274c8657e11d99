//! Formats of results: wav and flac by Syrinx itself, the others by ffmpeg where it is installed.

use std::path::Path;
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::error::{Error, Result};
use crate::io::read::read;
use crate::io::write::{Container, Encoding, Quantise, SampleFormat, write};

/// Time that ffmpeg may take.
const PATIENCE: Duration = Duration::from_mins(2);

/// A format of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// RIFF wave.
    Wav,
    /// Free lossless audio codec.
    Flac,
    /// MPEG layer 3.
    Mp3,
    /// Vorbis in Ogg.
    Ogg,
    /// AAC in MP4.
    M4a,
    /// Opus in Ogg.
    Opus,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 6] = [Self::Wav, Self::Mp3, Self::Ogg, Self::Flac, Self::M4a, Self::Opus];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Wav => "wav",
            Self::Flac => "flac",
            Self::Mp3 => "mp3",
            Self::Ogg => "ogg",
            Self::M4a => "m4a",
            Self::Opus => "opus",
        }
    }

    /// The format of this name.
    ///
    /// # Errors
    /// None of this name, or none that this machine can write.
    pub fn named(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|format| format.name() == name);
        let found = found.ok_or_else(|| Error::argument("format", "wav, mp3, ogg, flac, m4a or opus", name))?;
        if found.is_available() {
            return Ok(found);
        }
        Err(Error::argument("format", "wav or flac, since ffmpeg is not installed here", name))
    }

    /// Whether this machine can write it.
    #[must_use]
    pub fn is_available(self) -> bool {
        matches!(self, Self::Wav | Self::Flac) || has_ffmpeg()
    }

    /// Its media type.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Wav => "audio/wav",
            Self::Flac => "audio/flac",
            Self::Mp3 => "audio/mpeg",
            Self::Ogg => "audio/ogg",
            Self::M4a => "audio/mp4",
            Self::Opus => "audio/ogg; codecs=opus",
        }
    }

    /// What ffmpeg is told.
    fn codec(self) -> [&'static str; 4] {
        match self {
            Self::Wav => ["-c:a", "pcm_s16le", "-f", "wav"],
            Self::Flac => ["-c:a", "flac", "-f", "flac"],
            Self::Mp3 => ["-c:a", "libmp3lame", "-f", "mp3"],
            Self::Ogg => ["-c:a", "libvorbis", "-f", "ogg"],
            Self::M4a => ["-c:a", "aac", "-f", "ipod"],
            Self::Opus => ["-c:a", "libopus", "-f", "opus"],
        }
    }
}

fn has_ffmpeg() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    let found = || {
        std::env::var_os("PATH")
            .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join("ffmpeg").is_file()))
    };
    *FOUND.get_or_init(found)
}

fn ffmpeg() -> Command {
    let mut command = Command::new("ffmpeg");
    command.args(["-hide_banner", "-loglevel", "error", "-y"]).kill_on_drop(true);
    command
}

/// A wav in another format.
///
/// # Errors
/// What the disk or ffmpeg reports.
pub async fn encode(wav: Vec<u8>, format: Format) -> Result<Vec<u8>> {
    if format == Format::Wav {
        return Ok(wav);
    }
    let folder = tempfile::tempdir().map_err(|source| Error::io("the folder for temporary files", source))?;
    let (input, output) = (folder.path().join("in.wav"), folder.path().join("out"));
    std::fs::write(&input, wav).map_err(|source| Error::io(&input, source))?;
    if format == Format::Flac {
        let (input, output) = (input.clone(), output.clone());
        let encoded = tokio::task::spawn_blocking(move || encode_flac(&input, &output)).await;
        encoded.map_err(|error| Error::server("flac", error, "this is a fault of Syrinx"))??;
    } else {
        let run = ffmpeg().arg("-i").arg(&input).args(format.codec()).arg(&output).stdin(Stdio::null()).output();
        let late = |_| Error::server("ffmpeg", "takes too long", "try wav or flac");
        let run = tokio::time::timeout(PATIENCE, run).await.map_err(late)?;
        let run = run.map_err(|error| Error::server("ffmpeg", error, "install it"))?;
        if !run.status.success() {
            let told = String::from_utf8_lossy(&run.stderr).trim().to_owned();
            return Err(Error::server("ffmpeg", run.status, format!("it says: {told}")));
        }
    }
    std::fs::read(&output).map_err(|source| Error::io(&output, source))
}

fn encode_flac(input: &Path, output: &Path) -> Result<()> {
    let recording = read(input)?.recording;
    write(output, &recording, Encoding::new(Container::Flac, SampleFormat::Int(16), Quantise::Round)?)
}

/// A running ffmpeg that takes raw PCM of 16 bits and gives a format as it comes.
///
/// # Errors
/// ffmpeg cannot be started.
pub fn streaming(format: Format, rate_hz: u32) -> Result<Child> {
    let rate = rate_hz.to_string();
    let mut command = ffmpeg();
    command.args(["-f", "s16le", "-ar", &rate, "-ac", "1", "-i", "pipe:0"]).args(format.codec());
    command.args(["-flush_packets", "1", "pipe:1"]);
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().map_err(|error| Error::server("ffmpeg", error, "install it"))
}

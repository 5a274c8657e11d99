//! Writing recordings as wav or flac, so that a half-written file is never seen under its name.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use flacenc::component::BitRepr;
use flacenc::error::Verify;

use crate::error::{Error, Result};
use crate::units::Recording;

/// A container that can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Container {
    /// RIFF wave.
    Wav,
    /// Free lossless audio codec.
    Flac,
}

impl Container {
    /// The container that the extension of `path` names, if any.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "wav" | "wave" => Some(Self::Wav),
            "flac" => Some(Self::Flac),
            _ => None,
        }
    }

    /// Its usual file-name extension.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Wav => "wav",
            Self::Flac => "flac",
        }
    }
}

/// How a sample is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleFormat {
    /// Signed integers of this many bits: 16, 24 or, in wav only, 32.
    Int(u16),
    /// 32-bit floating point, in wav only.
    Float,
}

/// How a sample becomes an integer. No dither is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Quantise {
    /// To the nearest: half a step of error at most.
    #[default]
    Round,
    /// Towards zero, as the reference writes its files.
    TruncateToZero,
}

impl Quantise {
    /// The integer of `bits` bits for `sample`, full scale at -1..1, clamped to what the bits can hold.
    #[must_use]
    pub fn apply(self, sample: f32, bits: u16) -> i32 {
        let full_scale = (1_i64 << (bits - 1)) as f64;
        let scaled = f64::from(sample) * full_scale;
        let whole = match self {
            Self::Round => scaled.round(),
            Self::TruncateToZero => scaled.trunc(),
        };
        whole.clamp(-full_scale, full_scale - 1.0) as i32
    }
}

/// What a file shall hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// The container.
    pub container: Container,
    /// The stored sample.
    pub format: SampleFormat,
    /// The rounding, where samples are integers.
    pub quantise: Quantise,
}

impl Encoding {
    /// An encoding that its container can hold.
    ///
    /// # Errors
    /// [`Error::Argument`] for flac of more than 24 bits or in floating point, and for other depths than 16, 24, 32.
    pub fn new(container: Container, format: SampleFormat, quantise: Quantise) -> Result<Self> {
        match (container, format) {
            (_, SampleFormat::Int(16 | 24)) | (Container::Wav, SampleFormat::Int(32) | SampleFormat::Float) => {
                Ok(Self { container, format, quantise })
            }
            (Container::Flac, _) => Err(Error::argument("bits", "16 or 24 in a flac file", describe(format))),
            (Container::Wav, _) => Err(Error::argument("bits", "16, 24, 32 or float", describe(format))),
        }
    }

    /// Checks that the container holds samples at this rate.
    ///
    /// # Errors
    /// [`Error::Argument`] for flac above 96 kHz.
    pub fn check_rate(self, rate_hz: u32) -> Result<()> {
        if self.container == Container::Flac && rate_hz > MAX_FLAC_RATE_HZ {
            let expected =
                format!("at most {MAX_FLAC_RATE_HZ} Hz in a flac file; wav holds more, or see --output-rate");
            return Err(Error::argument("sample rate", expected, rate_hz));
        }
        Ok(())
    }
}

fn describe(format: SampleFormat) -> String {
    match format {
        SampleFormat::Int(bits) => bits.to_string(),
        SampleFormat::Float => "float".into(),
    }
}

/// Writes `recording` to `path`, as one channel.
///
/// # Errors
/// [`Error::Io`] if the file cannot be written; `path` then is as it was before.
pub fn write(path: &Path, recording: &Recording, encoding: Encoding) -> Result<()> {
    match encoding.container {
        Container::Wav => write_aside(path, |file| write_wav(file, recording, encoding)),
        Container::Flac => {
            let bytes = encode_flac(path, recording, encoding)?;
            write_aside(path, |file| file.write_all(&bytes))
        }
    }
}

/// Writes a file beside `path` with `fill` and, when it is whole and on disk, gives it the name `path`.
///
/// A link stays, and the file it leads to is replaced; a device or pipe stays, and gets the bytes once all are there.
///
/// # Errors
/// [`Error::Io`] if any step fails; `path` then is as it was before and nothing is left beside it.
pub fn write_aside(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<tempfile::NamedTempFile>) -> std::io::Result<()>,
) -> Result<()> {
    let failed = |source| Error::io(path, source);
    let target = Target::of(path);
    let mut writer = BufWriter::new(target.aside(".tmp")?);
    fill(&mut writer).map_err(failed)?;
    target.receive(writer.into_inner().map_err(|error| failed(error.into_error()))?)
}

/// The same for a writer that opens the file itself, by a name that ends in `suffix`.
///
/// # Errors
/// What `fill` says, or [`Error::Io`].
pub fn write_aside_by_name(path: &Path, suffix: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let target = Target::of(path);
    let unnamed = target.aside(suffix)?;
    fill(unnamed.path())?;
    target.receive(unnamed)
}

/// Whether `path` leads to something that holds no bytes of its own: a device, a pipe or a socket.
#[must_use]
pub fn is_stream(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

/// Whether a file of this name is one that was not finished, and is left over if no one writes it.
#[must_use]
pub fn is_unfinished(name: &str) -> bool {
    name.starts_with(UNFINISHED)
}

/// What the names of unfinished files begin with.
const UNFINISHED: &str = ".syrinx-";

/// Where a finished file goes.
enum Target {
    /// It gets this name, which is no link.
    Name(PathBuf),
    /// Its bytes go into this device or pipe.
    Stream(PathBuf),
}

impl Target {
    fn of(path: &Path) -> Self {
        if is_stream(path) {
            return Self::Stream(path.to_owned());
        }
        Self::Name(end_of_links(path))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Name(path) | Self::Stream(path) => path,
        }
    }

    /// A new file beside the target, or for a stream among the temporary ones; it vanishes when dropped.
    fn aside(&self, suffix: &str) -> Result<tempfile::NamedTempFile> {
        let folder = match self {
            Self::Name(path) => match path.parent() {
                Some(parent) if parent != Path::new("") => parent.to_owned(),
                _ => PathBuf::from("."),
            },
            Self::Stream(_) => std::env::temp_dir(),
        };
        let mut builder = tempfile::Builder::new();
        builder.prefix(UNFINISHED).suffix(suffix);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // What the user's umask leaves of it, as for any new file.
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        builder.tempfile_in(folder).map_err(|source| Error::io(self.path(), source))
    }

    /// Takes a finished file.
    fn receive(&self, file: tempfile::NamedTempFile) -> Result<()> {
        let failed = |source| Error::io(self.path(), source);
        match self {
            Self::Name(path) => {
                file.as_file().sync_all().map_err(failed)?;
                file.persist(path).map_err(|error| failed(error.error))?;
            }
            Self::Stream(path) => {
                let mut from = std::fs::File::open(file.path()).map_err(failed)?;
                let mut to = std::fs::OpenOptions::new().write(true).open(path).map_err(failed)?;
                std::io::copy(&mut from, &mut to).map_err(failed)?;
            }
        }
        Ok(())
    }
}

/// The name that links at `path` lead to, whether there is a file or not.
fn end_of_links(path: &Path) -> PathBuf {
    /// As many as Linux follows.
    const MOST_LINKS: usize = 40;
    let mut end = path.to_owned();
    for _ in 0..MOST_LINKS {
        let Ok(target) = std::fs::read_link(&end) else { break };
        end = end.parent().map_or(target.clone(), |folder| folder.join(&target));
    }
    end
}

fn write_wav(
    file: &mut BufWriter<tempfile::NamedTempFile>,
    recording: &Recording,
    encoding: Encoding,
) -> std::io::Result<()> {
    let (bits_per_sample, sample_format) = match encoding.format {
        SampleFormat::Int(bits) => (bits, hound::SampleFormat::Int),
        SampleFormat::Float => (32, hound::SampleFormat::Float),
    };
    let spec = hound::WavSpec { channels: 1, sample_rate: recording.sample_rate_hz, bits_per_sample, sample_format };
    let mut writer = hound::WavWriter::new(file, spec).map_err(wav_error)?;
    for &sample in &recording.samples {
        match encoding.format {
            SampleFormat::Int(bits) => writer.write_sample(encoding.quantise.apply(sample, bits)),
            SampleFormat::Float => writer.write_sample(sample),
        }
        .map_err(wav_error)?;
    }
    writer.finalize().map_err(wav_error)
}

fn wav_error(error: hound::Error) -> std::io::Error {
    match error {
        hound::Error::IoError(source) => source,
        other => std::io::Error::other(other),
    }
}

/// Highest rate that a flac file holds here, in Hz.
const MAX_FLAC_RATE_HZ: u32 = 96_000;

fn encode_flac(path: &Path, recording: &Recording, encoding: Encoding) -> Result<Vec<u8>> {
    let failed = |error: String| Error::io(path, std::io::Error::other(error));
    let SampleFormat::Int(bits) = encoding.format else {
        return Err(Error::argument("bits", "16 or 24 in a flac file", describe(encoding.format)));
    };
    let samples: Vec<i32> = recording.samples.iter().map(|&sample| encoding.quantise.apply(sample, bits)).collect();
    let config = flacenc::config::Encoder::default().into_verified().map_err(|(_, error)| failed(error.to_string()))?;
    let rate = recording.sample_rate_hz as usize;
    let source = flacenc::source::MemSource::from_samples(&samples, 1, usize::from(bits), rate);
    let mut stream = flacenc::encode_with_fixed_block_size(&config, source, config.block_size)
        .map_err(|error| failed(error.to_string()))?;
    // All blocks but the last have this size; the encoder notes the last one's as the smallest, and readers then
    // take the stream for one of varying block sizes.
    let block = config.block_size;
    stream.stream_info_mut().set_block_sizes(block, block).map_err(|error| failed(error.to_string()))?;
    let mut sink = flacenc::bitsink::ByteSink::new();
    stream.write(&mut sink).map_err(|error| failed(error.to_string()))?;
    Ok(sink.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::read::read;

    fn ramp() -> Recording {
        let samples = (0..10_000).map(|n| (n as f32 * 0.01).sin() * 0.7 + (n as f32 * 0.71).sin() * 0.2).collect();
        Recording { samples, sample_rate_hz: 40_000 }
    }

    fn worst_difference(format: SampleFormat, container: Container, quantise: Quantise) -> f32 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(format!("out.{}", container.extension()));
        let recording = ramp();
        write(&path, &recording, Encoding::new(container, format, quantise).unwrap()).unwrap();
        let back = read(&path).unwrap();
        assert_eq!((back.channels, back.recording.sample_rate_hz), (1, 40_000));
        assert_eq!(back.recording.samples.len(), recording.samples.len());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "something was left beside the output");
        let pairs = recording.samples.iter().zip(&back.recording.samples);
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn what_is_written_reads_back_within_half_a_step() {
        for container in [Container::Wav, Container::Flac] {
            for bits in [16, 24] {
                let step = 2_f32.powi(1 - i32::from(bits));
                let worst = worst_difference(SampleFormat::Int(bits), container, Quantise::Round);
                assert!(worst <= step * 0.5 + 1e-7, "{container:?} {bits}: {worst}");
            }
        }
        assert!(worst_difference(SampleFormat::Int(32), Container::Wav, Quantise::Round) < 1e-7);
        assert!(worst_difference(SampleFormat::Float, Container::Wav, Quantise::Round) == 0.0);
    }

    #[test]
    fn truncation_goes_towards_zero_on_both_sides() {
        let step = 1.0 / 32_768.0;
        assert_eq!(Quantise::TruncateToZero.apply(2.9 * step, 16), 2);
        assert_eq!(Quantise::TruncateToZero.apply(-2.9 * step, 16), -2);
        assert_eq!(Quantise::Round.apply(-2.9 * step, 16), -3);
        assert_eq!(Quantise::Round.apply(1.5, 16), 32_767);
        assert_eq!(Quantise::Round.apply(-1.5, 24), -8_388_608);
        assert_eq!(Quantise::Round.apply(1.0, 32), i32::MAX);
    }

    #[test]
    fn a_failed_write_keeps_the_file_that_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kept.wav");
        std::fs::write(&path, b"before").unwrap();
        let result = write_aside(&path, |file| {
            file.write_all(b"half of the new")?;
            Err(std::io::Error::other("disk full"))
        });
        assert!(result.unwrap_err().to_string().contains("disk full"));
        assert_eq!(std::fs::read(&path).unwrap(), b"before");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    /// What a writer of "new" leaves at `path`.
    #[cfg(unix)]
    fn written(path: &Path) {
        write_aside(path, |file| file.write_all(b"new")).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_and_what_it_leads_to_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("deep")).unwrap();
        std::fs::write(path("deep/old"), b"old").unwrap();
        for (link, target) in [("there", "deep/old"), ("again", "there"), ("nowhere", "deep/absent")] {
            std::os::unix::fs::symlink(target, path(link)).unwrap();
        }
        for (link, end) in [("again", "deep/old"), ("nowhere", "deep/absent")] {
            written(&path(link));
            assert!(std::fs::symlink_metadata(path(link)).unwrap().is_symlink(), "{link} was replaced");
            assert_eq!(std::fs::read(path(end)).unwrap(), b"new");
        }
        assert_eq!(std::fs::read_dir(path("deep")).unwrap().count(), 2, "something was left beside the output");
    }

    #[cfg(unix)]
    #[test]
    fn devices_and_pipes_get_the_bytes_and_stay() {
        use std::os::unix::fs::FileTypeExt;
        let null = Path::new("/dev/null");
        assert!(is_stream(null) && !is_stream(Path::new("/dev")) && !is_stream(Path::new("Cargo.toml")));
        written(null);
        assert!(std::fs::metadata(null).unwrap().file_type().is_char_device());
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || std::fs::read(pipe).unwrap()
        });
        written(&pipe);
        assert_eq!(reader.join().unwrap(), b"new");
        assert!(std::fs::metadata(&pipe).unwrap().file_type().is_fifo());
    }

    #[test]
    fn flac_refuses_rates_it_cannot_hold() {
        let flac = Encoding::new(Container::Flac, SampleFormat::Int(16), Quantise::Round).unwrap();
        flac.check_rate(96_000).unwrap();
        let error = flac.check_rate(192_000).unwrap_err().to_string();
        assert!(error.contains("at most 96000 Hz in a flac file") && error.ends_with("found 192000"), "{error}");
        let wav = Encoding::new(Container::Wav, SampleFormat::Int(16), Quantise::Round).unwrap();
        wav.check_rate(192_000).unwrap();
        // Every rate that passes is one the encoder takes.
        let folder = tempfile::tempdir().unwrap();
        for rate_hz in [8_000, 44_100, 96_000] {
            let recording = Recording { samples: vec![0.25; 5000], sample_rate_hz: rate_hz };
            write(&folder.path().join("a.flac"), &recording, flac).unwrap();
        }
    }

    #[test]
    fn flac_refuses_what_it_cannot_hold() {
        for format in [SampleFormat::Int(32), SampleFormat::Float] {
            let error = Encoding::new(Container::Flac, format, Quantise::Round).unwrap_err();
            assert!(error.to_string().contains("16 or 24 in a flac file"), "{error}");
        }
        assert!(Encoding::new(Container::Wav, SampleFormat::Int(8), Quantise::Round).is_err());
    }
}

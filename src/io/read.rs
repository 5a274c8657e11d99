//! Reading recordings: any container, rate and channel count that symphonia knows, down-mixed to one channel.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error as DecodeError;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::MetadataOptions;

use super::edit_list;
use crate::error::{Error, Result};
use crate::units::{Recording, SAMPLE_RATES_HZ};

/// File-name extensions of the formats that can be read, in lower case.
pub const READABLE_EXTENSIONS: [&str; 13] =
    ["wav", "wave", "flac", "mp3", "ogg", "oga", "m4a", "m4b", "mp4", "aac", "aif", "aiff", "aifc"];

/// Most samples per channel in one recording: 6 hours at 48 kHz, 4 GiB as `f32`.
const MOST_SAMPLES: usize = 1 << 30;

/// A decoded file.
#[derive(Clone, Debug, PartialEq)]
pub struct AudioFile {
    /// The mean of all channels, at the file's own rate.
    pub recording: Recording,
    /// Channels in the file.
    pub channels: usize,
    /// Packets that could not be decoded and were skipped.
    pub damaged_packets: usize,
}

/// Whether `path` is named like a recording that [`read`] may open.
#[must_use]
pub fn is_readable_name(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).map(str::to_ascii_lowercase);
    extension.is_some_and(|extension| READABLE_EXTENSIONS.contains(&extension.as_str()))
}

/// Decodes the first audio track of `path`.
///
/// The file's content decides the format, its name only helps. Encoder delay and padding are trimmed where symphonia
/// reads them (mp3, ogg) and by the edit list of an m4a. Damaged packets are skipped and counted; a file that breaks off
/// gives what came before. Samples that are not finite become 0. Memory grows with what was decoded, never with what a header claims.
///
/// # Errors
/// [`Error::Io`] if the file cannot be opened, [`Error::Format`] if it holds no audio that can be decoded,
/// [`Error::Limit`] if it decodes to more than 2^30 samples per channel.
pub fn read(path: &Path) -> Result<AudioFile> {
    read_at_most(path, MOST_SAMPLES)
}

/// The same for a file from a stranger, who may have packed hours of silence into little.
///
/// # Errors
/// As [`read`], with [`Error::Limit`] at `most_samples` samples per channel.
pub fn read_at_most(path: &Path, most_samples: usize) -> Result<AudioFile> {
    let (mut reader, mut decoder, track_id) = open(path)?;
    let mut mix = DownMix::new(path, most_samples.min(MOST_SAMPLES));
    loop {
        let packet = match reader.next_packet() {
            Ok(Some(packet)) => packet,
            Ok(None) => break,
            Err(error) => {
                mix.damaged_packets += 1;
                tracing::warn!("{}: breaks off after {} samples: {error}", path.display(), mix.samples.len());
                break;
            }
        };
        if packet.track_id != track_id {
            continue;
        }
        match decoder.decode(&packet) {
            Ok(buffer) => {
                buffer.copy_to_vec_interleaved(&mut mix.interleaved);
                mix.append(buffer.spec().rate(), buffer.spec().channels().count())?;
            }
            Err(DecodeError::IoError(_) | DecodeError::DecodeError(_)) => mix.damaged_packets += 1,
            Err(error) => return Err(refused(path, &error)),
        }
    }
    mix.finish()
}

/// The container, its audio track's decoder and that track's number.
type Opened = (Box<dyn FormatReader>, Box<dyn AudioDecoder>, u32);

/// Finds the format, the first audio track and its decoder.
fn open(path: &Path) -> Result<Opened> {
    let file = File::open(path).map_err(|source| Error::io(path, source))?;
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err(Error::format(path, "an audio file", "a folder"));
    }
    let stream = MediaSourceStream::new(Box::new(file), MediaSourceStreamOptions::default());
    let mut hint = Hint::new();
    if let Some(extension) = path.extension().and_then(|extension| extension.to_str()) {
        hint.with_extension(extension);
    }
    let reader = symphonia::default::get_probe()
        .probe(&hint, stream, FormatOptions::default(), MetadataOptions::default())
        .map_err(|error| refused(path, &error))?;
    let no_audio = || Error::format(path, "an audio track", "none");
    let track = reader.first_track_known_codec(TrackType::Audio).or(reader.first_track(TrackType::Audio));
    let track = track.ok_or_else(no_audio)?;
    let codec = track.codec_params.as_ref().and_then(|codec| codec.audio()).ok_or_else(no_audio)?;
    let decoder = symphonia::default::get_codecs()
        .make_audio_decoder(codec, &AudioDecoderOptions::default().gapless(true))
        .map_err(|error| refused(path, &error))?;
    let track_id = track.id;
    Ok((reader, decoder, track_id))
}

/// Says of a refused file what it should have been.
fn refused(path: &Path, error: &DecodeError) -> Error {
    let expected = "audio as wav, flac, mp3, ogg vorbis, m4a (aac, alac) or aiff";
    match error {
        // Reading past the end while looking for a format means that there is none.
        DecodeError::IoError(source) if source.kind() != ErrorKind::UnexpectedEof => {
            Error::format(path, expected, format!("unreadable data ({source})"))
        }
        DecodeError::IoError(_) => Error::format(path, expected, "no such data before the end of the file"),
        other => Error::format(path, expected, other),
    }
}

/// Collects decoded packets as one channel.
struct DownMix<'a> {
    path: &'a Path,
    most_samples: usize,
    samples: Vec<f32>,
    sample_rate_hz: u32,
    channels: usize,
    damaged_packets: usize,
    not_finite: usize,
    /// The packet being taken in: frames of `channels` samples.
    interleaved: Vec<f32>,
}

impl<'a> DownMix<'a> {
    fn new(path: &'a Path, most_samples: usize) -> Self {
        let (samples, interleaved) = (Vec::new(), Vec::new());
        Self {
            path,
            most_samples,
            samples,
            sample_rate_hz: 0,
            channels: 0,
            damaged_packets: 0,
            not_finite: 0,
            interleaved,
        }
    }

    /// Appends the mean over channels of the frames in `interleaved`.
    fn append(&mut self, sample_rate_hz: u32, channels: usize) -> Result<()> {
        if self.interleaved.is_empty() {
            return Ok(());
        }
        if self.sample_rate_hz == 0 {
            if !SAMPLE_RATES_HZ.contains(&sample_rate_hz) {
                let expected = format!("{} to {} Hz", SAMPLE_RATES_HZ.start(), SAMPLE_RATES_HZ.end());
                return Err(Error::format(self.path, format!("a sample rate of {expected}"), sample_rate_hz));
            }
            (self.sample_rate_hz, self.channels) = (sample_rate_hz, channels);
        }
        if (self.sample_rate_hz, self.channels) != (sample_rate_hz, channels) {
            let expected = format!("{} channels at {} Hz throughout", self.channels, self.sample_rate_hz);
            return Err(Error::format(self.path, expected, format!("{channels} at {sample_rate_hz} Hz further on")));
        }
        let frames = self.interleaved.len() / channels;
        let total = self.samples.len() + frames;
        if total > self.most_samples {
            let (claimed, limit) = (total as u64, self.most_samples as u64);
            return Err(Error::Limit { path: self.path.into(), what: "its length in samples".into(), claimed, limit });
        }
        for frame in self.interleaved.chunks_exact(channels) {
            let mean = frame.iter().sum::<f32>() / channels as f32;
            self.not_finite += usize::from(!mean.is_finite());
            self.samples.push(if mean.is_finite() { mean } else { 0.0 });
        }
        Ok(())
    }

    fn finish(self) -> Result<AudioFile> {
        let path = self.path.display();
        if self.samples.is_empty() {
            let found = if self.damaged_packets > 0 { "only damaged packets" } else { "an empty audio track" };
            return Err(Error::format(self.path, "at least one audio sample", found));
        }
        if self.damaged_packets > 0 {
            tracing::warn!("{path}: {} damaged packets were skipped", self.damaged_packets);
        }
        if self.not_finite > 0 {
            tracing::warn!("{path}: {} samples are not finite numbers and became 0", self.not_finite);
        }
        let mut samples = self.samples;
        if let Some(heard) = edit_list::heard(self.path, samples.len(), self.sample_rate_hz) {
            samples.truncate(heard.end);
            samples.drain(..heard.start);
        }
        let recording = Recording { samples, sample_rate_hz: self.sample_rate_hz };
        Ok(AudioFile { recording, channels: self.channels, damaged_packets: self.damaged_packets })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn fixture(name: &str) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/audio").join(name)
    }

    /// Amplitude and phase (radians) of the 440 Hz sine in `samples`, and the RMS of what is left.
    fn tone(recording: &Recording) -> (f64, f64, f64) {
        let rate = f64::from(recording.sample_rate_hz);
        let angle = |n: usize| std::f64::consts::TAU * 440.0 * n as f64 / rate;
        let samples = &recording.samples;
        let (mut sine, mut cosine) = (0.0, 0.0);
        for (n, &x) in samples.iter().enumerate() {
            sine += f64::from(x) * angle(n).sin() * 2.0 / samples.len() as f64;
            cosine += f64::from(x) * angle(n).cos() * 2.0 / samples.len() as f64;
        }
        let rest = |(n, &x): (usize, &f32)| (f64::from(x) - sine * angle(n).sin() - cosine * angle(n).cos()).powi(2);
        let rest = (samples.iter().enumerate().map(rest).sum::<f64>() / samples.len() as f64).sqrt();
        (sine.hypot(cosine), cosine.atan2(sine), rest)
    }

    #[test]
    fn lossless_files_give_the_tone_to_the_last_bit_of_their_depth() {
        // Half a step of the coding is the most that rounding may leave.
        for (name, rate, channels, amplitude, step) in [
            ("tone_mono_8k_u8.wav", 8_000, 1, 0.5, 1.0 / 128.0),
            ("tone_mono_16k_s16.wav", 16_000, 1, 0.5, 1.0 / 32_768.0),
            ("tone_mono_8k_s24.wav", 8_000, 1, 0.5, 1.0 / 8_388_608.0),
            ("tone_mono_8k_s32.wav", 8_000, 1, 0.5, 1e-7),
            ("tone_mono_8k_f32.wav", 8_000, 1, 0.5, 1e-7),
            ("tone_mono_4k_f64.wav", 4_000, 1, 0.5, 1e-7),
            ("tone_stereo_44k1.flac", 44_100, 2, 0.375, 1.0 / 32_768.0),
            ("tone_mono_16k_alac.m4a", 16_000, 1, 0.5, 1.0 / 32_768.0),
            ("tone_mono_16k.aiff", 16_000, 1, 0.5, 1.0 / 32_768.0),
        ] {
            let file = read(&fixture(name)).unwrap();
            assert_eq!(
                (file.recording.sample_rate_hz, file.channels, file.damaged_packets),
                (rate, channels, 0),
                "{name}"
            );
            assert_eq!(file.recording.samples.len(), rate as usize / 2, "{name}");
            let (found, phase, rest) = tone(&file.recording);
            assert!((found - amplitude).abs() < step, "{name}: amplitude {found}");
            assert!(phase.abs() < step * 2.0 && rest < step, "{name}: phase {phase}, rest {rest}");
        }
    }

    #[test]
    fn lossy_files_give_the_tone_without_the_encoder_delay() {
        for (name, rate) in
            [("tone_stereo_44k1.mp3", 44_100), ("tone_stereo_48k.ogg", 48_000), ("tone_stereo_48k_aac.m4a", 48_000)]
        {
            let file = read(&fixture(name)).unwrap();
            assert_eq!((file.recording.sample_rate_hz, file.channels), (rate, 2), "{name}");
            let (amplitude, phase, rest) = tone(&file.recording);
            // LAME scales its input by 0.95.
            assert!((amplitude - 0.375).abs() < 0.02, "{name}: amplitude {amplitude}");
            // One sample is 0.06 rad: a delay that was not trimmed would be hundreds of samples.
            assert!(phase.abs() < 0.05, "{name}: phase {phase}");
            assert!(rest < 0.03, "{name}: rest {rest}");
            let length = file.recording.samples.len();
            assert_eq!(length, rate as usize / 2, "{name}");
        }
    }

    #[test]
    fn many_channels_and_high_rates_become_their_mean() {
        let folder = tempfile::tempdir().unwrap();
        for (channels, rate_hz) in [(6_u16, 48_000), (3, 44_100), (1, 192_000), (8, 192_000)] {
            let path = folder.path().join("many.wav");
            let spec = hound::WavSpec {
                channels,
                sample_rate: rate_hz,
                bits_per_sample: 32,
                sample_format: hound::SampleFormat::Float,
            };
            let mut writer = hound::WavWriter::create(&path, spec).unwrap();
            for n in 0..rate_hz / 10 {
                let tone = (std::f64::consts::TAU * 440.0 * f64::from(n) / f64::from(rate_hz)).sin() as f32;
                // Only the last channel sounds.
                (1..channels).for_each(|_| writer.write_sample(0.0_f32).unwrap());
                writer.write_sample(0.9 * tone).unwrap();
            }
            writer.finalize().unwrap();
            let file = read(&path).unwrap();
            assert_eq!((file.channels, file.recording.sample_rate_hz), (channels.into(), rate_hz));
            assert_eq!(file.recording.samples.len(), rate_hz as usize / 10);
            let (amplitude, phase, rest) = tone(&file.recording);
            assert!((amplitude - 0.9 / f64::from(channels)).abs() < 1e-6, "{channels}: amplitude {amplitude}");
            assert!(phase.abs() < 1e-6 && rest < 1e-6, "{channels}: phase {phase}, rest {rest}");
        }
    }

    #[test]
    fn a_file_that_breaks_off_gives_what_came_before() {
        let folder = tempfile::tempdir().unwrap();
        let whole = std::fs::read(fixture("tone_stereo_44k1.flac")).unwrap();
        let path = folder.path().join("half.flac");
        std::fs::write(&path, &whole[..whole.len() * 4 / 5]).unwrap();
        let file = read(&path).unwrap();
        assert!((4_000..22_050).contains(&file.recording.samples.len()), "{}", file.recording.samples.len());
    }

    #[test]
    fn a_header_that_claims_hours_allocates_only_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = std::fs::read(fixture("tone_mono_16k_s16.wav")).unwrap();
        let size = bytes.len();
        bytes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        bytes[size - 16_004..size - 16_000].copy_from_slice(&0xFFFF_FF00_u32.to_le_bytes());
        let path = folder.path().join("claims.wav");
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(read(&path).unwrap().recording.samples.len(), 8_000);
    }

    #[test]
    fn what_is_not_audio_is_refused_with_the_formats_that_would_do() {
        let folder = tempfile::tempdir().unwrap();
        for content in [&b""[..], b"RIFF", b"this is a letter, not a song", &[0xFF; 4096]] {
            let path = folder.path().join("letter.wav");
            std::fs::write(&path, content).unwrap();
            let error = read(&path).unwrap_err();
            assert_eq!(error.exit_code(), 65, "{error}");
            assert!(error.to_string().contains("expected audio as wav, flac") || error.to_string().contains("sample"));
        }
        assert_eq!(read(&folder.path().join("none.wav")).unwrap_err().exit_code(), 66);
        assert_eq!(read(folder.path()).unwrap_err().exit_code(), 65);
    }

    #[test]
    fn names_decide_which_files_of_a_folder_are_recordings() {
        assert!(is_readable_name(Path::new("a/B.FLAC")) && is_readable_name(Path::new("x.m4a")));
        assert!(!is_readable_name(Path::new("notes.txt")) && !is_readable_name(Path::new("wav")));
    }
}

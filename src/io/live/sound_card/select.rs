//! Which host, which device, which of its formats.

use std::str::FromStr;
use std::time::Duration;

use ::cpal::traits::{DeviceTrait, HostTrait};
use ::cpal::{
    BufferSize, Device, FromSample, Host, HostId, I24, SampleFormat, SizedSample, Stream, StreamConfig,
    SupportedStreamConfig, SupportedStreamConfigRange,
};

use super::Choice;
use super::streams::{MAX_CHANNELS, PlayingNow, Recording};
use crate::error::{Error, Result};

/// Time that a system may take to open a stream.
const OPENING: Duration = Duration::from_secs(2);
/// Sample formats that are taken, the best first.
const FORMATS: [SampleFormat; 7] = [
    SampleFormat::F32,
    SampleFormat::F64,
    SampleFormat::I32,
    SampleFormat::I24,
    SampleFormat::I16,
    SampleFormat::U16,
    SampleFormat::U8,
];

/// The host of this identity, if it runs.
pub(super) fn host(id: HostId) -> Result<Host> {
    ::cpal::host_from_id(id).map_err(|error| Error::device(id, error, "start it, or choose another host"))
}

/// The host of this name, or the best that runs.
pub(super) fn host_named(name: Option<&str>) -> Result<Host> {
    let Some(name) = name else { return Ok(::cpal::default_host()) };
    let known = ::cpal::ALL_HOSTS.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let id = HostId::from_str(name).map_err(|_| Error::argument("host", format!("one of {known}"), name))?;
    host(id)
}

/// A direction of audio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Input,
    Output,
}

/// A device with the format that it is to have.
pub(super) struct Selected {
    device: Device,
    pub(super) name: String,
    config: SupportedStreamConfig,
    /// Device channels that are used.
    pub(super) channels: Vec<usize>,
}

impl Selected {
    /// The device of this choice, at `rate_hz` if it can run at that; an output must.
    pub(super) fn new(
        host: &Host,
        direction: Direction,
        choice: &Choice,
        rate_hz: Option<u32>,
        channels: &[usize],
    ) -> Result<Option<Self>> {
        let device = match choice {
            Choice::None => return Ok(None),
            Choice::Default => default(host, direction)?,
            Choice::Named(name) => named(host, direction, name)?,
        };
        let name = name(&device);
        let usual = match direction {
            Direction::Input => device.default_input_config(),
            Direction::Output => device.default_output_config(),
        };
        let usual = usual.map_err(|error| refused(&name, error))?;
        let channels = match (channels, direction) {
            ([], Direction::Input) => vec![0],
            ([], Direction::Output) => (0..usize::from(usual.channels()).min(2)).collect(),
            (named, _) => named.to_vec(),
        };
        if channels.len() > MAX_CHANNELS {
            return Err(Error::argument("channels", format!("at most {MAX_CHANNELS}"), channels.len()));
        }
        let needed = channels.iter().max().map_or(1, |last| last + 1);
        let ranges = ranges(&device, direction).map_err(|error| refused(&name, error))?;
        let wanted = rate_hz.unwrap_or(usual.sample_rate());
        let config = best(&ranges, &usual, needed, wanted);
        // An input at another rate is resampled.
        let other = || (direction == Direction::Input).then(|| best(&ranges, &usual, needed, usual.sample_rate()));
        let config = config.or_else(|| other().flatten()).ok_or_else(|| {
            let most = ranges.iter().map(SupportedStreamConfigRange::channels).max().unwrap_or_default();
            let problem = format!("has no {needed} channels at {wanted} Hz (it has at most {most})");
            Error::device(&name, problem, "`syrinx devices` lists channels and rates")
        })?;
        Ok(Some(Self { device, name, config, channels }))
    }

    pub(super) fn rate_hz(&self) -> u32 {
        self.config.sample_rate()
    }

    /// Channels that the stream has, used or not.
    pub(super) fn device_channels(&self) -> usize {
        usize::from(self.config.channels())
    }

    pub(super) fn refused(&self, error: ::cpal::Error) -> Error {
        refused(&self.name, error)
    }

    /// Opens a stream that records.
    pub(super) fn record(
        &self,
        recording: Recording,
        block_frames: Option<u32>,
        on_error: impl FnMut(::cpal::Error) + Send + 'static,
    ) -> Result<Stream> {
        let config = self.stream_config(block_frames);
        let stream = match self.config.sample_format() {
            SampleFormat::F32 => input::<f32>(&self.device, config, recording, on_error),
            SampleFormat::F64 => input::<f64>(&self.device, config, recording, on_error),
            SampleFormat::I32 => input::<i32>(&self.device, config, recording, on_error),
            SampleFormat::I24 => input::<I24>(&self.device, config, recording, on_error),
            SampleFormat::I16 => input::<i16>(&self.device, config, recording, on_error),
            SampleFormat::U16 => input::<u16>(&self.device, config, recording, on_error),
            _ => input::<u8>(&self.device, config, recording, on_error),
        };
        stream.map_err(|error| self.refused(error))
    }

    /// Opens a stream that plays.
    pub(super) fn play(
        &self,
        playing: PlayingNow,
        block_frames: Option<u32>,
        on_error: impl FnMut(::cpal::Error) + Send + 'static,
    ) -> Result<Stream> {
        let config = self.stream_config(block_frames);
        let stream = match self.config.sample_format() {
            SampleFormat::F32 => output::<f32>(&self.device, config, playing, on_error),
            SampleFormat::F64 => output::<f64>(&self.device, config, playing, on_error),
            SampleFormat::I32 => output::<i32>(&self.device, config, playing, on_error),
            SampleFormat::I24 => output::<I24>(&self.device, config, playing, on_error),
            SampleFormat::I16 => output::<i16>(&self.device, config, playing, on_error),
            SampleFormat::U16 => output::<u16>(&self.device, config, playing, on_error),
            _ => output::<u8>(&self.device, config, playing, on_error),
        };
        stream.map_err(|error| self.refused(error))
    }

    fn stream_config(&self, block_frames: Option<u32>) -> StreamConfig {
        let buffer_size = block_frames.map_or(BufferSize::Default, BufferSize::Fixed);
        StreamConfig { buffer_size, ..self.config.config() }
    }
}

fn refused(name: &str, error: ::cpal::Error) -> Error {
    Error::device(name, error, "`syrinx devices` lists devices, channels and rates")
}

/// What a person calls a device.
pub(super) fn name(device: &Device) -> String {
    let described = device.description().map(|description| description.name().to_owned());
    described.or_else(|_| device.id().map(|id| id.id().to_owned())).unwrap_or_else(|_| "a device without name".into())
}

pub(super) fn ranges(device: &Device, direction: Direction) -> Result<Vec<SupportedStreamConfigRange>, ::cpal::Error> {
    Ok(match direction {
        Direction::Input => device.supported_input_configs()?.collect(),
        Direction::Output => device.supported_output_configs()?.collect(),
    })
}

fn default(host: &Host, direction: Direction) -> Result<Device> {
    let (device, what) = match direction {
        Direction::Input => (host.default_input_device(), "input"),
        Direction::Output => (host.default_output_device(), "output"),
    };
    device.ok_or_else(|| Error::device(host.id(), format!("has no default {what} device"), "name one"))
}

fn named(host: &Host, direction: Direction, wanted: &str) -> Result<Device> {
    let devices = host.devices().map_err(|error| refused(&host.id().to_string(), error))?;
    let fits = |device: &Device| match direction {
        Direction::Input => device.supports_input(),
        Direction::Output => device.supports_output(),
    };
    let devices: Vec<(Device, [String; 2])> = devices
        .filter(fits)
        .map(|device| {
            let names = [device.id().map(|id| id.id().to_owned()).unwrap_or_default(), name(&device)];
            (device, names)
        })
        .collect();
    let places = devices.iter().map(|(_, names)| names).collect::<Vec<_>>();
    let place = place(&places, wanted).map_err(|found| {
        Error::argument(format!("device `{wanted}` of {}", host.id()), "the name of one device", found)
    })?;
    let mut devices = devices;
    Ok(devices.swap_remove(place).0)
}

/// The place of the only entry that is named `wanted`, or else that contains it, in either case.
fn place(names: &[&[String; 2]], wanted: &str) -> Result<usize, String> {
    let lower = wanted.to_lowercase();
    let tests: [&dyn Fn(&String) -> bool; 3] =
        [&|name| name == wanted, &|name| name.to_lowercase() == lower, &|name| name.to_lowercase().contains(&lower)];
    for test in tests {
        let found: Vec<usize> = (0..names.len()).filter(|&place| names[place].iter().any(test)).collect();
        match found[..] {
            [] => {}
            [place] => return Ok(place),
            _ => {
                let list: Vec<&str> = found.iter().map(|&place| &*names[place][0]).collect();
                return Err(format!("{}: {}", found.len(), list.join(", ")));
            }
        }
    }
    let all: Vec<&str> = names.iter().map(|names| &*names[0]).collect();
    Err(format!("none; there are {}", all.join(", ")))
}

/// The best format of `rate_hz` with at least `needed` channels: as many as usual if that is enough, else the fewest.
fn best(
    ranges: &[SupportedStreamConfigRange],
    usual: &SupportedStreamConfig,
    needed: usize,
    rate_hz: u32,
) -> Option<SupportedStreamConfig> {
    let rank = |range: &&SupportedStreamConfigRange| {
        let format = FORMATS.iter().position(|&format| format == range.sample_format());
        (range.channels() != usual.channels(), range.channels(), format)
    };
    let fits = |range: &&SupportedStreamConfigRange| {
        usize::from(range.channels()) >= needed && FORMATS.contains(&range.sample_format())
    };
    ranges
        .iter()
        .filter(fits)
        .filter(|range| range.contains_rate(rate_hz))
        .min_by_key(rank)?
        .try_with_sample_rate(rate_hz)
}

fn input<T: SizedSample>(
    device: &Device,
    config: StreamConfig,
    mut recording: Recording,
    on_error: impl FnMut(::cpal::Error) + Send + 'static,
) -> Result<Stream, ::cpal::Error>
where
    f32: FromSample<T>,
{
    device.build_input_stream(config, move |data: &[T], info| recording.run(data, info), on_error, Some(OPENING))
}

fn output<T: SizedSample + FromSample<f32>>(
    device: &Device,
    config: StreamConfig,
    mut playing: PlayingNow,
    on_error: impl FnMut(::cpal::Error) + Send + 'static,
) -> Result<Stream, ::cpal::Error> {
    device.build_output_stream(config, move |data: &mut [T], info| playing.run(data, info), on_error, Some(OPENING))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(channels: u16, rates: [u32; 2], format: SampleFormat) -> SupportedStreamConfigRange {
        let unknown = ::cpal::SupportedBufferSize::Unknown;
        SupportedStreamConfigRange::new(channels, rates[0], rates[1], unknown, format)
    }

    #[test]
    fn a_device_is_found_by_name_or_by_what_only_its_name_contains() {
        let names = [["hw:0", "USB Microphone"], ["hw:1", "USB Speaker"], ["A", "A sink"], ["a2", "B"]];
        let names = names.map(|names| names.map(str::to_owned));
        let names: Vec<&[String; 2]> = names.iter().collect();
        assert_eq!(place(&names, "usb speaker"), Ok(1));
        assert_eq!(place(&names, "micro"), Ok(0));
        assert_eq!(place(&names, "A"), Ok(2));
        assert_eq!(place(&names, "usb"), Err("2: hw:0, hw:1".into()));
        assert_eq!(place(&names, "none"), Err("none; there are hw:0, hw:1, A, a2".into()));
    }

    #[test]
    fn the_best_format_has_the_usual_channels_then_the_fewest_that_suffice_in_floating_point() {
        let ranges = [
            range(2, [44_100, 96_000], SampleFormat::I16),
            range(2, [44_100, 96_000], SampleFormat::F32),
            range(8, [48_000, 48_000], SampleFormat::F32),
            range(4, [48_000, 48_000], SampleFormat::I32),
            range(6, [48_000, 48_000], SampleFormat::DsdU8),
        ];
        let usual = ranges[0].with_sample_rate(48_000);
        let best = |needed, rate_hz| {
            best(&ranges, &usual, needed, rate_hz)
                .map(|best| (best.channels(), best.sample_format(), best.sample_rate()))
        };
        assert_eq!(best(1, 48_000), Some((2, SampleFormat::F32, 48_000)));
        assert_eq!(best(3, 48_000), Some((4, SampleFormat::I32, 48_000)));
        assert_eq!(best(5, 48_000), Some((8, SampleFormat::F32, 48_000)));
        assert_eq!((best(9, 48_000), best(2, 22_050)), (None, None));
    }
}

//! Sound cards, through whatever the system offers: two streams, of one device or of two with clocks of their own.
//!
//! What is captured crosses to the output's callback by a bridge, whose ratio follows the drift between the two
//! clocks. How long blocks are is never assumed: [`SoundCard::open`](Backend::open) listens to both callbacks first and
//! sizes the bridge by what it saw, and anew should blocks grow.
//!
//! A device that is pulled out is called back by its name; the default device is whichever it is by then.

mod bridge;
mod listing;
mod select;
mod streams;

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ::cpal::traits::StreamTrait;
use ::cpal::{HostId, Stream};
pub use listing::devices;

use self::bridge::BridgeControl;
use self::select::{Direction, Selected};
use self::streams::{Measure, Playing, Recording, Signals};
use super::Backend;
use super::device::DeviceFormat;
use super::open::OpenDevice;
use super::seat::Seat;
use super::supervisor::{self, Connection, Connector};
use crate::error::{Error, Result};

/// Time that opening takes at most, unless the system hangs.
const PATIENCE: Duration = Duration::from_secs(8);
/// Time in which a stream must call back for the first few times.
const FIRST_BLOCKS: Duration = Duration::from_secs(3);
/// Time and callbacks for which blocks are observed.
const OBSERVED: Duration = Duration::from_millis(200);
const OBSERVED_CALLBACKS: u64 = 6;
/// A stream that does not call back for so long is opened anew.
const DEAF: Duration = Duration::from_secs(3);

/// Blocks that a host holds in each direction beyond the latency that it names.
///
/// PipeWire serves these streams between its cycles, not in them: what is captured comes a cycle later, and what is
/// played goes out with the next.
fn unnamed_blocks(host: HostId) -> f64 {
    if host.to_string() == "pipewire" { 1.0 } else { 0.0 }
}

/// Frames per callback to ask for where none is named: PulseAudio's own default are two seconds.
fn usual_block(host: HostId) -> Option<u32> {
    (host.to_string() == "pulseaudio").then_some(512)
}

/// Which device of a direction.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Choice {
    /// The one that the system prefers, whichever that is.
    #[default]
    Default,
    /// The one of this name or identity, or the only one whose name contains this.
    Named(String),
    /// None.
    None,
}

/// A sound card, or two.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct SoundCard {
    /// The host, as [`devices`] lists it; the best that runs if none is named. Stays the same once opened.
    pub host: Option<String>,
    /// What is captured.
    pub input: Choice,
    /// What is played on. `Choice::None` is refused: the output is what calls back.
    pub output: Choice,
    /// The output's rate in Hz; what the device prefers if none is named. The input runs at it too, or is resampled.
    pub rate_hz: Option<u32>,
    /// Frames per callback to ask for; systems may take it as advice.
    pub block_frames: Option<u32>,
    /// Device channels to be captured, from 0; the first if none is named.
    pub input_channels: Vec<usize>,
    /// Device channels to be played on, from 0; the first two, or the only one, if none is named.
    pub output_channels: Vec<usize>,
}

impl Backend for SoundCard {
    fn open(&mut self) -> Result<OpenDevice> {
        if self.output == Choice::None {
            return Err(Error::argument("output device", "a device: it is what calls back", "none"));
        }
        supervisor::open(Cards { settings: self.clone(), host: OnceLock::new() })
    }
}

/// The way to the cards.
struct Cards {
    settings: SoundCard,
    /// The host that was taken first.
    host: OnceLock<HostId>,
}

impl Connector for Cards {
    type Connection = CardConnection;

    fn connect(&self, seat: &Arc<Seat>, number: u64) -> Result<(CardConnection, DeviceFormat)> {
        let SoundCard { input, output, rate_hz, block_frames, input_channels, output_channels, .. } = &self.settings;
        let host = match self.host.get() {
            Some(&id) => select::host(id)?,
            None => select::host_named(self.settings.host.as_deref())?,
        };
        let block_frames = block_frames.or_else(|| usual_block(host.id()));
        let output = Selected::new(&host, Direction::Output, output, *rate_hz, output_channels)?
            .ok_or_else(|| Error::argument("output device", "a device", "none"))?;
        let input = Selected::new(&host, Direction::Input, input, Some(output.rate_hz()), input_channels)?;

        let signals = Arc::new(Signals::default());
        let (mut control, far, near) = bridge::crossing();
        let (played, captured) = (Arc::new(Measure::default()), Arc::new(Measure::default()));
        let ear = input.as_ref().map(|input| {
            let recording = Recording::new(far, captured.clone(), input.channels.clone(), input.device_channels());
            input.record(recording, block_frames, signals.handler(seat.clone()))
        });
        let mut streams = Vec::from_iter(ear.transpose()?);
        let inputs = input.as_ref().map_or(0, |input| input.channels.len());
        let playing = Playing {
            near,
            callback: seat.callback(number),
            measure: played.clone(),
            other: input.is_some().then(|| captured.clone()),
            channels: output.channels.clone(),
            device_channels: output.device_channels(),
        };
        streams.push(output.play(playing.prepare(inputs), block_frames, signals.handler(seat.clone()))?);
        for stream in &streams {
            stream.play().map_err(|error| output.refused(error))?;
        }
        observe(&played, &output)?;
        if let Some(input) = &input {
            observe(&captured, input)?;
            control.build(input.rate_hz(), inputs, output.rate_hz(), captured.longest(), played.longest())?;
        }
        let _ = self.host.set(host.id());
        let connection = CardConnection {
            streams,
            signals,
            control,
            played,
            captured: input.as_ref().map(|_| captured),
            seat: seat.clone(),
            rates_hz: (input.as_ref().map_or(output.rate_hz(), Selected::rate_hz), output.rate_hz()),
            inputs,
            unnamed_blocks: unnamed_blocks(host.id()),
        };
        let (input_latency_samples, output_latency_samples) = connection.latencies();
        let format = DeviceFormat {
            rate_hz: output.rate_hz(),
            block_frames: connection.played.longest(),
            max_block_frames: connection.played.longest(),
            inputs,
            outputs: output.channels.len(),
            input_latency_samples,
            output_latency_samples,
        };
        Ok((connection, format))
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }

    fn name(&self) -> String {
        self.host.get().map_or_else(|| "sound card".into(), |host| format!("sound card ({host})"))
    }
}

/// Waits until the blocks of a stream are known.
fn observe(measure: &Measure, device: &Selected) -> Result<()> {
    let start = Instant::now();
    while measure.callbacks() < OBSERVED_CALLBACKS || start.elapsed() < OBSERVED {
        if start.elapsed() > FIRST_BLOCKS {
            return Err(Error::device(&device.name, "does not call back", "another program may hold it, or it hangs"));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Two streams that run. Dropping it ends them, which may hang.
struct CardConnection {
    /// Ended first, before what their callbacks use.
    streams: Vec<Stream>,
    signals: Arc<Signals>,
    control: BridgeControl,
    played: Arc<Measure>,
    captured: Option<Arc<Measure>>,
    seat: Arc<Seat>,
    /// Of the input and of the output, in Hz.
    rates_hz: (u32, u32),
    inputs: usize,
    unnamed_blocks: f64,
}

impl CardConnection {
    /// Samples of the output's rate from the microphone to the callback, and from there to the loudspeaker.
    fn latencies(&self) -> (usize, usize) {
        let (in_hz, out_hz) = (f64::from(self.rates_hz.0), f64::from(self.rates_hz.1));
        let output = self.played.latency_s() * out_hz + self.unnamed_blocks * self.played.longest() as f64;
        let input = self.captured.as_ref().map_or(0.0, |captured| {
            // The bridge counts from when a block is there, the device from its first sample.
            let block = captured.longest() as f64 / in_hz;
            let device = (captured.latency_s() + (self.unnamed_blocks - 1.0) * block) * out_hz;
            device + self.control.latency_samples()
        });
        (input.round().max(0.0) as usize, output.round() as usize)
    }
}

impl Connection for CardConnection {
    fn failure(&mut self, stalled: Duration) -> Option<String> {
        self.control.observe(self.played.found(), self.rates_hz.0);
        let (input, output) = self.latencies();
        self.seat.set_latencies(input, output);
        for _ in 0..self.control.new_gaps() {
            self.seat.count_xrun();
        }
        let deaf = || (stalled > DEAF).then(|| "it has ceased to call back".into());
        let mute = self.captured.as_ref().is_some_and(|captured| captured.silent_for() > DEAF);
        let mute = || mute.then(|| "the input has ceased to call back".into());
        self.signals.failure().or_else(deaf).or_else(mute)
    }

    fn wants_tending(&self) -> bool {
        let captured = self.captured.as_ref();
        captured.is_some_and(|captured| self.control.is_outgrown(captured.longest(), self.played.longest()))
    }

    /// Builds a bridge for blocks that have grown.
    fn tend(&mut self) {
        let Some(captured) = &self.captured else { return };
        let (in_hz, out_hz) = self.rates_hz;
        let built = self.control.build(in_hz, self.inputs, out_hz, captured.longest(), self.played.longest());
        if let Err(error) = built {
            tracing::warn!("{error}");
        }
    }
}

impl Drop for CardConnection {
    fn drop(&mut self) {
        self.signals.closing.store(true, Ordering::Relaxed);
        self.streams.clear();
    }
}

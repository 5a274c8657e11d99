//! `syrinx latency`: how late live audio is, measured by a signal on its whole way, beside what is reported.

use clap::Args;
use serde::Serialize;

use super::device::{DeviceArgs, TimingArgs, default_host, time};
use crate::checkpoint::store::ModelsDirectory;
use crate::engine::{Engine, ModelFiles, TrackerFile};
use crate::error::{Error, Result};
use crate::io::live::{Backend, Loopback, Pace};
use crate::live::round_trip::{self, RoundTrip};
use crate::live::{Latency, SessionSettings};
use crate::nn::Cpu;

/// Measures the delay of live audio: through the device alone, through the graph, and with `--voice` through a voice.
///
/// What is played must come back: by a cable from output to input, a loopback device, or loudspeaker and microphone. A
/// sweep is found to a fraction of a sample. A voice keeps no waveform; its delay is that of its loudness, certain to
/// about 20 ms.
#[derive(Args, Clone, Debug)]
#[command(mut_arg("host", |host| host.default_value(default_host("loop")).help(HOST_HELP)))]
pub struct LatencyArgs {
    /// With `--host loop`: samples that the cable takes; without this, three blocks
    #[arg(long, value_name = "N")]
    loop_delay: Option<usize>,
    /// With `--host loop`: as fast as it goes
    #[arg(long)]
    fast: bool,
    /// Time granted to convert a chunk in ms; without this, 5 ms, and for a voice twice what it takes at the start
    #[arg(long, value_name = "MS")]
    budget: Option<f64>,
    /// Measure through this voice, too: an RVC `.pth`, or the name of one in the models folder
    #[arg(long, value_name = "VOICE")]
    voice: Option<String>,
    /// Content encoder of the voice: `hubert_base.pt` or a Hugging Face folder
    #[arg(long, value_name = "PATH")]
    encoder: Option<String>,
    /// How often each way is measured
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    repeat: u16,
    /// Print JSON
    #[arg(long)]
    json: bool,
    // Last: their headings go on over what follows.
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    timing: TimingArgs,
}

const HOST_HELP: &str = "Audio system: `loop` (no hardware: a cable inside the program), `jack`, `default`, or another that \
                         `syrinx devices` lists";

/// Rate and block of the loop.
const LOOP_RATE_HZ: u32 = 48_000;
const LOOP_BLOCK: u32 = 256;

impl LatencyArgs {
    fn backend(&self) -> Result<Box<dyn Backend>> {
        match self.device.output.host.as_str() {
            "loop" => Ok(Box::new(self.cable()?)),
            #[cfg(feature = "jack")]
            "jack" => Ok(Box::new(crate::io::live::Jack {
                outputs: vec!["out".into()],
                ..self.device.jack("syrinx-latency")
            })),
            _ => self.device.sound_card(),
        }
    }

    fn cable(&self) -> Result<Loopback> {
        let DeviceArgs { output, input, .. } = &self.device;
        if input.is_some() || output.out.is_some() {
            return Err(Error::argument("--in or --out", "none, with --host loop", "one"));
        }
        let block_frames = output.block.unwrap_or(LOOP_BLOCK) as usize;
        Ok(Loopback {
            rate_hz: output.rate.unwrap_or(LOOP_RATE_HZ),
            block_frames,
            delay_samples: self.loop_delay.unwrap_or(3 * block_frames),
            pace: if self.fast { Pace::AsFastAsPossible } else { Pace::Clock },
        })
    }

    fn settings(&self) -> Result<SessionSettings> {
        Ok(SessionSettings {
            timing: self.timing.timing(),
            budget: self.budget.map(|ms| time("--budget", ms)).transpose()?,
            input: usize::from(self.device.channel) - 1,
            ..SessionSettings::default()
        })
    }

    /// The files of the voice. Which tracker reads its pitch changes no delay but the time that it is granted.
    fn files(&self, voice: &str) -> Result<ModelFiles> {
        let folder = ModelsDirectory::of_user()?;
        let voice = folder.voice(voice)?;
        Ok(ModelFiles {
            encoder: folder.encoder(self.encoder.as_deref(), &voice)?,
            voice,
            index: None,
            tracker: TrackerFile::SwiftF0,
        })
    }
}

/// What was measured, as `--json` prints it. Times in ms.
#[derive(Clone, Debug, Serialize)]
struct LatencyReport {
    host: String,
    rate_hz: u32,
    block_frames: usize,
    repetitions: u16,
    /// The device alone.
    device: Way,
    /// The graph with a worker that converts nothing, and the device.
    graph: Way,
    /// What the graph adds to the device, as measured.
    graph_alone_ms: f64,
    /// The graph with the voice, and the device.
    voice: Option<Way>,
}

/// One way: what is reported, what was measured.
#[derive(Clone, Copy, Debug, Serialize)]
struct Way {
    algorithmic_ms: f64,
    processing_ms: f64,
    device_ms: f64,
    reported_ms: f64,
    reported_samples: usize,
    measured_ms: f64,
    measured_samples: f64,
    /// Measured less reported.
    difference_ms: f64,
    difference_samples: f64,
    spread_ms: f64,
    resolution_ms: f64,
    agreement: f64,
    xruns: u64,
}

impl From<RoundTrip> for Way {
    fn from(way: RoundTrip) -> Self {
        let ms = |samples: f64| samples / f64::from(way.format.rate_hz) * 1e3;
        let Latency { algorithmic, processing, device } = way.reported;
        let reported = way.reported.total();
        let difference = way.samples - reported as f64;
        Self {
            algorithmic_ms: ms(algorithmic as f64),
            processing_ms: ms(processing as f64),
            device_ms: ms(device as f64),
            reported_ms: ms(reported as f64),
            reported_samples: reported,
            measured_ms: ms(way.samples),
            measured_samples: way.samples,
            difference_ms: ms(difference),
            difference_samples: difference,
            spread_ms: ms(way.spread_samples),
            resolution_ms: ms(way.resolution_samples),
            agreement: way.agreement,
            xruns: way.xruns,
        }
    }
}

/// Measures and prints.
///
/// # Errors
/// Devices or models that cannot be had, settings out of range, or nothing that comes back.
pub fn run(args: &LatencyArgs) -> Result<()> {
    let report = measure(args)?;
    if args.json {
        let text = serde_json::to_string_pretty(&report).map_err(|error| Error::io("standard output", error.into()))?;
        return super::print(&text);
    }
    super::print(&table(&report))
}

fn measure(args: &LatencyArgs) -> Result<LatencyReport> {
    let (settings, repetitions) = (args.settings()?, usize::from(args.repeat));
    // Before anything is heard.
    let voice = args.voice.as_deref().map(|voice| args.files(voice)).transpose()?;
    let voice = voice.map(|files| Engine::<Cpu>::new(Default::default()).converter(&files)).transpose()?;
    let mut backend = args.backend()?;
    let device = round_trip::device(backend.as_mut(), &settings, repetitions)?;
    let graph = round_trip::graph(backend.as_mut(), &settings, repetitions)?;
    let voice = voice.map(|voice| round_trip::voice(backend.as_mut(), voice, &settings, repetitions)).transpose()?;
    let (device_way, graph_way) = (Way::from(device), Way::from(graph));
    Ok(LatencyReport {
        host: args.device.output.host.clone(),
        rate_hz: device.format.rate_hz,
        block_frames: device.format.block_frames,
        repetitions: args.repeat,
        graph_alone_ms: graph_way.measured_ms - device_way.measured_ms,
        device: device_way,
        graph: graph_way,
        voice: voice.map(Way::from),
    })
}

/// The report as a table for people.
fn table(report: &LatencyReport) -> String {
    let LatencyReport { host, rate_hz, block_frames, repetitions, device, graph, graph_alone_ms, voice } = report;
    let mut lines = vec![
        format!("host {host}, {rate_hz} Hz, blocks of {block_frames}, median of {repetitions}; times in ms"),
        String::new(),
        format!("{:<28}{:>10}{:>10}{:>12}{:>9}", "", "reported", "measured", "difference", "spread"),
    ];
    let told = |name: &str, reported: f64| format!("{name:<28}{reported:>10.2}");
    let row = |name: &str, reported: f64, measured: f64, spread: Option<f64>| {
        let spread = spread.map(|spread| format!("{spread:>9.2}")).unwrap_or_default();
        format!("{}{measured:>10.2}{:>+12.2}{spread}", told(name, reported), measured - reported)
    };
    lines.push(row("device", device.reported_ms, device.measured_ms, Some(device.spread_ms)));
    lines.push(told("algorithmic", graph.algorithmic_ms));
    lines.push(told("processing", graph.processing_ms));
    let reported = graph.algorithmic_ms + graph.processing_ms;
    lines.push(row("algorithmic and processing", reported, *graph_alone_ms, None));
    lines.push(row("total", graph.reported_ms, graph.measured_ms, Some(graph.spread_ms)));
    if let Some(voice) = voice {
        lines.push(told("algorithmic, with the voice", voice.algorithmic_ms));
        lines.push(told("processing, with the voice", voice.processing_ms));
        lines.push(row("total, with the voice", voice.reported_ms, voice.measured_ms, Some(voice.spread_ms)));
        lines.push(String::new());
        lines.push(format!(
            "The voice is found by its loudness, to {:.0} ms; everything else by a sweep, to {:.3} ms.",
            voice.resolution_ms, graph.resolution_ms
        ));
    }
    let xruns = device.xruns + graph.xruns + voice.map_or(0, |voice| voice.xruns);
    if xruns > 0 {
        lines.push(format!("The device lost data {xruns} times meanwhile: measure again on a calm machine."));
    }
    lines.join("\n")
}

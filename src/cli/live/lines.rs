//! Lines that `syrinx live` writes: for people on standard error, as JSON on standard output.

use serde::Serialize;

use super::moment::Moment;
use crate::error::{Error, Result};
use crate::io::live::{DeviceEvent, DeviceState};
use crate::live::{Control, Session, SessionEvent};
use crate::nn::ops::VoiceOps;
use crate::path::Converter;
use crate::path::stream::Stream;
use crate::rt::events::Event;
use crate::telemetry::{Percentiles, Stage};
use crate::units::amplitude_to_db;

/// Telemetry of one moment, in the units that people use.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    running_s: f64,
    device_state: &'static str,
    xruns: u64,
    device_losses: u64,
    callbacks: u64,
    longest_callback_ms: f64,
    starved: u64,
    starved_ms: f64,
    lost_ms: f64,
    node_panics: u64,
    callback_panics: u64,
    lost_events: u64,
    chunks: u64,
    rested: u64,
    shed: u64,
    overruns: u64,
    failed: u64,
    rtf: f32,
    rtf_p50: f32,
    rtf_p99: f32,
    rtf_max: f32,
    chunk_ms: Times,
    queue_age_ms: Times,
    stages_ms: Vec<StageTimesMs>,
    input_f0_hz: f32,
    f0_hz: f32,
    input_peak_db: f32,
    output_peak_db: f32,
    delay_ms: f64,
    recorded_frames: u64,
    recorder_lost_frames: u64,
    slot: usize,
    voice: String,
    transpose: f32,
    formant: f32,
    mix: f32,
    bypass: bool,
    mute: bool,
    /// Where the gate opens, if it gates.
    gate_db: Option<f32>,
    /// The cut-off of the high-pass, if it is in the way.
    high_pass_hz: Option<f32>,
    ceiling_db: f32,
    commands: u64,
    refused_commands: u64,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Times {
    p50: f32,
    p95: f32,
    p99: f32,
    max: f32,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct StageTimesMs {
    name: &'static str,
    #[serde(flatten)]
    times: Times,
}

impl From<Percentiles> for Times {
    fn from(Percentiles { p50, p95, p99, max }: Percentiles) -> Self {
        Self { p50, p95, p99, max }
    }
}

impl Sample {
    /// What `moment` tells.
    #[must_use]
    pub fn of(moment: &Moment) -> Self {
        let (telemetry, state) = (&moment.metrics.telemetry, &moment.state);
        let worker = telemetry.worker;
        let (input_f0_hz, f0_hz) = moment.pitch_hz().unwrap_or_default();
        let ms = |samples: u64| moment.ms(samples);
        Self {
            running_s: telemetry.running.as_secs_f64(),
            device_state: state_name(telemetry.device.state),
            xruns: telemetry.device.xruns,
            device_losses: telemetry.device.losses,
            callbacks: telemetry.device.callbacks,
            longest_callback_ms: telemetry.graph.longest.as_secs_f64() * 1e3,
            starved: telemetry.link.starvation.times,
            starved_ms: ms(telemetry.link.starvation.samples),
            lost_ms: ms(telemetry.link.lost_samples),
            node_panics: telemetry.graph.node_panics,
            callback_panics: telemetry.graph.callback_panics,
            lost_events: telemetry.lost_events,
            chunks: worker.chunks,
            rested: worker.rested,
            shed: worker.shed,
            overruns: worker.overruns,
            failed: worker.failed,
            rtf: worker.rtf,
            rtf_p50: worker.rtf_of(worker.total_ms.p50),
            rtf_p99: worker.rtf_of(worker.total_ms.p99),
            rtf_max: worker.rtf_of(worker.total_ms.max),
            chunk_ms: worker.total_ms.into(),
            queue_age_ms: worker.queue_age_ms.into(),
            stages_ms: Stage::ALL
                .into_iter()
                .zip(worker.stage_ms)
                .map(|(stage, times)| StageTimesMs { name: stage.name(), times: times.into() })
                .collect(),
            input_f0_hz,
            f0_hz,
            input_peak_db: amplitude_to_db(telemetry.input.peak),
            output_peak_db: amplitude_to_db(telemetry.output.peak),
            delay_ms: ms(moment.metrics.latency.total() as u64),
            recorded_frames: telemetry.recorded.0,
            recorder_lost_frames: telemetry.recorded.1,
            slot: state.slot + 1,
            voice: moment.slots.get(state.slot).map(|(name, _)| name.clone()).unwrap_or_default(),
            transpose: state.params.transpose_semitones,
            formant: state.params.formant_semitones,
            mix: state.live.mix,
            bypass: state.live.bypass,
            mute: state.live.mute,
            gate_db: state.live.gate.on.then_some(state.live.gate.threshold_db),
            high_pass_hz: state.live.high_pass.on.then_some(state.live.high_pass.cutoff_hz),
            ceiling_db: state.live.ceiling_db,
            commands: moment.commands.done,
            refused_commands: moment.commands.refused,
        }
    }
}

/// A state, as reports spell it.
#[must_use]
pub fn state_name(state: DeviceState) -> &'static str {
    match state {
        DeviceState::Silent => "silent",
        DeviceState::Running => "running",
        DeviceState::Lost => "lost",
        DeviceState::Ended => "ended",
    }
}

/// Says what was set up, and the delay it has.
///
/// # Errors
/// Standard output refuses.
pub fn tell_start<B: VoiceOps>(session: &Session<B>) -> Result<()>
where
    Stream<B>: Send + 'static,
    Converter<B>: Send + 'static,
{
    let (format, latency) = (session.device().format(), session.latency());
    let ms = |samples: usize| samples as f64 / f64::from(format.rate_hz) * 1e3;
    crate::cli::print(&format!(
        "live at {} Hz, blocks of {}: delay {:.1} ms (algorithmic {:.1}, processing {:.1}, device {:.1})",
        format.rate_hz,
        format.block_frames,
        ms(latency.total()),
        ms(latency.algorithmic),
        ms(latency.processing),
        ms(latency.device)
    ))
}

/// Lists the voices, where there are several.
///
/// # Errors
/// Standard output refuses.
pub fn tell_slots<B: VoiceOps>(control: &Control<B>) -> Result<()>
where
    Stream<B>: Send + 'static,
    Converter<B>: Send + 'static,
{
    let slots = control.slots();
    if slots.len() < 2 {
        return Ok(());
    }
    let names: Vec<String> = slots.iter().zip(1..).map(|(slot, number)| format!("{number} {}", slot.name)).collect();
    crate::cli::print(&format!("slots: {}", names.join(", ")))
}

/// Writes one moment.
///
/// # Errors
/// Standard output refuses.
pub fn tell(sample: &Sample, as_json: bool) -> Result<()> {
    if as_json {
        let line = serde_json::to_string(sample).map_err(|error| Error::io("standard output", error.into()))?;
        return crate::cli::print(&line);
    }
    let f0 = if sample.f0_hz > 0.0 { format!("{:4.0} Hz", sample.f0_hz) } else { "   -   ".into() };
    crate::cli::print(&format!(
        "{:7.1} s  in {:6.1} dB  out {:6.1} dB  pitch {f0}  RTF {:.2} (p99 {:.2})  xruns {}  starved {}  shed {}",
        sample.running_s,
        sample.input_peak_db,
        sample.output_peak_db,
        sample.rtf_p50,
        sample.rtf_p99,
        sample.xruns,
        sample.starved,
        sample.shed
    ))
}

/// Says what happened, where a person should know.
pub fn tell_event(event: &SessionEvent) {
    match event {
        SessionEvent::Device(DeviceEvent::Lost { reason }) => tracing::warn!("the device is lost: {reason}"),
        SessionEvent::Device(DeviceEvent::Returned { after, .. }) => {
            tracing::warn!("the device is back after {:.1} s", after.as_secs_f64());
        }
        SessionEvent::Device(DeviceEvent::Failed { reason }) => tracing::error!("{reason}"),
        SessionEvent::Device(DeviceEvent::Priority(priority)) => {
            if let Some(explanation) = priority.explanation() {
                tracing::warn!("{explanation}");
            } else {
                tracing::info!("the audio runs with real-time priority");
            }
        }
        SessionEvent::Converter(priority) => {
            if let Some(explanation) = priority.explanation_of_converter() {
                tracing::warn!("{explanation}");
            } else {
                tracing::info!("the converter runs with real-time priority, next below the audio");
            }
        }
        SessionEvent::Live(Event::Starved) => tracing::info!("the voice was not ready in time"),
        SessionEvent::Live(Event::Resumed(samples)) => tracing::info!("the voice is back after {samples} samples"),
        SessionEvent::Live(Event::ConverterPanicked) => {
            tracing::error!("converting a chunk failed inside; it was silent and the converter starts anew");
        }
        SessionEvent::Live(Event::RecorderFailed) => tracing::error!("the recording cannot be written any more"),
        other => tracing::info!("{other:?}"),
    }
}

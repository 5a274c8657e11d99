//! What is said over `/stream` in text: JSON objects, told apart by `type`.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::geometry::{Geometry, Timing};
use crate::io::write::Quantise;
use crate::live::{Latency, LiveTelemetry, SessionSettings};
use crate::params::{ConversionParams, LiveParams};
use crate::service::params::JobParams;
use crate::service::problem::Problem;
use crate::service::wav::pcm;
use crate::telemetry::Percentiles;
use crate::units::amplitude_to_db;

/// What a client says.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Wish {
    /// Begins: the first message.
    Start(Start),
    /// Changes what can change while audio runs. What is left out stays.
    Set {
        /// Id or name of another voice, heard once it is loaded.
        voice: Option<String>,
        /// Heard from the next chunk on.
        #[serde(default)]
        params: StreamParams,
    },
    /// No more audio comes: what is on its way is sent, then the server says `stopped` and closes.
    Stop,
}

/// How a stream shall be.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// Id or name of a voice.
    pub voice: String,
    /// Samples per second, both ways: a multiple of 100 from 8000 to 384000.
    pub rate_hz: u32,
    /// Samples of binary messages, both ways: one channel, little-endian.
    #[serde(default)]
    pub format: SampleFormat,
    /// New audio per step in ms, 10 to 2000; 100 without this.
    pub chunk_ms: Option<f64>,
    /// Past audio that the networks see in ms, 50 to 10000; 1000 without this.
    pub context_ms: Option<f64>,
    /// Overlap of chunks in ms, 10 to 500; 40 without this.
    pub crossfade_ms: Option<f64>,
    /// What happens to audio that is late.
    #[serde(default)]
    pub pace: Pace,
    /// rmvpe, fcpe, crepe, swift or yin.
    pub f0_method: Option<String>,
    /// How to convert.
    #[serde(default)]
    pub params: StreamParams,
}

impl Start {
    /// The settings of the session, checked.
    ///
    /// # Errors
    /// [`Error::Argument`] naming the field.
    pub fn settings(&self) -> Result<SessionSettings> {
        let usual = SessionSettings::default();
        let seconds = |ms: Option<f64>, usual: f64| ms.map_or(usual, |ms| ms * 1e-3);
        let timing = Timing {
            chunk: seconds(self.chunk_ms, usual.timing.chunk),
            crossfade: seconds(self.crossfade_ms, usual.timing.crossfade),
            context: seconds(self.context_ms, usual.timing.context),
        };
        Geometry::new(self.rate_hz, timing)?;
        let (params, live) = self.params.over(usual.params, usual.live)?;
        Ok(SessionSettings { timing, params, live, ..usual })
    }

    /// The voice `name`, as jobs ask for one.
    pub fn voice_params(&self, name: &str) -> JobParams {
        JobParams { rvc_model_id: Some(name.to_owned()), rvc_f0_method: self.f0_method.clone(), ..JobParams::default() }
    }
}

/// How samples are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SampleFormat {
    /// 32-bit floats, full scale at -1 to 1.
    #[default]
    F32le,
    /// 16-bit integers.
    S16le,
}

impl SampleFormat {
    /// Samples of a message. What is no number is taken as silence.
    ///
    /// # Errors
    /// [`Error::Argument`] for bytes that are no whole samples.
    pub fn decode(self, bytes: &[u8]) -> Result<Vec<f32>> {
        let (name, size) = match self {
            Self::F32le => ("f32le", 4),
            Self::S16le => ("s16le", 2),
        };
        if !bytes.len().is_multiple_of(size) {
            let expected = format!("a multiple of {size} bytes, since samples are {name}");
            return Err(Error::argument("binary message", expected, format!("{} bytes", bytes.len())));
        }
        Ok(match self {
            Self::F32le => bytes
                .chunks_exact(4)
                .map(|sample| f32::from_le_bytes([sample[0], sample[1], sample[2], sample[3]]))
                .map(|sample| if sample.is_finite() { sample } else { 0.0 })
                .collect(),
            Self::S16le => bytes
                .chunks_exact(2)
                .map(|sample| f32::from(i16::from_le_bytes([sample[0], sample[1]])) / 32_768.0)
                .collect(),
        })
    }

    /// A message of samples.
    pub fn encode(self, samples: &[f32]) -> Vec<u8> {
        match self {
            Self::F32le => samples.iter().flat_map(|sample| sample.to_le_bytes()).collect(),
            Self::S16le => pcm(samples, Quantise::Round),
        }
    }
}

/// What happens to audio that comes faster than it can be converted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// The converter is waited for while it is less than half a second behind; beyond that chunks are silent, so that
    /// delay does not grow.
    #[default]
    Live,
    /// The converter is always waited for; the sender waits meanwhile.
    Free,
}

/// What can change while audio runs.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StreamParams {
    /// Pitch shift in semitones, -48 to 48. Until it is set, the speaker's usual pitch is brought to the voice's own, if the
    /// voice tells it, once half a second was spoken.
    pub transpose: Option<f32>,
    /// Formant shift in semitones, -12 to 12.
    pub formant: Option<f32>,
    /// Share of the index, 0 to 1.
    pub index_rate: Option<f32>,
    /// Protection of unvoiced sounds, 0 to 0.5.
    pub protect: Option<f32>,
    /// Whose loudness, 0 to 1: 0 the input's, 1 the voice's own.
    pub rms_mix_rate: Option<f32>,
    /// Share of the voice, 0 to 1; the rest is the input, delayed to match.
    pub mix: Option<f32>,
    /// Gain of the input in dB, -60 to 36.
    pub input_gain_db: Option<f32>,
    /// Gain of the output in dB, -60 to 36.
    pub output_gain_db: Option<f32>,
    /// Cut-off of the high-pass in Hz, 20 to 2000, or 0 for none.
    pub high_pass_hz: Option<f32>,
    /// Whether the noise gate works.
    pub gate: Option<bool>,
    /// Level at which it opens in dB, -100 to 0.
    pub gate_threshold_db: Option<f32>,
    /// Whether only the input is heard, delayed to match.
    pub bypass: Option<bool>,
    /// Whether nothing is heard.
    pub mute: Option<bool>,
}

impl StreamParams {
    /// These over those in force.
    ///
    /// # Errors
    /// [`Error::Argument`] naming the first value out of its range.
    pub fn over(&self, params: ConversionParams, live: LiveParams) -> Result<(ConversionParams, LiveParams)> {
        let (mut params, mut live) = (params, live);
        fn set<T: Copy>(place: &mut T, value: Option<T>) {
            *place = value.unwrap_or(*place);
        }
        set(&mut params.transpose_semitones, self.transpose);
        set(&mut params.formant_semitones, self.formant);
        set(&mut params.index_rate, self.index_rate);
        set(&mut params.protect, self.protect);
        set(&mut params.rms_mix_rate, self.rms_mix_rate);
        set(&mut live.mix, self.mix);
        set(&mut live.input_gain_db, self.input_gain_db);
        set(&mut live.output_gain_db, self.output_gain_db);
        set(&mut live.high_pass.on, self.high_pass_hz.map(|hz| hz != 0.0));
        set(&mut live.high_pass.cutoff_hz, self.high_pass_hz.filter(|&hz| hz != 0.0));
        set(&mut live.gate.on, self.gate);
        set(&mut live.gate.threshold_db, self.gate_threshold_db);
        set(&mut live.bypass, self.bypass);
        set(&mut live.mute, self.mute);
        params.validate()?;
        live.validate()?;
        Ok((params, live))
    }

    /// All of those in force.
    pub fn of(params: &ConversionParams, live: &LiveParams) -> Self {
        Self {
            transpose: Some(params.transpose_semitones),
            formant: Some(params.formant_semitones),
            index_rate: Some(params.index_rate),
            protect: Some(params.protect),
            rms_mix_rate: Some(params.rms_mix_rate),
            mix: Some(live.mix),
            input_gain_db: Some(live.input_gain_db),
            output_gain_db: Some(live.output_gain_db),
            high_pass_hz: Some(if live.high_pass.on { live.high_pass.cutoff_hz } else { 0.0 }),
            gate: Some(live.gate.on),
            gate_threshold_db: Some(live.gate.threshold_db),
            bypass: Some(live.bypass),
            mute: Some(live.mute),
        }
    }
}

/// What the server says.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Word {
    /// Audio may come. Sample n of what is sent back answers sample n of what came, and the first of it is sent once
    /// `latency.total_ms` of audio have come.
    Ready {
        /// The voice, as it was asked for.
        voice: String,
        /// Samples per second, both ways.
        rate_hz: u32,
        /// Samples of binary messages, both ways.
        format: SampleFormat,
        /// Audio that is converted at a time.
        chunk_samples: usize,
        /// The same in ms.
        chunk_ms: f64,
        /// By how much audio what is sent back lags.
        latency: LatencyView,
        /// Most bytes of a message.
        most_bytes: usize,
        /// All parameters in force.
        params: StreamParams,
    },
    /// A voice or parameters that were asked for are in force from here on; or, where no one has set the pitch, the speaker's
    /// was brought to the voice's own.
    Changed {
        /// The voice.
        voice: String,
        /// All parameters.
        params: StreamParams,
    },
    /// How it goes, four times a second while audio comes.
    Telemetry(Box<Telemetry>),
    /// Something that was asked for is not done. The stream goes on, unless a close follows.
    Error {
        /// Why, as RFC 9457 has it.
        problem: Problem,
    },
    /// All is sent.
    Stopped {
        /// Samples that came, which is as many as were sent back.
        samples: u64,
    },
}

impl Word {
    /// Its text.
    pub fn text(&self) -> String {
        // Plain data.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// What a stream's delay is made of, in ms of audio.
#[derive(Clone, Copy, Debug, Serialize, utoipa::ToSchema)]
#[allow(clippy::struct_field_names, reason = "names that clients read, with their unit")]
pub struct LatencyView {
    /// Gathering a chunk, and what joins and filters need.
    pub algorithmic_ms: f64,
    /// Time granted to convert a chunk.
    pub processing_ms: f64,
    /// Both.
    pub total_ms: f64,
}

impl LatencyView {
    /// The view of a latency at this rate.
    pub fn of(latency: Latency, rate_hz: u32) -> Self {
        let ms = |samples: usize| 1e3 * samples as f64 / f64::from(rate_hz);
        Self {
            algorithmic_ms: ms(latency.algorithmic),
            processing_ms: ms(latency.processing),
            total_ms: ms(latency.total()),
        }
    }
}

/// Levels of one side in dB of full scale, -120 at least.
#[derive(Clone, Copy, Debug, Serialize, utoipa::ToSchema)]
pub struct LevelView {
    /// Highest, falling by 20 dB a second.
    pub peak_db: f32,
    /// Root mean square of the last 300 ms.
    pub rms_db: f32,
}

/// Processing time over audio time.
#[derive(Clone, Copy, Debug, Serialize, utoipa::ToSchema)]
pub struct RtfView {
    /// Of the latest chunk.
    pub latest: f32,
    /// Of half of all chunks at most.
    pub p50: f32,
    /// Of 99 % of all chunks at most.
    pub p99: f32,
}

/// How a stream goes. Counts are since its start.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Telemetry {
    /// Samples that came.
    pub samples_in: u64,
    /// Samples that were sent back.
    pub samples_out: u64,
    /// Chunks taken in.
    pub chunks: u64,
    /// Of these, silent ones that were not rendered.
    pub rested_chunks: u64,
    /// Of these, those whose voice was not there at its moment: waited for, or left out.
    pub late_chunks: u64,
    /// Of these, those left out since they came too late.
    pub shed_chunks: u64,
    /// Of these, those that failed and were silent.
    pub failed_chunks: u64,
    /// Silence in place of voice that was not ready, in ms.
    pub starved_ms: f64,
    /// Audio that waits to be converted, in ms.
    pub waiting_ms: f64,
    /// How long chunks take.
    pub rtf: RtfView,
    /// Level that comes, after the input gain.
    pub input: LevelView,
    /// Level that is sent back.
    pub output: LevelView,
    /// Pitch of the latest chunk in Hz, 0 unvoiced.
    pub f0_hz: f32,
    /// What the delay is made of.
    pub latency: LatencyView,
}

impl Telemetry {
    /// What a session counts, without what its socket counts.
    pub fn of(telemetry: &LiveTelemetry, latency: Latency, rate_hz: u32) -> Self {
        let LiveTelemetry { worker, link, input, output, .. } = telemetry;
        let level = |levels: &crate::graph::nodes::Levels| LevelView {
            peak_db: amplitude_to_db(levels.peak),
            rms_db: amplitude_to_db(levels.rms),
        };
        let Percentiles { p50, p99, .. } = worker.total_ms;
        Self {
            samples_in: 0,
            samples_out: 0,
            chunks: worker.chunks,
            rested_chunks: worker.rested,
            late_chunks: 0,
            shed_chunks: worker.shed,
            failed_chunks: worker.failed,
            starved_ms: 1e3 * link.starvation.samples as f64 / f64::from(rate_hz),
            waiting_ms: 0.0,
            rtf: RtfView { latest: worker.rtf, p50: worker.rtf_of(p50), p99: worker.rtf_of(p99) },
            input: level(input),
            output: level(output),
            f0_hz: worker.f0_hz,
            latency: LatencyView::of(latency, rate_hz),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(fields: &str) -> Result<SessionSettings> {
        let text = format!(r#"{{"type":"start","voice":"a","rate_hz":48000{fields}}}"#);
        match serde_json::from_str(&text).expect("a start") {
            Wish::Start(start) => start.settings(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_left_out_is_as_syrinx_live_has_it() {
        assert_eq!(start("").expect("settings"), SessionSettings::default());
        let settings = start(r#","chunk_ms":20,"params":{"transpose":-3,"gate":true}"#).expect("settings");
        assert_eq!((settings.timing.chunk, settings.params.transpose_semitones), (0.02, -3.0));
        assert!(settings.live.gate.on);
    }

    #[test]
    fn fields_out_of_range_and_fields_that_there_are_not_are_refused_by_name() {
        for (fields, name) in [
            (r#","chunk_ms":5"#, "chunk"),
            (r#","context_ms":1e9"#, "context"),
            (r#","params":{"mix":2}"#, "mix"),
            (r#","params":{"transpose":49}"#, "transpose"),
            (r#","params":{"gate_threshold_db":1}"#, "gate threshold"),
        ] {
            let error = start(fields).expect_err(fields).to_string();
            assert!(error.starts_with(name), "{error}");
        }
        for text in [
            r#"{"type":"start","voice":"a","rate_hz":48000,"chunks":1}"#,
            r#"{"type":"set","params":{"pitch":1}}"#,
            r#"{"type":"set","transpose":1}"#,
            r#"{"type":"start","voice":"a","rate_hz":48000,"format":"mp3"}"#,
            r#"{"type":"sing"}"#,
        ] {
            assert!(serde_json::from_str::<Wish>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn samples_come_through_and_what_is_no_number_is_silence() {
        let samples = [0.0, 0.5, -1.0, 0.25];
        for format in [SampleFormat::F32le, SampleFormat::S16le] {
            assert_eq!(format.decode(&format.encode(&samples)).expect("samples"), samples);
            assert!(format.decode(&[0; 3]).expect_err("bytes").to_string().starts_with("binary message"));
        }
        let broken = SampleFormat::F32le.encode(&[f32::NAN, f32::INFINITY]);
        assert_eq!(SampleFormat::F32le.decode(&broken).expect("samples"), [0.0, 0.0]);
    }
}

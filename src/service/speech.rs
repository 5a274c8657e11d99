//! `POST /v1/audio/speech`: text in, speech in a voice out, while it is still being said.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream;
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::encode::{Format, streaming};
use super::params::JobParams;
use super::problem::Problem;
use super::routes::blocking;
use super::routes::form::fields;
use super::wav::{UNKNOWN, header as wav_header, pcm};
use super::{App, on_own_thread};
use crate::error::{Error, Result};
use crate::geometry::Timing;
use crate::io::write::Quantise;
use crate::nn::Cpu;
use crate::params::ConversionParams;
use crate::path::Converter;
use crate::path::stream::{JoinKind, Stream, StreamSettings};
use crate::tts::{ConvertedSpeech, Heard, OwnPitch, Speaker, Speech};

/// Most letters of a text, as OpenAI has it.
const LONGEST_TEXT: usize = 4096;
/// Chunks that may wait for who listens.
const AHEAD: usize = 64;
/// A source that says nothing for so long has failed.
const SILENCE: Duration = Duration::from_mins(1);
/// Chunk, overlap and past of a stream, in seconds.
const TIMING: Timing = Timing { chunk: 0.1, crossfade: 0.04, context: 1.0 };

/// What is asked for.
#[derive(Deserialize, utoipa::ToSchema)]
pub struct SpeechRequest {
    /// What to say, 1 to 4096 letters.
    #[schema(min_length = 1, max_length = 4096, pattern = r"\S")]
    input: String,
    /// Id or name of a voice.
    voice: String,
    /// Of no meaning here.
    #[serde(default)]
    #[allow(dead_code, reason = "clients send it")]
    model: Option<String>,
    /// wav, pcm, mp3, opus or flac; without this mp3, or wav where there is no ffmpeg.
    #[schema(pattern = "^(wav|pcm|mp3|opus|flac)$")]
    response_format: Option<String>,
    /// `audio` or `sse`.
    #[schema(pattern = "^(audio|sse)$")]
    stream_format: Option<String>,
    /// And how to convert.
    #[serde(flatten)]
    params: JobParams,
}

/// How the audio is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Delivery {
    Wav,
    Pcm,
    Packed(Format),
}

impl SpeechRequest {
    fn delivery(&self) -> Result<Delivery> {
        Ok(match self.response_format.as_deref() {
            None if Format::Mp3.is_available() => Delivery::Packed(Format::Mp3),
            None | Some("wav") => Delivery::Wav,
            Some("pcm") => Delivery::Pcm,
            Some("mp3") => Delivery::Packed(Format::named("mp3")?),
            Some("opus") => Delivery::Packed(Format::named("opus")?),
            Some("flac") if Format::Mp3.is_available() => Delivery::Packed(Format::Flac),
            Some(other) => {
                let expected = if Format::Mp3.is_available() {
                    "wav, pcm, mp3, opus or flac"
                } else {
                    "wav or pcm, since ffmpeg is not installed here"
                };
                return Err(Error::argument("response_format", expected, other));
            }
        })
    }
}

/// Speaks. The answer begins with the first converted chunk; hanging up ends the speech in the middle of a word. Where no
/// `rvc_pitch` is given and the voice tells its own pitch, the header `x-transpose-semitones` tells the shift to it,
/// if the first chunk is voiced.
#[utoipa::path(post, path = "/v1/audio/speech", tag = "speech", request_body = SpeechRequest,
    responses(
        (status = 200, content((String = "audio/wav"), (String = "audio/pcm"), (String = "audio/mpeg"), (String = "audio/ogg"),
            (String = "audio/flac"), (String = "text/event-stream")),
            headers(("x-sample-rate" = u32, description = "Hz"),
                ("x-transpose-semitones" = Option<f32>, description = "the shift to the voice's own pitch"))),
        (status = 404, body = Problem, description = "no such voice"),
        (status = 422, body = Problem), (status = 429, body = Problem), (status = 502, body = Problem, description = "the source fails"),
    ))]
pub async fn create(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let mut request: SpeechRequest = fields(request).await?;
    let letters = request.input.chars().count();
    if !(1..=LONGEST_TEXT).contains(&letters) || request.input.trim().is_empty() {
        return Err(Problem::invalid(format!("input: expected 1 to {LONGEST_TEXT} letters, found {letters}")));
    }
    request.params.rvc_model_id = Some(request.voice.clone());
    request.params.enable_rvc = Some(true);
    request.params.validate()?;
    let delivery = request.delivery()?;
    let as_events = match request.stream_format.as_deref() {
        None | Some("audio") => false,
        Some("sse") => true,
        Some(other) => return Err(Problem::invalid(format!("stream_format: expected audio or sse, found {other}"))),
    };
    let permit = app.streams.clone().try_acquire_owned();
    let permit = permit.map_err(|_| Problem::busy(format!("{} streams run already", app.settings.most_streams), 2))?;
    app.counts.count(|counts| &counts.speech_streams);

    let (shared, params) = (app.clone(), request.params.clone());
    let converter = blocking(move || shared.tools.converter(&params)).await?;
    let converter = converter.ok_or_else(|| Problem::not_found("the voice"))?;
    let rate_hz = converter.sample_rate_hz();
    let source = app.tools.source.clone();
    let speech = Speech::of_text(&app.tools.runtime, source, &request.input, request.params.manner());
    let mut voice = start(&app, speech, converter, &request.params, permit)?;
    // Whatever fails before the first sound is told by the status.
    let first = voice.audio.recv().await;
    let first = first.ok_or_else(|| Problem::invalid("input: expected something that can be said"))??;
    let mut response = respond(delivery, as_events, rate_hz, first, voice.audio)?;
    if let Some(semitones) = voice.shift.get().and_then(|shift| HeaderValue::from_str(&format!("{shift:.2}")).ok()) {
        response.headers_mut().insert("x-transpose-semitones", semitones);
    }
    Ok(response)
}

/// A voice, as it is converted.
pub(super) struct Voice {
    /// Raw PCM of 16 bits.
    pub audio: Audio,
    /// Semitones by which the pitch was brought to the voice's own, once that is known.
    pub shift: Arc<OnceLock<f32>>,
}

/// Raw PCM of 16 bits, as it is converted.
type Audio = mpsc::Receiver<Result<Vec<u8>>>;

/// Has speech converted on a thread of its own, for as long as someone listens.
///
/// # Errors
/// A system that grants no thread.
pub(super) fn start(
    app: &Arc<App>,
    speech: Speech,
    converter: Converter<Cpu>,
    params: &JobParams,
    permit: OwnedSemaphorePermit,
) -> Result<Voice> {
    let (tx, audio) = mpsc::channel(AHEAD);
    let runtime = app.tools.runtime.clone();
    let own_hz = converter.pitch_hz().filter(|_| params.rvc_pitch.is_none());
    let own_pitch = own_hz.map(|hz| {
        let speaker = Speaker::of(&*app.tools.source, &params.manner());
        OwnPitch::new(hz, speaker, app.usual_pitches.clone())
    });
    let shift = Arc::new(OnceLock::new());
    let told = shift.clone();
    let params = ConversionParams { rms_mix_rate: params.rvc_rms_mix_rate.unwrap_or(0.0), ..params.conversion() };
    on_own_thread("speech", move || {
        let _permit = permit;
        if let Err(error) = convert(&runtime, speech, converter, params, own_pitch, &told, &tx) {
            tracing::warn!("speech: {error}");
            // Who listens may be gone.
            let _ = tx.blocking_send(Err(error));
        }
    })?;
    Ok(Voice { audio, shift })
}

fn convert(
    runtime: &tokio::runtime::Handle,
    speech: Speech,
    converter: Converter<Cpu>,
    params: ConversionParams,
    own_pitch: Option<OwnPitch>,
    shift: &OnceLock<f32>,
    tx: &mpsc::Sender<Result<Vec<u8>>>,
) -> Result<()> {
    let settings = StreamSettings {
        rate_hz: converter.sample_rate_hz(),
        timing: TIMING,
        join: JoinKind::default(),
        gate_db: None,
        rest_db: Some(-60.0),
        denoise_input: false,
        denoise_output: false,
    };
    let stream = Stream::new(converter, settings, &params)?;
    let mut speech = ConvertedSpeech::new(speech, stream, params, own_pitch)?;
    loop {
        match speech.next(runtime, SILENCE)? {
            Heard::Voice(samples) => {
                let pcm = pcm(samples, Quantise::Round);
                if let Some(semitones) = speech.shift() {
                    shift.get_or_init(|| semitones);
                }
                // Who listens may be gone, or take nothing any more.
                let taken = async { tokio::time::timeout(SILENCE, tx.send(Ok(pcm))).await };
                if !matches!(runtime.block_on(taken), Ok(Ok(()))) {
                    return Ok(());
                }
            }
            Heard::End => return Ok(()),
            Heard::Waiting => {
                return Err(Error::server("text to speech", "it says nothing any more", "is it overloaded?"));
            }
        }
    }
}

fn respond(
    delivery: Delivery,
    as_events: bool,
    rate_hz: u32,
    first: Vec<u8>,
    voice: Audio,
) -> Result<Response, Problem> {
    let kind = match delivery {
        Delivery::Wav => "audio/wav".to_owned(),
        Delivery::Pcm => format!("audio/pcm;rate={rate_hz};channels=1"),
        Delivery::Packed(format) => format.media_type().to_owned(),
    };
    let head = if delivery == Delivery::Wav { wav_header(rate_hz, UNKNOWN) } else { Vec::new() };
    let first = [head, first].concat();
    let voice = match delivery {
        Delivery::Packed(format) => packed(format, rate_hz, first, voice)?,
        _ => Box::pin(stream::unfold((Some(first), voice), |(first, mut voice)| async move {
            let next = match first {
                Some(first) => Ok(first),
                None => voice.recv().await?,
            };
            Some((next.map_err(std::io::Error::other), (None, voice)))
        })),
    };
    let rate = [(HeaderName::from_static("x-sample-rate"), rate_hz.to_string())];
    if as_events {
        return Ok((rate, [(header::CONTENT_TYPE, "text/event-stream")], events(voice)).into_response());
    }
    Ok((StatusCode::OK, rate, [(header::CONTENT_TYPE, kind)], Body::from_stream(voice)).into_response())
}

/// Bytes as they come.
type Bytestream = std::pin::Pin<Box<dyn stream::Stream<Item = std::io::Result<Vec<u8>>> + Send>>;

/// The voice through ffmpeg, which is ended with who listens.
fn packed(format: Format, rate_hz: u32, first: Vec<u8>, mut voice: Audio) -> Result<Bytestream> {
    let mut ffmpeg = streaming(format, rate_hz)?;
    let missing = || Error::server("ffmpeg", "it has no pipes", "this is a fault of Syrinx");
    let mut input = ffmpeg.stdin.take().ok_or_else(missing)?;
    let output = ffmpeg.stdout.take().ok_or_else(missing)?;
    tokio::spawn(async move {
        let mut bytes = first;
        // One that fails ends its output, which is what is heard.
        while input.write_all(&bytes).await.is_ok() {
            match voice.recv().await {
                Some(Ok(more)) => bytes = more,
                Some(Err(_)) | None => return,
            }
        }
    });
    Ok(Box::pin(stream::unfold((ffmpeg, output), |(ffmpeg, mut output)| async move {
        let mut bytes = vec![0; 4096];
        match output.read(&mut bytes).await {
            Ok(0) => None,
            Ok(count) => {
                bytes.truncate(count);
                Some((Ok(bytes), (ffmpeg, output)))
            }
            Err(error) => Some((Err(error), (ffmpeg, output))),
        }
    })))
}

/// The same as events of base64.
fn events(voice: Bytestream) -> Body {
    let line = |event: serde_json::Value| Bytes::from(format!("data: {event}\n\n"));
    let events = stream::unfold(Some(voice), move |voice| async move {
        use futures_util::StreamExt;
        let mut voice = voice?;
        Some(match voice.next().await {
            Some(Ok(bytes)) => {
                let event = json!({ "type": "speech.audio.delta", "audio": STANDARD.encode(bytes) });
                (Ok(line(event)), Some(voice))
            }
            Some(Err(error)) => (Err(error), None),
            None => (Ok(line(json!({ "type": "speech.audio.done" }))), None),
        })
    });
    Body::from_stream(events)
}

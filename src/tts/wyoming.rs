//! Wyoming servers, as Home Assistant speaks to: lines of JSON with data and payload behind them, over TCP.
//!
//! One connection serves one sentence after another, and is made anew when it broke. A sentence is streamed as text
//! (`synthesize-start`, `-chunk`, `-stop`) where the server takes that, and is one `synthesize` else. A stream holds one
//! sentence, since a server says the last one it has only when it knows that it has ended.

use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::patience::Fault;
use super::pcm::{Decoder, PcmFormat, SampleKind};
use super::speech::Utterance;
use super::{Manner, Source, SourceVoice};
use crate::error::{Error, Result};

/// Version of the protocol that events are marked with.
const VERSION: &str = "1.8.0";
/// Time in which a server must take a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Time in which a server must go on sending.
const STALLED: Duration = Duration::from_secs(30);
/// Most bytes of a line, of data and of a payload.
const LONGEST: usize = 16 << 20;

/// A Wyoming server.
#[derive(Debug)]
pub struct WyomingSource {
    address: String,
    /// A connection that is idle.
    idle: Mutex<Option<Connection>>,
}

impl WyomingSource {
    /// The server at `address`, as in `127.0.0.1:10200`, with or without `tcp://` before it.
    ///
    /// # Errors
    /// No address.
    pub fn new(address: &str) -> Result<Self> {
        let address = address.strip_prefix("tcp://").unwrap_or(address).trim_end_matches('/');
        if address.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
            return Err(Error::argument("--tts wyoming", "an address as in 127.0.0.1:10200", address));
        }
        Ok(Self { address: address.to_owned(), idle: Mutex::new(None) })
    }

    fn broken(&self, problem: impl std::fmt::Display) -> Fault {
        Fault::passing(&self.name(), problem)
    }

    async fn connect(&self) -> std::io::Result<Connection> {
        let stream = timeout(CONNECT, TcpStream::connect(&self.address)).await??;
        stream.set_nodelay(true)?;
        let (read, write) = stream.into_split();
        let mut connection = Connection { read: BufReader::new(read), write, info: Value::Null };
        connection.send("describe", &Value::Null).await?;
        while connection.info.is_null() {
            let event = connection.next().await?;
            if event.kind == "info" {
                connection.info = event.data;
            }
        }
        Ok(connection)
    }

    /// Says one sentence over a connection, which is of use afterwards if this succeeds.
    async fn say_over(
        &self,
        connection: &mut Connection,
        text: &str,
        manner: &Manner,
        audio: &mut Utterance,
    ) -> Result<(), Fault> {
        let voice = match (&manner.voice, &manner.language) {
            (Some(name), _) => json!({ "name": name }),
            (None, Some(language)) => json!({ "language": language }),
            (None, None) => Value::Null,
        };
        let streams = connection.takes_streams();
        let sent = if streams {
            connection.stream(text, &voice).await
        } else {
            connection.send("synthesize", &with_voice(json!({ "text": text }), &voice)).await
        };
        sent.map_err(|error| self.broken(error))?;
        let mut decoder = None;
        loop {
            let event = connection.next().await.map_err(|error| self.broken(error))?;
            match event.kind.as_str() {
                "audio-start" => decoder = Some(Decoder::new(Some(self.format(&event.data)?))),
                "audio-chunk" => {
                    if decoder.is_none() {
                        decoder = Some(Decoder::new(Some(self.format(&event.data)?)));
                    }
                    let pieces = decoder.as_mut().map(|decoder| decoder.push(&event.payload));
                    for piece in pieces.unwrap_or(Ok(Vec::new())).map_err(|found| self.broken(found))? {
                        audio.push(piece).await?;
                    }
                }
                "audio-stop" if !streams => return Ok(()),
                "synthesize-stopped" => return Ok(()),
                "error" => {
                    let told = event.data["text"].as_str().unwrap_or("an error without a text").to_owned();
                    return Err(self.broken(told));
                }
                _ => {}
            }
        }
    }

    fn format(&self, data: &Value) -> Result<PcmFormat, Fault> {
        let number = |name: &str| data[name].as_u64();
        let rate_hz = number("rate").and_then(|rate_hz| u32::try_from(rate_hz).ok());
        let channels = number("channels").and_then(|channels| u16::try_from(channels).ok());
        let kind = number("width").and_then(SampleKind::signed);
        let format = rate_hz.zip(channels).zip(kind);
        let format = format.map(|((rate_hz, channels), kind)| PcmFormat { rate_hz, channels, kind });
        let hint = "it must tell rate, width and channels";
        format.filter(PcmFormat::is_plausible).ok_or_else(|| {
            Fault::Lasting(Error::server(self.name(), format!("its audio is of no known format: {data}"), hint))
        })
    }
}

impl Source for WyomingSource {
    fn name(&self) -> String {
        format!("tcp://{}", self.address)
    }

    fn say<'a>(
        &'a self,
        text: &'a str,
        manner: &'a Manner,
        audio: &'a mut Utterance,
    ) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            // One that is dropped in the middle of a sentence is not put back.
            let idle = self.idle.lock().await.take();
            let mut connection = match idle {
                Some(connection) => connection,
                None => self.connect().await.map_err(|error| self.broken(error))?,
            };
            self.say_over(&mut connection, text, manner, audio).await?;
            *self.idle.lock().await = Some(connection);
            Ok(())
        })
    }

    fn voices(&self) -> BoxFuture<'_, Result<Vec<SourceVoice>>> {
        Box::pin(async move {
            let connection = self.connect().await;
            let connection = connection.map_err(|error| Error::server(self.name(), error, "is it running?"))?;
            let programs = connection.info["tts"].as_array().into_iter().flatten();
            let voices = programs.flat_map(|program| program["voices"].as_array().into_iter().flatten());
            let voices = voices.filter_map(|voice| {
                let languages = voice["languages"].as_array().into_iter().flatten();
                let languages = languages.filter_map(|language| language.as_str().map(str::to_owned)).collect();
                Some(SourceVoice { name: voice["name"].as_str()?.to_owned(), languages })
            });
            Ok(voices.collect())
        })
    }
}

fn with_voice(mut data: Value, voice: &Value) -> Value {
    if !voice.is_null() {
        data["voice"] = voice.clone();
    }
    data
}

/// An event as it came.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) kind: String,
    pub(crate) data: Value,
    pub(crate) payload: Vec<u8>,
}

/// Reads an event: a line of JSON, data and payload.
pub(crate) async fn read_event<R: AsyncBufRead + Unpin>(read: &mut R) -> std::io::Result<Event> {
    let invalid = |found: String| std::io::Error::new(std::io::ErrorKind::InvalidData, found);
    let mut line = Vec::new();
    if (&mut *read).take(LONGEST as u64).read_until(b'\n', &mut line).await? == 0 {
        return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the connection was closed"));
    }
    let mut header: Value =
        serde_json::from_slice(&line).map_err(|_| invalid("a line that is no JSON: this is not Wyoming".into()))?;
    let length = |name: &str| {
        let length = header[name].as_u64().unwrap_or(0) as usize;
        if length <= LONGEST { Ok(length) } else { Err(invalid(format!("an event of {length} bytes"))) }
    };
    let (data_length, payload_length) = (length("data_length")?, length("payload_length")?);
    let mut data = header["data"].take();
    if data_length > 0 {
        let bytes = read_exactly(read, data_length).await?;
        let more: Value = serde_json::from_slice(&bytes).map_err(|_| invalid("data that is no JSON".into()))?;
        match (data.as_object_mut(), more) {
            (Some(data), Value::Object(more)) => data.extend(more),
            (_, more) => data = more,
        }
    }
    let payload = read_exactly(read, payload_length).await?;
    Ok(Event { kind: header["type"].as_str().unwrap_or_default().to_owned(), data, payload })
}

/// Memory grows with what comes, not with what is claimed.
async fn read_exactly<R: AsyncBufRead + Unpin>(read: &mut R, length: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    (&mut *read).take(length as u64).read_to_end(&mut bytes).await?;
    if bytes.len() == length { Ok(bytes) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) }
}

/// Writes an event.
pub(crate) async fn write_event<W: AsyncWrite + Unpin>(
    write: &mut W,
    kind: &str,
    data: &Value,
    payload: &[u8],
) -> std::io::Result<()> {
    let data = if data.is_null() { Vec::new() } else { data.to_string().into_bytes() };
    let header = json!({
        "type": kind, "version": VERSION, "data_length": data.len(), "payload_length": payload.len(),
    });
    let mut bytes = header.to_string().into_bytes();
    bytes.push(b'\n');
    bytes.extend(data);
    bytes.extend_from_slice(payload);
    write.write_all(&bytes).await
}

#[derive(Debug)]
struct Connection {
    read: BufReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
    /// What the server told of itself.
    info: Value,
}

impl Connection {
    fn takes_streams(&self) -> bool {
        let mut programs = self.info["tts"].as_array().into_iter().flatten();
        programs.any(|program| program["supports_synthesize_streaming"].as_bool() == Some(true))
    }

    async fn stream(&mut self, text: &str, voice: &Value) -> std::io::Result<()> {
        self.send("synthesize-start", &with_voice(json!({}), voice)).await?;
        self.send("synthesize-chunk", &json!({ "text": text })).await?;
        self.send("synthesize-stop", &json!({})).await
    }

    async fn send(&mut self, kind: &str, data: &Value) -> std::io::Result<()> {
        write_event(&mut self.write, kind, data, &[]).await
    }

    async fn next(&mut self) -> std::io::Result<Event> {
        timeout(STALLED, read_event(&mut self.read)).await?
    }
}

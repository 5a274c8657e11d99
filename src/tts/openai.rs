//! Servers that speak as OpenAI's does: `POST /v1/audio/speech`.
//!
//! The body is read as it comes, whether it is sent whole, in chunks, or as server-sent events of base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::BoxFuture;
use reqwest::Response;
use serde_json::{Value, json};

use super::http::{Server, format_of};
use super::patience::Fault;
use super::pcm::{Decoder, PcmFormat};
use super::speech::Utterance;
use super::{Manner, Source};
use crate::error::{Error, Result};

/// Model that is asked for unless another is named.
const MODEL: &str = "tts-1";
/// Voice that is asked for unless another is named.
const VOICE: &str = "alloy";
/// Longest event, in bytes.
const LONGEST_EVENT: usize = 16 << 20;

/// How a server shall answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenAiSettings {
    /// `tts-1`, `gpt-4o-mini-tts` or what the server knows.
    pub model: Option<String>,
    /// Whether raw PCM is asked for instead of a wav.
    pub as_pcm: bool,
    /// Whether events are asked for instead of audio.
    pub as_events: bool,
    /// What raw PCM is like, if the server does not tell.
    pub format: Option<PcmFormat>,
}

/// A server that speaks as OpenAI's does.
#[derive(Clone, Debug)]
pub struct OpenAiSource {
    server: Server,
    settings: OpenAiSettings,
}

impl OpenAiSource {
    /// The server at `address`, before `/v1`, with a token if it wants one.
    ///
    /// # Errors
    /// No address of HTTP.
    pub fn new(address: &str, token: Option<String>, settings: OpenAiSettings) -> Result<Self> {
        let address = address.trim_end_matches('/').trim_end_matches("/v1");
        Ok(Self { server: Server::new(address, token)?, settings })
    }

    fn body(&self, text: &str, manner: &Manner) -> Value {
        let mut body = json!({
            "model": self.settings.model.as_deref().unwrap_or(MODEL),
            "input": text,
            "voice": manner.voice.as_deref().unwrap_or(VOICE),
            "response_format": if self.settings.as_pcm { "pcm" } else { "wav" },
        });
        if let Some(speed) = manner.speed {
            body["speed"] = json!(speed);
        }
        if self.settings.as_events {
            body["stream_format"] = json!("sse");
        }
        body
    }

    /// Passes on the audio of events until the last.
    async fn listen_to_events(&self, mut response: Response, audio: &mut Utterance) -> Result<(), Fault> {
        let mut decoder = Decoder::new(format_of(&response).or(self.settings.format));
        let mut events = Events::default();
        while let Some(bytes) = response.chunk().await.map_err(|error| self.server.broken(&error))? {
            events.bytes.extend_from_slice(&bytes);
            while let Some(data) = events.next() {
                match self.audio_of(&data)? {
                    Delta::Audio(bytes) => {
                        for piece in decoder.push(&bytes).map_err(|found| self.server.no_audio(&found))? {
                            audio.push(piece).await?;
                        }
                    }
                    Delta::Other => {}
                    Delta::Done => return decoder.finish().map_err(|found| self.server.no_audio(&found)),
                }
            }
            if events.bytes.len() > LONGEST_EVENT {
                return Err(self.server.no_audio("one event without an end"));
            }
        }
        Err(Fault::passing(&self.server.name(), "its events broke off"))
    }

    fn audio_of(&self, data: &str) -> Result<Delta, Fault> {
        if data == "[DONE]" {
            return Ok(Delta::Done);
        }
        if data.is_empty() {
            return Ok(Delta::Other);
        }
        let event: Value = serde_json::from_str(data).map_err(|_| self.server.no_audio("an event without JSON"))?;
        match event["type"].as_str() {
            Some("speech.audio.delta") => {
                let bytes = event["audio"].as_str().and_then(|audio| STANDARD.decode(audio).ok());
                bytes.map(Delta::Audio).ok_or_else(|| self.server.no_audio("an event without base64"))
            }
            Some("speech.audio.done") => Ok(Delta::Done),
            Some("error") => {
                let told = event["error"]["message"].as_str().unwrap_or(data);
                Err(Fault::Passing { error: Error::server(self.server.name(), told, "try again"), after: None })
            }
            _ => Ok(Delta::Other),
        }
    }
}

impl Source for OpenAiSource {
    fn name(&self) -> String {
        self.server.name()
    }

    fn say<'a>(
        &'a self,
        text: &'a str,
        manner: &'a Manner,
        audio: &'a mut Utterance,
    ) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let request = self.server.post("v1/audio/speech", &self.body(text, manner))?;
            let response = self.server.send(request).await?;
            let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
            if kind.starts_with("text/event-stream") {
                return self.listen_to_events(response, audio).await;
            }
            self.server.listen(response, self.settings.format, audio).await
        })
    }
}

enum Delta {
    Audio(Vec<u8>),
    Other,
    Done,
}

/// Bytes of server-sent events.
#[derive(Default)]
struct Events {
    bytes: Vec<u8>,
}

impl Events {
    /// The data of the next event that is whole.
    fn next(&mut self) -> Option<String> {
        let (length, gap) = (0..self.bytes.len()).find_map(|at| {
            let gap = [&b"\r\n\r\n"[..], b"\n\n", b"\r\r"].into_iter().find(|gap| self.bytes[at..].starts_with(gap))?;
            Some((at, gap.len()))
        })?;
        let event: Vec<u8> = self.bytes.drain(..length + gap).take(length).collect();
        let event = String::from_utf8_lossy(&event).into_owned();
        let data = event.lines().filter_map(|line| line.strip_prefix("data:"));
        Some(data.map(|data| data.strip_prefix(' ').unwrap_or(data)).collect::<Vec<_>>().join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_out_whole_whatever_pieces_they_came_in() {
        let stream = b"event: x\ndata: {\"a\":1}\n\n: comment\n\ndata: one\ndata: two\r\n\r\ndata: [DO";
        for step in [1, 5, 1000] {
            let (mut events, mut found) = (Events::default(), Vec::new());
            for bytes in stream.chunks(step) {
                events.bytes.extend(bytes);
                found.extend(std::iter::from_fn(|| events.next()));
            }
            assert_eq!(found, ["{\"a\":1}", "", "one\ntwo"], "by {step}");
        }
    }
}

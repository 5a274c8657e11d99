//! Piper's own HTTP server, `python -m piper.http_server`: a wav a request.

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::http::Server;
use super::patience::Fault;
use super::speech::Utterance;
use super::{Manner, Source, SourceVoice};
use crate::error::{Error, Result};

/// A piper server.
#[derive(Clone, Debug)]
pub struct PiperHttpSource {
    server: Server,
}

impl PiperHttpSource {
    /// The server at `address`.
    ///
    /// # Errors
    /// No address of HTTP.
    pub fn new(address: &str) -> Result<Self> {
        Ok(Self { server: Server::new(address, None)? })
    }
}

impl Source for PiperHttpSource {
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
            let mut body = json!({ "text": text });
            if let Some(voice) = &manner.voice {
                body["voice"] = json!(voice);
            }
            if let Some(speed) = manner.speed {
                body["length_scale"] = json!(1.0 / speed);
            }
            let response = match self.server.send(self.server.post("synthesize", &body)?).await {
                // Before 1.5 it listened at the root.
                Err(Fault::Lasting(Error::Server { problem, .. }))
                    if problem.contains("404") || problem.contains("405") =>
                {
                    self.server.send(self.server.post("", &body)?).await?
                }
                answer => answer?,
            };
            self.server.listen(response, None, audio).await
        })
    }

    fn voices(&self) -> BoxFuture<'_, Result<Vec<SourceVoice>>> {
        Box::pin(async move {
            let Ok(request) = self.server.get("voices", &[]) else { return Ok(Vec::new()) };
            let Ok(response) = self.server.send(request).await else { return Ok(Vec::new()) };
            let voices: Value = serde_json::from_str(&response.text().await.unwrap_or_default()).unwrap_or_default();
            let voices = voices.as_object().into_iter().flatten();
            Ok(voices
                .map(|(name, about)| SourceVoice {
                    name: name.clone(),
                    languages: about["language"]["code"].as_str().map(str::to_owned).into_iter().collect(),
                })
                .collect())
        })
    }
}

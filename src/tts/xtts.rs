//! xtts-api-server: `GET /tts_stream`, which speaks while it thinks, or `POST /tts_to_audio/`, which does not.

use futures_util::future::BoxFuture;
use serde_json::json;

use super::http::Server;
use super::patience::Fault;
use super::speech::Utterance;
use super::{Manner, Source, SourceVoice};
use crate::error::Result;

/// Speaker that is asked for unless another is named.
const SPEAKER: &str = "female";
/// Language that is asked for unless another is named.
const LANGUAGE: &str = "en";

/// An xtts-api-server.
#[derive(Clone, Debug)]
pub struct XttsSource {
    server: Server,
    /// Whether sentences are asked for whole.
    is_whole: bool,
}

impl XttsSource {
    /// The server at `address`; `is_whole` for one that cannot stream.
    ///
    /// # Errors
    /// No address of HTTP.
    pub fn new(address: &str, is_whole: bool) -> Result<Self> {
        Ok(Self { server: Server::new(address, None)?, is_whole })
    }
}

impl Source for XttsSource {
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
            let speaker = manner.voice.as_deref().unwrap_or(SPEAKER);
            let language = manner.language.as_deref().unwrap_or(LANGUAGE);
            let request = if self.is_whole {
                let body = json!({ "text": text, "speaker_wav": speaker, "language": language });
                self.server.post("tts_to_audio/", &body)?
            } else {
                let query = [("text", text), ("speaker_wav", speaker), ("language", language)];
                self.server.get("tts_stream", &query)?
            };
            let response = self.server.send(request).await?;
            self.server.listen(response, None, audio).await
        })
    }

    fn voices(&self) -> BoxFuture<'_, Result<Vec<SourceVoice>>> {
        Box::pin(async move {
            // An older server has no list.
            let Ok(request) = self.server.get("speakers_list", &[]) else { return Ok(Vec::new()) };
            let Ok(response) = self.server.send(request).await else { return Ok(Vec::new()) };
            let names: Vec<String> =
                serde_json::from_str(&response.text().await.unwrap_or_default()).unwrap_or_default();
            Ok(names.into_iter().map(|name| SourceVoice { name, languages: Vec::new() }).collect())
        })
    }
}

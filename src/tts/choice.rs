//! A source as a person names it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Source;
use super::command::CommandSource;
use super::openai::{OpenAiSettings, OpenAiSource};
use super::pcm::PcmFormat;
use super::piper_http::PiperHttpSource;
use super::wyoming::WyomingSource;
use super::xtts::XttsSource;
use crate::error::{Error, Result};

/// What may be named.
const KINDS: &str = "espeak-ng[=PROGRAM], piper=MODEL.onnx, command=PROGRAM ARGUMENTS, openai=URL, wyoming=HOST:PORT, \
                     xtts=URL or piper-http=URL";

/// How a server shall deliver, where it can choose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Delivery {
    /// A wav as it is produced
    #[default]
    Stream,
    /// Raw PCM as it is produced
    Pcm,
    /// Events that hold audio (OpenAI's `stream_format: sse`)
    Events,
    /// A wav when it is whole (xtts)
    Whole,
}

/// A source, and what it needs to know.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SourceChoice {
    /// `KIND=TARGET`.
    pub source: String,
    /// The model to ask for, of OpenAI's servers.
    pub model: Option<String>,
    /// Rate of raw PCM of 16 bits in Hz, where nothing else tells it.
    pub rate_hz: Option<u32>,
    /// How a server shall deliver.
    pub delivery: Delivery,
    /// What a server wants to see before it answers. Never shown.
    pub token: Option<String>,
}

impl std::fmt::Debug for SourceChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SourceChoice").field("source", &self.source).finish_non_exhaustive()
    }
}

impl SourceChoice {
    /// The source; nothing is connected or started yet.
    ///
    /// # Errors
    /// [`Error::Argument`] for a kind that there is not, or a target that it cannot have.
    pub fn open(&self) -> Result<Arc<dyn Source>> {
        let format = self.rate_hz.map(PcmFormat::mono);
        if let Some(format) = format.filter(|format| !format.is_plausible()) {
            return Err(Error::argument("--tts-rate", "4000 to 384000 Hz", format.rate_hz));
        }
        let (kind, target) = match self.source.split_once('=') {
            Some((kind, target)) => (kind, Some(target).filter(|target| !target.is_empty())),
            None => (self.source.as_str(), None),
        };
        let needed = || target.ok_or_else(|| Error::argument("--tts", KINDS, &self.source));
        Ok(match kind {
            "espeak-ng" => Arc::new(CommandSource::espeak(target.map(PathBuf::from))),
            "piper" => Arc::new(CommandSource::piper(None, Path::new(needed()?))?),
            "command" => Arc::new(CommandSource::new(needed()?, format)?),
            "openai" => {
                let settings = OpenAiSettings {
                    model: self.model.clone(),
                    as_pcm: matches!(self.delivery, Delivery::Pcm | Delivery::Events),
                    as_events: self.delivery == Delivery::Events,
                    format,
                };
                Arc::new(OpenAiSource::new(needed()?, self.token.clone(), settings)?)
            }
            "wyoming" => Arc::new(WyomingSource::new(needed()?)?),
            "xtts" => Arc::new(XttsSource::new(needed()?, self.delivery == Delivery::Whole)?),
            "piper-http" => Arc::new(PiperHttpSource::new(needed()?)?),
            _ => return Err(Error::argument("--tts", KINDS, &self.source)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(source: &str) -> Result<Arc<dyn Source>> {
        SourceChoice { source: source.into(), ..SourceChoice::default() }.open()
    }

    #[test]
    fn sources_are_named_by_kind_and_target() {
        for (source, name) in [
            ("espeak-ng", "espeak-ng"),
            ("espeak-ng=/opt/espeak", "/opt/espeak"),
            ("command=say -x 'a b'", "say"),
            ("openai=http://127.0.0.1:8000/v1", "http://127.0.0.1:8000"),
            ("wyoming=tcp://127.0.0.1:10200", "tcp://127.0.0.1:10200"),
            ("xtts=http://user:secret@127.0.0.1:8020/", "http://127.0.0.1:8020"),
            ("piper-http=http://[::1]:5000", "http://[::1]:5000"),
        ] {
            assert_eq!(open(source).expect(source).name(), name);
        }
    }

    #[test]
    fn what_is_no_source_is_refused_with_what_would_be() {
        for source in ["", "siri", "piper", "openai=", "openai=ftp://x", "wyoming=127.0.0.1", "command= "] {
            let error = open(source).err().expect(source);
            assert_eq!(error.exit_code(), 64, "{error}");
        }
        assert_eq!(open("piper=no such.onnx").err().map(|error| error.exit_code()), Some(66));
        let choice = SourceChoice { source: "x".into(), token: Some("secret".into()), ..SourceChoice::default() };
        assert!(!format!("{choice:?}").contains("secret"));
    }
}

//! Text to speech as a stream: text goes in as it comes, audio comes out as it is produced.
//!
//! ```text
//! text -> Sentences -> Source (a program, a server) -> Speech -> ConvertedSpeech: the path's Stream -> chunks of the voice
//! ```
//!
//! | source | speaks to |
//! |---|---|
//! | [`command`] | any program that writes wav or raw PCM: espeak-ng, piper |
//! | [`openai`] | `POST /v1/audio/speech`: whole, chunked or as server-sent events |
//! | [`wyoming`] | Wyoming servers over TCP, with streamed text where they take it |
//! | [`xtts`] | xtts-api-server: `/tts_stream`, `/tts_to_audio/` |
//! | [`piper_http`] | `piper.http_server` |
//!
//! A [`Source`] says one sentence at a time, so that the first audio comes early and little is lost when a server dies:
//! a sentence that broke off is said again, without what was heard of it already. Waiting between attempts grows and ends.
//! No rate is assumed: it comes with the audio, or is asked for by an error. Dropping a [`Speech`] ends it in the middle
//! of a word: connections close, programs are killed.

pub mod choice;
pub mod command;
pub mod converted;
mod http;
pub mod openai;
pub mod own_pitch;
mod patience;
mod pcm;
pub mod piper_http;
pub mod speech;
pub mod text;
pub mod wyoming;
pub mod xtts;

use futures_util::future::BoxFuture;

pub use choice::SourceChoice;
pub use converted::{ConvertedSpeech, Heard};
pub use own_pitch::{OwnPitch, Speaker, UsualPitches};
pub use patience::Fault;
pub use pcm::{PcmFormat, SampleKind};
pub use speech::{Piece, Speech, Utterance};
pub use text::Sentences;

use crate::error::Result;

/// How a source shall speak. What it does not know, it leaves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manner {
    /// Its voice, as the source names it; its usual one if none is named.
    pub voice: Option<String>,
    /// The text's language, as `en` or `pt-br`.
    pub language: Option<String>,
    /// Speed, 0.25..=4; 1 is usual.
    pub speed: Option<f32>,
}

/// A voice that a source offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceVoice {
    /// The name to ask for it by.
    pub name: String,
    /// The languages it speaks; none if the source does not say.
    pub languages: Vec<String>,
}

/// Something that speaks.
pub trait Source: Send + Sync {
    /// What it is, for messages: `espeak-ng`, `http://127.0.0.1:5000`.
    fn name(&self) -> String;

    /// Says one sentence into `audio`, piece by piece as they are produced. Dropping the future ends it at once.
    ///
    /// Fails with [`Fault::Passing`] where another attempt may succeed.
    fn say<'a>(
        &'a self,
        text: &'a str,
        manner: &'a Manner,
        audio: &'a mut Utterance,
    ) -> BoxFuture<'a, Result<(), Fault>>;

    /// Its voices; empty if it does not tell.
    fn voices(&self) -> BoxFuture<'_, Result<Vec<SourceVoice>>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    /// Whether it wants all sentences of a text in one [`say_all`](Self::say_all), since starting is slow.
    fn takes_all(&self) -> bool {
        false
    }

    /// Says sentences as they come, where [`takes_all`](Self::takes_all).
    fn say_all<'a>(
        &'a self,
        sentences: &'a mut speech::TextRx,
        manner: &'a Manner,
        audio: &'a mut Utterance,
    ) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            while let Some(sentence) = sentences.recv().await {
                self.say(&sentence, manner, audio).await?;
            }
            Ok(())
        })
    }
}

//! Speech: text that is being said, as audio that can be waited for, and that can be ended at any moment.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::patience::{self, Fault};
use super::{Manner, Source};
use crate::error::{Error, Result};

/// Pieces that may wait before a source is held up.
const AHEAD: usize = 256;
/// Longest piece, in samples: what comes at once is heard at once, but is passed on in such parts.
const PIECE: usize = 4096;
/// Sentences that may wait.
const SENTENCES: usize = 1024;

/// A stretch of speech.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// One channel, nominally -1..=1.
    pub samples: Vec<f32>,
    /// Samples per second.
    pub rate_hz: u32,
}

/// Where sentences come from.
pub type TextRx = mpsc::Receiver<String>;
/// Where sentences go.
pub type TextTx = mpsc::Sender<String>;

/// Sentences from one thread or task to a speech.
#[must_use]
pub fn text_channel() -> (TextTx, TextRx) {
    mpsc::channel(SENTENCES)
}

/// Where a source puts what it says.
#[derive(Debug)]
pub struct Utterance {
    audio: mpsc::Sender<Piece>,
    /// Samples of this sentence that were passed on, in earlier attempts or now.
    passed: usize,
    /// Samples of this sentence that this attempt still repeats.
    repeated: usize,
}

impl Utterance {
    /// Passes a piece on, waiting while too many wait.
    ///
    /// # Errors
    /// [`Fault::Unheard`] if no one listens any more.
    pub async fn push(&mut self, piece: Piece) -> Result<(), Fault> {
        let Piece { mut samples, rate_hz } = piece;
        let repeated = self.repeated.min(samples.len());
        self.repeated -= repeated;
        samples.drain(..repeated);
        for samples in samples.chunks(PIECE) {
            self.passed += samples.len();
            let piece = Piece { samples: samples.to_vec(), rate_hz };
            self.audio.send(piece).await.map_err(|_| Fault::Unheard)?;
        }
        Ok(())
    }

    /// The next sentence begins.
    pub(super) fn begin(&mut self) {
        (self.passed, self.repeated) = (0, 0);
    }

    /// The sentence begins anew: what was heard of it is left out.
    pub(super) fn begin_again(&mut self) {
        self.repeated = self.passed;
    }
}

/// Something that is being said. Dropping it ends it.
#[derive(Debug)]
pub struct Speech {
    audio: mpsc::Receiver<Piece>,
    task: Option<JoinHandle<Result<()>>>,
}

impl Speech {
    /// Begins to say a whole text.
    #[must_use]
    pub fn of_text(runtime: &Handle, source: Arc<dyn Source>, text: &str, manner: Manner) -> Self {
        let sentences = super::Sentences::of(text);
        let (tx, rx) = mpsc::channel(sentences.len().max(1));
        for sentence in sentences {
            // There is room for all of them.
            let _ = tx.try_send(sentence);
        }
        Self::start(runtime, source, rx, manner)
    }

    /// Begins to say what comes, until its senders are gone.
    #[must_use]
    pub fn start(runtime: &Handle, source: Arc<dyn Source>, mut text: TextRx, manner: Manner) -> Self {
        let (tx, audio) = mpsc::channel(AHEAD);
        let task = runtime.spawn(async move {
            let mut utterance = Utterance { audio: tx, passed: 0, repeated: 0 };
            patience::say_all(&*source, &mut text, &manner, &mut utterance).await
        });
        Self { audio, task: Some(task) }
    }

    /// The next piece; nothing once all is said. Who gives up waiting loses nothing.
    ///
    /// # Errors
    /// What the source reports, once what it said before was taken.
    pub async fn next(&mut self) -> Result<Option<Piece>> {
        if let Some(piece) = self.audio.recv().await {
            return Ok(Some(piece));
        }
        let Some(task) = &mut self.task else { return Ok(None) };
        let ended = task.await;
        self.task = None;
        match ended {
            Ok(result) => result.map(|()| None),
            Err(stopped) if stopped.is_cancelled() => Ok(None),
            Err(panicked) => Err(Error::server("speech", panicked, "this is a fault of Syrinx")),
        }
    }

    /// The next piece, if it is there already.
    pub fn next_at_hand(&mut self) -> Option<Piece> {
        self.audio.try_recv().ok()
    }

    /// Ends it in the middle of a word, and forgets what was not taken yet.
    pub fn cancel(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
        self.audio.close();
        while self.audio.try_recv().is_ok() {}
    }
}

impl Drop for Speech {
    fn drop(&mut self) {
        self.cancel();
    }
}

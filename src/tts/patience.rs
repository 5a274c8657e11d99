//! Patience: what is tried again, how often, and after how long.

use std::time::Duration;

use super::speech::{TextRx, Utterance};
use super::{Manner, Source};
use crate::error::{Error, Result};

/// Attempts at one sentence.
const ATTEMPTS: u32 = 6;
/// Time before the second attempt; it doubles from one to the next.
const FIRST_WAIT: Duration = Duration::from_millis(150);
/// Longest time between two attempts, also where a server asks for more.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Why a sentence was not said.
#[derive(Debug)]
pub enum Fault {
    /// It may go better next time.
    Passing {
        /// What went wrong.
        error: Error,
        /// When the server wants to be asked again.
        after: Option<Duration>,
    },
    /// It will not go better.
    Lasting(Error),
    /// No one listens any more.
    Unheard,
}

impl Fault {
    /// A fault of a server that may pass.
    pub(super) fn passing(server: &str, problem: impl std::fmt::Display) -> Self {
        Self::Passing { error: Error::server(server, problem, "is it running?"), after: None }
    }
}

/// Says all that comes, sentence by sentence where the source does not want to have all.
pub(super) async fn say_all(
    source: &dyn Source,
    text: &mut TextRx,
    manner: &Manner,
    audio: &mut Utterance,
) -> Result<()> {
    if source.takes_all() {
        return unless_unheard(source.say_all(text, manner, audio).await);
    }
    while let Some(sentence) = text.recv().await {
        audio.begin();
        unless_unheard(say(source, &sentence, manner, audio).await)?;
    }
    Ok(())
}

fn unless_unheard(result: Result<(), Fault>) -> Result<()> {
    match result {
        Ok(()) | Err(Fault::Unheard) => Ok(()),
        Err(Fault::Lasting(error) | Fault::Passing { error, .. }) => Err(error),
    }
}

/// Says one sentence, in as many attempts as it takes and patience allows.
async fn say(source: &dyn Source, text: &str, manner: &Manner, audio: &mut Utterance) -> Result<(), Fault> {
    for attempt in 1.. {
        let fault = match source.say(text, manner, audio).await {
            Err(Fault::Passing { error, after }) if attempt < ATTEMPTS => (error, after),
            result => return result,
        };
        let wait = fault.1.unwrap_or(FIRST_WAIT * 2_u32.pow(attempt - 1)).min(LONGEST_WAIT);
        tracing::info!("{}; attempt {} in {} ms", fault.0, attempt + 1, wait.as_millis());
        tokio::time::sleep(wait).await;
        audio.begin_again();
    }
    Ok(())
}

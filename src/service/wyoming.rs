//! A Wyoming server, so that Home Assistant and its like use Syrinx as their voice.
//!
//! Voices are those of the store, by name or id. Text may come whole (`synthesize`) or as it is written
//! (`synthesize-start`, `-chunk`, `-stop`); audio goes out while it is said. The protocol knows no token, so only this
//! machine is listened to.

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::io::BufReader;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

use super::App;
use super::params::JobParams;
use super::speech::start;
use crate::error::{Error, Result};
use crate::tts::speech::{TextTx, text_channel};
use crate::tts::wyoming::{read_event, write_event};
use crate::tts::{Sentences, Speech};

/// Longest text, in letters.
const LONGEST_TEXT: usize = 100_000;

/// Checks where a server may listen.
///
/// # Errors
/// Any address but this machine's own.
pub fn check(address: SocketAddr) -> Result<()> {
    if address.ip().is_loopback() {
        return Ok(());
    }
    let expected = "an address of this machine only, as 127.0.0.1:10200, since Wyoming knows no token";
    Err(Error::argument("--wyoming", expected, address))
}

/// Serves until the service stops.
pub async fn serve(app: Arc<App>, listener: TcpListener) {
    let mut stopping = app.stopping.clone();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((connection, _)) => {
                    let app = app.clone();
                    tokio::spawn(async move {
                        if let Err(error) = converse(app, connection).await {
                            tracing::debug!("a Wyoming client: {error}");
                        }
                    });
                }
                // Too many connections, for a while.
                Err(error) => {
                    tracing::warn!("Wyoming: {error}");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            },
            () = stopped(&mut stopping) => return,
        }
    }
}

async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // A sender that is gone means the same.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// Where all of a connection writes.
type Writer = Arc<Mutex<OwnedWriteHalf>>;

/// Text that comes as it is written, and its speech.
struct Dictation {
    sentences: Sentences,
    letters: usize,
    text: Option<TextTx>,
    speaking: JoinHandle<std::io::Result<()>>,
}

impl Drop for Dictation {
    fn drop(&mut self) {
        // Who hangs up hears nothing more.
        self.speaking.abort();
    }
}

/// Answers one client until it hangs up.
async fn converse(app: Arc<App>, connection: TcpStream) -> std::io::Result<()> {
    connection.set_nodelay(true)?;
    let (read, write) = connection.into_split();
    let (mut read, write): (_, Writer) = (BufReader::new(read), Arc::new(Mutex::new(write)));
    let mut dictation: Option<Dictation> = None;
    loop {
        let event = read_event(&mut read).await?;
        match event.kind.as_str() {
            "describe" => {
                let info = info(&app).await;
                write_event(&mut *write.lock().await, "info", &info, &[]).await?;
            }
            "ping" => write_event(&mut *write.lock().await, "pong", &event.data, &[]).await?,
            // Beside a stream it only repeats that stream's text, for older servers.
            "synthesize" if dictation.is_none() => {
                let mut whole = begin(&app, &write, &event.data);
                whole.write(event.data["text"].as_str().unwrap_or_default()).await;
                whole.end(&write).await?;
            }
            "synthesize-start" => dictation = Some(begin(&app, &write, &event.data)),
            "synthesize-chunk" => {
                if let Some(dictation) = &mut dictation {
                    dictation.write(event.data["text"].as_str().unwrap_or_default()).await;
                }
            }
            "synthesize-stop" => {
                if let Some(mut dictation) = dictation.take() {
                    dictation.end(&write).await?;
                    write_event(&mut *write.lock().await, "synthesize-stopped", &json!({}), &[]).await?;
                }
            }
            _ => {}
        }
    }
}

/// Begins to say what will come.
fn begin(app: &Arc<App>, write: &Writer, data: &Value) -> Dictation {
    let (tx, rx) = text_channel();
    let named = data["voice"]["name"].as_str().filter(|name| !name.is_empty()).map(str::to_owned);
    let language = data["voice"]["language"].as_str().map(str::to_owned);
    let params = JobParams { source_language: language, enable_rvc: Some(true), ..JobParams::default() };
    let (app, write) = (app.clone(), write.clone());
    let speaking = tokio::spawn(async move { speak(&app, &write, rx, named, params).await });
    Dictation { sentences: Sentences::new(), letters: 0, text: Some(tx), speaking }
}

impl Dictation {
    async fn write(&mut self, text: &str) {
        self.letters += text.len();
        if self.letters > LONGEST_TEXT {
            self.text = None;
        }
        let found = self.sentences.push(text);
        self.send(found).await;
    }

    async fn send(&mut self, sentences: Vec<String>) {
        let Some(text) = &self.text else { return };
        for sentence in sentences {
            // Speech that has failed tells so itself.
            let _ = text.send(sentence).await;
        }
    }

    /// No more text comes: waits until all is said.
    async fn end(&mut self, write: &Writer) -> std::io::Result<()> {
        let last = self.sentences.finish();
        self.send(last).await;
        self.text = None;
        match (&mut self.speaking).await {
            Ok(told) => told,
            Err(error) => error_event(write, &error.to_string()).await,
        }
    }
}

async fn error_event(write: &Writer, text: &str) -> std::io::Result<()> {
    write_event(&mut *write.lock().await, "error", &json!({ "text": text, "code": "synthesize" }), &[]).await
}

/// Says what comes, and sends it as it is converted.
async fn speak(
    app: &Arc<App>,
    write: &Writer,
    text: crate::tts::speech::TextRx,
    named: Option<String>,
    mut params: JobParams,
) -> std::io::Result<()> {
    let Ok(permit) = app.streams.clone().try_acquire_owned() else {
        return error_event(write, "too many streams run already").await;
    };
    let shared = app.clone();
    let converter = tokio::task::spawn_blocking(move || {
        // Without a name, the first will do.
        let first = || shared.tools.store.list().map(|voices| voices.into_iter().next().map(|voice| voice.id));
        params.rvc_model_id = named.map_or_else(first, |named| Ok(Some(named)))?;
        params.validate()?;
        shared.tools.converter(&params).map(|converter| (converter, params))
    });
    let converter = converter.await.map_err(std::io::Error::other)?;
    let (converter, params) = match converter {
        Ok((Some(converter), params)) => (converter, params),
        Ok((None, _)) => return error_event(write, "there is no voice").await,
        Err(error) => return error_event(write, &error.to_string()).await,
    };
    let format = json!({ "rate": converter.sample_rate_hz(), "width": 2, "channels": 1 });
    let speech = Speech::start(&app.tools.runtime, app.tools.source.clone(), text, params.manner());
    let mut voice = match start(app, speech, converter, &params, permit) {
        Ok(voice) => voice,
        Err(error) => return error_event(write, &error.to_string()).await,
    };
    let mut began = false;
    while let Some(audio) = voice.audio.recv().await {
        let audio = match audio {
            Ok(audio) => audio,
            Err(error) => return error_event(write, &error.to_string()).await,
        };
        let mut write = write.lock().await;
        if !began {
            began = true;
            if let Some(semitones) = voice.shift.get() {
                tracing::debug!("Wyoming: pitch shifted by {semitones:.1} semitones, to the voice's own");
            }
            write_event(&mut *write, "audio-start", &format, &[]).await?;
        }
        write_event(&mut *write, "audio-chunk", &format, &audio).await?;
    }
    if !began {
        write_event(&mut *write.lock().await, "audio-start", &format, &[]).await?;
    }
    write_event(&mut *write.lock().await, "audio-stop", &json!({}), &[]).await
}

/// What the server is and which voices it has.
async fn info(app: &Arc<App>) -> Value {
    let store = app.tools.store.clone();
    let voices = tokio::task::spawn_blocking(move || store.list()).await;
    let voices = voices.ok().and_then(Result::ok).unwrap_or_default();
    // A source that does not tell speaks English as far as anyone knows.
    let languages = app.tools.source.voices().await.unwrap_or_default();
    let mut languages: Vec<String> = languages.into_iter().flat_map(|voice| voice.languages).collect();
    languages.sort();
    languages.dedup();
    if languages.is_empty() {
        languages.push("en".into());
    }
    let attribution = json!({ "name": "Syrinx", "url": env!("CARGO_PKG_REPOSITORY") });
    let version = env!("CARGO_PKG_VERSION");
    let voices: Vec<Value> = voices
        .into_iter()
        .map(|voice| {
            json!({
                "name": voice.name, "description": voice.description, "attribution": attribution, "installed": true,
                "version": version, "languages": languages,
            })
        })
        .collect();
    json!({
        "tts": [{
            "name": "syrinx", "description": "Speech in RVC voices", "attribution": attribution, "installed": true,
            "version": version, "voices": voices, "supports_synthesize_streaming": true,
        }],
    })
}

//! One client at its WebSocket.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::StatusCode;
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};

use super::MOST_BYTES;
use super::conversion::{Begin, Inward, Outward, run};
use super::messages::{Start, Wish, Word};
use crate::error::Error;
use crate::live::session::prepare;
use crate::nn::Cpu;
use crate::path::Converter;
use crate::service::problem::Problem;
use crate::service::routes::blocking;
use crate::service::{App, on_own_thread};

/// Time between two pings.
const PING: Duration = Duration::from_secs(10);
/// A client that answers no ping for so long is gone.
const SILENCE: Duration = Duration::from_secs(30);
/// A client that takes nothing for so long is gone.
const STALLED: Duration = Duration::from_secs(20);
/// Time that a client has to answer a close.
const FAREWELL: Duration = Duration::from_secs(2);
/// Messages that make no sense before the stream is ended.
const MOST_MISTAKES: u32 = 16;
/// Seconds of audio that may wait to be converted.
const ROOM_S: usize = 2;
/// Messages that may wait to be sent.
const AHEAD: usize = 64;

type Connection = WebSocketStream<TokioIo<Upgraded>>;

/// Why a stream ends.
enum End {
    /// The client is gone.
    Gone,
    /// It is told, with a code and in words.
    Close(CloseCode, String),
}

/// Talks with a client until either ends it.
pub async fn serve(app: &Arc<App>, connection: Connection) {
    let now = Instant::now();
    let mut client = Client { app, connection, mistakes: 0, heard: now, asked: now };
    let end = match client.begin().await {
        Ok(Some((stream, outward))) => client.converse(stream, outward).await,
        Ok(None) => stopped(),
        Err(end) => end,
    };
    if let End::Close(code, reason) = end {
        client.close(code, reason).await;
    }
}

/// A stream that runs, as its client's side sees it.
struct Running {
    start: Start,
    inward: mpsc::UnboundedSender<Inward>,
    /// For what the thread does not say.
    say: mpsc::Sender<Outward>,
    room: Arc<Semaphore>,
    most_waiting: usize,
    /// What there is no room for yet.
    waiting: Option<Inward>,
    /// One permit: for a voice that is being loaded.
    loading: Arc<Semaphore>,
    /// Whether nothing more is passed on, and whether that is since the service stops.
    is_draining: bool,
    is_stopping: bool,
}

impl Running {
    /// Passes on what there is room for. A thread that is gone is noticed elsewhere.
    fn pass(&mut self, message: Inward) {
        self.is_draining |= matches!(message, Inward::Stop);
        let _ = self.inward.send(message);
    }

    fn pass_waiting(&mut self) {
        if let Some(message) = self.waiting.take() {
            self.pass(message);
        }
    }

    /// Has another voice loaded, and passed on once it is ready.
    fn load(&self, app: &Arc<App>, name: String) -> Result<(), Error> {
        let Ok(permit) = self.loading.clone().try_acquire_owned() else {
            return Err(Error::argument("voice", "none while another is loaded", name));
        };
        let load = other_voice(app.clone(), self.start.clone(), name);
        let (inward, say) = (self.inward.clone(), self.say.clone());
        tokio::spawn(async move {
            // Who wanted it may be gone.
            match load.await {
                Ok((voice, name)) => drop(inward.send(Inward::Voice(voice, name))),
                Err(problem) => drop(say.send(Outward::Word(Word::Error { problem })).await),
            }
            drop(permit);
        });
        Ok(())
    }
}

/// What there is to do next.
enum Turn {
    /// The conversion says something.
    Said(Outward),
    /// The conversion has ended by itself.
    Failed,
    /// The service stops.
    Stopping,
    /// There is room for what waits.
    Room,
    /// The client says something, or is gone.
    Heard(Result<Message, End>),
    /// It is time to ask whether the client is there.
    Ping,
}

struct Client<'a> {
    app: &'a Arc<App>,
    connection: Connection,
    mistakes: u32,
    /// When anything came last, also answers to pings.
    heard: Instant,
    /// When a message came last.
    asked: Instant,
}

impl Client<'_> {
    /// Waits for a `start` that can be done; none if the client says stop.
    async fn begin(&mut self) -> Result<Option<(Running, mpsc::Receiver<Outward>)>, End> {
        let mut stopping = self.app.stopping.clone();
        loop {
            let message = tokio::select! {
                () = asked_to_stop(&mut stopping) => return Err(going_away()),
                message = self.next() => message?,
            };
            let problem = match wish(&message) {
                Some(Ok(Wish::Start(start))) => match launch(self.app, start).await {
                    Ok(running) => return Ok(Some(running)),
                    Err(problem) => problem,
                },
                Some(Ok(Wish::Stop)) => return Ok(None),
                Some(Ok(Wish::Set { .. })) => Problem::invalid("type: expected start, found set"),
                Some(Err(problem)) => problem,
                None => Problem::invalid("expected a start message, found audio"),
            };
            self.refuse(problem).await?;
        }
    }

    /// Passes messages on, both ways, until the stream ends.
    async fn converse(&mut self, mut stream: Running, mut outward: mpsc::Receiver<Outward>) -> End {
        let mut stopping = self.app.stopping.clone();
        let mut ping = interval(PING);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (inward, room) = (stream.inward.clone(), stream.room.clone());
        loop {
            let wanted = stream.waiting.as_ref().map_or(0, |message| message.room(stream.most_waiting));
            let listens = stream.waiting.is_none() && !stream.is_draining;
            let turn = tokio::select! {
                biased;
                Some(word) = outward.recv() => Turn::Said(word),
                () = inward.closed() => Turn::Failed,
                () = asked_to_stop(&mut stopping), if !stream.is_stopping => Turn::Stopping,
                Ok(permits) = room.acquire_many(wanted as u32), if stream.waiting.is_some() => {
                    permits.forget();
                    Turn::Room
                }
                message = self.next(), if listens => Turn::Heard(message),
                _ = ping.tick() => Turn::Ping,
            };
            let done = match turn {
                Turn::Said(word) => self.pass(word, &stream).await,
                Turn::Failed => {
                    drop(stream);
                    return self.failed(outward).await;
                }
                Turn::Stopping => {
                    stream.is_stopping = true;
                    stream.pass_waiting();
                    stream.pass(Inward::Stop);
                    Ok(())
                }
                Turn::Room => {
                    stream.pass_waiting();
                    // Nothing was listened to meanwhile.
                    (self.heard, self.asked) = (Instant::now(), Instant::now());
                    Ok(())
                }
                Turn::Heard(Ok(message)) => self.take(message, &mut stream).await,
                Turn::Heard(Err(end)) => Err(end),
                Turn::Ping => self.send(Message::Ping(Bytes::new())).await,
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    /// Sends what the conversion says.
    async fn pass(&mut self, word: Outward, stream: &Running) -> Result<(), End> {
        match word {
            Outward::Audio(samples) => self.send(Message::binary(stream.start.format.encode(&samples))).await,
            Outward::Word(word) => self.say(&word).await,
            Outward::End { samples } => {
                self.say(&Word::Stopped { samples }).await?;
                Err(if stream.is_stopping { going_away() } else { stopped() })
            }
        }
    }

    /// Does what the client says while the stream runs.
    async fn take(&mut self, message: Message, stream: &mut Running) -> Result<(), End> {
        let done = match wish(&message) {
            None => stream.start.format.decode(&message.into_data()).map(|samples| {
                stream.waiting = Some(Inward::Audio(samples));
            }),
            Some(Ok(Wish::Stop)) => {
                stream.pass(Inward::Stop);
                Ok(())
            }
            Some(Ok(Wish::Set { voice, params })) => {
                stream.waiting = Some(Inward::Params(params));
                voice.map_or(Ok(()), |name| stream.load(self.app, name))
            }
            Some(Ok(Wish::Start(_))) => Err(Error::argument("type", "set or stop, since the stream runs", "start")),
            Some(Err(problem)) => return self.refuse(problem).await,
        };
        match done {
            Ok(()) => Ok(()),
            Err(error) => self.refuse(error.into()).await,
        }
    }

    /// Tells why the conversion has ended by itself.
    async fn failed(&mut self, mut outward: mpsc::Receiver<Outward>) -> End {
        while let Some(word) = outward.recv().await {
            if let Outward::Word(word) = word
                && let Err(end) = self.say(&word).await
            {
                return end;
            }
        }
        End::Close(CloseCode::Error, "the conversion has failed".into())
    }

    /// The next message. What it waits for is kept, so that waiting can be given up and begun anew.
    async fn next(&mut self) -> Result<Message, End> {
        let idle = self.app.settings.idle;
        loop {
            let deadline = (self.heard + SILENCE).min(self.asked + idle);
            let frame = match timeout_at(deadline, self.connection.next()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => return Err(fault(&error)),
                Err(_) if self.asked + idle <= Instant::now() => {
                    let reason = format!("nothing came for {} s", idle.as_secs());
                    return Err(End::Close(CloseCode::Policy, reason));
                }
                Ok(None) | Err(_) => return Err(End::Gone),
            };
            self.heard = Instant::now();
            match frame {
                Message::Text(_) | Message::Binary(_) => {
                    self.asked = self.heard;
                    return Ok(frame);
                }
                Message::Close(_) => {
                    // Its answer is on its way out; who is gone does not wait for it.
                    let _ = timeout(FAREWELL, self.connection.flush()).await;
                    return Err(End::Gone);
                }
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }

    async fn send(&mut self, message: Message) -> Result<(), End> {
        match timeout(STALLED, self.connection.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(End::Gone),
        }
    }

    async fn say(&mut self, word: &Word) -> Result<(), End> {
        self.send(Message::text(word.text())).await
    }

    /// Tells that something is not done.
    async fn refuse(&mut self, problem: Problem) -> Result<(), End> {
        self.mistakes += 1;
        self.say(&Word::Error { problem }).await?;
        if self.mistakes < MOST_MISTAKES {
            return Ok(());
        }
        Err(End::Close(CloseCode::Policy, format!("{MOST_MISTAKES} messages made no sense")))
    }

    /// Closes, and lets what the client still sends go, so that it hears the close.
    async fn close(&mut self, code: CloseCode, reason: String) {
        let frame = CloseFrame { code, reason: reason.into() };
        let farewell = async {
            // A client that is gone needs none.
            let _ = self.connection.send(Message::Close(Some(frame))).await;
            let mut bytes = [0; 4096];
            while self.connection.get_mut().read(&mut bytes).await.is_ok_and(|count| count > 0) {}
        };
        let _ = timeout(FAREWELL, farewell).await;
    }
}

/// Loads the voice and starts the conversion.
async fn launch(app: &Arc<App>, start: Start) -> Result<(Running, mpsc::Receiver<Outward>), Problem> {
    let settings = start.settings()?;
    let params = start.voice_params(&start.voice);
    let shared = app.clone();
    let voice = blocking(move || shared.tools.converter(&params)).await?;
    let voice = voice.ok_or_else(|| Problem::not_found("the voice"))?;
    let (inward, inward_rx) = mpsc::unbounded_channel();
    let (say, outward) = mpsc::channel(AHEAD);
    // The largest message must fit.
    let most_waiting = (ROOM_S * start.rate_hz as usize).max(MOST_BYTES / 2);
    let room = Arc::new(Semaphore::new(most_waiting));
    let begin = Begin {
        start: start.clone(),
        settings,
        voice,
        inward: inward_rx,
        room: room.clone(),
        capacity: most_waiting,
        outward: say.clone(),
        most_bytes: MOST_BYTES,
    };
    let app = app.clone();
    on_own_thread("stream", move || {
        let outward = begin.outward.clone();
        if let Err(error) = run(begin, &app.stream_counts) {
            tracing::warn!("stream: {error}");
            // Who listens may be gone.
            let _ = outward.blocking_send(Outward::Word(Word::Error { problem: error.into() }));
        }
    })?;
    let running = Running {
        start,
        inward,
        say,
        room,
        most_waiting,
        waiting: None,
        loading: Arc::new(Semaphore::new(1)),
        is_draining: false,
        is_stopping: false,
    };
    Ok((running, outward))
}

/// What a message wants; none if it is audio.
fn wish(message: &Message) -> Option<Result<Wish, Problem>> {
    let Message::Text(text) = message else { return None };
    Some(serde_json::from_str(text).map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error)))
}

/// Waits until the service stops.
async fn asked_to_stop(stopping: &mut watch::Receiver<bool>) {
    // A sender that is gone means the same.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

fn stopped() -> End {
    End::Close(CloseCode::Normal, "stopped".into())
}

fn going_away() -> End {
    End::Close(CloseCode::Away, "the service stops".into())
}

fn fault(error: &SocketError) -> End {
    match error {
        SocketError::Capacity(_) => {
            End::Close(CloseCode::Size, format!("messages may have at most {MOST_BYTES} bytes"))
        }
        SocketError::Utf8(_) => End::Close(CloseCode::Invalid, "text must be UTF-8".into()),
        SocketError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => End::Gone,
        SocketError::Protocol(error) => End::Close(CloseCode::Protocol, error.to_string()),
        _ => End::Gone,
    }
}

/// Loads another voice and makes it ready, so that its first chunk takes no longer than the others.
async fn other_voice(app: Arc<App>, start: Start, name: String) -> Result<(Converter<Cpu>, String), Problem> {
    let voice = blocking(move || {
        let voice = app.tools.converter(&start.voice_params(&name))?;
        if let Some(voice) = &voice {
            prepare(voice, &start.settings()?, start.rate_hz)?;
        }
        Ok((voice, name))
    });
    let (voice, name) = voice.await?;
    Ok((voice.ok_or_else(|| Problem::not_found("the voice"))?, name))
}

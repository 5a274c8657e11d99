//! A client of `/stream`, and of whatever else speaks by WebSocket.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use reqwest::Upgraded;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

/// Longest wait for a message.
const PATIENCE: Duration = Duration::from_secs(30);

/// A WebSocket that is open.
pub struct Socket {
    pub stream: WebSocketStream<Upgraded>,
}

/// What ends a conversation: the code of the close, 1006 where there was none.
#[derive(Debug, PartialEq, Eq)]
pub struct Closed(pub u16);

impl Socket {
    /// Opens a WebSocket at an `http` address; the answer where it is not opened.
    pub async fn open(url: &str, headers: HeaderMap) -> Result<Self, reqwest::Response> {
        let client = reqwest::Client::builder().no_proxy().http1_only().build().expect("a client");
        let mut request = client.get(url);
        for (name, value) in [
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ] {
            request = request.header(name, value);
        }
        let response = request.headers(headers).send().await.expect("an answer");
        if response.status() != 101 {
            return Err(response);
        }
        assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let connection = response.upgrade().await.expect("a connection");
        Ok(Self { stream: WebSocketStream::from_raw_socket(connection, Role::Client, None).await })
    }

    pub async fn say(&mut self, value: &Value) {
        self.stream.send(Message::text(value.to_string())).await.expect("an open socket");
    }

    pub async fn send(&mut self, bytes: Vec<u8>) {
        self.stream.send(Message::binary(bytes)).await.expect("an open socket");
    }

    /// The next message of either kind; pings are answered.
    pub async fn next(&mut self) -> Result<Message, Closed> {
        loop {
            match timeout(PATIENCE, self.stream.next()).await.expect("a message in time") {
                Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => return Ok(message),
                Some(Ok(Message::Close(frame))) => return Err(Closed(frame.map_or(1005, |frame| frame.code.into()))),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(Closed(1006)),
            }
        }
    }

    /// The next text, with what audio came before it.
    pub async fn word(&mut self) -> Result<(Value, Vec<u8>), Closed> {
        let mut audio = Vec::new();
        loop {
            match self.next().await? {
                Message::Text(text) => return Ok((serde_json::from_str(&text).expect("JSON"), audio)),
                message => audio.extend_from_slice(&message.into_data()),
            }
        }
    }

    /// The next text of this type; others, and audio, are passed over.
    pub async fn word_of(&mut self, kind: &str) -> Value {
        loop {
            let (word, _) = self.word().await.unwrap_or_else(|closed| panic!("{closed:?} before {kind}"));
            if word["type"] == kind {
                return word;
            }
        }
    }

    /// Says `start` and waits until audio may come.
    pub async fn start(&mut self, start: &Value) -> Value {
        self.say(start).await;
        let (ready, _) = self.word().await.expect("a word");
        assert_eq!(ready["type"], "ready", "{ready}");
        ready
    }
}

/// A start with the small voice's tracker.
pub fn start(voice: &str, fields: &Value) -> Value {
    let mut start = json!({ "type": "start", "voice": voice, "rate_hz": 48_000, "f0_method": "yin" });
    let fields = fields.as_object().expect("fields");
    start.as_object_mut().expect("a start").extend(fields.clone());
    start
}

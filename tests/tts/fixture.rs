//! A server of our own whose voice is espeak-ng, which speaks as OpenAI's and xtts-api-server do, and fails to order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// What goes wrong, and how often before it goes well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    None,
    /// The connection breaks after so many bytes.
    Breaks(usize, usize),
    /// This status is answered.
    Status(u16, usize),
    /// Nothing tells the rate.
    NoRate,
}

pub struct Fixture {
    pub address: SocketAddr,
    requests: Arc<AtomicUsize>,
}

#[derive(Clone)]
struct Shared {
    failure: Failure,
    requests: Arc<AtomicUsize>,
}

impl Fixture {
    pub fn start(runtime: &Runtime, failure: Failure) -> Self {
        Self::start_at(runtime, "127.0.0.1:0".parse().expect("an address"), failure)
    }

    pub fn start_at(runtime: &Runtime, address: SocketAddr, failure: Failure) -> Self {
        let requests = Arc::new(AtomicUsize::new(0));
        let shared = Shared { failure, requests: requests.clone() };
        let routes = Router::new()
            .route("/v1/audio/speech", post(openai))
            .route("/tts_stream", get(stream))
            .route("/tts_to_audio/", post(whole))
            .with_state(shared);
        let listener = runtime.block_on(TcpListener::bind(address)).expect("a port");
        let address = listener.local_addr().expect("an address");
        runtime.spawn(async move { axum::serve(listener, routes).await });
        Self { address, requests }
    }

    pub fn source(&self, kind: &str) -> String {
        format!("{kind}=http://{}", self.address)
    }

    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

/// What espeak-ng writes: a wav.
async fn espeak(text: &str) -> Vec<u8> {
    let mut command = tokio::process::Command::new("espeak-ng");
    let output = command.args(["--stdout", "-b", "1", "--", text]).output().await.expect("espeak-ng");
    output.stdout
}

async fn openai(State(shared): State<Shared>, body: String) -> Response {
    let body: Value = serde_json::from_str(&body).expect("JSON");
    if let Some(response) = shared.fail() {
        return response;
    }
    let wav = espeak(body["input"].as_str().expect("a text")).await;
    let as_pcm = body["response_format"] == "pcm";
    let bytes = if as_pcm { wav[44..].to_vec() } else { wav };
    let mut chunks: Vec<Vec<u8>> = bytes.chunks(1001).map(<[u8]>::to_vec).collect();
    let mut kind = if as_pcm { "audio/pcm;rate=22050" } else { "audio/wav" };
    if shared.failure == Failure::NoRate {
        kind = "audio/pcm";
    }
    if body["stream_format"] == "sse" {
        kind = "text/event-stream";
        for chunk in &mut chunks {
            let delta = json!({ "type": "speech.audio.delta", "audio": STANDARD.encode(&*chunk) });
            *chunk = format!("event: speech.audio.delta\ndata: {delta}\n\n").into_bytes();
        }
        chunks.push(b"data: {\"type\":\"speech.audio.done\",\"usage\":{}}\n\n".to_vec());
    }
    let headers = [(header::CONTENT_TYPE, kind), (header::HeaderName::from_static("x-sample-rate"), "22050")];
    let body = shared.body(chunks);
    if shared.failure == Failure::NoRate {
        return ([(header::CONTENT_TYPE, kind)], body).into_response();
    }
    (headers, body).into_response()
}

async fn stream(State(shared): State<Shared>, Query(query): Query<Vec<(String, String)>>) -> Response {
    let value = |name: &str| query.iter().find(|(key, _)| key == name).expect(name).1.clone();
    assert_eq!((value("speaker_wav").as_str(), value("language").as_str()), ("female", "en"));
    if let Some(response) = shared.fail() {
        return response;
    }
    let mut wav = espeak(&value("text")).await;
    // As that server writes it: no length at all.
    wav[40..44].fill(0);
    ([(header::CONTENT_TYPE, "audio/x-wav")], shared.body(wav.chunks(512).map(<[u8]>::to_vec).collect()))
        .into_response()
}

async fn whole(State(shared): State<Shared>, body: String) -> Response {
    let body: Value = serde_json::from_str(&body).expect("JSON");
    match shared.fail() {
        Some(response) => response,
        None => ([(header::CONTENT_TYPE, "audio/wav")], espeak(body["text"].as_str().expect("a text")).await)
            .into_response(),
    }
}

impl Shared {
    fn fail(&self) -> Option<Response> {
        let before = self.requests.fetch_add(1, Ordering::Relaxed);
        match self.failure {
            Failure::Status(status, times) if before < times => {
                let status = StatusCode::from_u16(status).expect("a status");
                let message = "{\"error\":{\"message\":\"not now\"}}";
                Some((status, [(header::RETRY_AFTER, "1")], message).into_response())
            }
            _ => None,
        }
    }

    /// A chunked body, that may break off.
    fn body(&self, chunks: Vec<Vec<u8>>) -> Body {
        let most = match self.failure {
            Failure::Breaks(bytes, times) if self.requests.load(Ordering::Relaxed) <= times => bytes,
            _ => usize::MAX,
        };
        let mut sent = 0;
        let chunks = chunks.into_iter().map(move |chunk| {
            sent += chunk.len();
            if sent > most { Err(std::io::Error::other("it broke")) } else { Ok(chunk) }
        });
        Body::from_stream(futures_util::stream::iter(chunks))
    }
}

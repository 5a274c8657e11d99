//! What all sources behind HTTP share: the client, answers as faults, bodies as audio.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};

use super::patience::Fault;
use super::pcm::{Decoder, PcmFormat};
use super::speech::Utterance;
use crate::error::{Error, Result};

/// Time in which a server must take a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Time in which a server must go on sending.
const STALLED: Duration = Duration::from_secs(30);
/// Most letters of an error's text that are told.
const TOLD: usize = 300;

/// A server's address and how it is spoken to.
#[derive(Clone, Debug)]
pub(super) struct Server {
    client: Client,
    base: Url,
    token: Option<String>,
}

impl Server {
    /// The server at `address`, with a bearer token if it wants one.
    pub(super) fn new(address: &str, token: Option<String>) -> Result<Self> {
        let expected = "an address as in http://127.0.0.1:5000";
        // What paths are joined to must end in a slash.
        let base = Url::parse(&format!("{}/", address.trim_end_matches('/')))
            .map_err(|error| Error::argument("--tts", expected, format!("{address} ({error})")))?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(Error::argument("--tts", expected, address));
        }
        // Servers on this machine are not asked for through a proxy.
        let is_near = matches!(base.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        let client = Client::builder().connect_timeout(CONNECT).read_timeout(STALLED).tcp_nodelay(true);
        let client = if is_near { client.no_proxy() } else { client };
        let client = client.build().map_err(|error| Error::server(address, error, "this machine's TLS is at fault"))?;
        Ok(Self { client, base, token })
    }

    /// The address without anything secret.
    pub(super) fn name(&self) -> String {
        let mut name = self.base.clone();
        // Only addresses that cannot have a password refuse to lose one.
        let _ = (name.set_password(None), name.set_username(""));
        name.to_string().trim_end_matches('/').to_owned()
    }

    pub(super) fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<RequestBuilder, Fault> {
        let mut url = self.url(path)?;
        url.query_pairs_mut().extend_pairs(query);
        Ok(self.authorised(self.client.get(url)))
    }

    pub(super) fn post(&self, path: &str, body: &serde_json::Value) -> Result<RequestBuilder, Fault> {
        let request = self.client.post(self.url(path)?).header(CONTENT_TYPE, "application/json");
        Ok(self.authorised(request.body(body.to_string())))
    }

    fn url(&self, path: &str) -> Result<Url, Fault> {
        self.base.join(path).map_err(|error| Fault::Lasting(Error::argument("--tts", "an address", error)))
    }

    fn authorised(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends a request; an answer that is no success is a fault.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Response, Fault> {
        let response = request.send().await.map_err(|error| self.broken(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let text = response.text().await.unwrap_or_default();
        let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(TOLD).collect();
        let error = Error::server(self.name(), format!("answers {status}"), format!("it says: {text}"));
        let is_passing = status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED
            || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
        if is_passing {
            return Err(Fault::Passing { error, after: after.map(Duration::from_secs) });
        }
        Err(Fault::Lasting(error))
    }

    /// Passes a body on as it comes.
    pub(super) async fn listen(
        &self,
        mut response: Response,
        told: Option<PcmFormat>,
        audio: &mut Utterance,
    ) -> Result<(), Fault> {
        let mut decoder = Decoder::new(format_of(&response).or(told));
        while let Some(bytes) = response.chunk().await.map_err(|error| self.broken(&error))? {
            for piece in decoder.push(&bytes).map_err(|found| self.no_audio(&found))? {
                audio.push(piece).await?;
            }
        }
        decoder.finish().map_err(|found| self.no_audio(&found))
    }

    pub(super) fn broken(&self, error: &reqwest::Error) -> Fault {
        // The innermost cause says what happened; the outer ones repeat the address, which may hold a secret.
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        Fault::passing(&self.name(), cause)
    }

    pub(super) fn no_audio(&self, found: &str) -> Fault {
        let hint = "it must send a wav, or raw PCM of 16 bits and its rate, by header or --tts-rate";
        Fault::Lasting(Error::server(self.name(), format!("its answer is {found}"), hint))
    }
}

/// What an answer's headers tell of raw PCM: `audio/pcm;rate=24000;channels=1`, `audio/L16;rate=..` or `x-sample-rate`.
pub(super) fn format_of(response: &Response) -> Option<PcmFormat> {
    let header = |name: &str| response.headers().get(name)?.to_str().ok().map(str::to_owned);
    let kind = header("content-type").unwrap_or_default();
    let parameter = |name: &str| {
        let mut pairs = kind.split(';').filter_map(|part| part.trim().split_once('='));
        pairs
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .and_then(|(_, value)| value.trim_matches('"').parse().ok())
    };
    let of_header = |name: &str| header(name).and_then(|value| value.trim().parse().ok());
    let rate_hz = parameter("rate").or_else(|| of_header("x-sample-rate")).or_else(|| of_header("sample-rate"))?;
    let channels = parameter("channels").or_else(|| of_header("x-channels")).unwrap_or(1);
    let format = PcmFormat { channels: u16::try_from(channels).ok()?, ..PcmFormat::mono(rate_hz) };
    format.is_plausible().then_some(format)
}

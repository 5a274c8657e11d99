//! Who may ask, and how often.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::problem::Problem;
use super::{page, stream};
use crate::error::{Error, Result};

/// Shortest token that is accepted, in letters.
const SHORTEST_TOKEN: usize = 16;
/// Addresses that are remembered before those at rest are forgotten.
const REMEMBERED: usize = 10_000;

/// The rule.
pub struct Access {
    /// Hash of the token that must be shown, if any.
    token: Option<[u8; 32]>,
    limiter: DefaultKeyedRateLimiter<IpAddr>,
    clock: DefaultClock,
}

impl Access {
    /// The rule for a service at `address`: who is not on this machine needs a token.
    ///
    /// # Errors
    /// An address open to the network without a token, or one that can be guessed.
    pub fn new(address: SocketAddr, token: Option<&str>, per_second: u32) -> Result<Arc<Self>> {
        if token.is_none() && !address.ip().is_loopback() {
            let expected = "an address of this machine only, as 127.0.0.1, or a token in SYRINX_TOKEN or --token-file";
            return Err(Error::argument("--listen", expected, address));
        }
        if token.is_some_and(|token| token.len() < SHORTEST_TOKEN || token.contains(char::is_whitespace)) {
            let expected = format!("at least {SHORTEST_TOKEN} letters without spaces");
            return Err(Error::argument("token", expected, "fewer, or spaces"));
        }
        let rate = NonZeroU32::new(per_second);
        let rate = rate.ok_or_else(|| Error::argument("--rate-limit", "at least 1 request a second", per_second))?;
        let quota = Quota::per_second(rate);
        let limiter = RateLimiter::keyed(quota);
        let token = token.map(|token| Sha256::digest(token).into());
        Ok(Arc::new(Self { token, limiter, clock: DefaultClock::default() }))
    }

    fn admits(&self, request: &Request) -> bool {
        let Some(token) = &self.token else { return true };
        let shown = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let shown =
            shown.and_then(|value| value.split_once(' ')).filter(|(kind, _)| kind.eq_ignore_ascii_case("bearer"));
        let shown = shown.map(|(_, shown)| shown.trim().as_bytes().to_vec());
        // Hashes are compared, so that neither length nor time tells anything.
        shown.or_else(|| token_among_protocols(request)).is_some_and(|shown| {
            let shown: [u8; 32] = Sha256::digest(shown).into();
            bool::from(shown.ct_eq(token))
        })
    }

    /// Whether a browser sends this for a page that is not ours. With a token there is no need to ask: only pages that
    /// know it get anywhere.
    fn is_from_another_site(&self, request: &Request) -> bool {
        let Some(origin) = request.headers().get(header::ORIGIN) else { return false };
        if self.token.is_some() {
            return false;
        }
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
        // A name of another site may be made to point at this machine.
        origin != Some(host) || !names_this_machine(host)
    }
}

/// The token of a WebSocket's handshake: a browser can set no header but the list of protocols.
fn token_among_protocols(request: &Request) -> Option<Vec<u8>> {
    if request.uri().path() != "/stream" {
        return None;
    }
    stream::entries(request.headers(), &header::SEC_WEBSOCKET_PROTOCOL).find_map(|protocol| {
        let plain = protocol.strip_prefix("bearer.").map(|token| token.as_bytes().to_vec());
        // Not every letter of a token may stand in a protocol's name.
        plain.or_else(|| URL_SAFE_NO_PAD.decode(protocol.strip_prefix("bearer64.")?).ok())
    })
}

/// Whether the authority of a URL names this machine by a name that no one else can give away.
fn names_this_machine(authority: &str) -> bool {
    let name = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Lets a request pass, or answers it.
pub async fn guard(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    // Whether the service is up is asked by machines without a token.
    if ["/health", "/ready"].contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let from = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    if let Some(from) = from
        && let Err(wait) = access.limiter.check_key(&from)
    {
        let seconds = wait.wait_time_from(access.clock.now()).as_secs() + 1;
        return Problem::busy("too many requests", seconds).into_response();
    }
    if access.limiter.len() > REMEMBERED {
        access.limiter.retain_recent();
    }
    if access.is_from_another_site(&request) {
        let detail = "expected no page of another site to ask; with a token (SYRINX_TOKEN, --token-file) it may";
        return Problem::new(StatusCode::FORBIDDEN, detail).into_response();
    }
    if !page::holds(request.uri().path()) && !access.admits(&request) {
        let detail = "expected a bearer token in the header Authorization";
        return Problem::new(StatusCode::UNAUTHORIZED, detail).into_response();
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    #[test]
    fn a_service_open_to_the_network_needs_a_token() {
        let (near, far) = ("127.0.0.1:80".parse().expect("near"), "0.0.0.0:80".parse().expect("far"));
        assert!(Access::new(near, None, 10).is_ok());
        let error = Access::new(far, None, 10).err().expect("open").to_string();
        assert!(error.contains("--listen") && error.contains("SYRINX_TOKEN"), "{error}");
        assert!(Access::new(far, Some("short"), 10).is_err());
        let access = Access::new(far, Some("a long and secret".replace(' ', "-").as_str()), 10).expect("a rule");
        let request = |value: Option<&str>| {
            let mut request = Request::builder();
            if let Some(value) = value {
                request = request.header(header::AUTHORIZATION, value);
            }
            request.body(Body::empty()).expect("a request")
        };
        assert!(access.admits(&request(Some("Bearer a-long-and-secret"))));
        assert!(access.admits(&request(Some("bearer  a-long-and-secret"))));
        for wrong in
            [None, Some("a-long-and-secret"), Some("Bearer a-long-and-secreT"), Some("Basic a-long-and-secret")]
        {
            assert!(!access.admits(&request(wrong)), "{wrong:?}");
        }
    }

    #[test]
    fn a_websocket_shows_its_token_as_a_protocol_and_nothing_else_does() {
        let far = "0.0.0.0:80".parse().expect("far");
        let access = Access::new(far, Some("a+long/and=secret"), 10).expect("a rule");
        let request = |path: &str, protocols: &str| {
            let request = Request::builder().uri(path).header(header::SEC_WEBSOCKET_PROTOCOL, protocols);
            request.body(Body::empty()).expect("a request")
        };
        let packed = format!("syrinx, bearer64.{}", URL_SAFE_NO_PAD.encode("a+long/and=secret"));
        assert!(access.admits(&request("/stream", &packed)));
        assert!(access.admits(&request("/stream", "bearer.a+long/and=secret,syrinx")));
        assert!(!access.admits(&request("/jobs", &packed)));
        for wrong in ["syrinx", "bearer.", "bearer64.a+long", "bearer.a+long/and=secreT"] {
            assert!(!access.admits(&request("/stream", wrong)), "{wrong}");
        }
    }

    #[test]
    fn without_a_token_pages_of_other_sites_are_refused() {
        let near = "127.0.0.1:80".parse().expect("near");
        let open = Access::new(near, None, 10).expect("a rule");
        let request = |host: &str, origin: Option<&str>| {
            let mut request = Request::builder().header(header::HOST, host);
            if let Some(origin) = origin {
                request = request.header(header::ORIGIN, origin);
            }
            request.body(Body::empty()).expect("a request")
        };
        for (host, origin) in [
            ("127.0.0.1:8080", None),
            ("127.0.0.1:8080", Some("http://127.0.0.1:8080")),
            ("localhost:8080", Some("http://localhost:8080")),
            ("[::1]:8080", Some("http://[::1]:8080")),
        ] {
            assert!(!open.is_from_another_site(&request(host, origin)), "{host} {origin:?}");
        }
        for (host, origin) in [
            ("127.0.0.1:8080", "http://evil.example"),
            ("127.0.0.1:8080", "http://127.0.0.1:9090"),
            ("127.0.0.1:8080", "null"),
            // A name that was made to point here.
            ("evil.example:8080", "http://evil.example:8080"),
        ] {
            assert!(open.is_from_another_site(&request(host, Some(origin))), "{host} {origin}");
        }
        let guarded = Access::new(near, Some("a-long-and-secret"), 10).expect("a rule");
        assert!(!guarded.is_from_another_site(&request("x", Some("http://evil.example"))));
    }
}

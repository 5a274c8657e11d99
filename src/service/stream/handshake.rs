//! The handshake of a WebSocket, as RFC 6455 has it.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

use crate::service::problem::Problem;

/// The protocol that is spoken, for who offers any.
pub const PROTOCOL: &str = "syrinx";

/// What RFC 6455 appends to the client's key.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The answer that changes to a WebSocket.
///
/// # Errors
/// Requests that ask for none, or not as they should.
pub fn answer(method: &Method, headers: &HeaderMap) -> Result<Response, Problem> {
    let asks = lists(headers, &header::CONNECTION, "upgrade") && lists(headers, &header::UPGRADE, "websocket");
    if !asks || *method != Method::GET {
        let detail = "expected a WebSocket handshake: GET with Connection: Upgrade and Upgrade: websocket";
        return Err(Problem::new(StatusCode::UPGRADE_REQUIRED, detail));
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(Problem::new(StatusCode::UPGRADE_REQUIRED, "expected Sec-WebSocket-Version: 13"));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes);
    let key = key.filter(|key| STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16));
    let key = key.ok_or_else(|| {
        Problem::new(StatusCode::BAD_REQUEST, "Sec-WebSocket-Key: expected 16 bytes in base64, found something else")
    })?;
    let offers = headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL);
    if offers && !lists(headers, &header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL) {
        let detail = format!("Sec-WebSocket-Protocol: expected {PROTOCOL} among the protocols offered");
        return Err(Problem::new(StatusCode::BAD_REQUEST, detail));
    }
    let accept = STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize());
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let set = response.headers_mut();
    set.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    set.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    // Base64 is always a header's value.
    set.extend(HeaderValue::try_from(accept).ok().map(|accept| (header::SEC_WEBSOCKET_ACCEPT, accept)));
    if offers {
        set.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
    }
    Ok(response)
}

/// The entries of a header that is a list.
pub fn entries<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .map(str::trim)
}

fn lists(headers: &HeaderMap, name: &HeaderName, entry: &str) -> bool {
    entries(headers, name).any(|listed| listed.eq_ignore_ascii_case(entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(changed: &[(HeaderName, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        // The example of RFC 6455.
        for (name, value) in [
            (header::CONNECTION, "keep-alive, Upgrade"),
            (header::UPGRADE, "WebSocket"),
            (header::SEC_WEBSOCKET_VERSION, "13"),
            (header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        for (name, value) in changed {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn the_example_of_the_standard_is_answered_as_there() {
        let response = answer(&Method::GET, &headers(&[])).expect("an answer");
        assert_eq!(response.status(), 101);
        assert_eq!(response.headers()[header::SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(!response.headers().contains_key(header::SEC_WEBSOCKET_PROTOCOL));
        let offer = [(header::SEC_WEBSOCKET_PROTOCOL, "bearer.secret, syrinx")];
        let response = answer(&Method::GET, &headers(&offer)).expect("an answer");
        assert_eq!(response.headers()[header::SEC_WEBSOCKET_PROTOCOL], "syrinx");
    }

    #[test]
    fn what_is_no_handshake_is_refused() {
        for (method, changed) in [
            (Method::POST, vec![]),
            (Method::GET, vec![(header::CONNECTION, "close")]),
            (Method::GET, vec![(header::UPGRADE, "h2c")]),
            (Method::GET, vec![(header::SEC_WEBSOCKET_VERSION, "8")]),
            (Method::GET, vec![(header::SEC_WEBSOCKET_KEY, "c2hvcnQ=")]),
            (Method::GET, vec![(header::SEC_WEBSOCKET_PROTOCOL, "chat")]),
        ] {
            assert!(answer(&method, &headers(&changed)).is_err(), "{changed:?}");
        }
    }
}

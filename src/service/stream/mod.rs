//! `GET /stream`: live conversion from afar, over a WebSocket.
//!
//! ```text
//! start, set, stop --text--> socket -----> conversion: the session of `syrinx live`, clocked by what comes
//! PCM -------------binary--> socket --room-> |
//! PCM <------------binary--- socket <--------+
//! ready, changed, telemetry, error, stopped <+
//! ```
//!
//! What is sent back is in step with what came and as long. Who sends faster than is converted waits: audio takes room,
//! which is given back once it is converted, and nothing more is read while there is none.

mod conversion;
mod handshake;
pub mod messages;
mod socket;

pub use conversion::StreamCounts;
pub use handshake::entries;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::App;
use super::problem::Problem;

/// Most bytes of a message.
const MOST_BYTES: usize = 256 << 10;
/// Seconds after which to try again where all streams are taken.
const RETRY_AFTER: u64 = 5;

/// Opens a WebSocket for live conversion.
///
/// Text messages are JSON. The client says `start` first (`Wish`), later `set` and at the end `stop`; the server says
/// `ready`, `changed`, `telemetry` four times a second, `error` and `stopped` (`Word`). Binary messages of up to 256 KiB
/// are samples of one channel, both ways, in the format that `start` declares. Sample n of what is sent back answers
/// sample n of what came; the first is sent once the latency that `ready` tells has come. After `stop`, and when the
/// service ends, what is on its way is sent before the close (1000, or 1001).
///
/// Browsers, which can set no headers, show the token as a protocol beside `syrinx`: `bearer.TOKEN`, or
/// `bearer64.` and the token in base64url. Without a token pages of other sites are refused.
#[utoipa::path(get, path = "/stream", tag = "stream",
    responses(
        (status = 101, description = "a WebSocket of protocol `syrinx`"),
        (status = 400, body = Problem, description = "no proper WebSocket handshake"),
        (status = 403, body = Problem, description = "a page of another site"),
        (status = 426, body = Problem, description = "no WebSocket is asked for"),
        (status = 503, body = Problem, description = "all streams are taken, or the service stops; Retry-After tells when to come again"),
    ))]
pub async fn connect(State(app): State<Arc<App>>, mut request: Request) -> Result<Response, Problem> {
    let answer = handshake::answer(request.method(), request.headers())?;
    if *app.stopping.borrow() {
        return Err(Problem::unavailable("the service stops", RETRY_AFTER));
    }
    let most = app.settings.most_live;
    let permit = app.live.clone().try_acquire_owned();
    let permit = permit.map_err(|_| Problem::unavailable(format!("{most} live streams run already"), RETRY_AFTER))?;
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let connection = match upgrade.await {
            Ok(connection) => TokioIo::new(connection),
            Err(error) => return tracing::debug!("stream: the connection was not handed over: {error}"),
        };
        let config = WebSocketConfig::default()
            .read_buffer_size(16 << 10)
            .write_buffer_size(0)
            .max_message_size(Some(MOST_BYTES))
            .max_frame_size(Some(MOST_BYTES));
        let socket = WebSocketStream::from_raw_socket(connection, Role::Server, Some(config)).await;
        socket::serve(&app, socket).await;
        drop(permit);
    });
    Ok(answer)
}

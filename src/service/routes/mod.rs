//! What is answered to whom.

pub mod about;
pub mod form;
pub mod jobs;
pub mod voices;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::TimeoutLayer;

use super::App;
use super::access::{Access, guard};
use super::problem::Problem;
use super::{page, speech, stream};
use crate::error::{Error, Result};

/// Most bytes of a body that is no upload.
const BODY: usize = 1 << 20;
/// Time for what is answered at once.
const QUICK: Duration = Duration::from_secs(30);
/// Time for uploads and for downloads that wait.
const SLOW: Duration = Duration::from_mins(11);

/// All routes.
pub fn router(app: Arc<App>, access: Arc<Access>) -> Router {
    let quick = Router::new()
        .route("/rvc-models", get(voices::list))
        .route("/rvc-models/stats", get(voices::stats))
        .route("/rvc-models/{id}", get(voices::get).delete(voices::remove))
        .route("/jobs", get(jobs::list).post(jobs::create))
        .route("/jobs/{id}", get(jobs::get).delete(jobs::remove))
        .route("/jobs/{id}/cancel", post(jobs::cancel))
        .route("/jobs/{id}/formats", get(jobs::formats))
        .route("/voices", get(about::voices))
        .route("/presets", get(about::presets))
        .route("/languages", get(about::languages))
        .route("/health", get(about::health))
        .route("/ready", get(about::ready))
        .route("/metrics", get(about::metrics))
        .route("/admin/stats", get(about::stats))
        .route("/admin/cleanup", post(about::cleanup).delete(about::cleanup))
        .route("/openapi.json", get(about::openapi))
        .layer(DefaultBodyLimit::max(BODY))
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, QUICK));
    let slow = Router::new()
        .route("/rvc-models", post(voices::create))
        .route("/jobs/convert", post(jobs::convert))
        .route("/jobs/{id}/download", get(jobs::download))
        // Uploads count their bytes themselves.
        .layer(DefaultBodyLimit::disable())
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, SLOW));
    let streams = Router::new()
        .route("/v1/audio/speech", post(speech::create))
        .route("/jobs/{id}/events", get(jobs::events))
        .route("/stream", get(stream::connect))
        .layer(DefaultBodyLimit::max(BODY));
    Router::new()
        .merge(quick)
        .merge(slow)
        .merge(streams)
        .merge(page::router())
        .fallback(nothing)
        .layer(middleware::from_fn(as_problem))
        .layer(middleware::from_fn_with_state(access, guard))
        .layer(middleware::from_fn_with_state(app.clone(), count))
        .layer(CatchPanicLayer::custom(panicked))
        .with_state(app)
}

async fn nothing() -> Problem {
    Problem::not_found("a resource of this name")
}

fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    let detail = "this is a fault of Syrinx; its log tells more";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail).into_response()
}

/// Answers of the framework itself, as about a wrong method, are problems too.
async fn as_problem(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    let is_bare =
        response.headers().get(header::CONTENT_TYPE).is_none_or(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if is_bare && (status.is_client_error() || status.is_server_error()) {
        let detail = match status {
            StatusCode::METHOD_NOT_ALLOWED => "this resource has no such method",
            StatusCode::REQUEST_TIMEOUT => "it took too long",
            StatusCode::PAYLOAD_TOO_LARGE => "expected a body of at most 1 MiB",
            _ => "the request cannot be read",
        };
        let mut problem = Problem::new(status, detail).into_response();
        if let Some(allow) = response.headers().get(header::ALLOW) {
            problem.headers_mut().insert(header::ALLOW, allow.clone());
        }
        return problem;
    }
    response
}

async fn count(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = next.run(request).await;
    let status = response.status();
    app.counts.count(|counts| &counts.requests);
    if status.is_server_error() {
        app.counts.count(|counts| &counts.failed);
    } else if status.is_client_error() {
        app.counts.count(|counts| &counts.refused);
    }
    // Neither headers nor queries: they may hold what is secret.
    tracing::debug!("{method} {path}: {}", status.as_u16());
    response
}

/// An answer of JSON.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    // Plain data.
    let body = serde_json::to_vec(value).unwrap_or_default();
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// Does what waits for the disk or the database, on a thread for that.
pub(super) async fn blocking<T: Send + 'static>(
    task: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(task).await {
        Ok(result) => result.map_err(Problem::from),
        Err(error) => Err(Error::io("a thread", std::io::Error::other(error)).into()),
    }
}

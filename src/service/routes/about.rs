//! What the service tells about itself.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use utoipa::OpenApi;

use super::{blocking, json as answer};
use crate::service::App;
use crate::service::jobs::JobState;
use crate::service::openapi::Api;
use crate::service::problem::Problem;
use crate::service::{ABANDONED, metrics as page, sweep};
use crate::tts::SourceVoice;

/// A voice of the text-to-speech source.
#[derive(Serialize, utoipa::ToSchema)]
pub struct SpeakerView {
    id: String,
    name: String,
    languages: Vec<String>,
}

async fn speakers(app: &Arc<App>) -> Result<Vec<SpeakerView>, Problem> {
    let voices: Vec<SourceVoice> = app.tools.source.voices().await?;
    let view =
        |voice: SourceVoice| SpeakerView { id: voice.name.clone(), name: voice.name, languages: voice.languages };
    Ok(voices.into_iter().map(view).collect())
}

/// Lists the voices of text to speech, before conversion.
#[utoipa::path(get, path = "/voices", tag = "speech", responses((status = 200, body = Vec<SpeakerView>)))]
pub async fn voices(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let voices = speakers(&app).await?;
    Ok(answer(StatusCode::OK, &json!({ "total": voices.len(), "source": app.tools.source.name(), "voices": voices })))
}

/// Lists what `voice_preset` may be: the same voices.
#[utoipa::path(get, path = "/presets", tag = "speech", responses((status = 200, body = Vec<SpeakerView>)))]
pub async fn presets(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let presets = speakers(&app).await?;
    Ok(answer(StatusCode::OK, &json!({ "total": presets.len(), "presets": presets })))
}

/// Lists the languages that text to speech says it speaks.
#[utoipa::path(get, path = "/languages", tag = "speech", responses((status = 200, body = Vec<String>)))]
pub async fn languages(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let languages: BTreeSet<String> = speakers(&app).await?.into_iter().flat_map(|voice| voice.languages).collect();
    Ok(answer(StatusCode::OK, &json!({ "total": languages.len(), "languages": languages })))
}

/// Tells that the service runs. Needs no token.
#[utoipa::path(get, path = "/health", tag = "service", responses((status = 200, body = String)))]
pub async fn health() -> Response {
    answer(StatusCode::OK, &json!({ "status": "healthy", "version": env!("CARGO_PKG_VERSION") }))
}

/// Tells whether the service can do its work. Needs no token.
#[utoipa::path(get, path = "/ready", tag = "service",
    responses((status = 200, body = String), (status = 503, body = Problem)))]
pub async fn ready(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let shared = app.clone();
    let checked = blocking(move || {
        shared.bench.queue.counts()?;
        Ok(if shared.tools.store.brings_encoder()? { Ok(()) } else { shared.tools.loaded.check_encoder() })
    });
    match checked.await {
        Ok(Ok(())) if !*app.stopping.borrow() => Ok(answer(StatusCode::OK, &json!({ "status": "ready" }))),
        Ok(Ok(())) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the service stops")),
        Ok(Err(error)) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, error)),
        Err(_) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the database does not answer")),
    }
}

/// Metrics for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "service", responses((status = 200, body = String)))]
pub async fn metrics(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let shared = app.clone();
    let text = blocking(move || page::text(&shared)).await?;
    Ok(([(header::CONTENT_TYPE, crate::live::metrics::MEDIA_TYPE)], text).into_response())
}

/// Numbers about all of it.
#[utoipa::path(get, path = "/admin/stats", tag = "service", responses((status = 200, body = String)))]
pub async fn stats(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let shared = app.clone();
    let counts = blocking(move || shared.bench.queue.counts()).await?;
    let jobs: serde_json::Map<String, serde_json::Value> =
        JobState::ALL.iter().zip(counts.by_state).map(|(state, count)| (state.name().into(), count.into())).collect();
    let loaded = app.tools.loaded.counts();
    let requests = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let stats = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": app.started.elapsed().as_secs_f64(),
        "memory_bytes": page::resident_bytes(),
        "jobs": jobs,
        "voices": { "loaded": loaded.voices, "loaded_bytes": loaded.bytes, "loads": loaded.loads, "hits": loaded.hits },
        "requests": {
            "total": requests(&app.counts.requests),
            "refused": requests(&app.counts.refused),
            "failed": requests(&app.counts.failed),
            "speech": requests(&app.counts.speech_streams),
            "uploads": requests(&app.counts.uploads),
        },
        "source": app.tools.source.name(),
    });
    Ok(answer(StatusCode::OK, &stats))
}

/// Lets go now of what has expired.
#[utoipa::path(post, path = "/admin/cleanup", tag = "service", responses((status = 200, body = String)))]
pub async fn cleanup(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let shared = app.clone();
    let (jobs, blobs) = blocking(move || sweep(&shared.bench, &shared.tools, ABANDONED)).await?;
    Ok(answer(StatusCode::OK, &json!({ "expired_jobs": jobs, "removed_blobs": blobs })))
}

/// This API, as OpenAPI describes it.
pub async fn openapi() -> Response {
    answer(StatusCode::OK, &Api::openapi())
}

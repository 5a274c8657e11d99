//! What the service tells about itself.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

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
use crate::service::{clean_up_now, metrics as page};
use crate::telemetry::resident_bytes;
use crate::tts::SourceVoice;

/// How long the source's answer to what it offers holds: asking may mean to start a program.
const FRESH: Duration = Duration::from_mins(1);

/// A voice of the text-to-speech source.
#[derive(Serialize, utoipa::ToSchema)]
pub struct SpeakerView {
    id: String,
    name: String,
    languages: Vec<String>,
}

/// Voices of the text-to-speech source.
#[derive(Serialize, utoipa::ToSchema)]
pub struct SpeakerList {
    total: usize,
    /// What speaks.
    source: String,
    voices: Vec<SpeakerView>,
}

/// What `voice_preset` may be.
#[derive(Serialize, utoipa::ToSchema)]
pub struct PresetList {
    total: usize,
    presets: Vec<SpeakerView>,
}

/// Languages.
#[derive(Serialize, utoipa::ToSchema)]
pub struct LanguageList {
    total: usize,
    languages: BTreeSet<String>,
}

/// How the service is.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Health {
    /// `healthy`.
    status: &'static str,
    version: &'static str,
}

/// That the service can do its work.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Readiness {
    /// `ready`.
    status: &'static str,
}

/// What was let go.
#[derive(Serialize, utoipa::ToSchema)]
pub struct CleanedUp {
    expired_jobs: usize,
    removed_blobs: usize,
}

/// What the source was asked last, and when.
pub type Speakers = tokio::sync::Mutex<Option<(Instant, Vec<SourceVoice>)>>;

async fn speakers(app: &Arc<App>) -> Result<Vec<SpeakerView>, Problem> {
    // Who comes while the source is being asked waits for its answer.
    let mut known = app.speakers.lock().await;
    let voices = match known.take().filter(|(asked, _)| asked.elapsed() < FRESH) {
        Some((asked, voices)) => known.insert((asked, voices)).1.clone(),
        None => known.insert((Instant::now(), app.tools.source.voices().await?)).1.clone(),
    };
    let view =
        |voice: SourceVoice| SpeakerView { id: voice.name.clone(), name: voice.name, languages: voice.languages };
    Ok(voices.into_iter().map(view).collect())
}

/// Lists the voices of text to speech, before conversion.
#[utoipa::path(get, path = "/voices", tag = "speech",
    responses((status = 200, body = SpeakerList), (status = 502, body = Problem, description = "the source fails")))]
pub async fn voices(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let voices = speakers(&app).await?;
    let list = SpeakerList { total: voices.len(), source: app.tools.source.name(), voices };
    Ok(answer(StatusCode::OK, &list))
}

/// Lists what `voice_preset` may be: the same voices.
#[utoipa::path(get, path = "/presets", tag = "speech",
    responses((status = 200, body = PresetList), (status = 502, body = Problem, description = "the source fails")))]
pub async fn presets(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let presets = speakers(&app).await?;
    Ok(answer(StatusCode::OK, &PresetList { total: presets.len(), presets }))
}

/// Lists the languages that text to speech says it speaks.
#[utoipa::path(get, path = "/languages", tag = "speech",
    responses((status = 200, body = LanguageList), (status = 502, body = Problem, description = "the source fails")))]
pub async fn languages(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let languages: BTreeSet<String> = speakers(&app).await?.into_iter().flat_map(|voice| voice.languages).collect();
    Ok(answer(StatusCode::OK, &LanguageList { total: languages.len(), languages }))
}

/// Tells that the service runs. Needs no token.
#[utoipa::path(get, path = "/health", tag = "service", responses((status = 200, body = Health)))]
pub async fn health() -> Response {
    answer(StatusCode::OK, &Health { status: "healthy", version: env!("CARGO_PKG_VERSION") })
}

/// Tells whether the service can do its work. Needs no token.
#[utoipa::path(get, path = "/ready", tag = "service",
    responses((status = 200, body = Readiness), (status = 503, body = Problem)))]
pub async fn ready(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let shared = app.clone();
    let checked = blocking(move || {
        shared.bench.queue.open_counts()?;
        Ok(if shared.tools.store.brings_encoder()? { Ok(()) } else { shared.tools.loaded.check_encoder() })
    });
    match checked.await {
        Ok(Ok(())) if !*app.stopping.borrow() => Ok(answer(StatusCode::OK, &Readiness { status: "ready" })),
        Ok(Ok(())) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the service stops")),
        Ok(Err(error)) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, error)),
        Err(_) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the database does not answer")),
    }
}

/// Metrics for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "service",
    responses((status = 200, body = String, content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8")))]
pub async fn metrics(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let shared = app.clone();
    let text = blocking(move || page::text(&shared)).await?;
    Ok(([(header::CONTENT_TYPE, crate::live::metrics::MEDIA_TYPE)], text).into_response())
}

/// Numbers about all of it.
#[utoipa::path(get, path = "/admin/stats", tag = "service", responses((status = 200, body = serde_json::Value)))]
pub async fn stats(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let shared = app.clone();
    let counts = blocking(move || shared.bench.counts()).await?;
    let jobs: serde_json::Map<String, serde_json::Value> =
        JobState::ALL.iter().zip(counts.by_state).map(|(state, count)| (state.name().into(), count.into())).collect();
    let loaded = app.tools.loaded.counts();
    let requests = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let stats = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": app.started.elapsed().as_secs_f64(),
        "memory_bytes": resident_bytes(),
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

/// Lets go now of what has expired, and of memory that is not needed.
#[utoipa::path(method(post, delete), path = "/admin/cleanup", tag = "service",
    responses((status = 200, body = CleanedUp)))]
pub async fn cleanup(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let shared = app.clone();
    let (jobs, blobs) = blocking(move || clean_up_now(&shared.bench, &shared.tools)).await?;
    Ok(answer(StatusCode::OK, &CleanedUp { expired_jobs: jobs, removed_blobs: blobs }))
}

/// This API, as OpenAPI describes it.
pub async fn openapi() -> Response {
    answer(StatusCode::OK, &Api::openapi())
}

//! `/rvc-models`: voices.

use std::sync::Arc;

use axum::extract::{Multipart, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::form::{receive, typed};
use super::{blocking, json};
use crate::error::Error;
use crate::memory::give_back;
use crate::service::App;
use crate::service::database::iso;
use crate::service::problem::Problem;
use crate::service::voices::store::Kept;
use crate::service::voices::{Received, Voice, VoiceFiles};

/// A voice, as the API shows it.
#[derive(Serialize, utoipa::ToSchema)]
pub struct VoiceView {
    id: String,
    name: String,
    description: String,
    pth_file: String,
    index_file: Option<String>,
    created_at: String,
    file_size_mb: f64,
    /// Whether it is in memory.
    loaded: bool,
    /// What it is like: version, rate, pitch.
    facts: serde_json::Value,
}

/// All voices.
#[derive(Serialize, utoipa::ToSchema)]
pub struct VoiceList {
    total: usize,
    models: Vec<VoiceView>,
}

fn mb(bytes: u64) -> f64 {
    (bytes as f64 / 1_048_576.0 * 100.0).round() / 100.0
}

fn view(app: &App, voice: Voice) -> VoiceView {
    VoiceView {
        loaded: app.tools.loaded.holds(&voice.id),
        id: voice.id,
        name: voice.name,
        description: voice.description,
        pth_file: voice.pth_file,
        index_file: voice.index_file,
        created_at: iso(voice.created_ms),
        file_size_mb: mb(voice.bytes),
        facts: voice.facts,
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct VoiceFields {
    name: Option<String>,
    description: Option<String>,
}

impl VoiceFields {
    fn checked(self) -> Result<(String, String), Problem> {
        let name = self.name.unwrap_or_default().trim().to_owned();
        let letters = name.chars().count();
        if !(1..=100).contains(&letters) || name.chars().any(char::is_control) {
            return Err(Problem::invalid(format!("name: expected 1 to 100 letters, found {letters}")));
        }
        let description = self.description.unwrap_or_default();
        let letters = description.chars().count();
        if letters > 500 {
            return Err(Problem::invalid(format!("description: expected at most 500 letters, found {letters}")));
        }
        Ok((name, description))
    }
}

/// A voice, as it is sent.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "told to clients; what they send is read field by field")]
pub struct VoiceUpload {
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    #[schema(max_length = 500)]
    description: Option<String>,
    /// The voice, or a zip of voice and index; also as `model_file`.
    #[schema(value_type = String, format = Binary, content_media_type = "application/octet-stream")]
    pth_file: Vec<u8>,
    /// Its index.
    #[schema(value_type = Option<String>, format = Binary, content_media_type = "application/octet-stream")]
    index_file: Option<Vec<u8>>,
}

/// Takes a voice: `pth_file` (or `model_file`) and perhaps `index_file`, or both in one zip.
#[utoipa::path(
    post, path = "/rvc-models", tag = "voices",
    request_body(content = VoiceUpload, content_type = "multipart/form-data"),
    responses(
        (status = 201, body = VoiceView), (status = 400, body = Problem, description = "no valid voice"),
        (status = 409, body = Problem, description = "the same files or name are there"),
        (status = 413, body = Problem), (status = 422, body = Problem, description = "fields out of range"),
    )
)]
pub async fn create(State(app): State<Arc<App>>, multipart: Multipart) -> Result<Response, Problem> {
    let folder = app.tools.store.receive()?;
    let most_bytes = app.settings.most_upload_bytes;
    let upload = receive(multipart, folder.path(), most_bytes).await?;
    let (name, description) = typed::<VoiceFields>(upload.fields)?.checked()?;
    let files: Vec<Received> = upload.files.into_iter().map(|(_, file)| file).collect();
    if files.is_empty() {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "pth_file: expected an RVC voice, found none"));
    }
    // Who waits here holds nothing but disk.
    let permit = app.checks.acquire().await;
    let shared = app.clone();
    let kept = blocking(move || {
        let files = VoiceFiles::recognise(files, folder.path(), most_bytes);
        give_back();
        let files = match files {
            Ok(files) => files,
            Err(error) => return Ok(Err(error)),
        };
        shared.tools.store.keep(&files, &name, &description).map(Ok)
    })
    .await?;
    drop(permit);
    app.counts.count(|counts| &counts.uploads);
    match kept {
        Ok(Kept::New(voice)) => Ok(json(StatusCode::CREATED, &view(&app, voice))),
        Ok(Kept::SameFiles(voice)) => {
            let detail = format!("the same files are there as `{}`, id {}", voice.name, voice.id);
            Err(Problem::new(StatusCode::CONFLICT, detail))
        }
        Ok(Kept::SameName(voice)) => {
            let detail = format!("the name `{}` is taken, by id {}", voice.name, voice.id);
            Err(Problem::new(StatusCode::CONFLICT, detail))
        }
        Err(error @ (Error::Format { .. } | Error::Tensor { .. } | Error::Limit { .. } | Error::Argument { .. })) => {
            Err(Problem::new(StatusCode::BAD_REQUEST, error))
        }
        Err(error) => Err(error.into()),
    }
}

/// How a list is sorted.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Sorting {
    /// `name`, `created_at` or `file_size_mb`.
    #[param(pattern = "^(name|created_at|file_size_mb)$")]
    sort_by: Option<String>,
}

/// Lists voices; none is loaded for that.
#[utoipa::path(get, path = "/rvc-models", tag = "voices", params(Sorting),
    responses((status = 200, body = VoiceList), (status = 422, body = Problem)))]
pub async fn list(State(app): State<Arc<App>>, Query(sorting): Query<Sorting>) -> Result<Response, Problem> {
    let store = app.tools.store.clone();
    let mut voices = blocking(move || store.list()).await?;
    match sorting.sort_by.as_deref() {
        None | Some("name") => {}
        Some("created_at") => voices.sort_by_key(|voice| std::cmp::Reverse(voice.created_ms)),
        Some("file_size_mb") => voices.sort_by_key(|voice| std::cmp::Reverse(voice.bytes)),
        Some(other) => {
            let detail = format!("sort_by: expected name, created_at or file_size_mb, found {other}");
            return Err(Problem::invalid(detail));
        }
    }
    let models: Vec<VoiceView> = voices.into_iter().map(|voice| view(&app, voice)).collect();
    Ok(json(StatusCode::OK, &VoiceList { total: models.len(), models }))
}

/// Numbers about voices.
#[derive(Serialize, utoipa::ToSchema)]
pub struct VoiceStats {
    total_models: usize,
    total_size_mb: f64,
    with_index: usize,
    loaded: usize,
    loaded_mb: f64,
    budget_mb: f64,
    loads: u64,
    hits: u64,
    evictions: u64,
    last_load_ms: f64,
    last_hit_ms: f64,
}

/// Tells how many voices there are, and how many of them are in memory.
#[utoipa::path(get, path = "/rvc-models/stats", tag = "voices", responses((status = 200, body = VoiceStats)))]
pub async fn stats(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let store = app.tools.store.clone();
    let voices = blocking(move || store.list()).await?;
    let counts = app.tools.loaded.counts();
    let stats = VoiceStats {
        total_models: voices.len(),
        total_size_mb: mb(voices.iter().map(|voice| voice.bytes).sum()),
        with_index: voices.iter().filter(|voice| voice.index_file.is_some()).count(),
        loaded: counts.voices,
        loaded_mb: mb(counts.bytes),
        budget_mb: mb(app.tools.loaded.budget_bytes()),
        loads: counts.loads,
        hits: counts.hits,
        evictions: counts.evictions,
        last_load_ms: counts.last_load.as_secs_f64() * 1e3,
        last_hit_ms: counts.last_hit.as_secs_f64() * 1e3,
    };
    Ok(json(StatusCode::OK, &stats))
}

/// Shows a voice.
#[utoipa::path(get, path = "/rvc-models/{id}", tag = "voices", params(("id" = String, Path)),
    responses((status = 200, body = VoiceView), (status = 404, body = Problem)))]
pub async fn get(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let store = app.tools.store.clone();
    let found = blocking(move || Ok((store.get(&id)?, id))).await?;
    match found {
        (Some(voice), _) => Ok(json(StatusCode::OK, &view(&app, voice))),
        (None, id) => Err(Problem::not_found(format!("voice `{id}`"))),
    }
}

/// Forgets a voice. Who uses it goes on.
#[utoipa::path(delete, path = "/rvc-models/{id}", tag = "voices", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = Problem)))]
pub async fn remove(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let shared = app.clone();
    let deleted = blocking(move || {
        let deleted = shared.tools.store.delete(&id)?;
        shared.tools.loaded.forget(&id);
        give_back();
        Ok(if deleted { Ok(()) } else { Err(id) })
    })
    .await?;
    match deleted {
        Ok(()) => Ok(StatusCode::NO_CONTENT.into_response()),
        Err(id) => Err(Problem::not_found(format!("voice `{id}`"))),
    }
}

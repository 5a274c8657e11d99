//! `/jobs`: speech and conversions that are done when it is their turn.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Multipart, Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use tokio::time::Instant;

use super::form::{fields, receive, typed};
use super::{blocking, json};
use crate::error::Error;
use crate::service::App;
use crate::service::database::{iso, new_id};
use crate::service::encode::{Format, encode};
use crate::service::jobs::work::read_upload;
use crate::service::jobs::{Job, JobRequest, JobState, NewJob, Outcome, Submitted};
use crate::service::params::JobParams;
use crate::service::problem::Problem;

/// Most letters of a text.
const LONGEST_TEXT: usize = 10_000;
/// Longest wait for a change that another machine may have made.
const PACE: Duration = Duration::from_secs(1);

/// A job, as the API shows it.
#[derive(Serialize, utoipa::ToSchema)]
pub struct JobView {
    id: String,
    status: JobState,
    /// Share done, 0 to 1.
    progress: f64,
    priority: i64,
    created_at: String,
    started_at: Option<String>,
    finished_at: Option<String>,
    expires_at: Option<String>,
    attempts: u32,
    error: Option<String>,
    outcome: Option<Outcome>,
    text: String,
    is_conversion: bool,
    #[serde(flatten)]
    params: JobParams,
}

impl From<Job> for JobView {
    fn from(job: Job) -> Self {
        Self {
            id: job.id,
            status: job.state,
            progress: job.progress,
            priority: job.priority,
            created_at: iso(job.created_ms),
            started_at: job.started_ms.map(iso),
            finished_at: job.finished_ms.map(iso),
            expires_at: job.expires_ms.map(iso),
            attempts: job.attempt,
            error: job.error,
            outcome: job.outcome,
            text: job.request.text,
            is_conversion: job.request.input.is_some(),
            params: job.request.params,
        }
    }
}

/// Jobs.
#[derive(Serialize, utoipa::ToSchema)]
pub struct JobList {
    total: usize,
    jobs: Vec<JobView>,
}

/// What is asked for.
#[derive(Deserialize, utoipa::ToSchema)]
pub struct CreateJob {
    /// What to say, 1 to 10000 letters.
    #[serde(default)]
    #[schema(required, min_length = 1, max_length = 10_000, pattern = r"\S")]
    text: String,
    /// -10 to 10; jobs of higher priority are done first.
    #[serde(default)]
    #[schema(minimum = -10, maximum = 10)]
    priority: i64,
    #[serde(flatten)]
    params: JobParams,
}

/// Queues text to be said, in a voice if one is named.
#[utoipa::path(post, path = "/jobs", tag = "jobs", request_body = CreateJob,
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 200, description = "the same wish, sent again, is done once")),
    responses(
        (status = 202, body = JobView), (status = 200, body = JobView, description = "known by its Idempotency-Key"),
        (status = 404, body = Problem, description = "no such voice"), (status = 409, body = Problem),
        (status = 422, body = Problem), (status = 429, body = Problem),
    ))]
pub async fn create(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let key = idempotency(request.headers())?;
    let create: CreateJob = fields(request).await?;
    let letters = create.text.chars().count();
    if !(1..=LONGEST_TEXT).contains(&letters) || create.text.trim().is_empty() {
        return Err(Problem::invalid(format!("text: expected 1 to {LONGEST_TEXT} letters, found {letters}")));
    }
    let request = JobRequest { text: create.text, input: None, params: create.params };
    submit(&app, request, create.priority, key, None).await
}

/// A recording, as it is sent; and the fields of a job but its text.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "told to clients; what they send is read field by field")]
pub struct RecordingUpload {
    /// The recording; also as `file`.
    #[schema(value_type = String, format = Binary, content_media_type = "application/octet-stream")]
    audio: Vec<u8>,
    #[schema(minimum = -10, maximum = 10)]
    priority: Option<i64>,
    #[schema(inline)]
    #[serde(flatten)]
    params: JobParams,
}

/// Queues a recording to be converted: `audio` (or `file`), and the fields of `POST /jobs` without a text.
#[utoipa::path(post, path = "/jobs/convert", tag = "jobs",
    request_body(content = RecordingUpload, content_type = "multipart/form-data"),
    responses((status = 202, body = JobView), (status = 400, body = Problem, description = "no audio"),
        (status = 404, body = Problem), (status = 413, body = Problem), (status = 422, body = Problem)))]
pub async fn convert(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    multipart: Multipart,
) -> Result<Response, Problem> {
    let key = idempotency(&headers)?;
    let folder = app.tools.store.receive()?;
    let upload = receive(multipart, folder.path(), app.settings.most_upload_bytes).await?;
    let create: CreateJob = typed(upload.fields)?;
    let [(_, file)] = &upload.files[..] else {
        let found = upload.files.len();
        return Err(Problem::new(StatusCode::BAD_REQUEST, format!("audio: expected one recording, found {found}")));
    };
    if create.params.voice().is_none() {
        return Err(Problem::invalid("rvc_model_id: expected the id of a voice, found none"));
    }
    let path = file.path.clone();
    let bytes = blocking(move || {
        let checked = read_upload(&path);
        let bytes = std::fs::read(&path).map_err(|source| Error::io(&path, source))?;
        Ok(checked.map(|_| bytes))
    });
    let bytes = bytes.await?.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error))?;
    let request = JobRequest { text: String::new(), input: None, params: create.params };
    submit(&app, request, create.priority, key, Some(bytes)).await
}

fn idempotency(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
    let key = key.to_str().ok().filter(|key| (1..=200).contains(&key.len()));
    key.map(|key| Some(key.to_owned())).ok_or_else(|| Problem::invalid("Idempotency-Key: expected 1 to 200 letters"))
}

async fn submit(
    app: &Arc<App>,
    mut request: JobRequest,
    priority: i64,
    idempotency: Option<String>,
    input: Option<Vec<u8>>,
) -> Result<Response, Problem> {
    request.params.validate()?;
    if !(-10..=10).contains(&priority) {
        return Err(Problem::invalid(format!("priority: expected -10 to 10, found {priority}")));
    }
    let shared = app.clone();
    let submitted = blocking(move || {
        if let Some(name) = request.params.voice()
            && shared.tools.store.get(name)?.is_none()
            && shared.tools.store.named(name)?.is_none()
        {
            let hint = "GET /rvc-models lists those that there are".into();
            return Err(Error::NotFound { what: format!("voice `{name}`"), hint });
        }
        let id = new_id()?;
        let key = input.as_ref().map(|_| format!("input-{id}"));
        if let (Some(key), Some(bytes)) = (&key, &input) {
            shared.tools.blobs.put(key, bytes)?;
        }
        request.input.clone_from(&key);
        let job = NewJob { id, request, priority, idempotency };
        let submitted = shared.bench.queue.submit(&job, shared.settings.most_waiting);
        // Of an error it is not known whether the job was queued nevertheless; a clean-up finds out.
        if let (Some(key), Ok(Submitted::Known(_) | Submitted::Conflict | Submitted::Full)) = (key, &submitted)
            && let Err(error) = shared.tools.blobs.delete(&key)
        {
            tracing::warn!("{error}");
        }
        submitted
    });
    match submitted.await? {
        Submitted::New(job) => {
            app.bench.ring();
            Ok(json(StatusCode::ACCEPTED, &JobView::from(job)))
        }
        Submitted::Known(job) => Ok(json(StatusCode::OK, &JobView::from(job))),
        Submitted::Conflict => {
            let detail = "Idempotency-Key: it was used for another job";
            Err(Problem::new(StatusCode::CONFLICT, detail))
        }
        Submitted::Full => Err(Problem::busy(format!("{} jobs wait already", app.settings.most_waiting), 5)),
    }
}

async fn find(app: &Arc<App>, id: &str) -> Result<Job, Problem> {
    let (queue, wanted) = (app.bench.queue.clone(), id.to_owned());
    let job = blocking(move || queue.get(&wanted)).await?;
    let job = job.ok_or_else(|| Problem::not_found(format!("job `{id}`")))?;
    if job.state == JobState::Expired {
        return Err(Problem::new(StatusCode::GONE, format!("job `{id}` has expired")));
    }
    Ok(job)
}

/// Which jobs are listed.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Listing {
    /// At most so many, 1 to 1000.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// Only those of this state.
    #[param(value_type = Option<JobState>)]
    status: Option<String>,
}

/// Lists jobs, newest first.
#[utoipa::path(get, path = "/jobs", tag = "jobs", params(Listing),
    responses((status = 200, body = JobList), (status = 422, body = Problem)))]
pub async fn list(State(app): State<Arc<App>>, Query(listing): Query<Listing>) -> Result<Response, Problem> {
    let limit = listing.limit.unwrap_or(20);
    if !(1..=1000).contains(&limit) {
        return Err(Problem::invalid(format!("limit: expected 1 to 1000, found {limit}")));
    }
    let state = match listing.status.as_deref() {
        None => None,
        Some(name) => Some(JobState::named(name).ok_or_else(|| {
            Problem::invalid(format!("status: expected queued, processing, completed or failed, found {name}"))
        })?),
    };
    let queue = app.bench.queue.clone();
    let jobs = blocking(move || queue.list(limit, state)).await?;
    let jobs: Vec<JobView> = jobs.into_iter().map(JobView::from).collect();
    Ok(json(StatusCode::OK, &JobList { total: jobs.len(), jobs }))
}

/// Shows a job.
#[utoipa::path(get, path = "/jobs/{id}", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, body = JobView), (status = 404, body = Problem), (status = 410, body = Problem)))]
pub async fn get(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Response, Problem> {
    Ok(json(StatusCode::OK, &JobView::from(find(&app, &id).await?)))
}

/// Forgets a job and its result; one that is being done is ended.
#[utoipa::path(delete, path = "/jobs/{id}", tag = "jobs", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = Problem)))]
pub async fn remove(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let shared = app.clone();
    let wanted = id.clone();
    let deleted = blocking(move || {
        let job = shared.bench.queue.delete(&wanted)?;
        for key in job.iter().flat_map(|job| job.result.iter().chain(&job.request.input)) {
            shared.tools.blobs.delete(key)?;
        }
        Ok(job.is_some())
    });
    if deleted.await? {
        app.bench.tell(&id);
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Err(Problem::not_found(format!("job `{id}`")))
}

/// Ends a job that is not over: it counts as failed, cancelled.
#[utoipa::path(post, path = "/jobs/{id}/cancel", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, body = JobView), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn cancel(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let (shared, wanted) = (app.clone(), id.clone());
    let cancelled = blocking(move || shared.bench.queue.cancel(&wanted, shared.bench.keep)).await?;
    let job = find(&app, &id).await?;
    if !cancelled {
        return Err(Problem::new(StatusCode::CONFLICT, format!("job `{id}` is {} already", job.state.name())));
    }
    app.bench.tell(&id);
    Ok(json(StatusCode::OK, &JobView::from(job)))
}

/// A format that a result can be had in.
#[derive(Serialize, utoipa::ToSchema)]
pub struct FormatView {
    format: &'static str,
    content_type: &'static str,
    available: bool,
}

/// Formats of a job's result.
#[derive(Serialize, utoipa::ToSchema)]
pub struct FormatList {
    id: String,
    ready: bool,
    formats: Vec<FormatView>,
}

/// Tells in which formats a result can be had.
#[utoipa::path(get, path = "/jobs/{id}/formats", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, body = FormatList), (status = 404, body = Problem), (status = 410, body = Problem)))]
pub async fn formats(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let job = find(&app, &id).await?;
    let formats = Format::ALL.into_iter().map(|format| FormatView {
        format: format.name(),
        content_type: format.media_type(),
        available: format.is_available(),
    });
    let ready = job.state == JobState::Completed;
    Ok(json(StatusCode::OK, &FormatList { id, ready, formats: formats.collect() }))
}

/// How a result is wanted.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Download {
    /// wav, mp3, ogg, flac, m4a or opus.
    #[param(pattern = "^(wav|mp3|ogg|flac|m4a|opus)$")]
    format: Option<String>,
    /// Seconds to wait for it, 1 to 600; without this, it must be there.
    #[param(minimum = 1, maximum = 600)]
    timeout: Option<u64>,
}

/// Gives a result, waiting for it if asked to.
#[utoipa::path(get, path = "/jobs/{id}/download", tag = "jobs", params(("id" = String, Path), Download),
    responses(
        (status = 200, content((String = "audio/wav"), (String = "audio/mpeg"), (String = "audio/ogg"),
            (String = "audio/flac"), (String = "audio/mp4"))),
        (status = 404, body = Problem),
        (status = 408, body = Problem, description = "not ready in time"), (status = 409, body = Problem, description = "it failed"),
        (status = 410, body = Problem), (status = 422, body = Problem), (status = 425, body = Problem, description = "not ready"),
    ))]
pub async fn download(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Query(wish): Query<Download>,
) -> Result<Response, Problem> {
    let format = Format::named(wish.format.as_deref().unwrap_or("wav"))?;
    if let Some(seconds) = wish.timeout.filter(|seconds| !(1..=600).contains(seconds)) {
        return Err(Problem::invalid(format!("timeout: expected 1 to 600, found {seconds}")));
    }
    let job = wait(&app, &id, wish.timeout.map(Duration::from_secs)).await?;
    if job.state == JobState::Failed {
        let told = job.error.unwrap_or_default();
        return Err(Problem::new(StatusCode::CONFLICT, format!("job `{id}` has failed: {told}")));
    }
    let key = job.result.ok_or_else(|| Problem::not_found(format!("the result of job `{id}`")))?;
    let blobs = app.tools.blobs.clone();
    let wav = blocking(move || blobs.get(&key)).await?;
    let bytes: Bytes = encode(wav, format).await?.into();
    let name = format!("attachment; filename=\"{id}.{}\"", format.name());
    let headers = [(header::CONTENT_TYPE, format.media_type()), (header::CONTENT_DISPOSITION, &name)];
    Ok((headers, bytes).into_response())
}

/// A job that is over, waited for if there is time.
async fn wait(app: &Arc<App>, id: &str, patience: Option<Duration>) -> Result<Job, Problem> {
    // Before the first look, so that no change is missed.
    let mut changes = app.bench.changes.subscribe();
    let mut stopping = app.stopping.clone();
    let deadline = patience.map(|patience| Instant::now() + patience);
    loop {
        let job = find(app, id).await?;
        if job.state.is_over() {
            return Ok(job);
        }
        let Some(deadline) = deadline else {
            let detail = format!("job `{id}` is {}, {:.0} % done", job.state.name(), 100.0 * job.progress);
            return Err(Problem::new(StatusCode::TOO_EARLY, detail));
        };
        if Instant::now() >= deadline {
            let detail = format!("job `{id}` is {} still", job.state.name());
            return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail));
        }
        tokio::select! {
            () = next_change(&mut changes, id) => {}
            () = tokio::time::sleep_until(deadline.min(Instant::now() + PACE)) => {}
            _ = stopping.wait_for(|stopping| *stopping) => {
                return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the service stops"));
            }
        }
    }
}

/// Waits until a job may have changed.
async fn next_change(changes: &mut broadcast::Receiver<String>, id: &str) {
    loop {
        match changes.recv().await {
            Ok(changed) if changed != id => {}
            // Whoever has missed something looks again.
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => return,
            Err(broadcast::error::RecvError::Closed) => return std::future::pending().await,
        }
    }
}

/// An event of a job.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "told to clients; events are written line by line")]
pub struct JobEvent {
    /// The job's state, or `gone`.
    event: String,
    /// The job, or a problem, as JSON.
    data: String,
}

/// Tells how a job goes, as server-sent events: one a change, until it is over.
#[utoipa::path(get, path = "/jobs/{id}/events", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, body = JobEvent, content_type = "text/event-stream"), (status = 404, body = Problem)))]
pub async fn events(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let changes = app.bench.changes.subscribe();
    let first = find(&app, &id).await?;
    let following = Following { app, id, changes, told: None, next: Some(first) };
    let events = stream::unfold(Some(following), |following| async move {
        let mut following = following?;
        let (event, over) = following.event().await?;
        Some((Ok::<_, Infallible>(event), (!over).then_some(following)))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response())
}

/// Who follows a job.
struct Following {
    app: Arc<App>,
    id: String,
    changes: broadcast::Receiver<String>,
    /// State and progress that were told last.
    told: Option<(JobState, f64)>,
    next: Option<Job>,
}

impl Following {
    /// The next event, and whether it is the last; nothing if the service stops.
    async fn event(&mut self) -> Option<(Event, bool)> {
        let mut stopping = self.app.stopping.clone();
        loop {
            let job = match self.next.take() {
                Some(job) => Ok(job),
                None => find(&self.app, &self.id).await,
            };
            let job = match job {
                Ok(job) => job,
                Err(problem) => return Some((data("gone", &problem), true)),
            };
            let now = Some((job.state, job.progress));
            if now != self.told {
                self.told = now;
                let over = job.state.is_over();
                return Some((data(job.state.name(), &JobView::from(job)), over));
            }
            tokio::select! {
                () = next_change(&mut self.changes, &self.id) => {}
                () = tokio::time::sleep(PACE) => {}
                _ = stopping.wait_for(|stopping| *stopping) => return None,
            }
        }
    }
}

fn data(name: &str, value: &impl Serialize) -> Event {
    // Plain data, in one line.
    Event::default().event(name).data(serde_json::to_string(value).unwrap_or_default())
}

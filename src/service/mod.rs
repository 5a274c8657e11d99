//! The service: voices, jobs and streams of speech over HTTP.
//!
//! ```text
//! upload -> checked in full -> store -> loaded when used -+
//! text, recording -> job -> queue -> worker -> TTS -> path +-> blob -> download
//! text -> POST /v1/audio/speech -> TTS -> stream ----------+-> audio as it is produced
//! audio -> GET /stream, a WebSocket -> session of `live` --+-> audio, as much, while it comes
//! ```
//!
//! | file | subject |
//! |---|---|
//! | `access` | who may ask, and how often |
//! | [`voices`] | uploads, the store, what is in memory |
//! | [`jobs`] | the queue, the workers, what they do |
//! | [`blobs`] | results and uploads of jobs |
//! | [`stores`], [`database`], [`postgres`] | where all of it is kept |
//! | [`crew`] | the workers and what they work with |
//! | `stream` | live conversion from afar |
//! | `page` | the web page at `/` |
//! | `routes`, `speech`, `wyoming` | what is answered to whom |
//!
//! What was answered for survives `kill -9`: rows are written ahead, files appear under their names when they are whole, and
//! a job whose worker is gone is done again, by whoever claims it, and finished once.
//!
//! Queue, blobs and the catalogue of voices are traits. On one machine they are SQLite and a folder; several machines share
//! PostgreSQL and a bucket, where workers take jobs that servers on other machines queue.

mod access;
pub mod blobs;
pub mod crew;
pub mod database;
pub mod encode;
pub mod jobs;
mod metrics;
mod openapi;
mod page;
mod params;
pub mod postgres;
mod problem;
mod routes;
mod speech;
pub mod stores;
mod stream;
pub mod voices;
mod wav;
mod wyoming;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use self::access::Access;
use self::blobs::Blob;
use self::crew::{Crew, CrewSettings};
use self::jobs::FORGOTTEN_AT_ONCE;
use self::jobs::work::Tools;
use self::jobs::worker::Bench;
use self::routes::about::Speakers;
use self::stream::StreamCounts;
use self::voices::store::voice_of_blob;
use crate::error::{Error, Result};
use crate::memory::{self, Undisturbed};
use crate::tts::UsualPitches;

/// Age of a blob that was put for a job or a voice that never came to be.
const ABANDONED: Duration = Duration::from_hours(1);
/// How long it is known of a job that it has expired; then it is forgotten, with its idempotency key.
const KNOWN: Duration = Duration::from_hours(7 * 24);
/// Time between two looks for what is due.
const EXPIRE: Duration = Duration::from_mins(1);
/// Time between two looks for blobs that nothing keeps: all of them are listed, and all jobs.
const SWEEP: Duration = Duration::from_hours(1);
/// Uploads that are checked at once: each holds a whole voice in memory.
const CHECKS: usize = 2;

/// What a service shall be like.
#[derive(Clone)]
pub struct ServiceSettings {
    /// Where it listens; port 0 takes any that is free.
    pub listen: SocketAddr,
    /// Where Wyoming clients are listened to, if anywhere: an address of this machine.
    pub wyoming: Option<SocketAddr>,
    /// What must be shown by who asks, if anything.
    pub token: Option<String>,
    /// Requests a second from one address.
    pub rate_limit: u32,
    /// Most bytes of an upload, also unpacked.
    pub most_upload_bytes: u64,
    /// Most jobs that wait.
    pub most_waiting: u64,
    /// Most streams of speech at once.
    pub most_streams: usize,
    /// Most live streams at once.
    pub most_live: usize,
    /// How long a live stream may send nothing.
    pub idle: Duration,
    /// What its jobs need. The time to end is for requests too.
    pub crew: CrewSettings,
}

/// What all requests share.
pub(crate) struct App {
    settings: ServiceSettings,
    tools: Tools,
    bench: Arc<Bench>,
    streams: Arc<Semaphore>,
    live: Arc<Semaphore>,
    stream_counts: StreamCounts,
    checks: Semaphore,
    speakers: Speakers,
    /// Of the source's voices.
    usual_pitches: Arc<UsualPitches>,
    started: Instant,
    counts: RequestCounts,
    /// Turns true when the service stops.
    stopping: watch::Receiver<bool>,
}

/// Requests so far.
#[derive(Default)]
pub(crate) struct RequestCounts {
    requests: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    speech_streams: AtomicU64,
    uploads: AtomicU64,
}

/// A service that runs. Dropping it stops it.
pub struct Service {
    address: SocketAddr,
    wyoming: Option<SocketAddr>,
    app: Arc<App>,
    crew: Crew,
    served: Option<tokio::task::JoinHandle<()>>,
}

impl Service {
    /// Opens the data, starts the workers, and listens.
    ///
    /// # Errors
    /// An address that is taken, or open to the network without a token; data that another service uses or that is damaged;
    /// servers that cannot be reached.
    pub fn start(settings: ServiceSettings) -> Result<Self> {
        let access = Access::new(settings.listen, settings.token.as_deref(), settings.rate_limit)?;
        settings.wyoming.map_or(Ok(()), wyoming::check)?;
        let mut crew = Crew::assemble(&settings.crew)?;
        // Where no other machine is, no one uploads yet.
        sweep(&crew.bench, &crew.tools, if crew.is_shared { ABANDONED } else { Duration::ZERO })?;
        let runtime = crew.runtime().clone();
        let of_address = |error| Error::io(format!("--listen {}", settings.listen), error);
        let listener = runtime.block_on(TcpListener::bind(settings.listen)).map_err(of_address)?;
        let address = listener.local_addr().map_err(of_address)?;
        let of_wyoming = |error| Error::io("--wyoming", error);
        let clients = settings.wyoming.map(|address| runtime.block_on(TcpListener::bind(address))).transpose();
        let clients = clients.map_err(of_wyoming)?;
        let wyoming = clients.as_ref().map(TcpListener::local_addr).transpose().map_err(of_wyoming)?;
        crew.start()?;
        let (tools, bench) = (crew.tools.clone(), crew.bench.clone());
        crew.now_and_then(EXPIRE, move || {
            let expired = expire(&bench, &tools);
            memory::give_back();
            expired.map(|expired| tell(expired, 0))
        });
        let (tools, bench) = (crew.tools.clone(), crew.bench.clone());
        crew.now_and_then(SWEEP, move || {
            let (expired, blobs) = sweep(&bench, &tools, ABANDONED)?;
            tell(expired, blobs);
            Ok(())
        });
        let app = Arc::new(App {
            streams: Arc::new(Semaphore::new(settings.most_streams)),
            live: Arc::new(Semaphore::new(settings.most_live)),
            stream_counts: StreamCounts::default(),
            checks: Semaphore::new(CHECKS),
            speakers: Speakers::default(),
            usual_pitches: Arc::default(),
            started: Instant::now(),
            counts: RequestCounts::default(),
            settings,
            tools: crew.tools.clone(),
            bench: crew.bench.clone(),
            stopping: crew.stopping(),
        });
        let routes = routes::router(app.clone(), access);
        let routes = routes.into_make_service_with_connect_info::<SocketAddr>();
        let mut until = crew.stopping();
        let until = async move {
            // A sender that is gone means the same.
            let _ = until.wait_for(|stopping| *stopping).await;
        };
        let served = runtime.spawn(async move {
            if let Err(error) = axum::serve(listener, routes).with_graceful_shutdown(until).await {
                tracing::error!("the service does not listen any more: {error}");
            }
        });
        if let Some(listener) = clients {
            runtime.spawn(wyoming::serve(app.clone(), listener));
        }
        Ok(Self { address, wyoming, app, crew, served: Some(served) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where Wyoming clients are listened to, if anywhere.
    #[must_use]
    pub fn wyoming(&self) -> Option<SocketAddr> {
        self.wyoming
    }

    /// Ends: takes no more requests, lets those that run end for as long as is granted, and leaves jobs to the next start.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some(served) = self.served.take() else { return };
        self.crew.ask_to_end();
        let grace = self.app.settings.crew.grace;
        let (live, most) = (&self.app.live, self.app.settings.most_live);
        let ended = async {
            let served = served.await;
            // Connections that became WebSockets are no requests any more.
            let _ = live.acquire_many(most as u32).await;
            served
        };
        if self.crew.runtime().block_on(async { tokio::time::timeout(grace, ended).await }).is_err() {
            tracing::warn!("requests that took longer than {} s to end were cut off", grace.as_secs());
        }
        self.crew.end();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.end();
    }
}

/// Runs a stream's conversion on a thread that ends with it, and with it the buffers that a thread keeps for its networks.
///
/// # Errors
/// A system that grants no thread.
fn on_own_thread(name: &str, task: impl FnOnce() + Send + 'static) -> Result<()> {
    let undisturbed = Undisturbed::new();
    let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
        let _undisturbed = undisturbed;
        task();
    });
    thread.map(drop).map_err(|error| Error::io("a thread for a stream", error))
}

/// Lets go of what has expired and of blobs that nothing keeps, if they are `abandoned` so long; returns how many of each.
fn sweep(bench: &Bench, tools: &Tools, abandoned: Duration) -> Result<(usize, usize)> {
    // Blobs first: one that a job begins to keep after this is not among them.
    let present = tools.blobs.all()?;
    let expired = expire(bench, tools)?;
    let kept: std::collections::HashSet<String> = bench.queue.blobs()?.into_iter().collect();
    let mut removed = 0;
    for blob in present.into_iter().filter(|blob| !kept.contains(&blob.key)) {
        if is_left_behind(bench, tools, &blob, abandoned)? {
            tools.blobs.delete(&blob.key)?;
            removed += 1;
        }
    }
    Ok((expired, removed))
}

/// Lets go of results that have expired, and forgets jobs that have long ago; returns how many expired now.
fn expire(bench: &Bench, tools: &Tools) -> Result<usize> {
    let expired = bench.queue.expire()?;
    // One that cannot be removed keeps no other; the hourly look finds it again.
    let keys = expired.iter().flat_map(|job| job.result.iter().chain(&job.request.input));
    let removed = keys.map(|key| tools.blobs.delete(key)).fold(Ok(()), Result::and);
    while bench.queue.forget(KNOWN)? == FORGOTTEN_AT_ONCE {}
    removed.map(|()| expired.len())
}

fn tell(expired: usize, blobs: usize) {
    if (expired, blobs) != (0, 0) {
        tracing::info!("{expired} jobs have expired, {blobs} blobs were removed");
    }
}

/// Sweeps, and gives back memory that is not needed.
fn clean_up_now(bench: &Bench, tools: &Tools) -> Result<(usize, usize)> {
    let swept = sweep(bench, tools, ABANDONED);
    memory::give_back();
    swept
}

/// Whether a blob is one that no job keeps, and none will.
fn is_left_behind(bench: &Bench, tools: &Tools, blob: &Blob, abandoned: Duration) -> Result<bool> {
    // An upload is put before there is a job, a voice before there is its row.
    if blob.key.starts_with("input-") {
        return Ok(blob.age >= abandoned);
    }
    if let Some(voice) = voice_of_blob(&blob.key) {
        return Ok(blob.age >= abandoned && tools.store.get(voice)?.is_none() && !is_put_anew(tools, blob, abandoned)?);
    }
    // A result is put before its job knows of it. What is named like none is not ours.
    let Some((id, _)) = blob.key.split_at_checked(36).filter(|(_, rest)| rest.starts_with('-')) else {
        return Ok(false);
    };
    let job = bench.queue.get(id)?;
    Ok(job.is_none_or(|job| job.state.is_over() && job.result.as_ref() != Some(&blob.key)))
}

/// Whether a blob is younger than it was listed as: the same voice is uploaded again.
fn is_put_anew(tools: &Tools, blob: &Blob, abandoned: Duration) -> Result<bool> {
    let now = tools.blobs.all()?;
    Ok(now.iter().any(|other| other.key == blob.key && other.age < abandoned))
}

impl RequestCounts {
    fn count(&self, counter: impl Fn(&Self) -> &AtomicU64) {
        counter(self).fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::blobs::{Blobs, FolderBlobs};
    use super::database::Database;
    use super::jobs::SqliteQueue;
    use super::voices::{LoadedVoices, VoiceStore};
    use super::*;
    use crate::tts::SourceChoice;

    #[test]
    fn a_voice_that_is_put_anew_while_what_was_left_of_it_is_sought_is_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let database = Database::open(&folder.path().join("syrinx.db")).expect("a database");
        let blobs = Arc::new(FolderBlobs::shared(folder.path().join("blobs")).expect("blobs"));
        let voices = folder.path().join("voices");
        let tools = Tools {
            runtime: runtime.handle().clone(),
            source: SourceChoice { source: "espeak-ng".into(), ..SourceChoice::default() }.open().expect("a source"),
            store: VoiceStore::open(voices, Arc::new(database.clone())).expect("voices"),
            loaded: Arc::new(LoadedVoices::new(None, 0)),
            pinned: Arc::default(),
            blobs: blobs.clone(),
        };
        let bench = Bench::new(Arc::new(SqliteQueue::new(database)), Duration::ZERO);
        let key = "voice-0123456789abcdef-0";
        blobs.put(key, b"half of an upload").expect("kept");
        let file = std::fs::File::options().append(true).open(folder.path().join("blobs").join(key)).expect("a file");
        file.set_modified(std::time::SystemTime::now() - 2 * ABANDONED).expect("a time");
        let listed = blobs.all().expect("blobs").remove(0);
        assert!(is_left_behind(&bench, &tools, &listed, ABANDONED).expect("an answer"));
        // Between the list and the look at what it holds, the same voice is uploaded again: its row comes last.
        blobs.put(key, b"a voice").expect("kept");
        assert!(!is_left_behind(&bench, &tools, &listed, ABANDONED).expect("an answer"));
    }
}

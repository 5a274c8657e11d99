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
//! | `stream` | live conversion from afar |
//! | `page` | the web page at `/` |
//! | `routes`, `speech`, `wyoming` | what is answered to whom |
//!
//! What was answered for survives `kill -9`: rows are written ahead, files appear under their names when they are whole, and
//! a job whose worker is gone is done again, by whoever claims it, and finished once.
//!
//! Queue and blobs are traits, so that several machines may share others than SQLite and a folder.

mod access;
pub mod blobs;
pub mod database;
pub mod encode;
pub mod jobs;
#[allow(unsafe_code, reason = "a call of the C library")]
mod memory;
mod metrics;
mod openapi;
mod page;
mod params;
mod problem;
mod routes;
mod speech;
mod stream;
pub mod voices;
mod wav;
mod wyoming;

use std::fs::{File, TryLockError};
use std::net::SocketAddr;
#[cfg(feature = "default-voice")]
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, watch};

use self::access::Access;
use self::blobs::{Blobs, FolderBlobs};
use self::database::Database;
use self::jobs::work::Tools;
use self::jobs::worker::{self, Bench};
use self::jobs::{Queue, SqliteQueue};
use self::routes::about::Speakers;
use self::stream::StreamCounts;
#[cfg(feature = "default-voice")]
use self::voices::VoiceFiles;
use self::voices::{LoadedVoices, VoiceStore};
#[cfg(feature = "default-voice")]
use crate::checkpoint::built_in;
use crate::error::{Error, Result};
use crate::tts::Source;

/// Time between two clean-ups.
const CLEAN_UP: Duration = Duration::from_mins(1);
/// Uploads that are checked at once: each holds a whole voice in memory.
const CHECKS: usize = 2;

/// What a service shall be like.
#[derive(Clone)]
pub struct ServiceSettings {
    /// Where it listens; port 0 takes any that is free.
    pub listen: SocketAddr,
    /// Where Wyoming clients are listened to, if anywhere: an address of this machine.
    pub wyoming: Option<SocketAddr>,
    /// Where all that it keeps lies.
    pub data: PathBuf,
    /// What must be shown by who asks, if anything.
    pub token: Option<String>,
    /// Requests a second from one address.
    pub rate_limit: u32,
    /// What speaks.
    pub source: Arc<dyn Source>,
    /// The content encoder; found in the models folder if none is named.
    pub encoder: Option<PathBuf>,
    /// Whether the data gets the voice that is part of the program, where the build has it, unless it had it before.
    pub default_voice: bool,
    /// Memory for voices, in bytes.
    pub voice_budget_bytes: u64,
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
    /// Threads that do jobs.
    pub workers: usize,
    /// How long results are kept.
    pub keep: Duration,
    /// Time that requests have to end when the service stops.
    pub grace: Duration,
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
    runtime: Option<Runtime>,
    app: Arc<App>,
    workers: Vec<JoinHandle<()>>,
    stop: watch::Sender<bool>,
    served: Option<tokio::task::JoinHandle<()>>,
    _lock: File,
}

/// Adds the voice that is part of the program, once: who deletes it does not get it back.
#[cfg(feature = "default-voice")]
fn offer_built_in(data: &Path, store: &VoiceStore) -> Result<()> {
    let mark = data.join("default-voice-offered");
    if mark.exists() {
        return Ok(());
    }
    let received = store.receive()?;
    store.keep(&VoiceFiles::built_in(received.path())?, built_in::NAME, "The voice that is part of Syrinx.")?;
    std::fs::write(&mark, "").map_err(|source| Error::io(mark, source))
}

impl Service {
    /// Opens the data, starts the workers, and listens.
    ///
    /// # Errors
    /// An address that is taken, or open to the network without a token; data that another service uses or that is damaged.
    pub fn start(settings: ServiceSettings) -> Result<Self> {
        let access = Access::new(settings.listen, settings.token.as_deref(), settings.rate_limit)?;
        settings.wyoming.map_or(Ok(()), wyoming::check)?;
        memory::keep_together();
        // The pool helps jobs too, and requests go first.
        rayon::broadcast(|_| worker::give_way());
        let data = &settings.data;
        std::fs::create_dir_all(data).map_err(|source| Error::io(data, source))?;
        let lock = lock(data)?;
        let database = Database::open(&data.join("syrinx.db"))?;
        let store = VoiceStore::open(data.join("voices"), database.clone())?;
        #[cfg(feature = "default-voice")]
        if settings.default_voice {
            offer_built_in(data, &store)?;
        }
        let blobs: Arc<dyn Blobs> = Arc::new(FolderBlobs::open(data.join("blobs"))?);
        let queue: Arc<dyn Queue> = Arc::new(SqliteQueue::new(database));
        // No other process works at this data, as the lock tells.
        let recovered = queue.recover()?;
        if recovered > 0 {
            tracing::warn!("{recovered} jobs were being done when the service ended, and are done again");
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|error| Error::io("the runtime", error))?;
        let tools = Tools {
            runtime: runtime.handle().clone(),
            source: settings.source.clone(),
            store,
            loaded: Arc::new(LoadedVoices::new(settings.encoder.clone(), settings.voice_budget_bytes)),
            blobs,
        };
        let bench = Bench::new(queue, settings.keep);
        sweep(&bench, &*tools.blobs, true)?;
        let of_address = |error| Error::io(format!("--listen {}", settings.listen), error);
        let listener = runtime.block_on(TcpListener::bind(settings.listen)).map_err(of_address)?;
        let address = listener.local_addr().map_err(of_address)?;
        let of_wyoming = |error| Error::io("--wyoming", error);
        let clients = settings.wyoming.map(|address| runtime.block_on(TcpListener::bind(address))).transpose();
        let clients = clients.map_err(of_wyoming)?;
        let wyoming = clients.as_ref().map(TcpListener::local_addr).transpose().map_err(of_wyoming)?;
        let (stop, stopping) = watch::channel(false);
        let workers = (0..settings.workers.max(1))
            .map(|number| worker::start(bench.clone(), tools.clone(), &format!("worker-{number}")))
            .collect::<Result<_>>()?;
        let app = Arc::new(App {
            streams: Arc::new(Semaphore::new(settings.most_streams)),
            live: Arc::new(Semaphore::new(settings.most_live)),
            stream_counts: StreamCounts::default(),
            checks: Semaphore::new(CHECKS),
            speakers: Speakers::default(),
            started: Instant::now(),
            counts: RequestCounts::default(),
            settings,
            tools,
            bench,
            stopping: stopping.clone(),
        });
        let routes = routes::router(app.clone(), access);
        let routes = routes.into_make_service_with_connect_info::<SocketAddr>();
        let mut until = stopping.clone();
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
        runtime.spawn(clean_up(app.clone(), stopping));
        Ok(Self { address, wyoming, runtime: Some(runtime), app, workers, stop, served: Some(served), _lock: lock })
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
        let Some(runtime) = self.runtime.take() else { return };
        self.app.bench.stop();
        let _ = self.stop.send(true);
        if let Some(served) = self.served.take() {
            let grace = self.app.settings.grace;
            let (live, most) = (&self.app.live, self.app.settings.most_live);
            let ended = async {
                let served = served.await;
                // Connections that became WebSockets are no requests any more.
                let _ = live.acquire_many(most as u32).await;
                served
            };
            if runtime.block_on(async { tokio::time::timeout(grace, ended).await }).is_err() {
                tracing::warn!("requests that took longer than {} s to end were cut off", grace.as_secs());
            }
        }
        let deadline = Instant::now() + self.app.settings.grace;
        while self.workers.iter().any(|worker| !worker.is_finished()) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        runtime.shutdown_background();
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
    let thread = std::thread::Builder::new().name(name.into()).spawn(task);
    thread.map(drop).map_err(|error| Error::io("a thread for a stream", error))
}

/// Makes sure that no other process works at the same data.
fn lock(data: &std::path::Path) -> Result<File> {
    let path = data.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|source| Error::io(&path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(Error::argument("--data", "a folder that no other service uses", data.display()))
        }
        Err(TryLockError::Error(source)) => Err(Error::io(&path, source)),
    }
}

/// Lets go of what has expired and of blobs that no job keeps; returns how many of each. `is_first`: no one uploads yet.
fn sweep(bench: &Bench, blobs: &dyn Blobs, is_first: bool) -> Result<(usize, usize)> {
    // Blobs first: one that a job begins to keep after this is not among them.
    let present = blobs.keys()?;
    let expired = bench.queue.expire()?;
    for job in &expired {
        for key in job.result.iter().chain(&job.request.input) {
            blobs.delete(key)?;
        }
    }
    let kept: std::collections::HashSet<String> = bench.queue.blobs()?.into_iter().collect();
    let mut removed = 0;
    for key in present.into_iter().filter(|key| !kept.contains(key)) {
        // A result is put before its job knows of it, an upload before there is a job.
        let is_upload = key.starts_with("input-");
        let job = key.get(..36).and_then(|id| bench.queue.get(id).ok().flatten());
        let is_needed = job.is_some_and(|job| !job.state.is_over() || job.result.as_ref() == Some(&key));
        if !is_needed && (!is_upload || is_first) {
            blobs.delete(&key)?;
            removed += 1;
        }
    }
    Ok((expired.len(), removed))
}

/// Sweeps, and gives back memory that is not needed.
fn clean_up_now(app: &App) -> Result<(usize, usize)> {
    let swept = sweep(&app.bench, &*app.tools.blobs, false);
    memory::give_back();
    swept
}

async fn clean_up(app: Arc<App>, mut stopping: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(CLEAN_UP) => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
        let swept = app.clone();
        let swept = tokio::task::spawn_blocking(move || clean_up_now(&swept)).await;
        match swept {
            Ok(Ok((0, 0))) | Err(_) => {}
            Ok(Ok((expired, blobs))) => tracing::info!("{expired} jobs have expired, {blobs} blobs were removed"),
            Ok(Err(error)) => tracing::error!("clean-up: {error}"),
        }
    }
}

impl RequestCounts {
    fn count(&self, counter: impl Fn(&Self) -> &AtomicU64) {
        counter(self).fetch_add(1, Ordering::Relaxed);
    }
}

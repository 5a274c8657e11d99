//! The crew: what does jobs, with or without a service around it.
//!
//! A [`Service`](super::Service) has one, and takes jobs over HTTP; `syrinx worker` is one alone, which takes the jobs that
//! services on other machines queue.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, Runtime};
use tokio::sync::watch;

use super::jobs::work::Tools;
use super::jobs::worker::{self, Bench};
use super::stores::{Place, Stores};
use super::voices::LoadedVoices;
use crate::error::{Error, Result};
use crate::tts::Source;

/// Time between two looks for voices that were deleted.
const PRUNE: Duration = Duration::from_mins(1);

/// What doing jobs needs.
#[derive(Clone)]
pub struct CrewSettings {
    /// Where all that this machine keeps lies.
    pub data: PathBuf,
    /// Where jobs, their blobs and the voices are.
    pub place: Place,
    /// What speaks.
    pub source: Arc<dyn Source>,
    /// The content encoder; found in the models folder if none is named.
    pub encoder: Option<PathBuf>,
    /// Whether the voices get the one that is part of the program, where the build has it, unless they had it before.
    pub default_voice: bool,
    /// Memory for voices, in bytes.
    pub voice_budget_bytes: u64,
    /// Ids and names of voices that are loaded at the start and stay in memory.
    pub pinned: Vec<String>,
    /// Threads that do jobs.
    pub workers: usize,
    /// How long results are kept.
    pub keep: Duration,
    /// Time that work has to end.
    pub grace: Duration,
}

/// Workers, and what they work with. Dropping it ends them.
pub struct Crew {
    runtime: Option<Runtime>,
    pub(super) tools: Tools,
    pub(super) bench: Arc<Bench>,
    pub(super) is_shared: bool,
    stop: watch::Sender<bool>,
    count: usize,
    workers: Vec<JoinHandle<()>>,
    grace: Duration,
    _lock: File,
}

impl Crew {
    /// Opens all that is needed; no one works yet.
    ///
    /// # Errors
    /// Data that another process uses or that is damaged; servers that cannot be reached; pinned voices that cannot be
    /// loaded.
    pub fn assemble(settings: &CrewSettings) -> Result<Self> {
        let data = &settings.data;
        std::fs::create_dir_all(data).map_err(|source| Error::io(data, source))?;
        let lock = lock(data)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|error| Error::io("the runtime", error))?;
        let stores = Stores::open(&settings.place, data, runtime.handle())?;
        #[cfg(feature = "default-voice")]
        if settings.default_voice {
            stores.offer_built_in(data)?;
        }
        // No other process works at this data, as the lock tells.
        let recovered = stores.queue.recover()?;
        if recovered > 0 {
            tracing::warn!("{recovered} jobs were being done when this machine's workers ended, and are done again");
        }
        let tools = Tools {
            runtime: runtime.handle().clone(),
            source: settings.source.clone(),
            store: stores.voices,
            loaded: Arc::new(LoadedVoices::new(settings.encoder.clone(), settings.voice_budget_bytes)),
            pinned: settings.pinned.clone().into(),
            blobs: stores.blobs,
        };
        tools.load_pinned()?;
        Ok(Self {
            runtime: Some(runtime),
            tools,
            bench: Bench::new(stores.queue, settings.keep),
            is_shared: stores.is_shared,
            stop: watch::channel(false).0,
            count: settings.workers,
            workers: Vec::new(),
            grace: settings.grace,
            _lock: lock,
        })
    }

    /// Begins to work.
    ///
    /// # Errors
    /// A system that grants no threads.
    pub fn start(&mut self) -> Result<()> {
        self.workers = (0..self.count)
            .map(|number| worker::start(self.bench.clone(), self.tools.clone(), &format!("worker-{number}")))
            .collect::<Result<_>>()?;
        let tools = self.tools.clone();
        self.now_and_then(PRUNE, move || {
            for voice in tools.store.prune()? {
                tools.loaded.forget(&voice);
            }
            Ok(())
        });
        Ok(())
    }

    /// What runs tasks.
    pub(super) fn runtime(&self) -> &Handle {
        &self.tools.runtime
    }

    /// Turns true when all shall end.
    pub(super) fn stopping(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    /// Does some cleaning up each time that so long has passed, on a thread for what waits.
    pub(super) fn now_and_then(&self, pace: Duration, clean_up: impl Fn() -> Result<()> + Clone + Send + 'static) {
        let mut stopping = self.stopping();
        self.runtime().spawn(async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(pace) => {}
                    _ = stopping.wait_for(|stopping| *stopping) => return,
                }
                if let Ok(Err(error)) = tokio::task::spawn_blocking(clean_up.clone()).await {
                    tracing::error!("clean-up: {error}");
                }
            }
        });
    }

    /// Asks all to end. Jobs that are being done wait again, for others or the next start.
    pub(super) fn ask_to_end(&self) {
        self.bench.stop();
        self.stop.send_replace(true);
    }

    /// Ends: work that takes longer than is granted is cut off.
    pub fn end(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        self.ask_to_end();
        let deadline = Instant::now() + self.grace;
        while self.workers.iter().any(|worker| !worker.is_finished()) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        runtime.shutdown_background();
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.end();
    }
}

/// Makes sure that no other process works at the same data.
fn lock(data: &Path) -> Result<File> {
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

//! Workers: threads that take jobs from the queue, one after another.

use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rayon::{ThreadPool, ThreadPoolBuilder};
use thread_priority::{ThreadPriority, ThreadPriorityValue, set_current_thread_priority};
use tokio::sync::broadcast;

use super::work::{Tools, WorkFault};
use super::{Counts, Job, Queue};
use crate::error::{Error, Result};
use crate::io::write::Quantise;
use crate::memory::give_back;
use crate::service::wav::wav;

/// How long a claim holds without a word of its worker.
pub const LEASE: Duration = Duration::from_secs(30);
/// How often a worker tells how far it is.
const RENEWAL: Duration = Duration::from_millis(250);
/// Longest time between two looks at the queue: jobs of other machines, and those to be tried again, wait so long.
const PACE: Duration = Duration::from_millis(500);
/// Time before a job is tried again; it doubles from attempt to attempt.
const RETRY: Duration = Duration::from_secs(1);
/// Time before a server that cannot be reached is asked again; it doubles from time to time, up to the longest.
const PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long numbers of jobs that are over hold: to count them means to look at all.
const COUNTED: Duration = Duration::from_secs(10);
/// Time before a job is handed out again that needs what cannot be reached: another machine may reach it.
const RELEASE: Duration = Duration::from_secs(2);

/// What workers and those who wait for jobs share.
pub struct Bench {
    /// The queue.
    pub queue: Arc<dyn Queue>,
    /// Tells which job has changed.
    pub changes: broadcast::Sender<String>,
    /// How long results are kept.
    pub keep: Duration,
    stop: AtomicBool,
    bell: (Mutex<bool>, Condvar),
    /// Numbers of jobs, and when they were counted.
    counted: Mutex<Option<(Instant, Counts)>>,
}

impl Bench {
    /// No one works yet.
    #[must_use]
    pub fn new(queue: Arc<dyn Queue>, keep: Duration) -> Arc<Self> {
        let (changes, _) = broadcast::channel(256);
        let (stop, bell) = (AtomicBool::new(false), (Mutex::new(false), Condvar::new()));
        let bench = Arc::new(Self { queue, changes, keep, stop, bell, counted: Mutex::default() });
        let hears = Arc::downgrade(&bench);
        bench.queue.watch(Box::new(move |id, waits| {
            if let Some(bench) = hears.upgrade() {
                bench.tell(id);
                if waits {
                    bench.ring();
                }
            }
        }));
        bench
    }

    /// Numbers of jobs: of those that are not over now, and of others a few seconds ago at most.
    ///
    /// # Errors
    /// What the queue reports.
    pub fn counts(&self) -> Result<Counts> {
        // Who comes while all are being counted waits, and does not count again.
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        match *counted {
            Some((when, counts)) if when.elapsed() < COUNTED => Ok(counts.with_open(self.queue.open_counts()?)),
            _ => Ok(counted.insert((Instant::now(), self.queue.counts()?)).1),
        }
    }

    /// There is a job.
    pub fn ring(&self) {
        *self.bell.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.bell.1.notify_all();
    }

    /// Tells all who wait that a job has changed.
    pub fn tell(&self, id: &str) {
        // No one may wait.
        let _ = self.changes.send(id.to_owned());
    }

    /// Asks workers to end; the jobs that they are at wait again, for others or the next start.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        // Whoever looked before has begun to wait by now.
        drop(self.bell.0.lock());
        self.bell.1.notify_all();
    }

    fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Waits until the bell rings, or a while; says whether it rang.
    fn wait(&self) -> bool {
        let rung = self.bell.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.bell.1.wait_timeout_while(rung, PACE, |rung| !*rung && !self.is_stopping());
        std::mem::take(&mut *waited.unwrap_or_else(PoisonError::into_inner).0)
    }

    /// Waits, whether there is a job or not.
    fn rest(&self, pause: Duration) {
        let rung = self.bell.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = self.bell.1.wait_timeout_while(rung, pause, |_| !self.is_stopping());
    }

    /// Does what needs a server or a disk until that can be reached or has room, or it is not `wanted` any more.
    fn insist<T>(&self, wanted: impl Fn() -> bool, mut task: impl FnMut() -> Result<T>) -> Result<T> {
        let mut pause = PAUSE;
        loop {
            match task() {
                Err(error) if may_pass(&error) && wanted() && !self.is_stopping() => {
                    tracing::warn!("{error}; asked again in {} ms", pause.as_millis());
                    self.rest(pause);
                    pause = LONGEST_PAUSE.min(2 * pause);
                }
                other => return other,
            }
        }
    }
}

/// Whether what failed may be done a while later: a server can be reached again, a disk has room again.
fn may_pass(error: &Error) -> bool {
    match error {
        Error::Server { .. } => true,
        Error::Io { source, .. } => matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded),
        _ => false,
    }
}

/// Starts a worker.
///
/// # Errors
/// A system that grants no thread.
pub fn start(bench: Arc<Bench>, tools: Tools, name: &str) -> Result<JoinHandle<()>> {
    let converting = converting_threads(name)?;
    let work = move || {
        let mut holds_memory = false;
        while !bench.is_stopping() {
            match bench.insist(|| true, || bench.queue.claim(LEASE)) {
                Ok(Some(job)) => {
                    attempt(&bench, &tools, &converting, &job);
                    holds_memory = true;
                }
                Ok(None) => {
                    // Between jobs that follow each other it is kept.
                    if !bench.wait() && holds_memory {
                        holds_memory = !give_back();
                    }
                }
                Err(error) => {
                    tracing::error!("the queue: {error}");
                    bench.wait();
                }
            }
        }
    };
    let thread = std::thread::Builder::new().name(name.into()).spawn(work);
    thread.map_err(|error| Error::io("a worker", error))
}

/// A worker's threads that convert, as many as the pool has that live streams share. They let requests, streams and text to
/// speech go first, where the system grants it. Nothing else is done by them: what they hold, others wait for.
fn converting_threads(worker: &str) -> Result<ThreadPool> {
    /// Niceness 19, as a share of 0 (19) to 100 (-20). With 5, who asked for anything else waited for a tick of the system's
    /// clock (4 ms) behind a job now and then.
    const BEHIND: u8 = 0;
    let give_way = |_| {
        if let Ok(priority) = ThreadPriorityValue::try_from(BEHIND) {
            let _ = set_current_thread_priority(ThreadPriority::Crossplatform(priority));
        }
    };
    let name = format!("{worker}-converts");
    let pool = ThreadPoolBuilder::new().num_threads(rayon::current_num_threads()).thread_name(move |_| name.clone());
    pool.start_handler(give_way).build().map_err(|error| Error::io("a worker's threads", std::io::Error::other(error)))
}

/// One attempt at a job, whatever comes of it.
fn attempt(bench: &Bench, tools: &Tools, converting: &ThreadPool, job: &Job) {
    bench.tell(&job.id);
    let heart = Heart::start(bench, job);
    let mut beat = |share| if heart.beat(share) { Ok(()) } else { Err(Error::Stopped) };
    let done = catch_unwind(AssertUnwindSafe(|| tools.work(job, converting, &mut beat)));
    // The heart goes on until the result is kept, which may take long where its place cannot be reached.
    let wanted = || heart.is_wanted();
    let fail = |error: &str, retry: Option<Duration>| {
        let fail = || bench.queue.fail(&job.id, job.attempt, error, retry, bench.keep);
        bench.insist(wanted, fail).map(|_| ())
    };
    let release = |after| bench.queue.release(&job.id, job.attempt, after).map(|_| ());
    let kept = match done {
        Ok(Ok((recording, outcome))) if wanted() => {
            // A result has the attempt in its name: one that comes late never writes over another.
            let key = format!("{}-{}.wav", job.id, job.attempt);
            let wav = wav(&recording, Quantise::Round);
            bench.insist(wanted, || tools.blobs.put(&key, &wav)).and_then(|()| {
                let complete = || bench.queue.complete(&job.id, job.attempt, &key, &outcome, bench.keep);
                let taken = bench.insist(|| true, complete)?;
                if taken { Ok(()) } else { tools.blobs.delete(&key) }
            })
        }
        // No one wants it, or this machine ends and leaves it to another.
        Ok(Ok(_) | Err(WorkFault::Unwanted)) => release(Duration::ZERO),
        Ok(Err(WorkFault::Waiting(error))) => {
            tracing::warn!("job {}, attempt {}: {error}", job.id, job.attempt);
            let released = release(RELEASE);
            bench.rest(RELEASE);
            released
        }
        Ok(Err(WorkFault::Passing(error))) => {
            tracing::warn!("job {}, attempt {}: {error}", job.id, job.attempt);
            let after = RETRY * 2_u32.pow(job.attempt.saturating_sub(1).min(5));
            fail(&error.to_string(), Some(after))
        }
        Ok(Err(WorkFault::Lasting(error))) => {
            tracing::info!("job {}: {error}", job.id);
            fail(&error.to_string(), None)
        }
        Err(_) => {
            tracing::error!("job {}: its work panicked, which is a fault of Syrinx", job.id);
            fail("its work panicked, which is a fault of Syrinx", None)
        }
    };
    match kept {
        Ok(()) => {}
        // Asked to end meanwhile: the job is done again, at the latest when the lease runs out.
        Err(error) if may_pass(&error) => {
            tracing::warn!("job {}: {error}", job.id);
            let _ = release(Duration::ZERO);
        }
        Err(error) => {
            tracing::error!("job {}: its result cannot be kept: {error}", job.id);
            let _ = bench.queue.fail(&job.id, job.attempt, &error.to_string(), Some(RETRY), bench.keep);
        }
    }
    drop(heart);
    bench.tell(&job.id);
}

/// Tells the queue that a job is being worked at, also where the work itself says nothing for long.
struct Heart<'a> {
    bench: &'a Bench,
    state: Arc<(Mutex<Beat>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

struct Beat {
    share: f64,
    wanted: bool,
    over: bool,
    told: Instant,
}

impl<'a> Heart<'a> {
    fn start(bench: &'a Bench, job: &Job) -> Self {
        let beat = Beat { share: 0.0, wanted: true, over: false, told: Instant::now() };
        let state = Arc::new((Mutex::new(beat), Condvar::new()));
        let (shared, queue, changes) = (state.clone(), bench.queue.clone(), bench.changes.clone());
        let (id, attempt) = (job.id.clone(), job.attempt);
        let keep_alive = move || {
            let mut told = 0.0;
            loop {
                let beat = shared.0.lock().unwrap_or_else(PoisonError::into_inner);
                let waited = shared.1.wait_timeout_while(beat, RENEWAL, |beat| !beat.over);
                let beat = waited.unwrap_or_else(PoisonError::into_inner).0;
                if beat.over {
                    return;
                }
                let share = beat.share;
                drop(beat);
                // A database that is busy is asked again; the lease lasts.
                let wanted = queue.renew(&id, attempt, share, LEASE).unwrap_or(true);
                if share > told {
                    told = share;
                    let _ = changes.send(id.clone());
                }
                let mut beat = shared.0.lock().unwrap_or_else(PoisonError::into_inner);
                beat.wanted &= wanted;
                beat.told = Instant::now();
            }
        };
        let thread = std::thread::Builder::new().name("heart".into()).spawn(keep_alive).ok();
        Self { bench, state, thread }
    }

    /// The work is so far; says whether to go on.
    fn beat(&self, share: f64) -> bool {
        let mut beat = self.state.0.lock().unwrap_or_else(PoisonError::into_inner);
        beat.share = share;
        beat.wanted && !self.bench.is_stopping()
    }

    /// Whether someone wants the result, as far as is known.
    fn is_wanted(&self) -> bool {
        self.state.0.lock().unwrap_or_else(PoisonError::into_inner).wanted
    }

    fn end(&mut self) {
        self.state.0.lock().unwrap_or_else(PoisonError::into_inner).over = true;
        self.state.1.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Heart<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::database::Database;
    use crate::service::jobs::SqliteQueue;

    #[test]
    fn who_waits_for_a_job_hears_the_bell_also_beside_one_who_waits_for_something_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let database = Database::open(&folder.path().join("jobs.db")).expect("a database");
        let bench = Bench::new(Arc::new(SqliteQueue::new(database)), Duration::ZERO);
        std::thread::scope(|scope| {
            // Whoever waits longest is woken first.
            let resting = scope.spawn(|| bench.rest(Duration::from_mins(1)));
            std::thread::sleep(Duration::from_millis(50));
            for _ in 0..3 {
                let waiting = scope.spawn(|| {
                    let began = Instant::now();
                    (bench.wait(), began.elapsed())
                });
                std::thread::sleep(Duration::from_millis(50));
                bench.ring();
                let (rang, took) = waiting.join().expect("a worker");
                assert!(rang && took < PACE, "{took:?}");
                assert!(!resting.is_finished());
            }
            bench.stop();
        });
    }
}

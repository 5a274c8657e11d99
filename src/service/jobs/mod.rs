//! Jobs: work that is queued, done once, and kept until it expires.
//!
//! ```text
//! queued --claim--> processing --complete--> completed --expiry--> expired --a week--> forgotten
//!   ^                   |  |
//!   +--retry, lease over+  +--fail, cancel--> failed --expiry--> expired --a week--> forgotten
//! ```
//!
//! A claim has an attempt's number, and only who holds the latest may complete or fail the job: whatever dies or comes
//! late, a job is finished once. A claim whose lease is over, since its worker is gone, is open to the next.

pub mod postgres;
pub mod sqlite;
pub mod work;
pub mod worker;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use postgres::PostgresQueue;
pub use sqlite::SqliteQueue;

use crate::error::Result;
use crate::service::params::JobParams;

/// Attempts at a job that fails.
pub const ATTEMPTS: u32 = 5;
/// Attempts at a job whose workers are lost: it may be what kills them.
pub const LOST_ATTEMPTS: u32 = 20;

/// What a job shall do.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct JobRequest {
    /// What is said; empty for an upload.
    #[serde(default)]
    pub text: String,
    /// Key of the recording to convert, if one was uploaded.
    #[serde(default)]
    pub input: Option<String>,
    /// How.
    #[serde(flatten)]
    pub params: JobParams,
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// It waits.
    Queued,
    /// It is being done.
    Processing,
    /// Its result is there.
    Completed,
    /// There will be no result.
    Failed,
    /// Its result was there, and is gone.
    Expired,
}

impl JobState {
    /// All states.
    pub const ALL: [Self; 5] = [Self::Queued, Self::Processing, Self::Completed, Self::Failed, Self::Expired];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Processing => "processing",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Expired => "expired",
        }
    }

    /// The state of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether nothing more will happen but expiry.
    #[must_use]
    pub fn is_over(self) -> bool {
        !matches!(self, Self::Queued | Self::Processing)
    }
}

/// What came of a job that was completed.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, utoipa::ToSchema)]
pub struct Outcome {
    /// Seconds of audio.
    pub duration_seconds: f64,
    /// Hertz.
    pub sample_rate_hz: u32,
    /// Seconds that text to speech took.
    pub tts_seconds: f64,
    /// Seconds that conversion took.
    pub conversion_seconds: f64,
    /// Semitones by which the pitch was shifted, if something was converted.
    #[serde(default)]
    pub transpose_semitones: Option<f32>,
}

/// A job. Times are in milliseconds since 1970.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its identity.
    pub id: String,
    /// Where it stands.
    pub state: JobState,
    /// What it shall do.
    pub request: JobRequest,
    /// Jobs of higher priority are done first.
    pub priority: i64,
    /// When it was asked for.
    pub created_ms: i64,
    /// When its latest attempt began.
    pub started_ms: Option<i64>,
    /// When it was over.
    pub finished_ms: Option<i64>,
    /// When its result goes.
    pub expires_ms: Option<i64>,
    /// Attempts so far.
    pub attempt: u32,
    /// Share done, 0..=1.
    pub progress: f64,
    /// Why it failed, or why it was tried again.
    pub error: Option<String>,
    /// Key of the result.
    pub result: Option<String>,
    /// What came of it.
    pub outcome: Option<Outcome>,
}

impl Job {
    /// Whether it is what `new` asks for again. An upload has another key each time.
    fn is_wished_by(&self, new: &NewJob) -> bool {
        self.request.text == new.request.text
            && self.request.params == new.request.params
            && self.request.input.is_some() == new.request.input.is_some()
    }

    /// Whether `attempt` has completed it, with `result`.
    fn is_completed_as(&self, attempt: u32, result: &str) -> bool {
        self.state == JobState::Completed && self.attempt == attempt && self.result.as_deref() == Some(result)
    }
}

/// Something to be queued.
#[derive(Clone, Debug, PartialEq)]
pub struct NewJob {
    /// Its identity.
    pub id: String,
    /// What it shall do.
    pub request: JobRequest,
    /// Jobs of higher priority are done first, -10..=10.
    pub priority: i64,
    /// A key by which the same wish, sent again, is known.
    pub idempotency: Option<String>,
}

/// What came of queueing.
#[derive(Clone, Debug, PartialEq)]
pub enum Submitted {
    /// It waits.
    New(Job),
    /// The same was asked for before.
    Known(Job),
    /// Another was asked for before, under the same key.
    Conflict,
    /// Too many wait.
    Full,
}

/// Numbers of jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// By state, in the order of [`JobState::ALL`].
    pub by_state: [u64; 5],
}

impl Counts {
    /// Counts `count` jobs of the state `name`.
    fn add(&mut self, name: &str, count: i64) {
        let places = JobState::ALL.iter().zip(&mut self.by_state);
        places.filter(|(state, _)| state.name() == name).for_each(|(_, place)| *place += count as u64);
    }

    /// These, with the numbers of jobs that are not over from `open`.
    #[must_use]
    pub fn with_open(self, open: Self) -> Self {
        let mut counts = self;
        for ((state, place), open) in JobState::ALL.iter().zip(&mut counts.by_state).zip(open.by_state) {
            *place = if state.is_over() { *place } else { open };
        }
        counts
    }
}

/// Hears of a job that has changed, and whether it waits for a worker now.
pub type Heard = Box<dyn Fn(&str, bool) + Send + Sync>;

/// Jobs that a queue forgets at once: others wait for it meanwhile.
pub const FORGOTTEN_AT_ONCE: u64 = 10_000;

/// Where jobs are kept and handed out. A trait, so that workers of several machines may share one.
///
/// An error of kind [`Error::Server`](crate::error::Error::Server) says that the store may be reached another time, and
/// leaves open whether what was asked was done: each may be asked again.
pub trait Queue: Send + Sync {
    /// Queues a job, unless `most` wait already.
    ///
    /// # Errors
    /// What the store reports.
    fn submit(&self, job: &NewJob, most: u64) -> Result<Submitted>;

    /// Hands out the job that is due, for `lease`: it counts as one more attempt.
    ///
    /// # Errors
    /// What the store reports.
    fn claim(&self, lease: Duration) -> Result<Option<Job>>;

    /// Tells how far an attempt is, and extends its lease. `false`: no one wants its result any more.
    ///
    /// # Errors
    /// What the store reports.
    fn renew(&self, id: &str, attempt: u32, progress: f64, lease: Duration) -> Result<bool>;

    /// The attempt has a result, kept for `keep`. `false`: no one wants it any more. `true` again if it has that result.
    ///
    /// # Errors
    /// What the store reports.
    fn complete(&self, id: &str, attempt: u32, result: &str, outcome: &Outcome, keep: Duration) -> Result<bool>;

    /// The attempt has failed: `retry` after so long, if that is of use and attempts are left.
    ///
    /// # Errors
    /// What the store reports.
    fn fail(&self, id: &str, attempt: u32, error: &str, retry: Option<Duration>, keep: Duration) -> Result<bool>;

    /// The attempt ends through no fault of the job, which waits again, from `after` on. `false`: no one waits for it.
    ///
    /// # Errors
    /// What the store reports.
    fn release(&self, id: &str, attempt: u32, after: Duration) -> Result<bool>;

    /// Makes all that this machine's workers were doing be handed out again: none of them is left.
    ///
    /// # Errors
    /// What the store reports.
    fn recover(&self) -> Result<u64>;

    /// Ends a job that is not over; `false` if it is, or there is none.
    ///
    /// # Errors
    /// What the store reports.
    fn cancel(&self, id: &str, keep: Duration) -> Result<bool>;

    /// Forgets a job; returns what it was.
    ///
    /// # Errors
    /// What the store reports.
    fn delete(&self, id: &str) -> Result<Option<Job>>;

    /// A job.
    ///
    /// # Errors
    /// What the store reports.
    fn get(&self, id: &str) -> Result<Option<Job>>;

    /// The latest jobs, newest first, that have not expired, of one state if one is named.
    ///
    /// # Errors
    /// What the store reports.
    fn list(&self, limit: u32, state: Option<JobState>) -> Result<Vec<Job>>;

    /// Lets jobs expire whose time is over; returns what they kept.
    ///
    /// # Errors
    /// What the store reports.
    fn expire(&self) -> Result<Vec<Job>>;

    /// Forgets jobs that expired so long `ago`, and their idempotency keys with them, at most [`FORGOTTEN_AT_ONCE`]; returns
    /// how many.
    ///
    /// # Errors
    /// What the store reports.
    fn forget(&self, ago: Duration) -> Result<u64>;

    /// Numbers of jobs. Looks at all of them.
    ///
    /// # Errors
    /// What the store reports.
    fn counts(&self) -> Result<Counts>;

    /// Numbers of jobs that are not over. Looks at no others.
    ///
    /// # Errors
    /// What the store reports.
    fn open_counts(&self) -> Result<Counts>;

    /// Keys of all blobs that jobs keep. Looks at all jobs.
    ///
    /// # Errors
    /// What the store reports.
    fn blobs(&self) -> Result<Vec<String>>;

    /// Has `heard` hear of jobs that change, also through other machines, if the store can tell: who waits looks again by
    /// itself from time to time.
    fn watch(&self, heard: Heard) {
        let _ = heard;
    }
}

fn ms(duration: Duration) -> i64 {
    duration.as_millis() as i64
}

fn json(value: &impl Serialize) -> String {
    // Plain data: numbers, texts and maps of them.
    serde_json::to_string(value).unwrap_or_default()
}

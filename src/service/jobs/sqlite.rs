//! Jobs in SQLite. Every change is one transaction that names the state it expects.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{ATTEMPTS, Counts, Job, JobState, LOST_ATTEMPTS, NewJob, Outcome, Queue, Submitted};
use crate::error::Result;
use crate::service::database::{Database, now_ms};

/// Columns in the order of [`job`].
const COLUMNS: &str = "id, state, request, priority, created_ms, started_ms, finished_ms, expires_ms, attempt, progress, \
                       error, result, outcome";

/// A queue in a database.
#[derive(Clone, Debug)]
pub struct SqliteQueue {
    database: Database,
}

impl SqliteQueue {
    /// The queue in `database`.
    #[must_use]
    pub fn new(database: Database) -> Self {
        Self { database }
    }
}

fn job(row: &Row<'_>) -> rusqlite::Result<Job> {
    let json = |column: usize, error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
    };
    let (state, request): (String, String) = (row.get(1)?, row.get(2)?);
    let outcome: Option<String> = row.get(12)?;
    Ok(Job {
        id: row.get(0)?,
        state: JobState::named(&state).ok_or(rusqlite::Error::InvalidQuery)?,
        request: serde_json::from_str(&request).map_err(|error| json(2, error))?,
        priority: row.get(3)?,
        created_ms: row.get(4)?,
        started_ms: row.get(5)?,
        finished_ms: row.get(6)?,
        expires_ms: row.get(7)?,
        attempt: row.get(8)?,
        progress: row.get(9)?,
        error: row.get(10)?,
        result: row.get(11)?,
        outcome: outcome.map(|outcome| serde_json::from_str(&outcome)).transpose().map_err(|error| json(12, error))?,
    })
}

fn find(connection: &Connection, condition: &str, value: &str) -> rusqlite::Result<Option<Job>> {
    let query = format!("SELECT {COLUMNS} FROM jobs WHERE {condition} = ?1");
    connection.prepare_cached(&query)?.query_row([value], job).optional()
}

fn ms(duration: Duration) -> i64 {
    duration.as_millis() as i64
}

fn json(value: &impl serde::Serialize) -> String {
    // Plain data: numbers, texts and maps of them.
    serde_json::to_string(value).unwrap_or_default()
}

impl Queue for SqliteQueue {
    fn submit(&self, new: &NewJob, most: u64) -> Result<Submitted> {
        self.database.with(|connection| {
            let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            if let Some(key) = &new.idempotency
                && let Some(known) = find(&transaction, "idempotency", key)?
            {
                // An upload has another key each time.
                let same = known.request.text == new.request.text
                    && known.request.params == new.request.params
                    && known.request.input.is_some() == new.request.input.is_some();
                return Ok(if same { Submitted::Known(known) } else { Submitted::Conflict });
            }
            let waiting: i64 =
                transaction.query_row("SELECT count(*) FROM jobs WHERE state = 'queued'", [], |row| row.get(0))?;
            if waiting as u64 >= most {
                return Ok(Submitted::Full);
            }
            transaction
                .prepare_cached(
                    "INSERT INTO jobs (id, state, request, priority, idempotency, created_ms, not_before_ms) \
                     VALUES (?1, 'queued', ?2, ?3, ?4, ?5, ?5)",
                )?
                .execute(params![new.id, json(&new.request), new.priority, new.idempotency, now_ms()])?;
            let queued = find(&transaction, "id", &new.id)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
            transaction.commit()?;
            Ok(Submitted::New(queued))
        })
    }

    fn claim(&self, lease: Duration) -> Result<Option<Job>> {
        let now = now_ms();
        self.database.with(|connection| {
            // Who has lost too many workers is at fault itself.
            connection
                .prepare_cached(
                    "UPDATE jobs SET state = 'failed', finished_ms = ?1, expires_ms = ?1 + 86400000, lease_ms = NULL, \
                 error = 'its worker was lost in each of its attempts' \
                 WHERE state = 'processing' AND lease_ms < ?1 AND attempt >= ?2",
                )?
                .execute(params![now, LOST_ATTEMPTS])?;
            let query = format!(
                "UPDATE jobs SET state = 'processing', attempt = attempt + 1, started_ms = ?1, lease_ms = ?1 + ?2, \
                 progress = 0 WHERE id = (SELECT id FROM jobs \
                 WHERE (state = 'queued' AND not_before_ms <= ?1) OR (state = 'processing' AND lease_ms < ?1) \
                 ORDER BY priority DESC, created_ms LIMIT 1) RETURNING {COLUMNS}"
            );
            connection.prepare_cached(&query)?.query_row(params![now, ms(lease)], job).optional()
        })
    }

    fn renew(&self, id: &str, attempt: u32, progress: f64, lease: Duration) -> Result<bool> {
        self.database.with(|connection| {
            let renewed = connection
                .prepare_cached(
                    "UPDATE jobs SET progress = ?3, lease_ms = ?4 \
                     WHERE id = ?1 AND attempt = ?2 AND state = 'processing'",
                )?
                .execute(params![id, attempt, progress, now_ms() + ms(lease)])?;
            Ok(renewed == 1)
        })
    }

    fn complete(&self, id: &str, attempt: u32, result: &str, outcome: &Outcome, keep: Duration) -> Result<bool> {
        let now = now_ms();
        self.database.with(|connection| {
            let done = connection
                .prepare_cached(
                    "UPDATE jobs SET state = 'completed', progress = 1, result = ?3, outcome = ?4, finished_ms = ?5, \
                     expires_ms = ?6, lease_ms = NULL, error = NULL \
                     WHERE id = ?1 AND attempt = ?2 AND state = 'processing'",
                )?
                .execute(params![id, attempt, result, json(outcome), now, now + ms(keep)])?;
            Ok(done == 1)
        })
    }

    fn fail(&self, id: &str, attempt: u32, error: &str, retry: Option<Duration>, keep: Duration) -> Result<bool> {
        let now = now_ms();
        let retry = retry.filter(|_| attempt < ATTEMPTS);
        self.database.with(|connection| {
            let failed = match retry {
                Some(after) => connection
                    .prepare_cached(
                        "UPDATE jobs SET state = 'queued', progress = 0, error = ?3, not_before_ms = ?4, \
                         lease_ms = NULL WHERE id = ?1 AND attempt = ?2 AND state = 'processing'",
                    )?
                    .execute(params![id, attempt, error, now + ms(after)])?,
                None => connection
                    .prepare_cached(
                        "UPDATE jobs SET state = 'failed', error = ?3, finished_ms = ?4, expires_ms = ?5, \
                         lease_ms = NULL WHERE id = ?1 AND attempt = ?2 AND state = 'processing'",
                    )?
                    .execute(params![id, attempt, error, now, now + ms(keep)])?,
            };
            Ok(failed == 1)
        })
    }

    fn recover(&self) -> Result<u64> {
        self.database.with(|connection| {
            let open = "UPDATE jobs SET lease_ms = 0 WHERE state = 'processing'";
            connection.execute(open, []).map(|count| count as u64)
        })
    }

    fn cancel(&self, id: &str, keep: Duration) -> Result<bool> {
        let now = now_ms();
        self.database.with(|connection| {
            let cancelled = connection.execute(
                "UPDATE jobs SET state = 'failed', error = 'cancelled', finished_ms = ?2, expires_ms = ?3, \
                 lease_ms = NULL WHERE id = ?1 AND state IN ('queued', 'processing')",
                params![id, now, now + ms(keep)],
            )?;
            Ok(cancelled == 1)
        })
    }

    fn delete(&self, id: &str) -> Result<Option<Job>> {
        self.database.with(|connection| {
            let query = format!("DELETE FROM jobs WHERE id = ?1 RETURNING {COLUMNS}");
            connection.query_row(&query, [id], job).optional()
        })
    }

    fn get(&self, id: &str) -> Result<Option<Job>> {
        self.database.with(|connection| find(connection, "id", id))
    }

    fn list(&self, limit: u32, state: Option<JobState>) -> Result<Vec<Job>> {
        self.database.with(|connection| {
            let query = format!(
                "SELECT {COLUMNS} FROM jobs WHERE state != 'expired' AND (?2 IS NULL OR state = ?2) \
                 ORDER BY created_ms DESC LIMIT ?1"
            );
            let mut query = connection.prepare_cached(&query)?;
            query.query_map(params![limit, state.map(JobState::name)], job)?.collect()
        })
    }

    fn expire(&self) -> Result<Vec<Job>> {
        self.database.with(|connection| {
            let transaction = connection.transaction()?;
            let expired: Vec<Job> = {
                let query =
                    format!("SELECT {COLUMNS} FROM jobs WHERE state IN ('completed', 'failed') AND expires_ms <= ?1");
                transaction.prepare(&query)?.query_map([now_ms()], job)?.collect::<rusqlite::Result<_>>()?
            };
            for job in &expired {
                let expire = "UPDATE jobs SET state = 'expired', result = NULL WHERE id = ?1";
                transaction.execute(expire, [&job.id])?;
            }
            transaction.commit()?;
            Ok(expired)
        })
    }

    fn counts(&self) -> Result<Counts> {
        self.database.with(|connection| {
            let mut counts = Counts::default();
            let mut query = connection.prepare_cached("SELECT state, count(*) FROM jobs GROUP BY state")?;
            let rows = query.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
            for row in rows {
                let (name, count) = row?;
                for (state, place) in JobState::ALL.iter().zip(&mut counts.by_state) {
                    *place += if state.name() == name { count as u64 } else { 0 };
                }
            }
            Ok(counts)
        })
    }

    fn blobs(&self) -> Result<Vec<String>> {
        self.database.with(|connection| {
            let mut query = connection.prepare(&format!("SELECT {COLUMNS} FROM jobs WHERE state != 'expired'"))?;
            let jobs = query.query_map([], job)?;
            let mut keys = Vec::new();
            for job in jobs {
                let job = job?;
                keys.extend(job.result);
                keys.extend(job.request.input);
            }
            Ok(keys)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::JobRequest;
    use super::*;

    const LEASE: Duration = Duration::from_mins(1);
    const KEEP: Duration = Duration::from_mins(1);

    fn queue(folder: &tempfile::TempDir) -> SqliteQueue {
        SqliteQueue::new(Database::open(&folder.path().join("jobs.db")).expect("a database"))
    }

    fn new(id: &str, priority: i64, idempotency: Option<&str>) -> NewJob {
        let request = JobRequest { text: format!("say {}", id.len()), input: None, params: Default::default() };
        NewJob { id: id.into(), request, priority, idempotency: idempotency.map(str::to_owned) }
    }

    fn submit(queue: &SqliteQueue, id: &str, priority: i64) {
        assert!(matches!(queue.submit(&new(id, priority, None), 9), Ok(Submitted::New(_))));
    }

    #[test]
    fn jobs_are_handed_out_once_the_most_urgent_first_then_the_oldest() {
        let folder = tempfile::tempdir().expect("a folder");
        let queue = queue(&folder);
        for (id, priority) in [("a", 0), ("b", 0), ("c", 5), ("d", -1)] {
            submit(&queue, id, priority);
            std::thread::sleep(Duration::from_millis(2));
        }
        // Another process sees the same.
        let other = self::queue(&folder);
        let order: Vec<String> = (0..4)
            .map(|turn| if turn % 2 == 0 { &queue } else { &other })
            .map(|queue| queue.claim(LEASE).expect("a queue").expect("a job").id)
            .collect();
        assert_eq!(order, ["c", "a", "b", "d"]);
        assert_eq!(queue.claim(LEASE).expect("a queue"), None);
    }

    #[test]
    fn only_the_latest_attempt_finishes_a_job_and_only_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let queue = queue(&folder);
        submit(&queue, "a", 0);
        assert_eq!(queue.claim(Duration::ZERO).expect("a queue").expect("a job").attempt, 1);
        std::thread::sleep(Duration::from_millis(5));
        // The first worker is taken for lost.
        assert_eq!(queue.claim(LEASE).expect("a queue").expect("a job").attempt, 2);
        assert!(!queue.renew("a", 1, 0.5, LEASE).expect("a queue"));
        assert!(!queue.complete("a", 1, "late", &Outcome::default(), KEEP).expect("a queue"));
        assert!(queue.renew("a", 2, 0.5, LEASE).expect("a queue"));
        assert!(queue.complete("a", 2, "result", &Outcome::default(), KEEP).expect("a queue"));
        assert!(!queue.complete("a", 2, "again", &Outcome::default(), KEEP).expect("a queue"));
        let job = queue.get("a").expect("a queue").expect("a job");
        assert_eq!((job.state, job.result.as_deref(), job.attempt), (JobState::Completed, Some("result"), 2));
    }

    #[test]
    fn what_was_being_done_when_the_server_died_is_handed_out_again_but_not_forever() {
        let folder = tempfile::tempdir().expect("a folder");
        submit(&queue(&folder), "a", 0);
        for attempt in 1..=LOST_ATTEMPTS {
            let queue = queue(&folder);
            assert_eq!(queue.recover().expect("a queue"), u64::from(attempt > 1));
            assert_eq!(queue.claim(LEASE).expect("a queue").expect("a job").attempt, attempt);
        }
        let queue = queue(&folder);
        queue.recover().expect("a queue");
        assert_eq!(queue.claim(LEASE).expect("a queue"), None);
        assert_eq!(queue.get("a").expect("a queue").expect("a job").state, JobState::Failed);
    }

    #[test]
    fn a_failure_is_tried_again_where_that_is_of_use_and_a_cancelled_job_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let queue = queue(&folder);
        submit(&queue, "a", 0);
        for attempt in 1..=ATTEMPTS {
            assert_eq!(queue.claim(LEASE).expect("a queue").expect("a job").attempt, attempt);
            assert!(queue.fail("a", attempt, "no server", Some(Duration::ZERO), KEEP).expect("a queue"));
        }
        let job = queue.get("a").expect("a queue").expect("a job");
        assert_eq!((job.state, job.error.as_deref()), (JobState::Failed, Some("no server")));

        submit(&queue, "bb", 0);
        let claimed = queue.claim(LEASE).expect("a queue").expect("a job");
        assert!(queue.cancel("bb", KEEP).expect("a queue"));
        assert!(!queue.renew("bb", claimed.attempt, 0.5, LEASE).expect("a queue"));
        assert!(!queue.cancel("bb", KEEP).expect("a queue"));
        assert_eq!(queue.claim(LEASE).expect("a queue"), None);
    }

    #[test]
    fn a_wish_sent_again_is_known_another_under_its_key_is_not_and_too_many_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let queue = queue(&folder);
        assert!(matches!(queue.submit(&new("a", 0, Some("key")), 2), Ok(Submitted::New(_))));
        assert!(matches!(queue.submit(&new("b", 0, Some("key")), 2), Ok(Submitted::Known(job)) if job.id == "a"));
        assert_eq!(queue.submit(&new("other", 0, Some("key")), 2).expect("a queue"), Submitted::Conflict);
        assert!(matches!(queue.submit(&new("c", 0, None), 2), Ok(Submitted::New(_))));
        assert_eq!(queue.submit(&new("d", 0, None), 2).expect("a queue"), Submitted::Full);
    }

    #[test]
    fn what_has_expired_is_known_to_have_been_and_keeps_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let queue = queue(&folder);
        submit(&queue, "a", 0);
        queue.claim(LEASE).expect("a queue");
        queue.complete("a", 1, "result", &Outcome::default(), Duration::ZERO).expect("a queue");
        assert_eq!(queue.blobs().expect("a queue"), ["result"]);
        let expired = queue.expire().expect("a queue");
        assert_eq!(expired.iter().map(|job| job.result.as_deref()).collect::<Vec<_>>(), [Some("result")]);
        assert_eq!(queue.get("a").expect("a queue").expect("a job").state, JobState::Expired);
        assert!(queue.list(9, None).expect("a queue").is_empty() && queue.blobs().expect("a queue").is_empty());
        assert_eq!(queue.counts().expect("a queue").by_state, [0, 0, 0, 0, 1]);
    }
}

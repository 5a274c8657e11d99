//! Jobs in SQLite. Every change is one transaction that names the state it expects.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    ATTEMPTS, Counts, FORGOTTEN_AT_ONCE, Job, JobState, LOST_ATTEMPTS, NewJob, Outcome, Queue, Submitted, json, ms,
};
use crate::error::Result;
use crate::service::database::{Database, now_ms};

/// Columns in the order of [`job`].
const COLUMNS: &str = "id, state, request, priority, created_ms, started_ms, finished_ms, expires_ms, attempt, progress, \
                       error, result, outcome";

/// Jobs whose results go now.
const DUE: &str = "state IN ('completed', 'failed') AND expires_ms <= ?1";
/// Jobs that expired by a moment.
const PAST: &str = "state = 'expired' AND expires_ms <= ?1";
/// Jobs that are not over.
const OPEN: &str = "state IN ('queued', 'processing')";

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

/// Numbers of jobs for which `condition` holds.
fn count(connection: &Connection, condition: &str) -> rusqlite::Result<Counts> {
    let mut counts = Counts::default();
    let query = format!("SELECT state, count(*) FROM jobs WHERE {condition} GROUP BY state");
    let mut query = connection.prepare_cached(&query)?;
    let rows = query.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
    for row in rows {
        let (name, count) = row?;
        counts.add(&name, count);
    }
    Ok(counts)
}

impl Queue for SqliteQueue {
    fn submit(&self, new: &NewJob, most: u64) -> Result<Submitted> {
        self.database.with(|connection| {
            let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            if let Some(key) = &new.idempotency
                && let Some(known) = find(&transaction, "idempotency", key)?
            {
                return Ok(if known.is_wished_by(new) { Submitted::Known(known) } else { Submitted::Conflict });
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
                 WHERE state = 'processing' AND lease_ms < ?1 AND attempt - released >= ?2",
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
            Ok(done == 1 || find(connection, "id", id)?.is_some_and(|job| job.is_completed_as(attempt, result)))
        })
    }

    fn fail(&self, id: &str, attempt: u32, error: &str, retry: Option<Duration>, keep: Duration) -> Result<bool> {
        let now = now_ms();
        self.database.with(|connection| {
            if let Some(after) = retry
                && connection
                    .prepare_cached(
                        "UPDATE jobs SET state = 'queued', progress = 0, error = ?3, not_before_ms = ?4, lease_ms = NULL \
                         WHERE id = ?1 AND attempt = ?2 AND state = 'processing' AND attempt - released < ?5",
                    )?
                    .execute(params![id, attempt, error, now + ms(after), ATTEMPTS])?
                    == 1
            {
                return Ok(true);
            }
            let failed = connection
                .prepare_cached(
                    "UPDATE jobs SET state = 'failed', error = ?3, finished_ms = ?4, expires_ms = ?5, \
                     lease_ms = NULL WHERE id = ?1 AND attempt = ?2 AND state = 'processing'",
                )?
                .execute(params![id, attempt, error, now, now + ms(keep)])?;
            Ok(failed == 1)
        })
    }

    fn release(&self, id: &str, attempt: u32, after: Duration) -> Result<bool> {
        self.database.with(|connection| {
            let released = connection.execute(
                "UPDATE jobs SET state = 'queued', progress = 0, released = released + 1, not_before_ms = ?3, \
                 lease_ms = NULL WHERE id = ?1 AND attempt = ?2 AND state = 'processing'",
                params![id, attempt, now_ms() + ms(after)],
            )?;
            Ok(released == 1)
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
                let query = format!("SELECT {COLUMNS} FROM jobs WHERE {DUE}");
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

    fn forget(&self, ago: Duration) -> Result<u64> {
        self.database.with(|connection| {
            let forget =
                format!("DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE {PAST} LIMIT {FORGOTTEN_AT_ONCE})");
            let forgotten = connection.execute(&forget, [now_ms() - ms(ago)])?;
            Ok(forgotten as u64)
        })
    }

    fn counts(&self) -> Result<Counts> {
        self.database.with(|connection| count(connection, "TRUE"))
    }

    fn open_counts(&self) -> Result<Counts> {
        self.database.with(|connection| count(connection, OPEN))
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
    use super::*;

    #[test]
    fn what_is_asked_each_minute_and_at_each_look_reads_an_index_and_no_whole_table() {
        let folder = tempfile::tempdir().expect("a folder");
        let database = Database::open(&folder.path().join("jobs.db")).expect("a database");
        for (condition, index) in [(DUE, "jobs_due"), (PAST, "jobs_due"), (OPEN, "jobs_")] {
            let plan = database.with(|connection| {
                let query = format!("EXPLAIN QUERY PLAN SELECT * FROM jobs WHERE {condition}").replace("?1", "7");
                connection.query_row(&query, [], |row| row.get::<_, String>("detail"))
            });
            let plan = plan.expect("a plan");
            assert!(plan.starts_with("SEARCH") && plan.contains(index), "{condition}: {plan}");
        }
    }
}

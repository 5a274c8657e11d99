//! Jobs in PostgreSQL, which workers of several machines share. Every change is one statement that names the state it
//! expects; whoever claims passes over what another is claiming. All moments are the database's.

use std::time::Duration;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::{
    ATTEMPTS, Counts, FORGOTTEN_AT_ONCE, Heard, Job, JobState, LOST_ATTEMPTS, NewJob, Outcome, Queue, Submitted, json,
    ms,
};
use crate::error::{Error, Result};
use crate::service::postgres::{Postgres, plain};

/// Columns in the order of [`PostgresQueue::job`].
const COLUMNS: &str = "id, state, request, priority, created_ms, started_ms, finished_ms, expires_ms, attempt, progress, \
                       error, result, outcome";

/// A queue in a database, for one machine of those that share it.
#[derive(Clone, Debug)]
pub struct PostgresQueue {
    database: Postgres,
    holder: String,
}

impl PostgresQueue {
    /// The queue in `database`, as the machine `holder` sees it: no other has that name.
    #[must_use]
    pub fn new(database: Postgres, holder: String) -> Self {
        Self { database, holder }
    }

    fn job(&self, row: &Row) -> Result<Job> {
        let read = || -> Result<Job, Box<dyn std::error::Error>> {
            let (state, request): (&str, &str) = (row.try_get(1)?, row.try_get(2)?);
            let outcome: Option<&str> = row.try_get(12)?;
            Ok(Job {
                id: row.try_get(0)?,
                state: JobState::named(state).ok_or_else(|| format!("the state `{state}`"))?,
                request: serde_json::from_str(request)?,
                priority: row.try_get(3)?,
                created_ms: row.try_get(4)?,
                started_ms: row.try_get(5)?,
                finished_ms: row.try_get(6)?,
                expires_ms: row.try_get(7)?,
                attempt: row.try_get::<_, i32>(8)? as u32,
                progress: row.try_get(9)?,
                error: row.try_get(10)?,
                result: row.try_get(11)?,
                outcome: outcome.map(serde_json::from_str).transpose()?,
            })
        };
        read().map_err(|error| Error::format(format!("{:?}", self.database), "a job", error))
    }

    /// The jobs that a statement gives.
    fn jobs(&self, statement: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Job>> {
        let rows = self.database.with(async |client| client.query(statement, values).await)?;
        rows.iter().map(|row| self.job(row)).collect()
    }

    /// Whether a statement changed something.
    fn changes(&self, statement: &str, values: &[&(dyn ToSql + Sync)]) -> Result<bool> {
        self.database.with(async |client| client.execute(statement, values).await).map(|count| count > 0)
    }

    /// Numbers of jobs for which `condition` holds.
    fn count(&self, condition: &str) -> Result<Counts> {
        let query = format!("SELECT state, count(*) FROM syrinx_jobs WHERE {condition} GROUP BY state");
        let rows = self.database.with(async |client| client.query(&query, &[]).await)?;
        let mut counts = Counts::default();
        rows.iter().for_each(|row| counts.add(row.get(0), row.get(1)));
        Ok(counts)
    }

    fn known(&self, new: &NewJob) -> Result<Option<Submitted>> {
        let Some(key) = &new.idempotency else { return Ok(None) };
        let query = format!("SELECT {COLUMNS} FROM syrinx_jobs WHERE idempotency = $1");
        let known = self.jobs(&query, &[key])?.pop();
        Ok(known.map(|known| if known.is_wished_by(new) { Submitted::Known(known) } else { Submitted::Conflict }))
    }
}

impl Queue for PostgresQueue {
    /// Servers that queue at the same moment may each go beyond `most` by one.
    fn submit(&self, new: &NewJob, most: u64) -> Result<Submitted> {
        if let Some(known) = self.known(new)? {
            return Ok(known);
        }
        let insert = format!(
            "INSERT INTO syrinx_jobs (id, state, request, priority, idempotency, created_ms, not_before_ms) \
             SELECT $1, 'queued', $2, $3::BIGINT, $4, syrinx_now(), syrinx_now() \
             WHERE (SELECT count(*) FROM syrinx_jobs WHERE state = 'queued') < $5 \
             ON CONFLICT (idempotency) DO NOTHING RETURNING {COLUMNS}"
        );
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let queued = self.jobs(&insert, &[&new.id, &json(&new.request), &new.priority, &new.idempotency, &most])?.pop();
        match queued {
            Some(queued) => Ok(Submitted::New(queued)),
            // Someone was faster with the same key, or there is no room.
            None => Ok(self.known(new)?.unwrap_or(Submitted::Full)),
        }
    }

    fn claim(&self, lease: Duration) -> Result<Option<Job>> {
        // Who has lost too many workers is at fault itself.
        self.changes(
            "UPDATE syrinx_jobs SET state = 'failed', finished_ms = syrinx_now(), expires_ms = syrinx_now() + 86400000, \
             lease_ms = NULL, error = 'its worker was lost in each of its attempts' \
             WHERE state = 'processing' AND lease_ms < syrinx_now() AND attempt - released >= $1",
            &[&(LOST_ATTEMPTS as i32)],
        )?;
        let claim = format!(
            "UPDATE syrinx_jobs SET state = 'processing', attempt = attempt + 1, started_ms = syrinx_now(), \
             lease_ms = syrinx_now() + $1, holder = $2, progress = 0 WHERE id = (SELECT id FROM syrinx_jobs \
             WHERE (state = 'queued' AND not_before_ms <= syrinx_now()) \
             OR (state = 'processing' AND lease_ms < syrinx_now()) \
             ORDER BY priority DESC, created_ms LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING {COLUMNS}"
        );
        Ok(self.jobs(&claim, &[&ms(lease), &self.holder])?.pop())
    }

    fn renew(&self, id: &str, attempt: u32, progress: f64, lease: Duration) -> Result<bool> {
        self.changes(
            "UPDATE syrinx_jobs SET progress = $3, lease_ms = syrinx_now() + $4 \
             WHERE id = $1 AND attempt = $2 AND state = 'processing'",
            &[&id, &(attempt as i32), &progress, &ms(lease)],
        )
    }

    fn complete(&self, id: &str, attempt: u32, result: &str, outcome: &Outcome, keep: Duration) -> Result<bool> {
        let completed = self.changes(
            "UPDATE syrinx_jobs SET state = 'completed', progress = 1, result = $3, outcome = $4, \
             finished_ms = syrinx_now(), expires_ms = syrinx_now() + $5, lease_ms = NULL, error = NULL \
             WHERE id = $1 AND attempt = $2 AND state = 'processing'",
            &[&id, &(attempt as i32), &result, &json(outcome), &ms(keep)],
        )?;
        // It may be done, and the answer was lost.
        Ok(completed || self.get(id)?.is_some_and(|job| job.is_completed_as(attempt, result)))
    }

    fn fail(&self, id: &str, attempt: u32, error: &str, retry: Option<Duration>, keep: Duration) -> Result<bool> {
        let (attempt, error) = (attempt as i32, plain(error));
        if let Some(after) = retry
            && self.changes(
                "UPDATE syrinx_jobs SET state = 'queued', progress = 0, error = $3, not_before_ms = syrinx_now() + $4, \
                 lease_ms = NULL \
                 WHERE id = $1 AND attempt = $2 AND state = 'processing' AND attempt - released < $5",
                &[&id, &attempt, &error, &ms(after), &(ATTEMPTS as i32)],
            )?
        {
            return Ok(true);
        }
        self.changes(
            "UPDATE syrinx_jobs SET state = 'failed', error = $3, finished_ms = syrinx_now(), \
             expires_ms = syrinx_now() + $4, lease_ms = NULL \
             WHERE id = $1 AND attempt = $2 AND state = 'processing'",
            &[&id, &attempt, &error, &ms(keep)],
        )
    }

    fn release(&self, id: &str, attempt: u32, after: Duration) -> Result<bool> {
        self.changes(
            "UPDATE syrinx_jobs SET state = 'queued', progress = 0, released = released + 1, \
             not_before_ms = syrinx_now() + $3, lease_ms = NULL WHERE id = $1 AND attempt = $2 AND state = 'processing'",
            &[&id, &(attempt as i32), &ms(after)],
        )
    }

    fn recover(&self) -> Result<u64> {
        let open = "UPDATE syrinx_jobs SET lease_ms = 0 WHERE state = 'processing' AND holder = $1";
        self.database.with(async |client| client.execute(open, &[&self.holder]).await)
    }

    fn cancel(&self, id: &str, keep: Duration) -> Result<bool> {
        self.changes(
            "UPDATE syrinx_jobs SET state = 'failed', error = 'cancelled', finished_ms = syrinx_now(), \
             expires_ms = syrinx_now() + $2, lease_ms = NULL WHERE id = $1 AND state IN ('queued', 'processing')",
            &[&plain(id), &ms(keep)],
        )
    }

    fn delete(&self, id: &str) -> Result<Option<Job>> {
        let delete = format!("DELETE FROM syrinx_jobs WHERE id = $1 RETURNING {COLUMNS}");
        Ok(self.jobs(&delete, &[&plain(id)])?.pop())
    }

    fn get(&self, id: &str) -> Result<Option<Job>> {
        let query = format!("SELECT {COLUMNS} FROM syrinx_jobs WHERE id = $1");
        Ok(self.jobs(&query, &[&plain(id)])?.pop())
    }

    fn list(&self, limit: u32, state: Option<JobState>) -> Result<Vec<Job>> {
        let query = format!(
            "SELECT {COLUMNS} FROM syrinx_jobs WHERE state != 'expired' AND ($2::TEXT IS NULL OR state = $2) \
             ORDER BY created_ms DESC LIMIT $1"
        );
        self.jobs(&query, &[&i64::from(limit), &state.map(JobState::name)])
    }

    fn expire(&self) -> Result<Vec<Job>> {
        let expire = format!(
            "WITH due AS (SELECT {COLUMNS} FROM syrinx_jobs WHERE state IN ('completed', 'failed') \
             AND expires_ms <= syrinx_now() FOR UPDATE SKIP LOCKED), \
             gone AS (UPDATE syrinx_jobs SET state = 'expired', result = NULL WHERE id IN (SELECT id FROM due)) \
             SELECT {COLUMNS} FROM due"
        );
        self.jobs(&expire, &[])
    }

    fn forget(&self, ago: Duration) -> Result<u64> {
        let forget = format!(
            "DELETE FROM syrinx_jobs WHERE id IN (SELECT id FROM syrinx_jobs
             WHERE state = 'expired' AND expires_ms <= syrinx_now() - $1 LIMIT {FORGOTTEN_AT_ONCE})"
        );
        self.database.with(async |client| client.execute(&forget, &[&ms(ago)]).await)
    }

    fn counts(&self) -> Result<Counts> {
        self.count("TRUE")
    }

    fn open_counts(&self) -> Result<Counts> {
        self.count("state IN ('queued', 'processing')")
    }

    fn blobs(&self) -> Result<Vec<String>> {
        let jobs = self.jobs(&format!("SELECT {COLUMNS} FROM syrinx_jobs WHERE state != 'expired'"), &[])?;
        Ok(jobs.into_iter().flat_map(|job| job.result.into_iter().chain(job.request.input)).collect())
    }

    fn watch(&self, heard: Heard) {
        self.database.watch(move |state, id| heard(id, state == JobState::Queued.name()));
    }
}

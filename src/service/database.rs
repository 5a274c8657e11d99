//! The service's database: one SQLite file, written ahead, so that what was answered for survives `kill -9`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, TransactionBehavior};

use crate::error::{Error, Result};

/// Time to wait for another process, and between attempts where SQLite does not wait itself.
const BUSY: Duration = Duration::from_secs(5);
const BUSY_STEP: Duration = Duration::from_millis(5);
/// The tables. Times are in milliseconds since 1970.
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS voices (
  id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, description TEXT NOT NULL, pth_file TEXT NOT NULL, index_file TEXT,
  created_ms INTEGER NOT NULL, bytes INTEGER NOT NULL, facts TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS jobs (
  id TEXT PRIMARY KEY, state TEXT NOT NULL, request TEXT NOT NULL, priority INTEGER NOT NULL, idempotency TEXT UNIQUE,
  created_ms INTEGER NOT NULL, not_before_ms INTEGER NOT NULL, started_ms INTEGER, finished_ms INTEGER,
  expires_ms INTEGER, attempt INTEGER NOT NULL DEFAULT 0, lease_ms INTEGER, progress REAL NOT NULL DEFAULT 0,
  error TEXT, result TEXT, outcome TEXT, released INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX IF NOT EXISTS jobs_waiting ON jobs (state, priority DESC, created_ms);
CREATE INDEX IF NOT EXISTS jobs_due ON jobs (state, expires_ms);
";

/// A database that threads share.
#[derive(Clone, Debug)]
pub struct Database {
    path: PathBuf,
    connection: Arc<Mutex<Connection>>,
}

impl Database {
    /// Opens the file, or makes it. Several may do so at once.
    ///
    /// # Errors
    /// A file that is no database or is damaged. It is left as it is.
    pub fn open(path: &Path) -> Result<Self> {
        let damaged = |error: rusqlite::Error| {
            let hint = "move it away to begin anew; the voices' files are found again";
            Error::server(path.display(), format!("it cannot be opened as a database ({error})"), hint)
        };
        let mut connection = Connection::open(path).map_err(damaged)?;
        connection.busy_timeout(BUSY).map_err(damaged)?;
        write_ahead(&connection).map_err(damaged)?;
        connection.pragma_update(None, "synchronous", "NORMAL").map_err(damaged)?;
        let sound: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(damaged)?;
        if sound != "ok" {
            let hint = "move it away to begin anew; the voices' files are found again";
            return Err(Error::server(path.display(), format!("it is damaged ({sound})"), hint));
        }
        make_tables(&mut connection).map_err(damaged)?;
        Ok(Self { path: path.to_owned(), connection: Arc::new(Mutex::new(connection)) })
    }

    /// Does something with the database, alone.
    ///
    /// # Errors
    /// What the database reports, as one of its file.
    pub fn with<T>(&self, task: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> Result<T> {
        task(&mut self.lock()).map_err(|error| {
            let kind = match error.sqlite_error_code() {
                Some(ErrorCode::DiskFull) => std::io::ErrorKind::StorageFull,
                _ => std::io::ErrorKind::Other,
            };
            Error::io(&self.path, std::io::Error::new(kind, error))
        })
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A transaction that panicked was rolled back.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has the file written ahead. SQLite does not wait for others that do the same at once, as two would wait for each other.
fn write_ahead(connection: &Connection) -> rusqlite::Result<()> {
    let end = Instant::now() + BUSY;
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && Instant::now() < end => {
                std::thread::sleep(BUSY_STEP);
            }
            result => return result,
        }
    }
}

/// Makes what is missing, alone.
fn make_tables(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(SCHEMA)?;
    // Tables of before had no such column.
    if !transaction.column_exists(None, "jobs", "released")? {
        transaction.execute_batch("ALTER TABLE jobs ADD COLUMN released INTEGER NOT NULL DEFAULT 0")?;
    }
    transaction.commit()
}

/// Now, in milliseconds since 1970.
#[must_use]
pub fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    now.as_millis() as i64
}

/// A moment as ISO 8601 writes it, in UTC.
#[must_use]
pub fn iso(ms: i64) -> String {
    let (days, rest) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    // Howard Hinnant's civil_from_days: years that begin in March have their leap day at the end.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hours, minutes, seconds) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{:03}Z", rest % 1000)
}

/// A new identity that no one can guess.
///
/// # Errors
/// A system without randomness.
pub fn new_id() -> Result<String> {
    let mut bytes = [0; 16];
    let failed = |error| Error::io("the system's randomness", std::io::Error::other(error));
    getrandom::fill(&mut bytes).map_err(failed)?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_the_calendar_has_them() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_795_636_800_123, "2026-11-25T20:00:00.123Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(iso(ms), text);
        }
    }

    #[test]
    fn tables_of_before_get_what_they_lack_and_keep_what_they_hold() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("syrinx.db");
        let of_before = SCHEMA.replace(", released INTEGER NOT NULL DEFAULT 0", "");
        assert_ne!(of_before, SCHEMA);
        let before = Connection::open(&path).expect("a database");
        before.execute_batch(&of_before).expect("tables");
        let job = "INSERT INTO jobs (id, state, request, priority, created_ms, not_before_ms) VALUES ('a', 'queued', '{}', 0, 1, 1)";
        before.execute(job, []).expect("a job");
        drop(before);
        for _ in 0..2 {
            let database = Database::open(&path).expect("a database");
            let released = "SELECT released FROM jobs WHERE id = 'a'";
            let released = database.with(|connection| connection.query_row(released, [], |row| row.get::<_, i64>(0)));
            assert_eq!(released.expect("the job"), 0);
        }
    }

    #[test]
    fn many_open_one_new_file_at_once() {
        for _ in 0..60 {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("syrinx.db");
            let results: Vec<Result<Database>> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..6).map(|_| scope.spawn(|| Database::open(&path))).collect();
                threads.into_iter().map(|thread| thread.join().expect("an answer")).collect()
            });
            for result in results {
                result.expect("a database");
            }
        }
    }

    #[test]
    fn a_file_that_is_no_database_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("syrinx.db");
        std::fs::write(&path, [7; 4096]).expect("a file");
        let error = Database::open(&path).expect_err("no database").to_string();
        assert!(error.contains("syrinx.db") && error.contains("move it away"), "{error}");
        assert_eq!(std::fs::read(&path).expect("a file"), [7; 4096]);
    }

    #[test]
    fn identities_differ_and_are_uuids_of_version_4() {
        let (one, other) = (new_id().expect("an identity"), new_id().expect("an identity"));
        assert!(one != other && one.len() == 36 && one.as_bytes()[14] == b'4', "{one}");
    }
}

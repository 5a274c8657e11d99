//! A PostgreSQL server that several machines share: jobs, and which voices there are.
//!
//! One connection serves all threads of a process: statements are sent one after another without waiting, and each is a
//! transaction of its own. A connection that breaks is made anew by whoever asks next; what it was asked last is then an
//! error, of which it is not known whether it was done, so that what is asked must bear to be asked twice.

use std::fmt;
use std::future::poll_fn;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio_postgres::config::Host;
use tokio_postgres::{AsyncMessage, Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::database::new_id;
use crate::error::{Error, Result};

/// Time for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Time for an answer, a new connection included.
const ANSWER: Duration = Duration::from_secs(15);
/// What a session begins with: a statement that takes long has met a fault, and changes are told by [`MIGRATIONS`]'
/// trigger.
const SESSION: &str = "SET statement_timeout = '10s'; LISTEN syrinx_jobs";

/// Changes of the tables, from the first on; a server that has made some makes the rest. Times are in milliseconds since
/// 1970, by the database's clock: those of the machines may differ.
const MIGRATIONS: [&str; 2] = [
    "
CREATE TABLE syrinx_voices (
  id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, description TEXT NOT NULL, pth_file TEXT NOT NULL, index_file TEXT,
  created_ms BIGINT NOT NULL, bytes BIGINT NOT NULL, facts TEXT NOT NULL, files TEXT NOT NULL
);
CREATE TABLE syrinx_jobs (
  id TEXT PRIMARY KEY, state TEXT NOT NULL, request TEXT NOT NULL, priority BIGINT NOT NULL, idempotency TEXT UNIQUE,
  created_ms BIGINT NOT NULL, not_before_ms BIGINT NOT NULL, started_ms BIGINT, finished_ms BIGINT, expires_ms BIGINT,
  attempt INTEGER NOT NULL DEFAULT 0, released INTEGER NOT NULL DEFAULT 0, lease_ms BIGINT, holder TEXT, progress DOUBLE PRECISION NOT NULL DEFAULT 0,
  error TEXT, result TEXT, outcome TEXT
);
CREATE INDEX syrinx_jobs_open ON syrinx_jobs (priority DESC, created_ms) WHERE state IN ('queued', 'processing');
CREATE INDEX syrinx_jobs_latest ON syrinx_jobs (created_ms DESC);
CREATE FUNCTION syrinx_now() RETURNS BIGINT LANGUAGE sql STABLE AS
  'SELECT (extract(epoch FROM statement_timestamp()) * 1000)::BIGINT';
CREATE FUNCTION syrinx_tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'INSERT' OR (OLD.state, OLD.progress) IS DISTINCT FROM (NEW.state, NEW.progress) THEN
    PERFORM pg_notify('syrinx_jobs', NEW.state || ' ' || NEW.id);
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER syrinx_tell AFTER INSERT OR UPDATE ON syrinx_jobs FOR EACH ROW EXECUTE FUNCTION syrinx_tell();
",
    "CREATE INDEX syrinx_jobs_due ON syrinx_jobs (state, expires_ms)",
];
/// Held while tables are changed, so that servers that start at once do not both; the number is ours alone.
const CHANGING: i64 = 0x7379_7269_6e78;

/// Hears of changes: a job's state and its id.
type Heard = Box<dyn Fn(&str, &str) + Send + Sync>;

/// Where a database is and who asks.
#[derive(Clone)]
pub struct Address {
    config: Config,
    shown: String,
}

impl Address {
    /// Reads `postgres://user@host/database`. The password comes from the environment, as for PostgreSQL's own programs;
    /// `is_public` tells that the text can be read by others and must not hold one.
    ///
    /// # Errors
    /// Text that is no such address, or one with a password that others can read.
    pub fn read(text: &str, is_public: bool) -> Result<Self> {
        let expected = "postgres://USER@HOST/DATABASE";
        // Not told as it is: it may hold a password.
        let failed = |error: tokio_postgres::Error| Error::argument("--queue", expected, error);
        if !["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme)) {
            return Err(Error::argument("--queue", expected, "another kind of address"));
        }
        let mut config: Config = text.parse().map_err(failed)?;
        if is_public && config.get_password().is_some() {
            let expected = "an address without a password, which others could read: PGPASSWORD is for it, or SYRINX_QUEUE \
                            for the whole address";
            return Err(Error::argument("--queue", expected, "a password"));
        }
        if config.get_password().is_none()
            && let Ok(password) = std::env::var("PGPASSWORD")
        {
            config.password(password);
        }
        config.application_name("syrinx").connect_timeout(CONNECT);
        let shown = shown(&config);
        Ok(Self { config, shown })
    }
}

/// The address without what is secret.
fn shown(config: &Config) -> String {
    let hosts = config.get_hosts().iter().zip(0..).map(|(host, place)| {
        let port = config.get_ports().get(place).or(config.get_ports().first()).unwrap_or(&5432);
        match host {
            Host::Tcp(name) => format!("{name}:{port}"),
            #[cfg(unix)]
            Host::Unix(folder) => format!("{}:{port}", Path::display(folder)),
        }
    });
    let (user, hosts) = (config.get_user().unwrap_or_default(), hosts.collect::<Vec<_>>().join(","));
    format!("postgres://{user}@{hosts}/{}", config.get_dbname().or(config.get_user()).unwrap_or_default())
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.shown)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// A database that threads share.
#[derive(Clone)]
pub struct Postgres {
    address: Address,
    runtime: Handle,
    tls: MakeRustlsConnect,
    link: Arc<Mutex<Option<Arc<Client>>>>,
    heard: Arc<OnceLock<Heard>>,
}

impl fmt::Debug for Postgres {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.address, formatter)
    }
}

impl Postgres {
    /// Connects, and makes the tables if they are not there.
    ///
    /// # Errors
    /// A server that cannot be reached or does not let this machine in; tables of a newer Syrinx.
    pub fn open(runtime: Handle, address: Address) -> Result<Self> {
        // A machine without certificates of its own trusts those that Mozilla does.
        let tls = MakeRustlsConnect::with_native_certs().map(|(tls, _)| tls);
        let tls = tls.unwrap_or_else(|_| MakeRustlsConnect::with_webpki_roots());
        let opened = Self { address, runtime, tls, link: Arc::default(), heard: Arc::default() };
        let identity = new_id()?;
        let version = opened.with(async |client| migrate(client, &identity).await)?;
        if version > MIGRATIONS.len() as i32 {
            let problem = format!("its tables are of version {version}, and this program knows {}", MIGRATIONS.len());
            return Err(Error::server(opened.address, problem, "use the Syrinx that made them, or a newer one"));
        }
        Ok(opened)
    }

    /// Has `heard` hear of jobs that change, by whomever: their state and id. The first who asks for it stays.
    pub fn watch(&self, heard: impl Fn(&str, &str) + Send + Sync + 'static) {
        let _ = self.heard.set(Box::new(heard));
    }

    /// Identity of these tables, other than that of all others.
    ///
    /// # Errors
    /// What the server reports.
    pub fn identity(&self) -> Result<String> {
        self.with(async |client| client.query_one("SELECT identity FROM syrinx_tables", &[]).await?.try_get(0))
    }

    /// Does something with the database. To be called by a thread, not by a task.
    ///
    /// # Errors
    /// [`Error::Server`] for all that the server reports or fails to.
    pub fn with<T>(&self, task: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>) -> Result<T> {
        let asked = async {
            let client = self.client().await?;
            let answer = task(&client).await;
            answer.map_err(|error| self.failed(&error))
        };
        self.runtime.block_on(async {
            let Ok(answer) = tokio::time::timeout(ANSWER, asked).await else {
                *self.link.lock().await = None;
                let problem = format!("it did not answer within {} s", ANSWER.as_secs());
                return Err(Error::server(&self.address, problem, "is it overloaded, or the network broken?"));
            };
            answer
        })
    }

    async fn client(&self) -> Result<Arc<Client>> {
        let mut link = self.link.lock().await;
        if let Some(client) = &*link
            && !client.is_closed()
        {
            return Ok(client.clone());
        }
        let client = Arc::new(self.connect().await.map_err(|error| self.failed(&error))?);
        *link = Some(client.clone());
        Ok(client)
    }

    async fn connect(&self) -> Result<Client, tokio_postgres::Error> {
        let (client, mut connection) = self.address.config.connect(self.tls.clone()).await?;
        let (heard, shown) = (self.heard.clone(), self.address.shown.clone());
        self.runtime.spawn(async move {
            while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
                match (message, heard.get()) {
                    (Ok(AsyncMessage::Notification(told)), Some(heard)) => {
                        if let Some((state, id)) = told.payload().split_once(' ') {
                            heard(state, id);
                        }
                    }
                    (Ok(_), _) => {}
                    (Err(error), _) => {
                        tracing::warn!("{shown}: the connection broke: {}", told_by(&error));
                        return;
                    }
                }
            }
        });
        client.batch_execute(SESSION).await?;
        Ok(client)
    }

    fn failed(&self, error: &tokio_postgres::Error) -> Error {
        let problem = told_by(error);
        let hint = if error.as_db_error().is_some() {
            "the server's log tells more"
        } else if problem.contains("certificate") {
            "SSL_CERT_FILE names who vouches for it; on a network that you trust, ?sslmode=disable does without"
        } else {
            "does it run, and can this machine reach it?"
        };
        Error::server(&self.address, problem, hint)
    }
}

/// What went wrong, with its cause.
fn told_by(error: &tokio_postgres::Error) -> String {
    if let Some(error) = error.as_db_error() {
        return format!("{}: {}", error.severity(), error.message());
    }
    let mut told = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        told = format!("{told}: {error}");
        cause = error.source();
    }
    told
}

/// Brings the tables to the latest version, new ones as `identity`; returns the version that they have.
async fn migrate(client: &Client, identity: &str) -> Result<i32, tokio_postgres::Error> {
    // Large tables take longer than any statement afterwards.
    let begin = format!("BEGIN; SET LOCAL statement_timeout = 0; SELECT pg_advisory_xact_lock({CHANGING})");
    client.batch_execute(&begin).await?;
    let changed = async {
        client
            .batch_execute(&format!(
                "CREATE TABLE IF NOT EXISTS syrinx_tables (version INTEGER NOT NULL, identity TEXT NOT NULL);
                 INSERT INTO syrinx_tables SELECT 0, '{identity}' WHERE NOT EXISTS (SELECT FROM syrinx_tables)"
            ))
            .await?;
        let version: i32 = client.query_one("SELECT version FROM syrinx_tables", &[]).await?.try_get(0)?;
        for migration in MIGRATIONS.iter().skip(version as usize) {
            client.batch_execute(migration).await?;
            client.execute("UPDATE syrinx_tables SET version = version + 1", &[]).await?;
        }
        Ok(version.max(MIGRATIONS.len() as i32))
    };
    let changed = changed.await;
    client.batch_execute(if changed.is_ok() { "COMMIT" } else { "ROLLBACK" }).await?;
    changed
}

/// Text as PostgreSQL can keep it: all but the letter NUL.
#[must_use]
pub fn plain(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_password_and_one_that_others_can_read_has_none() {
        let address = Address::read("postgres://me:secret@db:6432/jobs?sslmode=disable", false).expect("an address");
        assert_eq!((address.to_string(), format!("{address:?}")), {
            let shown = "postgres://me@db:6432/jobs".to_owned();
            (shown.clone(), shown)
        });
        let error = Address::read("postgres://me:secret@db/jobs", true).expect_err("a password").to_string();
        assert!(error.contains("PGPASSWORD") && !error.contains("secret"), "{error}");
        for wrong in ["mysql://db/jobs", "postgres://me:secret@db:port/jobs", "postgres://me:secret@db/jobs?colour=red"]
        {
            let error = Address::read(wrong, false).expect_err(wrong).to_string();
            assert!(error.starts_with("--queue: expected postgres://") && !error.contains("secret"), "{error}");
        }
    }
}

//! The catalogue: which voices there are. A trait, so that several machines may share one.

use std::fmt::Debug;

use rusqlite::{OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use tokio_postgres::types::ToSql;

use crate::error::{Error, Result};
use crate::service::database::Database;
use crate::service::postgres::{Postgres, plain};

/// A voice that is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Voice {
    /// Its identity: a hash of its files.
    pub id: String,
    /// Its name, 1 to 100 letters.
    pub name: String,
    /// What it is, up to 500 letters.
    pub description: String,
    /// Name of its file, as it was sent.
    pub pth_file: String,
    /// Name of its index, as it was sent.
    pub index_file: Option<String>,
    /// When it came, in milliseconds since 1970.
    pub created_ms: i64,
    /// Bytes of its files.
    pub bytes: u64,
    /// What it is like.
    pub facts: serde_json::Value,
    /// Its files, where other machines fetch them; none where they lie on this machine alone.
    pub files: Vec<SharedFile>,
}

/// A file of a voice that machines share.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct SharedFile {
    /// Where it lies in the voice's folder, as `voice`, `index` or `encoder/config.json`.
    pub place: String,
    /// Hash of what it holds, in hexadecimal digits.
    pub sha256: String,
}

/// Which voices there are.
pub trait Catalogue: Debug + Send + Sync {
    /// All voices, by name.
    ///
    /// # Errors
    /// What the database reports.
    fn list(&self) -> Result<Vec<Voice>>;

    /// The voice of this identity.
    ///
    /// # Errors
    /// What the database reports.
    fn get(&self, id: &str) -> Result<Option<Voice>>;

    /// The voice of this name.
    ///
    /// # Errors
    /// What the database reports.
    fn named(&self, name: &str) -> Result<Option<Voice>>;

    /// Adds a voice; `false` if there is one of the same identity or name.
    ///
    /// # Errors
    /// What the database reports.
    fn insert(&self, voice: &Voice) -> Result<bool>;

    /// Forgets a voice; `false` if there is none.
    ///
    /// # Errors
    /// What the database reports.
    fn delete(&self, id: &str) -> Result<bool>;
}

/// Columns in the order of [`voice`], and of PostgreSQL's one more, `files`.
const COLUMNS: &str = "id, name, description, pth_file, index_file, created_ms, bytes, facts";

fn voice(row: &Row<'_>) -> rusqlite::Result<Voice> {
    let facts: String = row.get(7)?;
    Ok(Voice {
        id: row.get(0)?,
        name: row.get(1)?,
        description: row.get(2)?,
        pth_file: row.get(3)?,
        index_file: row.get(4)?,
        created_ms: row.get(5)?,
        bytes: row.get::<_, i64>(6)? as u64,
        facts: serde_json::from_str(&facts).unwrap_or_default(),
        files: Vec::new(),
    })
}

/// The voice of which `condition` is true of `value`.
fn find(database: &Database, condition: &str, value: &str) -> Result<Option<Voice>> {
    database.with(|connection| {
        let query = format!("SELECT {COLUMNS} FROM voices WHERE {condition}");
        connection.prepare_cached(&query)?.query_row([value], voice).optional()
    })
}

/// Voices of this machine.
impl Catalogue for Database {
    fn list(&self) -> Result<Vec<Voice>> {
        self.with(|connection| {
            let mut query = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM voices ORDER BY name"))?;
            query.query_map([], voice)?.collect()
        })
    }

    fn get(&self, id: &str) -> Result<Option<Voice>> {
        find(self, "id = ?1", id)
    }

    fn named(&self, name: &str) -> Result<Option<Voice>> {
        find(self, "name = ?1", name)
    }

    fn insert(&self, voice: &Voice) -> Result<bool> {
        let facts = voice.facts.to_string();
        self.with(|connection| {
            let inserted = connection.execute(
                &format!("INSERT OR IGNORE INTO voices ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"),
                params![
                    voice.id,
                    voice.name,
                    voice.description,
                    voice.pth_file,
                    voice.index_file,
                    voice.created_ms,
                    voice.bytes as i64,
                    facts
                ],
            )?;
            Ok(inserted == 1)
        })
    }

    fn delete(&self, id: &str) -> Result<bool> {
        self.with(|connection| connection.execute("DELETE FROM voices WHERE id = ?1", [id])).map(|count| count == 1)
    }
}

impl Postgres {
    /// The voices that a query gives after `SELECT .. FROM syrinx_voices`.
    fn voices(&self, rest: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Voice>> {
        let query = format!("SELECT {COLUMNS}, files FROM syrinx_voices {rest}");
        let rows = self.with(async |client| client.query(&query, values).await)?;
        let voice = |row: &tokio_postgres::Row| -> Result<Voice, Box<dyn std::error::Error>> {
            Ok(Voice {
                id: row.try_get(0)?,
                name: row.try_get(1)?,
                description: row.try_get(2)?,
                pth_file: row.try_get(3)?,
                index_file: row.try_get(4)?,
                created_ms: row.try_get(5)?,
                bytes: row.try_get::<_, i64>(6)? as u64,
                facts: serde_json::from_str(row.try_get(7)?)?,
                files: serde_json::from_str(row.try_get(8)?)?,
            })
        };
        let read = |row| voice(row).map_err(|error| Error::format(format!("{self:?}"), "a voice", error));
        rows.iter().map(read).collect()
    }
}

/// Voices that machines share.
impl Catalogue for Postgres {
    fn list(&self) -> Result<Vec<Voice>> {
        self.voices("ORDER BY name COLLATE \"C\"", &[])
    }

    fn get(&self, id: &str) -> Result<Option<Voice>> {
        Ok(self.voices("WHERE id = $1", &[&plain(id)])?.pop())
    }

    fn named(&self, name: &str) -> Result<Option<Voice>> {
        Ok(self.voices("WHERE name = $1", &[&plain(name)])?.pop())
    }

    fn insert(&self, voice: &Voice) -> Result<bool> {
        let (facts, files) = (voice.facts.to_string(), serde_json::to_string(&voice.files).unwrap_or_default());
        let insert = format!(
            "INSERT INTO syrinx_voices ({COLUMNS}, files) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
             ON CONFLICT DO NOTHING"
        );
        let [name, description, pth_file] = [&voice.name, &voice.description, &voice.pth_file].map(|text| plain(text));
        let index_file = voice.index_file.as_deref().map(plain);
        let (created_ms, bytes) = (voice.created_ms, voice.bytes as i64);
        let values: [&(dyn ToSql + Sync); 9] =
            [&voice.id, &name, &description, &pth_file, &index_file, &created_ms, &bytes, &facts, &files];
        self.with(async |client| client.execute(&insert, &values).await).map(|count| count == 1)
    }

    fn delete(&self, id: &str) -> Result<bool> {
        let delete = "DELETE FROM syrinx_voices WHERE id = $1";
        self.with(async |client| client.execute(delete, &[&plain(id)]).await).map(|count| count == 1)
    }
}

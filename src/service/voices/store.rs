//! The store: a folder per voice, named by its content, and a row of the database.
//!
//! A voice is there when its row is; a folder without a row was left by a server that died, and is removed or, where the
//! database was lost, taken up again.

use std::fs::File;
use std::path::{Path, PathBuf};

use rusqlite::{OptionalExtension, Row, params};

use super::upload::{Received, VoiceFiles};
use crate::checkpoint::store::own_encoder;
use crate::error::{Error, Result};
use crate::service::database::{Database, now_ms};

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
}

/// What came of keeping a voice.
#[derive(Clone, Debug, PartialEq)]
pub enum Kept {
    /// It is there.
    New(Voice),
    /// The same files are there, under this name.
    SameFiles(Voice),
    /// The name is taken.
    SameName(Voice),
}

/// Voices on disk.
#[derive(Clone, Debug)]
pub struct VoiceStore {
    root: PathBuf,
    database: Database,
}

/// Columns in the order of [`voice`].
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
    })
}

/// Writes a file, or all files of a folder, to the disk.
fn sync(path: &Path) -> std::io::Result<()> {
    if !path.is_dir() {
        return File::open(path)?.sync_all();
    }
    std::fs::read_dir(path)?.try_for_each(|entry| sync(&entry?.path()))
}

impl VoiceStore {
    /// The voices below `root`, which is made if it is not there. Removes what uploads left that were cut off.
    ///
    /// # Errors
    /// A folder that cannot be made or read.
    pub fn open(root: PathBuf, database: Database) -> Result<Self> {
        std::fs::create_dir_all(&root).map_err(|source| Error::io(&root, source))?;
        let store = Self { root, database };
        let known: Vec<String> = store.list()?.into_iter().map(|voice| voice.id).collect();
        let entries = std::fs::read_dir(&store.root).map_err(|source| Error::io(&store.root, source))?;
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') {
                // An upload that was never whole, or a voice that was deleted.
                let _ = std::fs::remove_dir_all(entry.path());
            } else if !known.contains(&name) {
                store.take_up(&name, &entry.path());
            }
        }
        Ok(store)
    }

    /// Keeps a folder whose row was lost.
    fn take_up(&self, id: &str, folder: &Path) {
        let received = |name: &str| Received { name: name.into(), path: folder.join(name) };
        let files = [received("voice"), received("index")];
        let files = files.into_iter().filter(|file| file.path.is_file()).collect();
        match VoiceFiles::recognise(files, folder, u64::MAX / 2) {
            Ok(files) if files.id == id => {
                tracing::warn!("voice {id} was found without a row in the database, and is kept under that name");
                let _ = self.insert(&row_of(&files, id, ""));
            }
            _ => {
                tracing::warn!("{} is no whole voice, and is removed", folder.display());
                let _ = std::fs::remove_dir_all(folder);
            }
        }
    }

    /// A new folder in which to receive files; it vanishes when dropped.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn receive(&self) -> Result<tempfile::TempDir> {
        let folder = tempfile::Builder::new().prefix(".incoming-").tempdir_in(&self.root);
        folder.map_err(|source| Error::io(&self.root, source))
    }

    /// Keeps files that lie in a [received](Self::receive) folder.
    ///
    /// # Errors
    /// What the disk or the database reports; nothing is kept then.
    pub fn keep(&self, files: &VoiceFiles, name: &str, description: &str) -> Result<Kept> {
        if let Some(same) = self.get(&files.id)? {
            return Ok(Kept::SameFiles(same));
        }
        if let Some(same) = self.named(name)? {
            return Ok(Kept::SameName(same));
        }
        let whole = self.receive()?;
        let (index, encoder) = (files.index.as_ref(), files.encoder.as_ref());
        for (file, place) in [(Some(&files.voice), "voice"), (index, "index"), (encoder, "encoder")] {
            let Some(file) = file else { continue };
            let path = whole.path().join(place);
            let moved = std::fs::rename(&file.path, &path);
            moved.and_then(|()| sync(&path)).map_err(|source| Error::io(&file.name, source))?;
        }
        let folder = self.root.join(&files.id);
        match std::fs::rename(whole.path(), &folder) {
            // Two uploads of the same files: the other was first, and this one finds its row.
            Err(_) if folder.is_dir() => {}
            moved => moved.map_err(|source| Error::io(&folder, source))?,
        }
        let row = row_of(files, name, description);
        if self.insert(&row)? {
            return Ok(Kept::New(row));
        }
        // Someone was faster.
        if let Some(same) = self.get(&files.id)? {
            return Ok(Kept::SameFiles(same));
        }
        let _ = std::fs::remove_dir_all(&folder);
        self.named(name)?.map(Kept::SameName).ok_or_else(|| Error::argument("name", "a free one", name))
    }

    fn insert(&self, voice: &Voice) -> Result<bool> {
        let facts = voice.facts.to_string();
        self.database.with(|connection| {
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

    /// Whether some voice brings its content encoder.
    ///
    /// # Errors
    /// What the database reports.
    pub fn brings_encoder(&self) -> Result<bool> {
        Ok(self.list()?.iter().any(|voice| own_encoder(&self.files(voice).0).is_some()))
    }

    /// All voices, by name.
    ///
    /// # Errors
    /// What the database reports.
    pub fn list(&self) -> Result<Vec<Voice>> {
        self.database.with(|connection| {
            let mut query = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM voices ORDER BY name"))?;
            query.query_map([], voice)?.collect()
        })
    }

    /// The voice of this identity.
    ///
    /// # Errors
    /// What the database reports.
    pub fn get(&self, id: &str) -> Result<Option<Voice>> {
        self.find("id", id)
    }

    /// The voice of this name.
    ///
    /// # Errors
    /// What the database reports.
    pub fn named(&self, name: &str) -> Result<Option<Voice>> {
        self.find("name", name)
    }

    fn find(&self, column: &str, value: &str) -> Result<Option<Voice>> {
        self.database.with(|connection| {
            let query = format!("SELECT {COLUMNS} FROM voices WHERE {column} = ?1");
            connection.prepare_cached(&query)?.query_row([value], voice).optional()
        })
    }

    /// Forgets a voice; `false` if there is none. Who has it loaded keeps it until done.
    ///
    /// # Errors
    /// What the database reports.
    pub fn delete(&self, id: &str) -> Result<bool> {
        let deleted =
            self.database.with(|connection| connection.execute("DELETE FROM voices WHERE id = ?1", [id]))? == 1;
        if deleted {
            let (folder, gone) = (self.root.join(id), self.root.join(format!(".gone-{id}-{}", now_ms())));
            // What cannot be removed now is removed at the next start.
            let _ = std::fs::rename(&folder, &gone);
            let _ = std::fs::remove_dir_all(&gone);
        }
        Ok(deleted)
    }

    /// The files of a voice: itself, and its index.
    #[must_use]
    pub fn files(&self, voice: &Voice) -> (PathBuf, Option<PathBuf>) {
        let folder = self.root.join(&voice.id);
        (folder.join("voice"), voice.index_file.as_ref().map(|_| folder.join("index")))
    }
}

fn row_of(files: &VoiceFiles, name: &str, description: &str) -> Voice {
    Voice {
        id: files.id.clone(),
        name: name.to_owned(),
        description: description.to_owned(),
        pth_file: files.voice.name.clone(),
        index_file: files.index.as_ref().map(|index| index.name.clone()),
        created_ms: now_ms(),
        bytes: files.bytes,
        facts: files.facts.clone(),
    }
}

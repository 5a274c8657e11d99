//! The store: a folder per voice, named by its content, and a row of the catalogue.
//!
//! A voice is there when its row is. On this machine alone, a folder without a row was left by a server that died, and is
//! removed or, where the database was lost, taken up again. Where machines share voices, the files are blobs too, put
//! before the row is; the folder then is what this machine has fetched of them, each file checked by its hash.

use std::fs::File;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};
use walkdir::WalkDir;

use super::catalogue::{Catalogue, SharedFile, Voice};
use super::upload::{Received, VoiceFiles};
use crate::checkpoint::store::own_encoder;
use crate::error::{Error, Result};
use crate::service::blobs::Blobs;
use crate::service::database::now_ms;

/// Beginning of the keys of voices' blobs.
pub const VOICE_BLOB: &str = "voice-";

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
#[derive(Clone)]
pub struct VoiceStore {
    root: PathBuf,
    catalogue: Arc<dyn Catalogue>,
    shared: Option<Shared>,
}

/// Where the files are that machines share.
#[derive(Clone)]
struct Shared {
    blobs: Arc<dyn Blobs>,
    /// One voice is fetched at a time: who wants the same finds it.
    fetching: Arc<Mutex<()>>,
}

/// Writes a file, or all files of a folder, to the disk.
fn sync(path: &Path) -> std::io::Result<()> {
    if !path.is_dir() {
        return File::open(path)?.sync_all();
    }
    std::fs::read_dir(path)?.try_for_each(|entry| sync(&entry?.path()))
}

/// Key of a voice's file number `number`.
fn blob(id: &str, number: usize) -> String {
    format!("{VOICE_BLOB}{id}-{number}")
}

/// The voice that a blob is part of, if it is.
#[must_use]
pub fn voice_of_blob(key: &str) -> Option<&str> {
    key.strip_prefix(VOICE_BLOB)?.split('-').next()
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |digits, byte| digits + &format!("{byte:02x}"))
}

impl VoiceStore {
    /// The voices of this machine below `root`, which is made if it is not there. Removes what uploads left that were cut
    /// off.
    ///
    /// # Errors
    /// A folder that cannot be made or read.
    pub fn open(root: PathBuf, catalogue: Arc<dyn Catalogue>) -> Result<Self> {
        let store = Self { root, catalogue, shared: None };
        store.tidy(Self::take_up)?;
        Ok(store)
    }

    /// The voices that machines share through `blobs`; those that this one has used are below `root`.
    ///
    /// # Errors
    /// A folder that cannot be made or read.
    pub fn shared(root: PathBuf, catalogue: Arc<dyn Catalogue>, blobs: Arc<dyn Blobs>) -> Result<Self> {
        let store = Self { root, catalogue, shared: Some(Shared { blobs, fetching: Arc::default() }) };
        store.tidy(Self::remove)?;
        Ok(store)
    }

    /// Removes what was left half-done, and does something with each folder that has no row.
    fn tidy(&self, rowless: impl Fn(&Self, &str, &Path)) -> Result<()> {
        std::fs::create_dir_all(&self.root).map_err(|source| Error::io(&self.root, source))?;
        let known: Vec<String> = self.list()?.into_iter().map(|voice| voice.id).collect();
        for (name, path) in self.folders()? {
            if name.starts_with('.') {
                // An upload that was never whole, or a voice that was deleted.
                let _ = std::fs::remove_dir_all(path);
            } else if !known.contains(&name) {
                rowless(self, &name, &path);
            }
        }
        Ok(())
    }

    fn folders(&self) -> Result<Vec<(String, PathBuf)>> {
        let entries = std::fs::read_dir(&self.root).map_err(|source| Error::io(&self.root, source))?;
        Ok(entries.flatten().map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path())).collect())
    }

    /// Keeps a folder whose row was lost.
    fn take_up(&self, id: &str, folder: &Path) {
        let received = |name: &str| Received { name: name.into(), path: folder.join(name) };
        let files = [received("voice"), received("index")];
        let files = files.into_iter().filter(|file| file.path.is_file()).collect();
        match VoiceFiles::recognise(files, folder, u64::MAX / 2) {
            Ok(files) if files.id == id => {
                tracing::warn!("voice {id} was found without a row in the database, and is kept under that name");
                let _ = self.catalogue.insert(&row_of(&files, id, ""));
            }
            _ => {
                tracing::warn!("{} is no whole voice, and is removed", folder.display());
                let _ = std::fs::remove_dir_all(folder);
            }
        }
    }

    /// Removes the folder of a voice. Who has it loaded keeps it until done.
    fn remove(&self, id: &str, folder: &Path) {
        let gone = self.root.join(format!(".gone-{id}-{}", now_ms()));
        // What cannot be removed now is removed at the next start.
        let _ = std::fs::rename(folder, &gone);
        let _ = std::fs::remove_dir_all(&gone);
    }

    /// Removes what this machine fetched of voices that others have deleted since; returns which.
    ///
    /// # Errors
    /// What the disk or the database reports.
    pub fn prune(&self) -> Result<Vec<String>> {
        if self.shared.is_none() {
            return Ok(Vec::new());
        }
        // Folders first: a voice that is kept after this is not among them.
        let mut folders = self.folders()?;
        let known: Vec<String> = self.list()?.into_iter().map(|voice| voice.id).collect();
        folders.retain(|(id, _)| !id.starts_with('.') && !known.contains(id));
        for (id, folder) in &folders {
            self.remove(id, folder);
        }
        Ok(folders.into_iter().map(|(id, _)| id).collect())
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
    /// What the disk, the blobs or the database report; nothing is kept then.
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
        let mut row = row_of(files, name, description);
        if let Some(shared) = &self.shared {
            row.files = shared.put(&files.id, whole.path())?;
        }
        let folder = self.root.join(&files.id);
        give_name(whole.path(), &folder)?;
        if self.catalogue.insert(&row)? {
            return Ok(Kept::New(row));
        }
        // Someone was faster.
        if let Some(same) = self.get(&files.id)? {
            return Ok(Kept::SameFiles(same));
        }
        let _ = std::fs::remove_dir_all(&folder);
        self.named(name)?.map(Kept::SameName).ok_or_else(|| Error::argument("name", "a free one", name))
    }

    /// Whether some voice brings its content encoder.
    ///
    /// # Errors
    /// What the database reports.
    pub fn brings_encoder(&self) -> Result<bool> {
        let brings = |voice: &Voice| match &self.shared {
            Some(_) => voice.files.iter().any(|file| file.place == "encoder/config.json"),
            None => own_encoder(&self.root.join(&voice.id).join("voice")).is_some(),
        };
        Ok(self.list()?.iter().any(brings))
    }

    /// All voices, by name.
    ///
    /// # Errors
    /// What the database reports.
    pub fn list(&self) -> Result<Vec<Voice>> {
        self.catalogue.list()
    }

    /// The voice of this identity.
    ///
    /// # Errors
    /// What the database reports.
    pub fn get(&self, id: &str) -> Result<Option<Voice>> {
        self.catalogue.get(id)
    }

    /// The voice of this name.
    ///
    /// # Errors
    /// What the database reports.
    pub fn named(&self, name: &str) -> Result<Option<Voice>> {
        self.catalogue.named(name)
    }

    /// Forgets a voice; `false` if there is none. Who has it loaded keeps it until done. Its blobs go when the service next
    /// cleans up: someone may be putting the same at this moment.
    ///
    /// # Errors
    /// What the database reports.
    pub fn delete(&self, id: &str) -> Result<bool> {
        let deleted = self.catalogue.delete(id)?;
        if deleted {
            self.remove(id, &self.root.join(id));
        }
        Ok(deleted)
    }

    /// The files of a voice: itself, and its index; fetched if other machines have them and this one does not yet.
    ///
    /// # Errors
    /// Blobs that cannot be had or are not what the catalogue says; what the disk reports.
    pub fn files(&self, voice: &Voice) -> Result<(PathBuf, Option<PathBuf>)> {
        let folder = self.root.join(&voice.id);
        if let Some(shared) = &self.shared
            && !folder.is_dir()
        {
            // A fetch that panicked has left nothing.
            let _one = shared.fetching.lock().unwrap_or_else(PoisonError::into_inner);
            if !folder.is_dir() {
                let whole = self.receive()?;
                shared.fetch(voice, whole.path())?;
                give_name(whole.path(), &folder)?;
            }
        }
        Ok((folder.join("voice"), voice.index_file.as_ref().map(|_| folder.join("index"))))
    }
}

/// Makes `whole` the voice's folder, unless someone was faster with the same.
fn give_name(whole: &Path, folder: &Path) -> Result<()> {
    match std::fs::rename(whole, folder) {
        Err(_) if folder.is_dir() => Ok(()),
        moved => moved.map_err(|source| Error::io(folder, source)),
    }
}

impl Shared {
    /// Puts all files of a voice's folder.
    fn put(&self, id: &str, folder: &Path) -> Result<Vec<SharedFile>> {
        let mut files = Vec::new();
        for entry in WalkDir::new(folder).sort_by_file_name() {
            let entry = entry.map_err(|error| Error::io(folder, error.into()))?;
            if !entry.file_type().is_file() {
                continue;
            }
            let place = entry.path().strip_prefix(folder).unwrap_or(entry.path()).to_string_lossy().replace('\\', "/");
            let bytes = std::fs::read(entry.path()).map_err(|source| Error::io(entry.path(), source))?;
            self.blobs.put(&blob(id, files.len()), &bytes)?;
            files.push(SharedFile { place, sha256: hash(&bytes) });
        }
        Ok(files)
    }

    /// Fetches all files of a voice into `folder`.
    fn fetch(&self, voice: &Voice, folder: &Path) -> Result<()> {
        for (number, file) in voice.files.iter().enumerate() {
            let key = blob(&voice.id, number);
            let bytes = self.blobs.get(&key)?;
            let found = hash(&bytes);
            if found != file.sha256 {
                return Err(Error::format(key, format!("bytes of SHA-256 {}", file.sha256), format!("{found}'s")));
            }
            if !Path::new(&file.place).components().all(|part| matches!(part, Component::Normal(_))) {
                return Err(Error::format(key, "a place in the voice's folder", &file.place));
            }
            let path = folder.join(&file.place);
            let parent = path.parent().unwrap_or(folder);
            let written = std::fs::create_dir_all(parent).and_then(|()| std::fs::write(&path, &bytes));
            written.and_then(|()| sync(&path)).map_err(|source| Error::io(&path, source))?;
        }
        tracing::info!("voice {} was fetched", voice.id);
        Ok(())
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
        files: Vec::new(),
    }
}

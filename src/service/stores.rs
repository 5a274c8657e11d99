//! Where everything is kept: on this machine alone, or on servers that several machines share.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use reqwest::Url;
use tokio::runtime::Handle;

use super::blobs::{Blobs, FolderBlobs, ObjectBlobs};
use super::database::{Database, new_id};
use super::jobs::{PostgresQueue, Queue, SqliteQueue};
use super::postgres::{Address, Postgres};
#[cfg(feature = "default-voice")]
use super::voices::VoiceFiles;
use super::voices::VoiceStore;
#[cfg(feature = "default-voice")]
use crate::checkpoint::built_in;
use crate::error::{Error, Result};
use crate::io::write::write_aside;

/// Key of the blob that tells whose all others are.
const OWNER: &str = "owner";
/// Name of what tells that the voice inside the program was offered: a file of the data, or a blob where machines share.
#[cfg(feature = "default-voice")]
const OFFERED: &str = "default-voice-offered";

/// Where jobs, their blobs and the voices are kept.
#[derive(Clone, Debug)]
pub enum Place {
    /// In the data of this machine.
    Here,
    /// On servers that several machines share.
    Shared {
        /// Where jobs are, and which voices there are.
        queue: Box<Address>,
        /// Where results, uploads and voices are.
        blobs: BlobPlace,
    },
}

/// Where blobs are that several machines share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlobPlace {
    /// A folder that all machines have, of a file server.
    Folder(PathBuf),
    /// A server that speaks S3.
    Bucket {
        /// The bucket's name.
        bucket: String,
        /// What the names of all objects begin with.
        prefix: String,
    },
}

impl BlobPlace {
    /// Reads `s3://bucket/prefix` or `file:///folder`.
    ///
    /// # Errors
    /// Text that is neither.
    pub fn read(text: &str) -> Result<Self> {
        // Not told as it is: it may hold a password.
        let refused = |found: &str| Error::argument("--blobs", "s3://BUCKET/PREFIX or file:///FOLDER", found);
        let url = Url::parse(text).map_err(|error| refused(&error.to_string()))?;
        if !url.username().is_empty() || url.password().is_some() {
            let expected = "no names and passwords: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are for them";
            return Err(Error::argument("--blobs", expected, "some"));
        }
        match (url.scheme(), url.host_str()) {
            ("s3", Some(bucket)) => {
                Ok(Self::Bucket { bucket: bucket.to_owned(), prefix: url.path().trim_matches('/').to_owned() })
            }
            ("file", _) => url.to_file_path().map(Self::Folder).map_err(|()| refused("a folder of another machine")),
            (scheme, _) => Err(refused(&format!("{scheme}://"))),
        }
    }

    fn open(&self, runtime: &Handle) -> Result<Arc<dyn Blobs>> {
        Ok(match self {
            Self::Folder(root) => Arc::new(FolderBlobs::shared(root.clone())?),
            Self::Bucket { bucket, prefix } => {
                Arc::new(ObjectBlobs::new(runtime.clone(), bucket, prefix, std::env::vars_os())?)
            }
        })
    }
}

/// What is kept where.
pub(super) struct Stores {
    pub queue: Arc<dyn Queue>,
    pub blobs: Arc<dyn Blobs>,
    pub voices: VoiceStore,
    /// Whether other machines use them too.
    pub is_shared: bool,
}

impl Stores {
    /// Opens what is at `place`, with what this machine keeps of it in `data`, which no other process uses.
    ///
    /// # Errors
    /// Data that is damaged; servers that cannot be reached; blobs of another queue.
    pub fn open(place: &Place, data: &Path, runtime: &Handle) -> Result<Self> {
        match place {
            Place::Here => {
                let database = Database::open(&data.join("syrinx.db"))?;
                Ok(Self {
                    voices: VoiceStore::open(data.join("voices"), Arc::new(database.clone()))?,
                    blobs: Arc::new(FolderBlobs::open(data.join("blobs"))?),
                    queue: Arc::new(SqliteQueue::new(database)),
                    is_shared: false,
                })
            }
            Place::Shared { queue, blobs } => {
                let database = Postgres::open(runtime.clone(), Address::clone(queue))?;
                let blobs = blobs.open(runtime)?;
                check_owner(&*blobs, &database.identity()?)?;
                let catalogue = Arc::new(database.clone());
                Ok(Self {
                    // Those of this machine alone, if it had some, stay what they are.
                    voices: VoiceStore::shared(data.join("shared-voices"), catalogue, blobs.clone())?,
                    blobs,
                    queue: Arc::new(PostgresQueue::new(database, machine(data)?)),
                    is_shared: true,
                })
            }
        }
    }

    /// Adds the voice that is part of the program, once: who deletes it does not get it back.
    #[cfg(feature = "default-voice")]
    pub fn offer_built_in(&self, data: &Path) -> Result<()> {
        let mark = data.join(OFFERED);
        let is_offered = if self.is_shared { get(&*self.blobs, OFFERED)?.is_some() } else { mark.exists() };
        if is_offered {
            return Ok(());
        }
        let received = self.voices.receive()?;
        let files = VoiceFiles::built_in(received.path())?;
        self.voices.keep(&files, built_in::NAME, "The voice that is part of Syrinx.")?;
        if self.is_shared {
            return self.blobs.put(OFFERED, b"once");
        }
        std::fs::write(&mark, "").map_err(|source| Error::io(mark, source))
    }
}

/// What is kept under `key`, if anything is.
fn get(blobs: &dyn Blobs, key: &str) -> Result<Option<Vec<u8>>> {
    match blobs.get(key) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes sure that blobs belong to the queue of this identity: another's would be taken for left behind, and removed.
fn check_owner(blobs: &dyn Blobs, identity: &str) -> Result<()> {
    match get(blobs, OWNER)? {
        Some(owner) if owner == identity.as_bytes() => Ok(()),
        Some(_) => {
            let expected = "a place that belongs to this --queue: each queue needs a folder or prefix of its own";
            Err(Error::argument("--blobs", expected, "another queue's"))
        }
        None => blobs.put(OWNER, identity.as_bytes()),
    }
}

/// The name of this machine among those that share a queue: by it, its own jobs are known when it starts again.
fn machine(data: &Path) -> Result<String> {
    let path = data.join("machine");
    if let Ok(name) = std::fs::read_to_string(&path) {
        return Ok(name);
    }
    let name = new_id()?;
    write_aside(&path, |file| std::io::Write::write_all(file, name.as_bytes()))?;
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_blobs_are_read_and_others_refused_without_telling_their_passwords() {
        let bucket = |bucket: &str, prefix: &str| BlobPlace::Bucket { bucket: bucket.into(), prefix: prefix.into() };
        for (text, place) in [
            ("s3://bucket", bucket("bucket", "")),
            ("s3://bucket/", bucket("bucket", "")),
            ("s3://bucket/a/b/", bucket("bucket", "a/b")),
            ("file:///srv/blobs", BlobPlace::Folder("/srv/blobs".into())),
        ] {
            assert_eq!(BlobPlace::read(text).expect(text), place);
        }
        for wrong in ["/srv/blobs", "s3:///key", "gs://bucket", "s3://me:secret@bucket/x", "file://other/srv"] {
            let error = BlobPlace::read(wrong).expect_err(wrong).to_string();
            assert!(error.starts_with("--blobs: expected") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn blobs_of_another_queue_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let blobs = FolderBlobs::shared(folder.path().to_owned()).expect("blobs");
        check_owner(&blobs, "one").expect("new");
        check_owner(&blobs, "one").expect("the same");
        assert_eq!(check_owner(&blobs, "other").expect_err("another's").exit_code(), 64);
    }

    #[test]
    fn a_machine_keeps_its_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let name = machine(folder.path()).expect("a name");
        assert_eq!((machine(folder.path()).expect("a name"), name.len()), (name, 36));
    }
}

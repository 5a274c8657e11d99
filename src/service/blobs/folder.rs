//! Blobs as files of one folder, which may be one that several machines share.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use super::{Blob, Blobs, check};
use crate::error::{Error, Result};
use crate::io::write::{is_unfinished, write_aside};

/// Age of a file that no one writes to any more.
const ABANDONED: Duration = Duration::from_hours(1);

/// Files of one folder.
#[derive(Clone, Debug)]
pub struct FolderBlobs {
    root: PathBuf,
}

impl FolderBlobs {
    /// Files in `root`, which is made if it is not there, and which no one else writes to at this moment: what was left
    /// half-written is removed.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub fn open(root: PathBuf) -> Result<Self> {
        Self::open_and_remove(root, Duration::ZERO)
    }

    /// Files in `root`, which others may write to: what is half-written is only removed where it was left long ago.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub fn shared(root: PathBuf) -> Result<Self> {
        Self::open_and_remove(root, ABANDONED)
    }

    fn open_and_remove(root: PathBuf, abandoned: Duration) -> Result<Self> {
        std::fs::create_dir_all(&root).map_err(|source| Error::io(&root, source))?;
        let entries = std::fs::read_dir(&root).map_err(|source| Error::io(&root, source))?;
        for entry in entries.flatten() {
            let name = entry.file_name();
            // In a folder of others there may be others' files.
            if is_unfinished(&name.to_string_lossy()) && age(&entry) >= abandoned {
                // What cannot be removed does no harm.
                let _ = std::fs::remove_file(entry.path());
            }
        }
        Ok(Self { root })
    }

    fn path(&self, key: &str) -> Result<PathBuf> {
        check(key)?;
        Ok(self.root.join(key))
    }
}

/// Time since a file was written; none where the system does not tell.
fn age(entry: &std::fs::DirEntry) -> Duration {
    let modified = entry.metadata().and_then(|metadata| metadata.modified());
    modified.ok().and_then(|modified| modified.elapsed().ok()).unwrap_or_default()
}

impl Blobs for FolderBlobs {
    fn put(&self, key: &str, bytes: &[u8]) -> Result<()> {
        write_aside(&self.path(key)?, |file| file.write_all(bytes))
    }

    fn get(&self, key: &str) -> Result<Vec<u8>> {
        let path = self.path(key)?;
        std::fs::read(&path).map_err(|source| Error::io(&path, source))
    }

    fn delete(&self, key: &str) -> Result<()> {
        let path = self.path(key)?;
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io(&path, error)),
            _ => Ok(()),
        }
    }

    fn all(&self) -> Result<Vec<Blob>> {
        let entries = std::fs::read_dir(&self.root).map_err(|source| Error::io(&self.root, source))?;
        let blobs = entries.flatten().filter_map(|entry| {
            let age = age(&entry);
            entry.file_name().into_string().ok().map(|key| Blob { key, age })
        });
        // What is being written is named like no key.
        Ok(blobs.filter(|blob| !blob.key.starts_with('.')).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_kept_by_plain_keys_and_by_no_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let blobs = FolderBlobs::open(folder.path().join("a/b")).expect("a store");
        blobs.put("job-1.wav", b"sound").expect("kept");
        assert_eq!(blobs.get("job-1.wav").expect("there"), b"sound");
        std::fs::write(folder.path().join("a/b/.syrinx-x.tmp"), b"half").expect("half a file");
        let keys: Vec<String> = blobs.all().expect("keys").into_iter().map(|blob| blob.key).collect();
        assert_eq!(keys, ["job-1.wav"]);
        // Others may be writing.
        FolderBlobs::shared(folder.path().join("a/b")).expect("a store");
        assert_eq!(std::fs::read_dir(folder.path().join("a/b")).expect("a folder").count(), 2);
        // And may have hidden files of their own.
        std::fs::write(folder.path().join("a/b/.netrc"), b"theirs").expect("a file");
        let blobs = FolderBlobs::open(folder.path().join("a/b")).expect("a store");
        assert_eq!(std::fs::read_dir(folder.path().join("a/b")).expect("a folder").count(), 2);
        assert!(folder.path().join("a/b/.netrc").exists());
        blobs.delete("job-1.wav").expect("gone");
        blobs.delete("job-1.wav").expect("gone already");
        assert_eq!(blobs.get("job-1.wav").expect_err("gone").exit_code(), 66);
        for key in ["", "..", "../x", "a/b", ".hidden", "a\0b"] {
            assert!(blobs.put(key, b"x").is_err(), "{key:?}");
        }
    }
}

//! Blobs: results and uploads of jobs, by key. A trait, so that they may lie elsewhere than on this machine's disk.

use std::io::Write;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::io::write::write_aside;

/// Keeps bytes by key. A key is made of letters, digits, `-` and `.`.
pub trait Blobs: Send + Sync {
    /// Keeps `bytes` under `key`: all of them or, if it fails or the machine stops, none.
    ///
    /// # Errors
    /// What the store reports.
    fn put(&self, key: &str, bytes: &[u8]) -> Result<()>;

    /// What is kept under `key`.
    ///
    /// # Errors
    /// [`Error::Io`] of kind `NotFound` if there is nothing; what the store reports.
    fn get(&self, key: &str) -> Result<Vec<u8>>;

    /// Forgets what is kept under `key`; nothing may be.
    ///
    /// # Errors
    /// What the store reports.
    fn delete(&self, key: &str) -> Result<()>;

    /// All keys.
    ///
    /// # Errors
    /// What the store reports.
    fn keys(&self) -> Result<Vec<String>>;
}

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
        std::fs::create_dir_all(&root).map_err(|source| Error::io(&root, source))?;
        let entries = std::fs::read_dir(&root).map_err(|source| Error::io(&root, source))?;
        for entry in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with('.')) {
            // What cannot be removed does no harm.
            let _ = std::fs::remove_file(entry.path());
        }
        Ok(Self { root })
    }

    fn path(&self, key: &str) -> Result<PathBuf> {
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.');
        if key.is_empty() || key.starts_with('.') || !key.chars().all(is_plain) {
            return Err(Error::argument("blob", "a key of letters, digits, - and .", key));
        }
        Ok(self.root.join(key))
    }
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

    fn keys(&self) -> Result<Vec<String>> {
        let entries = std::fs::read_dir(&self.root).map_err(|source| Error::io(&self.root, source))?;
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        // What is being written is named like no key.
        Ok(names.filter(|name| !name.starts_with('.')).collect())
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
        assert_eq!(blobs.keys().expect("keys"), ["job-1.wav"]);
        let blobs = FolderBlobs::open(folder.path().join("a/b")).expect("a store");
        assert_eq!(std::fs::read_dir(folder.path().join("a/b")).expect("a folder").count(), 1);
        blobs.delete("job-1.wav").expect("gone");
        blobs.delete("job-1.wav").expect("gone already");
        assert_eq!(blobs.get("job-1.wav").expect_err("gone").exit_code(), 66);
        for key in ["", "..", "../x", "a/b", ".hidden", "a\0b"] {
            assert!(blobs.put(key, b"x").is_err(), "{key:?}");
        }
    }
}

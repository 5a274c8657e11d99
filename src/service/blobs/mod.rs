//! Blobs: results and uploads of jobs, and voices that machines share, by key. A trait, so that they may lie elsewhere than
//! on this machine's disk.

pub mod folder;
pub mod objects;

use std::time::Duration;

pub use folder::FolderBlobs;
pub use objects::ObjectBlobs;

use crate::error::{Error, Result};

/// A blob that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Its key.
    pub key: String,
    /// Time since it was put, by the store's clock and this machine's.
    pub age: Duration,
}

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

    /// All that is kept.
    ///
    /// # Errors
    /// What the store reports.
    fn all(&self) -> Result<Vec<Blob>>;
}

/// Refuses keys that might mean something to a store.
fn check(key: &str) -> Result<()> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.');
    if key.is_empty() || key.starts_with('.') || !key.chars().all(is_plain) {
        return Err(Error::argument("blob", "a key of letters, digits, - and .", key));
    }
    Ok(())
}

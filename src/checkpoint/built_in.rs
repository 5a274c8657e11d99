//! The voice that is part of the program: its files, laid out in the user's cache folder and read like any others.
//!
//! What it is, how it was trained and what it can do is told in `models/default/README.md`.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use etcetera::BaseStrategy;

use crate::error::{Error, Result};

/// The name under which commands and the service know it.
pub const NAME: &str = "joe";

/// Each file's place in the folder, and its bytes.
const FILES: [(&str, &[u8]); 4] = [
    ("joe.pth", include_bytes!("../../models/default/joe.pth")),
    ("units.index", include_bytes!("../../models/default/units.index")),
    ("encoder/config.json", include_bytes!("../../models/default/encoder/config.json")),
    ("encoder/pytorch_model.bin", include_bytes!("../../models/default/encoder/pytorch_model.bin")),
];

/// Bytes of all its files.
#[must_use]
pub fn bytes() -> u64 {
    FILES.iter().map(|(_, bytes)| bytes.len() as u64).sum()
}

/// A folder for each state of the files, so that programs of several versions do not overwrite each other's.
fn folder_name() -> String {
    // Some bytes of each will do: trained weights differ everywhere. (FNV-1a)
    let sampled = FILES.iter().flat_map(|(_, bytes)| bytes.iter().step_by(997));
    let hash =
        sampled.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    format!("{NAME}-{hash:016x}")
}

/// Where the files of the voice lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltIn {
    folder: PathBuf,
}

impl BuiltIn {
    /// The files in the user's cache folder, written there unless they are there already, byte by byte the same.
    ///
    /// # Errors
    /// [`Error::Io`] if the cache folder cannot be written, [`Error::Argument`] if there is none.
    pub fn unpacked() -> Result<Self> {
        let strategy = etcetera::choose_base_strategy()
            .map_err(|e| Error::argument("XDG_CACHE_HOME", "a folder, since there is no home directory", e))?;
        Self::unpacked_in(&strategy.cache_dir().join("syrinx").join(folder_name()))
    }

    /// The files in a folder, written there unless they are there already.
    ///
    /// # Errors
    /// [`Error::Io`] if the folder cannot be written.
    pub fn unpacked_in(folder: &Path) -> Result<Self> {
        // Threads of one program would otherwise do the same work side by side.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for (name, bytes) in FILES {
            let path = folder.join(name);
            // What lies there is compared, not believed.
            if std::fs::read(&path).is_ok_and(|found| found == bytes) {
                continue;
            }
            place(&path, bytes).map_err(|source| Error::io(&path, source))?;
        }
        Ok(Self { folder: folder.to_owned() })
    }

    /// The voice.
    #[must_use]
    pub fn voice(&self) -> PathBuf {
        self.folder.join("joe.pth")
    }

    /// Its training units, few of them. Not found by the voice's name: at the usual rate they blur what is said.
    #[must_use]
    pub fn index(&self) -> PathBuf {
        self.folder.join("units.index")
    }

    /// The content encoder that it was trained with; no other speaks its units.
    #[must_use]
    pub fn encoder(&self) -> PathBuf {
        self.folder.join("encoder")
    }
}

/// Writes a file whole or not at all.
fn place(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    std::io::Write::write_all(&mut file, bytes)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::hubert::EncoderCheckpoint;
    use crate::checkpoint::index::Index;
    use crate::checkpoint::voice::VoiceCheckpoint;

    #[test]
    fn the_files_are_written_once_mended_when_damaged_and_read_as_what_they_are() {
        let folder = tempfile::tempdir().expect("a folder");
        let built_in = BuiltIn::unpacked_in(folder.path()).expect("the files");
        let written = |path: &Path| std::fs::metadata(path).and_then(|m| m.modified()).expect("a time");
        let first = written(&built_in.index());
        std::fs::write(built_in.voice(), b"not a voice").expect("damage");
        assert_eq!(BuiltIn::unpacked_in(folder.path()).expect("the files"), built_in);
        assert_eq!(written(&built_in.index()), first);

        let voice = VoiceCheckpoint::open(built_in.voice()).expect("a voice");
        let encoder = EncoderCheckpoint::open(built_in.encoder()).expect("an encoder");
        let index = Index::open(built_in.index()).expect("an index");
        assert_eq!(index.dim, voice.config.unit_dim);
        assert!(encoder.tensors.iter().count() > 0 && index.rows() > 0);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_told() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let error = BuiltIn::unpacked_in(&file.path().join("below")).expect_err("no folder").to_string();
        assert!(error.contains("joe.pth"), "{error}");
    }

    #[test]
    fn the_pack_is_small() {
        assert!(bytes() < 12_000_000, "{} bytes", bytes());
    }
}

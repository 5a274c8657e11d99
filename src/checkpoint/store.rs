//! The models directory: where voices, encoders, pitch networks and indexes are found by name.
//!
//! ```text
//! $SYRINX_MODELS, or syrinx/models in the user's data directory
//!   hubert_base.pt   or a Hugging Face folder: contentvec/, content-vec-best/, hubert/
//!   rmvpe.pt  fcpe.pt  crepe.pth  crepe-tiny.pth
//!   voices/NAME.pth             (or weights/, or next to these files)
//!   voices/NAME/NAME.pth        (with encoder/ beside it, if it was trained with one of its own)
//!   indexes/added_*_NAME_v2.index   (or beside the voice, or in its folder)
//! ```

use std::env;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;

#[cfg(feature = "default-voice")]
use super::built_in;
use super::catalogue::{PUBLISHED, Published};
use super::pitch::PitchNetwork;
use crate::error::{Error, Result};

/// Folders below the models directory in which voices are sought.
const VOICE_FOLDERS: [&str; 4] = ["voices", "weights", "assets/weights", ""];

/// Folders below the models directory in which indexes are sought.
const INDEX_FOLDERS: [&str; 5] = ["indexes", "indices", "logs", "voices", "weights"];

/// The directory in which models are found by name.
#[derive(Clone, Debug)]
pub struct ModelsDirectory {
    root: PathBuf,
}

impl ModelsDirectory {
    /// The directory `root`, which need not exist.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// `$SYRINX_MODELS` where set, else `syrinx/models` in the user's data directory.
    ///
    /// # Errors
    /// There is neither the variable nor a home directory.
    pub fn of_user() -> Result<Self> {
        if let Some(root) = env::var_os("SYRINX_MODELS").filter(|root| !root.is_empty()) {
            return Ok(Self::new(root));
        }
        let strategy = etcetera::choose_base_strategy()
            .map_err(|e| Error::argument("SYRINX_MODELS", "a directory, since there is no home directory", e))?;
        Ok(Self::new(strategy.data_dir().join("syrinx").join("models")))
    }

    /// The directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a published model lies here, if it does.
    #[must_use]
    pub fn find(&self, model: &Published) -> Option<PathBuf> {
        model
            .files
            .iter()
            .map(|file| self.root.join(file))
            .find(|path| path.is_file() || path.join("config.json").is_file())
    }

    /// The content encoder of a voice: the folder `encoder` beside it, whose units no other speaks, else `given` as a path or
    /// file name, else the published one.
    ///
    /// # Errors
    /// [`Error::NotFound`], telling where it was sought and where it is published.
    pub fn encoder(&self, given: Option<&str>, voice: &Path) -> Result<PathBuf> {
        own_encoder(voice).map_or_else(|| self.shared_encoder(given), Ok)
    }

    /// The content encoder of voices that bring none: `given` as a path or file name, else the published one.
    ///
    /// # Errors
    /// [`Error::NotFound`], telling where it was sought and where it is published.
    pub fn shared_encoder(&self, given: Option<&str>) -> Result<PathBuf> {
        self.published(given, &PUBLISHED[0])
    }

    /// A pitch network: `given` as a path or file name, else the published one.
    ///
    /// # Errors
    /// [`Error::NotFound`], telling where it was sought and where it is published.
    pub fn pitch(&self, given: Option<&str>, network: PitchNetwork, tiny: bool) -> Result<PathBuf> {
        let model = match (network, tiny) {
            (PitchNetwork::Rmvpe, _) => &PUBLISHED[1],
            (PitchNetwork::Fcpe, _) => &PUBLISHED[2],
            (PitchNetwork::Crepe, false) => &PUBLISHED[3],
            (PitchNetwork::Crepe, true) => &PUBLISHED[4],
        };
        self.published(given, model)
    }

    fn published(&self, given: Option<&str>, model: &Published) -> Result<PathBuf> {
        if let Some(given) = given {
            return self.named(given).ok_or_else(|| Error::NotFound {
                what: format!("{} `{given}`", model.name),
                hint: format!(
                    "looked for that path, and in {} for that name with and without an extension",
                    self.root.display()
                ),
            });
        }
        self.find(model).ok_or_else(|| Error::NotFound {
            what: format!("{} ({})", model.files[0], model.purpose),
            hint: format!(
                "looked in {} for {}; it is {}; put it there, set SYRINX_MODELS, or name its path",
                self.root.display(),
                model.files.join(", "),
                model.source
            ),
        })
    }

    /// What `given` names: a path, or a file or folder here with or without its extension, or a published model's name.
    #[must_use]
    pub fn named(&self, given: &str) -> Option<PathBuf> {
        let direct = PathBuf::from(given);
        if direct.exists() {
            return Some(direct);
        }
        let inside = |extension: &str| self.root.join(format!("{given}{extension}"));
        let places = ["", ".pt", ".pth", ".safetensors"].map(inside).into_iter();
        let published = || PUBLISHED.iter().find(|model| model.name == given).and_then(|model| self.find(model));
        places.filter(|_| is_name(given)).find(|path| path.exists()).or_else(published)
    }

    /// A voice: a path, or the name of a file in `voices/` or `weights/` with or without its extension, or of the voice that
    /// is part of the program.
    ///
    /// # Errors
    /// [`Error::NotFound`], telling where it was sought and which voices there are; [`Error::Io`] if the program's own
    /// cannot be laid out.
    pub fn voice(&self, given: &str) -> Result<PathBuf> {
        let direct = PathBuf::from(given);
        if direct.is_file() {
            return Ok(direct);
        }
        let voices = self.voices();
        let found = voices.iter().find(|path| {
            let matches = |part: Option<&std::ffi::OsStr>| part.is_some_and(|part| part == given);
            is_name(given) && (matches(path.file_name()) || matches(path.file_stem()))
        });
        #[cfg(feature = "default-voice")]
        if found.is_none() && given == built_in::NAME {
            return built_in::BuiltIn::unpacked().map(|files| files.voice());
        }
        found.cloned().ok_or_else(|| {
            let names: Vec<String> =
                voices.iter().filter_map(|v| v.file_stem()).map(|v| v.to_string_lossy().into_owned()).collect();
            let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            let hint = format!(
                "looked for that path and below {} in voices/ and weights/ (there: {there}); \
                 put NAME.pth into voices/, or give a path",
                self.root.display()
            );
            Error::NotFound { what: format!("voice `{given}`"), hint }
        })
    }

    /// Every file that may be a voice, by name; their content is not read.
    #[must_use]
    pub fn voices(&self) -> Vec<PathBuf> {
        let is_published = |path: &Path| {
            let name = path.file_name().unwrap_or_default();
            path.parent() == Some(&self.root)
                && PUBLISHED.iter().any(|model| model.files.iter().any(|file| name == *file))
        };
        let mut voices = self.files(&VOICE_FOLDERS, &["pth", "safetensors"]);
        voices.retain(|path| !is_published(path));
        voices
    }

    /// Every retrieval index, by name.
    #[must_use]
    pub fn indexes(&self) -> Vec<PathBuf> {
        self.files(&INDEX_FOLDERS, &["index"])
    }

    /// The index that belongs to the voice at `voice`, by name: upstream calls it
    /// `added_IVF{lists}_Flat_nprobe_1_{voice}_{version}.index`. Sought beside the voice and here.
    #[must_use]
    pub fn index_of(&self, voice: &Path) -> Option<PathBuf> {
        let name = voice.file_stem()?.to_string_lossy().to_lowercase();
        // A bare file name has the empty path as its parent.
        let folder = voice.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
        list(folder, &["index"]).into_iter().chain(self.indexes()).find(|path| index_names_voice(path, &name))
    }

    /// Files below the folders that have one of the extensions, one level of folders deep.
    fn files(&self, folders: &[&str], extensions: &[&str]) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for folder in folders {
            let folder = if folder.is_empty() { self.root.clone() } else { self.root.join(folder) };
            found.extend(list(&folder, extensions));
            if folder != self.root {
                for inner in folders_in(&folder) {
                    found.extend(list(&inner, extensions));
                }
            }
        }
        found
    }
}

/// The folder of the encoder that a voice brings, if it does.
#[must_use]
pub fn own_encoder(voice: &Path) -> Option<PathBuf> {
    let own = voice.with_file_name("encoder");
    own.join("config.json").is_file().then_some(own)
}

/// Whether `given` is a name and not a path.
fn is_name(given: &str) -> bool {
    !given.contains(['/', '\\'])
}

/// Whether an index's file name is that of the voice called `name` (lower case).
fn index_names_voice(path: &Path, name: &str) -> bool {
    let Some(stem) = path.file_stem().map(|stem| stem.to_string_lossy().to_lowercase()) else { return false };
    // What is trained but holds no rows yet is no index to search.
    if stem.starts_with("trained_") {
        return false;
    }
    if stem == name {
        return true;
    }
    let stem = stem.strip_suffix("_v1").or_else(|| stem.strip_suffix("_v2")).unwrap_or(&stem);
    let own = stem.split_once("_nprobe_").and_then(|(_, rest)| rest.split_once('_')).map_or(stem, |(_, own)| own);
    // Upstream's small models end in the epoch and step: `name_e200_s1000`.
    let base = name.split_once("_e").filter(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()));
    own == name || base.is_some_and(|(base, _)| own == base)
}

/// The files of one folder with one of the extensions, in name order; none where there is no folder.
fn list(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = entries(folder).filter(|path| path.is_file()).collect();
    files.retain(|path| {
        path.extension().is_some_and(|found| extensions.iter().any(|extension| found.eq_ignore_ascii_case(extension)))
    });
    files.sort();
    files
}

fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = entries(folder).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

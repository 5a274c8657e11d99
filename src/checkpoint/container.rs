//! One view on every container: what a file holds, before any tensor is read.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde_json::{Map, Value};

use super::tensors::Tensor;
use super::{pytorch, safetensors};
use crate::error::{Error, Result};

/// The container a checkpoint is stored in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// PyTorch's zip archive (since 1.6).
    Zip,
    /// PyTorch's stream of pickles (0.1.10 to 1.5).
    Legacy,
    /// A lone pickle, without tensors.
    Pickle,
    /// safetensors.
    Safetensors,
}

impl Format {
    /// The name shown to people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Zip => "PyTorch zip",
            Self::Legacy => "PyTorch legacy pickle",
            Self::Pickle => "pickle without tensors",
            Self::Safetensors => "safetensors",
        }
    }
}

/// The element type of a stored tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Precision {
    /// IEEE binary16.
    F16,
    /// bfloat16.
    Bf16,
    /// IEEE binary32.
    F32,
    /// IEEE binary64.
    F64,
    /// Integers and everything else no network reads.
    Other,
}

impl Precision {
    /// The name shown to people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::Other => "integer",
        }
    }

    /// Whether a network can read it.
    #[must_use]
    pub fn is_float(self) -> bool {
        self != Self::Other
    }
}

/// Where the bytes of one tensor are.
pub(super) enum Source {
    PyTorch(pytorch_reader::Tensor),
    Safetensors { start: u64, end: u64 },
}

/// One stored tensor, not yet read.
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) precision: Precision,
    pub(super) source: Source,
}

impl Entry {
    pub(super) fn parameters(&self) -> usize {
        self.shape.iter().product()
    }
}

/// An open checkpoint: its tensors by name, and the plain values saved beside them.
pub(super) struct Container {
    pub(super) path: PathBuf,
    pub(super) format: Format,
    /// Numbers, texts, lists and dictionaries saved beside the tensors. Python objects appear as
    /// `{"__type__": name}`.
    pub(super) values: Map<String, Value>,
    /// In name order.
    pub(super) entries: Vec<Entry>,
}

impl Container {
    /// Reads names, shapes and plain values; no tensor bytes.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let mut container =
            if safetensors::recognises(path)? { safetensors::open(path)? } else { pytorch::open(path)? };
        container.entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(container)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.shape(name).is_some()
    }

    pub(super) fn shape(&self, name: &str) -> Option<&[usize]> {
        let at = self.entries.binary_search_by(|entry| entry.name.as_str().cmp(name)).ok()?;
        Some(&self.entries[at].shape)
    }

    /// Reads every floating-point tensor that `keep` accepts, several at once.
    pub(super) fn read(&self, keep: impl Fn(&str) -> bool + Sync) -> Result<Vec<(String, Tensor)>> {
        let wanted = |entry: &&Entry| entry.precision.is_float() && keep(&entry.name);
        match self.format {
            Format::Safetensors => safetensors::read(self, wanted),
            _ => self.entries.par_iter().filter(wanted).map(|entry| self.read_pytorch(entry)).collect(),
        }
    }

    fn read_pytorch(&self, entry: &Entry) -> Result<(String, Tensor)> {
        let Source::PyTorch(tensor) = &entry.source else { unreachable!("a PyTorch container holds PyTorch tensors") };
        let bytes = tensor.read().map_err(|e| Error::tensor(&self.path, &entry.name, "readable values", e))?;
        Ok((entry.name.clone(), Tensor::from_bytes(entry.shape.clone(), entry.precision, &bytes)))
    }
}

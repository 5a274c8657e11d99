//! Opens PyTorch checkpoints (zip and legacy) without executing them.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use pytorch_reader::{DType, FileFormat, PytorchError, PytorchReader};
use serde_json::{Map, Value};
use zip::{CompressionMethod, ZipArchive};

use super::container::{Container, Entry, Format, Precision, Source};
use super::pickle::{self, Pickle};
use crate::error::{Error, Result};

/// Top-level keys under which published checkpoints keep their tensors.
const NESTS: [&str; 3] = ["weight", "model", "state_dict"];

/// Largest pickle: fairseq's, with its training state, stays below 2 MB.
const MAX_PICKLE_BYTES: u64 = 16 << 20;

/// Views may share a storage, so tensors may be larger than their file; more than this is a bomb.
const MAX_VIEWS_PER_BYTE: u64 = 4;

/// Pickles at the start of a legacy file: magic, protocol, system, object, storage keys.
const LEGACY_PICKLES: usize = 5;

/// Which of them is the saved object, from 0.
const LEGACY_OBJECT: usize = 3;

const EXPECTED: &str = "a PyTorch checkpoint";

/// Reads names, shapes and plain values; no tensor bytes.
pub(super) fn open(path: &Path) -> Result<Container> {
    let values = vet(path)?;
    let unreadable = |e: PytorchError| match e {
        PytorchError::Io(e) => Error::io(path, e),
        e => Error::format(path, EXPECTED, e),
    };
    let reader = PytorchReader::new(path).map_err(unreadable)?;
    let format = match reader.metadata().format_type {
        FileFormat::Zip => Format::Zip,
        FileFormat::Legacy => Format::Legacy,
        FileFormat::Pickle => Format::Pickle,
        FileFormat::Tar => return Err(Error::format(path, EXPECTED, "a TAR archive from before PyTorch 0.1.10")),
    };
    let entries: Vec<Entry> = reader.into_tensors().into_iter().map(|(name, tensor)| entry(&name, tensor)).collect();
    bound_views(path, &entries)?;
    Ok(Container { path: path.to_owned(), format, values, entries })
}

fn entry(name: &str, tensor: pytorch_reader::Tensor) -> Entry {
    let nest = NESTS.iter().find_map(|nest| name.strip_prefix(nest)?.strip_prefix('.'));
    let precision = match tensor.dtype() {
        DType::F16 => Precision::F16,
        DType::BF16 => Precision::Bf16,
        DType::F32 => Precision::F32,
        DType::F64 => Precision::F64,
        _ => Precision::Other,
    };
    let shape = tensor.shape().to_vec();
    let name = nest.unwrap_or(name).to_owned();
    Entry { name, shape, precision, source: Source::PyTorch(tensor) }
}

/// A view of stride 0 may claim any size, so the file's length bounds what all tensors come to.
fn bound_views(path: &Path, entries: &[Entry]) -> Result<()> {
    let length = std::fs::metadata(path).map_err(|e| Error::io(path, e))?.len();
    let limit = length.saturating_mul(MAX_VIEWS_PER_BYTE);
    let claimed = entries.iter().map(|entry| match &entry.source {
        Source::PyTorch(tensor) => tensor.byte_len() as u64,
        Source::Safetensors { start, end } => end - start,
    });
    let claimed = claimed.fold(0, u64::saturating_add);
    if claimed > limit {
        return Err(Error::Limit {
            path: path.to_owned(),
            what: "the size of all tensors in bytes".into(),
            claimed,
            limit,
        });
    }
    Ok(())
}

/// Refuses, before anything is built, what no honest checkpoint holds; returns its plain values.
fn vet(path: &Path) -> Result<Map<String, Value>> {
    let mut file = File::open(path).map_err(|e| Error::io(path, e))?;
    let mut start = Vec::with_capacity(64);
    file.by_ref().take(64).read_to_end(&mut start).map_err(|e| Error::io(path, e))?;
    if start.starts_with(b"PK\x03\x04") {
        return vet_zip(path);
    }
    // `torch.save` has always written protocol 2 or later, which opens with this byte.
    if start.first() != Some(&0x80) {
        return Err(Error::format(path, EXPECTED, starts_with(&start)));
    }
    let is_legacy = start.windows(10).any(|w| w == [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19]);
    let mut bytes = start;
    file.take(MAX_PICKLE_BYTES).read_to_end(&mut bytes).map_err(|e| Error::io(path, e))?;
    let mut rest = bytes.as_slice();
    let mut values = Map::new();
    for nth in 0..if is_legacy { LEGACY_PICKLES } else { 1 } {
        let pickle = vet_pickle(path, rest)?;
        if !is_legacy || nth == LEGACY_OBJECT {
            values = pickle.values(&NESTS);
        }
        rest = &rest[pickle.length..];
    }
    Ok(values)
}

fn vet_zip(path: &Path) -> Result<Map<String, Value>> {
    let damaged = |e: zip::result::ZipError| Error::format(path, EXPECTED, format!("a damaged zip archive: {e}"));
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(damaged)?;
    // Of several, the one nearest the root is read.
    let mut found: Option<(usize, Map<String, Value>)> = None;
    for index in 0..archive.len() {
        let mut entry = archive.by_index_raw(index).map_err(damaged)?;
        let name = entry.name().map_err(damaged)?.into_owned();
        let is_pickle = name.ends_with("data.pkl");
        if !is_pickle && !name.contains("data/") {
            continue;
        }
        // `torch.save` stores; what is deflated can claim any size.
        if entry.compression() != CompressionMethod::Stored {
            return Err(Error::format(
                path,
                "entries stored as `torch.save` stores them",
                format!("`{name}` compressed"),
            ));
        }
        if !is_pickle {
            continue;
        }
        if entry.size() > MAX_PICKLE_BYTES {
            return Err(Error::Limit {
                path: path.to_owned(),
                what: format!("`{name}`"),
                claimed: entry.size(),
                limit: MAX_PICKLE_BYTES,
            });
        }
        let mut bytes = Vec::new();
        entry.by_ref().take(MAX_PICKLE_BYTES).read_to_end(&mut bytes).map_err(|e| Error::io(path, e))?;
        let pickle = vet_pickle(path, &bytes)?;
        if found.as_ref().is_none_or(|(length, _)| name.len() < *length) {
            found = Some((name.len(), pickle.values(&NESTS)));
        }
    }
    let found = found.map(|(_, values)| values);
    found.ok_or_else(|| Error::format(path, EXPECTED, "a zip archive without data.pkl"))
}

fn vet_pickle<'a>(path: &Path, bytes: &'a [u8]) -> Result<Pickle<'a>> {
    let pickle = pickle::read(bytes).map_err(|found| Error::format(path, EXPECTED, found))?;
    match pickle.imports.iter().find(|import| pickle::runs_code(import)) {
        Some(import) => Err(Error::format(
            path,
            "tensors, numbers and text",
            format!("a pickle that calls `{import}`: it was made to run code where it is loaded (Syrinx runs none)"),
        )),
        None => Ok(pickle),
    }
}

/// What a file that is no checkpoint starts with, for messages.
pub(super) fn starts_with(start: &[u8]) -> String {
    match start {
        [] => "an empty file".into(),
        [b'R', b'I', b'F', b'F', ..] => "a RIFF (wav) file".into(),
        [b'I', b'x' | b'w', ..] => "a FAISS index".into(),
        [b'<', ..] => "a text or HTML file; was a download page saved?".into(),
        s if s.starts_with(b"version https://git-lfs") => "a Git LFS pointer; fetch the file itself".into(),
        s => format!("a file that starts with {:02x?}", &s[..s.len().min(8)]),
    }
}

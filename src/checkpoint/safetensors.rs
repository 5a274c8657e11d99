//! Opens safetensors files: the header first, tensor bytes only when asked for.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use rayon::prelude::*;
use safetensors::tensor::Metadata;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value};

use super::container::{Container, Entry, Format, Precision, Source};
use super::tensors::Tensor;
use crate::error::{Error, Result};

/// Largest header: names and shapes of 100,000 tensors fit.
const MAX_HEADER_BYTES: u64 = 16 << 20;

const EXPECTED: &str = "a safetensors file";

/// Whether the file opens as safetensors do: the header's length, then its JSON.
pub(super) fn recognises(path: &Path) -> Result<bool> {
    let named = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("safetensors"));
    let mut start = Vec::with_capacity(9);
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    file.take(9).read_to_end(&mut start).map_err(|e| Error::io(path, e))?;
    Ok(named || (start.get(8) == Some(&b'{') && !start.starts_with(b"PK")))
}

/// Reads names, shapes and metadata; no tensor bytes.
pub(super) fn open(path: &Path) -> Result<Container> {
    let io = |e| Error::io(path, e);
    let mut file = File::open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    let mut word = [0; 8];
    if length < 8 {
        return Err(Error::format(path, EXPECTED, format!("{length} bytes")));
    }
    file.read_exact(&mut word).map_err(io)?;
    let (claimed, limit) = (u64::from_le_bytes(word), MAX_HEADER_BYTES.min(length - 8));
    if claimed > limit {
        return Err(Error::Limit {
            path: path.to_owned(),
            what: "the safetensors header's length".into(),
            claimed,
            limit,
        });
    }
    let mut header = Vec::new();
    file.take(claimed).read_to_end(&mut header).map_err(io)?;
    let header: Metadata =
        serde_json::from_slice(&header).map_err(|e| Error::format(path, EXPECTED, format!("a damaged header: {e}")))?;
    let (data_start, data_length) = (8 + claimed, header.data_len() as u64);
    if data_start.checked_add(data_length) != Some(length) {
        let found = format!("{} bytes of tensors where the header describes {data_length}", length - data_start);
        return Err(Error::format(path, EXPECTED, found));
    }
    let entries = header.tensors().into_iter().map(|(name, info)| {
        let (start, end) = (data_start + info.data_offsets.0 as u64, data_start + info.data_offsets.1 as u64);
        let precision = precision(info.dtype);
        Entry { name, shape: info.shape.clone(), precision, source: Source::Safetensors { start, end } }
    });
    let entries = entries.collect();
    let metadata = header.metadata().iter().flatten();
    let values: Map<String, Value> = metadata.map(|(k, v)| (k.clone(), Value::from(v.as_str()))).collect();
    Ok(Container { path: path.to_owned(), format: Format::Safetensors, values, entries })
}

/// Reads the tensors that `wanted` accepts, several at once.
pub(super) fn read(
    container: &Container,
    wanted: impl Fn(&&Entry) -> bool + Sync + Send,
) -> Result<Vec<(String, Tensor)>> {
    let path = &container.path;
    let read = |entry: &Entry| {
        let Source::Safetensors { start, end } = entry.source else {
            unreachable!("a safetensors container holds safetensors entries")
        };
        let mut file = File::open(path).map_err(|e| Error::io(path, e))?;
        file.seek(SeekFrom::Start(start)).map_err(|e| Error::io(path, e))?;
        let mut bytes = Vec::with_capacity((end - start) as usize);
        file.take(end - start).read_to_end(&mut bytes).map_err(|e| Error::io(path, e))?;
        if bytes.len() as u64 != end - start {
            return Err(Error::tensor(path, &entry.name, "readable values", "a file that shrank while it was read"));
        }
        Ok((entry.name.clone(), Tensor::from_bytes(entry.shape.clone(), entry.precision, &bytes)))
    };
    container.entries.par_iter().filter(wanted).map(read).collect()
}

/// Every floating-point tensor in the file image `bytes`, called `path` in messages.
pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<(String, Tensor)>> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| Error::format(path, EXPECTED, e))?;
    let floats = file.iter().filter(|(_, view)| precision(view.dtype()).is_float());
    let tensors = floats.map(|(name, view)| {
        (name.to_owned(), Tensor::from_bytes(view.shape().to_vec(), precision(view.dtype()), view.data()))
    });
    Ok(tensors.collect())
}

fn precision(dtype: Dtype) -> Precision {
    match dtype {
        Dtype::F16 => Precision::F16,
        Dtype::BF16 => Precision::Bf16,
        Dtype::F32 => Precision::F32,
        Dtype::F64 => Precision::F64,
        _ => Precision::Other,
    }
}

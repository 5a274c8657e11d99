//! Reads safetensors files.

use std::path::Path;

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};

use super::tensors::{Tensor, Values};
use crate::error::{Error, Result};

/// All floating-point tensors of the file; integers are skipped.
pub(super) fn read(path: &Path) -> Result<Vec<(String, Tensor)>> {
    parse(path, &std::fs::read(path).map_err(|e| Error::io(path, e))?)
}

/// All floating-point tensors of the file image `bytes`, called `path` in messages.
pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<(String, Tensor)>> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| Error::format(path, "a safetensors file", e))?;
    let mut tensors = Vec::with_capacity(file.len());
    for (name, view) in file.iter() {
        let data = view.data();
        let values = match view.dtype() {
            Dtype::F32 => {
                Values::F32(data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
            }
            Dtype::F16 => Values::F16(data.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]])).collect()),
            Dtype::BF16 => {
                Values::F32(data.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect())
            }
            _ => continue,
        };
        tensors.push((name.to_owned(), Tensor { shape: view.shape().to_vec(), values }));
    }
    Ok(tensors)
}

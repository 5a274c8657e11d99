//! Reads PyTorch checkpoints (zip and legacy) without executing them.

use std::path::Path;

use half::f16;
use pytorch_reader::{DType, PytorchReader};

use super::tensors::{Tensor, Values};
use crate::error::{Error, Result};

/// Top-level keys under which published checkpoints keep their tensors.
const NESTS: [&str; 3] = ["weight", "model", "state_dict"];

/// All floating-point tensors of the file; integers are skipped.
pub(super) fn read(path: &Path) -> Result<Vec<(String, Tensor)>> {
    let unreadable = |e: pytorch_reader::PytorchError| Error::format(path, "a PyTorch checkpoint", e);
    let reader = PytorchReader::new(path).map_err(unreadable)?;
    let mut tensors = Vec::with_capacity(reader.len());
    for (name, tensor) in reader.into_tensors() {
        let read = || tensor.read().map_err(|e| Error::tensor(path, &name, "readable values", e));
        let values = match tensor.dtype() {
            DType::F32 => {
                Values::F32(read()?.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
            }
            DType::F16 => Values::F16(read()?.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]])).collect()),
            _ => continue,
        };
        let nest = NESTS.iter().find_map(|nest| name.strip_prefix(nest)?.strip_prefix('.'));
        let short = nest.unwrap_or(&name).to_owned();
        tensors.push((short, Tensor { shape: tensor.shape().to_vec(), values }));
    }
    Ok(tensors)
}

//! What a tensor holds, here or in the machine's memory.

use std::sync::Arc;

use burn::tensor::{DType, TensorData};

use crate::cuda::launch::{Buffer, Machine};
use crate::error::{Error, Result};

/// The values of a tensor, 32 bits each: floats, ints, or truths as 0 and 1.
pub(super) enum Content<M: Machine> {
    /// Not copied to the machine yet.
    Here(Arc<[u32]>),
    There(Buffer<M, f32>),
}

impl<M: Machine> Content<M> {
    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            Self::Here(values) => values.len(),
            Self::There(buffer) => buffer.len(),
        }
    }
}

impl<M: Machine> Clone for Content<M> {
    fn clone(&self) -> Self {
        match self {
            Self::Here(values) => Self::Here(Arc::clone(values)),
            Self::There(buffer) => Self::There(buffer.clone()),
        }
    }
}

/// The values of `data`, as kernels read them.
///
/// # Errors
/// Values of a kind that kernels do not read.
pub(super) fn words(data: TensorData) -> Result<Arc<[u32]>> {
    let kind = data.dtype;
    let told = |_| Error::device("CUDA", format!("no kernel reads values of the kind {kind:?}"), "use `--device cpu`");
    if kind.is_float() {
        let values = data.convert::<f32>().into_vec::<f32>().map_err(told)?;
        Ok(values.into_iter().map(f32::to_bits).collect())
    } else if kind.is_bool() {
        Ok(data.iter::<bool>().map(u32::from).collect())
    } else {
        let values = data.convert::<i32>().into_vec::<i32>().map_err(told)?;
        Ok(values.into_iter().map(i32::cast_unsigned).collect())
    }
}

/// Appends the values of `data`, as kernels read them; `None` if it has others than 32-bit floats or integers.
pub(super) fn append_words(words: &mut Vec<u32>, data: &TensorData) -> Option<()> {
    match data.dtype {
        DType::F32 => words.extend_from_slice(bytemuck::cast_slice(data.as_slice::<f32>().ok()?)),
        DType::I32 => words.extend_from_slice(bytemuck::cast_slice(data.as_slice::<i32>().ok()?)),
        _ => return None,
    }
    Some(())
}

/// The kind in which a tensor of `data` is kept.
pub(super) fn kept_kind(data: &TensorData) -> DType {
    match data.dtype {
        kind if kind.is_float() => DType::F32,
        kind if kind.is_bool() => kind,
        _ => DType::I32,
    }
}

/// What a tensor of `kind` and `shape` holds.
pub(super) fn data(words: Vec<u32>, shape: Vec<usize>, kind: DType) -> TensorData {
    if kind.is_float() {
        TensorData::new(words.into_iter().map(f32::from_bits).collect(), shape)
    } else if kind.is_bool() {
        TensorData::new(words.into_iter().map(|word| word != 0).collect(), shape)
    } else {
        TensorData::new(words.into_iter().map(u32::cast_signed).collect::<Vec<i32>>(), shape)
    }
}

//! Named tensors of one checkpoint, and the scoped view through which networks read them.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::path::{Path, PathBuf};

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::container::{Container, Precision};
use crate::error::{Error, Result};

/// One tensor: row-major values in the precision of the file.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Extent of each dimension, outermost first.
    pub shape: Vec<usize>,
    /// The values.
    pub values: Values,
}

/// The values of a [`Tensor`].
#[derive(Clone)]
pub enum Values {
    /// IEEE binary16, as voices are published.
    F16(Vec<f16>),
    /// IEEE binary32.
    F32(Vec<f32>),
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::F16(v) => write!(f, "F16[{}]", v.len()),
            Self::F32(v) => write!(f, "F32[{}]", v.len()),
        }
    }
}

impl Tensor {
    /// A tensor of `shape` over `values`; the caller guarantees that the counts agree.
    #[must_use]
    pub fn from_f32(shape: Vec<usize>, values: Vec<f32>) -> Self {
        debug_assert_eq!(shape.iter().product::<usize>(), values.len());
        Self { shape, values: Values::F32(values) }
    }

    /// A tensor from its little-endian bytes; `precision` is a floating-point one, and the counts agree.
    pub(super) fn from_bytes(shape: Vec<usize>, precision: Precision, bytes: &[u8]) -> Self {
        let values = match precision {
            Precision::F16 => {
                let mut values = vec![f16::ZERO; bytes.len() / 2];
                bytemuck::cast_slice_mut(&mut values).copy_from_slice(bytes);
                Values::F16(values)
            }
            Precision::F32 => {
                let mut values = vec![0.0_f32; bytes.len() / 4];
                bytemuck::cast_slice_mut(&mut values).copy_from_slice(bytes);
                Values::F32(values)
            }
            Precision::Bf16 => {
                Values::F32(bytes.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect())
            }
            Precision::F64 | Precision::Other => {
                let wide = |b: &[u8]| b.iter().rev().fold(0, |bits, &byte| bits << 8 | u64::from(byte));
                Values::F32(bytes.chunks_exact(8).map(|b| f64::from_bits(wide(b)) as f32).collect())
            }
        };
        Self { shape, values }
    }

    /// The values widened to f32.
    #[must_use]
    pub fn to_f32(&self) -> Vec<f32> {
        match &self.values {
            Values::F16(v) => {
                let mut wide = vec![0.0; v.len()];
                v.as_slice().convert_to_f32_slice(&mut wide);
                wide
            }
            Values::F32(v) => v.clone(),
        }
    }

    /// Number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.values {
            Values::F16(v) => v.len(),
            Values::F32(v) => v.len(),
        }
    }

    /// Whether there is no value at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// All tensors of one checkpoint, weight norm folded.
#[derive(Clone, Debug)]
pub struct Tensors {
    path: PathBuf,
    by_name: BTreeMap<String, Tensor>,
}

impl Tensors {
    /// Collects tensors under the name of the file they came from, for messages.
    pub fn new(path: impl Into<PathBuf>, tensors: impl IntoIterator<Item = (String, Tensor)>) -> Self {
        let mut by_name = tensors.into_iter().collect();
        super::weight_norm::fold(&mut by_name);
        Self { path: path.into(), by_name }
    }

    /// Reads every floating-point tensor of a checkpoint: PyTorch (zip or legacy) or safetensors.
    ///
    /// # Errors
    /// Unreadable, truncated or unknown files, and claims larger than the file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let container = Container::open(path.as_ref())?;
        Ok(Self::new(&container.path, container.read(|_| true)?))
    }

    /// Reads safetensors that are embedded in the program, called `name` in messages.
    ///
    /// # Errors
    /// The bytes are not a whole safetensors file.
    pub fn from_safetensors(name: &str, bytes: &[u8]) -> Result<Self> {
        let path = Path::new(name);
        Ok(Self::new(path, super::safetensors::parse(path, bytes)?))
    }

    /// The file these tensors came from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names, shapes and values in name order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.by_name.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// The tensor called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.by_name.get(name)
    }

    /// A view on every name.
    #[must_use]
    pub fn weights(&self) -> Weights<'_> {
        Weights { tensors: self, prefix: String::new() }
    }
}

/// A view of the tensors below one prefix, such as `enc_p.encoder`.
#[derive(Clone, Debug)]
pub struct Weights<'a> {
    tensors: &'a Tensors,
    prefix: String,
}

impl<'a> Weights<'a> {
    /// The view one level down.
    #[must_use]
    pub fn child(&self, name: impl Display) -> Self {
        Self { tensors: self.tensors, prefix: self.full_name(name) }
    }

    /// The full name in the file of `name` below this view.
    #[must_use]
    pub fn full_name(&self, name: impl Display) -> String {
        if self.prefix.is_empty() { name.to_string() } else { format!("{}.{name}", self.prefix) }
    }

    /// Whether the tensor exists.
    #[must_use]
    pub fn has(&self, name: impl Display) -> bool {
        self.tensors.get(&self.full_name(name)).is_some()
    }

    /// The file, for messages.
    #[must_use]
    pub fn path(&self) -> &'a Path {
        self.tensors.path()
    }

    /// An [`Error::Tensor`] about `name` below this view.
    pub fn error(&self, name: impl Display, expected: impl Display, found: impl Display) -> Error {
        Error::tensor(self.path(), self.full_name(name), expected, found)
    }

    /// The shape of a tensor of `D` dimensions, none of them 0.
    ///
    /// # Errors
    /// The tensor is missing, has another number of dimensions or no value at all.
    pub fn shape<const D: usize>(&self, name: impl Display) -> Result<[usize; D]> {
        let full = self.full_name(name);
        let found = self.tensors.get(&full);
        let shape = found.map(|t| t.shape.as_slice());
        shape.filter(|s| !s.contains(&0)).and_then(|s| s.try_into().ok()).ok_or_else(|| {
            let found = shape.map_or("nothing".to_owned(), |s| format!("{s:?}"));
            Error::tensor(self.path(), full, format!("{D} dimensions above 0"), found)
        })
    }

    /// The shape of a tensor of `D` dimensions, each of 1 to `most`: what is sized by it stays bounded.
    ///
    /// # Errors
    /// As [`shape`](Self::shape), and an extent above `most`.
    pub fn shape_within<const D: usize>(&self, name: impl Display, most: usize) -> Result<[usize; D]> {
        let name = name.to_string();
        let shape = self.shape(&name)?;
        if shape.iter().all(|&extent| extent <= most) {
            return Ok(shape);
        }
        Err(self.error(name, format!("extents of 1 to {most}"), format!("{shape:?}")))
    }

    /// The values of a tensor of exactly this shape, as f32 in row-major order.
    ///
    /// # Errors
    /// The tensor is missing, has another shape, or holds a value that is not finite.
    pub fn load(&self, name: impl Display, shape: &[usize]) -> Result<Vec<f32>> {
        let full = self.full_name(name);
        let tensor = self.tensors.get(&full);
        let tensor = tensor.ok_or_else(|| Error::tensor(self.path(), &full, format!("{shape:?}"), "nothing"))?;
        if tensor.shape != shape {
            return Err(Error::tensor(self.path(), &full, format!("{shape:?}"), format!("{:?}", tensor.shape)));
        }
        let values = tensor.to_f32();
        match values.iter().find(|v| !v.is_finite()) {
            Some(bad) => Err(Error::tensor(self.path(), &full, "finite values", bad)),
            None => Ok(values),
        }
    }
}

//! For tests: arrays that the reference recorded, to hold what happens inside the networks against.

use std::path::Path;

use burn::tensor::Tensor;
use safetensors::{Dtype, SafeTensors};

use super::Cpu;

/// One recorded case, `tests/data/{name}.safetensors`.
pub(super) struct Recorded {
    bytes: Vec<u8>,
    name: String,
}

impl Recorded {
    pub(super) fn open(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(format!("{name}.safetensors"));
        Self { bytes: std::fs::read(path).expect("a recording"), name: name.to_owned() }
    }

    /// A floating-point array.
    pub(super) fn tensor<const D: usize>(&self, key: &str) -> Tensor<Cpu, D> {
        let file = SafeTensors::deserialize(&self.bytes).expect("a safetensors file");
        let array = file.tensor(key).unwrap_or_else(|error| panic!("{}: {key}: {error}", self.name));
        assert_eq!(array.dtype(), Dtype::F32, "{key}");
        let (values, _) = array.data().as_chunks();
        let shape: [usize; D] = array.shape().try_into().expect("as many dimensions");
        super::layers::tensor(
            values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
            shape,
            &Default::default(),
        )
    }

    /// An array of whole numbers below 256.
    pub(super) fn bytes(&self, key: &str) -> Vec<u8> {
        let file = SafeTensors::deserialize(&self.bytes).expect("a safetensors file");
        let array = file.tensor(key).unwrap_or_else(|error| panic!("{}: {key}: {error}", self.name));
        let (values, _) = array.data().as_chunks();
        values.iter().map(|bytes| u8::try_from(i64::from_le_bytes(*bytes)).expect("a small number")).collect()
    }

    /// Asserts that `found` has the recorded shape and lies within `tolerance` of the record. Where a record holds only
    /// the first of a dimension, so much of `found` is compared.
    #[track_caller]
    pub(super) fn check<const D: usize>(&self, key: &str, found: Tensor<Cpu, D>, tolerance: f32) {
        let expected = self.tensor::<D>(key);
        let dims: [usize; D] = expected.dims();
        let found_dims: [usize; D] = found.dims();
        assert!(dims.iter().zip(&found_dims).all(|(a, b)| a <= b), "{key}: {found_dims:?}, recorded {dims:?}");
        let ranges = dims.map(|extent| 0..extent);
        let worst: f32 = (found.slice(ranges) - expected).abs().max().into_scalar();
        assert!(worst <= tolerance, "{}: {key} differs by {worst:e}, allowed {tolerance:e}", self.name);
    }
}

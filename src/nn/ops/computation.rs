//! Networks as functions from values to values, so that a backend may recognise one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::vec::IntoIter;

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Int, Tensor, TensorData, TensorPrimitive};

/// Tells a loaded network from all others. Clones of a network share it, as they share its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NetworkId(u64);

impl NetworkId {
    /// One that no other network has.
    #[must_use]
    pub fn unique() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// What is computed: two that are equal, run on values of the same shapes, do the same operations with the same weights.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Computation {
    /// The network.
    pub network: NetworkId,
    /// All that the network's operations depend on besides the shapes of what it is fed with.
    pub choices: Vec<usize>,
}

impl Computation {
    /// One that only the shapes decide.
    #[must_use]
    pub fn of(network: NetworkId) -> Self {
        Self { network, choices: Vec::new() }
    }
}

/// The tensors that a network is fed with, in the order of their values.
#[derive(Debug)]
pub struct Fed<B: Backend> {
    tensors: IntoIter<FedTensor<B>>,
}

/// One of them.
#[derive(Clone, Debug)]
pub enum FedTensor<B: Backend> {
    /// Of any number of dimensions.
    Floats(FloatTensor<B>),
    /// Numbers of rows.
    Rows(Tensor<B, 1, Int>),
}

impl<B: Backend> FedTensor<B> {
    /// A tensor of values: floats, or whole numbers in one dimension.
    #[must_use]
    pub fn of(data: TensorData, device: &B::Device) -> Self {
        if data.dtype.is_float() {
            Self::Floats(B::float_from_data(data, device))
        } else {
            Self::Rows(Tensor::from_data(data, device))
        }
    }
}

impl<B: Backend> FromIterator<FedTensor<B>> for Fed<B> {
    fn from_iter<I: IntoIterator<Item = FedTensor<B>>>(tensors: I) -> Self {
        Self { tensors: tensors.into_iter().collect::<Vec<_>>().into_iter() }
    }
}

impl<B: Backend> Fed<B> {
    /// Tensors of `values` on `device`.
    #[must_use]
    pub fn with(values: Vec<TensorData>, device: &B::Device) -> Self {
        values.into_iter().map(|data| FedTensor::of(data, device)).collect()
    }

    /// The next tensor.
    ///
    /// # Panics
    /// The values end here, or are not floats.
    pub fn floats<const D: usize>(&mut self) -> Tensor<B, D> {
        match self.tensors.next() {
            Some(FedTensor::Floats(tensor)) => Tensor::from_primitive(TensorPrimitive::Float(tensor)),
            other => panic!("a network wants floats and is fed with {}", kind(other.as_ref())),
        }
    }

    /// The next tensor.
    ///
    /// # Panics
    /// The values end here, or are floats.
    pub fn rows(&mut self) -> Tensor<B, 1, Int> {
        match self.tensors.next() {
            Some(FedTensor::Rows(tensor)) => tensor,
            other => panic!("a network wants numbers of rows and is fed with {}", kind(other.as_ref())),
        }
    }

    /// How many are left.
    #[must_use]
    pub fn left(&self) -> usize {
        self.tensors.len()
    }
}

fn kind<B: Backend>(tensor: Option<&FedTensor<B>>) -> &'static str {
    match tensor {
        Some(FedTensor::Floats(_)) => "floats",
        Some(FedTensor::Rows(_)) => "numbers of rows",
        None => "nothing more",
    }
}

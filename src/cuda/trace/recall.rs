//! Computations that were done before: what is done again without being asked for anew.

use std::collections::HashMap;

use burn::tensor::TensorData;
use burn_ir::TensorId;
use rustc_hash::FxBuildHasher;

use super::plans::{Fixed, Number};
use crate::nn::ops::Computation;

/// Computations that are remembered; of more, those that were used longest ago are forgotten.
const MOST_COMPUTATIONS: usize = 256;

/// A computation on values of certain shapes, floats or not.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    computation: Computation,
    shapes: Vec<(bool, Vec<usize>)>,
}

impl Key {
    pub fn of(computation: Computation, values: &[TensorData]) -> Self {
        Self { computation, shapes: values.iter().map(|data| (data.dtype.is_float(), data.shape.to_vec())).collect() }
    }
}

/// A computation of which a trace is made: once what it makes is read, it may be recalled.
#[derive(Clone, Debug)]
pub(super) struct Making {
    pub key: Key,
    /// The tensors it is fed with, in their order.
    pub fed: Vec<TensorId>,
}

/// What a computation comes to.
#[derive(Clone, Debug)]
pub(super) struct Recalled {
    pub program: Number,
    pub fixed: Fixed,
    /// For each given tensor that is another each time, which of the values fed it is.
    pub entries: Vec<usize>,
}

impl Recalled {
    /// Of a program whose given tensors are these; `None` if some that is another each time is not fed.
    pub fn of(program: Number, fixed: &Fixed, given: &[TensorId], fed: &[TensorId]) -> Option<Self> {
        let moved = given.iter().zip(fixed).filter(|(_, fixed)| fixed.is_none());
        let entries = moved.map(|(id, _)| fed.iter().position(|fed| fed == id)).collect::<Option<_>>()?;
        Some(Self { program, fixed: fixed.clone(), entries })
    }
}

/// All computations that can be recalled.
#[derive(Debug, Default)]
pub(super) struct Recall {
    known: HashMap<Key, (u64, Recalled), FxBuildHasher>,
    clock: u64,
}

impl Recall {
    pub fn get(&mut self, key: &Key) -> Option<&Recalled> {
        self.clock += 1;
        let (used, recalled) = self.known.get_mut(key)?;
        *used = self.clock;
        Some(recalled)
    }

    pub fn note(&mut self, key: Key, recalled: Recalled) {
        self.clock += 1;
        if self.known.len() >= MOST_COMPUTATIONS
            && !self.known.contains_key(&key)
            && let Some(oldest) = self.known.values().map(|(used, _)| *used).min()
        {
            self.known.retain(|_, (used, _)| *used != oldest);
        }
        self.known.insert(key, (self.clock, recalled));
    }

    pub fn forget(&mut self, key: &Key) {
        self.known.remove(key);
    }
}

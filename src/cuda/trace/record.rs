//! What one thread has asked for since its last result was read.

use std::collections::HashMap;

use burn_ir::{TensorId, TensorIr};
use rustc_hash::FxBuildHasher;

use super::plan::Program;
use super::step::{Op, Step, Value};
use super::tensor::Content;
use crate::cuda::launch::Machine;

/// Operations that were asked for and not done.
pub(super) struct Trace<M: Machine> {
    given: Vec<Vec<usize>>,
    steps: Vec<Step>,
    /// What the given tensors are called and hold.
    pub sources: Vec<Source<M>>,
    /// Each step's tensor, and whether anything still knows it.
    made: Vec<(TensorId, bool)>,
    /// How many are known.
    known: usize,
    numbers: HashMap<TensorId, Value, FxBuildHasher>,
}

/// A tensor that was there before.
pub(super) struct Source<M: Machine> {
    pub id: TensorId,
    pub content: Content<M>,
    /// Whether no trace used it before.
    pub fresh: bool,
}

impl<M: Machine> Default for Trace<M> {
    fn default() -> Self {
        let (given, steps, sources, made) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { given, steps, sources, made, known: 0, numbers: HashMap::default() }
    }
}

impl<M: Machine> Trace<M> {
    /// The number of a tensor, if it is known here.
    pub fn number(&self, id: TensorId) -> Option<Value> {
        self.numbers.get(&id).copied()
    }

    /// Takes in a tensor that was there before.
    pub fn give(&mut self, ir: &TensorIr, source: Source<M>) -> Value {
        let value = Value::Given(self.given.len());
        self.given.push(ir.shape.to_vec());
        self.sources.push(source);
        self.numbers.insert(ir.id, value);
        value
    }

    /// Appends an operation.
    pub fn push(&mut self, op: Op, inputs: Vec<Value>, out: &TensorIr) {
        self.numbers.insert(out.id, Value::Made(self.steps.len()));
        self.steps.push(Step { op, inputs, shape: out.shape.to_vec() });
        self.made.push((out.id, true));
        self.known += 1;
    }

    /// Nothing knows the tensor any more.
    pub fn forget(&mut self, id: TensorId) {
        if let Some(Value::Made(step)) = self.number(id) {
            self.known -= usize::from(std::mem::take(&mut self.made[step].1));
        }
    }

    /// Whether anything still knows what is made here.
    pub fn matters(&self) -> bool {
        self.known > 0
    }

    /// Number of operations.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// The tensors made here.
    pub fn made(&self) -> impl Iterator<Item = TensorId> + '_ {
        self.made.iter().map(|(id, _)| *id)
    }

    /// What is to be done, `read` being read at the end, with the names of what outlives it.
    pub fn into_program(self, read: Option<TensorId>) -> (Program, Vec<TensorId>, Vec<Source<M>>) {
        let read = read.and_then(|id| match self.numbers.get(&id) {
            Some(Value::Made(step)) => Some(*step),
            _ => None,
        });
        let known = self.made.iter().enumerate().filter(|(_, (_, known))| *known);
        let (kept, names) = known.map(|(step, (id, _))| (step, *id)).unzip();
        (Program { given: self.given, steps: self.steps, kept, read }, names, self.sources)
    }
}

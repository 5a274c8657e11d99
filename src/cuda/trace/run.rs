//! Runs the launches of a plan on memory.

use super::plan::{Laid, Place, Plan, Task, Work};
use super::step::Ends;
use crate::cuda::launch::{Buffer, Machine};
use crate::cuda::ops::tensors::{self, Laid as Input};
use crate::cuda::ops::{Distances, attention, conv, conv_transpose, gate, gru, layer_norm, matmul};
use crate::error::Result;

/// The memory that a plan's places stand for.
pub(super) struct Memory<M: Machine> {
    pub given: Vec<Buffer<M, f32>>,
    pub slots: Vec<Buffer<M, f32>>,
}

impl<M: Machine> Memory<M> {
    fn of(&self, place: Place) -> &Buffer<M, f32> {
        match place {
            Place::Given(number) => &self.given[number],
            Place::Slot(slot) => &self.slots[slot],
        }
    }

    /// The values of a tensor that lies row by row.
    pub fn rows(&self, laid: &Laid) -> Buffer<M, f32> {
        let first = laid.view.first;
        self.of(laid.place).part(first..first + laid.view.len())
    }

    /// Launches all tasks of `plan`.
    ///
    /// # Errors
    /// A launch does not fit its kernel, or the machine fails.
    pub fn run(&self, machine: &M, plan: &Plan) -> Result<()> {
        plan.tasks.iter().try_for_each(|task| self.launch(machine, task))
    }

    /// Launches one task.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn launch(&self, machine: &M, task: &Task) -> Result<()> {
        let mut y = match &task.work {
            Work::Map { .. } => {
                let whole = self.of(task.output.place);
                whole.part(0..whole.len())
            }
            _ => self.rows(&task.output),
        };
        let x = |number: usize| self.rows(&task.inputs[number]);
        match &task.work {
            Work::Map { function, scalars } => {
                let inputs: Vec<Input<M>> =
                    task.inputs.iter().map(|laid| Input { buffer: self.of(laid.place), view: &laid.view }).collect();
                tensors::map(machine, *function, *scalars, &inputs, &mut y, &task.output.view)
            }
            Work::Reduce { reduction, len } => {
                let x = x(0);
                tensors::reduce(machine, *reduction, &x, [x.len() / len, *len], &mut y)
            }
            Work::Select { outer, table, inner } => {
                let rows = x(1);
                tensors::select(machine, &x(0), [*outer, *table, *inner], &rows, rows.len(), &mut y)
            }
            Work::Pool(windows) => {
                let [planes @ .., rows, columns] = &*task.inputs[0].view.shape else { return Ok(()) };
                let (planes, x) = (planes.iter().product(), x(0));
                tensors::pool(machine, *windows, &x, planes, [*rows, *columns], &mut y)
            }
            Work::Conv(shape, ends) => {
                let (Summed { bias, residual }, mut scratch) = (self.summed(task, *ends), self.scratch(task));
                let (bias, residual, epilogue) = (bias.as_ref(), residual.as_ref(), ends.epilogue.0);
                conv(machine, shape, &x(0), &x(1), bias, residual, epilogue, &mut scratch, &mut y)
            }
            Work::ConvTranspose(shape, ends) => {
                let (Summed { bias, residual }, mut scratch) = (self.summed(task, *ends), self.scratch(task));
                let (bias, residual, epilogue) = (bias.as_ref(), residual.as_ref(), ends.epilogue.0);
                conv_transpose(machine, shape, &x(0), &x(1), bias, residual, epilogue, &mut scratch, &mut y)
            }
            Work::Matmul(shape, ends) => {
                let (Summed { bias, residual }, mut scratch) = (self.summed(task, *ends), self.scratch(task));
                let (bias, residual, epilogue) = (bias.as_ref(), residual.as_ref(), ends.epilogue.0);
                let [left, right] = [0, 1].map(|number| self.from(&task.inputs[number]));
                matmul(machine, shape, &left, &right, bias, residual, epilogue, &mut scratch, &mut y)
            }
            Work::LayerNorm { features, epsilon } => {
                let (x, gamma, beta) = (x(0), x(1), x(2));
                layer_norm(machine, [x.len() / features.max(&1), *features], &x, &gamma, &beta, *epsilon, &mut y)
            }
            Work::Gate { batch, channels, time } => gate(machine, [*batch, *channels, *time], &x(0), &mut y),
            Work::Attention { shape, reach } => {
                let relative = reach.map(|reach| (reach, x(3), x(4)));
                let relative = relative.as_ref();
                let relative = relative.map(|(reach, keys, values)| Distances { reach: *reach, keys, values });
                attention(machine, shape, &x(0), &x(1), &x(2), relative.as_ref(), &mut y)
            }
            Work::Gru(shape) => gru(machine, *shape, &x(0), &x(1), &x(2), &mut y),
        }
    }

    /// The memory of a tensor from its first value on.
    fn from(&self, laid: &Laid) -> Buffer<M, f32> {
        let whole = self.of(laid.place);
        whole.part(laid.view.first..whole.len())
    }

    /// What a sum has besides its two factors.
    fn summed(&self, task: &Task, ends: Ends) -> Summed<M> {
        let mut rest = task.inputs[2..].iter().map(|laid| self.rows(laid));
        let bias = ends.bias.then(|| rest.next()).flatten();
        Summed { bias, residual: ends.residual.then(|| rest.next()).flatten() }
    }

    fn scratch(&self, task: &Task) -> Buffer<M, f32> {
        let none = || self.of(task.output.place).part(0..0);
        task.scratch.as_ref().map_or_else(none, |laid| self.rows(laid))
    }
}

struct Summed<M: Machine> {
    bias: Option<Buffer<M, f32>>,
    residual: Option<Buffer<M, f32>>,
}

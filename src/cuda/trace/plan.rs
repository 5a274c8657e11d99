//! A trace made into launches: what is done, in which order, on which memory.

use std::collections::HashMap;

use super::order::{Order, Shared};
use super::step::{Ends, Op, Step, Value};
use crate::cuda::ops::tensors::{Function, Reduction, Windows};
use crate::cuda::ops::{AttentionShape, ConvShape, ConvTransposeShape, GruShape, MatmulShape, Strides};
use crate::cuda::view::{Cut, View};
use crate::error::{Error, Result};
use crate::nn::ops::Precision;

/// What a trace does, whatever the tensors are called and hold: two traces that are equal need one plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Program {
    /// Shapes of the tensors that were there before.
    pub given: Vec<Vec<usize>>,
    /// In order.
    pub steps: Vec<Step>,
    /// The steps whose tensors outlive the trace.
    pub kept: Vec<usize>,
    /// The step whose tensor is read at the end.
    pub read: Option<usize>,
}

/// A stretch of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Place {
    /// That of a tensor that was there before, by number.
    Given(usize),
    /// One of the plan's.
    Slot(usize),
}

impl Place {
    /// The slot, if it is one of the plan's.
    pub fn slot(self) -> Option<usize> {
        match self {
            Self::Slot(slot) => Some(slot),
            Self::Given(_) => None,
        }
    }
}

/// A tensor in memory.
#[derive(Clone, Debug)]
pub(super) struct Laid {
    pub place: Place,
    pub view: View,
}

/// What a launch computes.
#[derive(Clone, Debug)]
pub(super) enum Work {
    Map { function: Function, scalars: [u32; 2] },
    Reduce { reduction: Reduction, len: usize },
    Select { outer: usize, table: usize, inner: usize },
    Pool(Windows),
    Matmul(MatmulShape, Ends),
    Conv(ConvShape, Ends),
    ConvTranspose(ConvTransposeShape, Ends),
    LayerNorm { features: usize, epsilon: f32 },
    Gate { batch: usize, channels: usize, time: usize },
    Attention { shape: AttentionShape, reach: Option<usize> },
    Gru(GruShape),
}

/// One launch, or a few of one operation.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub work: Work,
    pub inputs: Vec<Laid>,
    /// Memory that nothing else needs to know of.
    pub scratch: Option<Laid>,
    pub output: Laid,
}

impl Task {
    /// All it touches.
    pub fn touched(&self) -> impl Iterator<Item = &Laid> {
        self.inputs.iter().chain(&self.scratch).chain([&self.output])
    }
}

/// The launches of a trace.
#[derive(Debug)]
pub(super) struct Plan {
    /// Values that each slot has room for.
    pub slots: Vec<usize>,
    /// In order.
    pub tasks: Vec<Task>,
    /// Of each task those, before it, that it waits for.
    pub after: Vec<Vec<usize>>,
    /// The slots that hold what outlives the trace, row by row and nothing else.
    pub kept: Vec<usize>,
    /// Where what is read lies, row by row.
    pub read: Option<Laid>,
}

impl Plan {
    /// Plans `program`.
    ///
    /// # Errors
    /// Shapes that do not fit their operation.
    pub fn of(program: &Program) -> Result<Self> {
        let needed = needed(program);
        let mut planner = Planner::new(program);
        for (number, step) in program.steps.iter().enumerate().filter(|(number, _)| needed[*number]) {
            let laid = planner.step(step).map_err(|error| described(error, number, step))?;
            planner.made[number] = Some(laid);
        }
        let kept: Vec<usize> = program.kept.iter().map(|&step| planner.own(step)).collect::<Result<_>>()?;
        let read = program.read.map(|step| planner.rows(Value::Made(step))).transpose()?;
        Ok(planner.into_slots(kept, read))
    }
}

fn described(error: Error, number: usize, step: &Step) -> Error {
    let problem = format!("operation {number} of a network, {:?}, cannot be planned: {error}", step.op);
    Error::device("CUDA", problem, "use `--device cpu`")
}

/// The steps that something kept or read depends on.
fn needed(program: &Program) -> Vec<bool> {
    let mut needed = vec![false; program.steps.len()];
    program.kept.iter().chain(&program.read).for_each(|&step| needed[step] = true);
    for (number, step) in program.steps.iter().enumerate().rev() {
        if needed[number] {
            step.inputs.iter().filter_map(|input| made(*input)).for_each(|other| needed[other] = true);
        }
    }
    needed
}

fn made(value: Value) -> Option<usize> {
    match value {
        Value::Given(_) => None,
        Value::Made(step) => Some(step),
    }
}

/// A plan in the making; its slots are not shared yet.
struct Planner<'a> {
    program: &'a Program,
    made: Vec<Option<Laid>>,
    /// Copies row by row of tensors that lie otherwise.
    straightened: HashMap<Value, Laid>,
    /// Values of each slot.
    slots: Vec<usize>,
    tasks: Vec<Task>,
    /// Slots that outlive the trace.
    owned: Vec<usize>,
    /// How many steps, and what keeps or reads it at the end, use each step's tensor.
    uses: Vec<usize>,
}

impl<'a> Planner<'a> {
    fn new(program: &'a Program) -> Self {
        let mut uses = vec![0; program.steps.len()];
        let inputs = program.steps.iter().flat_map(|step| step.inputs.iter().filter_map(|input| made(*input)));
        inputs.chain(program.kept.iter().copied()).chain(program.read).for_each(|step| uses[step] += 1);
        let (made, straightened) = (vec![None; program.steps.len()], HashMap::new());
        Self { program, made, straightened, slots: Vec::new(), tasks: Vec::new(), owned: Vec::new(), uses }
    }

    /// A slot of its own for a tensor of `shape`.
    fn room(&mut self, shape: &[usize]) -> Laid {
        let view = View::rows(shape);
        self.slots.push(view.len());
        Laid { place: Place::Slot(self.slots.len() - 1), view }
    }

    fn value(&self, value: Value) -> Result<Laid> {
        match value {
            Value::Given(number) => {
                Ok(Laid { place: Place::Given(number), view: View::rows(&self.program.given[number]) })
            }
            Value::Made(step) => self.made.get(step).cloned().flatten().ok_or_else(|| {
                Error::argument("input of an operation", "a tensor made before it", format!("that of step {step}"))
            }),
        }
    }

    /// The tensor row by row, its first value where four fit: what kernels read that know no strides.
    fn rows(&mut self, value: Value) -> Result<Laid> {
        let laid = self.value(value)?;
        if laid.view.is_rows() && laid.view.first.is_multiple_of(4) {
            return Ok(laid);
        }
        if let Some(copy) = self.straightened.get(&value) {
            return Ok(copy.clone());
        }
        let copy = self.copy(laid);
        self.straightened.insert(value, copy.clone());
        Ok(copy)
    }

    /// The tensor of `step` in a slot that holds nothing else.
    fn own(&mut self, step: usize) -> Result<usize> {
        let laid = self.value(Value::Made(step))?;
        let slot = match laid.place {
            Place::Slot(slot)
                if laid.view.is_rows() && laid.view.len() == self.slots[slot] && !self.owned.contains(&slot) =>
            {
                slot
            }
            _ => match self.copy(laid).place {
                Place::Slot(slot) => slot,
                Place::Given(_) => unreachable!("copies are made into slots"),
            },
        };
        self.owned.push(slot);
        Ok(slot)
    }

    fn copy(&mut self, from: Laid) -> Laid {
        let copy = self.room(&from.view.shape);
        self.place(from, copy.clone());
        copy
    }

    fn place(&mut self, from: Laid, to: Laid) {
        self.task(Work::Map { function: Function::Copy, scalars: [0; 2] }, vec![from], to);
    }

    fn task(&mut self, work: Work, inputs: Vec<Laid>, output: Laid) {
        self.task_with(0, work, inputs, output);
    }

    /// A task that needs scratch.
    fn task_with(&mut self, scratch: usize, work: Work, inputs: Vec<Laid>, output: Laid) {
        if output.view.len() > 0 {
            let scratch = (scratch > 0).then(|| self.room(&[scratch]));
            self.tasks.push(Task { work, inputs, scratch, output });
        }
    }

    /// All inputs of `step`, row by row.
    fn all_rows(&mut self, step: &Step) -> Result<Vec<Laid>> {
        step.inputs.iter().map(|&input| self.rows(input)).collect()
    }

    /// The inputs of a sum and where its result goes: onto its last input, if it is added to that.
    fn summed(&mut self, step: &Step, ends: Ends) -> Result<(Vec<Laid>, Laid)> {
        let mut inputs = self.all_rows(step)?;
        if !ends.onto {
            return Ok((inputs, self.room(&step.shape)));
        }
        let Some((onto, value)) = inputs.pop().zip(step.inputs.last().copied()) else {
            return Err(Error::argument("inputs of a sum", "what it is added to", 0));
        };
        let alone = made(value).is_some_and(|made| {
            let in_its_slot =
                matches!(self.program.steps[made].op, Op::Conv(..) | Op::ConvTranspose(..) | Op::Linear(..));
            in_its_slot && self.uses[made] == 1
        });
        Ok((inputs, if alone { onto } else { self.copy(onto) }))
    }

    /// The tensor that `step` makes.
    fn step(&mut self, step: &Step) -> Result<Laid> {
        let inputs: Vec<Laid> = step.inputs.iter().map(|&input| self.value(input)).collect::<Result<_>>()?;
        let seen = |view: View, place: Place| Laid { place, view };
        match (&step.op, &*inputs) {
            (Op::Reshape, [x]) => {
                if let Some(view) = x.view.reshaped(&step.shape) {
                    return Ok(seen(view, x.place));
                }
                let rows = self.rows(step.inputs[0])?;
                Ok(seen(View { first: rows.view.first, ..View::rows(&step.shape) }, rows.place))
            }
            (Op::Permute(axes), [x]) => Ok(seen(x.view.permuted(axes), x.place)),
            (Op::Cut(cuts), [x]) => Ok(seen(x.view.cut(cuts), x.place)),
            (Op::Flip(axes), [x]) => Ok(seen(x.view.flipped(axes), x.place)),
            (Op::Expand, [x]) => Ok(seen(x.view.expanded(&step.shape), x.place)),
            (Op::Repeat { dim }, [x]) => {
                let times = step.shape[*dim] / x.view.shape[*dim].max(1);
                Ok(self.joined(&vec![x.clone(); times], *dim, &step.shape))
            }
            (Op::Cat { dim }, parts) => Ok(self.joined(parts, *dim, &step.shape)),
            (Op::Assign(cuts), [x, part]) => Ok(self.assigned(x.clone(), part.clone(), cuts)),
            (Op::Map { function, scalars }, inputs) => {
                let expanded = |laid: &Laid| seen(laid.view.expanded(&step.shape), laid.place);
                let (inputs, y) = (inputs.iter().map(expanded).collect(), self.room(&step.shape));
                self.task(Work::Map { function: *function, scalars: *scalars }, inputs, y.clone());
                Ok(y)
            }
            (Op::Reduce { reduction, dim }, [x]) => self.reduced(*reduction, x.clone(), *dim),
            (Op::Select { dim }, [x, _]) => {
                let extents = x.view.shape.clone();
                let (outer, inner) = (extents[..*dim].iter().product(), extents[dim + 1..].iter().product());
                let inputs = vec![self.rows(step.inputs[0])?, self.rows(step.inputs[1])?];
                let y = self.room(&step.shape);
                self.task(Work::Select { outer, table: extents[*dim], inner }, inputs, y.clone());
                Ok(y)
            }
            (Op::Pool(windows), [_]) => self.whole(step, Work::Pool(*windows)),
            (Op::Matmul, [left, right]) => self.multiplied(left.clone(), right.clone(), &step.shape),
            (Op::Conv(shape, ends), [_, _, ..]) => {
                let (inputs, y) = self.summed(step, *ends)?;
                self.task_with(shape.scratch(), Work::Conv(*shape, *ends), inputs, y.clone());
                Ok(y)
            }
            (Op::ConvTranspose(shape, ends), [_, _, ..]) => {
                let (inputs, y) = self.summed(step, *ends)?;
                self.task_with(shape.scratch(), Work::ConvTranspose(*shape, *ends), inputs, y.clone());
                Ok(y)
            }
            (Op::Linear(precision, ends), [x, weight, ..]) => {
                let sizes = [weight.view.shape[0], weight.view.shape[1]];
                let rows = x.view.len() / sizes[0].max(1);
                let shape = MatmulShape { precision: *precision, ..MatmulShape::linear(rows, sizes) };
                let (inputs, y) = self.summed(step, *ends)?;
                self.task_with(shape.scratch(), Work::Matmul(shape, *ends), inputs, y.clone());
                Ok(y)
            }
            (Op::LayerNorm { epsilon }, [x, _, _]) => {
                let features = x.view.shape.last().copied().unwrap_or(1);
                let work = Work::LayerNorm { features, epsilon: f32::from_bits(*epsilon) };
                self.whole(step, work)
            }
            (Op::Gate, [_]) => {
                let &[batch, channels, time] = &*step.shape else { return Err(dimensions(step, 3)) };
                self.whole(step, Work::Gate { batch, channels, time })
            }
            (Op::Attention { spec, relative }, [query, key, _, ..]) => {
                let &[batch, queries, features] = &*query.view.shape else { return Err(dimensions(step, 3)) };
                let shape = AttentionShape { batch, queries, keys: key.view.shape[1], features, spec: spec.0 };
                let reach = relative.then(|| inputs.get(3).map_or(0, |keys| keys.view.shape[0] / 2));
                self.whole(step, Work::Attention { shape, reach })
            }
            (Op::Gru(directions), [_, weight, _]) => {
                let hidden = weight.view.shape.last().copied().unwrap_or(1);
                let shape = GruShape { time: step.shape[1], hidden, directions: *directions };
                self.whole(step, Work::Gru(shape))
            }
            (op, inputs) => Err(Error::argument(format!("inputs of {op:?}"), "as many as it takes", inputs.len())),
        }
    }

    /// The tensor of a step whose kernel reads and writes row by row.
    fn whole(&mut self, step: &Step, work: Work) -> Result<Laid> {
        let (inputs, y) = (self.all_rows(step)?, self.room(&step.shape));
        self.task(work, inputs, y.clone());
        Ok(y)
    }

    /// The product of matrices, up to two dimensions of them.
    fn multiplied(&mut self, left: Laid, right: Laid, shape: &[usize]) -> Result<Laid> {
        let Some(new) = 4_usize.checked_sub(shape.len()) else {
            return Err(Error::argument("factors of a product of matrices", "at most 4 dimensions", shape.len()));
        };
        let whole = |sizes: &[usize]| [&vec![1; new], sizes].concat();
        let shape_of_four = whole(shape);
        let depth = left.view.shape.last().copied().unwrap_or(1);
        let mut side = |laid: Laid, own: [usize; 2]| -> Result<(Laid, Strides)> {
            let forwards = laid.view.strides.iter().all(|&stride| stride >= 0) && laid.view.first.is_multiple_of(4);
            let laid = if forwards { laid } else { self.copy(laid) };
            let view = laid.view.reshaped(&whole(&laid.view.shape)).ok_or_else(|| {
                Error::argument("factor of a product", "dimensions that can be counted", format!("{:?}", laid.view))
            })?;
            let view = view.expanded(&[shape_of_four[0], shape_of_four[1], own[0], own[1]]);
            let [outer, inner, row, column] = [0, 1, 2, 3].map(|dim| view.strides[dim].unsigned_abs());
            Ok((Laid { place: laid.place, view }, Strides { items: [outer, inner], row, column }))
        };
        let (left, of_left) = side(left, [shape_of_four[2], depth])?;
        let (right, of_right) = side(right, [depth, shape_of_four[3]])?;
        let shape_of_product = MatmulShape {
            batch: [shape_of_four[0], shape_of_four[1]],
            rows: shape_of_four[2],
            depth,
            columns: shape_of_four[3],
            left: of_left,
            right: of_right,
            precision: Precision::Full,
        };
        let y = self.room(shape);
        let work = Work::Matmul(shape_of_product, Ends::default());
        self.task_with(shape_of_product.scratch(), work, vec![left, right], y.clone());
        Ok(y)
    }

    /// `parts` one after another along `dim`.
    fn joined(&mut self, parts: &[Laid], dim: usize, shape: &[usize]) -> Laid {
        let y = self.room(shape);
        let mut first = 0;
        for part in parts {
            let len = part.view.shape[dim];
            let place = Laid { place: y.place, view: y.view.narrowed(dim, first, len) };
            self.place(part.clone(), place);
            first += len;
        }
        y
    }

    /// `x` with `part` in the place that `cuts` take.
    fn assigned(&mut self, x: Laid, part: Laid, cuts: &[Cut]) -> Laid {
        let y = self.copy(x);
        let place = Laid { place: y.place, view: y.view.cut(cuts) };
        self.place(part, place);
        y
    }

    /// `x` with each row along `dim` reduced to one value.
    fn reduced(&mut self, reduction: Reduction, x: Laid, dim: usize) -> Result<Laid> {
        // The kernel reads whole rows: the dimension goes last, and comes back in the result as one of one value.
        let dims = x.view.shape.len();
        let axes: Vec<usize> = (0..dims).filter(|&axis| axis != dim).chain([dim]).collect();
        let turned = Laid { place: x.place, view: x.view.permuted(&axes) };
        let len = x.view.shape[dim];
        if len == 0 {
            return Err(Error::argument("rows to reduce", "at least one value", 0));
        }
        let rows =
            if turned.view.is_rows() && turned.view.first.is_multiple_of(4) { turned } else { self.copy(turned) };
        let mut shape = x.view.shape.clone();
        shape[dim] = 1;
        let y = self.room(&shape);
        self.task(Work::Reduce { reduction, len }, vec![rows], y.clone());
        Ok(y)
    }

    /// The plan, with slots used again once nothing uses them any more.
    fn into_slots(self, kept: Vec<usize>, read: Option<Laid>) -> Plan {
        let Self { mut tasks, slots, .. } = self;
        let order = Order::of(&tasks, slots.len());
        let shared = Shared::of(&order, &tasks, &slots, &kept, read.as_ref().and_then(|read| read.place.slot()));
        let settle = |place: &mut Place| {
            if let Place::Slot(slot) = place {
                *slot = shared.place_of[*slot].unwrap_or_default();
            }
        };
        for task in &mut tasks {
            let touched = task.inputs.iter_mut().chain(&mut task.scratch).chain([&mut task.output]);
            touched.for_each(|laid| settle(&mut laid.place));
        }
        let mut read = read;
        read.iter_mut().for_each(|laid| settle(&mut laid.place));
        let kept = kept.into_iter().filter_map(|slot| shared.place_of[slot]).collect();
        Plan { slots: shared.slots, tasks, after: order.after, kept, read }
    }
}

fn dimensions(step: &Step, expected: usize) -> Error {
    Error::argument("tensor of an operation", format!("{expected} dimensions"), format!("{:?}", step.shape))
}

#[cfg(test)]
mod tests {
    use super::super::step::map;
    use super::*;

    /// A chain of `count` elementwise steps over 100 values, each of the one before.
    fn chain(count: usize) -> Vec<Step> {
        let input = |number: usize| number.checked_sub(1).map_or(Value::Given(0), Value::Made);
        let op = || map(Function::Exp, [0; 2]);
        (0..count).map(|number| Step { op: op(), inputs: vec![input(number)], shape: vec![100] }).collect()
    }

    fn plan(steps: Vec<Step>, kept: Vec<usize>, read: Option<usize>) -> Plan {
        Plan::of(&Program { given: vec![vec![100]], steps, kept, read }).expect("a plan")
    }

    #[test]
    fn tensors_of_which_one_is_no_more_share_memory() {
        let plan = plan(chain(10), vec![], Some(9));
        assert_eq!((plan.tasks.len(), plan.slots.len()), (10, 2));
        for task in &plan.tasks {
            assert_ne!(task.inputs[0].place, task.output.place, "a task writes over what it reads");
        }
    }

    #[test]
    fn what_outlives_the_trace_has_memory_of_its_own() {
        let plan = plan(chain(10), vec![3, 9], None);
        let written = |slot: usize| plan.tasks.iter().filter(|task| task.output.place == Place::Slot(slot)).count();
        assert_eq!(plan.kept.iter().map(|&slot| written(slot)).collect::<Vec<_>>(), [1, 1]);
        assert_eq!(plan.slots.len(), 4);
    }

    #[test]
    fn what_nothing_needs_is_not_done() {
        assert_eq!(plan(chain(10), vec![], Some(4)).tasks.len(), 5);
    }

    #[test]
    fn moves_that_strides_express_cost_nothing_and_a_tensor_is_straightened_once() {
        let step = |op, inputs, shape: &[usize]| Step { op, inputs, shape: shape.to_vec() };
        let turned = step(Op::Permute(vec![1, 0]), vec![Value::Made(0)], &[20, 5]);
        let norm = |x| step(Op::LayerNorm { epsilon: 0 }, vec![x, Value::Made(0), Value::Made(0)], &[20, 5]);
        let square = step(map(Function::Exp, [0; 2]), vec![Value::Given(0)], &[5, 20]);
        let sum = step(map(Function::Add, [0; 2]), vec![Value::Made(2), Value::Made(3)], &[20, 5]);
        let program = Program {
            given: vec![vec![5, 20]],
            steps: vec![square, turned, norm(Value::Made(1)), norm(Value::Made(1)), sum],
            kept: vec![],
            read: Some(4),
        };
        let plan = Plan::of(&program).expect("a plan");
        let copies = plan.tasks.iter().filter(|task| matches!(task.work, Work::Map { function: Function::Copy, .. }));
        assert_eq!((copies.count(), plan.tasks.len()), (1, 5));
    }

    #[test]
    fn a_sum_onto_what_something_else_reads_is_made_beside_it() {
        let shape = ConvShape::over_time(1, [1, 1], 8, 1, crate::nn::ops::Conv1dSpec::default());
        let conv = |onto: Option<Value>| {
            let ends = Ends { onto: onto.is_some(), ..Ends::default() };
            let inputs = [Value::Given(0), Value::Given(1)].into_iter().chain(onto).collect();
            Step { op: Op::Conv(shape, ends), inputs, shape: vec![1, 1, 8] }
        };
        let given = vec![vec![1, 1, 8], vec![1, 1, 4]];
        let steps = vec![conv(None), conv(Some(Value::Made(0)))];
        let alone = Program { given: given.clone(), steps: steps.clone(), kept: vec![], read: Some(1) };
        let alone = Plan::of(&alone).expect("a plan");
        assert_eq!((alone.tasks.len(), alone.slots.len()), (2, 1));
        let beside = Plan::of(&Program { given, steps, kept: vec![0], read: Some(1) }).expect("a plan");
        assert_eq!((beside.tasks.len(), beside.slots.len()), (3, 2));
    }
}

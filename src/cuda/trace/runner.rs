//! Takes operations in from any thread, and does them when something is read.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

use burn::tensor::TensorData;
use burn_ir::{OperationIr, TensorId, TensorIr, TensorStatus};
use rustc_hash::FxBuildHasher;

use super::channel::Traceable;
use super::plan::{Laid, Plan};
use super::plans::{Fixed, Plans, Ready, Way};
use super::recall::{Key, Making, Recall, Recalled};
use super::record::{Source, Trace};
use super::run::Memory;
use super::step::{self, Op, Value};
use super::tensor::{Content, append_words};
use crate::cuda::launch::{Buffer, Graphs};
use crate::cuda::ops::tensors::{Function, Laid as Input, map};
use crate::cuda::view::View;
use crate::error::{Error, Result};

/// Operations after which a trace is done though nothing was read: those of loading a network, say.
const MOST_STEPS: usize = 4096;
/// Values of tensors to be copied to the machine after which that is done.
const MOST_WAITING_VALUES: usize = 1 << 24;
/// Values of memory that is not used and not given back.
const MOST_SPARE_VALUES: usize = 1 << 26;
/// Values between the starts of tensors that are copied to the machine together.
const ALIGNMENT: usize = 64;

/// A machine with the tensors on it.
pub(super) struct Runner<M: Traceable> {
    machine: Arc<M>,
    names: AtomicU64,
    state: Mutex<State<M>>,
}

struct State<M: Graphs> {
    tensors: HashMap<TensorId, Tensor<M>, FxBuildHasher>,
    /// The threads on whose traces other tensors are made.
    makers: HashMap<TensorId, ThreadId, FxBuildHasher>,
    traces: HashMap<ThreadId, Trace<M>, FxBuildHasher>,
    plans: Plans<M>,
    recall: Recall,
    spare: Spare<M>,
    /// Where what a graph begins with is gathered.
    staged: Vec<u32>,
    /// Values of tensors that are not on the machine yet.
    waiting: usize,
    /// The last failure: why tensors are missing.
    lost: Option<String>,
}

/// A runner's state while it is its turn on the stream.
struct Turn<'a, M: Graphs> {
    state: MutexGuard<'a, State<M>>,
    _turn: MutexGuard<'a, ()>,
}

impl<M: Graphs> Deref for Turn<'_, M> {
    type Target = State<M>;

    fn deref(&self) -> &State<M> {
        &self.state
    }
}

impl<M: Graphs> DerefMut for Turn<'_, M> {
    fn deref_mut(&mut self) -> &mut State<M> {
        &mut self.state
    }
}

/// A tensor that is there.
struct Tensor<M: Graphs> {
    content: Content<M>,
    /// Whether no trace used it yet.
    fresh: bool,
}

impl<M: Traceable> Runner<M> {
    pub fn new(machine: Arc<M>) -> Self {
        let state = State {
            tensors: HashMap::default(),
            makers: HashMap::default(),
            traces: HashMap::default(),
            plans: Plans::default(),
            recall: Recall::default(),
            spare: Spare::default(),
            staged: Vec::new(),
            waiting: 0,
            lost: None,
        };
        Self { machine, names: AtomicU64::new(0), state: Mutex::new(state) }
    }

    /// The state, which holds together after a panic as well: it changes in whole steps. Others of the same stream wait.
    fn state(&self) -> Turn<'_, M> {
        let turn = self.machine.turn().lock().unwrap_or_else(PoisonError::into_inner);
        Turn { state: self.state.lock().unwrap_or_else(PoisonError::into_inner), _turn: turn }
    }

    /// A name for a new tensor.
    pub fn name(&self) -> TensorId {
        TensorId::new(self.names.fetch_add(1, Ordering::Relaxed))
    }

    /// Takes in a tensor's values, if they are of a kind that kernels read.
    pub fn insert(&self, id: TensorId, words: Result<Arc<[u32]>>) {
        let mut state = self.state();
        let words = match words {
            Ok(words) => words,
            Err(failure) => return state.lose(&failure),
        };
        state.waiting += words.len();
        state.tensors.insert(id, Tensor { content: Content::Here(words), fresh: true });
        if state.waiting > MOST_WAITING_VALUES {
            state.settle_all(&self.machine);
        }
    }

    /// Takes in one of burn's operations.
    pub fn register(&self, operation: OperationIr) {
        match operation {
            OperationIr::Drop(tensor) => self.state().forget(tensor.id),
            OperationIr::Init(_) => {}
            operation => match step::of_burn(operation) {
                Ok((op, inputs, out)) => self.record(op, &inputs, &out),
                Err(failure) => self.state().lose(&failure),
            },
        }
    }

    /// Takes in an operation. What fails shows when something is read.
    pub fn record(&self, op: Op, inputs: &[TensorIr], out: &TensorIr) {
        let mut state = self.state();
        let values: Result<Vec<Value>> = inputs.iter().map(|input| state.input(&self.machine, input)).collect();
        let maker = std::thread::current().id();
        match values {
            Ok(values) => {
                state.trace().push(op, values, out);
                state.makers.insert(out.id, maker);
            }
            Err(failure) => state.lose(&failure),
        }
        for input in inputs.iter().filter(|input| input.status == TensorStatus::ReadWrite) {
            state.forget(input.id);
        }
        if state.trace().len() >= MOST_STEPS {
            // What fails is told when something that depends on it is read.
            state.run(&self.machine, maker, None, None).ok();
        }
    }

    /// The values of a tensor, once all that it depends on is done. If they are what a computation makes, it may be recalled.
    ///
    /// # Errors
    /// Something of that failed.
    pub fn read(&self, tensor: &TensorIr, making: Option<Making>) -> Result<Vec<u32>> {
        let mut state = self.state();
        let last = tensor.status == TensorStatus::ReadWrite;
        let maker = state.makers.get(&tensor.id).copied();
        if let Some(maker) = maker {
            if last {
                state.traces.entry(maker).or_default().forget(tensor.id);
            }
            return state.run(&self.machine, maker, Some(tensor.id), making).map(Option::unwrap_or_default);
        }
        let content = state.tensors.get(&tensor.id).map(|tensor| tensor.content.clone());
        let content = content.ok_or_else(|| state.missing())?;
        let words = match content {
            Content::Here(words) => Ok(words.to_vec()),
            Content::There(buffer) => words_of(&*self.machine, &buffer),
        };
        // Only now is its memory free for others.
        if last {
            state.forget(tensor.id);
        }
        words
    }

    /// What a computation makes of `values`, if it is known and its launches are kept.
    pub fn recall(&self, key: &Key, values: &[TensorData]) -> Option<Result<Vec<u32>>> {
        self.state().recall(&self.machine, key, values)
    }

    /// Does all that this thread asked for.
    ///
    /// # Errors
    /// Something of that failed.
    pub fn finish(&self) -> Result<()> {
        let mut state = self.state();
        state.run(&self.machine, std::thread::current().id(), None, None).map(drop)
    }
}

fn words_of<M: Graphs>(machine: &M, buffer: &Buffer<M, f32>) -> Result<Vec<u32>> {
    Ok(buffer.read(machine)?.into_iter().map(f32::to_bits).collect())
}

impl<M: Graphs> State<M> {
    /// The trace of this thread.
    fn trace(&mut self) -> &mut Trace<M> {
        self.traces.entry(std::thread::current().id()).or_default()
    }

    /// Remembers why tensors are missing.
    fn lose(&mut self, failure: &Error) {
        let Error::Device { problem, .. } = failure else {
            self.lost = Some(failure.to_string());
            return;
        };
        self.lost = Some(problem.clone());
    }

    fn missing(&self) -> Error {
        let problem = self.lost.clone().unwrap_or_else(|| "a tensor is used that was never made".into());
        Error::device("CUDA", problem, "use `--device cpu`")
    }

    /// An input as a tensor of this thread's trace. What another thread was asked to make is made.
    fn input(&mut self, machine: &M, ir: &TensorIr) -> Result<Value> {
        if let Some(value) = self.trace().number(ir.id) {
            return Ok(value);
        }
        if let Some(maker) = self.makers.get(&ir.id).copied() {
            self.run(machine, maker, None, None)?;
        }
        let Some(tensor) = self.tensors.get_mut(&ir.id) else { return Err(self.missing()) };
        let source = Source { id: ir.id, content: tensor.content.clone(), fresh: std::mem::take(&mut tensor.fresh) };
        Ok(self.trace().give(ir, source))
    }

    /// Nothing knows the tensor any more.
    fn forget(&mut self, id: TensorId) {
        if let Some(maker) = self.makers.get(&id) {
            let Some(trace) = self.traces.get_mut(maker) else { return };
            trace.forget(id);
            if !trace.matters() {
                let made: Vec<TensorId> = self.traces.remove(maker).iter().flat_map(Trace::made).collect();
                made.iter().for_each(|id| _ = self.makers.remove(id));
            }
        } else if let Some(tensor) = self.tensors.remove(&id) {
            match tensor.content {
                Content::Here(words) => self.waiting -= words.len(),
                Content::There(buffer) => {
                    self.plans.forget(id);
                    self.spare.give(buffer);
                }
            }
        }
    }

    fn recall(&mut self, machine: &M, key: &Key, values: &[TensorData]) -> Option<Result<Vec<u32>>> {
        let Recalled { program, fixed, entries } = self.recall.get(key)?;
        let Some((plan, ready)) = self.plans.again(*program, fixed) else {
            self.recall.forget(key);
            return None;
        };
        self.staged.clear();
        for &entry in entries {
            append_words(&mut self.staged, &values[entry])?;
            self.staged.resize(self.staged.len().next_multiple_of(ALIGNMENT), 0);
        }
        if self.staged.len() != ready.entry.len() {
            return None;
        }
        let run = || {
            ready.entry.clone().write(machine, bytemuck::cast_slice(&self.staged))?;
            machine.repeat(&ready.graph)?;
            Ok(read_of(machine, &plan, &ready.memory)?.unwrap_or_default())
        };
        Some(run().inspect_err(|failure| self.lose(failure)))
    }

    /// Does what `maker` asked for, and gives the values of `read`.
    fn run(
        &mut self,
        machine: &M,
        maker: ThreadId,
        read: Option<TensorId>,
        making: Option<Making>,
    ) -> Result<Option<Vec<u32>>> {
        let Some(trace) = self.traces.remove(&maker) else { return Ok(None) };
        trace.made().for_each(|id| _ = self.makers.remove(&id));
        self.run_trace(machine, trace, read, making).inspect_err(|failure| self.lose(failure))
    }

    fn run_trace(
        &mut self,
        machine: &M,
        trace: Trace<M>,
        read: Option<TensorId>,
        making: Option<Making>,
    ) -> Result<Option<Vec<u32>>> {
        let (program, names, mut sources) = trace.into_program(read);
        if program.kept.is_empty() && program.read.is_none() {
            return Ok(None);
        }
        let fresh: Vec<bool> = sources.iter().map(|source| source.fresh).collect();
        let (program, plan) = self.plans.plan(program, &fresh)?;
        for source in &mut sources {
            self.settle(machine, source)?;
        }
        let stays = |(number, source): (usize, &Source<M>)| {
            let lasts = self.tensors.contains_key(&source.id) && !self.plans.varies(program, number);
            (lasts && matches!(source.content, Content::There(_))).then_some(source.id)
        };
        let fixed: Fixed = sources.iter().enumerate().map(stays).collect();
        let ready = match self.plans.way(program, &fixed) {
            Way::Once => None,
            Way::Repeat(ready) => Some(ready),
            Way::Keep => match self.prepare(machine, &plan, &sources, &fixed) {
                Ok(ready) => {
                    let ready = Arc::new(ready);
                    self.plans.keep(program, &fixed, Arc::clone(&ready));
                    Some(ready)
                }
                Err(failure) => {
                    tracing::warn!("{failure}; each launch of this network is told to the GPU anew");
                    self.plans.refuse(program, &fixed);
                    None
                }
            },
        };
        let words = if let Some(ready) = ready {
            enter(machine, &ready, &sources, &fixed, &mut self.staged)?;
            machine.repeat(&ready.graph)?;
            if let Some(Making { key, fed }) = making.filter(|_| names.is_empty()) {
                let given: Vec<TensorId> = sources.iter().map(|source| source.id).collect();
                if let Some(recalled) = Recalled::of(program, &fixed, &given, &fed) {
                    self.recall.note(key, recalled);
                }
            }
            for (&slot, &name) in plan.kept.iter().zip(&names) {
                let kept = self.copy(machine, &ready.memory.slots[slot])?;
                self.tensors.insert(name, Tensor { content: Content::There(kept), fresh: true });
            }
            read_of(machine, &plan, &ready.memory)?
        } else {
            let memory = self.memory(machine, &plan, &sources)?;
            memory.run(machine, &plan)?;
            for (&slot, &name) in plan.kept.iter().zip(&names) {
                let kept = memory.slots[slot].clone();
                self.tensors.insert(name, Tensor { content: Content::There(kept), fresh: true });
            }
            let words = read_of(machine, &plan, &memory)?;
            memory.slots.into_iter().for_each(|slot| self.spare.give(slot));
            words
        };
        // Those that nothing else knows were made by one trace and used up by this one.
        for source in sources {
            if let Content::There(buffer) = source.content {
                self.spare.give(buffer);
            }
        }
        Ok(words)
    }

    /// Copies a tensor that lasts to the machine, where it stays.
    fn settle(&mut self, machine: &M, source: &mut Source<M>) -> Result<()> {
        let Some(tensor) = self.tensors.get(&source.id) else { return Ok(()) };
        let mut content = tensor.content.clone();
        if let Content::Here(words) = &content {
            content = Content::There(self.upload(machine, words)?);
            self.place(source.id, content.clone());
        }
        source.content = content;
        Ok(())
    }

    /// Copies all tensors to the machine. One that cannot be copied stays here, and fails when it is used.
    fn settle_all(&mut self, machine: &M) {
        let here = |(id, tensor): (&TensorId, &Tensor<M>)| match &tensor.content {
            Content::Here(words) => Some((*id, Arc::clone(words))),
            Content::There(_) => None,
        };
        let waiting: Vec<_> = self.tensors.iter().filter_map(here).collect();
        for (id, words) in waiting {
            let Ok(buffer) = self.upload(machine, &words) else { return };
            self.place(id, Content::There(buffer));
        }
    }

    /// A copy of values on the machine.
    fn upload(&mut self, machine: &M, words: &[u32]) -> Result<Buffer<M, f32>> {
        let mut buffer = self.room(machine, words.len())?;
        buffer.write(machine, bytemuck::cast_slice(words))?;
        Ok(buffer)
    }

    /// Says where a tensor is that waits no longer.
    fn place(&mut self, id: TensorId, content: Content<M>) {
        if let Some(tensor) = self.tensors.get_mut(&id) {
            self.waiting -= content.len();
            tensor.content = content;
        }
    }

    /// Memory for a plan that is run once: given tensors where they are.
    fn memory(&mut self, machine: &M, plan: &Plan, sources: &[Source<M>]) -> Result<Memory<M>> {
        let given = sources.iter().map(|source| match &source.content {
            Content::There(buffer) => Ok(buffer.clone()),
            Content::Here(words) => self.upload(machine, words),
        });
        let given = given.collect::<Result<_>>()?;
        let slots = plan.slots.iter().map(|&len| self.room(machine, len)).collect::<Result<_>>()?;
        Ok(Memory { given, slots })
    }

    /// Memory for a plan that is to be repeated, and its launches kept.
    fn prepare(
        &mut self,
        machine: &M,
        plan: &Plan,
        sources: &[Source<M>],
        fixed: &[Option<TensorId>],
    ) -> Result<Ready<M>> {
        let lens: Vec<usize> = sources.iter().map(|source| source.content.len()).collect();
        let moved = fixed.iter().zip(&lens).filter(|(fixed, _)| fixed.is_none());
        let entry = self.room(machine, moved.map(|(_, len)| len.next_multiple_of(ALIGNMENT)).sum())?;
        let mut first = 0;
        let given = sources.iter().zip(fixed).map(|(source, fixed)| match (&source.content, fixed) {
            (Content::There(buffer), Some(_)) => buffer.clone(),
            (content, _) => {
                let part = entry.part(first..first + content.len());
                first += content.len().next_multiple_of(ALIGNMENT);
                part
            }
        });
        let given = given.collect();
        let slots = plan.slots.iter().map(|&len| self.room(machine, len)).collect::<Result<_>>()?;
        let memory = Memory { given, slots };
        let graph = machine.keep(&plan.after, &mut |task| memory.launch(machine, &plan.tasks[task]))?;
        Ok(Ready { memory, entry, graph })
    }

    /// Memory for `len` values, which may hold anything.
    fn room(&mut self, machine: &M, len: usize) -> Result<Buffer<M, f32>> {
        if let Some(spare) = self.spare.take(len) {
            return Ok(spare);
        }
        Buffer::zeros(machine, len).or_else(|_| {
            self.plans.clear();
            self.spare = Spare::default();
            Buffer::zeros(machine, len)
        })
    }

    fn copy(&mut self, machine: &M, from: &Buffer<M, f32>) -> Result<Buffer<M, f32>> {
        let mut copy = self.room(machine, from.len())?;
        copy_values(machine, from, &mut copy)?;
        Ok(copy)
    }
}

fn copy_values<M: Graphs>(machine: &M, from: &Buffer<M, f32>, to: &mut Buffer<M, f32>) -> Result<()> {
    let view = View::rows(&[from.len()]);
    map(machine, Function::Copy, [0; 2], &[Input { buffer: from, view: &view }], to, &view)
}

/// Copies the tensors that are others each time to where the plan has them: all at once, if all are here.
fn enter<M: Graphs>(
    machine: &M,
    ready: &Ready<M>,
    sources: &[Source<M>],
    fixed: &[Option<TensorId>],
    staged: &mut Vec<u32>,
) -> Result<()> {
    let moved = || sources.iter().zip(fixed).enumerate().filter(|(_, (_, fixed))| fixed.is_none());
    staged.clear();
    for (number, (source, _)) in moved() {
        match &source.content {
            Content::Here(words) => {
                staged.extend_from_slice(words);
                staged.resize(staged.len().next_multiple_of(ALIGNMENT), 0);
            }
            Content::There(buffer) => copy_values(machine, buffer, &mut ready.memory.given[number].clone())?,
        }
    }
    if staged.len() == ready.entry.len() {
        return ready.entry.clone().write(machine, bytemuck::cast_slice(staged));
    }
    moved().try_for_each(|(number, (source, _))| match &source.content {
        Content::Here(words) => ready.memory.given[number].clone().write(machine, bytemuck::cast_slice(words)),
        Content::There(_) => Ok(()),
    })
}

/// What a plan reads at its end.
fn read_of<M: Graphs>(machine: &M, plan: &Plan, memory: &Memory<M>) -> Result<Option<Vec<u32>>> {
    let rows = |laid: &Laid| match laid.view.len() {
        0 => Ok(Vec::new()),
        _ => words_of(machine, &memory.rows(laid)),
    };
    plan.read.as_ref().map(rows).transpose()
}

/// Memory that nothing uses.
struct Spare<M: Graphs> {
    by_len: HashMap<usize, Vec<Buffer<M, f32>>>,
    values: usize,
}

impl<M: Graphs> Default for Spare<M> {
    fn default() -> Self {
        Self { by_len: HashMap::new(), values: 0 }
    }
}

impl<M: Graphs> Spare<M> {
    fn take(&mut self, len: usize) -> Option<Buffer<M, f32>> {
        let buffer = self.by_len.get_mut(&len)?.pop()?;
        self.values -= len;
        Some(buffer)
    }

    /// Takes memory in, if this was its last handle and there is room.
    fn give(&mut self, buffer: Buffer<M, f32>) {
        if buffer.is_alone() && buffer.len() <= MOST_SPARE_VALUES {
            if self.values + buffer.len() > MOST_SPARE_VALUES {
                // Lengths that came once, of recordings say, would hold the room for ever.
                *self = Self::default();
            }
            self.values += buffer.len();
            self.by_len.entry(buffer.len()).or_default().push(buffer);
        }
    }
}

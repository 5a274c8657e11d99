//! Plans that were made, and those kept ready to be repeated.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use burn_ir::TensorId;
use rustc_hash::FxBuildHasher;

use super::plan::{Plan, Program};
use super::run::Memory;
use crate::cuda::launch::{Buffer, Graphs};
use crate::error::Result;

/// Programs whose plans are remembered; of more, those that were used longest ago are forgotten.
const MOST_PROGRAMS: usize = 128;
/// Memory of plans kept ready, in values; of more, those that were used longest ago are given up.
const MOST_KEPT_VALUES: usize = 1 << 29;
/// Occurrences after which it is known which tensors are new each time.
const ENOUGH: u32 = 3;

/// Which of a program's given tensors are the same each time, by name; the others are copied to where the plan has them.
pub(super) type Fixed = Vec<Option<TensorId>>;

/// A plan whose launches the machine keeps.
pub(super) struct Ready<M: Graphs> {
    pub memory: Memory<M>,
    /// What is copied before each run lies here, one after another.
    pub entry: Buffer<M, f32>,
    pub graph: M::Graph,
}

/// A program that occurred.
struct Known<M: Graphs> {
    plan: Arc<Plan>,
    occurrences: u32,
    /// How often each given tensor was new.
    fresh: Vec<u32>,
    bindings: Vec<Binding<M>>,
    last_used: u64,
}

/// A program with certain tensors.
struct Binding<M: Graphs> {
    fixed: Fixed,
    ready: Option<Arc<Ready<M>>>,
    /// Whether the machine could not keep its launches.
    refused: bool,
    last_used: u64,
}

/// The number of a program.
pub(super) type Number = u64;

/// All of them.
pub(super) struct Plans<M: Graphs> {
    /// Looked up once for each run, since a program is long.
    numbers: HashMap<Program, Number, FxBuildHasher>,
    known: HashMap<Number, Known<M>>,
    /// Tensors that a plan kept ready reads where they are.
    bound: HashSet<TensorId>,
    /// Counts uses.
    clock: u64,
}

/// How a program is to be run.
pub(super) enum Way<M: Graphs> {
    /// Launch by launch.
    Once,
    /// Launches are to be kept.
    Keep,
    /// They are kept.
    Repeat(Arc<Ready<M>>),
}

impl<M: Graphs> Default for Plans<M> {
    fn default() -> Self {
        Self { numbers: HashMap::default(), known: HashMap::new(), bound: HashSet::new(), clock: 0 }
    }
}

impl<M: Graphs> Plans<M> {
    /// The number of `program`, whose given tensors are new (`fresh`) or not, and its plan.
    ///
    /// # Errors
    /// It cannot be planned.
    pub fn plan(&mut self, program: Program, fresh: &[bool]) -> Result<(Number, Arc<Plan>)> {
        self.clock += 1;
        if let Some(&number) = self.numbers.get(&program)
            && let Some(known) = self.known.get_mut(&number)
        {
            known.occurrences += 1;
            known.last_used = self.clock;
            known.fresh.iter_mut().zip(fresh).for_each(|(count, &fresh)| *count += u32::from(fresh));
            return Ok((number, Arc::clone(&known.plan)));
        }
        let plan = Arc::new(Plan::of(&program)?);
        if self.known.len() >= MOST_PROGRAMS {
            let oldest = self.known.iter().min_by_key(|(_, known)| known.last_used).map(|(&number, _)| number);
            self.known.retain(|&number, _| Some(number) != oldest);
            self.numbers.retain(|_, &mut number| Some(number) != oldest);
            self.count_bound();
        }
        let fresh = fresh.iter().map(|&fresh| u32::from(fresh)).collect();
        let known =
            Known { plan: Arc::clone(&plan), occurrences: 1, fresh, bindings: Vec::new(), last_used: self.clock };
        let number = self.clock;
        self.numbers.insert(program, number);
        self.known.insert(number, known);
        Ok((number, plan))
    }

    /// The plan of a program that occurs again with the same `fixed` tensors, others being new, if its launches are kept.
    pub fn again(&mut self, program: Number, fixed: &Fixed) -> Option<(Arc<Plan>, Arc<Ready<M>>)> {
        self.clock += 1;
        let known = self.known.get_mut(&program)?;
        let binding = known.bindings.iter_mut().find(|binding| binding.fixed == *fixed)?;
        let ready = Arc::clone(binding.ready.as_ref()?);
        (known.last_used, binding.last_used) = (self.clock, self.clock);
        known.occurrences += 1;
        known.fresh.iter_mut().zip(fixed).for_each(|(count, fixed)| *count += u32::from(fixed.is_none()));
        Some((Arc::clone(&known.plan), ready))
    }

    /// Whether given tensor `given` of a program was another in each of many occurrences.
    pub fn varies(&self, program: Number, given: usize) -> bool {
        self.known.get(&program).is_some_and(|known| {
            let fresh = known.fresh.get(given).copied().unwrap_or_default();
            // A warm-up may have given the same twice.
            known.occurrences >= ENOUGH && fresh + known.occurrences / 4 >= known.occurrences
        })
    }

    /// How `program` is to be run with these tensors: the second time launches are kept, and later repeated.
    pub fn way(&mut self, program: Number, fixed: &Fixed) -> Way<M> {
        let Some(known) = self.known.get_mut(&program) else { return Way::Once };
        if let Some(binding) = known.bindings.iter_mut().find(|binding| binding.fixed == *fixed) {
            binding.last_used = self.clock;
            return match &binding.ready {
                Some(ready) => Way::Repeat(Arc::clone(ready)),
                None if !binding.refused && values(&known.plan) <= MOST_KEPT_VALUES => Way::Keep,
                None => Way::Once,
            };
        }
        known.bindings.push(Binding { fixed: fixed.clone(), ready: None, refused: false, last_used: self.clock });
        // Tensors that change too often to be found again would be remembered without end.
        let waiting = known.bindings.iter().filter(|binding| binding.ready.is_none()).count();
        if waiting > MOST_PROGRAMS {
            let oldest =
                known.bindings.iter().filter(|binding| binding.ready.is_none()).map(|binding| binding.last_used).min();
            known.bindings.retain(|binding| binding.ready.is_some() || Some(binding.last_used) != oldest);
        }
        Way::Once
    }

    /// Remembers that launches could not be kept, so that it is not tried again.
    pub fn refuse(&mut self, program: Number, fixed: &Fixed) {
        if let Some(binding) = self.binding(program, fixed) {
            binding.refused = true;
        }
    }

    /// Keeps what was made ready.
    pub fn keep(&mut self, program: Number, fixed: &Fixed, ready: Arc<Ready<M>>) {
        let Some(binding) = self.binding(program, fixed) else { return };
        binding.ready = Some(ready);
        while self.kept_values() > MOST_KEPT_VALUES {
            let used = |known: &Known<M>| {
                known.bindings.iter().filter(|binding| binding.ready.is_some()).map(|binding| binding.last_used).min()
            };
            let Some(oldest) = self.known.values().filter_map(used).min() else { break };
            for known in self.known.values_mut() {
                known.bindings.retain(|binding| binding.last_used != oldest);
            }
        }
        self.count_bound();
    }

    /// The binding of a program that is known: made anew, if all were given up since.
    fn binding(&mut self, program: Number, fixed: &Fixed) -> Option<&mut Binding<M>> {
        let bindings = &mut self.known.get_mut(&program)?.bindings;
        let number = bindings.iter().position(|binding| binding.fixed == *fixed).unwrap_or_else(|| {
            bindings.push(Binding { fixed: fixed.clone(), ready: None, refused: false, last_used: self.clock });
            bindings.len() - 1
        });
        bindings.get_mut(number)
    }

    /// Gives up what reads a tensor that is no more.
    pub fn forget(&mut self, id: TensorId) {
        if self.bound.contains(&id) {
            for known in self.known.values_mut() {
                known.bindings.retain(|binding| !binding.fixed.contains(&Some(id)));
            }
            self.count_bound();
        }
    }

    /// Gives up all that is kept ready.
    pub fn clear(&mut self) {
        self.known.values_mut().for_each(|known| known.bindings.clear());
        self.bound.clear();
    }

    fn kept_values(&self) -> usize {
        let values = |known: &Known<M>| {
            known.bindings.iter().filter(|binding| binding.ready.is_some()).count() * values(&known.plan)
        };
        self.known.values().map(values).sum()
    }

    fn count_bound(&mut self) {
        let bindings = self.known.values().flat_map(|known| &known.bindings);
        self.bound = bindings.flat_map(|binding| binding.fixed.iter().flatten().copied()).collect();
    }
}

fn values(plan: &Plan) -> usize {
    plan.slots.iter().sum()
}

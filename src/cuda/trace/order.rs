//! Which tasks of a plan wait for which, and which of its tensors share memory.
//!
//! A task waits for those that made what it reads and for those that still read or write where it writes. Where neither of two
//! waits for the other, a machine may do them at once: the blocks of a residual stage, or query, key and value. So that
//! sharing memory makes nothing wait, a tensor takes the place of another only if its task waits for all that uses the other
//! anyway.

use fixedbitset::FixedBitSet;

use super::plan::Task;

/// Of each task, by number, those that it waits for.
pub(super) struct Order {
    /// Directly: what those wait for in turn is left out.
    pub after: Vec<Vec<usize>>,
    /// All of them.
    before: Vec<FixedBitSet>,
}

/// Who uses a stretch of memory.
#[derive(Clone, Default)]
struct Users {
    /// The last task that wrote, and those that read since.
    writer: Option<usize>,
    readers: Vec<usize>,
}

impl Order {
    /// The order of `tasks` on `slots` slots, which they have in the order in which they stand.
    pub fn of(tasks: &[Task], slots: usize) -> Self {
        let mut users = vec![Users::default(); slots];
        let mut order = Self { after: Vec::with_capacity(tasks.len()), before: Vec::with_capacity(tasks.len()) };
        for (number, task) in tasks.iter().enumerate() {
            let mut others: Vec<usize> = Vec::new();
            for slot in task.inputs.iter().filter_map(|laid| laid.place.slot()) {
                others.extend(users[slot].writer);
            }
            for slot in written(task) {
                others.extend(users[slot].writer);
                others.extend(&users[slot].readers);
            }
            order.push(others);
            for slot in task.inputs.iter().filter_map(|laid| laid.place.slot()) {
                users[slot].readers.push(number);
            }
            for slot in written(task) {
                users[slot] = Users { writer: Some(number), readers: Vec::new() };
            }
        }
        order
    }

    /// Appends a task that waits for `others`.
    fn push(&mut self, mut others: Vec<usize>) {
        // The latest first: it may wait for the rest.
        others.sort_unstable_by(|a, b| b.cmp(a));
        let mut before = FixedBitSet::with_capacity(self.before.len());
        let mut after = Vec::new();
        for other in others {
            if !before.contains(other) {
                before.union_with(&self.before[other]);
                before.insert(other);
                after.push(other);
            }
        }
        self.after.push(after);
        self.before.push(before);
    }

    /// Whether `task` waits for all of `others`.
    fn waits_for_all(&self, task: usize, others: &[usize]) -> bool {
        others.iter().all(|&other| self.before[task].contains(other))
    }
}

fn written(task: &Task) -> impl Iterator<Item = usize> + '_ {
    task.scratch.iter().chain([&task.output]).filter_map(|laid| laid.place.slot())
}

/// Slots that are shared.
pub(super) struct Shared {
    /// Values that each has room for.
    pub slots: Vec<usize>,
    /// The shared slot of each slot that is used.
    pub place_of: Vec<Option<usize>>,
}

impl Shared {
    /// Shares `slots`, of as many values each, among `tasks`. Those `kept` have one to themselves; what is `read` at the end
    /// stays where it is.
    pub fn of(order: &Order, tasks: &[Task], slots: &[usize], kept: &[usize], read: Option<usize>) -> Self {
        let mut users: Vec<Vec<usize>> = vec![Vec::new(); slots.len()];
        for (number, task) in tasks.iter().enumerate() {
            task.touched().filter_map(|laid| laid.place.slot()).for_each(|slot| users[slot].push(number));
        }
        read.into_iter().for_each(|slot| users[slot].push(tasks.len()));
        let mut shared = Self { slots: Vec::new(), place_of: vec![None; slots.len()] };
        for &slot in kept {
            shared.place_of[slot] = Some(shared.slots.len());
            shared.slots.push(slots[slot]);
        }
        // Which tensor was in each shared slot last; nothing comes into those of the kept.
        let mut held: Vec<Option<usize>> = vec![None; shared.slots.len()];
        for (number, task) in tasks.iter().enumerate() {
            for slot in written(task) {
                if shared.place_of[slot].is_some() {
                    continue;
                }
                let free = |&place: &usize| held[place].is_some_and(|held| order.waits_for_all(number, &users[held]));
                let free: Vec<usize> = (0..held.len()).filter(free).collect();
                let place = shared.take(&free, slots[slot]);
                held.resize(shared.slots.len(), None);
                held[place] = Some(slot);
                shared.place_of[slot] = Some(place);
            }
        }
        shared
    }

    /// A slot for `len` values: of the free the smallest that has room, else the largest, made larger, else a new one.
    fn take(&mut self, free: &[usize], len: usize) -> usize {
        let room = |&&slot: &&usize| self.slots[slot];
        let fits = free.iter().filter(|&&slot| self.slots[slot] >= len).min_by_key(room);
        let Some(&slot) = fits.or_else(|| free.iter().max_by_key(room)) else {
            self.slots.push(len);
            return self.slots.len() - 1;
        };
        self.slots[slot] = self.slots[slot].max(len);
        slot
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::super::plan::{Laid, Place, Work};
    use super::*;
    use crate::cuda::ops::tensors::Function;
    use crate::cuda::view::View;

    fn laid(place: Place) -> Laid {
        Laid { place, view: View::rows(&[100]) }
    }

    /// A task that reads slots, or what is given where there are none, and writes one.
    fn task(read: &[usize], written: usize) -> Task {
        let inputs = match read {
            [] => vec![laid(Place::Given(0))],
            read => read.iter().map(|&slot| laid(Place::Slot(slot))).collect(),
        };
        let work = Work::Map { function: Function::Copy, scalars: [0; 2] };
        Task { work, inputs, scratch: None, output: laid(Place::Slot(written)) }
    }

    #[test]
    fn a_task_waits_for_what_it_reads_and_for_who_uses_what_it_writes() {
        // Two branches of two tasks, joined, and a last one that writes over the first branch's end.
        let tasks = [task(&[], 0), task(&[0], 1), task(&[0], 2), task(&[1], 3), task(&[3, 2], 4), task(&[2], 3)];
        let order = Order::of(&tasks, 5);
        assert_eq!(order.after, [vec![], vec![0], vec![0], vec![1], vec![3, 2], vec![4]]);
    }

    #[test]
    fn branches_do_not_share_what_would_make_one_wait_for_the_other() {
        let tasks = [task(&[], 0), task(&[0], 1), task(&[0], 2), task(&[1], 3), task(&[2], 4), task(&[3, 4], 5)];
        let order = Order::of(&tasks, 6);
        let shared = Shared::of(&order, &tasks, &[100; 6], &[], Some(5));
        let place = |slot: usize| shared.place_of[slot].expect("a place");
        assert_ne!(place(1), place(2));
        assert_ne!(place(3), place(4));
        assert_ne!(place(4), place(1), "the other branch's first may still be read");
        let again: Vec<Task> = tasks.iter().map(|task| moved(task, &shared)).collect();
        assert_eq!(Order::of(&again, shared.slots.len()).after, order.after, "sharing makes nothing wait");
    }

    fn moved(task: &Task, shared: &Shared) -> Task {
        let mut task = task.clone();
        for laid in task.inputs.iter_mut().chain(&mut task.scratch).chain([&mut task.output]) {
            if let Place::Slot(slot) = &mut laid.place {
                *slot = shared.place_of[*slot].expect("a place");
            }
        }
        task
    }

    #[test]
    fn tensors_of_a_chain_share_two_slots() {
        let read = |slot: usize| slot.checked_sub(1).into_iter().collect::<Vec<_>>();
        let tasks: Vec<Task> = (0..10).map(|slot| task(&read(slot), slot)).collect();
        let order = Order::of(&tasks, 10);
        assert_eq!(Shared::of(&order, &tasks, &[100; 10], &[], Some(9)).slots.len(), 2);
        assert_eq!(Shared::of(&order, &tasks, &[100; 10], &[3, 9], None).slots.len(), 4);
    }

    proptest! {
        /// Of each task: what it reads, whether it adds to the first of that instead of making a tensor, and whether it has scratch.
        #[test]
        fn shared_memory_makes_nothing_wait_and_is_used_by_one_at_a_time(
            drawn in vec((vec(any::<Index>(), 0..3), any::<bool>(), any::<bool>()), 1..40),
        ) {
            let (mut tasks, mut made, mut slots): (Vec<Task>, Vec<usize>, usize) = (Vec::new(), Vec::new(), 0);
            let mut new = || {
                slots += 1;
                slots - 1
            };
            for (picked, adds, with_scratch) in &drawn {
                let read: Vec<usize> = picked.iter().filter(|_| !made.is_empty()).map(|index| *index.get(&made)).collect();
                let written = if *adds { read.first().copied().unwrap_or_else(&mut new) } else { new() };
                let scratch = with_scratch.then(|| laid(Place::Slot(new())));
                tasks.push(Task { scratch, ..task(&read, written) });
                made.push(written);
            }
            let order = Order::of(&tasks, slots);
            let shared = Shared::of(&order, &tasks, &vec![100; slots], &made[..1], made.last().copied());
            let moved: Vec<Task> = tasks.iter().map(|task| moved(task, &shared)).collect();
            prop_assert_eq!(&Order::of(&moved, shared.slots.len()).before, &order.before);
            for (number, task) in moved.iter().enumerate() {
                for other in (0..number).filter(|&other| !order.before[number].contains(other)) {
                    let touched = |task: &Task| task.touched().filter_map(|laid| laid.place.slot()).collect::<Vec<_>>();
                    let meet = |by: &Task, all: &Task| written(by).any(|slot| touched(all).contains(&slot));
                    prop_assert!(!meet(task, &moved[other]) && !meet(&moved[other], task), "{number} and {other}");
                }
            }
        }
    }
}

//! Tasks on lanes, on each of which they happen one after another: what waits for nothing of another lane runs beside it.

use fixedbitset::FixedBitSet;

/// Where a task is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    /// The lane.
    pub lane: usize,
    /// Tasks of other lanes that it waits for.
    pub waits_for: Vec<usize>,
    /// Whether a task of another lane waits for it.
    pub is_awaited: bool,
}

/// Gives each task a lane, of at most `most`; `after` has those that each waits for directly, all before it.
///
/// A task goes on where one ended that it waits for; else where it waits for the last one in some other way; else on a new
/// lane, as long as there is one, and then on that whose last is the earliest.
pub(super) fn lanes(after: &[Vec<usize>], most: usize) -> Vec<Turn> {
    let mut turns: Vec<Turn> = Vec::with_capacity(after.len());
    let mut before: Vec<FixedBitSet> = Vec::with_capacity(after.len());
    // The last task of each lane.
    let mut last: Vec<usize> = Vec::new();
    for (task, others) in after.iter().enumerate() {
        let mut all = FixedBitSet::with_capacity(task);
        for &other in others {
            all.union_with(&before[other]);
            all.insert(other);
        }
        let latest = |lane: &usize| last[*lane];
        let of_others = (0..last.len()).filter(|&lane| others.contains(&last[lane])).max_by_key(latest);
        let idle = || (0..last.len()).filter(|&lane| all.contains(last[lane])).max_by_key(latest);
        let lane = of_others.or_else(idle).unwrap_or_else(|| {
            if last.len() < most.max(1) { last.len() } else { (0..last.len()).min_by_key(latest).unwrap_or_default() }
        });
        if lane == last.len() {
            last.push(task);
        } else {
            // As its lane has it.
            all.union_with(&before[last[lane]]);
            all.insert(last[lane]);
            last[lane] = task;
        }
        let waits_for: Vec<usize> = others.iter().copied().filter(|&other| turns[other].lane != lane).collect();
        waits_for.iter().for_each(|&other| turns[other].is_awaited = true);
        turns.push(Turn { lane, waits_for, is_awaited: false });
        before.push(all);
    }
    turns
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    fn turn(lane: usize, waits_for: &[usize], is_awaited: bool) -> Turn {
        Turn { lane, waits_for: waits_for.to_vec(), is_awaited }
    }

    #[test]
    fn a_chain_stays_on_its_lane() {
        let after = [vec![], vec![0], vec![1]];
        assert_eq!(lanes(&after, 4), [turn(0, &[], false), turn(0, &[], false), turn(0, &[], false)]);
    }

    #[test]
    fn branches_run_beside_each_other_and_lanes_are_used_again() {
        // Three branches of two tasks each, joined; then three again.
        let after =
            [vec![], vec![0], vec![1], vec![0], vec![3], vec![0], vec![5], vec![2, 4, 6], vec![7], vec![7], vec![7]];
        let found = lanes(&after, 8);
        assert_eq!(found.iter().map(|turn| turn.lane).collect::<Vec<_>>(), [0, 0, 0, 1, 1, 2, 2, 2, 2, 1, 0]);
        assert_eq!(found[3], turn(1, &[0], false));
        assert_eq!(found[7], turn(2, &[2, 4], true));
        assert_eq!(found[9], turn(1, &[7], false));
    }

    #[test]
    fn with_one_lane_nothing_waits_for_another() {
        let after = [vec![], vec![], vec![0], vec![1, 2]];
        assert!(lanes(&after, 1).iter().all(|found| *found == turn(0, &[], false)));
    }

    proptest! {
        #[test]
        fn lanes_and_what_is_waited_for_imply_all_that_a_task_waits_for(
            picked in vec(vec(any::<Index>(), 0..4), 1..40), most in 1_usize..5,
        ) {
            let others = |(task, picked): (usize, &Vec<Index>)| -> Vec<usize> {
                let others = picked.iter().filter(|_| task > 0).map(|index| index.index(task));
                others.collect::<BTreeSet<usize>>().into_iter().collect()
            };
            let after: Vec<Vec<usize>> = picked.iter().enumerate().map(others).collect();
            let turns = lanes(&after, most);
            let mut behind: Vec<BTreeSet<usize>> = Vec::new();
            let mut last: Vec<Option<usize>> = vec![None; most];
            for (task, turn) in turns.iter().enumerate() {
                let mut all = BTreeSet::new();
                for &other in last[turn.lane].iter().chain(&turn.waits_for) {
                    all.extend(&behind[other]);
                    all.insert(other);
                }
                prop_assert!(after[task].iter().all(|other| all.contains(other)), "task {task} of {after:?}: {turns:?}");
                prop_assert!(turn.waits_for.iter().all(|&other| turns[other].is_awaited));
                behind.push(all);
                last[turn.lane] = Some(task);
            }
        }
    }
}

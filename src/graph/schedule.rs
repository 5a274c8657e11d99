//! Schedules: in which order nodes run, and which buffers they share.

use std::ops::Range;

/// A node's place among others, before buffers are assigned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wiring {
    /// For each input, the node and its output that feed it.
    pub inputs: Vec<(usize, usize)>,
    /// Number of outputs.
    pub outputs: usize,
    /// Rate of the inputs in Hz.
    pub input_rate_hz: u32,
    /// Rate of the outputs in Hz.
    pub output_rate_hz: u32,
}

/// One node's turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The node.
    pub node: usize,
    /// Where in [`Schedule::input_buffers`] its inputs stand.
    pub inputs: Range<usize>,
    /// Where in [`Schedule::output_buffers`] its outputs stand.
    pub outputs: Range<usize>,
    /// The inputs' place in [`Schedule::rates_hz`].
    pub input_rate: usize,
    /// The outputs' place in [`Schedule::rates_hz`].
    pub output_rate: usize,
}

/// A flat plan of a block: plain data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// Turns, in order.
    pub steps: Vec<Step>,
    /// Buffers that are read, step by step.
    pub input_buffers: Vec<usize>,
    /// Buffers that are written, step by step.
    pub output_buffers: Vec<usize>,
    /// Number of buffers.
    pub buffers: usize,
    /// All rates that occur, in Hz.
    pub rates_hz: Vec<u32>,
}

/// The order in which nodes can run, each after all that feed it; among those that could run, the first comes first.
///
/// # Errors
/// The nodes of a cycle, in order.
pub fn order(nodes: &[Wiring]) -> Result<Vec<usize>, Vec<usize>> {
    let mut done = vec![false; nodes.len()];
    let mut order = Vec::with_capacity(nodes.len());
    while order.len() < nodes.len() {
        let ready = |node: &usize| !done[*node] && nodes[*node].inputs.iter().all(|&(from, _)| done[from]);
        let Some(next) = (0..nodes.len()).find(ready) else { return Err(cycle(nodes, &done)) };
        done[next] = true;
        order.push(next);
    }
    Ok(order)
}

/// A cycle among the nodes that are not `done`, each of which waits for another of them.
fn cycle(nodes: &[Wiring], done: &[bool]) -> Vec<usize> {
    let mut path: Vec<usize> = Vec::new();
    let mut node = done.iter().position(|done| !done).unwrap_or_default();
    loop {
        if let Some(start) = path.iter().position(|&seen| seen == node) {
            let mut cycle = path.split_off(start);
            cycle.reverse();
            return cycle;
        }
        path.push(node);
        let waits_for = nodes[node].inputs.iter().map(|&(from, _)| from).find(|&from| !done[from]);
        let Some(from) = waits_for else { return path };
        node = from;
    }
}

impl Schedule {
    /// A plan for `nodes`, which stand in an order in which they can run. A buffer is used again once its last reader
    /// has run; a node's outputs never share a buffer with its inputs.
    #[must_use]
    pub fn new(nodes: &[Wiring]) -> Self {
        let mut schedule = Self::default();
        let mut readers = readers(nodes);
        let mut free: Vec<usize> = Vec::new();
        // The buffer of each output of each node.
        let mut buffers: Vec<Vec<usize>> = Vec::with_capacity(nodes.len());
        for (node, wiring) in nodes.iter().enumerate() {
            let first_output = schedule.output_buffers.len();
            for _ in 0..wiring.outputs {
                let buffer = free.pop().unwrap_or_else(|| {
                    schedule.buffers += 1;
                    schedule.buffers - 1
                });
                schedule.output_buffers.push(buffer);
            }
            buffers.push(schedule.output_buffers[first_output..].to_vec());
            let first_input = schedule.input_buffers.len();
            for &(from, port) in &wiring.inputs {
                let buffer = buffers[from][port];
                schedule.input_buffers.push(buffer);
                readers[from][port] -= 1;
                if readers[from][port] == 0 {
                    free.push(buffer);
                }
            }
            let unread = buffers[node].iter().zip(&readers[node]).filter(|(_, readers)| **readers == 0);
            free.extend(unread.map(|(buffer, _)| *buffer));
            let step = Step {
                node,
                inputs: first_input..schedule.input_buffers.len(),
                outputs: first_output..schedule.output_buffers.len(),
                input_rate: schedule.rate(wiring.input_rate_hz),
                output_rate: schedule.rate(wiring.output_rate_hz),
            };
            schedule.steps.push(step);
        }
        schedule
    }

    /// The place of `rate_hz` among the rates.
    fn rate(&mut self, rate_hz: u32) -> usize {
        self.rates_hz.iter().position(|&known| known == rate_hz).unwrap_or_else(|| {
            self.rates_hz.push(rate_hz);
            self.rates_hz.len() - 1
        })
    }
}

/// How many inputs each output feeds.
fn readers(nodes: &[Wiring]) -> Vec<Vec<usize>> {
    let mut readers: Vec<Vec<usize>> = nodes.iter().map(|node| vec![0; node.outputs]).collect();
    for &(from, port) in nodes.iter().flat_map(|node| &node.inputs) {
        readers[from][port] += 1;
    }
    readers
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wiring(inputs: &[(usize, usize)], outputs: usize) -> Wiring {
        Wiring { inputs: inputs.to_vec(), outputs, input_rate_hz: 48_000, output_rate_hz: 48_000 }
    }

    #[test]
    fn a_chain_needs_two_buffers_however_long_it_is() {
        let mut nodes = vec![wiring(&[], 1)];
        nodes.extend((0..20).map(|n| wiring(&[(n, 0)], 1)));
        assert_eq!(Schedule::new(&nodes).buffers, 2);
    }

    #[test]
    fn a_cycle_is_found_and_told_in_the_direction_of_the_audio() {
        let nodes = [wiring(&[], 1), wiring(&[(0, 0), (3, 0)], 1), wiring(&[(1, 0)], 1), wiring(&[(2, 0)], 1)];
        let cycle = order(&nodes).expect_err("a cycle");
        let start = cycle.iter().position(|&node| node == 1).expect("in the cycle");
        let turned: Vec<usize> = (0..3).map(|n| cycle[(start + n) % 3]).collect();
        assert_eq!((cycle.len(), turned), (3, vec![1, 2, 3]));
    }

    proptest! {
        #[test]
        fn no_buffer_is_written_before_its_last_reader_has_run(
            choices in proptest::collection::vec((proptest::collection::vec((any::<u8>(), 0..2_usize), 0..4), 0..3_usize), 1..24)
        ) {
            let mut nodes: Vec<Wiring> = vec![wiring(&[], 2)];
            for (inputs, outputs) in choices {
                let sources = inputs.iter().filter_map(|&(from, port)| {
                    let from = from as usize % nodes.len();
                    (port < nodes[from].outputs).then_some((from, port))
                });
                let node = wiring(&sources.collect::<Vec<_>>(), outputs);
                nodes.push(node);
            }
            prop_assert_eq!(order(&nodes).expect("no cycle"), (0..nodes.len()).collect::<Vec<_>>());
            let schedule = Schedule::new(&nodes);
            // Runs it: every buffer holds the output that was last written to it.
            let mut holds = vec![None; schedule.buffers];
            for step in &schedule.steps {
                let outputs = &schedule.output_buffers[step.outputs.clone()];
                for (port, &buffer) in outputs.iter().enumerate() {
                    holds[buffer] = Some((step.node, port));
                }
                for (&buffer, &source) in schedule.input_buffers[step.inputs.clone()].iter().zip(&nodes[step.node].inputs) {
                    prop_assert_eq!(holds[buffer], Some(source));
                }
            }
        }
    }
}

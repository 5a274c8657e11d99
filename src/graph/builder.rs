//! Builder: nodes and connections, checked on control and made into something that runs.

use std::collections::HashMap;

use super::compiled::{CompiledGraph, Slot, frames_at};
use super::nodes::delay::Delay;
use super::schedule::{Schedule, Wiring, order};
use crate::error::{Error, Result};
use crate::params::LiveParams;
use crate::rt::node::{MAX_PORTS, Role};
use crate::rt::{Node, Ports, RtNode, Setup};

/// What a graph is built for.
#[derive(Clone, Debug, PartialEq)]
pub struct GraphSettings {
    /// The device's rate, in Hz.
    pub rate_hz: u32,
    /// Most frames that nodes process at once; longer device blocks are split.
    pub max_block: usize,
    /// Channels that the device records.
    pub device_inputs: usize,
    /// Channels that the device plays.
    pub device_outputs: usize,
    /// Total latency that is to be had, in samples, if it shall be constant: what is less is delayed.
    pub total_latency_samples: Option<usize>,
    /// What of the total latency lies outside of the graph, in the device, in samples.
    pub device_latency_samples: usize,
    /// The parameters in force, from which smoothed ones start.
    pub live: LiveParams,
}

impl GraphSettings {
    /// Settings with default parameters and no more latency than needed.
    #[must_use]
    pub fn new(rate_hz: u32, max_block: usize, device_inputs: usize, device_outputs: usize) -> Self {
        Self {
            rate_hz,
            max_block,
            device_inputs,
            device_outputs,
            total_latency_samples: None,
            device_latency_samples: 0,
            live: LiveParams::default(),
        }
    }
}

/// A node of a builder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodeId(usize);

/// One port of a node: the node itself means port 0, `(node, n)` port n.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Port {
    node: NodeId,
    index: usize,
}

impl From<NodeId> for Port {
    fn from(node: NodeId) -> Self {
        Self { node, index: 0 }
    }
}

impl From<(NodeId, usize)> for Port {
    fn from((node, index): (NodeId, usize)) -> Self {
        Self { node, index }
    }
}

/// A graph in the making.
pub struct GraphBuilder {
    settings: GraphSettings,
    nodes: Vec<Draft>,
}

struct Draft {
    name: String,
    node: Box<dyn Node>,
    ports: Ports,
    role: Role,
    inputs: Vec<Option<(usize, usize)>>,
}

impl GraphBuilder {
    /// A graph without nodes.
    #[must_use]
    pub fn new(settings: GraphSettings) -> Self {
        Self { settings, nodes: Vec::new() }
    }

    /// Adds a node that runs at the device's rate.
    ///
    /// # Errors
    /// [`Error::Argument`] if the name is taken or the node has too many ports.
    pub fn add(&mut self, name: impl Into<String>, node: impl Node) -> Result<NodeId> {
        self.add_at(self.settings.rate_hz, name, node)
    }

    /// Adds a node whose place in the graph has the rate `rate_hz`.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn add_at(&mut self, rate_hz: u32, name: impl Into<String>, node: impl Node) -> Result<NodeId> {
        let name = name.into();
        if self.nodes.iter().any(|known| known.name == name) {
            return Err(Error::argument(format!("node `{name}`"), "a name of its own", "a second node of that name"));
        }
        let (ports, role) = (node.ports(rate_hz), node.role());
        let most = ports.inputs.max(ports.outputs);
        if most > MAX_PORTS {
            return Err(Error::argument(format!("ports of `{name}`"), format!("at most {MAX_PORTS}"), most));
        }
        self.nodes.push(Draft { name, node: Box::new(node), ports, role, inputs: vec![None; ports.inputs] });
        Ok(NodeId(self.nodes.len() - 1))
    }

    /// Connects an output to an input.
    ///
    /// # Errors
    /// [`Error::Argument`] that names both nodes: no such port, two rates, or an input that is connected already.
    pub fn connect(&mut self, from: impl Into<Port>, to: impl Into<Port>) -> Result<()> {
        let (from, to): (Port, Port) = (from.into(), to.into());
        let (source, target) = (self.draft(from)?, self.draft(to)?);
        let connection = format!("connection `{}` -> `{}`", source.name, target.name);
        if from.index >= source.ports.outputs {
            let expected = format!("one of the {} outputs of `{}`", source.ports.outputs, source.name);
            return Err(Error::argument(connection, expected, format!("output {}", from.index)));
        }
        let Some(input) = target.inputs.get(to.index) else {
            let expected = format!("one of the {} inputs of `{}`", target.ports.inputs, target.name);
            return Err(Error::argument(connection, expected, format!("input {}", to.index)));
        };
        let (out_hz, in_hz) = (source.ports.output_rate_hz, target.ports.input_rate_hz);
        if out_hz != in_hz {
            let found = format!("{out_hz} Hz; put a resampler between");
            return Err(Error::argument(connection, format!("{in_hz} Hz, as `{}` runs at", target.name), found));
        }
        if let Some((other, _)) = input {
            let found = format!("one that `{}` feeds already; put a mix between", self.nodes[*other].name);
            return Err(Error::argument(connection, "a free input", found));
        }
        self.nodes[to.node.0].inputs[to.index] = Some((from.node.0, from.index));
        Ok(())
    }

    /// Connects the first output of each node to the first input of the next.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn chain(&mut self, nodes: &[NodeId]) -> Result<()> {
        nodes.windows(2).try_for_each(|pair| self.connect(pair[0], pair[1]))
    }

    fn draft(&self, port: Port) -> Result<&Draft> {
        let missing = || Error::argument("node", "one of this graph", "one of another");
        self.nodes.get(port.node.0).ok_or_else(missing)
    }

    /// Checks the whole, prepares all nodes and delays every path that would arrive too early where paths meet.
    ///
    /// # Errors
    /// [`Error::Argument`] that names the nodes: an input without connection, a cycle, a total latency that is
    /// exceeded, or what a node itself refuses.
    pub fn build(self) -> Result<CompiledGraph> {
        let Self { settings, nodes } = self;
        if settings.max_block == 0 || settings.rate_hz == 0 {
            return Err(Error::argument("graph", "a block of at least one frame at a rate above 0 Hz", "0"));
        }
        let wirings = nodes.iter().map(wiring).collect::<Result<Vec<_>>>()?;
        let order = order(&wirings).map_err(|cycle| {
            let names: Vec<&str> = cycle.iter().chain(cycle.first()).map(|&node| &*nodes[node].name).collect();
            Error::argument("graph", "connections without a cycle", names.join(" -> "))
        })?;
        let mut assembly = Assembly { settings, slots: Vec::new(), wirings: Vec::new(), latency_samples: Vec::new() };
        let mut places = HashMap::new();
        let mut drafts: Vec<_> = nodes.into_iter().zip(wirings).map(Some).collect();
        for index in order {
            let Some((draft, mut wiring)) = drafts[index].take() else { continue };
            wiring.inputs.iter_mut().for_each(|(from, _)| *from = places[from]);
            places.insert(index, assembly.place(draft, wiring)?);
        }
        Ok(assembly.finish())
    }
}

/// What feeds a node.
fn wiring(draft: &Draft) -> Result<Wiring> {
    let connected = |(index, input): (usize, &Option<(usize, usize)>)| {
        let name = || format!("input {index} of `{}`", draft.name);
        input.ok_or_else(|| Error::argument(name(), "a connection", "nothing connected"))
    };
    Ok(Wiring {
        inputs: draft.inputs.iter().enumerate().map(connected).collect::<Result<_>>()?,
        outputs: draft.ports.outputs,
        input_rate_hz: draft.ports.input_rate_hz,
        output_rate_hz: draft.ports.output_rate_hz,
    })
}

/// Nodes in the order they run, with the latency at the output of each.
struct Assembly {
    settings: GraphSettings,
    slots: Vec<Slot>,
    wirings: Vec<Wiring>,
    /// In device samples, not rounded.
    latency_samples: Vec<f64>,
}

impl Assembly {
    /// Prepares a node and puts it at the end, after the delays that its inputs need.
    fn place(&mut self, draft: Draft, mut wiring: Wiring) -> Result<usize> {
        let Draft { name, node, role, .. } = draft;
        let node = node.prepare(&self.setup(&wiring)).map_err(|error| of_node(&name, error))?;
        let inputs = wiring.inputs.iter().map(|&(from, _)| self.latency_samples[from]);
        let mut latest = inputs.fold(0.0, f64::max);
        if let (Role::Output, Some(total)) = (role, self.settings.total_latency_samples) {
            let device = self.settings.device_latency_samples;
            let least = latest.round() as usize + device;
            if total < least {
                let with_device = if device > 0 { format!(" with {device} of the device") } else { String::new() };
                let expected = format!("at least {least} samples, which the path to `{name}` takes{with_device}");
                return Err(Error::argument("total latency", expected, total));
            }
            latest = (total - device) as f64;
        }
        for (port, input) in wiring.inputs.iter_mut().enumerate() {
            *input = self.delay(&name, port, *input, wiring.input_rate_hz, latest);
        }
        let own = node.latency_samples() * self.device_samples_at(wiring.output_rate_hz);
        self.push(Slot { name, node, role, failed: false, latency_samples: 0 }, wiring, latest + own);
        Ok(self.slots.len() - 1)
    }

    /// The output that carries `source` with a latency of `latest` device samples.
    fn delay(&mut self, name: &str, port: usize, source: (usize, usize), rate_hz: u32, latest: f64) -> (usize, usize) {
        let early = latest - self.latency_samples[source.0];
        let samples = (early / self.device_samples_at(rate_hz)).round() as usize;
        if samples == 0 {
            return source;
        }
        let name = format!("delay before input {port} of {name}");
        let node: Box<dyn RtNode> = Box::new(Delay::new(samples));
        let wiring = Wiring { inputs: vec![source], outputs: 1, input_rate_hz: rate_hz, output_rate_hz: rate_hz };
        self.push(Slot { name, node, role: Role::Inner, failed: false, latency_samples: 0 }, wiring, latest);
        (self.slots.len() - 1, 0)
    }

    fn push(&mut self, slot: Slot, wiring: Wiring, latency_samples: f64) {
        self.slots.push(Slot { latency_samples: latency_samples.round() as usize, ..slot });
        self.wirings.push(wiring);
        self.latency_samples.push(latency_samples);
    }

    /// Device samples that one sample at `rate_hz` lasts.
    fn device_samples_at(&self, rate_hz: u32) -> f64 {
        f64::from(self.settings.rate_hz) / f64::from(rate_hz)
    }

    fn setup(&self, wiring: &Wiring) -> Setup {
        let GraphSettings { rate_hz, max_block, device_inputs, device_outputs, live, .. } = self.settings;
        Setup {
            rate_hz: wiring.input_rate_hz,
            max_block: frames_at(max_block, wiring.input_rate_hz, rate_hz),
            output_rate_hz: wiring.output_rate_hz,
            max_output_block: frames_at(max_block, wiring.output_rate_hz, rate_hz),
            device_inputs,
            device_outputs,
            live,
        }
    }

    fn finish(self) -> CompiledGraph {
        CompiledGraph::new(&self.settings, Schedule::new(&self.wirings), self.slots)
    }
}

/// `error` with the name of the node that it is about.
fn of_node(node: &str, error: Error) -> Error {
    match error {
        Error::Argument { name, expected, found } => Error::argument(format!("{name} of `{node}`"), expected, found),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::nodes::{Gain, Input, Limiter, Mix, Output, Resampler};

    fn builder() -> GraphBuilder {
        GraphBuilder::new(GraphSettings::new(48_000, 256, 1, 1))
    }

    fn unity() -> Gain {
        Gain::of(|_| 0.0)
    }

    fn refusal<T>(result: Result<T>) -> String {
        result.err().expect("a refusal").to_string()
    }

    #[test]
    fn each_mistake_is_refused_with_the_names_of_the_nodes() {
        let mut graph = builder();
        let input = graph.add("input", Input::of(0)).expect("a node");
        let gain = graph.add("gain", unity()).expect("a node");
        let slow = graph.add_at(16_000, "slow", unity()).expect("a node");
        assert_eq!(
            refusal(graph.add("gain", unity())),
            "node `gain`: expected a name of its own, found a second node of that name"
        );
        assert_eq!(
            refusal(graph.connect(gain, slow)),
            "connection `gain` -> `slow`: expected 16000 Hz, as `slow` runs at, found 48000 Hz; put a resampler between"
        );
        assert_eq!(
            refusal(graph.connect((gain, 1), input)),
            "connection `gain` -> `input`: expected one of the 1 outputs of `gain`, found output 1"
        );
        assert_eq!(
            refusal(graph.connect(gain, input)),
            "connection `gain` -> `input`: expected one of the 0 inputs of `input`, found input 0"
        );
        graph.connect(input, gain).expect("a connection");
        assert_eq!(
            refusal(graph.connect(input, gain)),
            "connection `input` -> `gain`: expected a free input, found one that `input` feeds already; put a mix between"
        );
        assert_eq!(refusal(graph.build()), "input 0 of `slow`: expected a connection, found nothing connected");
    }

    #[test]
    fn a_cycle_is_refused_with_its_way() {
        let mut graph = builder();
        let [a, b, c] = ["a", "b", "c"].map(|name| graph.add(name, unity()).expect("a node"));
        graph.chain(&[a, b, c, a]).expect("connections");
        let message = refusal(graph.build());
        assert!(message.starts_with("graph: expected connections without a cycle, found "), "{message}");
        let (_, way) = message.rsplit_once("found ").expect("a way");
        assert!(["a -> b -> c -> a", "b -> c -> a -> b", "c -> a -> b -> c"].contains(&way), "{way}");
    }

    #[test]
    fn a_channel_that_the_device_lacks_is_refused() {
        let mut graph = builder();
        graph.add("input", Input::of(3)).expect("a node");
        assert_eq!(refusal(graph.build()), "input channel of `input`: expected 0 to 0, found 3");
    }

    #[test]
    fn where_paths_meet_the_early_one_is_delayed_and_the_total_is_reported() {
        let mut graph = builder();
        let input = graph.add("input", Input::of(0)).expect("a node");
        let limiter = graph.add("limiter", Limiter { look_ahead_ms: 2.0, release_ms: 50.0 }).expect("a node");
        let mix = graph.add("mix", Mix).expect("a node");
        let output = graph.add("output", Output::to([0])).expect("a node");
        graph.chain(&[input, limiter]).expect("connections");
        graph.connect(input, (mix, Mix::DRY)).expect("a connection");
        graph.connect(limiter, (mix, Mix::WET)).expect("a connection");
        graph.connect(mix, output).expect("a connection");
        let graph = graph.build().expect("a graph");
        assert_eq!(graph.latency_samples(), 96);
        assert_eq!(graph.latency_samples_of("mix"), Some(96));
        assert_eq!(graph.latency_samples_of("input"), Some(0));
        assert_eq!(graph.node_names().nth(2), Some("delay before input 0 of mix"));
    }

    #[test]
    fn latencies_at_other_rates_add_up_in_device_samples() {
        let mut graph = builder();
        let input = graph.add("input", Input::of(0)).expect("a node");
        let down = graph.add("down", Resampler::to(16_000)).expect("a node");
        let limiter = graph.add_at(16_000, "slow", Limiter { look_ahead_ms: 2.0, release_ms: 50.0 }).expect("a node");
        let up = graph.add_at(16_000, "up", Resampler::to(48_000)).expect("a node");
        let output = graph.add("output", Output::to([0])).expect("a node");
        graph.chain(&[input, down, limiter, up, output]).expect("connections");
        let graph = graph.build().expect("a graph");
        // Down: 35 / 3 - 1 samples of 16 kHz, limiter: 32 of them, up: 35 * 3 - 1 samples of 48 kHz.
        assert_eq!(graph.latency_samples(), 32 + 96 + 104);
    }

    #[test]
    fn a_constant_total_latency_is_filled_up_and_not_exceeded() {
        for (total, expected) in [(500, Ok(500)), (50, Err(()))] {
            let settings =
                GraphSettings { total_latency_samples: Some(total), ..GraphSettings::new(48_000, 256, 1, 1) };
            let mut graph = GraphBuilder::new(settings);
            let input = graph.add("input", Input::of(0)).expect("a node");
            let limiter = graph.add("limiter", Limiter { look_ahead_ms: 2.0, release_ms: 50.0 }).expect("a node");
            let output = graph.add("output", Output::to([0])).expect("a node");
            graph.chain(&[input, limiter, output]).expect("connections");
            assert_eq!(graph.build().map(|graph| graph.latency_samples()).map_err(|_| ()), expected);
        }
    }
}

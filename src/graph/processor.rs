//! Processor: what a device callback calls, and the handle by which control steers it.

use std::f32::consts::PI;
use std::time::{Duration, Instant};

use super::builder::GraphSettings;
use super::compiled::CompiledGraph;
use crate::error::{Error, Result};
use crate::params::LiveParams;
use crate::rt::events::{Event, EventTx};
use crate::rt::garbage::{Receiver, Sender, hand_over};
use crate::rt::guard;
use crate::rt::snapshot::{SnapshotRx, SnapshotTx, snapshot};

/// Time in which a new graph takes over from the old, in ms.
const CROSSFADE_MS: f64 = 30.0;

/// A handle for control and a processor for the device callback. The processor is silent until a graph is swapped in.
#[must_use]
pub fn processor(settings: &GraphSettings, events: EventTx) -> (GraphHandle, Processor) {
    let (sender, receiver) = hand_over();
    let (live_tx, live) = snapshot(settings.live);
    let (telemetry, telemetry_rx) = snapshot(GraphTelemetry::default());
    let handle = GraphHandle {
        sender,
        live: live_tx,
        telemetry: telemetry_rx,
        rate_hz: settings.rate_hz,
        max_block: settings.max_block,
    };
    let fade = (f64::from(settings.rate_hz) * CROSSFADE_MS / 1000.0) as usize;
    let processor = Processor {
        receiver,
        live,
        telemetry,
        events,
        rate_hz: settings.rate_hz,
        max_block: settings.max_block.max(1),
        current: None,
        incoming: None,
        fade_in: (1..=fade).map(|n| 0.5 - 0.5 * (PI * n as f32 / fade as f32).cos()).collect(),
        counts: GraphTelemetry::default(),
        freewheel: false,
    };
    (handle, processor)
}

/// What a [`Processor`] has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GraphTelemetry {
    /// Device blocks.
    pub blocks: u64,
    /// Device frames.
    pub frames: u64,
    /// Nodes that panicked and are silent.
    pub node_panics: u64,
    /// Blocks that were silent since the processor itself panicked.
    pub callback_panics: u64,
    /// Samples that were no numbers and were played as silence.
    pub non_finite_samples: u64,
    /// Graphs that took over.
    pub swaps: u64,
    /// Latency of the graph that is heard, in samples.
    pub latency_samples: usize,
    /// Time that the last block took.
    pub last: Duration,
    /// Longest time that a block took.
    pub longest: Duration,
    /// Time that all blocks took.
    pub total: Duration,
}

/// Control's side of a [`Processor`].
pub struct GraphHandle {
    sender: Sender<CompiledGraph>,
    live: SnapshotTx<LiveParams>,
    telemetry: SnapshotRx<GraphTelemetry>,
    rate_hz: u32,
    max_block: usize,
}

impl GraphHandle {
    /// Sends `graph` to take over.
    ///
    /// The first graph is heard at once. Any other first runs unheard for its own latency, so that it has something to
    /// say, then takes over in a cross-fade of 30 ms in which both run; graphs sent meanwhile wait their turn. Graphs
    /// that are done with are freed here.
    ///
    /// # Errors
    /// [`Error::Argument`] if the graph is made for another rate or block, or if too many wait already.
    pub fn swap(&mut self, graph: CompiledGraph) -> Result<()> {
        self.collect();
        let (found, expected) = ((graph.rate_hz(), graph.max_block()), (self.rate_hz, self.max_block));
        if found != expected {
            let describe = |(rate_hz, block): (u32, usize)| format!("{rate_hz} Hz in blocks of {block}");
            return Err(Error::argument("graph", describe(expected), describe(found)));
        }
        let refused =
            |_| Error::argument("graphs that wait", format!("at most {}", Sender::<CompiledGraph>::LIMIT), "more");
        self.sender.send(Box::new(graph)).map_err(refused)
    }

    /// Frees the graphs that are done with; returns how many. To be called now and then, best by whoever waits anyway.
    pub fn collect(&mut self) -> usize {
        std::iter::from_fn(|| self.sender.take_back()).count()
    }

    /// Graphs that run, wait to run or wait to be freed.
    #[must_use]
    pub fn graphs_out(&self) -> usize {
        self.sender.out()
    }

    /// Makes `params` the ones in force from the next block on.
    ///
    /// # Errors
    /// [`Error::Argument`] naming the first value out of its range.
    pub fn set_params(&mut self, params: LiveParams) -> Result<()> {
        params.validate()?;
        self.live.publish(params);
        Ok(())
    }

    /// What the processor has done up to its last block.
    pub fn telemetry(&mut self) -> GraphTelemetry {
        self.telemetry.latest()
    }

    /// Whether the processor is gone: its stream has ended.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.sender.is_abandoned()
    }
}

/// The real-time side: runs the graph that is in force.
///
/// Belongs to the device callback. It is to be dropped on control, since its graphs are dropped with it.
pub struct Processor {
    receiver: Receiver<CompiledGraph>,
    live: SnapshotRx<LiveParams>,
    telemetry: SnapshotTx<GraphTelemetry>,
    events: EventTx,
    rate_hz: u32,
    max_block: usize,
    current: Option<Box<CompiledGraph>>,
    incoming: Option<Incoming>,
    fade_in: Vec<f32>,
    counts: GraphTelemetry,
    freewheel: bool,
}

/// A graph that is taking over.
struct Incoming {
    graph: Box<CompiledGraph>,
    /// Frames still to run unheard.
    unheard: usize,
    /// Place in the fade.
    faded: usize,
}

impl Processor {
    /// Processes one device block: one slice per channel, all of one length, whatever it is.
    ///
    /// Every sample of `played` is written, whatever happens: silence in place of what fails. Nothing is allocated,
    /// freed or waited for.
    pub fn process(&mut self, captured: &[&[f32]], played: &mut [&mut [f32]]) {
        let start = Instant::now();
        if guard::enter(|| self.run(captured, played)).is_err() {
            played.iter_mut().for_each(|channel| channel.fill(0.0));
            self.counts.callback_panics += 1;
            self.events.send(Event::CallbackPanicked);
        }
        self.counts.last = start.elapsed();
        self.counts.longest = self.counts.longest.max(self.counts.last);
        self.counts.total += self.counts.last;
        self.counts.blocks += 1;
        self.telemetry.publish(self.counts);
    }

    /// Says whether the audio server runs without a clock: then nodes that depend on another thread wait for it.
    pub fn set_freewheel(&mut self, freewheel: bool) {
        self.freewheel = freewheel;
    }

    /// The device's rate, in Hz.
    #[must_use]
    pub fn rate_hz(&self) -> u32 {
        self.rate_hz
    }

    /// Latency of the graph that is heard, in samples.
    #[must_use]
    pub fn latency_samples(&self) -> usize {
        self.counts.latency_samples
    }

    fn run(&mut self, captured: &[&[f32]], played: &mut [&mut [f32]]) {
        let frames = played.iter().map(|channel| channel.len()).min();
        let frames = frames.or_else(|| captured.iter().map(|channel| channel.len()).min()).unwrap_or_default();
        let live = self.live.latest();
        self.receive();
        let mut start = 0;
        while start < frames {
            let piece = self.piece(frames - start);
            self.run_piece(&live, captured, start, piece);
            for (channel, played) in played.iter_mut().enumerate() {
                self.play(channel, &mut played[start..start + piece]);
            }
            start += piece;
            self.advance_swap(piece);
        }
        self.counts.frames += frames as u64;
    }

    /// Starts the next graph that has arrived, unless one is taking over.
    fn receive(&mut self) {
        if self.incoming.is_some() {
            return;
        }
        let Some(graph) = self.receiver.receive() else { return };
        if self.current.is_none() {
            self.counts.latency_samples = graph.latency_samples();
            self.current = Some(graph);
        } else {
            self.events.send(Event::SwapBegan);
            self.incoming = Some(Incoming { unheard: graph.latency_samples(), graph, faded: 0 });
        }
    }

    /// Frames of the next piece: no more than nodes can take, and none across the end of a phase of a swap.
    fn piece(&self, left: usize) -> usize {
        let phase = match &self.incoming {
            Some(Incoming { unheard: 0, faded, .. }) => self.fade_in.len().saturating_sub(*faded).max(1),
            Some(Incoming { unheard, .. }) => *unheard,
            None => usize::MAX,
        };
        left.min(self.max_block).min(phase)
    }

    fn run_piece(&mut self, live: &LiveParams, captured: &[&[f32]], start: usize, frames: usize) {
        let takes_over = self.incoming.as_ref().is_some_and(|incoming| incoming.unheard == 0);
        let incoming = self.incoming.as_mut().map(|incoming| (&mut incoming.graph, takes_over));
        let current = self.current.as_mut().map(|graph| (graph, !takes_over));
        for (graph, leads) in current.into_iter().chain(incoming) {
            let panics = graph.run(live, self.freewheel, leads, captured, start, frames);
            if panics > 0 {
                self.counts.node_panics += panics as u64;
                graph.first_failure().into_iter().for_each(|place| self.events.send(Event::NodePanicked(place)));
            }
        }
    }

    /// Writes what `channel` plays of this piece.
    fn play(&mut self, channel: usize, played: &mut [f32]) {
        let current = self.current.as_ref().map(|graph| graph.played(channel)).unwrap_or_default();
        let heard = current.len().min(played.len());
        played[..heard].copy_from_slice(&current[..heard]);
        played[heard..].fill(0.0);
        if let Some(Incoming { graph, unheard: 0, faded }) = &self.incoming {
            let fade_in = self.fade_in.iter().skip(*faded);
            for ((played, &new), gain) in played.iter_mut().zip(graph.played(channel)).zip(fade_in) {
                *played += (new - *played) * gain;
            }
        }
        for sample in played.iter_mut().filter(|sample| !sample.is_finite()) {
            *sample = 0.0;
            self.counts.non_finite_samples += 1;
        }
    }

    /// Moves on in the swap that runs, if any, by `frames`.
    fn advance_swap(&mut self, frames: usize) {
        let Some(incoming) = &mut self.incoming else { return };
        if incoming.unheard > 0 {
            incoming.unheard -= frames;
            return;
        }
        incoming.faded += frames;
        if incoming.faded < self.fade_in.len() {
            return;
        }
        let Some(Incoming { graph, .. }) = self.incoming.take() else { return };
        self.counts.latency_samples = graph.latency_samples();
        self.counts.swaps += 1;
        self.events.send(Event::SwapEnded);
        if let Some(old) = self.current.replace(graph) {
            self.receiver.give_back(old);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::GraphBuilder;
    use crate::graph::nodes::{Input, Output};
    use crate::rt::events::event_queue;
    use crate::rt::{Block, Node, Ports, RtNode, Setup};

    /// A node that passes on what it gets until it meets a sample above 1.
    struct Fragile;

    impl Node for Fragile {
        fn ports(&self, rate_hz: u32) -> Ports {
            Ports::at(rate_hz, 1, 1)
        }

        fn prepare(self: Box<Self>, _: &Setup) -> Result<Box<dyn RtNode>> {
            Ok(self)
        }
    }

    impl RtNode for Fragile {
        fn process(&mut self, _: &mut Block<'_>, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) {
            for (out, &x) in outputs[0].iter_mut().zip(inputs[0]) {
                assert!(x <= 1.0, "as this test wants");
                *out = x;
            }
        }

        fn reset(&mut self) {}
    }

    // Stands here, not among the tests under the aborting allocator, since a panic allocates its message.
    #[test]
    fn a_node_that_panics_is_silent_counted_and_named_and_the_rest_goes_on() {
        let settings = GraphSettings::new(48_000, 64, 1, 2);
        let mut graph = GraphBuilder::new(settings.clone());
        let input = graph.add("input", Input::of(0)).expect("a node");
        let fragile = graph.add("fragile", Fragile).expect("a node");
        let [left, right] = [0, 1].map(|n| graph.add(format!("output {n}"), Output::to([n])).expect("a node"));
        graph.chain(&[input, fragile, left]).expect("connections");
        graph.connect(input, right).expect("a connection");
        let graph = graph.build().expect("a graph");
        assert_eq!(graph.node_name(1), Some("fragile"));
        let (events, happened) = event_queue(8);
        let (mut control, mut processor) = processor(&settings, events);
        control.swap(graph).expect("room");
        let mut play = |x: f32| {
            let (mut left, mut right) = ([f32::NAN; 200], [f32::NAN; 200]);
            processor.process(&[&[x; 200]], &mut [&mut left, &mut right]);
            (left, right)
        };
        assert_eq!(play(0.5), ([0.5; 200], [0.5; 200]));
        assert_eq!(play(2.0), ([0.0; 200], [2.0; 200]));
        assert_eq!(play(0.5), ([0.0; 200], [0.5; 200]));
        let telemetry = control.telemetry();
        assert_eq!((telemetry.node_panics, telemetry.callback_panics, telemetry.frames), (1, 0, 600));
        assert_eq!((happened.next(), happened.next()), (Some(Event::NodePanicked(1)), None));
    }
}

//! Recovery: what makes a session build its graph and worker anew, noticed on control.
//!
//! | cause | what is built anew |
//! |---|---|
//! | a node panicked, and is silent since | graph and worker, swapped in with a cross-fade |
//! | the worker's thread has ended | the same |
//! | the device's blocks or channels are others | the same, with a lead that fits them |
//! | the device's latency is another while the total is held | the same, with a delay that makes it up |
//! | the device came back at another rate | device, processor, graph and worker |
//!
//! Voice, parameters and levels are those in force; a recording goes on. What was counted before is added to what is
//! counted after.

use std::fmt;
use std::time::{Duration, Instant};

use super::worker::WorkerTelemetry;
use crate::graph::GraphTelemetry;
use crate::graph::nodes::link::LinkTelemetry;
use crate::io::live::{DeviceEvent, DeviceFormat, DeviceState, DeviceTelemetry};
use crate::rt::playout::Starvation;

/// Time for which a block must have been another: some servers change it in several steps.
const SETTLED: Duration = Duration::from_millis(50);
/// How far a device's latency may be from the one built for, and waver, before a total delay that is held follows it, in
/// ms: bridges between two clocks waver by less, and no one sees lips that are off by so much.
const WAVERING_MS: u64 = 2;
/// Time for which a device's latency must have been another.
const STEADY: Duration = Duration::from_secs(1);
/// Pauses after a rebuild, done or failed: each twice the last, until nothing happened for the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What makes a session build its graph and worker anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// A node of the graph panicked, or the callback around it.
    GraphPanicked,
    /// The worker's thread has ended.
    WorkerEnded,
    /// Callbacks have another number of frames.
    OtherBlock {
        /// The new number.
        frames: usize,
    },
    /// The device reports another latency, and the total delay is held.
    OtherLatency {
        /// The new latency in and out, in samples.
        samples: usize,
    },
    /// The device came back with other channels.
    OtherChannels {
        /// Channels that can be captured.
        inputs: usize,
        /// Channels that can be played.
        outputs: usize,
    },
    /// The device came back at another rate.
    OtherRate {
        /// The new rate, in Hz.
        rate_hz: u32,
    },
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GraphPanicked => f.write_str("a part of the audio graph failed"),
            Self::WorkerEnded => f.write_str("the converter's thread has ended"),
            Self::OtherBlock { frames } => write!(f, "the device's blocks have {frames} frames now"),
            Self::OtherLatency { samples } => write!(f, "the device's latency is {samples} samples now"),
            Self::OtherChannels { inputs, outputs } => {
                write!(f, "the device has {inputs} channels in and {outputs} out now")
            }
            Self::OtherRate { rate_hz } => write!(f, "the device runs at {rate_hz} Hz now"),
        }
    }
}

/// What all parts of a session have counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    pub(super) device: DeviceTelemetry,
    pub(super) graph: GraphTelemetry,
    pub(super) link: LinkTelemetry,
    pub(super) worker: WorkerTelemetry,
}

/// Looks out for causes, and keeps what parts that are gone have counted.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Whether the total delay is held, the device's included.
    holds_delay: bool,
    /// A latency of the device that is not the one built for, and since when.
    latency: Option<(usize, Instant)>,
    other_rate_hz: Option<u32>,
    /// Inputs and outputs of the device when it returned last.
    channels: Option<(usize, usize)>,
    /// A block that is not the one built for, and since when.
    block: Option<(usize, Instant)>,
    /// Panics of the processor for which a graph was built anew.
    panics: u64,
    not_before: Option<Instant>,
    pause: Duration,
    /// Counted by devices and processors that are gone.
    devices: Option<(DeviceTelemetry, GraphTelemetry)>,
    /// Counted by graphs and workers that are gone.
    graphs: (LinkTelemetry, WorkerTelemetry),
    /// Clipped samples of the input and the output, counted by graphs that are gone.
    clipped: [u64; 2],
}

impl Watch {
    /// Looks out for all causes; for another latency of the device only if the total delay is held.
    pub(super) fn new(holds_delay: bool) -> Self {
        Self { holds_delay, ..Self::default() }
    }

    /// Takes note of what happened to the device.
    pub(super) fn notice(&mut self, event: &DeviceEvent) {
        match event {
            DeviceEvent::OtherRate { rate_hz } => self.other_rate_hz = Some(*rate_hz),
            DeviceEvent::Returned { format, .. } => self.channels = Some((format.inputs, format.outputs)),
            _ => {}
        }
    }

    /// What there is to be built anew now, `format` being what the last was built for.
    pub(super) fn look(
        &mut self,
        format: &DeviceFormat,
        device: &DeviceTelemetry,
        graph: &GraphTelemetry,
        worker_runs: bool,
    ) -> Option<Cause> {
        let block = self.settled_block(format.block_frames, device.block_frames);
        let latency = self.steady_latency(format, device);
        if device.state == DeviceState::Ended || self.not_before.is_some_and(|time| Instant::now() < time) {
            return None;
        }
        let other_rate = self.other_rate_hz.map(|rate_hz| Cause::OtherRate { rate_hz });
        let channels = self.channels.filter(|&channels| channels != (format.inputs, format.outputs));
        let other_channels = channels.map(|(inputs, outputs)| Cause::OtherChannels { inputs, outputs });
        let panicked = (panics(graph) > self.panics).then_some(Cause::GraphPanicked);
        let ended = (!worker_runs).then_some(Cause::WorkerEnded);
        let other_block = block.map(|frames| Cause::OtherBlock { frames });
        let other_latency = latency.map(|samples| Cause::OtherLatency { samples });
        other_rate.or(other_channels).or(panicked).or(ended).or(other_block).or(other_latency)
    }

    fn steady_latency(&mut self, format: &DeviceFormat, device: &DeviceTelemetry) -> Option<usize> {
        let now = device.input_latency_samples + device.output_latency_samples;
        let wavering = (u64::from(format.rate_hz) * WAVERING_MS / 1000) as usize;
        // A device that is away has none.
        let is_another = now.abs_diff(format.latency_samples()) > wavering && device.state == DeviceState::Running;
        if !self.holds_delay || !is_another {
            self.latency = None;
            return None;
        }
        match self.latency {
            Some((samples, since)) if samples.abs_diff(now) <= wavering => (since.elapsed() >= STEADY).then_some(now),
            _ => {
                self.latency = Some((now, Instant::now()));
                None
            }
        }
    }

    fn settled_block(&mut self, built: usize, now: usize) -> Option<usize> {
        if now == built {
            self.block = None;
            return None;
        }
        match self.block {
            Some((frames, since)) if frames == now => (since.elapsed() >= SETTLED).then_some(frames),
            _ => {
                self.block = Some((now, Instant::now()));
                None
            }
        }
    }

    /// Inputs and outputs that a graph is to be built for.
    pub(super) fn channels_of(&self, format: &DeviceFormat) -> (usize, usize) {
        self.channels.unwrap_or((format.inputs, format.outputs))
    }

    /// What was to be built was built; its processor had counted `graph` when that began.
    pub(super) fn done(&mut self, graph: &GraphTelemetry) {
        self.panics = panics(graph);
        (self.other_rate_hz, self.channels, self.block, self.latency) = (None, None, None, None);
        self.wait();
    }

    /// What was to be built could not be.
    pub(super) fn failed(&mut self) {
        self.wait();
    }

    fn wait(&mut self) {
        let now = Instant::now();
        if self.not_before.is_none_or(|time| now > time + LONGEST_PAUSE) {
            self.pause = FIRST_PAUSE;
        }
        self.not_before = Some(now + self.pause);
        self.pause = (2 * self.pause).min(LONGEST_PAUSE);
    }

    /// A graph goes with its worker.
    pub(super) fn leave_graph(&mut self, link: LinkTelemetry, worker: WorkerTelemetry) {
        self.graphs = (self.link(link), self.worker(worker));
    }

    /// Meters go with their graph.
    pub(super) fn leave_levels(&mut self, clipped: [u64; 2]) {
        self.clipped.iter_mut().zip(clipped).for_each(|(sum, clipped)| *sum += clipped);
    }

    /// Samples of the input and the output that were clipped in graphs that are gone.
    pub(super) fn clipped(&self) -> [u64; 2] {
        self.clipped
    }

    /// A device goes with its processor.
    pub(super) fn leave_device(&mut self, counts: &Counts) {
        let Counts { device, graph, .. } = self.sum(counts);
        self.devices = Some((device, graph));
    }

    /// `now`, and all that was counted before.
    pub(super) fn sum(&self, now: &Counts) -> Counts {
        let (link, worker) = (self.link(now.link), self.worker(now.worker));
        let Some((device, graph)) = self.devices else { return Counts { link, worker, ..*now } };
        let device = DeviceTelemetry {
            callbacks: now.device.callbacks + device.callbacks,
            frames: now.device.frames + device.frames,
            standby_frames: now.device.standby_frames + device.standby_frames,
            xruns: now.device.xruns + device.xruns,
            block_changes: now.device.block_changes + device.block_changes,
            losses: now.device.losses + device.losses,
            returns: now.device.returns + device.returns,
            ..now.device
        };
        let graph = GraphTelemetry {
            blocks: now.graph.blocks + graph.blocks,
            frames: now.graph.frames + graph.frames,
            node_panics: now.graph.node_panics + graph.node_panics,
            callback_panics: now.graph.callback_panics + graph.callback_panics,
            non_finite_samples: now.graph.non_finite_samples + graph.non_finite_samples,
            swaps: now.graph.swaps + graph.swaps,
            longest: now.graph.longest.max(graph.longest),
            total: now.graph.total + graph.total,
            ..now.graph
        };
        Counts { device, graph, link, worker }
    }

    fn link(&self, now: LinkTelemetry) -> LinkTelemetry {
        let (LinkTelemetry { starvation, lost_samples, .. }, _) = self.graphs;
        let starvation = Starvation {
            times: now.starvation.times + starvation.times,
            samples: now.starvation.samples + starvation.samples,
            late_samples: now.starvation.late_samples + starvation.late_samples,
        };
        LinkTelemetry { starvation, lost_samples: now.lost_samples + lost_samples, ..now }
    }

    fn worker(&self, now: WorkerTelemetry) -> WorkerTelemetry {
        let (_, before) = self.graphs;
        WorkerTelemetry {
            chunks: now.chunks + before.chunks,
            rested: now.rested + before.rested,
            shed: now.shed + before.shed,
            overruns: now.overruns + before.overruns,
            failed: now.failed + before.failed,
            non_finite_samples: now.non_finite_samples + before.non_finite_samples,
            ..now
        }
    }
}

fn panics(graph: &GraphTelemetry) -> u64 {
    graph.node_panics + graph.callback_panics
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::live::priority::Priority;

    const FORMAT: DeviceFormat = DeviceFormat {
        rate_hz: 48_000,
        block_frames: 256,
        max_block_frames: 256,
        inputs: 1,
        outputs: 2,
        input_latency_samples: 0,
        output_latency_samples: 0,
    };

    fn device(block_frames: usize) -> DeviceTelemetry {
        DeviceTelemetry {
            state: DeviceState::Running,
            callbacks: 10,
            frames: 2560,
            standby_frames: 0,
            xruns: 3,
            block_frames,
            block_changes: 0,
            input_latency_samples: 0,
            output_latency_samples: 0,
            graph_latency_samples: 0,
            losses: 1,
            returns: 1,
            freewheel: false,
            priority: Priority::Unknown,
            priority_level: 0,
        }
    }

    #[test]
    fn each_cause_is_seen_once_and_what_recurs_is_answered_ever_more_slowly() {
        let (mut watch, whole, broken) = (
            Watch::default(),
            GraphTelemetry::default(),
            GraphTelemetry { node_panics: 1, ..GraphTelemetry::default() },
        );
        assert_eq!(watch.look(&FORMAT, &device(256), &whole, true), None);
        assert_eq!(watch.look(&FORMAT, &device(256), &whole, false), Some(Cause::WorkerEnded));
        assert_eq!(watch.look(&FORMAT, &device(256), &broken, true), Some(Cause::GraphPanicked));
        assert_eq!(
            watch.look(&FORMAT, &DeviceTelemetry { state: DeviceState::Ended, ..device(256) }, &broken, true),
            None
        );
        watch.done(&broken);
        watch.not_before = None;
        assert_eq!(watch.look(&FORMAT, &device(256), &broken, true), None);
        watch.notice(&DeviceEvent::Returned { format: DeviceFormat { outputs: 1, ..FORMAT }, after: SETTLED });
        assert_eq!(
            watch.look(&FORMAT, &device(256), &broken, true),
            Some(Cause::OtherChannels { inputs: 1, outputs: 1 })
        );
        assert_eq!(watch.channels_of(&FORMAT), (1, 1));
        watch.notice(&DeviceEvent::OtherRate { rate_hz: 96_000 });
        assert_eq!(watch.look(&FORMAT, &device(256), &broken, true), Some(Cause::OtherRate { rate_hz: 96_000 }));
        let mut pauses = Vec::new();
        for _ in 0..7 {
            watch.failed();
            pauses.push(watch.pause);
            assert_eq!(watch.look(&FORMAT, &device(256), &broken, true), None);
        }
        assert!(pauses.is_sorted() && pauses[0] == 2 * FIRST_PAUSE && pauses[6] == LONGEST_PAUSE, "{pauses:?}");
    }

    #[test]
    fn a_block_must_have_been_another_for_a_while() {
        let (mut watch, graph) = (Watch::default(), GraphTelemetry::default());
        assert_eq!(watch.look(&FORMAT, &device(64), &graph, true), None);
        std::thread::sleep(SETTLED);
        assert_eq!(watch.look(&FORMAT, &device(64), &graph, true), Some(Cause::OtherBlock { frames: 64 }));
        assert_eq!(watch.look(&FORMAT, &device(128), &graph, true), None);
        assert_eq!(watch.look(&FORMAT, &device(256), &graph, true), None);
        assert_eq!(watch.block, None);
    }

    #[test]
    fn a_latency_that_wavers_is_followed_only_where_the_total_is_held_and_it_is_steadily_another() {
        let late = |samples| DeviceTelemetry { output_latency_samples: samples, ..device(256) };
        let whole = GraphTelemetry::default();
        let mut free = Watch::new(false);
        assert_eq!(free.look(&FORMAT, &late(4800), &whole, true), None);
        assert_eq!(free.latency, None);
        let mut watch = Watch::new(true);
        for samples in [90, 0, 96, 12, 96] {
            assert_eq!(watch.look(&FORMAT, &late(samples), &whole, true), None);
            assert_eq!(watch.latency, None, "{samples}");
        }
        // On its way, it is not yet followed; back within bounds, it never is.
        for samples in [97, 500, 1000] {
            assert_eq!(watch.look(&FORMAT, &late(samples), &whole, true), None);
            assert_eq!(watch.latency.map(|(samples, _)| samples), Some(samples));
        }
        std::thread::sleep(STEADY);
        assert_eq!(watch.look(&FORMAT, &late(1040), &whole, true), Some(Cause::OtherLatency { samples: 1040 }));
        let lost = DeviceTelemetry { state: DeviceState::Lost, ..late(1040) };
        assert_eq!(watch.look(&FORMAT, &lost, &whole, true), None);
        assert_eq!(watch.latency, None);
    }

    #[test]
    fn what_was_counted_before_is_added_to_what_is_counted_after() {
        let mut watch = Watch::default();
        let counts = Counts {
            device: device(256),
            graph: GraphTelemetry { frames: 100, swaps: 2, ..GraphTelemetry::default() },
            link: LinkTelemetry { lost_samples: 5, ..LinkTelemetry::default() },
            worker: WorkerTelemetry { chunks: 7, rtf: 0.5, ..WorkerTelemetry::default() },
        };
        watch.leave_graph(counts.link, counts.worker);
        watch.leave_graph(counts.link, counts.worker);
        watch.leave_device(&counts);
        let sum = watch.sum(&Counts { worker: WorkerTelemetry { rtf: 0.25, ..counts.worker }, ..counts });
        assert_eq!((sum.device.xruns, sum.device.frames, sum.device.losses), (6, 5120, 2));
        assert_eq!((sum.graph.frames, sum.graph.swaps), (200, 4));
        assert_eq!((sum.link.lost_samples, sum.worker.chunks, sum.worker.rtf), (15, 21, 0.25));
    }
}

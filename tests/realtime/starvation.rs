//! A worker that is late, stuck or gone is heard as silence, and costs no delay after.

use syrinx::graph::GraphBuilder;
use syrinx::graph::nodes::link::{LinkEnd, LinkSettings, LinkTelemetry};
use syrinx::graph::nodes::{Input, Link};
use syrinx::rt::events::{Event, EventRx, event_queue};
use syrinx::rt::snapshot::SnapshotRx;

use crate::support::{Device, RATE_HZ, echo, finish, link_settings, mono, sine, steepest};

const BLOCK: usize = 64;
const LEAD: usize = 4 * BLOCK;

struct Linked {
    device: Device,
    worker: LinkEnd,
    telemetry: SnapshotRx<LinkTelemetry>,
    events: EventRx,
}

fn linked(settings: LinkSettings) -> Linked {
    let (tx, events) = event_queue(256);
    let (link, worker, telemetry) = Link::new(settings, tx);
    let mut graph = GraphBuilder::new(mono());
    let input = graph.add("input", Input::of(0)).unwrap();
    let link = graph.add("link", link).unwrap();
    Linked { device: Device::playing(&mono(), finish(graph, &[input, link])), worker, telemetry, events }
}

impl Linked {
    /// Plays `captured`; after each block, numbered from 0, the worker echoes if `awake` says so.
    fn play(&mut self, captured: &[f32], awake: impl Fn(usize) -> bool) -> Vec<f32> {
        let mut played = Vec::new();
        for (number, block) in captured.chunks(BLOCK).enumerate() {
            played.extend(self.device.block(block));
            if awake(number) {
                echo(&mut self.worker);
            }
        }
        played
    }
}

#[test]
fn a_pause_of_the_worker_is_silence_without_a_click_and_the_delay_after_is_the_same() {
    let mut linked = linked(link_settings(LEAD));
    let tone = sine(300.0, RATE_HZ as usize);
    let played = linked.play(&tone, |block| !(200..300).contains(&block));
    assert_eq!(played.len(), tone.len());
    // Two fades of 2 ms add at most this much to the tone's own slope.
    assert!(steepest(&played) < steepest(&tone) + 2.0 / 96.0, "{}", steepest(&played));
    let (gap, back) = (204 * BLOCK + 96..300 * BLOCK, 302 * BLOCK + 96);
    assert!(played[gap].iter().all(|&sample| sample == 0.0));
    assert_eq!(played[LEAD..200 * BLOCK], tone[..200 * BLOCK - LEAD]);
    assert_eq!(played[back..], tone[back - LEAD..tone.len() - LEAD]);
    let starvation = linked.telemetry.latest().starvation;
    assert_eq!(starvation.times, 1);
    assert_eq!(starvation.late_samples, starvation.samples);
    assert_eq!(linked.events.next(), Some(Event::Starved));
    assert_eq!(linked.events.next(), Some(Event::Resumed(starvation.samples)));
    assert_eq!(linked.events.next(), None);
}

#[test]
fn a_worker_that_slept_so_long_that_audio_was_lost_is_on_time_again_too() {
    let mut linked = linked(LinkSettings { capacity: 1024, ..link_settings(LEAD) });
    let tone = sine(300.0, RATE_HZ as usize);
    let played = linked.play(&tone, |block| !(100..400).contains(&block));
    let telemetry = linked.telemetry.latest();
    assert_eq!(telemetry.lost_samples, (301 * BLOCK - 1024) as u64);
    // What the full ring held when the worker fell asleep is not heard: from its return on all is at its moment.
    let back = (110 * BLOCK..played.len()).find(|&n| played[n] != 0.0).expect("a return") + 96;
    assert!(back < 420 * BLOCK, "{back}");
    assert_eq!(played[back..], tone[back - LEAD..tone.len() - LEAD]);
    assert_eq!(telemetry.starvation.times, 1);
}

#[test]
fn a_worker_that_sheds_its_backlog_is_on_time_at_once() {
    let mut linked = linked(link_settings(LEAD));
    let tone = sine(300.0, RATE_HZ as usize);
    let mut played = linked.play(&tone[..100 * BLOCK], |_| true);
    played.extend(linked.play(&tone[100 * BLOCK..300 * BLOCK], |_| false));
    let shed = linked.worker.input.discard(usize::MAX);
    assert_eq!(linked.worker.output.push_silence(shed), 200 * BLOCK);
    played.extend(linked.play(&tone[300 * BLOCK..], |_| true));
    // What was shed was late but for the lead's worth of it, which is now silence.
    let back = 305 * BLOCK + 96;
    assert_eq!(played[back..], tone[back - LEAD..tone.len() - LEAD]);
    assert_eq!(linked.telemetry.latest().starvation.times, 1);
}

#[test]
fn a_worker_that_is_gone_is_silence_for_ever_and_the_graph_goes_on() {
    let Linked { mut device, worker, mut telemetry, .. } = linked(link_settings(LEAD));
    drop(worker);
    let played = device.run(&sine(300.0, 96_000), &[BLOCK]);
    assert_eq!(played, vec![0.0; 96_000]);
    assert!(telemetry.latest().lost_samples > 0);
}

#[test]
fn in_freewheel_a_slow_worker_is_waited_for_and_nothing_is_missed() {
    let Linked { mut device, mut worker, mut telemetry, .. } = linked(link_settings(LEAD));
    device.processor.set_freewheel(true);
    let converter = std::thread::spawn(move || {
        while !(worker.input.is_abandoned() && worker.input.available() == 0) {
            std::thread::sleep(std::time::Duration::from_micros(700));
            echo(&mut worker);
        }
    });
    let tone = sine(300.0, 48_000);
    let played = device.run(&tone, &[BLOCK]);
    assert_eq!(played[LEAD..], tone[..tone.len() - LEAD]);
    assert_eq!(telemetry.latest().starvation.times, 0);
    drop(device);
    converter.join().unwrap();
}

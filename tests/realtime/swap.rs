//! Graphs take over from each other without a click, and die on control.

use std::sync::Arc;

use syrinx::graph::nodes::{Gain, Input, Limiter};
use syrinx::graph::{CompiledGraph, GraphBuilder, GraphSettings};
use syrinx::rt::events::Event;
use syrinx::rt::{Block, Node, Ports, RtNode, Setup};

use crate::support::{Device, finish, mono, noise, peak_at, sine, steepest, through};

fn gain(db: fn(&syrinx::params::LiveParams) -> f32) -> CompiledGraph {
    through(&mono(), Gain::of(db))
}

#[test]
fn the_first_graph_is_heard_at_once_and_the_next_fades_in_without_a_click() {
    let mut device = Device::playing(&mono(), gain(|_| 0.0));
    let tone = sine(200.0, 48_000);
    let mut played = device.run(&tone[..9600], &[64]);
    assert_eq!(played, tone[..9600]);
    // Not even a change of sign is a click.
    device.control.swap(gain(|_| -40.0)).unwrap();
    played.extend(device.run(&tone[9600..], &[64, 100, 33]));
    let slope = steepest(&tone);
    assert!(steepest(&played) < slope + 0.002, "{} against {slope}", steepest(&played));
    let (after, quiet) = (&played[12_000..], &tone[12_000..]);
    assert!(after.iter().zip(quiet).all(|(out, x)| (out - 0.01 * x).abs() < 1e-6));
    assert_eq!(device.control.telemetry().swaps, 1);
    assert_eq!([device.events.next(), device.events.next()], [Some(Event::SwapBegan), Some(Event::SwapEnded)]);
}

#[test]
fn a_graph_that_does_the_same_takes_over_bit_for_bit() {
    let mut device = Device::playing(&mono(), gain(|_| 0.0));
    let captured = noise(3, 20_000);
    let mut played = device.run(&captured[..1000], &[100]);
    device.control.swap(gain(|_| 0.0)).unwrap();
    played.extend(device.run(&captured[1000..], &[100, 7, 1024]));
    assert_eq!(played, captured);
}

#[test]
fn a_graph_with_latency_is_full_before_it_is_heard() {
    let mut device = Device::playing(&mono(), gain(|_| 0.0));
    let constant = vec![0.5; 20_000];
    let mut played = device.run(&constant[..1000], &[64]);
    device.control.swap(through(&mono(), Limiter { look_ahead_ms: 20.0, release_ms: 50.0 })).unwrap();
    played.extend(device.run(&constant[1000..], &[64]));
    // Otherwise its 960 samples of initial silence would be heard as a dip.
    assert!(played.iter().all(|sample| (sample - 0.5).abs() < 1e-6));
    assert_eq!(device.control.telemetry().latency_samples, 960);
}

#[test]
fn swaps_wait_for_their_turn_and_too_many_are_refused() {
    let mut device = Device::playing(&mono(), gain(|_| 0.0));
    device.block(&[1.0; 64]);
    let mut accepted = 0;
    while device.control.swap(gain(|_| -6.0)).is_ok() {
        accepted += 1;
        assert!(accepted < 100, "never refused");
    }
    assert!(accepted >= 4, "{accepted}");
    device.run(&vec![1.0; 48_000 * accepted / 10], &[64]);
    assert_eq!(device.control.telemetry().swaps, accepted as u64);
    assert_eq!(device.control.graphs_out(), accepted + 1);
    assert_eq!(device.control.collect(), accepted);
    assert_eq!(device.control.graphs_out(), 1);
    device.control.swap(gain(|_| 0.0)).unwrap();
}

#[test]
fn a_graph_for_another_device_is_refused() {
    let mut device = Device::playing(&mono(), gain(|_| 0.0));
    let other = through(&GraphSettings { rate_hz: 44_100, ..mono() }, Gain::of(|_| 0.0));
    let message = device.control.swap(other).expect_err("a refusal").to_string();
    assert_eq!(message, "graph: expected 48000 Hz in blocks of 256, found 44100 Hz in blocks of 256");
}

/// A node that tells when it is freed.
struct Witness(#[expect(dead_code, reason = "counts, by being there")] Arc<()>);

impl Node for Witness {
    fn ports(&self, rate_hz: u32) -> Ports {
        Ports::at(rate_hz, 1, 1)
    }

    fn prepare(self: Box<Self>, _: &Setup) -> syrinx::Result<Box<dyn RtNode>> {
        Ok(self)
    }
}

impl RtNode for Witness {
    fn process(&mut self, _: &mut Block<'_>, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) {
        outputs[0].copy_from_slice(inputs[0]);
    }

    fn reset(&mut self) {}
}

#[test]
fn a_dead_graph_is_freed_on_control_and_nowhere_else() {
    let alive = Arc::new(());
    let mut device = Device::playing(&mono(), through(&mono(), Witness(alive.clone())));
    device.block(&[0.0; 64]);
    device.control.swap(gain(|_| 0.0)).unwrap();
    // Freeing it in a callback would abort this process.
    device.run(&vec![0.0; 4800], &[64]);
    assert_eq!(device.control.telemetry().swaps, 1);
    assert_eq!(Arc::strong_count(&alive), 2);
    device.control.collect();
    assert_eq!(Arc::strong_count(&alive), 1);
}

#[test]
fn the_latency_of_the_graph_that_is_heard_is_the_one_measured_after_a_swap() {
    let mut device = Device::playing(&mono(), gain(|_| 0.0));
    device.block(&[0.0; 64]);
    let mut graph = GraphBuilder::new(mono());
    let input = graph.add("input", Input::of(0)).unwrap();
    let limiter = graph.add("limiter", Limiter { look_ahead_ms: 5.0, release_ms: 50.0 }).unwrap();
    device.control.swap(finish(graph, &[input, limiter])).unwrap();
    device.run(&vec![0.0; 4800], &[64]);
    let mut captured = vec![0.0; 2000];
    captured[10] = 0.5;
    let played = device.run(&captured, &[64]);
    assert_eq!(peak_at(&played), 10 + device.control.telemetry().latency_samples);
}

//! What changes nothing changes no bit, however the stream is cut.

use proptest::prelude::*;
use syrinx::graph::GraphBuilder;
use syrinx::graph::nodes::{Gain, Gate, HighPass, Input, Link, Mix};
use syrinx::params::LiveParams;
use syrinx::rt::events::event_queue;

use crate::support::{Device, RATE_HZ, echo, finish, link_settings, mono, mono_with, noise};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_neutral_graph_is_bit_exact_for_any_blocks(blocks in proptest::collection::vec(1..2000_usize, 1..8), seed: u64) {
        let settings = mono_with(LiveParams { mix: 0.0, ..LiveParams::default() });
        let mut graph = GraphBuilder::new(settings.clone());
        let input = graph.add("input", Input::of(0)).unwrap();
        let gain = graph.add("gain", Gain::of(|live| live.input_gain_db)).unwrap();
        let high_pass = graph.add("high-pass", HighPass).unwrap();
        let gate = graph.add("gate", Gate).unwrap();
        let mix = graph.add("mix", Mix).unwrap();
        graph.chain(&[input, gain, high_pass, gate]).unwrap();
        graph.connect(gate, (mix, Mix::DRY)).unwrap();
        graph.connect(input, (mix, Mix::WET)).unwrap();
        let mut device = Device::playing(&settings, finish(graph, &[mix]));
        let captured = noise(seed, 6000);
        prop_assert_eq!(device.run(&captured, &blocks), captured);
    }

    #[test]
    fn a_link_whose_worker_keeps_up_is_a_delay_for_any_blocks(
        blocks in proptest::collection::vec(1..900_usize, 1..8), seed: u64, lead in 0..500_usize
    ) {
        let settings = mono();
        let mut graph = GraphBuilder::new(settings.clone());
        // The worker is served after each block, so it needs a block's time.
        let lead = lead + 900;
        let (link, mut worker, mut telemetry) = Link::new(link_settings(lead), event_queue(16).0);
        let input = graph.add("input", Input::of(0)).unwrap();
        let link = graph.add("link", link).unwrap();
        let graph = finish(graph, &[input, link]);
        prop_assert_eq!(graph.latency_samples(), lead);
        let mut device = Device::playing(&settings, graph);
        let captured = noise(seed, 6000);
        let mut played = Vec::new();
        let mut rest = &captured[..];
        for &block in blocks.iter().cycle() {
            let (block, after) = rest.split_at(block.min(rest.len()));
            played.extend(device.block(block));
            echo(&mut worker);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(&played[lead..], &captured[..6000 - lead]);
        prop_assert!(played[..lead].iter().all(|&sample| sample == 0.0));
        prop_assert_eq!(telemetry.latest().starvation.times, 0);
    }
}

#[test]
fn every_channel_is_written_in_full_even_without_a_graph_or_with_channels_that_no_one_plays() {
    let settings = mono();
    let (tx, _events) = event_queue(16);
    let (_control, mut processor) = syrinx::graph::processor(&settings, tx);
    let (mut left, mut right) = ([f32::NAN; 700], [f32::NAN; 700]);
    processor.process(&[], &mut [&mut left, &mut right]);
    assert!(left.iter().chain(&right).all(|&sample| sample == 0.0));

    let mut graph = GraphBuilder::new(settings.clone());
    let input = graph.add("input", Input::of(0)).unwrap();
    let mut device = Device::playing(&settings, finish(graph, &[input]));
    let captured = noise(1, 700);
    let (mut left, mut right) = ([f32::NAN; 700], [f32::NAN; 700]);
    device.processor.process(&[&captured], &mut [&mut left, &mut right]);
    assert_eq!(left[..], captured[..]);
    assert_eq!(right, [0.0; 700]);
}

#[test]
fn what_is_no_number_never_reaches_the_device() {
    let settings = mono();
    let mut graph = GraphBuilder::new(settings.clone());
    let input = graph.add("input", Input::of(0)).unwrap();
    let mut device = Device::playing(&settings, finish(graph, &[input]));
    let mut captured = noise(2, RATE_HZ as usize / 100);
    captured[7] = f32::NAN;
    captured[8] = f32::INFINITY;
    let played = device.block(&captured);
    assert_eq!(played[6..10], [captured[6], 0.0, 0.0, captured[9]]);
    assert_eq!(device.control.telemetry().non_finite_samples, 2);
}

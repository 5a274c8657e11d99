//! The latency that is reported is the one that is measured, to the sample.

use syrinx::graph::live::{LiveSettings, Source};
use syrinx::graph::nodes::link::LinkSettings;
use syrinx::graph::nodes::{Input, Limiter, Mix, Resampler};
use syrinx::graph::{CompiledGraph, GraphBuilder, GraphSettings, LiveGraph};
use syrinx::params::LiveParams;
use syrinx::rt::events::event_queue;

use crate::support::{Device, echo, finish, link_settings, mono, mono_with, noise, peak, peak_at, through};

const LIMITER: Limiter = Limiter { look_ahead_ms: 1.5, release_ms: 60.0 };

/// The response to an impulse of half of full scale at sample 100.
fn response(settings: &GraphSettings, graph: CompiledGraph, blocks: &[usize]) -> Vec<f32> {
    let mut captured = vec![0.0; 4000];
    captured[100] = 0.5;
    Device::playing(settings, graph).run(&captured, blocks)
}

#[test]
fn the_limiter_delays_by_its_look_ahead() {
    let graph = through(&mono(), LIMITER);
    assert_eq!(graph.latency_samples(), 72);
    let played = response(&mono(), graph, &[64, 1, 300]);
    assert_eq!((played[172], peak(&played)), (0.5, 0.5));
    assert_eq!(played.iter().filter(|&&x| x != 0.0).count(), 1);
}

#[test]
fn two_resamplers_delay_by_what_they_report_at_any_rate_between() {
    for rate_hz in [16_000, 24_000, 32_000, 40_000, 44_100, 96_000] {
        let settings = mono();
        let mut graph = GraphBuilder::new(settings.clone());
        let input = graph.add("input", Input::of(0)).unwrap();
        let there = graph.add("there", Resampler::to(rate_hz)).unwrap();
        let back = graph.add_at(rate_hz, "back", Resampler::to(48_000)).unwrap();
        let graph = finish(graph, &[input, there, back]);
        let reported = graph.latency_samples();
        let played = response(&settings, graph, &[64, 17, 256, 1, 2, 480]);
        assert_eq!(peak_at(&played), 100 + reported, "{rate_hz} Hz");
    }
}

#[test]
fn a_dry_path_meets_a_delayed_wet_one_at_the_same_sample() {
    let settings = mono_with(LiveParams { mix: 0.5, ..LiveParams::default() });
    let mut graph = GraphBuilder::new(settings.clone());
    let input = graph.add("input", Input::of(0)).unwrap();
    let limiter = graph.add("limiter", LIMITER).unwrap();
    let mix = graph.add("mix", Mix).unwrap();
    graph.connect(input, limiter).unwrap();
    graph.connect(input, (mix, Mix::DRY)).unwrap();
    graph.connect(limiter, (mix, Mix::WET)).unwrap();
    let graph = finish(graph, &[mix]);
    let reported = graph.latency_samples();
    // Without the delay there would be two impulses of a quarter.
    let played = response(&settings, graph, &[64, 100]);
    assert_eq!(played[100 + reported], 0.5);
    assert_eq!(played.iter().filter(|&&x| x != 0.0).count(), 1);
}

#[test]
fn equal_signals_mix_flat_at_any_share() {
    for mix in [0.0, 0.25, 0.37, 0.5, 0.99, 1.0] {
        let settings = mono_with(LiveParams { mix, ceiling_db: 0.0, ..LiveParams::default() });
        let mut graph = GraphBuilder::new(settings.clone());
        let input = graph.add("input", Input::of(0)).unwrap();
        let limiter = graph.add("limiter", LIMITER).unwrap();
        let mix = graph.add("mix", Mix).unwrap();
        graph.connect(input, limiter).unwrap();
        graph.connect(input, (mix, Mix::DRY)).unwrap();
        graph.connect(limiter, (mix, Mix::WET)).unwrap();
        let graph = finish(graph, &[mix]);
        let latency = graph.latency_samples();
        let captured = noise(9, 8000);
        let played = Device::playing(&settings, graph).run(&captured, &[128]);
        assert_eq!(played[latency..], captured[..8000 - latency]);
    }
}

#[test]
fn a_constant_total_latency_holds_to_the_sample() {
    let settings = GraphSettings { total_latency_samples: Some(1000), ..mono() };
    let graph = through(&settings, LIMITER);
    assert_eq!(graph.latency_samples(), 1000);
    let played = response(&settings, graph, &[333]);
    assert_eq!(peak_at(&played), 1100);
}

#[test]
fn the_whole_live_graph_reports_what_an_impulse_takes() {
    for (mix, converter_hz) in [(0.0, 48_000), (1.0, 48_000), (0.5, 48_000), (1.0, 16_000), (0.5, 40_000)] {
        let settings = mono_with(LiveParams { mix, ..LiveParams::default() });
        let live = LiveSettings {
            source: Source::Channel(0),
            outputs: vec![0],
            monitors: Vec::new(),
            converter_input_rate_hz: converter_hz,
            link: LinkSettings { output_rate_hz: converter_hz, ..link_settings(960) },
            limiter: LIMITER,
            recorder: None,
        };
        let LiveGraph { graph, mut worker, .. } = LiveGraph::build(settings.clone(), live, event_queue(16).0).unwrap();
        let reported = graph.latency_samples();
        let mut device = Device::playing(&settings, graph);
        let mut captured = vec![0.0; 8000];
        captured[100] = 0.5;
        let mut played = Vec::new();
        for block in captured.chunks(240) {
            played.extend(device.block(block));
            echo(&mut worker);
        }
        assert_eq!(peak_at(&played), 100 + reported, "mix {mix}, {converter_hz} Hz");
        assert_eq!(played.len(), captured.len());
    }
}

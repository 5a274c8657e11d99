//! Streaming equals offline, stage by stage: the same audio chunk by chunk and at once gives the same, exactly where
//! the stage allows it and within a stated bound where it does not.

use std::sync::Arc;

use syrinx::checkpoint::index::Index;
use syrinx::checkpoint::voice::Resblock;
use syrinx::dsp::envelope::rms;
use syrinx::dsp::sinc_hann::SincHann;
use syrinx::dsp::spectral_gate::SpectralGate;
use syrinx::geometry::{Geometry, Timing};
use syrinx::nn::Cpu;
use syrinx::nn::hubert::{Hubert, Projection};
use syrinx::nn::swift_f0::SwiftF0;
use syrinx::params::{ConversionParams, NoiseChoice};
use syrinx::path::continuation::Continuation;
use syrinx::path::denoise::InputDenoiser;
use syrinx::path::gate::Gate;
use syrinx::path::history::{AudioHistory, PitchHistory};
use syrinx::path::join::Sola;
use syrinx::path::pitch::Tracker;
use syrinx::path::retrieval::{Retrieval, SmallCell};
use syrinx::path::synth::{Rendering, SourcePhase, Synth};
use syrinx::path::units::UnitEncoder;
use syrinx::units::{HOP_SAMPLES, Pitch, Units};

use crate::support::{assert_close, cents, data, speech, uniform};
use crate::{hubert, tiny};

/// Chunks from the shortest to the reference's default, primes of hops among them; the context is another size each time.
const TIMINGS: [(f64, f64); 5] = [(0.01, 0.05), (0.02, 1.0), (0.07, 0.31), (0.13, 2.5), (0.25, 0.5)];

fn geometry(rate_hz: u32, (chunk, context): (f64, f64)) -> Geometry {
    Geometry::new(rate_hz, Timing { chunk, crossfade: 0.05, context }).expect("sizes")
}

/// Speech-like noise: bursts and pauses.
fn bursts(samples: usize, rate_hz: u32) -> Vec<f32> {
    let noise = uniform("bursts", samples);
    let loud = |n: usize| (n as f64 / f64::from(rate_hz) * 3.0).fract() < 0.6;
    noise.enumerate().map(|(n, value)| value as f32 * if loud(n) { 0.3 } else { 1e-4 }).collect()
}

#[test]
fn the_window_at_16_khz_is_the_end_of_the_resampled_stream() {
    for rate_hz in [16_000, 32_000, 44_100, 48_000] {
        let resampler = SincHann::new(rate_hz as usize, 16_000);
        for timing in TIMINGS {
            let geometry = geometry(rate_hz, timing);
            let chunk = geometry.chunk_samples();
            let audio = bursts(chunk * (rate_hz as usize / chunk + 1), rate_hz);
            let mut history = AudioHistory::new(&geometry, false);
            audio.chunks_exact(chunk).for_each(|chunk| history.push(chunk));

            // The stream was silent before.
            let samples = geometry.window_hops() * geometry.hop_samples;
            let stream = [vec![0.0; samples], audio].concat();
            let resampled = resampler.resample(&stream);
            assert!(history.at_stream_rate() == &stream[stream.len() - samples..], "{rate_hz} Hz, {timing:?}");
            // The same sums of the same values: equal to the bit.
            let expected = &resampled[resampled.len() - geometry.window_hops() * HOP_SAMPLES..];
            assert!(history.at_16_khz() == expected, "{rate_hz} Hz, {timing:?}");
        }
    }
}

#[test]
fn the_gate_closes_on_the_same_hops_whatever_the_chunk() {
    const RATE_HZ: u32 = 48_000;
    let gated = |timing, seconds: usize| {
        let geometry = geometry(RATE_HZ, timing);
        let (chunk, hop) = (geometry.chunk_samples(), geometry.hop_samples);
        let mut gate = Gate::new(&geometry, -45.0);
        let audio = bursts(seconds * RATE_HZ as usize, RATE_HZ);
        let mut output: Vec<f32> = vec![0.0; Gate::REPEATED_HOPS * hop];
        for chunk in audio.chunks_exact(chunk) {
            output.truncate(output.len() - Gate::REPEATED_HOPS * hop);
            output.extend(gate.step(chunk));
        }
        // The last hops are gated once more with the next chunk.
        output.truncate(output.len() - Gate::REPEATED_HOPS * hop);
        output
    };
    let whole = gated((2.0, 2.5), 2);
    assert!(whole.iter().filter(|&&value| value == 0.0).count() > whole.len() / 5, "the gate never closed");
    for timing in TIMINGS {
        let streamed = gated(timing, 2);
        let shared = streamed.len().min(whole.len());
        assert!(streamed[..shared] == whole[..shared], "{timing:?}");
    }
}

/// f0 in Hz of each hop as a stream of chunks first has it and as it is when it is rendered, and as one pass over the whole gives it.
fn tracks(tracker: &Tracker<Cpu>, timing: (f64, f64)) -> [Vec<f32>; 3] {
    let geometry = geometry(16_000, timing);
    let chunk = geometry.chunk_samples();
    let audio = speech("speech1");
    let tracked = tracker.live_samples(geometry.chunk_hops);
    let mut history = PitchHistory::new(&geometry);
    let mut window = vec![0.0; geometry.window_hops() * HOP_SAMPLES];
    let (mut streamed, mut rendered) = (Vec::new(), Vec::new());
    for chunk in audio.chunks_exact(chunk) {
        window.drain(..chunk.len());
        window.extend_from_slice(chunk);
        let end = &window[window.len().saturating_sub(tracked)..];
        let f0_hz = tracker.track_newest(end, PitchHistory::tracked_hops(&geometry)).expect("a track");
        history.push(&Pitch { coarse: vec![1; f0_hz.len()], f0_hz });
        let f0_hz = history.window().f0_hz;
        // The newest hop may still change with the next chunk.
        let newest = f0_hz.len() - geometry.chunk_hops;
        streamed.extend_from_slice(&f0_hz[newest..]);
        rendered.extend_from_slice(&f0_hz[newest - geometry.delay_hops()..][..geometry.chunk_hops]);
    }
    rendered.drain(..geometry.delay_hops());
    let mut whole = tracker.track(&audio).expect("a track");
    // The stream's newest hop is the one before the audio's end.
    whole.truncate(streamed.len());
    [streamed, rendered, whole]
}

/// Share of hops in which both agree on voicing, and share of hops voiced in both that lie within half a semitone.
fn agreement(streamed: &[f32], whole: &[f32]) -> (f64, f64) {
    let pairs = || streamed.iter().zip(whole);
    let same = pairs().filter(|(a, b)| (**a > 0.0) == (**b > 0.0)).count();
    let voiced: Vec<f64> = pairs().filter(|(a, b)| **a > 0.0 && **b > 0.0).map(|(a, b)| cents(*a, *b).abs()).collect();
    let near = voiced.iter().filter(|cents| **cents < 50.0).count();
    (same as f64 / whole.len() as f64, near as f64 / voiced.len() as f64)
}

#[test]
fn the_streamed_pitch_is_that_of_the_whole_but_for_the_edges_of_chunks() {
    let yin = Tracker::Yin(Arc::default());
    let swift = Tracker::SwiftF0(Arc::new(SwiftF0::embedded(&Default::default()).expect("embedded weights")));
    // SwiftF0 looks 0.2 s ahead: at the newest hops it goes by mirrored audio.
    let trackers = [(yin, "yin", [0.95, 0.99], [0.95, 0.99]), (swift, "swift", [0.86, 0.94], [0.93, 0.97])];
    for (tracker, name, least, settled) in trackers {
        for timing in [(0.02, 0.5), (0.07, 0.31), (0.25, 2.5)] {
            let [streamed, rendered, whole] = tracks(&tracker, timing);
            for (what, found, least) in [("new", streamed, least), ("rendered", rendered, settled)] {
                let (voicing, near) = agreement(&found, &whole[..found.len()]);
                println!("{name} {timing:?}, {what}: {voicing:.4} {near:.4}");
                assert!(voicing > least[0] && near > least[1], "{name} {timing:?}, {what}: {voicing}, {near}");
            }
        }
    }
}

#[test]
fn units_of_a_window_approach_those_of_the_whole_as_the_context_grows() {
    let (tensors, config) = hubert::small_v1();
    let encoder = Hubert::<Cpu>::load(&tensors.weights(), &config, Projection::Layer12, &Default::default());
    let encoder = UnitEncoder::new(Arc::new(encoder.expect("an encoder")));
    let audio = speech("speech1");
    let whole = encoder.extract(&audio).expect("units");
    // The last quarter second of a window that ends at 5 s, against the same units of the whole.
    let distance = |context_units: usize| {
        let (last, wanted) = (250, 12);
        let window = encoder.extract(&audio[(last - context_units) * 320..last * 320 + 80]).expect("units");
        let own = &window.values[(context_units - wanted) * whole.dim..context_units * whole.dim];
        let other = &whole.values[(last - wanted) * whole.dim..last * whole.dim];
        relative_distance(own, other)
    };
    let distances = [25, 50, 125, 249].map(distance);
    // Half a second, one, the reference's two and a half, and five: this encoder's random attention looks everywhere.
    let most = [0.6, 0.6, 0.25, 0.25];
    assert!(distances.iter().zip(most).all(|(distance, most)| *distance < most), "{distances:?}");
}

/// Root of the squared difference over that of the squares.
fn relative_distance(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let square = |values: &mut dyn Iterator<Item = f32>| values.map(|v| v * v).sum::<f32>();
    let difference = square(&mut found.iter().zip(expected).map(|(a, b)| a - b));
    (difference / square(&mut expected.iter().copied())).sqrt()
}

#[test]
fn each_unit_is_retrieved_alike_in_any_run() {
    let index = Arc::new(Index::open(data("added_IVF15_Flat_nprobe_1_small_v1.index")).expect("an index"));
    let retrieval = Retrieval::<Cpu>::new(index, 256, &Default::default()).expect("a retrieval");
    let values: Vec<f32> = uniform("queries", 40 * 256).map(|u| u as f32).collect();
    let mut whole = Units { values: values.clone(), dim: 256 };
    retrieval.blend(&mut whole, 0, 0.75, SmallCell::Blend);
    for run in [1, 3, 7, 40] {
        let mut streamed = Vec::new();
        for rows in values.chunks(run * 256) {
            let mut units = Units { values: rows.to_vec(), dim: 256 };
            retrieval.blend(&mut units, 0, 0.75, SmallCell::Blend);
            streamed.extend(units.values);
        }
        // Which rows are nearest may not depend on the run; the kernel that finds the cell sums in another order.
        assert_close(&format!("runs of {run}"), &streamed, &whole.values, 1e-6);
    }
    let mut end = Units { values: values.clone(), dim: 256 };
    retrieval.blend(&mut end, 25, 0.75, SmallCell::Blend);
    assert_eq!(end.values[..25 * 256], values[..25 * 256]);
    assert_close("from unit 25", &end.values[25 * 256..], &whole.values[25 * 256..], 1e-6);
}

#[test]
fn a_part_of_a_window_is_rendered_as_in_the_whole() {
    const HOPS: usize = 1_000;
    for has_f0 in [true, false] {
        let mut synth = tiny::converter(has_f0).synth;
        synth.restart_noise(NoiseChoice::Zero);
        let values = uniform("units", HOPS * 5).map(|u| u as f32).collect();
        let content = Units { values, dim: 5 };
        let f0_hz = (0..HOPS).map(|hop| if hop % 50 < 10 { 0.0 } else { 100.0 + (hop % 70) as f32 }).collect();
        let pitch = Pitch { f0_hz, coarse: (0..HOPS).map(|hop| 1 + (hop % 200) as u8).collect() };
        let mut render = |head_hops, tail_hops| {
            let rendering = Rendering { head_hops, tail_hops, phase: SourcePhase::FromWindow };
            synth.render(&content, &pitch, rendering, &ConversionParams::default()).expect("audio")
        };
        let whole = render(0, 0);
        let hop = whole.len() / HOPS;
        for (head, tail) in [(0, 990), (500, 480), (3, 5), (990, 0), (850, 1)] {
            let part = render(head, tail);
            // Values of order 1, summed in another order by kernels for another length.
            assert_close(&format!("{head}, {tail}"), &part, &whole[head * hop..(HOPS - tail) * hop], 1e-5);
        }
    }
}

#[test]
fn renderings_that_agree_are_joined_without_a_trace() {
    for timing in TIMINGS {
        let geometry = geometry(48_000, timing);
        let (chunk, fade) = (geometry.chunk_samples(), geometry.crossfade_samples());
        let rendered = chunk + fade + geometry.search_samples();
        let audio = bursts(40 * chunk + rendered, 48_000);
        let mut join = Sola::new(&geometry);
        let mut output = vec![0.0; 40 * chunk];
        for (index, output) in output.chunks_exact_mut(chunk).enumerate() {
            assert_eq!(join.step(&audio[index * chunk..][..rendered], output), 0, "chunk {index}");
        }
        // The first fade comes out of silence; then each sample is faded into itself.
        assert_close(&format!("{timing:?}"), &output[fade..], &audio[fade..output.len()], 1e-6);
    }
}

#[test]
fn a_seamless_voice_is_the_one_rendered_at_once() {
    // The same content in every window, so that nothing but the join could differ; noise in both.
    const HOPS: usize = 60;
    /// f32 sums of the attention over windows cut elsewhere.
    const TOLERANCE: f32 = 2e-5;
    let voice = Arc::new(tiny::voice(&tiny::voice_config(true, Resblock::One, &[10, 4, 2])));
    let render = |chunk_hops: usize, crossfade: f64| {
        let window_hops = 200;
        let overlap = (crossfade * 100.0).round() as usize + 1;
        let timing = Timing {
            chunk: chunk_hops as f64 / 100.0,
            crossfade,
            context: (window_hops - overlap - chunk_hops) as f64 / 100.0,
        };
        let geometry = Geometry::new(8_000, timing).expect("sizes");
        assert_eq!(geometry.window_hops(), window_hops);
        let content = Units { values: [0.3, -0.7, 0.2, 0.9, -0.4].repeat(window_hops), dim: 5 };
        let pitch = Pitch { f0_hz: vec![155.0; window_hops], coarse: vec![60; window_hops] };
        let mut synth = Synth::new(voice.clone());
        synth.restart_noise(NoiseChoice::Seeded(7));
        let mut continuation = Continuation::new(&geometry);
        let chunks = (0..HOPS / chunk_hops).flat_map(|_| {
            let rendered = continuation.render(&mut synth, &content, &pitch, 1, &ConversionParams::default());
            let mut rendered = rendered.expect("audio");
            assert_eq!(rendered.len(), (chunk_hops + 1) * 80);
            rendered.truncate(chunk_hops * 80);
            rendered
        });
        chunks.collect::<Vec<f32>>()
    };
    // Looking ahead as far as the generator reaches.
    let crossfade = (voice.generator_reach_hops() + 14) as f64 / 100.0;
    let at_once = render(HOPS, crossfade);
    assert!(at_once.iter().any(|value| value.abs() > 1e-2), "nothing is heard");
    for chunk_hops in [1, 3, 4, 20] {
        assert_close(&format!("chunks of {chunk_hops} hops"), &render(chunk_hops, crossfade), &at_once, TOLERANCE);
    }
    // And the comparison can tell: a chunk that looks ahead too little is another.
    let short = render(4, 0.01);
    let difference = short.iter().zip(&at_once).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(difference > 10.0 * TOLERANCE, "a look-ahead of two hops differs by {difference} only");
}

#[test]
fn noise_is_taken_out_of_a_stream_as_out_of_the_whole() {
    const RATE_HZ: u32 = 32_000;
    // Steady noise under a tone too short to count as noise itself.
    let samples = 3 * RATE_HZ as usize;
    let tone = |n: usize| {
        let seconds = n as f64 / f64::from(RATE_HZ);
        if seconds.fract() < 0.12 { 0.3 * (std::f64::consts::TAU * 440.0 * seconds).sin() as f32 } else { 0.0 }
    };
    let noise: Vec<f32> = uniform("noise", samples).map(|value| 0.01 * value as f32).collect();
    let audio: Vec<f32> = noise.iter().enumerate().map(|(n, noise)| noise + tone(n)).collect();
    let whole = SpectralGate::new(RATE_HZ).apply(&audio, &audio);
    let power = |values: &[f32]| values.iter().map(|value| value * value).sum::<f32>() / values.len() as f32;
    for timing in [(0.05, 1.0), (0.13, 2.5), (0.25, 2.5)] {
        let geometry = geometry(RATE_HZ, timing);
        let chunk = geometry.chunk_samples();
        let mut denoiser = InputDenoiser::new(&geometry);
        let latency = denoiser.latency_samples();
        let window = geometry.window_hops() * geometry.hop_samples;
        let stream = [vec![0.0; window], audio.clone()].concat();
        let ends = (window + chunk..=stream.len()).step_by(chunk);
        let streamed: Vec<f32> = ends.flat_map(|end| denoiser.step(&stream[end - window..end])).collect();
        // Once the window is full. Where it ends, the mask is smoothed over less; what counts as noise is told by less.
        let compared = window..streamed.len() - latency;
        let (streamed, whole) = (&streamed[compared.start + latency..compared.end + latency], &whole[compared.clone()]);
        let distance = relative_distance(streamed, whole);
        println!("{timing:?}: {distance:.4}");
        assert!(distance < 0.2, "{timing:?}: {distance}");
        assert!(power(streamed) < power(&audio[compared]), "{timing:?}: nothing was taken out");
    }
}

#[test]
fn the_loudness_of_a_chunk_is_that_of_the_whole_but_at_its_ends() {
    const HOP: usize = 480;
    let audio = bursts(100 * HOP, 48_000);
    let whole = rms(&audio, 4 * HOP, HOP);
    for (start, hops) in [(0, 3), (7, 5), (40, 25), (90, 10)] {
        let part = rms(&audio[start * HOP..(start + hops) * HOP], 4 * HOP, HOP);
        assert_eq!(part.len(), hops + 1);
        // Frames of four hops: two on each side of their centre.
        for hop in 2..hops - 1 {
            let (found, expected) = (part[hop], whole[start + hop]);
            assert!((found - expected).abs() <= 1e-6 * expected.max(1e-3), "{start} + {hop}: {found}, {expected}");
        }
    }
}

//! Long recordings: pitch tracked in windows is the pitch of the whole, so that memory need not grow with the length.

use std::sync::Arc;

use syrinx::checkpoint::Tensors;
use syrinx::dsp::pitch_track::TrackWindows;
use syrinx::nn::Cpu;
use syrinx::nn::crepe::Crepe;
use syrinx::nn::fcpe::{DEFAULT_THRESHOLD, Fcpe};
use syrinx::nn::rmvpe::{self, Rmvpe};
use syrinx::nn::swift_f0::SwiftF0;
use syrinx::path::pitch::Tracker;

use crate::support::{assert_close, cents, data, speech};

/// Five windows and more over ten seconds of speech.
const WINDOWS: TrackWindows = TrackWindows { longest_hops: 320, context_hops: 64 };
/// The whole at once.
const WHOLE: TrackWindows = TrackWindows { longest_hops: usize::MAX, context_hops: 0 };

fn tensors(file: &str) -> Tensors {
    Tensors::open(data(file)).expect("a checkpoint")
}

#[track_caller]
fn assert_same_pitch(found: &[f32], expected: &[f32], tolerance_cents: f64) {
    assert_eq!(found.len(), expected.len());
    assert!(expected.iter().any(|&hz| hz > 0.0), "nothing is voiced");
    for (hop, (&a, &b)) in found.iter().zip(expected).enumerate() {
        assert_eq!(a > 0.0, b > 0.0, "hop {hop}: {a} Hz, expected {b} Hz");
        assert!(a == b || cents(a, b).abs() <= tolerance_cents, "hop {hop}: {a} Hz, expected {b} Hz");
    }
}

#[test]
fn swift_f0_hears_no_further_than_its_context() {
    let tracker = Tracker::<Cpu>::SwiftF0(Arc::new(SwiftF0::embedded(&Default::default()).expect("a network")));
    let audio = speech("speech1");
    let whole = tracker.track_in(WHOLE, &audio).expect("a track");
    assert_same_pitch(&tracker.track_in(WINDOWS, &audio).expect("a track"), &whole, 0.01);
}

#[test]
fn fcpe_in_windows_is_normalised_by_the_whole() {
    let network = Fcpe::<Cpu>::load(&tensors("fcpe_small.weights.safetensors").weights(), &Default::default());
    let (network, audio) = (network.expect("a network"), speech("speech1"));
    let whole = network.f0_in(WHOLE, &audio, DEFAULT_THRESHOLD).expect("a track");
    // The context is raised to what the network reaches.
    let windows = TrackWindows { context_hops: 0, ..WINDOWS };
    let found = network.f0_in(windows, &audio, DEFAULT_THRESHOLD).expect("a track");
    assert_close("salience", &found.voicing, &whole.voicing, 1e-5);
    assert_same_pitch(&found.f0_hz, &whole.f0_hz, 0.05);
}

#[test]
fn crepe_goes_through_the_salience_a_path_at_a_time() {
    let network = Crepe::<Cpu>::load(&tensors("crepe_small.weights.safetensors").weights(), &Default::default());
    let (network, audio) = (network.expect("a network"), speech("speech1"));
    let salience = network.salience(&audio).expect("a salience");
    let paths = salience.chunks(512 * 360).map(|salience| syrinx::nn::crepe::decode_path(salience, 360));
    let voicing: Vec<f32> = paths.flat_map(|path| path.voicing).collect();
    let track = network.f0(&audio, 0.0).expect("a track");
    // A median of three: the same at every frame that lies between its neighbours.
    let same = track.voicing.iter().zip(&voicing).filter(|(a, b)| a == b).count();
    assert!(same > voicing.len() / 3, "{same} of {}", voicing.len());
}

#[test]
fn rmvpe_in_windows_differs_by_what_its_recurrent_layer_remembers() {
    let network = Rmvpe::<Cpu>::load(&tensors("rmvpe_small.pt").weights(), &Default::default()).expect("a network");
    let audio = speech("speech1");
    let whole = network.f0_in(WHOLE, &audio, rmvpe::DEFAULT_THRESHOLD).expect("a track");
    // Random weights remember long, and so flat a salience has another largest bin at the least difference; that of the
    // published network peaks near 1.
    const SALIENCE: f32 = 5e-4;
    for context_hops in [32, 160] {
        let windows = TrackWindows { longest_hops: 2 * context_hops + 192, context_hops };
        let found = network.f0_in(windows, &audio, rmvpe::DEFAULT_THRESHOLD).expect("a track");
        assert_close(&format!("salience, context {context_hops}"), &found.voicing, &whole.voicing, SALIENCE);
    }
}

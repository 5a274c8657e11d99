//! SOLA against its twin.

use proptest::prelude::*;
use syrinx::cuda::Buffer;
use syrinx::cuda::ops::{sola_join, sola_scores};
use syrinx::geometry::{Geometry, Timing};
use syrinx::path::join::{Sola, fade_in};

use crate::host::{Host, ORDERS, Order};
use crate::support::{Floats, assert_close, blank, config, noise, order, upload, voice};

/// The kernels with the state that they leave to their caller.
struct KernelSola {
    host: Host,
    fade_in: Floats,
    tail: Floats,
    shifts: usize,
    chunk: usize,
}

impl KernelSola {
    fn new(geometry: &Geometry, order: Order) -> Self {
        let host = Host::new(order);
        let fade_in = upload(&host, &fade_in(geometry.crossfade_samples()));
        let tail = upload(&host, &vec![0.0; fade_in.len()]);
        let (shifts, chunk) = (geometry.search_samples() + 1, geometry.chunk_samples());
        Self { host, fade_in, tail, shifts, chunk }
    }

    fn step(&mut self, rendered: &[f32]) -> (Vec<f32>, usize) {
        let host = &self.host;
        let rendered = upload(host, rendered);
        let (mut scores, mut output) = (blank(host, self.shifts), blank(host, self.chunk));
        let mut next_tail = blank(host, self.tail.len());
        let mut shift: Buffer<Host, i32> = Buffer::zeros(host, 1).expect("memory");
        sola_scores(host, &rendered, &self.tail, &mut scores).expect("a launch");
        let (fade, tail) = (&self.fade_in, &self.tail);
        sola_join(host, &rendered, &scores, fade, tail, &mut output, &mut next_tail, &mut shift).expect("a launch");
        self.tail = next_tail;
        (output.read(host).expect("values"), shift.read(host).expect("values")[0] as usize)
    }
}

fn geometry(chunk_hops: usize, fade_hops: usize) -> Geometry {
    let timing = Timing { chunk: chunk_hops as f64 / 100.0, crossfade: fade_hops as f64 / 100.0, context: 0.1 };
    Geometry::new(8000, timing).expect("a geometry")
}

fn assert_joins(geometry: &Geometry, order: Order, renderings: &[Vec<f32>]) {
    let (mut kernel, mut twin) = (KernelSola::new(geometry, order), Sola::new(geometry));
    for rendered in renderings {
        let (found, shift) = kernel.step(rendered);
        let mut expected = vec![0.0; geometry.chunk_samples()];
        assert_eq!(shift, twin.step(rendered, &mut expected), "shift");
        assert_close("sample", &found, &expected, |_| 2e-7);
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn joins_match_the_twin_chunk_after_chunk(
        seed: u64, chunk in 1_usize..8, fade in 1_usize..6, noisy: bool, order in order(),
    ) {
        let geometry = geometry(chunk, fade);
        let len = geometry.chunk_samples() + geometry.crossfade_samples() + geometry.search_samples();
        let sound = |i: u64| if noisy { noise(seed ^ i, len) } else { voice(seed % 50 + 7 * i, len) };
        assert_joins(&geometry, order, &(0..4).map(sound).collect::<Vec<_>>());
    }
}

#[test]
fn silence_is_joined_without_a_shift_and_nan_is_never_chosen() {
    let geometry = geometry(3, 2);
    let len = geometry.chunk_samples() + geometry.crossfade_samples() + geometry.search_samples();
    let mut spoilt = voice(1, len);
    spoilt[len - 100] = f32::NAN;
    let mut begins_spoilt = voice(2, len);
    begins_spoilt[3] = f32::NAN;
    for order in ORDERS {
        assert_joins(&geometry, order, &[vec![0.0; len], voice(1, len), vec![0.0; len], voice(2, len)]);
        assert_joins(&geometry, order, &[voice(3, len), spoilt.clone(), voice(4, len)]);
        assert_joins(&geometry, order, &[voice(3, len), begins_spoilt.clone(), voice(4, len)]);
    }
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    let host = Host::new(Order::Forwards);
    let (short, tail) = (blank(&host, 20), blank(&host, 16));
    assert!(sola_scores(&host, &short, &tail, &mut blank(&host, 6)).is_err());
    sola_scores(&host, &short, &tail, &mut blank(&host, 5)).expect("just enough");
}

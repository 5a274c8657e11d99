//! Norm, elementwise functions, attention and recurrence against their twins.

use proptest::prelude::*;
use syrinx::cuda::ops::{AttentionShape, Directions, Distances, GruShape, MatmulShape, activate, attention, gate, gru};
use syrinx::cuda::ops::{Epilogue, layer_norm, matmul, prepare_linear};
use syrinx::nn::Cpu;
use syrinx::nn::ops::{AttentionSpec, Relative, VoiceOps, plain};

use crate::around::{activation, tensor, upload_longer, values, weights};
use crate::host::{Host, Order};
use crate::support::{assert_close, bits, blank, config, in_every_order, noise, order, upload};

const TOLERANCE: f32 = 1e-5;

/// The first `count` values of an output that is longer.
fn read(host: &Host, y: &crate::support::Floats, count: usize) -> Vec<f32> {
    let mut y = y.read(host).expect("values");
    assert!(y[count..].iter().all(|&value| value == -12_345.0), "written beyond the output");
    y.truncate(count);
    y
}

fn layer_norm_by_kernel(host: &Host, x: &[f32], [rows, features]: [usize; 2], epsilon: f32) -> Vec<f32> {
    let [gamma, beta] = [3, 4].map(|seed| upload_longer(host, &noise(seed, features)));
    let mut y = blank(host, x.len() + 3);
    layer_norm(host, [rows, features], &upload_longer(host, x), &gamma, &beta, epsilon, &mut y).expect("a launch");
    read(host, &y, x.len())
}

fn layer_norm_by_twin(x: &[f32], [rows, features]: [usize; 2], epsilon: f32) -> Vec<f32> {
    let [gamma, beta] = [3, 4].map(|seed| tensor(&noise(seed, features), [features]));
    values(plain::layer_norm(tensor(x, [1, rows, features]), &gamma, &beta, epsilon))
}

/// Sizes of an attention: batch, queries, keys, heads, values of a head.
#[derive(Clone, Copy, Debug)]
struct Attention {
    sizes: [usize; 5],
    span: Option<[usize; 2]>,
    reach: Option<usize>,
}

impl Attention {
    fn spec(&self) -> AttentionSpec {
        AttentionSpec { heads: self.sizes[3], scale: 0.7, span: self.span }
    }

    fn operands(&self) -> [Vec<f32>; 5] {
        let [batch, queries, keys, heads, size] = self.sizes;
        let distances = self.reach.map_or(0, |reach| 2 * reach + 1);
        let lengths = [batch * queries * heads * size, batch * keys * heads * size, batch * keys * heads * size];
        let [query, key, value] = [0, 1, 2].map(|i| noise(i as u64 + 10, lengths[i]));
        [query, key, value, noise(20, distances * size), noise(21, distances * size)]
    }

    fn by_kernel(&self, host: &Host) -> Vec<f32> {
        let [batch, queries, keys, heads, size] = self.sizes;
        let count = batch * queries * heads * size;
        let [query, key, value, of_keys, of_values] = self.operands().map(|values| upload_longer(host, &values));
        let distances = self.reach.map(|reach| Distances { reach, keys: &of_keys, values: &of_values });
        let mut y = blank(host, count + 3);
        let shape = AttentionShape { batch, queries, keys, features: heads * size, spec: self.spec() };
        attention(host, &shape, &query, &key, &value, distances.as_ref(), &mut y).expect("a launch");
        read(host, &y, count)
    }

    fn by_twin(&self) -> Vec<f32> {
        let [batch, queries, keys, heads, size] = self.sizes;
        let [query, key, value, of_keys, of_values] = self.operands();
        let relative = self.reach.map(|reach| {
            let table = |values: &[f32]| tensor(values, [2 * reach + 1, size]);
            Relative::<Cpu> { keys: table(&of_keys), values: table(&of_values) }
        });
        let rows = |values: &[f32], rows: usize| tensor(values, [batch, rows, heads * size]);
        let (query, key, value) = (rows(&query, queries), rows(&key, keys), rows(&value, keys));
        values(plain::attention(query, key, value, relative.as_ref(), self.spec()))
    }

    fn check(&self, host: &Host) {
        assert_close("value", &self.by_kernel(host), &self.by_twin(), |_| TOLERANCE);
    }
}

/// Weights of one direction of a recurrence: of input and state, and both biases.
fn gru_weights(seed: u64, inputs: usize, hidden: usize) -> [Vec<f32>; 4] {
    [
        weights(seed, 3 * hidden * inputs, inputs),
        weights(seed + 1, 3 * hidden * hidden, hidden),
        noise(seed + 2, 3 * hidden),
        noise(seed + 3, 3 * hidden),
    ]
}

fn prepared(weights: &[Vec<f32>; 4], inputs: usize, hidden: usize) -> <Cpu as VoiceOps>::Gru {
    let [of_input, of_state, input_bias, bias] = weights;
    let rows = 3 * hidden;
    let (of_input, of_state) = (tensor(of_input, [rows, inputs]), tensor(of_state, [rows, hidden]));
    Cpu::prepare_gru(of_input, of_state, tensor(input_bias, [rows]), tensor(bias, [rows]))
}

fn gru_by_kernel(host: &Host, [time, inputs, hidden]: [usize; 3], x: &[f32], directions: Directions) -> Vec<f32> {
    let count = if directions == Directions::Both { 2 } else { 1 };
    let given: Vec<_> = (0..count).map(|i| gru_weights(100 * (i + 1), inputs, hidden)).collect();
    let all = |part: usize| given.iter().flat_map(|weights| weights[part].clone()).collect::<Vec<f32>>();
    let outputs = given.len() * 3 * hidden;
    let shape = MatmulShape::linear(time, [inputs, outputs]);
    let weight = upload(host, &prepare_linear(&all(0), [outputs, inputs]).expect("weights"));
    let (bias, x) = (upload(host, &all(2)), upload(host, x));
    let (mut scratch, mut products) = (blank(host, shape.scratch()), blank(host, time * outputs));
    let plainly = Epilogue::default();
    matmul(host, &shape, &x, &weight, Some(&bias), None, plainly, &mut scratch, &mut products).expect("a launch");
    let (weight, bias) = (upload_longer(host, &all(1)), upload_longer(host, &all(3)));
    let states = time * given.len() * hidden;
    let mut y = blank(host, states + 3);
    gru(host, GruShape { time, hidden, directions }, &products, &weight, &bias, &mut y).expect("launches");
    read(host, &y, states)
}

fn gru_by_twin([time, inputs, hidden]: [usize; 3], x: &[f32], directions: Directions) -> Vec<f32> {
    let x = tensor(x, [1, time, inputs]);
    let [first, second] = [100, 200].map(|seed| prepared(&gru_weights(seed, inputs, hidden), inputs, hidden));
    match directions {
        Directions::Both => values(Cpu::gru_both_ways(&first, &second, x)),
        direction => values(Cpu::gru(&first, x, direction == Directions::Backwards)),
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn layer_norm_matches_the_twin(
        seed: u64, rows in 0_usize..9, features in 1_usize..400, epsilon in 1e-5_f32..1.0, order in order(),
    ) {
        let x: Vec<f32> = noise(seed, rows * features).iter().map(|x| 3.0 * x + 2.0).collect();
        let size = [rows, features];
        let found = layer_norm_by_kernel(&Host::new(order), &x, size, epsilon);
        if rows > 0 {
            assert_close("value", &found, &layer_norm_by_twin(&x, size, epsilon), |_| 3e-5);
        }
    }

    #[test]
    fn activations_match_the_twin(seed: u64, count in 1_usize..700, activation in activation(), order in order()) {
        let host = Host::new(order);
        let mut x: Vec<f32> = noise(seed, count).iter().map(|x| 5.0 * x).collect();
        x[count / 2] = [0.0, -0.0, 1e-30, 90.0, -90.0][count % 5];
        let mut y = blank(&host, count + 3);
        activate(&host, count, &upload_longer(&host, &x), activation, &mut y).expect("a launch");
        let expected = values(plain::activate(tensor(&x, [count]), activation));
        assert_close("value", &read(&host, &y, count), &expected, |v| 1e-6 * v.abs().max(1.0));
    }

    #[test]
    fn the_gate_matches_the_twin(
        seed: u64, [batch, channels, time] in [1_usize..3, 1_usize..20, 1_usize..40], order in order(),
    ) {
        let host = Host::new(order);
        let x: Vec<f32> = noise(seed, 2 * batch * channels * time).iter().map(|x| 4.0 * x).collect();
        let mut y = blank(&host, x.len() / 2 + 3);
        gate(&host, [batch, channels, time], &upload_longer(&host, &x), &mut y).expect("a launch");
        let expected = values(plain::gate(tensor(&x, [batch, 2 * channels, time])));
        assert_close("value", &read(&host, &y, x.len() / 2), &expected, |_| 1e-6);
    }

    #[test]
    fn attention_matches_the_twin(
        batch in 1_usize..3, queries in 1_usize..20, keys in 1_usize..90, heads in 1_usize..4, size in 1_usize..129,
        order in order(),
    ) {
        Attention { sizes: [batch, queries, keys, heads, size], span: None, reach: None }.check(&Host::new(order));
    }

    #[test]
    fn attention_in_a_span_and_by_distance_matches_the_twin(
        rows in 1_usize..80, heads in 1_usize..3, size in 1_usize..40,
        span in prop::option::of([0_usize..90, 0_usize..90]), reach in prop::option::of(0_usize..12), order in order(),
    ) {
        Attention { sizes: [1, rows, rows, heads, size], span, reach }.check(&Host::new(order));
    }

    #[test]
    fn the_recurrence_matches_the_twin(
        seed: u64, size in [1_usize..12, 1_usize..30, 1_usize..40],
        directions in prop::sample::select(vec![Directions::Forwards, Directions::Backwards, Directions::Both]),
        order in order(),
    ) {
        let x = noise(seed, size[0] * size[1]);
        let found = gru_by_kernel(&Host::new(order), size, &x, directions);
        assert_close("state", &found, &gru_by_twin(size, &x, directions), |_| TOLERANCE);
    }
}

#[test]
fn scores_of_any_size_and_the_text_encoders_sizes_match_the_twin() {
    let host = Host::new(Order::Shuffled);
    Attention { sizes: [1, 70, 70, 2, 96], span: None, reach: Some(10) }.check(&host);
    // A scale that lets one key take all.
    let spec = AttentionSpec { heads: 1, scale: 1000.0, span: Some([3, 0]) };
    let [query, key, value] = [1, 2, 3].map(|seed| noise(seed, 40 * 16));
    let shape = AttentionShape { batch: 1, queries: 40, keys: 40, features: 16, spec };
    let mut y = blank(&host, 640);
    let [q, k, v] = [&query, &key, &value].map(|values| upload(&host, values));
    attention(&host, &shape, &q, &k, &v, None, &mut y).expect("a launch");
    let [query, key, value] = [query, key, value].map(|values| tensor(&values, [1, 40, 16]));
    let expected = values(plain::attention(query, key, value, None, spec));
    assert_close("value", &y.read(&host).expect("values"), &expected, |_| 1e-3);
}

#[test]
fn the_same_bits_in_every_order_of_threads() {
    let case = Attention { sizes: [1, 9, 9, 2, 33], span: Some([4, 2]), reach: Some(3) };
    in_every_order(|host| bits(&case.by_kernel(host)));
    let x = noise(5, 3 * 130);
    in_every_order(|host| bits(&layer_norm_by_kernel(host, &x, [3, 130], 1e-5)));
    in_every_order(|host| bits(&gru_by_kernel(host, [5, 6, 9], &x[..30], Directions::Both)));
}

#[test]
fn sizes_and_buffers_that_do_not_fit_are_refused() {
    let host = Host::new(Order::Forwards);
    let (short, mut y) = (blank(&host, 5), blank(&host, 6));
    let error = layer_norm(&host, [2, 3], &short, &short, &short, 1e-5, &mut y).expect_err("refused");
    assert_eq!(error.to_string(), "input: expected at least 6 values, found 5");
    assert!(gate(&host, [1, 3, 1], &short, &mut y).is_err());
    assert!(activate(&host, 6, &short, Default::default(), &mut y).is_err());
    let spec = AttentionSpec { heads: 2, scale: 1.0, span: None };
    let shape = AttentionShape { batch: 1, queries: 1, keys: 1, features: 4, spec };
    let refused = |shape, distances: Option<&Distances<Host>>| {
        let mut y = blank(&host, 5);
        attention(&host, &shape, &short, &short, &short, distances, &mut y).expect_err("refused").to_string()
    };
    let error = refused(AttentionShape { features: 3, ..shape }, None);
    assert_eq!(error, "heads: expected a divisor of 3 features, into 1 to 128 each, found 2");
    assert!(refused(AttentionShape { features: 258, ..shape }, None).starts_with("heads: "));
    assert_eq!(refused(AttentionShape { keys: 0, ..shape }, None), "keys: expected at least one, found 0");
    assert_eq!(refused(AttentionShape { keys: 2, ..shape }, None), "key: expected at least 8 values, found 5");
    let span = AttentionSpec { span: Some([1, 1]), ..spec };
    assert!(refused(AttentionShape { keys: 2, spec: span, ..shape }, None).starts_with("keys of a span: "));
    let far = Distances { reach: 1, keys: &short, values: &short };
    assert_eq!(refused(shape, Some(&far)), "keys of distances: expected at least 6 values, found 5");
    let shape = GruShape { time: 1, hidden: 2, directions: Directions::Forwards };
    let error = gru(&host, shape, &short, &short, &short, &mut y).expect_err("refused");
    assert_eq!(error.to_string(), "input products: expected at least 6 values, found 5");
}

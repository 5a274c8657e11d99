//! Every kernel at every level of this machine against its plain twin, on random shapes.

use burn::tensor::{Tensor, TensorData};
use burn_flex::{Flex, FlexDevice};
use proptest::prelude::*;

use super::cpu::attention::{Attention, Distances, Inputs};
use super::cpu::conv_transpose1d::ConvTranspose1d;
use super::cpu::conv_transpose2d::ConvTranspose2d;
use super::cpu::conv1d::Conv1d;
use super::cpu::conv2d::Conv2d;
use super::cpu::gru::Gru;
use super::cpu::level::Level;
use super::cpu::linear::Linear;
use super::cpu::residual_stage::{self, ResidualStage};
use super::cpu::tap_sum::{self, TapSum};
use super::cpu::{Around, activation, pairs};
use super::{
    Activation, AttentionSpec, Conv1dSpec, Fused, Kernel1d, Precision, Relative, ResidualBlock, ResidualUnit, VoiceOps,
    lean, plain,
};

/// Sums here have at most a few hundred terms of products of numbers in -1..1, whose rounding errors stay below this.
const TOLERANCE: f32 = 2e-5;

/// Values in -1..1 that depend on the seed only.
fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn tensor<const D: usize>(values: &[f32], dims: [usize; D]) -> Tensor<Flex, D> {
    Tensor::from_data(TensorData::new(values.to_vec(), dims), &FlexDevice)
}

fn values<const D: usize>(x: Tensor<Flex, D>) -> Vec<f32> {
    x.into_data().to_vec().unwrap()
}

/// Asserts that two outputs agree.
fn assert_close(level: Level, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{level:?}: length");
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (found - expected).abs();
        assert!(error <= TOLERANCE * expected.abs().max(1.0), "{level:?} at {index}: {found}, not {expected}");
    }
}

#[test]
fn any_run_of_row_blocks_is_split_as_in_the_whole() {
    for level in Level::available() {
        for rows in 0..100 {
            let blocks: Vec<_> = tap_sum::row_blocks(level, rows).collect();
            assert_eq!(blocks.iter().map(|&(_, size)| size).sum::<usize>(), rows, "{level:?}");
            for start in 0..blocks.len() {
                for end in start + 1..=blocks.len() {
                    let first = blocks[start].0;
                    let run: Vec<_> = blocks[start..end].iter().map(|&(row, size)| (row - first, size)).collect();
                    let rows = run.iter().map(|&(_, size)| size).sum();
                    assert_eq!(tap_sum::row_blocks(level, rows).collect::<Vec<_>>(), run, "{level:?}");
                }
            }
        }
    }
}

#[test]
fn sums_of_more_taps_and_rows_than_are_held_at_once_equal_plain_ones() {
    // Terms cancel little, so that the sums grow with the root of their number.
    for (rows, taps, columns) in [(1, 700, 5), (8, 257, 33), (9, 513, 16), (103, 300, 50), (200, 600, 17)] {
        let (x, weights) = (noise(1, taps * columns + 64), noise(2, rows * taps));
        let (bias, before) = (noise(3, rows), noise(4, rows * columns));
        let offsets: Vec<u32> = (0..taps).map(|k| (k * columns) as u32).collect();
        for level in Level::available() {
            for accumulate in [false, true] {
                let mut found = before.clone();
                let packed = tap_sum::pack(level, rows, taps, |row, k| weights[row * taps + k]);
                let sum =
                    TapSum { x: &x, offsets: &offsets, weights: &packed, bias: Some(&bias), rows, columns, accumulate };
                #[allow(unsafe_code, reason = "the kernel under test")]
                // SAFETY: `found` holds `rows` rows of `columns`, and `x` has room beyond its last column.
                unsafe {
                    sum.write(level, found.as_mut_ptr(), columns);
                }
                let plain = |row: usize, column: usize| {
                    let terms =
                        (0..taps).map(|k| f64::from(weights[row * taps + k]) * f64::from(x[k * columns + column]));
                    let start = if accumulate { before[row * columns + column] } else { 0.0 };
                    (terms.sum::<f64>() + f64::from(bias[row]) + f64::from(start)) as f32
                };
                let expected: Vec<f32> = (0..rows * columns).map(|at| plain(at / columns, at % columns)).collect();
                assert_close(level, &found, &expected);
            }
        }
    }
}

fn any_activation() -> impl Strategy<Value = Activation> {
    prop_oneof![
        Just(Activation::Identity),
        Just(Activation::Relu),
        Just(Activation::LeakyRelu(0.1)),
        Just(Activation::Gelu),
        Just(Activation::Silu),
        Just(Activation::Tanh),
        Just(Activation::Sigmoid),
    ]
}

/// Activations before and after, and whether there is a residual.
fn any_around() -> impl Strategy<Value = (Activation, Activation, bool)> {
    (any_activation(), any_activation(), any::<bool>())
}

/// What surrounds a kernel, for both twins.
struct Surroundings<const D: usize> {
    before: Activation,
    after: Activation,
    residual: Option<Vec<f32>>,
    dims: [usize; D],
}

impl<const D: usize> Surroundings<D> {
    fn new((before, after, residual): (Activation, Activation, bool), dims: [usize; D]) -> Self {
        Self { before, after, residual: residual.then(|| noise(99, dims.iter().product())), dims }
    }

    fn plain(&self) -> Fused<Flex, D> {
        let residual = self.residual.as_ref().map(|values| tensor(values, self.dims));
        Fused { before: self.before, after: self.after, residual }
    }

    fn slices(&self) -> Around<'_> {
        Around { before: self.before, after: self.after, residual: self.residual.as_deref() }
    }

    fn check(&self, expected: Tensor<Flex, D>, kernel: impl Fn(Level, Around, &mut [f32])) {
        assert_eq!(expected.dims(), self.dims);
        let expected = values(expected);
        for level in Level::available() {
            let mut found = vec![f32::NAN; expected.len()];
            kernel(level, self.slices(), &mut found);
            assert_close(level, &found, &expected);
        }
    }
}

fn check_conv1d(
    [batch, groups, inputs, outputs, time, taps]: [usize; 6],
    spec: Conv1dSpec,
    around: (Activation, Activation, bool),
) {
    let spec = Conv1dSpec { groups, ..spec };
    let (x_dims, dims) = ([batch, groups * inputs, time], [groups * outputs, inputs, taps]);
    let (x, weight) = (noise(1, x_dims.iter().product()), noise(2, dims.iter().product()));
    let bias = noise(3, dims[0]);
    let conv = plain::Conv1d { weight: tensor(&weight, dims), bias: Some(tensor(&bias, [dims[0]])), spec };
    let length = Conv1d::new(Level::Portable, &weight, dims, None, spec, Precision::Full).length(time);
    if length == 0 {
        return;
    }
    let surroundings = Surroundings::new(around, [batch, dims[0], length]);
    let expected = plain::conv1d(&conv, tensor(&x, x_dims), surroundings.plain());
    surroundings.check(expected, |level, around, out| {
        Conv1d::new(level, &weight, dims, Some(&bias), spec, Precision::Full).run(&x, batch, time, around, out);
    });
}

/// A stage of type 1 blocks (or type 2 if `single`) with `(taps, dilations)`, and its plain twin.
fn stage(
    level: Level,
    channels: usize,
    blocks: &[(usize, &[usize])],
    single: bool,
) -> (ResidualStage, Vec<ResidualBlock<Flex>>) {
    let mut seed = 10;
    let mut kernel = |taps: usize, dilation: usize| {
        seed += 1;
        let dims = [channels, channels, taps];
        let scale = 1.0 / ((channels * taps) as f32).sqrt();
        let weight: Vec<_> = noise(seed, channels * channels * taps).into_iter().map(|w| w * scale).collect();
        let bias = noise(seed + 1000, channels);
        let twin = Kernel1d { weight: tensor(&weight, dims), bias: tensor(&bias, [channels]), dilation };
        (residual_stage::Kernel1d::new(level, &weight, dims, &bias, dilation), twin)
    };
    let (mut packed, mut plain) = (vec![], vec![]);
    for (taps, dilations) in blocks {
        let (mut packed_units, mut units) = (vec![], vec![]);
        for &dilation in *dilations {
            let (first, first_twin) = kernel(*taps, dilation);
            let (second, second_twin) = if single {
                (None, None)
            } else {
                let (second, twin) = kernel(*taps, 1);
                (Some(second), Some(twin))
            };
            packed_units.push(residual_stage::Unit { first, second });
            units.push(ResidualUnit { first: first_twin, second: second_twin });
        }
        packed.push(packed_units);
        plain.push(ResidualBlock { units });
    }
    (ResidualStage::new(level, packed), plain)
}

fn check_stage(dims: [usize; 3], blocks: &[(usize, &[usize])], single: bool) {
    let x = noise(5, dims.iter().product());
    let (_, twin) = stage(Level::Portable, dims[1], blocks, single);
    let expected = values(plain::residual_stage(&twin, tensor(&x, dims)));
    for level in Level::available() {
        let mut found = vec![f32::NAN; x.len()];
        stage(level, dims[1], blocks, single).0.run(&x, dims, &mut found);
        assert_close(level, &found, &expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn conv1d_equals_its_plain_twin(
        sizes in [1..3_usize, 1..4_usize, 1..7_usize, 1..13_usize, 1..120_usize, 1..12_usize],
        stride in 1..5_usize,
        padding in [0..9_usize, 0..9_usize],
        dilation in 1..4_usize,
        around in any_around(),
    ) {
        check_conv1d(sizes, Conv1dSpec { stride, padding, dilation, groups: 1 }, around);
    }

    #[test]
    fn conv1d_with_neighbours_equals_its_plain_twin(
        [batch, inputs, outputs, time, reach] in [1..6_usize, 1..4_usize, 1..7_usize, 1..60_usize, 0..4_usize],
        taps in 1..6_usize,
        around in any_around(),
    ) {
        let (neighbours, spec) = (2 * reach + 1, Conv1dSpec::same(2 * taps - 1, 1));
        let dims = [outputs, neighbours * inputs, 2 * taps - 1];
        let (x, weight) = (noise(1, batch * inputs * time), noise(2, dims.iter().product()));
        let (x, bias) = (tensor(&x, [batch, inputs, time]), noise(3, outputs));
        let surroundings = Surroundings::new(around, [batch, outputs, time]);
        let twin = plain::Conv1d { weight: tensor(&weight, dims), bias: Some(tensor(&bias, [outputs])), spec };
        let expected = plain::conv1d(&twin, plain::with_neighbours(x.clone(), neighbours), surroundings.plain());
        let conv = <Flex as VoiceOps>::prepare_conv1d(tensor(&weight, dims), Some(tensor(&bias, [outputs])), spec, Precision::Full);
        let found = Flex::conv1d_with_neighbours(&conv, x, neighbours, surroundings.plain());
        assert_close(Level::best(), &values(found), &values(expected));
    }

    #[test]
    fn conv_transpose1d_equals_its_plain_twin(
        [batch, inputs, outputs, time] in [1..3_usize, 1..7_usize, 1..13_usize, 1..120_usize],
        stride in 1..11_usize,
        extra in 0..12_usize,
        padding in 0..6_usize,
        around in any_around(),
    ) {
        let taps = stride + extra;
        let padding = padding.min((taps - 1) / 2);
        let (x_dims, dims) = ([batch, inputs, time], [inputs, outputs, taps]);
        let (x, weight) = (noise(1, x_dims.iter().product()), noise(2, dims.iter().product()));
        let bias = noise(3, outputs);
        let twin = plain::ConvTranspose1d {
            weight: tensor(&weight, dims), bias: Some(tensor(&bias, [outputs])), stride, padding,
        };
        let length = (time - 1) * stride + taps - 2 * padding;
        let surroundings = Surroundings::new(around, [batch, outputs, length]);
        let expected = plain::conv_transpose1d(&twin, tensor(&x, x_dims), surroundings.plain());
        surroundings.check(expected, |level, around, out| {
            ConvTranspose1d::new(level, &weight, dims, Some(&bias), stride, padding).run(&x, batch, time, around, out);
        });
    }

    #[test]
    fn conv2d_equals_its_plain_twin(
        [batch, inputs, outputs, height, width] in [1..3_usize, 1..6_usize, 1..13_usize, 1..20_usize, 1..20_usize],
        half in 0..3_usize,
        around in any_around(),
    ) {
        let side = 2 * half + 1;
        let (x_dims, dims) = ([batch, inputs, height, width], [outputs, inputs, side, side]);
        let (x, weight) = (noise(1, x_dims.iter().product()), noise(2, dims.iter().product()));
        let bias = noise(3, outputs);
        let twin = plain::Conv2d { weight: tensor(&weight, dims), bias: Some(tensor(&bias, [outputs])) };
        let surroundings = Surroundings::new(around, [batch, outputs, height, width]);
        let expected = plain::conv2d(&twin, tensor(&x, x_dims), surroundings.plain());
        surroundings.check(expected, |level, around, out| {
            Conv2d::new(level, &weight, dims, Some(&bias)).run(&x, batch, [height, width], around, out);
        });
    }

    #[test]
    fn conv_transpose2d_equals_its_plain_twin(
        [batch, inputs, outputs, height, width] in [1..3_usize, 1..6_usize, 1..13_usize, 1..20_usize, 1..20_usize],
        around in any_around(),
    ) {
        let (x_dims, dims) = ([batch, inputs, height, width], [inputs, outputs, 3, 3]);
        let (x, weight) = (noise(1, x_dims.iter().product()), noise(2, dims.iter().product()));
        let bias = noise(3, outputs);
        let twin = plain::Conv2d { weight: tensor(&weight, dims), bias: Some(tensor(&bias, [outputs])) };
        let surroundings = Surroundings::new(around, [batch, outputs, 2 * height, 2 * width]);
        let expected = plain::conv_transpose2d(&twin, tensor(&x, x_dims), surroundings.plain());
        surroundings.check(expected, |level, around, out| {
            ConvTranspose2d::new(level, &weight, dims, Some(&bias)).run(&x, batch, [height, width], around, out);
        });
    }

    #[test]
    fn linear_equals_its_plain_twin(
        [batch, rows, inputs, outputs] in [1..3_usize, 1..80_usize, 1..70_usize, 1..110_usize],
        around in any_around(),
    ) {
        let (x_dims, dims) = ([batch, rows, inputs], [outputs, inputs]);
        let (x, weight) = (noise(1, x_dims.iter().product()), noise(2, dims.iter().product()));
        let bias = noise(3, outputs);
        let twin = plain::Linear { weight: tensor(&weight, dims), bias: Some(tensor(&bias, [outputs])) };
        let surroundings = Surroundings::new(around, [batch, rows, outputs]);
        let expected = plain::linear(&twin, tensor(&x, x_dims), surroundings.plain());
        surroundings.check(expected, |level, around, out| {
            Linear::new(level, &weight, dims, Some(&bias), Precision::Full).run(&x, batch * rows, around, out);
        });
    }

    #[test]
    fn gru_equals_its_plain_twin(
        [time, inputs, hidden] in [1..20_usize, 1..30_usize, 1..50_usize],
        reverse in any::<bool>(),
    ) {
        let (ih_dims, hh_dims) = ([3 * hidden, inputs], [3 * hidden, hidden]);
        let x = noise(1, time * inputs);
        let (ih, hh) = (noise(2, 3 * hidden * inputs), noise(3, 3 * hidden * hidden));
        let (bias_ih, bias_hh) = (noise(4, 3 * hidden), noise(5, 3 * hidden));
        let twin = plain::Gru {
            weight_ih: tensor(&ih, ih_dims),
            weight_hh: tensor(&hh, hh_dims),
            bias_ih: tensor(&bias_ih, [3 * hidden]),
            bias_hh: tensor(&bias_hh, [3 * hidden]),
        };
        let expected = values(plain::gru(&twin, tensor(&x, [1, time, inputs]), reverse));
        for level in Level::available() {
            let mut found = vec![f32::NAN; time * hidden];
            Gru::new(level, &ih, ih_dims, &hh, &bias_ih, &bias_hh).run(&x, time, reverse, &mut found);
            assert_close(level, &found, &expected);
        }
    }

    #[test]
    fn gru_both_ways_in_few_launches_equals_its_plain_twins(
        [time, inputs, hidden] in [1..20_usize, 1..30_usize, 1..50_usize],
    ) {
        let x = tensor(&noise(1, time * inputs), [1, time, inputs]);
        let given = |seed| plain::Gru {
            weight_ih: tensor(&noise(seed, 3 * hidden * inputs), [3 * hidden, inputs]),
            weight_hh: tensor(&noise(seed + 1, 3 * hidden * hidden), [3 * hidden, hidden]),
            bias_ih: tensor(&noise(seed + 2, 3 * hidden), [3 * hidden]),
            bias_hh: tensor(&noise(seed + 3, 3 * hidden), [3 * hidden]),
        };
        let [forward, backward] = [given(2), given(7)];
        let expected = [(&forward, false), (&backward, true)].map(|(gru, reverse)| plain::gru(gru, x.clone(), reverse));
        let [forward, backward] = [forward, backward].map(lean::Gru::new);
        let both = lean::gru(&[(&forward, false), (&backward, true)], &x);
        assert_close(Level::best(), &values(both), &values(Tensor::cat(expected.to_vec(), 2)));
        let one = lean::gru(&[(&backward, true)], &x);
        assert_close(Level::best(), &values(one), &values(expected[1].clone()));
    }

    #[test]
    fn attention_equals_its_plain_twin(
        [heads, size, queries, keys] in [1..5_usize, 1..20_usize, 1..120_usize, 1..120_usize],
        span in prop::option::of([0..60_usize, 0..10_usize]),
        reach in prop::option::of(0..12_usize),
    ) {
        let reach = reach.filter(|_| span.is_none());
        let keys = if span.is_some() || reach.is_some() { queries } else { keys };
        let spec = AttentionSpec { heads, scale: 0.7, span };
        let width = heads * size;
        let [query, key, value] = [(1, queries), (2, keys), (3, keys)].map(|(seed, rows)| noise(seed, rows * width));
        let relative = reach.map(|reach| [4, 5].map(|seed| noise(seed, (2 * reach + 1) * size)));
        let distances = relative.as_ref().map(|[keys, values]| {
            let dims = [keys.len() / size, size];
            Relative { keys: tensor(keys, dims), values: tensor(values, dims) }
        });
        let expected = values(plain::attention(
            tensor(&query, [1, queries, width]),
            tensor(&key, [1, keys, width]),
            tensor(&value, [1, keys, width]),
            distances.as_ref(),
            spec,
        ));
        let relative = relative.as_ref().map(|[keys, values]| Distances { keys, values });
        for level in Level::available() {
            let mut found = vec![f32::NAN; query.len()];
            let attention = Attention { level, spec, size, queries, keys };
            attention.run(Inputs { query: &query, key: &key, value: &value, relative }, &mut found);
            assert_close(level, &found, &expected);
        }
    }

    #[test]
    fn products_of_reduced_precision_are_those_of_rounded_factors(
        [rows, inputs, outputs] in [1..80_usize, 1..70_usize, 1..110_usize],
        [groups, channels, out_channels, time, taps] in [1..3_usize, 1..6_usize, 1..13_usize, 12..120_usize, 1..12_usize],
        stride in 1..4_usize,
        before in any_activation(),
    ) {
        let best = Level::best();
        let round = |values: &[f32]| values.iter().map(|&value| pairs::rounded(value)).collect::<Vec<f32>>();
        // The vector functions, which the plain ones equal almost.
        let activated = |x: &[f32]| {
            let mut y = vec![0.0; x.len()];
            activation::copy(best, x, &mut y, before);
            y
        };
        let around = Around { before, ..Around::default() };

        let (x, weight, bias) = (noise(1, rows * inputs), noise(2, outputs * inputs), noise(3, outputs));
        let (mut found, mut expected) = (vec![f32::NAN; rows * outputs], vec![f32::NAN; rows * outputs]);
        let dims = [outputs, inputs];
        Linear::new(best, &weight, dims, Some(&bias), Precision::Reduced).run(&x, rows, around, &mut found);
        if best.pairs().is_some() {
            let exact = Linear::new(best, &round(&weight), dims, Some(&bias), Precision::Full);
            exact.run(&round(&activated(&x)), rows, Around::default(), &mut expected);
        } else {
            Linear::new(best, &weight, dims, Some(&bias), Precision::Full).run(&x, rows, around, &mut expected);
        }
        assert_close(best, &found, &expected);

        let spec = Conv1dSpec { stride, padding: [2, 1], dilation: 1, groups };
        let dims = [groups * out_channels, channels, taps];
        let (x, weight) = (noise(4, groups * channels * time), noise(5, dims.iter().product()));
        let conv = Conv1d::new(best, &weight, dims, None, spec, Precision::Reduced);
        let mut found = vec![f32::NAN; conv.channels() * conv.length(time)];
        let mut expected = found.clone();
        conv.run(&x, 1, time, around, &mut found);
        if best.pairs().is_some() && channels % 2 == 0 {
            let exact = Conv1d::new(best, &round(&weight), dims, None, spec, Precision::Full);
            exact.run(&round(&activated(&x)), 1, time, Around::default(), &mut expected);
        } else {
            Conv1d::new(best, &weight, dims, None, spec, Precision::Full).run(&x, 1, time, around, &mut expected);
        }
        assert_close(best, &found, &expected);
    }

    #[test]
    fn residual_stage_equals_its_plain_twin(
        [batch, channels, time] in [1..3_usize, 1..21_usize, 1..400_usize],
        single in any::<bool>(),
    ) {
        check_stage([batch, channels, time], &[(3, &[1, 3, 5]), (7, &[1, 3, 5]), (11, &[1, 3, 5])], single);
    }

    #[test]
    fn gate_and_layer_norm_equal_their_plain_twins(
        [batch, channels, time] in [1..3_usize, 1..9_usize, 1..80_usize],
    ) {
        let x = noise(1, batch * 2 * channels * time);
        let dims = [batch, 2 * channels, time];
        let gated = values(plain::gate(tensor(&x, dims)));
        let (gamma, beta) = (noise(2, time), noise(3, time));
        let normalised = plain::layer_norm(tensor(&x, dims), &tensor(&gamma, [time]), &tensor(&beta, [time]), 1e-5);
        for level in Level::available() {
            let mut found = vec![f32::NAN; gated.len()];
            for (x, found) in x.chunks(2 * channels * time).zip(found.chunks_mut(channels * time)) {
                activation::gate(level, &x[..channels * time], &x[channels * time..], found);
            }
            assert_close(level, &found, &gated);
            let mut found = vec![f32::NAN; x.len()];
            activation::layer_norm(level, &x, &gamma, &beta, 1e-5, &mut found);
            // One row may be nearly constant, which divides its rounding errors by its tiny deviation.
            if time > 8 {
                assert_close(level, &found, &values(normalised.clone()));
            }
        }
    }
}

#[test]
fn conv1d_equals_its_plain_twin_in_the_shapes_of_the_networks() {
    let plain = (Activation::Identity, Activation::Identity, false);
    // Depthwise.
    check_conv1d([2, 37, 1, 1, 50, 31], Conv1dSpec::same(31, 1), plain);
    // HuBERT's positional convolution, smaller.
    check_conv1d([1, 4, 6, 6, 70, 128], Conv1dSpec { padding: [64, 64], ..Conv1dSpec::default() }, plain);
    // HuBERT's first convolution.
    check_conv1d([1, 1, 1, 20, 400, 10], Conv1dSpec { stride: 5, ..Conv1dSpec::default() }, plain);
    // The generator's noise convolution, stride above the tile's vectors.
    check_conv1d([1, 1, 1, 9, 400, 80], Conv1dSpec { stride: 40, padding: [20, 20], ..Conv1dSpec::default() }, plain);
    // Longer than one tile.
    check_conv1d([1, 1, 3, 10, 2100, 5], Conv1dSpec::same(5, 3), plain);
    // Shorter than its taps.
    check_conv1d([1, 1, 3, 10, 2, 11], Conv1dSpec::same(11, 5), plain);
}

#[test]
fn residual_stage_equals_its_plain_twin_over_several_tiles() {
    let blocks: [(usize, &[usize]); 3] = [(3, &[1, 3, 5]), (7, &[1, 3, 5]), (11, &[1, 3, 5])];
    // Few channels: direct. More of them: in planes, in one tile and in several.
    check_stage([1, 5, 17_000], &blocks, false);
    check_stage([2, 41, 1500], &blocks, false);
    check_stage([1, 43, 2000], &blocks, false);
    check_stage([1, 40, 2000], &blocks, true);
    check_stage([1, 40, 1860], &[(5, &[1, 2]), (9, &[2, 6])], false);
}

#[test]
fn residual_stage_equals_its_plain_twin_where_blocks_reach_far() {
    // A tile of four times the reach is longer than the longest else.
    check_stage([1, 2, 6000], &[(13, &[64, 64, 64])], false);
    // Margins that would fill a tile of planes, and exceed it.
    check_stage([1, 40, 1600], &[(43, &[1, 1, 1])], true);
    check_stage([1, 40, 1600], &[(63, &[1, 1, 1])], false);
}

/// A function in double precision.
type Exact = fn(f64) -> f64;

#[test]
fn what_is_not_a_number_stays_so_through_every_activation_but_the_rectifier() {
    let functions =
        [Activation::LeakyRelu(0.1), Activation::Gelu, Activation::Silu, Activation::Tanh, Activation::Sigmoid];
    for level in Level::available() {
        for activation in functions {
            // A whole vector and a part of one.
            let mut found = [0.0; 19];
            activation::copy(level, &[f32::NAN; 19], &mut found, activation);
            assert!(found.iter().all(|value| value.is_nan()), "{level:?} {activation:?}: {found:?}");
        }
        let mut found = [0.0; 2];
        activation::copy(level, &[f32::INFINITY, f32::NEG_INFINITY], &mut found, Activation::Tanh);
        assert_eq!(found, [1.0, -1.0], "{level:?}");
    }
}

#[test]
fn activations_stay_within_a_millionth_of_double_precision() {
    /// `erf` by its series, in double precision.
    fn erf(x: f64) -> f64 {
        if x.abs() > 4.5 {
            return x.signum();
        }
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    }
    let x: Vec<f32> = (-12_000..=12_000).map(|step| step as f32 / 1000.0).collect();
    let cases: [(Activation, Exact); 4] = [
        (Activation::Gelu, |x| x * (1.0 + erf(x / std::f64::consts::SQRT_2)) / 2.0),
        (Activation::Tanh, f64::tanh),
        (Activation::Sigmoid, |x| 1.0 / (1.0 + (-x).exp())),
        (Activation::Silu, |x| x / (1.0 + (-x).exp())),
    ];
    for level in Level::available() {
        for (activation, exact) in cases {
            let mut found = vec![0.0; x.len()];
            activation::copy(level, &x, &mut found, activation);
            for (&x, &found) in x.iter().zip(&found) {
                let exact = exact(f64::from(x));
                let error = (f64::from(found) - exact).abs();
                assert!(error <= 1e-6 * exact.abs().max(1.0), "{level:?} {activation:?}({x}) is off by {error}");
            }
        }
    }
}

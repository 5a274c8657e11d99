//! Convolutions against burn's on the CPU.

use burn::tensor::module;
use burn::tensor::ops::{ConvOptions, PadMode};
use proptest::prelude::*;
use syrinx::cuda::ops::{ConvShape, Epilogue, conv, prepare_conv};
use syrinx::nn::ops::{Activation, Conv1dSpec, Precision, plain};

use crate::around::{Around, PLAIN, around, precision, rounded, tensor, upload_longer, weights};
use crate::host::{Host, Order};
use crate::support::{assert_close, bits, blank, config, in_every_order, noise, order, upload};

/// Sums of numbers about 1 in another order than the twin's.
const TOLERANCE: f32 = 1e-5;

fn operands(shape: &ConvShape) -> (Vec<f32>, Vec<f32>) {
    let [inputs, outputs] = shape.channels;
    let terms = inputs / shape.groups * shape.taps[0] * shape.taps[1];
    (noise(1, shape.batch * inputs * shape.size[0] * shape.size[1]), weights(2, outputs * terms, terms))
}

fn by_kernel(host: &Host, shape: &ConvShape, around: Around) -> Vec<f32> {
    let (x, weight) = operands(shape);
    let total = shape.output_len();
    let weight = upload_longer(host, &prepare_conv(&weight, shape).expect("weights of the shape"));
    let bias = around.bias(shape.channels[1]).map(|bias| upload_longer(host, &bias));
    let residual = around.residual(total).map(|residual| upload_longer(host, &residual));
    let mut y = upload_longer(host, &around.held(total));
    let mut scratch = upload(host, &vec![f32::NAN; shape.scratch()]);
    let x = upload_longer(host, &x);
    conv(host, shape, &x, &weight, bias.as_ref(), residual.as_ref(), around.epilogue, &mut scratch, &mut y)
        .expect("a launch");
    let mut y = y.read(host).expect("values");
    assert!(y[total..].iter().all(|value| value.is_nan()), "written beyond the output");
    y.truncate(total);
    y
}

fn by_twin(shape: &ConvShape, around: Around) -> Vec<f32> {
    let (x, weight) = operands(shape);
    let [inputs, outputs] = shape.channels;
    let [rows, columns] = shape.size;
    let x = plain::activate(tensor(&x, [shape.batch, inputs, rows, columns]), around.epilogue.before);
    let [[above, below], [left, right]] = shape.padding;
    let x = x.pad((left, right, above, below), PadMode::Constant(0.0));
    let x = rounded(x, shape.precision);
    let weight = tensor(&weight, [outputs, inputs / shape.groups, shape.taps[0], shape.taps[1]]);
    let weight = rounded(weight, shape.precision);
    let bias = around.bias(outputs).map(|bias| tensor(&bias, [outputs]));
    let options = ConvOptions::new(shape.stride, [0, 0], shape.dilation, shape.groups);
    around.finish(module::conv2d(x, weight, bias, options))
}

fn assert_conv(host: &Host, shape: &ConvShape, around: Around) {
    if shape.output_len() == 0 {
        assert!(by_kernel(host, shape, around).is_empty());
        return;
    }
    let around = around.before_rounding(shape.precision);
    let (found, expected) = (by_kernel(host, shape, around), by_twin(shape, around));
    assert_close("value", &found, &expected, |v| TOLERANCE * v.abs().max(1.0));
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn convolution_over_time_matches_the_twin(
        [batch, groups, inputs, outputs] in [1_usize..3, 1_usize..4, 1_usize..20, 1_usize..40], time in 1_usize..200,
        taps in 1_usize..12, stride in 1_usize..5, padding in [0_usize..9, 0_usize..9], dilation in 1_usize..4,
        precision in precision(), around in around(), order in order(),
    ) {
        let spec = Conv1dSpec { stride, padding, dilation, groups };
        let shape = ConvShape::over_time(batch, [groups * inputs, groups * outputs], time, taps, spec);
        let shape = ConvShape { precision, ..shape };
        assert_conv(&Host::new(order), &shape, around);
    }

    #[test]
    fn convolution_over_images_matches_the_twin(
        batch in 1_usize..3, groups in 1_usize..3, channels in [1_usize..9, 1_usize..20],
        size in [1_usize..14, 1_usize..14], taps in [1_usize..5, 1_usize..5], stride in [1_usize..3, 1_usize..4],
        dilation in [1_usize..3, 1_usize..3], padding in [[0_usize..4, 0_usize..4], [0_usize..4, 0_usize..4]],
        around in around(), order in order(),
    ) {
        let channels = channels.map(|channels| channels * groups);
        let precision = Precision::Full;
        let shape = ConvShape { batch, channels, groups, size, taps, stride, padding, dilation, precision };
        assert_conv(&Host::new(order), &shape, around);
    }
}

#[test]
fn tiles_of_every_kind_and_sums_in_parts_match_the_twin() {
    let same = |taps| Conv1dSpec::same(taps, 1);
    let host = Host::new(Order::Shuffled);
    // Many outputs by wide, square and tall tiles; one output of a long sum; a positional convolution of many groups.
    let wide = ConvShape::over_time(1, [5, 30], 166 * 128 + 5, 3, same(3));
    let square = ConvShape::over_time(1, [5, 62], 166 * 64, 3, same(3));
    let tall = ConvShape::over_time(1, [5, 126], 84 * 64 - 3, 3, same(3));
    let deep = ConvShape::over_time(1, [700, 3], 5, 5, Conv1dSpec { padding: [2, 2], ..Conv1dSpec::default() });
    let spec = Conv1dSpec { padding: [8, 7], groups: 6, ..Conv1dSpec::default() };
    let positional = ConvShape::over_time(1, [6 * 12, 6 * 12], 40, 16, spec);
    assert_eq!([wide.scratch(), square.scratch(), tall.scratch()], [0, 0, 0]);
    assert!(deep.scratch() > 0 && positional.scratch() > 0);
    for shape in [wide, square, tall, deep, positional] {
        for precision in [Precision::Full, Precision::Reduced] {
            assert_conv(&host, &ConvShape { precision, ..shape }, PLAIN);
        }
    }
    let tiles = ["128x64_tf32", "32x128", "32x128_tf32", "32x32", "32x32_tf32", "64x64", "64x64_tf32"];
    let kernels = tiles.map(|tile| format!("conv_{tile}"));
    assert_eq!(host.launched(), [&kernels[..], &["sum_parts".to_owned()]].concat());
}

#[test]
fn a_channel_by_itself_convolves_alone() {
    let spec = Conv1dSpec { groups: 37, ..Conv1dSpec::same(7, 1) };
    let shape = ConvShape::over_time(2, [37, 37], 33, 7, spec);
    assert_conv(&Host::new(Order::Backwards), &shape, PLAIN);
}

#[test]
fn the_same_bits_in_every_order_of_threads() {
    let shape = ConvShape::over_image(1, [40, 9], [5, 7], 3);
    assert!(shape.scratch() > 0, "sums in parts");
    in_every_order(|host| bits(&by_kernel(host, &shape, PLAIN)));
}

#[test]
fn numbers_that_are_none_stay_where_they_reach() {
    let host = Host::new(Order::Forwards);
    let shape = ConvShape::over_time(1, [1, 1], 9, 3, Conv1dSpec::same(3, 1));
    let mut x = vec![1.0; 9];
    (x[4], x[8]) = (f32::NAN, f32::INFINITY);
    let weight = upload(&host, &prepare_conv(&[1.0; 3], &shape).expect("weights"));
    let epilogue = Epilogue { after: Activation::Relu, ..Epilogue::default() };
    let (mut scratch, mut y) = (blank(&host, shape.scratch()), blank(&host, 9));
    conv(&host, &shape, &upload(&host, &x), &weight, None, None, epilogue, &mut scratch, &mut y).expect("a launch");
    let expected = [2.0, 3.0, 3.0, f32::NAN, f32::NAN, f32::NAN, 3.0, f32::INFINITY, f32::INFINITY];
    assert_close("value", &y.read(&host).expect("values"), &expected, |_| 0.0);
}

#[test]
fn shapes_and_buffers_that_do_not_fit_are_refused() {
    let host = Host::new(Order::Forwards);
    let refused = |shape: ConvShape, lengths: [usize; 4]| {
        let [x, weight, scratch, y] = lengths.map(|len| blank(&host, len));
        let (mut scratch, mut y) = (scratch, y);
        conv(&host, &shape, &x, &weight, None, None, Epilogue::default(), &mut scratch, &mut y)
            .expect_err("refused")
            .to_string()
    };
    let shape = ConvShape::over_time(1, [2, 3], 10, 3, Conv1dSpec::default());
    assert_eq!(shape.output_len(), 24);
    assert_eq!(refused(shape, [19, 24, 0, 24]), "input: expected at least 20 values, found 19");
    assert_eq!(refused(shape, [20, 23, 0, 24]), "weights: expected at least 24 values, found 23");
    assert_eq!(refused(shape, [20, 24, 0, 23]), "output: expected at least 24 values, found 23");
    let deep = ConvShape::over_time(1, [2000, 1], 1, 1, Conv1dSpec::default());
    assert!(refused(deep, [2000, 8000, 0, 1]).starts_with("scratch: expected at least "));
    let three = ConvShape { groups: 2, ..shape };
    assert_eq!(refused(three, [20, 24, 0, 24]), "groups: expected a divisor of 2 and 3 channels, found 2");
    assert!(refused(ConvShape { stride: [1, 0], ..shape }, [20, 24, 0, 24]).contains("at least 1"));
    let huge = ConvShape { size: [1, usize::MAX / 2], ..shape };
    assert!(refused(huge, [20, 24, 0, 24]).starts_with("padded input: "));
    assert!(prepare_conv(&[0.0; 17], &shape).is_err());
}

//! Transposed convolutions against burn's on the CPU.

use burn::tensor::module;
use burn::tensor::ops::ConvTransposeOptions;
use proptest::prelude::*;
use syrinx::cuda::ops::{ConvTransposeShape, Epilogue, conv_transpose, prepare_conv_transpose};
use syrinx::nn::ops::{Precision, plain};

use crate::around::{Around, PLAIN, around, precision, rounded, tensor, upload_longer, weights};
use crate::host::{Host, Order};
use crate::support::{assert_close, bits, blank, config, in_every_order, noise, order, upload};

/// Sums of numbers about 1 in another order than the twin's.
const TOLERANCE: f32 = 1e-5;

fn operands(shape: &ConvTransposeShape) -> (Vec<f32>, Vec<f32>) {
    let [inputs, outputs] = shape.channels;
    let taps = shape.taps[0] * shape.taps[1];
    let x = noise(1, shape.batch * inputs * shape.size[0] * shape.size[1]);
    (x, weights(2, inputs * outputs * taps, inputs * taps))
}

fn by_kernel(host: &Host, shape: &ConvTransposeShape, around: Around) -> Vec<f32> {
    let (x, weight) = operands(shape);
    let total = shape.output_len();
    let weight = upload_longer(host, &prepare_conv_transpose(&weight, shape).expect("weights of the shape"));
    let bias = around.bias(shape.channels[1]).map(|bias| upload_longer(host, &bias));
    let residual = around.residual(total).map(|residual| upload_longer(host, &residual));
    let mut y = upload_longer(host, &around.held(total));
    let mut scratch = upload(host, &vec![f32::NAN; shape.scratch()]);
    let x = upload_longer(host, &x);
    conv_transpose(host, shape, &x, &weight, bias.as_ref(), residual.as_ref(), around.epilogue, &mut scratch, &mut y)
        .expect("a launch");
    let mut y = y.read(host).expect("values");
    assert!(y[total..].iter().all(|value| value.is_nan()), "written beyond the output");
    y.truncate(total);
    y
}

fn by_twin(shape: &ConvTransposeShape, around: Around) -> Vec<f32> {
    let (x, weight) = operands(shape);
    let [inputs, outputs] = shape.channels;
    let x = tensor(&x, [shape.batch, inputs, shape.size[0], shape.size[1]]);
    let x = rounded(plain::activate(x, around.epilogue.before), shape.precision);
    let weight = tensor(&weight, [inputs, outputs, shape.taps[0], shape.taps[1]]);
    let weight = rounded(weight, shape.precision);
    let bias = around.bias(outputs).map(|bias| tensor(&bias, [outputs]));
    let options = ConvTransposeOptions::new(shape.stride, shape.padding, shape.output_padding, [1, 1], 1);
    around.finish(module::conv_transpose2d(x, weight, bias, options))
}

fn assert_conv_transpose(host: &Host, shape: &ConvTransposeShape, around: Around) {
    let around = around.before_rounding(shape.precision);
    let (found, expected) = (by_kernel(host, shape, around), by_twin(shape, around));
    assert_close("value", &found, &expected, |v| TOLERANCE * v.abs().max(1.0));
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn upsampling_over_time_matches_the_twin(
        batch in 1_usize..3, channels in [1_usize..40, 1_usize..40], time in 1_usize..40, taps in 1_usize..14,
        stride in 1_usize..9, padding in 0_usize..7, precision in precision(), around in around(), order in order(),
    ) {
        let padding = padding.min((taps - 1) / 2);
        let shape = ConvTransposeShape::over_time(batch, channels, time, taps, stride, padding);
        let shape = ConvTransposeShape { precision, ..shape };
        assert_conv_transpose(&Host::new(order), &shape, around);
    }

    #[test]
    fn doubling_images_matches_the_twin(
        batch in 1_usize..3, channels in [1_usize..20, 1_usize..20], size in [1_usize..9, 1_usize..9],
        precision in precision(), around in around(), order in order(),
    ) {
        let shape = ConvTransposeShape { precision, ..ConvTransposeShape::doubling(batch, channels, size) };
        assert_conv_transpose(&Host::new(order), &shape, around);
    }

    #[test]
    fn any_other_upsampling_of_images_matches_the_twin(
        channels in [1_usize..5, 1_usize..5], size in [1_usize..6, 1_usize..6], taps in [1_usize..6, 1_usize..6],
        stride in [1_usize..5, 1_usize..5], padding in [0_usize..3, 0_usize..3], around in around(), order in order(),
    ) {
        let padding = [0, 1].map(|i| padding[i].min((taps[i] - 1) / 2));
        let output_padding = stride.map(|stride| stride - 1);
        let precision = Precision::Full;
        let shape = ConvTransposeShape { batch: 2, channels, size, taps, stride, padding, output_padding, precision };
        assert_conv_transpose(&Host::new(order), &shape, around);
    }
}

#[test]
fn tiles_of_every_kind_and_sums_in_parts_match_the_twin() {
    let host = Host::new(Order::Shuffled);
    let square = ConvTransposeShape::over_time(1, [7, 62], 34 * 64, 4, 2, 1);
    let deep = ConvTransposeShape::over_time(1, [300, 5], 4, 16, 10, 3);
    assert!(square.scratch() == 0 && deep.scratch() > 0);
    for shape in [square, deep] {
        for precision in [Precision::Full, Precision::Reduced] {
            assert_conv_transpose(&host, &ConvTransposeShape { precision, ..shape }, PLAIN);
        }
    }
    let kernels = ["32x32", "32x64_tf32", "64x64", "64x64_tf32"].map(|tile| format!("conv_transpose_{tile}"));
    assert_eq!(host.launched(), [&kernels[..], &["sum_parts".to_owned()]].concat());
}

#[test]
fn the_same_bits_in_every_order_of_threads() {
    let shape = ConvTransposeShape::doubling(1, [60, 5], [3, 4]);
    assert!(shape.scratch() > 0, "sums in parts");
    in_every_order(|host| bits(&by_kernel(host, &shape, PLAIN)));
}

#[test]
fn shapes_and_buffers_that_do_not_fit_are_refused() {
    let host = Host::new(Order::Forwards);
    let refused = |shape: ConvTransposeShape, lengths: [usize; 4]| {
        let [x, weight, mut scratch, mut y] = lengths.map(|len| blank(&host, len));
        conv_transpose(&host, &shape, &x, &weight, None, None, Epilogue::default(), &mut scratch, &mut y)
            .expect_err("refused")
            .to_string()
    };
    let shape = ConvTransposeShape::over_time(1, [2, 3], 10, 4, 2, 1);
    assert_eq!(shape.output_len(), 60);
    assert_eq!(refused(shape, [19, 32, 0, 60]), "input: expected at least 20 values, found 19");
    assert_eq!(refused(shape, [20, 31, 0, 60]), "weights: expected at least 32 values, found 31");
    assert_eq!(refused(shape, [20, 32, 0, 59]), "output: expected at least 60 values, found 59");
    assert!(refused(ConvTransposeShape { stride: [0, 2], ..shape }, [20, 32, 0, 60]).contains("at least 1"));
    assert!(refused(ConvTransposeShape { size: [usize::MAX, 2], ..shape }, [20, 32, 0, 60]).contains("values"));
    assert!(prepare_conv_transpose(&[0.0; 23], &shape).is_err());
}

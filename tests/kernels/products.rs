//! Products of matrices and linear maps against burn's on the CPU.

use burn::tensor::Tensor;
use proptest::prelude::*;
use syrinx::cuda::ops::{Epilogue, MatmulShape, Strides, matmul, prepare_linear};
use syrinx::nn::Cpu;
use syrinx::nn::ops::{Precision, plain};

use crate::around::{Around, PLAIN, around, precision, rounded, tensor, upload_longer, values, weights};
use crate::host::{Host, Order};
use crate::support::{assert_close, bits, blank, config, in_every_order, noise, order, upload};

/// Sums of numbers about 1 in another order than the twin's.
const TOLERANCE: f32 = 1e-5;

fn by_kernel(host: &Host, shape: &MatmulShape, left: &[f32], right: &[f32], around: Around) -> Vec<f32> {
    let total = shape.output_len();
    let bias = around.bias(shape.columns).map(|bias| upload_longer(host, &bias));
    let residual = around.residual(total).map(|residual| upload_longer(host, &residual));
    let mut y = upload_longer(host, &around.held(total));
    let mut scratch = upload(host, &vec![f32::NAN; shape.scratch()]);
    let (left, right) = (upload_longer(host, left), upload_longer(host, right));
    matmul(host, shape, &left, &right, bias.as_ref(), residual.as_ref(), around.epilogue, &mut scratch, &mut y)
        .expect("a launch");
    let mut y = y.read(host).expect("values");
    assert!(y[total..].iter().all(|value| value.is_nan()), "written beyond the output");
    y.truncate(total);
    y
}

fn by_twin(left: Tensor<Cpu, 4>, right: Tensor<Cpu, 4>, precision: Precision, around: Around) -> Vec<f32> {
    let left = rounded(plain::activate(left, around.epilogue.before), precision);
    let sum = left.matmul(rounded(right, precision));
    let columns = sum.dims()[3];
    around.finish(match around.bias(columns) {
        Some(bias) => sum + tensor(&bias, [1, 1, 1, columns]),
        None => sum,
    })
}

fn assert_linear(host: &Host, rows: usize, [inputs, outputs]: [usize; 2], precision: Precision, around: Around) {
    let around = around.before_rounding(precision);
    let (x, weight) = (noise(1, rows * inputs), weights(2, inputs * outputs, inputs));
    let prepared = prepare_linear(&weight, [outputs, inputs]).expect("weights of the shape");
    let shape = MatmulShape { precision, ..MatmulShape::linear(rows, [inputs, outputs]) };
    let found = by_kernel(host, &shape, &x, &prepared, around);
    let weight = tensor(&weight, [1, 1, outputs, inputs]).swap_dims(2, 3);
    let expected = by_twin(tensor(&x, [1, 1, rows, inputs]), weight, precision, around);
    assert_close("value", &found, &expected, |v| TOLERANCE * v.abs().max(1.0));
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn linear_maps_match_the_twin(
        rows in 1_usize..70, channels in [1_usize..150, 1_usize..140], precision in precision(), around in around(),
        order in order(),
    ) {
        assert_linear(&Host::new(order), rows, channels, precision, around);
    }

    #[test]
    fn products_of_transposed_and_repeated_matrices_match_the_twin(
        batch in [1_usize..3, 1_usize..4], size in [1_usize..40, 1_usize..40, 1_usize..40], transposed: [bool; 2],
        one_for_all: bool, around in around(), order in order(),
    ) {
        let ([outer, inner], [rows, depth, columns]) = (batch, size);
        let left = noise(1, outer * inner * rows * depth);
        let right = weights(2, outer * inner * depth * columns, depth);
        let lying = |[rows, columns]: [usize; 2], transposed: bool| {
            if transposed {
                Strides::of_rows(inner, [columns, rows]).transposed()
            } else {
                Strides::of_rows(inner, [rows, columns])
            }
        };
        let (of_left, of_right) = (lying([rows, depth], transposed[0]), lying([depth, columns], transposed[1]));
        let precision = Precision::Full;
        let mut shape = MatmulShape { batch, rows, depth, columns, left: of_left, right: of_right, precision };
        let view = |values: &[f32], [rows, columns]: [usize; 2], transposed: bool| {
            if transposed {
                tensor(values, [outer, inner, columns, rows]).swap_dims(2, 3)
            } else {
                tensor(values, [outer, inner, rows, columns])
            }
        };
        let mut right_there = view(&right, [depth, columns], transposed[1]);
        if one_for_all {
            shape.right.items = [0, 0];
            right_there = right_there.slice([0..1, 0..1]).expand([outer, inner, depth, columns]);
        }
        let found = by_kernel(&Host::new(order), &shape, &left, &right, around);
        let expected = by_twin(view(&left, [rows, depth], transposed[0]), right_there, Precision::Full, around);
        assert_close("value", &found, &expected, |v| TOLERANCE * v.abs().max(1.0));
    }
}

#[test]
fn the_heads_of_rows_are_multiplied_where_they_lie() {
    let (rows, heads, size) = (9, 3, 5);
    let (queries, keys) = (noise(1, 2 * rows * heads * size), noise(2, 2 * rows * heads * size));
    let of_heads = Strides { items: [rows * heads * size, size], row: heads * size, column: 1 };
    let shape = MatmulShape {
        batch: [2, heads],
        rows,
        depth: size,
        columns: rows,
        left: of_heads,
        right: of_heads.transposed(),
        precision: Precision::Full,
    };
    let found = by_kernel(&Host::new(Order::Forwards), &shape, &queries, &keys, Around { bias: false, ..PLAIN });
    let split = |values: &[f32]| tensor(values, [2, rows, heads, size]).swap_dims(1, 2);
    let expected = values(split(&queries).matmul(split(&keys).swap_dims(2, 3)));
    assert_close("score", &found, &expected, |_| TOLERANCE);
}

#[test]
fn tiles_of_every_kind_and_sums_in_parts_match_the_twin() {
    let host = Host::new(Order::Shuffled);
    let (many, some, few) = ([700, 15, 1000], [50, 15, 8448], [2, 700, 50]);
    for ([rows, inputs, outputs], in_parts) in [(many, false), (some, false), (few, true)] {
        assert_eq!(MatmulShape::linear(rows, [inputs, outputs]).scratch() > 0, in_parts);
        for precision in [Precision::Full, Precision::Reduced] {
            assert_linear(&host, rows, [inputs, outputs], precision, PLAIN);
        }
    }
    let kernels = ["matmul_32x32", "matmul_32x32_tf32", "matmul_64x128_tf32", "matmul_64x64", "matmul_64x64_tf32"];
    assert_eq!(host.launched(), [&kernels[..], &["sum_parts"]].concat());
}

#[test]
fn the_same_bits_in_every_order_of_threads() {
    let shape = MatmulShape::linear(3, [300, 7]);
    assert!(shape.scratch() > 0, "sums in parts");
    let (x, weight) = (noise(1, 900), noise(2, 2100));
    in_every_order(|host| bits(&by_kernel(host, &shape, &x, &weight, PLAIN)));
}

#[test]
fn shapes_and_buffers_that_do_not_fit_are_refused() {
    let host = Host::new(Order::Forwards);
    let refused = |shape: MatmulShape, lengths: [usize; 4]| {
        let [left, right, mut scratch, mut y] = lengths.map(|len| blank(&host, len));
        matmul(&host, &shape, &left, &right, None, None, Epilogue::default(), &mut scratch, &mut y)
            .expect_err("refused")
            .to_string()
    };
    let shape = MatmulShape::linear(4, [5, 6]);
    assert_eq!(refused(shape, [19, 30, 0, 24]), "left side: expected at least 20 values, found 19");
    assert_eq!(refused(shape, [20, 29, 0, 24]), "right side: expected at least 30 values, found 29");
    assert_eq!(refused(shape, [20, 30, 0, 23]), "output: expected at least 24 values, found 23");
    let wide = MatmulShape { left: Strides { items: [0, 0], row: usize::MAX, column: 1 }, ..shape };
    assert!(refused(wide, [20, 30, 0, 24]).starts_with("left side: expected at most "));
    assert!(prepare_linear(&[0.0; 29], [6, 5]).is_err());
}

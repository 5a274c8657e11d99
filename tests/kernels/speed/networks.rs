//! What the networks launch.

use std::cell::RefCell;
use std::sync::Arc;

use burn::tensor::{Int, Tensor, TensorData, module};
use syrinx::Result;
use syrinx::cuda::ops::{
    AttentionShape, ConvShape, ConvTransposeShape, Directions, Distances, Epilogue, GruShape, MatmulShape, activate,
    attention, conv, conv_transpose, gate, gru, layer_norm, matmul, prepare_conv, prepare_conv_transpose,
};
use syrinx::cuda::trace::{TraceDevice, Traced};
use syrinx::cuda::{Buffer, Machine};
use syrinx::nn::ops::{Activation, AttentionSpec, Conv1dSpec, Precision};

use super::witness::{Shared, Witness};
use super::{Case, f32s, zeros};
use crate::around::{Around, PLAIN};
use crate::noise::noise;
use crate::trace::tensor;

/// Kernels in the order of their launches.
type Names = &'static [&'static str];

/// A sum of products, what surrounds it, and what it launches: exactly, and of factors that are rounded.
struct Rounded<S> {
    shape: S,
    around: Around,
    kernels: [Names; 2],
}

/// How large the networks' operations are.
pub struct Sizes {
    convs: Vec<Rounded<ConvShape>>,
    upsamplings: Vec<Rounded<ConvTransposeShape>>,
    linears: Vec<Rounded<MatmulShape>>,
    /// Rows, heads, values of a head, and how far away distances are known, if they are.
    attentions: Vec<([usize; 3], Option<usize>)>,
    /// Rows and their values: what is normalised, and what is activated.
    normed: [usize; 2],
    activated: [usize; 2],
    /// Channels and samples of what is gated, and of what is moved about.
    gated: [usize; 2],
    signal: [usize; 2],
    /// Steps and values of a state.
    recurrent: [usize; 2],
    /// Channels, rows, columns.
    image: [usize; 3],
    /// Rows of a table, their values, and how many of them are selected.
    table: [usize; 3],
}

/// Gelu after a sum, as encoders have it.
const GELU: Around = Around { epilogue: Epilogue { after: Activation::Gelu, ..PLAIN.epilogue }, ..PLAIN };

/// A step of a generator's residual stage.
const STAGE: Around =
    Around { epilogue: Epilogue { before: Activation::LeakyRelu(0.1), ..PLAIN.epilogue }, residual: true, ..PLAIN };

/// An upsampling before it.
const UPSAMPLED: Around = Around { residual: false, ..STAGE };

/// A convolution of a generator that keeps channels and samples.
fn stage([channels, samples]: [usize; 2], taps: usize, dilation: usize, kernels: [Names; 2]) -> Rounded<ConvShape> {
    let shape = ConvShape::over_time(1, [channels; 2], samples, taps, Conv1dSpec::same(taps, dilation));
    Rounded { shape, around: STAGE, kernels }
}

fn linear(rows: usize, channels: [usize; 2], around: Around, kernels: [Names; 2]) -> Rounded<MatmulShape> {
    Rounded { shape: MatmulShape::linear(rows, channels), around, kernels }
}

impl Sizes {
    /// Of the full-size networks: a second of HuBERT's audio, 30 to 50 frames of the others'; and HuBERT's rows for a minute
    /// and for a short chunk. No two tiles are as good for any of them, or which is launched would be a matter of order.
    pub fn full() -> Self {
        const TALL: [Names; 2] = [&["conv_64x64", "sum_parts"], &["conv_128x64_tf32", "sum_parts"]];
        const UP: [Names; 2] = [&["conv_transpose_64x64"], &["conv_transpose_64x64_tf32"]];
        const SQUARES: [Names; 2] = [&["conv_64x64", "sum_parts"], &["conv_64x64_tf32", "sum_parts"]];
        let (plain, same) = (Conv1dSpec::default(), Conv1dSpec::same);
        let halving = ConvShape::over_time(1, [512; 2], 3519, 3, Conv1dSpec { stride: 2, ..plain });
        let positional =
            ConvShape::over_time(1, [768; 2], 50, 128, Conv1dSpec { padding: [64, 63], groups: 16, ..plain });
        let first = ConvShape::over_time(1, [192, 512], 32, 7, same(7, 1));
        let half = ConvShape::over_time(1, [96, 192], 50, 1, plain);
        let image = ConvShape::over_image(1, [64; 2], [32, 32], 3);
        let upsampling = |channels, samples, taps, stride, padding, kernels| {
            let shape = ConvTransposeShape::over_time(1, channels, samples, taps, stride, padding);
            Rounded { shape, around: UPSAMPLED, kernels }
        };
        Self {
            convs: vec![
                Rounded {
                    shape: halving,
                    around: GELU,
                    kernels: [&["conv_64x64", "sum_parts"], &["conv_128x64_tf32"]],
                },
                Rounded { shape: positional, around: GELU, kernels: SQUARES },
                Rounded {
                    shape: first,
                    around: PLAIN,
                    kernels: [&["conv_32x32", "sum_parts"], &["conv_128x64_tf32", "sum_parts"]],
                },
                Rounded { shape: half, around: PLAIN, kernels: [&["conv_32x32"], &["conv_32x32_tf32"]] },
                stage([256, 300], 11, 5, TALL),
                stage([128, 3_000], 11, 5, TALL),
                stage([64, 6_000], 11, 5, SQUARES),
                stage([64, 12_000], 3, 1, [&["conv_64x64"], &["conv_64x64_tf32"]]),
                stage([32, 12_000], 11, 5, [&["conv_32x128"], &["conv_32x128_tf32"]]),
                stage([32, 24_000], 3, 1, [&["conv_32x128"], &["conv_32x128_tf32"]]),
                Rounded { shape: image, around: PLAIN, kernels: SQUARES },
            ],
            upsamplings: vec![
                upsampling(
                    [512, 256],
                    30,
                    16,
                    10,
                    3,
                    [&["conv_transpose_32x32", "sum_parts"], &["conv_transpose_64x64_tf32", "sum_parts"]],
                ),
                upsampling([256, 128], 300, 16, 10, 3, UP),
                upsampling([128, 64], 3_000, 4, 2, 1, UP),
                upsampling([64, 32], 6_000, 4, 2, 1, [&["conv_transpose_32x32"], &["conv_transpose_32x64_tf32"]]),
            ],
            linears: vec![
                linear(10, [768, 3072], GELU, [&["matmul_32x32", "sum_parts"], &["matmul_64x128_tf32", "sum_parts"]]),
                linear(10, [768, 768], PLAIN, [&["matmul_32x32", "sum_parts"], &["matmul_32x32_tf32", "sum_parts"]]),
                linear(50, [768, 3072], GELU, [&["matmul_64x64", "sum_parts"], &["matmul_64x128_tf32", "sum_parts"]]),
                linear(50, [3072, 768], PLAIN, [&["matmul_64x64", "sum_parts"], &["matmul_64x128_tf32", "sum_parts"]]),
                linear(110, [192, 192], PLAIN, [&["matmul_64x64", "sum_parts"], &["matmul_64x64_tf32", "sum_parts"]]),
                linear(3_000, [768, 3072], GELU, [&["matmul_64x64"], &["matmul_64x128_tf32"]]),
            ],
            attentions: vec![([50, 12, 64], None), ([50, 2, 96], Some(10))],
            normed: [50, 768],
            activated: [50, 3072],
            gated: [192, 50],
            signal: [256, 3_000],
            recurrent: [32, 256],
            image: [16, 32, 128],
            table: [256, 192, 50],
        }
    }

    /// Small ones that launch the same kernels.
    pub fn small() -> Self {
        let same = Conv1dSpec::same;
        let deep = ConvShape::over_time(1, [512, 300], 1, 1, Conv1dSpec::default());
        let flat = |outputs, samples| ConvShape::over_time(1, [16, outputs], samples, 1, same(1, 1));
        Self {
            convs: vec![
                Rounded {
                    shape: deep,
                    around: GELU,
                    kernels: [&["conv_32x32", "sum_parts"], &["conv_32x32_tf32", "sum_parts"]],
                },
                Rounded { shape: flat(33, 17_000), around: PLAIN, kernels: [&["conv_64x64"], &["conv_64x64_tf32"]] },
                Rounded { shape: flat(126, 84 * 64), around: PLAIN, kernels: [&["conv_64x64"], &["conv_128x64_tf32"]] },
                Rounded { shape: flat(8, 22_000), around: STAGE, kernels: [&["conv_32x128"], &["conv_32x128_tf32"]] },
            ],
            upsamplings: vec![
                Rounded {
                    shape: ConvTransposeShape::over_time(1, [9, 70], 33 * 64, 4, 2, 1),
                    around: UPSAMPLED,
                    kernels: [&["conv_transpose_64x64"], &["conv_transpose_64x64_tf32"]],
                },
                Rounded {
                    shape: ConvTransposeShape::over_time(1, [300, 5], 4, 16, 10, 3),
                    around: UPSAMPLED,
                    kernels: [&["conv_transpose_32x32", "sum_parts"], &["conv_transpose_32x64_tf32", "sum_parts"]],
                },
            ],
            linears: vec![
                linear(33, [16, 17_000], PLAIN, [&["matmul_64x64"], &["matmul_64x128_tf32"]]),
                linear(60, [16, 8_448], PLAIN, [&["matmul_64x64"], &["matmul_64x64_tf32"]]),
                linear(8, [16, 8_500], GELU, [&["matmul_32x32"], &["matmul_32x32_tf32"]]),
            ],
            attentions: vec![([5, 2, 3], None), ([5, 2, 3], Some(1))],
            normed: [2, 5],
            activated: [2, 5],
            gated: [3, 4],
            signal: [3, 4],
            recurrent: [3, 4],
            image: [2, 4, 6],
            table: [5, 3, 2],
        }
    }
}

/// All of them.
pub fn cases<M: Shared>(machine: &Arc<M>, sizes: &Sizes) -> Result<Vec<Case<M>>> {
    let precisions = [Precision::Full, Precision::Reduced];
    let mut cases = Vec::new();
    for &Rounded { shape, around, kernels } in &sizes.convs {
        for (precision, kernels) in precisions.into_iter().zip(kernels) {
            cases.push(convolution(&**machine, ConvShape { precision, ..shape }, around, kernels)?);
        }
    }
    for &Rounded { shape, around, kernels } in &sizes.upsamplings {
        for (precision, kernels) in precisions.into_iter().zip(kernels) {
            cases.push(upsampling(&**machine, ConvTransposeShape { precision, ..shape }, around, kernels)?);
        }
    }
    for &Rounded { shape, around, kernels } in &sizes.linears {
        for (precision, kernels) in precisions.into_iter().zip(kernels) {
            cases.push(product(&**machine, MatmulShape { precision, ..shape }, around, kernels)?);
        }
    }
    for &(size, reach) in &sizes.attentions {
        cases.push(attention_by(&**machine, size, reach)?);
    }
    cases.extend(rows(&**machine, sizes)?);
    cases.extend(moves(machine, sizes));
    Ok(cases)
}

/// How many values a sum of products reads, makes and multiplies.
struct Sum {
    x: usize,
    weights: usize,
    channels: usize,
    y: usize,
    products: usize,
}

impl Sum {
    fn bytes(&self, around: Around) -> usize {
        4 * (self.x + self.weights + self.channels + self.y * (1 + usize::from(around.residual)))
    }

    /// Each product is added to another or to the bias.
    fn flops(&self, around: Around) -> usize {
        let is_done = |activation: Activation| usize::from(activation != Activation::Identity);
        let Epilogue { before, after, .. } = around.epilogue;
        2 * self.products + self.x * is_done(before) + self.y * (is_done(after) + usize::from(around.residual))
    }
}

/// What a sum of products works on.
struct Operands<M: Machine> {
    x: Buffer<M, f32>,
    weight: Buffer<M, f32>,
    bias: Buffer<M, f32>,
    residual: Option<Buffer<M, f32>>,
    scratch: RefCell<Buffer<M, f32>>,
    y: RefCell<Buffer<M, f32>>,
}

impl<M: Machine> Operands<M> {
    fn new(machine: &M, sum: &Sum, around: Around, weight: &[f32], scratch: usize) -> Result<Self> {
        Ok(Self {
            x: f32s(machine, &noise(1, sum.x))?,
            weight: f32s(machine, weight)?,
            bias: f32s(machine, &noise(3, sum.channels))?,
            residual: around.residual(sum.y).map(|residual| f32s(machine, &residual)).transpose()?,
            scratch: zeros(machine, scratch)?,
            y: zeros(machine, sum.y)?,
        })
    }
}

/// Pairs of a step and a tap, along one side, that meet one of `limit` places: there is nothing beyond the ends.
fn met(steps: usize, taps: usize, [stride, dilation]: [usize; 2], padding: usize, limit: usize) -> usize {
    let meets = |step: usize, tap: usize| {
        (step * stride + tap * dilation).checked_sub(padding).is_some_and(|place| place < limit)
    };
    (0..steps).map(|step| (0..taps).filter(|&tap| meets(step, tap)).count()).sum()
}

/// A size of rows and columns, or of columns alone.
fn across([rows, columns]: [usize; 2]) -> String {
    if rows == 1 { columns.to_string() } else { format!("{rows}x{columns}") }
}

fn convolution<M: Shared>(machine: &M, shape: ConvShape, around: Around, kernels: Names) -> Result<Case<M>> {
    let ([inputs, outputs], of_group, size) = (shape.channels, shape.channels[0] / shape.groups, shape.output_size());
    let met = |i: usize| {
        met(size[i], shape.taps[i], [shape.stride[i], shape.dilation[i]], shape.padding[i][0], shape.size[i])
    };
    let sum = Sum {
        x: inputs * shape.size[0] * shape.size[1],
        weights: outputs * of_group * shape.taps[0] * shape.taps[1],
        channels: outputs,
        y: shape.output_len(),
        products: met(0) * met(1) * of_group * outputs,
    };
    let weight = prepare_conv(&noise(2, sum.weights), &shape)?;
    let given = Operands::new(machine, &sum, around, &weight, shape.scratch())?;
    let groups = if shape.groups > 1 { format!(" in {} groups", shape.groups) } else { String::new() };
    Ok(Case {
        kernels: kernels.to_vec(),
        sizes: format!("{inputs} to {outputs}{groups}, {} taps, {} samples", across(shape.taps), across(size)),
        bytes: sum.bytes(around),
        flops: sum.flops(around),
        launch: Box::new(move |machine: &M| {
            let Operands { x, weight, bias, residual, scratch, y } = &given;
            let (bias, residual, epilogue) = (Some(bias), residual.as_ref(), around.epilogue);
            let (mut scratch, mut y) = (scratch.borrow_mut(), y.borrow_mut());
            conv(machine, &shape, x, weight, bias, residual, epilogue, &mut scratch, &mut y)
        }),
    })
}

fn upsampling<M: Shared>(machine: &M, shape: ConvTransposeShape, around: Around, kernels: Names) -> Result<Case<M>> {
    let ([inputs, outputs], size) = (shape.channels, shape.output_size());
    let met = |i: usize| met(shape.size[i], shape.taps[i], [shape.stride[i], 1], shape.padding[i], size[i]);
    let sum = Sum {
        x: inputs * shape.size[0] * shape.size[1],
        weights: inputs * outputs * shape.taps[0] * shape.taps[1],
        channels: outputs,
        y: shape.output_len(),
        products: met(0) * met(1) * inputs * outputs,
    };
    let weight = prepare_conv_transpose(&noise(2, sum.weights), &shape)?;
    let given = Operands::new(machine, &sum, around, &weight, shape.scratch())?;
    Ok(Case {
        kernels: kernels.to_vec(),
        sizes: format!("{inputs} to {outputs}, {} taps, {} samples", across(shape.taps), across(size)),
        bytes: sum.bytes(around),
        flops: sum.flops(around),
        launch: Box::new(move |machine: &M| {
            let Operands { x, weight, bias, residual, scratch, y } = &given;
            let (bias, residual, epilogue) = (Some(bias), residual.as_ref(), around.epilogue);
            let (mut scratch, mut y) = (scratch.borrow_mut(), y.borrow_mut());
            conv_transpose(machine, &shape, x, weight, bias, residual, epilogue, &mut scratch, &mut y)
        }),
    })
}

fn product<M: Shared>(machine: &M, shape: MatmulShape, around: Around, kernels: Names) -> Result<Case<M>> {
    let MatmulShape { rows, depth, columns, .. } = shape;
    let (weights, products) = (depth * columns, rows * depth * columns);
    let sum = Sum { x: rows * depth, weights, channels: columns, y: rows * columns, products };
    let given = Operands::new(machine, &sum, around, &noise(2, weights), shape.scratch())?;
    Ok(Case {
        kernels: kernels.to_vec(),
        sizes: format!("{rows} rows, {depth} to {columns}"),
        bytes: sum.bytes(around),
        flops: sum.flops(around),
        launch: Box::new(move |machine: &M| {
            let Operands { x, weight, bias, residual, scratch, y } = &given;
            let (bias, residual, epilogue) = (Some(bias), residual.as_ref(), around.epilogue);
            let (mut scratch, mut y) = (scratch.borrow_mut(), y.borrow_mut());
            matmul(machine, &shape, x, weight, bias, residual, epilogue, &mut scratch, &mut y)
        }),
    })
}

fn attention_by<M: Shared>(machine: &M, [rows, heads, size]: [usize; 3], reach: Option<usize>) -> Result<Case<M>> {
    let features = heads * size;
    let spec = AttentionSpec { heads, scale: 1.0 / (size as f32).sqrt(), span: None };
    let shape = AttentionShape { batch: 1, queries: rows, keys: rows, features, spec };
    let given = |seed| f32s(machine, &noise(seed, rows * features));
    let (query, key, value, y) = (given(1)?, given(2)?, given(3)?, zeros(machine, rows * features)?);
    let known = reach.map_or(0, |reach| (2 * reach + 1) * size);
    let (keys, values) = (f32s(machine, &noise(4, known))?, f32s(machine, &noise(5, known))?);
    // Pairs of rows of which something is known.
    let near = reach.map_or(0, |reach| met(rows, 2 * reach + 1, [1, 1], reach, rows));
    Ok(Case {
        kernels: vec!["attention"],
        sizes: format!("{rows} rows, {heads} heads of {size}{}", if reach.is_some() { ", by distance" } else { "" }),
        bytes: 4 * (4 * rows * features + 2 * known),
        // Per pair of rows two products of their values and what softmax takes; per value its scale and its share of all.
        flops: heads * (rows * rows * (4 * size + 4) + near * 2 * size + rows * 2 * size),
        launch: Box::new(move |machine: &M| {
            let distances = reach.map(|reach| Distances { reach, keys: &keys, values: &values });
            attention(machine, &shape, &query, &key, &value, distances.as_ref(), &mut y.borrow_mut())
        }),
    })
}

/// Norm, elementwise functions, recurrence.
fn rows<M: Shared>(machine: &M, sizes: &Sizes) -> Result<Vec<Case<M>>> {
    let [count, features] = sizes.normed;
    let (x, y) = (f32s(machine, &noise(1, count * features))?, zeros(machine, count * features)?);
    let (gamma, beta) = (f32s(machine, &noise(2, features))?, f32s(machine, &noise(3, features))?);
    let norm = Case {
        kernels: vec!["layer_norm"],
        sizes: format!("{count} rows of {features}"),
        bytes: 4 * (2 * count * features + 2 * features),
        // Mean, variance of the distances from it, and what is made of these.
        flops: 8 * count * features,
        launch: Box::new(move |machine: &M| {
            layer_norm(machine, [count, features], &x, &gamma, &beta, 1e-5, &mut y.borrow_mut())
        }),
    };

    let [count, features] = sizes.activated;
    let values = count * features;
    let (x, y) = (f32s(machine, &noise(1, values))?, zeros(machine, values)?);
    let activation = Case {
        kernels: vec!["activate_all"],
        sizes: format!("gelu of {values} values"),
        bytes: 8 * values,
        flops: 5 * values,
        launch: Box::new(move |machine: &M| activate(machine, values, &x, Activation::Gelu, &mut y.borrow_mut())),
    };

    let [channels, samples] = sizes.gated;
    let values = channels * samples;
    let (x, y) = (f32s(machine, &noise(1, 2 * values))?, zeros(machine, values)?);
    let gated = Case {
        kernels: vec!["gate"],
        sizes: format!("{channels} channels, {samples} samples"),
        bytes: 12 * values,
        // Hyperbolic tangent, sigmoid, product.
        flops: 6 * values,
        launch: Box::new(move |machine: &M| gate(machine, [1, channels, samples], &x, &mut y.borrow_mut())),
    };

    let [time, hidden] = sizes.recurrent;
    let shape = GruShape { time, hidden, directions: Directions::Both };
    let (weights, states) = (6 * hidden * hidden, 2 * time * hidden);
    let (inputs, y) = (f32s(machine, &noise(1, 3 * states))?, zeros(machine, states)?);
    // Of a size that keeps states from where they do not move.
    let weight: Vec<f32> = noise(2, weights).iter().map(|weight| weight / (hidden as f32).sqrt()).collect();
    let (weight, bias) = (f32s(machine, &weight)?, f32s(machine, &noise(3, 6 * hidden))?);
    let recurrence = Case {
        kernels: vec!["gru_step"; time],
        sizes: format!("{time} steps of {hidden}, both ways"),
        bytes: 4 * (4 * states + weights + 6 * hidden),
        // The first step's state is 0; three functions, and what is done around them.
        flops: 2 * weights * (time - 1) + 13 * states,
        launch: Box::new(move |machine: &M| gru(machine, shape, &inputs, &weight, &bias, &mut y.borrow_mut())),
    };
    Ok(vec![norm, activation, gated, recurrence])
}

/// What is done to tensors of any shape. Its kernels are launched through burn alone: each case repeats what a computation
/// came to.
fn moves<M: Shared>(machine: &Arc<M>, sizes: &Sizes) -> Vec<Case<M>> {
    let [channels, samples] = sizes.signal;
    let signal = channels * samples;
    let sum = repeated(
        machine,
        ("map", format!("sum of {channels}x{samples} and {channels} values")),
        [4 * (2 * signal + channels), signal],
        |device| tensor::<Traced<Witness<M>>, 2>(1, [channels, samples], device) + tensor(2, [channels, 1], device),
    );
    let turned = repeated(machine, ("map", format!("{channels}x{samples} transposed")), [8 * signal, 0], |device| {
        tensor::<Traced<Witness<M>>, 2>(1, [channels, samples], device).transpose().reshape([signal])
    });
    let mean = repeated(
        machine,
        ("reduce", format!("means of {channels} rows of {samples}")),
        [4 * (signal + channels), signal],
        |device| tensor::<Traced<Witness<M>>, 2>(1, [channels, samples], device).mean_dim(1),
    );
    let [planes, rows, columns] = sizes.image;
    let pixels = planes * rows * columns;
    let pooled = repeated(
        machine,
        ("pool", format!("means of 2x2 of {planes}x{rows}x{columns}")),
        [5 * pixels, pixels],
        |device| {
            let x = tensor::<Traced<Witness<M>>, 4>(1, [1, planes, rows, columns], device);
            module::avg_pool2d(x, [2, 2], [2, 2], [0, 0], true, false)
        },
    );
    let [known, values, count] = sizes.table;
    let selected = repeated(
        machine,
        ("select_rows", format!("{count} of {known} rows of {values}")),
        // Rows may be the same: what is read is what is written.
        [4 * (2 * count * values + count), 0],
        |device| {
            let rows: Vec<i32> = (0..count).map(|i| (i * 7 % known) as i32).collect();
            let rows = Tensor::<Traced<Witness<M>>, 1, Int>::from_data(TensorData::new(rows, [count]), device);
            tensor::<Traced<Witness<M>>, 2>(1, [known, values], device).select(0, rows)
        },
    );
    vec![sum, turned, mean, pooled, selected]
}

/// A case that launches what `compute` launched. It reads and writes the same memory, which it keeps.
fn repeated<M: Shared, const D: usize>(
    machine: &Arc<M>,
    (kernel, sizes): (&'static str, String),
    [bytes, flops]: [usize; 2],
    compute: impl FnOnce(&TraceDevice) -> Tensor<Traced<Witness<M>>, D>,
) -> Case<M> {
    let (witness, device) = Witness::traced(machine);
    compute(&device).into_data();
    let launched = witness.launched();
    let launch = Box::new(move |machine: &M| {
        // The memory that the launches name lives as long as this.
        let _memory = &witness;
        launched.iter().try_for_each(|launch| machine.launch(launch))
    });
    Case { kernels: vec![kernel], sizes, bytes, flops, launch }
}

#[test]
fn products_with_what_lies_beyond_the_ends_are_not_counted() {
    assert_eq!(met(3, 3, [2, 1], 0, 7), 9);
    // The first step's first tap and the last step's last.
    assert_eq!(met(5, 3, [1, 1], 1, 5), 13);
    assert_eq!(met(5, 3, [1, 2], 2, 5), 11);
}

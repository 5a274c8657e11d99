//! The hot operations in the sizes of a full voice: `cargo bench --bench ops [-- name]`.
//!
//! `RAYON_NUM_THREADS` sets the threads. Throughput is in multiply-adds of the plain definition, two operations each.

use std::hint::black_box;

use burn::tensor::{Distribution, Tensor};
use burn_flex::FlexDevice;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use syrinx::nn::Cpu;
use syrinx::nn::ops::{
    Activation, AttentionSpec, Conv1dSpec, Fused, Kernel1d, Precision, ResidualBlock, ResidualUnit, VoiceOps,
};

fn noise<const D: usize>(dims: [usize; D]) -> Tensor<Cpu, D> {
    Tensor::random(dims, Distribution::Uniform(-0.1, 0.1), &FlexDevice)
}

/// Measures `body`, which does `multiply_adds`.
fn measure<R>(criterion: &mut Criterion, name: &str, multiply_adds: usize, mut body: impl FnMut() -> R) {
    let mut group = criterion.benchmark_group("ops");
    group.sample_size(10).throughput(Throughput::Elements(2 * multiply_adds as u64));
    group.bench_function(name, |bencher| bencher.iter(|| black_box(body())));
    group.finish();
}

/// The residual blocks of a 40 kHz voice's stages, over a second and over a live chunk of 20 ms.
fn residual_stage(criterion: &mut Criterion) {
    const TAPS: [usize; 3] = [3, 7, 11];
    const DILATIONS: [usize; 3] = [1, 3, 5];
    for (channels, time) in
        [(256, 1000), (128, 10_000), (64, 20_000), (32, 40_000), (256, 20), (128, 200), (64, 400), (32, 800)]
    {
        let kernel = |taps: usize, dilation: usize| Kernel1d {
            weight: noise([channels, channels, taps]),
            bias: noise([channels]),
            dilation,
        };
        let units = |taps: usize| {
            let unit = |dilation| ResidualUnit { first: kernel(taps, dilation), second: Some(kernel(taps, 1)) };
            DILATIONS.map(unit).to_vec()
        };
        let stage = Cpu::prepare_residual_stage(TAPS.map(|taps| ResidualBlock { units: units(taps) }).to_vec());
        let x = noise([1, channels, time]);
        let multiply_adds = 2 * DILATIONS.len() * TAPS.iter().sum::<usize>() * channels * channels * time;
        let name = format!("residual_stage {channels} x {time}");
        measure(criterion, &name, multiply_adds, || Cpu::residual_stage(&stage, x.clone()));
    }
}

fn convolutions(criterion: &mut Criterion) {
    for (name, weight, time, spec) in [
        ("conv1d HuBERT features", [512, 512, 3], 3199, Conv1dSpec { stride: 2, ..Conv1dSpec::default() }),
        (
            "conv1d HuBERT positions",
            [768, 48, 128],
            50,
            Conv1dSpec { padding: [64, 64], groups: 16, ..Conv1dSpec::default() },
        ),
        ("conv1d flow", [384, 192, 5], 100, Conv1dSpec::same(5, 1)),
        ("conv1d depthwise", [512, 1, 31], 100, Conv1dSpec { groups: 512, ..Conv1dSpec::same(31, 1) }),
    ] {
        let conv = Cpu::prepare_conv1d(noise(weight), None, spec, Precision::Full);
        let x = noise([1, weight[1] * spec.groups, time]);
        let length = Cpu::conv1d(&conv, x.clone(), Fused::default()).dims()[2];
        let multiply_adds = weight.iter().product::<usize>() * length;
        measure(criterion, name, multiply_adds, || Cpu::conv1d(&conv, x.clone(), Fused::default()));
    }
    for (inputs, outputs, taps, stride, time) in [(512, 256, 16, 10, 100), (64, 32, 4, 2, 20_000)] {
        let conv = Cpu::prepare_conv_transpose1d(noise([inputs, outputs, taps]), None, stride, (taps - stride) / 2);
        let x = noise([1, inputs, time]);
        let name = format!("conv_transpose1d {inputs} to {outputs}, stride {stride}");
        let multiply_adds = inputs * outputs * taps * time;
        measure(criterion, &name, multiply_adds, || Cpu::conv_transpose1d(&conv, x.clone(), Fused::default()));
    }
    for (inputs, outputs, side) in [(512, 256, 4), (128, 64, 16), (32, 16, 64)] {
        let conv = Cpu::prepare_conv_transpose2d(noise([inputs, outputs, 3, 3]), None);
        let x = noise([1, inputs, side, side]);
        let name = format!("conv_transpose2d {inputs} to {outputs} x {side} x {side}");
        let multiply_adds = 9 * inputs * outputs * side * side;
        assert_eq!(Cpu::conv_transpose2d(&conv, x.clone(), Fused::default()).dims(), [1, outputs, 2 * side, 2 * side]);
        measure(criterion, &name, multiply_adds, || Cpu::conv_transpose2d(&conv, x.clone(), Fused::default()));
    }
    for (channels, side) in [(16, 128), (64, 32), (256, 8)] {
        let conv = Cpu::prepare_conv2d(noise([channels, channels, 3, 3]), None);
        let x = noise([1, channels, side, side]);
        let name = format!("conv2d {channels} x {side} x {side}");
        let multiply_adds = 9 * channels * channels * side * side;
        measure(criterion, &name, multiply_adds, || Cpu::conv2d(&conv, x.clone(), Fused::default()));
    }
}

fn products(criterion: &mut Criterion) {
    for (inputs, outputs, rows) in [(768, 3072, 50), (3072, 768, 50), (768, 3072, 500), (192, 192, 100)] {
        let linear = Cpu::prepare_linear(noise([outputs, inputs]), Some(noise([outputs])), Precision::Full);
        let x = noise([1, rows, inputs]);
        let name = format!("linear {inputs} to {outputs}, {rows} rows, gelu");
        let multiply_adds = inputs * outputs * rows;
        measure(criterion, &name, multiply_adds, || Cpu::linear(&linear, x.clone(), Fused::after(Activation::Gelu)));
    }
    let gru = Cpu::prepare_gru(noise([768, 384]), noise([768, 256]), noise([768]), noise([768]));
    let x = noise([1, 100, 384]);
    measure(criterion, "gru 384 to 256, 100 steps", 100 * 768 * 640, || Cpu::gru(&gru, x.clone(), false));
}

/// HuBERT's attention and norms over one second, ten and forty.
fn transformer(criterion: &mut Criterion) {
    const WIDTH: usize = 768;
    let (gamma, beta) = (noise([WIDTH]), noise([WIDTH]));
    for frames in [50, 500, 2000] {
        let x = || noise([1, frames, WIDTH]);
        let (query, key, value) = (x(), x(), x());
        let spec = AttentionSpec { heads: 12, scale: 0.125, span: None };
        let attend = || Cpu::attention(query.clone(), key.clone(), value.clone(), None, spec);
        assert_eq!(attend().dims(), [1, frames, WIDTH]);
        measure(criterion, &format!("attention {frames} x {WIDTH}"), 2 * frames * frames * WIDTH, attend);
        // A mean, a variance, and a product and sum for each value.
        let name = format!("layer_norm {frames} x {WIDTH}");
        measure(criterion, &name, 3 * frames * WIDTH, || Cpu::layer_norm(query.clone(), &gamma, &beta, 1e-5));
    }
}

criterion_group!(benches, residual_stage, convolutions, products, transformer);
criterion_main!(benches);

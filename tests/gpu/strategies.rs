//! What burn's own kernels make of the convolutions that take most of the time: each strategy's time and error.

use std::time::Instant;

use burn::tensor::ops::ConvOptions;
use burn::tensor::{Tensor, TensorData, TensorPrimitive};
use burn_cubecl::kernel::conv::{ConvStrategy, conv_forward};
use syrinx::nn::Cuda;
use syrinx::nn::ops::{Activation, AttentionSpec, VoiceOps};

use crate::device::{GpuDevice, gpu};
use crate::noise::noise;
use crate::support::relative_error;

fn tensor<const D: usize>(seed: u64, dims: [usize; D], device: &GpuDevice) -> Tensor<Cuda, D> {
    Tensor::from_data(TensorData::new(noise(seed, dims.iter().product()), dims), device)
}

#[test]
fn of_convolutions() {
    let Some(device) = gpu() else { return };
    // Channels in, out, taps, stride, dilation, samples.
    let shapes = [
        ("HuBERT 2", 512, 512, 3, 2, 1, 3_519),
        ("generator 1", 256, 256, 11, 1, 5, 300),
        ("generator 2", 128, 128, 11, 1, 5, 3_000),
        ("generator 3", 64, 64, 11, 1, 5, 6_000),
        ("generator 4", 32, 32, 11, 1, 5, 12_000),
        ("generator 4", 32, 32, 3, 1, 1, 12_000),
    ];
    for (name, input, output, taps, stride, dilation, samples) in shapes {
        let x = tensor(1, [1, input, samples], &device);
        let weight = tensor(2, [output, input, taps], &device);
        let options = ConvOptions::new([stride], [dilation * (taps - 1) / 2], [dilation], 1);
        let convolve = |strategy| {
            let primitive = |x: Tensor<Cuda, 3>| x.into_primitive().tensor();
            let y =
                conv_forward::<_, 1>(primitive(x.clone()), primitive(weight.clone()), None, options.clone(), strategy);
            y.map(|y| Tensor::<Cuda, 3>::from_primitive(TensorPrimitive::Float(y)))
        };
        let direct = convolve(ConvStrategy::Direct).expect("a convolution").into_data().into_vec::<f32>().expect("f32");
        for strategy in ["direct", "implicit GEMM"] {
            const RUNS: usize = 50;
            let chosen = || if strategy == "direct" { ConvStrategy::Direct } else { ConvStrategy::ImplicitGemm };
            let values = match convolve(chosen()) {
                Ok(y) => y.into_data().into_vec::<f32>().expect("f32"),
                Err(error) => {
                    println!("| {name}, {input} channels, {taps} taps, {samples} samples, {strategy}: {error:?} |");
                    continue;
                }
            };
            let error = relative_error(&values, &direct);
            let started = Instant::now();
            let mut last = None;
            for _ in 0..RUNS {
                last = Some(convolve(chosen()).expect("a convolution"));
            }
            drop(last.map(Tensor::into_data));
            let seconds = started.elapsed().as_secs_f64() / RUNS as f64;
            let operations = 2.0 * (input * output * taps * samples / stride) as f64;
            println!(
                "| {name}, {input} channels, {taps} taps, {samples} samples, {strategy} | {:.1} us, {:.2} TFLOP/s | off by {error:.1e} |",
                seconds * 1e6,
                operations / seconds * 1e-12
            );
            assert!(error < 1e-3, "off by {error:e}");
        }
    }
}

#[test]
fn of_small_operations() {
    const RUNS: usize = 200;
    let Some(device) = gpu() else { return };
    let measure = |what: &str, run: &dyn Fn() -> Tensor<Cuda, 3>| {
        drop(run().into_data());
        let started = Instant::now();
        let mut last = None;
        for _ in 0..RUNS {
            last = Some(run());
        }
        let launched = started.elapsed();
        drop(last.map(Tensor::into_data));
        let micros = |time: std::time::Duration| time.as_secs_f64() * 1e6 / RUNS as f64;
        println!("| {what} | {:.1} us, {:.1} us until launched |", micros(started.elapsed()), micros(launched));
    };
    let x = tensor(1, [1, 50, 768], &device);
    let weight = tensor(2, [1, 768, 3_072], &device);
    let gamma = tensor::<1>(3, [768], &device);
    let long = tensor(4, [1, 32, 12_000], &device);
    measure("add, 38 400 values", &|| x.clone() + 1.0);
    measure("add, 384 000 values", &|| long.clone() + 1.0);
    measure("leaky rectifier, 384 000 values", &|| {
        <Cuda as VoiceOps>::activate(long.clone(), Activation::LeakyRelu(0.1))
    });
    measure("Gaussian error linear unit, 38 400 values", &|| <Cuda as VoiceOps>::activate(x.clone(), Activation::Gelu));
    measure("50 x 768 times 768 x 3072", &|| x.clone().matmul(weight.clone()));
    measure("norm of 50 x 768", &|| <Cuda as VoiceOps>::layer_norm(x.clone(), &gamma, &gamma, 1e-5));
    let spec = AttentionSpec { heads: 12, scale: 0.125, span: None };
    measure("attention, 50 x 768, 12 heads", &|| {
        <Cuda as VoiceOps>::attention(x.clone(), x.clone(), x.clone(), None, spec)
    });
    let values = noise(5, 4_000);
    let upload = || Tensor::<Cuda, 3>::from_data(TensorData::new(values.clone(), [1, 1, 4_000]), &device);
    measure("upload of 16 kB", &upload);
    let started = Instant::now();
    for _ in 0..RUNS {
        drop(upload().into_data());
    }
    println!("| there and back, 16 kB | {:.1} us |", started.elapsed().as_secs_f64() * 1e6 / RUNS as f64);
}

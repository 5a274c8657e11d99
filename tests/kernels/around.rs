//! What surrounds a sum of the networks, and tensors of the CPU's backend to compare with.

use burn::tensor::{Tensor, TensorData};
use proptest::prelude::*;
use syrinx::cuda::ops::Epilogue;
use syrinx::nn::Cpu;
use syrinx::nn::ops::{Activation, Precision, plain};

use crate::host::Host;
use crate::support::{Floats, noise, upload};

/// What a case does besides its sum.
#[derive(Clone, Copy, Debug)]
pub struct Around {
    pub epilogue: Epilogue,
    pub bias: bool,
    pub residual: bool,
}

/// A bias, and nothing else.
pub const PLAIN: Around = Around {
    epilogue: Epilogue { before: Activation::Identity, after: Activation::Identity, scale: 1.0, kept: 0.0 },
    bias: true,
    residual: false,
};

impl Around {
    /// The same without a curve before factors that are rounded: kernel and twin differ in the curve's last bit, which may be a
    /// step of the rounding.
    pub fn before_rounding(mut self, precision: Precision) -> Self {
        let same_bits = [Activation::Identity, Activation::Relu, Activation::LeakyRelu(0.1)];
        if precision == Precision::Reduced && !same_bits.contains(&self.epilogue.before) {
            self.epilogue.before = Activation::Identity;
        }
        self
    }

    pub fn bias(self, channels: usize) -> Option<Vec<f32>> {
        self.bias.then(|| noise(71, channels))
    }

    pub fn residual(self, values: usize) -> Option<Vec<f32>> {
        self.residual.then(|| noise(72, values))
    }

    /// What the output holds before: no number, if nothing of it is kept.
    pub fn held(self, values: usize) -> Vec<f32> {
        if self.epilogue.kept == 0.0 { vec![f32::NAN; values] } else { noise(73, values) }
    }

    /// What the twin's sum, bias included, becomes.
    pub fn finish<const D: usize>(self, sum: Tensor<Cpu, D>) -> Vec<f32> {
        let dims = sum.dims();
        let count = dims.iter().product();
        let mut y = plain::activate(sum, self.epilogue.after);
        if let Some(residual) = self.residual(count) {
            y = y + tensor(&residual, dims);
        }
        let y = values(y * self.epilogue.scale);
        let held = self.held(count);
        let kept = |(y, held): (f32, f32)| if self.epilogue.kept == 0.0 { y } else { y + self.epilogue.kept * held };
        y.into_iter().zip(held).map(kept).collect()
    }
}

pub fn activation() -> impl Strategy<Value = Activation> {
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

pub fn around() -> impl Strategy<Value = Around> {
    let scales = prop_oneof![Just([1.0, 0.0]), Just([1.0 / 3.0, 0.0]), Just([0.5, 1.0])];
    (activation(), activation(), scales, any::<bool>(), any::<bool>()).prop_map(|parts| {
        let (before, after, [scale, kept], bias, residual) = parts;
        Around { epilogue: Epilogue { before, after, scale, kept }, bias, residual }
    })
}

/// A sum of the CPU backend's.
pub fn tensor<const D: usize>(values: &[f32], dims: [usize; D]) -> Tensor<Cpu, D> {
    Tensor::from_data(TensorData::new(values.to_vec(), dims), &Default::default())
}

pub fn values<const D: usize>(x: Tensor<Cpu, D>) -> Vec<f32> {
    x.into_data().to_vec().expect("floats")
}

/// A copy in the machine's memory with values behind it that no result may depend on: memory is reused.
pub fn upload_longer(host: &Host, values: &[f32]) -> Floats {
    let mut longer = values.to_vec();
    longer.extend([f32::NAN; 3]);
    upload(host, &longer)
}

/// What the factors of a kernel are rounded to.
pub fn rounded<const D: usize>(x: Tensor<Cpu, D>, precision: Precision) -> Tensor<Cpu, D> {
    if precision == Precision::Full {
        return x;
    }
    let dims = x.dims();
    let rounded = |value: f32| f32::from_bits((value.to_bits() + 0x1000) & !0x1fff);
    tensor(&values(x).into_iter().map(rounded).collect::<Vec<_>>(), dims)
}

pub fn precision() -> impl Strategy<Value = Precision> {
    prop::sample::select(vec![Precision::Full, Precision::Reduced])
}

/// Numbers about as large as a sum of `terms` products of numbers in -1..1 needs for sums about 1.
pub fn weights(seed: u64, count: usize, terms: usize) -> Vec<f32> {
    let scale = 1.0 / (terms.max(1) as f32).sqrt();
    noise(seed, count).into_iter().map(|value| value * scale).collect()
}

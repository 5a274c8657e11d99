//! Elementwise functions, softmax, `WaveNet`'s gate and layer normalisation.

use super::super::Activation;
use super::level::{Kernel, Level};
use super::vector::Vector;

/// Most lanes of any level.
const MAX_LANES: usize = 16;

/// `e^x`, relative error below 2e-7; saturates beyond what `f32` can hold. What is not a number stays so.
#[inline(always)]
fn exp<V: Vector>(x: V) -> V {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to a whole number.
    const LN_2_HIGH: f32 = 0.693_359_4; // Few bits, so that its multiples are exact.
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    const INVERSE_FACTORIALS: [f32; 7] = [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 1.0 / 2.0, 1.0, 1.0];
    let x = V::splat(88.0).min(V::splat(-87.0).max(x));
    let power = x.mul_add(V::splat(std::f32::consts::LOG2_E), V::splat(ROUND)).sub(V::splat(ROUND));
    let rest = power.mul_add(V::splat(-LN_2_HIGH), x);
    let rest = power.mul_add(V::splat(-LN_2_LOW), rest);
    let mut sum = V::splat(1.0 / 5040.0);
    for factor in INVERSE_FACTORIALS {
        sum = sum.mul_add(rest, V::splat(factor));
    }
    sum.scale(power)
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
fn sigmoid<V: Vector>(x: V) -> V {
    let one = V::splat(1.0);
    one.div(one.add(exp(V::splat(0.0).sub(x))))
}

/// `tanh x`: its Taylor series near zero, where `1 - 2 / (e^2x + 1)` cancels.
#[inline(always)]
fn tanh<V: Vector>(x: V) -> V {
    const NEAR: f32 = 0.35 * 0.35;
    let one = V::splat(1.0);
    let square = x.mul(x);
    let mut near = V::splat(-1382.0 / 155_925.0);
    for factor in [62.0 / 2835.0, -17.0 / 315.0, 2.0 / 15.0, -1.0 / 3.0, 1.0] {
        near = near.mul_add(square, V::splat(factor));
    }
    let far = one.sub(V::splat(2.0).div(exp(x.add(x)).add(one)));
    square.select_less(V::splat(NEAR), near.mul(x), far)
}

/// `x (1 + erf(x / sqrt 2)) / 2` by Abramowitz and Stegun 7.1.26 (erf within 1.5e-7).
#[inline(always)]
fn gelu<V: Vector>(x: V) -> V {
    const P: f32 = 0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2;
    const A: [f32; 4] = [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6];
    let (zero, one) = (V::splat(0.0), V::splat(1.0));
    let size = x.max(zero.sub(x));
    let t = one.div(size.mul_add(V::splat(P), one));
    let mut series = V::splat(1.061_405_4);
    for factor in A {
        series = series.mul_add(t, V::splat(factor));
    }
    // Half of 1 - erf(|x| / sqrt 2), which keeps its relative accuracy for large |x|.
    let tail = series.mul(t).mul(exp(x.mul(x).mul(V::splat(-0.5)))).mul(V::splat(0.5));
    x.mul(x.select_less(zero, tail, one.sub(tail)))
}

/// A function of each lane. A trait and no closure: what a closure calls is not inlined into the level's code.
trait Lanewise: std::marker::Copy {
    /// Must be `#[inline(always)]`.
    fn apply<V: Vector>(self, x: V) -> V;
}

macro_rules! lanewise {
    ($name:ident, $x:ident => $value:expr) => {
        #[derive(Clone, std::marker::Copy)]
        struct $name;

        impl Lanewise for $name {
            #[inline(always)]
            fn apply<V: Vector>(self, $x: V) -> V {
                $value
            }
        }
    };
}

lanewise!(Relu, x => x.max(V::splat(0.0)));
lanewise!(Gelu, x => gelu(x));
lanewise!(Silu, x => x.mul(sigmoid(x)));
lanewise!(Tanh, x => tanh(x));
lanewise!(Sigmoid, x => sigmoid(x));

#[derive(Clone, std::marker::Copy)]
struct LeakyRelu(f32);

impl Lanewise for LeakyRelu {
    #[inline(always)]
    fn apply<V: Vector>(self, x: V) -> V {
        x.select_less(V::splat(0.0), x.mul(V::splat(self.0)), x)
    }
}

/// `to = function(from)`; the last, partial vector goes through a copy.
#[inline(always)]
fn map<V: Vector>(from: &[f32], to: &mut [f32], function: impl Lanewise) {
    assert_eq!(from.len(), to.len());
    let whole = from.len() / V::LANES * V::LANES;
    for at in (0..whole).step_by(V::LANES) {
        // SAFETY: `at + LANES <= whole <= len` of both.
        unsafe { function.apply(V::load(from.as_ptr().add(at))).store(to.as_mut_ptr().add(at)) };
    }
    if whole < from.len() {
        let mut lanes = [0.0; MAX_LANES];
        lanes[..from.len() - whole].copy_from_slice(&from[whole..]);
        // SAFETY: no level has more lanes than the array.
        unsafe { function.apply(V::load(lanes.as_ptr())).store(lanes.as_mut_ptr()) };
        let rest = to.len() - whole;
        to[whole..].copy_from_slice(&lanes[..rest]);
    }
}

struct Copy<'a> {
    from: &'a [f32],
    to: &'a mut [f32],
    activation: Activation,
}

impl Kernel for Copy<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let Self { from, to, activation } = self;
        match activation {
            Activation::Identity => to.copy_from_slice(from),
            Activation::Relu => map::<V>(from, to, Relu),
            Activation::LeakyRelu(slope) => map::<V>(from, to, LeakyRelu(slope)),
            Activation::Gelu => map::<V>(from, to, Gelu),
            Activation::Silu => map::<V>(from, to, Silu),
            Activation::Tanh => map::<V>(from, to, Tanh),
            Activation::Sigmoid => map::<V>(from, to, Sigmoid),
        }
    }
}

/// `to = activation(from)`.
pub fn copy(level: Level, from: &[f32], to: &mut [f32], activation: Activation) {
    level.run(Copy { from, to, activation });
}

struct Finish<'a> {
    values: &'a mut [f32],
    residual: Option<&'a [f32]>,
    after: Activation,
}

impl Kernel for Finish<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        const BLOCK: usize = 256;
        let Self { values, residual, after } = self;
        for (index, values) in values.chunks_mut(BLOCK).enumerate() {
            if after != Activation::Identity {
                let mut copy = [0.0; BLOCK];
                let copy = &mut copy[..values.len()];
                copy.copy_from_slice(values);
                Copy { from: copy, to: values, activation: after }.run::<V>();
            }
            if let Some(residual) = residual {
                let residual = &residual[index * BLOCK..][..values.len()];
                values.iter_mut().zip(residual).for_each(|(value, residual)| *value += residual);
            }
        }
    }
}

/// `values = after(values) + residual`.
pub fn finish(level: Level, values: &mut [f32], residual: Option<&[f32]>, after: Activation) {
    if after != Activation::Identity || residual.is_some() {
        assert!(residual.is_none_or(|residual| residual.len() == values.len()));
        level.run(Finish { values, residual, after });
    }
}

/// `values = activation(values + addend)`.
pub fn finish_sum(level: Level, values: &mut [f32], addend: &[f32], activation: Activation) {
    finish(level, values, Some(addend), Activation::Identity);
    finish(level, values, None, activation);
}

struct Gate<'a> {
    tanh_of: &'a [f32],
    sigmoid_of: &'a [f32],
    to: &'a mut [f32],
}

impl Kernel for Gate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let Self { tanh_of, sigmoid_of, to } = self;
        map::<V>(sigmoid_of, to, Sigmoid);
        for (to, from) in to.chunks_mut(256).zip(tanh_of.chunks(256)) {
            let mut tanhs = [0.0; 256];
            map::<V>(from, &mut tanhs[..from.len()], Tanh);
            for (to, tanh) in to.iter_mut().zip(tanhs) {
                *to *= tanh;
            }
        }
    }
}

/// `to = tanh(tanh_of) * sigmoid(sigmoid_of)`.
pub fn gate(level: Level, tanh_of: &[f32], sigmoid_of: &[f32], to: &mut [f32]) {
    level.run(Gate { tanh_of, sigmoid_of, to });
}

/// `e^(x - .0)`.
#[derive(Clone, std::marker::Copy)]
struct ExpBelow(f32);

impl Lanewise for ExpBelow {
    #[inline(always)]
    fn apply<V: Vector>(self, x: V) -> V {
        exp(x.sub(V::splat(self.0)))
    }
}

struct Softmax<'a>(&'a mut [f32]);

impl Kernel for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        const BLOCK: usize = 256;
        let mut most = [f32::NEG_INFINITY; MAX_LANES];
        for values in self.0.chunks(MAX_LANES) {
            for (most, &value) in most.iter_mut().zip(values) {
                *most = if value > *most { value } else { *most };
            }
        }
        let most = most.into_iter().fold(f32::NEG_INFINITY, f32::max);
        let mut sum = 0.0;
        for values in self.0.chunks_mut(BLOCK) {
            let mut copy = [0.0; BLOCK];
            let copy = &mut copy[..values.len()];
            copy.copy_from_slice(values);
            map::<V>(copy, values, ExpBelow(most));
            sum += sum_by_lanes(values, |value| value);
        }
        let scale = 1.0 / sum;
        self.0.iter_mut().for_each(|value| *value *= scale);
    }
}

/// Replaces `values` by their exponentials, scaled to a sum of 1.
pub fn softmax(level: Level, values: &mut [f32]) {
    level.run(Softmax(values));
}

struct LayerNorm<'a> {
    x: &'a [f32],
    gamma: &'a [f32],
    beta: &'a [f32],
    epsilon: f32,
    to: &'a mut [f32],
}

impl Kernel for LayerNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let Self { x, gamma, beta, epsilon, to } = self;
        let count = gamma.len() as f32;
        for (x, to) in x.chunks_exact(gamma.len()).zip(to.chunks_exact_mut(gamma.len())) {
            let mean = sum_by_lanes(x, |value| value) / count;
            let variance = sum_by_lanes(x, |value| (value - mean) * (value - mean)) / count;
            let scale = 1.0 / (variance + epsilon).sqrt();
            for (((to, x), gamma), beta) in to.iter_mut().zip(x).zip(gamma).zip(beta) {
                *to = (x - mean) * scale * gamma + beta;
            }
        }
    }
}

/// Sums `term` over `values` in independent lanes, which is faster and rounds less than one running sum.
#[inline(always)]
fn sum_by_lanes(values: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0; MAX_LANES];
    let (chunks, rest) = values.as_chunks::<MAX_LANES>();
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane += term(value);
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().map(|&value| term(value)).sum::<f32>()
}

/// Normalises each row of `gamma.len()` values to mean 0 and variance 1, then scales and shifts it.
pub fn layer_norm(level: Level, x: &[f32], gamma: &[f32], beta: &[f32], epsilon: f32, to: &mut [f32]) {
    assert_eq!(x.len(), to.len());
    assert_eq!(gamma.len(), beta.len());
    if !gamma.is_empty() {
        level.run(LayerNorm { x, gamma, beta, epsilon, to });
    }
}

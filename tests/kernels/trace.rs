//! The backend that notes operations and does them at once, on the stand-in, against the CPU's.

use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData, activation, module};
use proptest::prelude::*;
use syrinx::cuda::trace::{TraceDevice, Traceable, Traced};
use syrinx::nn::Cpu;
use syrinx::nn::ops::{
    Activation, AttentionSpec, Conv1dSpec, Fused, Kernel1d, Precision, Relative, ResidualBlock, ResidualUnit, VoiceOps,
};

use crate::host::Host;
use crate::support::{config, noise};

pub type Trace = Traced<Host>;

/// A stand-in that no other test uses.
pub fn device() -> TraceDevice {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    TraceDevice::new(NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// How often launches that were kept were repeated.
pub fn repeats(device: TraceDevice) -> usize {
    Host::opened(device).expect("a stand-in").repeats()
}

pub fn tensor<B: Backend, const D: usize>(seed: u64, dims: [usize; D], device: &B::Device) -> Tensor<B, D> {
    Tensor::from_data(TensorData::new(noise(seed, dims.iter().product()), dims), device)
}

fn values<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().into_vec().expect("f32")
}

/// Fails where two values are further apart than rounding takes them.
#[track_caller]
pub fn assert_same(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    let most = expected.iter().fold(1e-3_f32, |most, value| most.max(value.abs()));
    crate::support::assert_close(what, found, expected, |_| tolerance * most);
}

/// What `work` gives on the trace and on the CPU.
macro_rules! on_both {
    ($what:expr, $device:expr, |$B:ident, $d:ident| $work:block) => {{
        let found = {
            type $B = Trace;
            let $d = $device;
            values($work)
        };
        let expected = {
            type $B = Cpu;
            let $d = Default::default();
            values($work)
        };
        assert_same($what, &found, &expected, 2e-6);
    }};
}

#[test]
fn tensors_are_moved_as_on_the_cpu() {
    let device = device();
    on_both!("permuted and cut", device, |B, d| {
        let x: Tensor<B, 4> = tensor(1, [2, 3, 5, 7], &d);
        x.permute([3, 1, 0, 2]).narrow(0, 2, 4).reshape([6, 4, 5]).swap_dims(0, 2)
    });
    on_both!("backwards, every other", device, |B, d| {
        let x: Tensor<B, 3> = tensor(1, [3, 5, 8], &d);
        x.flip([1, 2]).slice([burn::tensor::Slice::from(0..3), (1..5).into(), burn::tensor::Slice::new(0, None, 3)])
    });
    on_both!("joined along each dimension", device, |B, d| {
        let (x, y): (Tensor<B, 3>, Tensor<B, 3>) = (tensor(1, [2, 3, 4], &d), tensor(2, [2, 3, 4], &d));
        let (a, b) = (Tensor::cat(vec![x.clone(), y.clone()], 0), Tensor::cat(vec![x.clone(), y.clone()], 2));
        let c = Tensor::cat(vec![x.clone(), y, x], 1).flatten::<1>(0, 2);
        Tensor::cat(vec![a.flatten(0, 2), b.flatten(0, 2), c], 0)
    });
    on_both!("repeated, expanded, in the place of some", device, |B, d| {
        let x: Tensor<B, 3> = tensor(1, [1, 3, 4], &d);
        let y = x.clone().repeat_dim(2, 3) + x.clone().expand([5, 3, 4]).mean_dim(2).expand([5, 3, 12]);
        y.slice_assign([1..2, 1..3, 3..7], x.narrow(1, 0, 2))
    });
    on_both!("rows by number", device, |B, d| {
        let rows = Tensor::<B, 1, Int>::from_data(TensorData::new(vec![4, 0, 0, 2], [4]), &d);
        tensor::<B, 3>(1, [2, 5, 3], &d).select(1, rows)
    });
}

#[test]
fn values_are_computed_as_on_the_cpu() {
    let device = device();
    on_both!("arithmetic with expanded tensors", device, |B, d| {
        let (x, y): (Tensor<B, 3>, Tensor<B, 3>) = (tensor(1, [4, 1, 6], &d), tensor(2, [1, 5, 6], &d));
        let z = (x.clone() + y.clone()) * (x.clone() - y.clone()) / (y.clone().abs() + 1.5) - 0.25;
        z.swap_dims(0, 1) * 3.0 / 7.0 + x.swap_dims(0, 1) + y.swap_dims(0, 1).powf_scalar(2.0)
    });
    on_both!("functions", device, |B, d| {
        let x: Tensor<B, 2> = tensor(1, [9, 40], &d) * 3.0;
        let positive = x.clone().abs() + 0.1;
        let parts = vec![
            x.clone().exp(),
            positive.clone().log(),
            positive.clone().sqrt(),
            positive.clone().recip(),
            positive.powf_scalar(0.3),
            x.clone().tanh(),
            x.clone().erf(),
            x.clone().clamp(-0.5, 1.25),
            activation::relu(x.clone()),
            activation::leaky_relu(x.clone(), 0.2),
            activation::gelu(x.clone()),
            activation::silu(x.clone()),
            activation::sigmoid(x),
        ];
        Tensor::cat(parts, 0)
    });
    on_both!("masks", device, |B, d| {
        let (x, y): (Tensor<B, 2>, Tensor<B, 2>) = (tensor(1, [7, 9], &d), tensor(2, [7, 9], &d));
        let z = x.clone().mask_fill(x.clone().lower_equal_elem(0.1), -4.0);
        let z = z.mask_where(x.clone().greater_elem(0.5), y.clone());
        z.mask_fill(y.clone().lower_elem(-0.5), 9.0) + y.mask_fill(x.greater_equal_elem(0.0), 0.0)
    });
    on_both!("reduced along each dimension", device, |B, d| {
        let x: Tensor<B, 3> = tensor(1, [3, 150, 4], &d);
        let sums = x.clone().sum_dim(0).expand([3, 150, 4]) + x.clone().mean_dim(1).expand([3, 150, 4]);
        sums + x.max_dim(2).expand([3, 150, 4])
    });
    on_both!("pooled", device, |B, d| {
        let x: Tensor<B, 4> = tensor(1, [2, 3, 7, 8], &d);
        let mean = module::avg_pool2d(x.clone(), [2, 3], [2, 1], [0, 0], true, false);
        let most = module::max_pool1d(x.reshape([6, 7, 8]), 3, 2, 0, 1, false);
        Tensor::cat(vec![mean.flatten::<1>(0, 3), most.flatten(0, 2)], 0)
    });
    on_both!("products of matrices", device, |B, d| {
        let (x, y): (Tensor<B, 3>, Tensor<B, 3>) = (tensor(1, [3, 5, 8], &d), tensor(2, [1, 7, 8], &d));
        x.matmul(y.expand([3, 7, 8]).transpose())
    });
}

/// Runs `work` five times with other inputs: each result is the CPU's, and the last ones are made by repeated launches.
fn assert_repeated<const D: usize>(
    what: &str,
    on_trace: impl Fn(u64, &TraceDevice) -> Tensor<Trace, D>,
    on_cpu: impl Fn(u64) -> Tensor<Cpu, D>,
    tolerance: f32,
) {
    let device = device();
    for seed in 0..5 {
        let (found, expected) = (values(on_trace(seed, &device)), values(on_cpu(seed)));
        assert_same(&format!("{what}, run {seed}"), &found, &expected, tolerance);
    }
    assert!(repeats(device) >= 3, "{what}: launches were repeated {} times", repeats(device));
}

#[test]
fn a_trace_that_occurs_again_is_repeated_with_other_inputs() {
    fn work<B: Backend>(weight: &Tensor<B, 2>, seed: u64, device: &B::Device) -> Tensor<B, 2> {
        let x: Tensor<B, 2> = tensor(seed, [4, 6], device);
        let y = (x.clone() * weight.clone()).exp() + 1.0;
        y.clone().transpose().reshape([4, 6]) / y + x
    }
    let device = device();
    let weight = tensor::<Trace, 2>(99, [4, 6], &device);
    let twin = tensor::<Cpu, 2>(99, [4, 6], &Default::default());
    for seed in 0..6 {
        let found = values(work(&weight, seed, &device));
        assert_same("value", &found, &values(work(&twin, seed, &Default::default())), 1e-6);
    }
    // The first run had the weight copied; the second was noted, and the third is the first that is repeated.
    assert!(repeats(device) >= 4, "{}", repeats(device));
}

#[test]
fn state_is_carried_from_run_to_run() {
    fn steps<B: Backend>(device: &B::Device) -> Vec<f32> {
        let weight: Tensor<B, 2> = tensor(7, [3, 5], device);
        let mut state = Tensor::<B, 2>::zeros([3, 5], device);
        let step = |seed| {
            let x: Tensor<B, 2> = tensor(seed, [3, 5], device);
            state = (state.clone() * 0.5 + x * weight.clone()).tanh();
            values(state.clone() * 2.0)
        };
        (0..8).flat_map(step).collect()
    }
    let device = device();
    assert_same("state", &steps::<Trace>(&device), &steps::<Cpu>(&Default::default()), 1e-6);
    assert!(repeats(device) >= 2, "{}", repeats(device));
}

#[test]
fn alternating_shapes_keep_a_plan_each() {
    let device = device();
    for round in 0..5 {
        for len in [5, 8] {
            let work = |x: Tensor<Trace, 2>| x.clone().exp() * 2.0 + x;
            let found = values(work(tensor(round, [2, len], &device)));
            let x: Tensor<Cpu, 2> = tensor(round, [2, len], &Default::default());
            assert_same("value", &found, &values(x.clone().exp() * 2.0 + x), 1e-6);
        }
    }
    assert_eq!(repeats(device), 2 * 4);
}

#[test]
fn another_weight_of_the_same_shape_is_told_apart() {
    let device = device();
    for seed in 0..4 {
        let weight = tensor::<Trace, 1>(seed, [16], &device);
        let twin = tensor::<Cpu, 1>(seed, [16], &Default::default());
        for run in 0..4 {
            let found = values(tensor::<Trace, 1>(run, [16], &device) * weight.clone() + 1.0);
            let expected = values(tensor::<Cpu, 1>(run, [16], &Default::default()) * twin.clone() + 1.0);
            assert_same("value", &found, &expected, 1e-6);
        }
    }
    assert!(repeats(device) >= 4 * 2, "{}", repeats(device));
}

#[test]
fn a_machine_that_keeps_no_launches_is_told_each() {
    let device = device();
    Host::opened(device).expect("a stand-in").keep_none();
    let weight = tensor::<Trace, 1>(9, [16], &device);
    let twin = tensor::<Cpu, 1>(9, [16], &Default::default());
    for run in 0..4 {
        let found = values(tensor::<Trace, 1>(run, [16], &device) * weight.clone());
        let expected = values(tensor::<Cpu, 1>(run, [16], &Default::default()) * twin.clone());
        assert_same("value", &found, &expected, 1e-6);
    }
    assert_eq!(repeats(device), 0);
}

#[test]
fn a_tensor_on_the_device_enters_a_repeated_trace_beside_others() {
    fn steps<B: Backend>(device: &B::Device) -> Vec<f32> {
        let step = |seed| {
            let from_before: Tensor<B, 1> = tensor::<B, 1>(seed, [70], device).exp();
            // Read, so that it is on the device when the next trace begins; then used up there, between two others.
            let read = values(from_before.clone());
            let (x, y): (Tensor<B, 1>, Tensor<B, 1>) =
                (tensor(seed + 50, [70], device), tensor(seed + 90, [70], device));
            [read, values(x * from_before - y)].concat()
        };
        (0..6).flat_map(step).collect()
    }
    let device = device();
    assert_same("value", &steps::<Trace>(&device), &steps::<Cpu>(&Default::default()), 1e-6);
    assert!(repeats(device) >= 8, "{}", repeats(device));
}

#[test]
fn threads_share_a_device() {
    let device = device();
    let weight = tensor::<Trace, 2>(50, [6, 6], &device).exp();
    let twin = values(tensor::<Cpu, 2>(50, [6, 6], &Default::default()).exp());
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (weight, twin) = (weight.clone(), twin.clone());
            scope.spawn(move || {
                let cpu = Default::default();
                let twin = Tensor::<Cpu, 2>::from_data(TensorData::new(twin, [6, 6]), &cpu);
                for run in 0..20 {
                    let seed = 100 * thread + run;
                    let found = values((tensor::<Trace, 2>(seed, [6, 6], &device) + weight.clone()).transpose() * 2.0);
                    let expected = values((tensor::<Cpu, 2>(seed, [6, 6], &cpu) + twin.clone()).transpose() * 2.0);
                    assert_same("value", &found, &expected, 1e-6);
                }
            });
        }
    });
}

#[test]
fn what_one_thread_asked_for_another_reads() {
    let device = device();
    let asked = tensor::<Trace, 1>(3, [9], &device).exp();
    let found = std::thread::spawn(move || values(asked + 1.0)).join().expect("values");
    assert_same("value", &found, &values(tensor::<Cpu, 1>(3, [9], &Default::default()).exp() + 1.0), 1e-6);
}

#[test]
fn an_operation_without_a_kernel_is_an_error_that_names_it() {
    let device = device();
    let lost = tensor::<Trace, 1>(3, [9], &device).sinh();
    let error = lost.clone().try_into_data().expect_err("no kernel");
    assert!(error.to_string().contains("Sinh"), "{error}");
    // What depends on it is lost, and nothing else.
    let error = (lost + 1.0).try_into_data().expect_err("no tensor");
    assert!(error.to_string().contains("Sinh"), "{error}");
    assert_eq!(values(Tensor::<Trace, 1>::ones([2], &device) + 1.0), [2.0, 2.0]);
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

fn fused<B: Backend, const D: usize>(
    (before, after, residual): (Activation, Activation, bool),
    dims: [usize; D],
    device: &B::Device,
) -> Fused<B, D> {
    Fused { before, after, residual: residual.then(|| tensor(77, dims, device)) }
}

type Around = (Activation, Activation, bool);

fn conv1d<B: VoiceOps>(
    [batch, inputs, outputs, time, taps]: [usize; 5],
    spec: Conv1dSpec,
    around: Around,
    device: &B::Device,
) -> Tensor<B, 3> {
    let (inputs, outputs) = (inputs * spec.groups, outputs * spec.groups);
    let weight = tensor(1, [outputs, inputs / spec.groups, taps], device);
    let conv = B::prepare_conv1d(weight, Some(tensor(2, [outputs], device)), spec, Precision::Full);
    let len = (time + spec.padding[0] + spec.padding[1] - spec.dilation * (taps - 1) - 1) / spec.stride + 1;
    <B as VoiceOps>::conv1d(
        &conv,
        tensor(3, [batch, inputs, time], device),
        fused(around, [batch, outputs, len], device),
    )
}

fn upsampled<B: VoiceOps>(
    [inputs, outputs, time, stride]: [usize; 4],
    [extra, padding]: [usize; 2],
    around: Around,
    device: &B::Device,
) -> Tensor<B, 3> {
    let taps = stride + extra;
    let padding = padding.min(taps / 2);
    let weight = tensor(1, [inputs, outputs, taps], device);
    let conv = B::prepare_conv_transpose1d(weight, Some(tensor(2, [outputs], device)), stride, padding);
    let len = (time - 1) * stride + taps - 2 * padding;
    <B as VoiceOps>::conv_transpose1d(
        &conv,
        tensor(3, [2, inputs, time], device),
        fused(around, [2, outputs, len], device),
    )
}

fn images<B: VoiceOps>(
    [inputs, outputs, height, width]: [usize; 4],
    taps: usize,
    around: Around,
    device: &B::Device,
) -> Tensor<B, 4> {
    let conv = B::prepare_conv2d(tensor(1, [outputs, inputs, taps, taps], device), Some(tensor(2, [outputs], device)));
    let dims = [1, outputs, height, width];
    let y = <B as VoiceOps>::conv2d(&conv, tensor(3, [1, inputs, height, width], device), fused(around, dims, device));
    let double = B::prepare_conv_transpose2d(tensor(4, [outputs, inputs, 3, 3], device), None);
    let dims = [1, inputs, 2 * height, 2 * width];
    <B as VoiceOps>::conv_transpose2d(&double, y, fused(around, dims, device))
}

fn rows<B: VoiceOps>([batch, rows, inputs, outputs]: [usize; 4], around: Around, device: &B::Device) -> Tensor<B, 3> {
    let linear =
        B::prepare_linear(tensor(1, [outputs, inputs], device), Some(tensor(2, [outputs], device)), Precision::Full);
    let y = <B as VoiceOps>::linear(
        &linear,
        tensor(3, [batch, rows, inputs], device),
        fused(around, [batch, rows, outputs], device),
    );
    <B as VoiceOps>::layer_norm(y, &tensor(4, [outputs], device), &tensor(5, [outputs], device), 1e-3)
}

fn attended<B: VoiceOps>(
    [rows, heads, size]: [usize; 3],
    span: Option<[usize; 2]>,
    reach: Option<usize>,
    device: &B::Device,
) -> Tensor<B, 3> {
    let x = |seed| tensor::<B, 3>(seed, [1, rows, heads * size], device);
    let distances = |seed, reach| tensor::<B, 2>(seed, [2 * reach + 1, size], device);
    let relative = reach.map(|reach| Relative { keys: distances(4, reach), values: distances(5, reach) });
    <B as VoiceOps>::attention(x(1), x(2), x(3), relative.as_ref(), AttentionSpec { heads, scale: 0.4, span })
}

fn recurrent<B: VoiceOps>([time, inputs, hidden]: [usize; 3], device: &B::Device) -> Tensor<B, 3> {
    let gru = |seed| {
        let weight = |seed, width| tensor::<B, 2>(seed, [3 * hidden, width], device);
        let bias = |seed| tensor::<B, 1>(seed, [3 * hidden], device);
        B::prepare_gru(weight(seed, inputs), weight(seed + 1, hidden), bias(seed + 2), bias(seed + 3))
    };
    let (forward, backward, x) = (gru(10), gru(20), tensor(3, [1, time, inputs], device));
    let both = B::gru_both_ways(&forward, &backward, x.clone());
    Tensor::cat(vec![both, B::gru(&forward, x.clone(), false), B::gru(&backward, x, true)], 2)
}

fn staged<B: VoiceOps>(channels: usize, time: usize, paired: bool, device: &B::Device) -> Tensor<B, 3> {
    let kernel = |seed, taps, dilation| Kernel1d {
        weight: tensor(seed, [channels, channels, taps], device) * 0.3,
        bias: tensor(seed + 1, [channels], device),
        dilation,
    };
    let unit = |seed, taps, dilation| ResidualUnit {
        first: kernel(seed, taps, dilation),
        second: paired.then(|| kernel(seed + 2, taps, 1)),
    };
    let block = |taps: usize| ResidualBlock {
        units: (0..3).map(|i| unit(10 * taps as u64 + i, taps, 1 + 2 * i as usize)).collect(),
    };
    let stage = B::prepare_residual_stage([3, 5, 7].map(block).to_vec());
    let x: Tensor<B, 3> = tensor(3, [1, channels, time], device);
    B::residual_stage(&stage, x.clone()) + B::gate(Tensor::cat(vec![x.clone(), B::activate(x, Activation::Gelu)], 1))
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn convolutions_are_the_cpus(
        sizes in [1..3_usize, 1..4_usize, 1..7_usize, 12..40_usize, 1..6_usize],
        groups in 1..4_usize,
        stride in 1..4_usize,
        padding in [0..5_usize, 0..5_usize],
        dilation in 1..3_usize,
        around in (any_activation(), any_activation(), any::<bool>()),
    ) {
        let spec = Conv1dSpec { stride, padding, dilation, groups };
        let found = values(conv1d::<Trace>(sizes, spec, around, &device()));
        assert_same("value", &found, &values(conv1d::<Cpu>(sizes, spec, around, &Default::default())), 2e-5);
    }

    #[test]
    fn upsampling_is_the_cpus(
        sizes in [1..5_usize, 1..7_usize, 1..12_usize, 1..6_usize],
        taps in [0..7_usize, 0..4_usize],
        around in (any_activation(), any_activation(), any::<bool>()),
    ) {
        let found = values(upsampled::<Trace>(sizes, taps, around, &device()));
        assert_same("value", &found, &values(upsampled::<Cpu>(sizes, taps, around, &Default::default())), 2e-5);
    }

    #[test]
    fn images_are_the_cpus(
        sizes in [1..5_usize, 1..7_usize, 1..6_usize, 1..7_usize],
        half in 0..3_usize,
        around in (any_activation(), any_activation(), any::<bool>()),
    ) {
        let found = values(images::<Trace>(sizes, 2 * half + 1, around, &device()));
        assert_same("value", &found, &values(images::<Cpu>(sizes, 2 * half + 1, around, &Default::default())), 2e-5);
    }

    #[test]
    fn rows_are_the_cpus(
        sizes in [1..3_usize, 1..20_usize, 1..30_usize, 2..40_usize],
        around in (any_activation(), any_activation(), any::<bool>()),
    ) {
        let found = values(rows::<Trace>(sizes, around, &device()));
        assert_same("value", &found, &values(rows::<Cpu>(sizes, around, &Default::default())), 2e-4);
    }

    #[test]
    fn attention_is_the_cpus(
        sizes in [1..20_usize, 1..4_usize, 1..9_usize],
        span in proptest::option::of([0..5_usize, 0..5_usize]),
        reach in 1..4_usize,
    ) {
        let reach = span.is_none().then_some(reach);
        let found = values(attended::<Trace>(sizes, span, reach, &device()));
        assert_same("value", &found, &values(attended::<Cpu>(sizes, span, reach, &Default::default())), 2e-5);
    }

    #[test]
    fn recurrence_is_the_cpus(sizes in [1..8_usize, 1..9_usize, 1..20_usize]) {
        let found = values(recurrent::<Trace>(sizes, &device()));
        assert_same("value", &found, &values(recurrent::<Cpu>(sizes, &Default::default())), 2e-5);
    }
}

#[test]
fn a_residual_stage_is_the_cpus_each_time_it_is_run() {
    for paired in [true, false] {
        let device = device();
        let expected = values(staged::<Cpu>(6, 40, paired, &Default::default()));
        for _ in 0..4 {
            assert_same("value", &values(staged::<Trace>(6, 40, paired, &device)), &expected, 2e-5);
        }
    }
}

#[test]
fn a_stage_that_is_prepared_once_is_repeated() {
    assert_repeated(
        "gate",
        |seed, device| <Trace as VoiceOps>::gate(tensor(seed, [1, 6, 10], device)),
        |seed| <Cpu as VoiceOps>::gate(tensor(seed, [1, 6, 10], &Default::default())),
        1e-5,
    );
}

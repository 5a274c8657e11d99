//! Computations that are done again without being asked for anew, on the stand-in, against the CPU's.

use std::cell::Cell;

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use proptest::prelude::*;
use syrinx::nn::Cpu;
use syrinx::nn::ops::{Computation, Fed, NetworkId, VoiceOps};

use crate::noise::noise;
use crate::trace::{Trace, assert_same, device, repeats, tensor};

/// Features of the network below.
const WIDTH: usize = 12;
/// Rows of its table.
const TABLE: usize = 5;

/// A network that counts how often it is asked what it does.
struct Network<B: Backend> {
    id: NetworkId,
    weight: Tensor<B, 2>,
    table: Tensor<B, 2>,
    asked: Cell<usize>,
    device: B::Device,
}

impl<B: VoiceOps> Network<B> {
    fn new(id: NetworkId, seed: u64, device: &B::Device) -> Self {
        let (weight, table) = (tensor(seed, [WIDTH, WIDTH], device), tensor(seed + 1, [TABLE, WIDTH], device));
        Self { id, weight, table, asked: Cell::new(0), device: device.clone() }
    }

    /// The last `kept` of so many rows, each with one of the table, through the weight.
    fn run(&self, seed: u64, count: usize, kept: usize) -> Vec<f32> {
        let rows = (0..count).map(|row| (row as i32 * 3 + seed as i32) % TABLE as i32).collect();
        let values = vec![TensorData::new(noise(seed, count * WIDTH), [count, WIDTH]), TensorData::new(rows, [count])];
        let forward = |mut fed: Fed<B>| {
            self.asked.set(self.asked.get() + 1);
            let x: Tensor<B, 2> = fed.floats();
            let x = (x + self.table.clone().select(0, fed.rows())).matmul(self.weight.clone()).tanh();
            Ok(x.narrow(0, count - kept, kept))
        };
        let computation = Computation { network: self.id, choices: vec![kept] };
        B::compute(computation, values, &self.device, forward).expect("values")
    }
}

/// Runs in which a network may still be asked: its weights come to the machine, its launches are kept, and they are found again.
const ENOUGH: usize = 4;

#[test]
fn a_network_is_asked_only_until_its_launches_are_kept() {
    let (device, id) = (device(), NetworkId::unique());
    let (network, twin) = (Network::<Trace>::new(id, 1, &device), Network::<Cpu>::new(id, 1, &Default::default()));
    for seed in 0..12 {
        assert_same("rows", &network.run(seed, 4, 3), &twin.run(seed, 4, 3), 1e-6);
    }
    assert!(network.asked.get() <= ENOUGH, "asked {} times", network.asked.get());
    assert!(repeats(device) >= 12 - ENOUGH, "{} repeats", repeats(device));
    assert_eq!(twin.asked.get(), 12, "the CPU is asked each time");
}

#[test]
fn weights_that_are_no_more_are_not_recalled() {
    let (device, id) = (device(), NetworkId::unique());
    for weights in 0..3 {
        let network = Network::<Trace>::new(id, 10 * weights, &device);
        let twin = Network::<Cpu>::new(id, 10 * weights, &Default::default());
        for seed in 0..8 {
            assert_same("rows", &network.run(seed, 4, 4), &twin.run(seed, 4, 4), 1e-6);
        }
        assert!((1..=ENOUGH).contains(&network.asked.get()), "asked {} times", network.asked.get());
    }
}

#[test]
fn what_a_network_brings_itself_is_never_recalled() {
    fn run<B: VoiceOps>(id: NetworkId, seed: u64, device: &B::Device) -> Vec<f32> {
        let values = vec![TensorData::new(noise(seed, 8), [8])];
        let forward = |mut fed: Fed<B>| {
            let own: Tensor<B, 1> = tensor(seed + 100, [8], device);
            Ok(fed.floats::<1>() * own)
        };
        B::compute(Computation::of(id), values, device, forward).expect("values")
    }
    let (device, id) = (device(), NetworkId::unique());
    for seed in 0..10 {
        assert_same("product", &run::<Trace>(id, seed, &device), &run::<Cpu>(id, seed, &Default::default()), 1e-6);
    }
}

#[test]
fn what_a_thread_asked_for_before_is_left_as_it_is() {
    let (device, id) = (device(), NetworkId::unique());
    let network = Network::<Trace>::new(id, 1, &device);
    let twin = Network::<Cpu>::new(id, 1, &Default::default());
    for seed in 0..8 {
        let noted = tensor::<Trace, 1>(seed, [9], &device).exp();
        assert_same("rows", &network.run(seed, 2, 1), &twin.run(seed, 2, 1), 1e-6);
        let expected: Vec<f32> = noise(seed, 9).into_iter().map(f32::exp).collect();
        assert_same("noted before", &noted.into_data().into_vec::<f32>().expect("f32"), &expected, 1e-6);
    }
}

#[test]
fn an_error_of_a_network_is_told_each_time() {
    let (device, id) = (device(), NetworkId::unique());
    for _ in 0..5 {
        let refuse = |_: Fed<Trace>| -> syrinx::Result<Tensor<Trace, 1>> {
            Err(syrinx::Error::argument("speaker", "another", "this"))
        };
        let values = vec![TensorData::new(noise(1, 3), [3])];
        let refused = Trace::compute(Computation::of(id), values, &device, refuse);
        assert!(refused.expect_err("refused").to_string().contains("speaker"));
    }
}

proptest! {
    #![proptest_config(crate::support::config())]

    /// Networks, numbers of rows and of those kept, in any order: each is told apart from all others.
    #[test]
    fn networks_shapes_and_choices_are_told_apart(runs in prop::collection::vec((0..2_usize, 2..4_usize, 1..3_usize), 1..40)) {
        let (device, ids) = (device(), [NetworkId::unique(), NetworkId::unique()]);
        let seeds = [(0, 1), (1, 50)];
        let networks = seeds.map(|(which, seed)| Network::<Trace>::new(ids[which], seed, &device));
        let twins = seeds.map(|(which, seed)| Network::<Cpu>::new(ids[which], seed, &Default::default()));
        for (seed, &(which, count, kept)) in runs.iter().enumerate() {
            let (found, expected) =
                (networks[which].run(seed as u64, count, kept), twins[which].run(seed as u64, count, kept));
            assert_same("rows", &found, &expected, 1e-6);
        }
        for network in &networks {
            // Of each there are four kinds.
            prop_assert!(network.asked.get() <= 4 * ENOUGH, "asked {} times", network.asked.get());
        }
    }
}

//! Gated recurrent unit: the inputs' part as one product, then step by step.

use super::super::Activation;
use super::super::Precision;
use super::level::{Kernel, Level};
use super::linear::Linear;
use super::vector::Vector;
use super::{Around, activation};

/// Sums held in registers at once while the state is multiplied.
const WIDTH: usize = 8;

/// Packed weights of one direction.
#[derive(Clone, Debug)]
pub struct Gru {
    level: Level,
    hidden: usize,
    inputs: Linear,
    /// Panels of `WIDTH` vectors of gate values, each `[hidden, WIDTH vectors]`, zeros beyond the last gate.
    recurrent: Vec<f32>,
    bias: Vec<f32>,
}

impl Gru {
    /// Packs torch's layout (gates `r, z, n`): `weight_ih` `[3 hidden, in]`, `weight_hh` `[3 hidden, hidden]`.
    pub fn new(
        level: Level,
        weight_ih: &[f32],
        [gates, inputs]: [usize; 2],
        weight_hh: &[f32],
        bias_ih: &[f32],
        bias_hh: &[f32],
    ) -> Self {
        let hidden = gates / 3;
        assert_eq!(weight_hh.len(), gates * hidden);
        let panel = WIDTH * level.lanes();
        let padded = gates.next_multiple_of(panel);
        let mut recurrent = vec![0.0; padded * hidden];
        for gate in 0..gates {
            for input in 0..hidden {
                recurrent[gate / panel * panel * hidden + input * panel + gate % panel] =
                    weight_hh[gate * hidden + input];
            }
        }
        let mut bias = bias_hh.to_vec();
        bias.resize(padded, 0.0);
        Self {
            level,
            hidden,
            inputs: Linear::new(level, weight_ih, [gates, inputs], Some(bias_ih), Precision::Full),
            recurrent,
            bias,
        }
    }

    /// Size of the state.
    pub fn hidden(&self) -> usize {
        self.hidden
    }

    /// Runs over `x` `[time, in]` from a zero state, backwards if `reverse`, into `out` `[time, hidden]`.
    pub fn run(&self, x: &[f32], time: usize, reverse: bool, out: &mut [f32]) {
        let hidden = self.hidden;
        assert_eq!(out.len(), time * hidden);
        let mut from_inputs = vec![0.0; time * 3 * hidden];
        self.inputs.run(x, time, Around::default(), &mut from_inputs);
        let mut state = vec![0.0; hidden];
        let mut gates = self.bias.clone();
        for step in 0..time {
            let at = if reverse { time - 1 - step } else { step };
            self.level.run(Product { matrix: &self.recurrent, bias: &self.bias, state: &state, out: &mut gates });
            let input = &from_inputs[at * 3 * hidden..][..3 * hidden];
            self.update(input, &mut gates, &mut state);
            out[at * hidden..][..hidden].copy_from_slice(&state);
        }
    }

    /// One step of the state, given what the input and the state add to each gate.
    fn update(&self, input: &[f32], gates: &mut [f32], state: &mut [f32]) {
        let hidden = self.hidden;
        let (switches, candidate) = gates[..3 * hidden].split_at_mut(2 * hidden);
        activation::finish_sum(self.level, switches, &input[..2 * hidden], Activation::Sigmoid);
        let (reset, update) = switches.split_at(hidden);
        for (candidate, reset) in candidate.iter_mut().zip(reset) {
            *candidate *= reset;
        }
        activation::finish_sum(self.level, candidate, &input[2 * hidden..], Activation::Tanh);
        for ((state, candidate), update) in state.iter_mut().zip(candidate.iter()).zip(update) {
            *state = candidate + update * (*state - candidate);
        }
    }
}

/// `out = bias + matrix * state`.
struct Product<'a> {
    matrix: &'a [f32],
    bias: &'a [f32],
    state: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let panel = WIDTH * V::LANES;
        assert!(self.out.len() == self.bias.len() && self.out.len().is_multiple_of(panel));
        assert_eq!(self.matrix.len(), self.out.len() * self.state.len());
        for index in (0..self.out.len()).step_by(panel) {
            // SAFETY: the matrix holds `state.len()` rows of `panel` values for each panel of the output.
            unsafe {
                let mut sums = [V::splat(0.0); WIDTH];
                for (vector, sum) in sums.iter_mut().enumerate() {
                    *sum = V::load(self.bias.as_ptr().add(index + vector * V::LANES));
                }
                let mut matrix = self.matrix.as_ptr().add(index * self.state.len());
                for &value in self.state {
                    let value = V::splat(value);
                    for (vector, sum) in sums.iter_mut().enumerate() {
                        *sum = value.mul_add(V::load(matrix.add(vector * V::LANES)), *sum);
                    }
                    matrix = matrix.add(panel);
                }
                for (vector, sum) in sums.into_iter().enumerate() {
                    sum.store(self.out.as_mut_ptr().add(index + vector * V::LANES));
                }
            }
        }
    }
}

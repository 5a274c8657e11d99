//! Operations in plain burn with few launches: on a GPU the recurrent layer's small steps cost what their launches cost.

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, activation};

use super::plain;

/// One direction of a gated recurrent unit. Gates `r, z` are halved, which is exact, since `sigmoid(a) = (1 + tanh(a / 2)) / 2`:
/// burn's own sigmoid takes six launches.
#[derive(Clone, Debug)]
pub struct Gru<B: Backend> {
    /// `[1, in, 3 hidden]`.
    inputs: Tensor<B, 3>,
    /// `[1, 1, 3 hidden]`: what does not depend on the state, of the gates both biases, of the candidate the input's.
    bias: Tensor<B, 3>,
    /// `[1, hidden, 3 hidden]`.
    recurrent: Tensor<B, 3>,
    /// `[1, 1, hidden]`: the candidate's bias from the state, which the gate `r` multiplies.
    candidate: Tensor<B, 3>,
}

impl<B: Backend> Gru<B> {
    /// Prepares weights as given.
    pub fn new(given: plain::Gru<B>) -> Self {
        let plain::Gru { weight_ih, weight_hh, bias_ih, bias_hh } = given;
        let hidden = weight_hh.dims()[1];
        let candidate = bias_hh.clone().narrow(0, 2 * hidden, hidden);
        let of_gates = Tensor::cat(vec![bias_hh.narrow(0, 0, 2 * hidden), candidate.zeros_like()], 0);
        Self {
            inputs: halved_gates(weight_ih).transpose().unsqueeze(),
            bias: halved_gates(bias_ih + of_gates).unsqueeze(),
            recurrent: halved_gates(weight_hh).transpose().unsqueeze(),
            candidate: candidate.unsqueeze(),
        }
    }
}

/// Rows `r, z, n` with `r, z` halved.
fn halved_gates<B: Backend, const D: usize>(rows: Tensor<B, D>) -> Tensor<B, D> {
    let hidden = rows.dims()[0] / 3;
    Tensor::cat(vec![rows.clone().narrow(0, 0, 2 * hidden) / 2.0, rows.narrow(0, 2 * hidden, hidden)], 0)
}

/// Runs each of `directions`, backwards in time where it says so, over `x` `[1, time, in]` from a zero state, all in the same
/// launches, to their states side by side, `[1, time, directions * hidden]`.
pub fn gru<B: Backend>(directions: &[(&Gru<B>, bool)], x: &Tensor<B, 3>) -> Tensor<B, 3> {
    let [_, time, _] = x.dims();
    let in_its_order = |x: Tensor<B, 3>, reverse: bool| if reverse { x.flip([1]) } else { x };
    let of_all =
        |part: fn(&Gru<B>) -> Tensor<B, 3>| Tensor::cat(directions.iter().map(|(gru, _)| part(gru)).collect(), 0);
    let (recurrent, candidate_bias) = (of_all(|gru| gru.recurrent.clone()), of_all(|gru| gru.candidate.clone()));
    let [count, hidden, _] = recurrent.dims();
    let inputs = directions
        .iter()
        .map(|(gru, reverse)| in_its_order(x.clone(), *reverse).matmul(gru.inputs.clone()) + gru.bias.clone());
    // Steps first, so that each is one piece of memory.
    let inputs = Tensor::cat(inputs.map(|inputs| inputs.swap_dims(0, 1)).collect(), 1);
    let mut state = Tensor::<B, 3>::zeros([count, 1, hidden], &x.device());
    let states = (0..time).map(|step| {
        let from_input = inputs.clone().narrow(0, step, 1).swap_dims(0, 1);
        let from_state = state.clone().matmul(recurrent.clone());
        let gates = |x: &Tensor<B, 3>| x.clone().narrow(2, 0, 2 * hidden);
        let candidate = |x: &Tensor<B, 3>| x.clone().narrow(2, 2 * hidden, hidden);
        let open = activation::tanh(gates(&from_input) + gates(&from_state)) * 0.5 + 0.5;
        let (reset, update) = (open.clone().narrow(2, 0, hidden), open.narrow(2, hidden, hidden));
        let new = candidate(&from_input) + reset * (candidate(&from_state) + candidate_bias.clone());
        let new = activation::tanh(new);
        state = new.clone() + update * (state.clone() - new);
        state.clone()
    });
    let states = Tensor::cat(states.collect(), 1);
    let of_each =
        directions.iter().enumerate().map(|(at, (_, reverse))| in_its_order(states.clone().narrow(0, at, 1), *reverse));
    Tensor::cat(of_each.collect(), 2)
}

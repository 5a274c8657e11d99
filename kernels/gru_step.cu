// One step of a gated recurrent unit, in one or two directions at once: h' = n + z (h - n) with
// r = sigmoid(x_r + U_r h + b_r), z = sigmoid(x_z + U_z h + b_z), n = tanh(x_n + r (U_n h + b_n)).
//
// A launch for each step, since no multiprocessor holds or reads the weights fast enough: 0.8 MB a direction, 12,000
// cycles for one of them, 400 for all.
//
// shapes     inputs [time, directions, 3 hidden] in the order r, z, n (input products with their bias), weight
//            [directions, 3 hidden, hidden] and bias [directions, 3 hidden] of the state, y [time, directions, hidden]:
//            step s reads what step s - 1 wrote there, or zeros; bit d of `backwards`: direction d runs from the end
// grid       (ceil(hidden / 8), directions) blocks of 256 threads: a warp for each value of the state
// shared     none
// registers  gru_step 64 at most
// contract   sums in f32: within 1e-5 of the twin's
// CPU twin   nn::ops::plain::gru
#include "epilogue.cuh"

#define THREADS 256
#define WARPS (THREADS / WARP)

KERNEL(gru_step, THREADS)
(const float *inputs, const float *weight, const float *bias, int step, int time, int hidden, int backwards, float *y) {
    const int lane = threadIdx.x % WARP, unit = blockIdx.x * WARPS + threadIdx.x / WARP, direction = blockIdx.y;
    if (unit >= hidden) return;
    const int directions = gridDim.y;
    const bool reverse = backwards >> direction & 1;
    const int at = reverse ? time - 1 - step : step, before = reverse ? at + 1 : at - 1;
    const float *rows = weight + (long long)direction * 3 * hidden * hidden + (long long)unit * hidden;
    const float *state = y + (before * directions + direction) * hidden;
    float sums[3] = {};
    if (step > 0) {
        for (int k = lane; k < hidden; k += WARP) {
            float value = state[k];
#pragma unroll
            for (int gate = 0; gate < 3; gate++) sums[gate] += rows[gate * hidden * hidden + k] * value;
        }
    }
#pragma unroll
    for (int gate = 0; gate < 3; gate++) sums[gate] = warp_sum(sums[gate]);
    if (lane != 0) return;
    const float *input = inputs + (at * directions + direction) * 3 * hidden + unit;
    bias += direction * 3 * hidden + unit;
    const float reset = logistic(input[0] + sums[0] + bias[0]);
    const float update = logistic(input[hidden] + sums[1] + bias[hidden]);
    const float candidate = tanhf(input[2 * hidden] + reset * (sums[2] + bias[2 * hidden]));
    const float held = step > 0 ? state[unit] : 0.0f;
    y[(at * directions + direction) * hidden + unit] = candidate + update * (held - candidate);
}

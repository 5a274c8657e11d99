//! Kernels of the CPU on plain slices, for the best instructions the machine has.
//!
//! | file | what |
//! |---|---|
//! | `level` | which instructions; runs a kernel compiled for them |
//! | `vector` | the vector type that kernels are generic over |
//! | `tap_sum` | the inner loop that every convolution and product runs on |
//! | `conv1d`, `conv_transpose1d`, `conv2d`, `conv_transpose2d`, `linear`, `gru`, `attention` | one operation each |
//! | `residual_stage`, `winograd` | the generator's residual blocks, most of the work of a voice |
//! | `activation` | elementwise functions, softmax, gate, layer norm |
//! | `pairs` | factors of reduced precision, two in a word |
//! | `parallel`, `team`, `board`, `scratch` | work for several threads, the threads, their buffers |

pub mod activation;
pub mod attention;
mod board;
pub mod conv1d;
pub mod conv2d;
pub mod conv_transpose1d;
pub mod conv_transpose2d;
pub mod gru;
mod image;
pub mod level;
pub mod linear;
pub mod pairs;
mod parallel;
pub mod residual_stage;
mod scratch;
pub mod tap_sum;
pub mod team;
mod vector;
mod winograd;

use super::Activation;
use crate::sync;

/// What surrounds a kernel's sum, on slices: see [`Fused`](super::Fused).
#[derive(Clone, Copy, Debug, Default)]
pub struct Around<'a> {
    /// Applied to each input value.
    pub before: Activation,
    /// Applied to each sum.
    pub after: Activation,
    /// Added last; as long as the output.
    pub residual: Option<&'a [f32]>,
}

/// Row length of a buffer that holds `columns` values a row: whole vectors, room to read beyond the end, and never a
/// multiple of 128 bytes alone, so that rows do not fall into the same cache sets.
fn row_stride(columns: usize) -> usize {
    let vectors = (columns + tap_sum::OVERREAD).div_ceil(tap_sum::OVERREAD);
    (vectors | 1) * tap_sum::OVERREAD
}

/// Fills `row` with `signal[start..]`, `before` applied, and zeros where that lies outside the signal.
fn fill_row(level: level::Level, signal: &[f32], start: isize, row: &mut [f32], before: Activation) {
    let length = row.len();
    let lead = start.min(0).unsigned_abs().min(length);
    let from = (start.max(0) as usize).min(signal.len());
    let inside = (length - lead).min(signal.len() - from);
    row[..lead].fill(0.0);
    activation::copy(level, &signal[from..from + inside], &mut row[lead..lead + inside], before);
    row[lead + inside..].fill(0.0);
}

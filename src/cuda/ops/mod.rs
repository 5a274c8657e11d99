//! Safe wrappers of the kernels: they check lengths, choose the grid, pass the arguments.
//!
//! The wrappers are generic over the [`Machine`](super::Machine): tests run them, and with them the kernels, on a CPU.
//! What each kernel computes, and its twin on the CPU, stands in its source under `kernels/`.

mod activate;
mod attention;
mod conv;
mod conv_transpose;
mod crepe_path;
mod envelope;
mod epilogue;
mod gru;
mod harmonic_source;
mod layer_norm;
mod log_mel;
mod matmul;
mod retrieval;
mod salience;
mod sola;
mod swift_f0;
pub(super) mod tensors;
mod tiles;
mod track;
mod yin;

pub use activate::{activate, gate};
pub use attention::{AttentionShape, Distances, attention};
pub use conv::{ConvShape, conv, prepare_conv};
pub use conv_transpose::{ConvTransposeShape, conv_transpose, prepare_conv_transpose};
pub use crepe_path::{CrepePath, crepe_smooth};
pub use envelope::{envelope_mix, envelope_rms};
pub use epilogue::Epilogue;
pub use gru::{Directions, GruShape, gru};
pub use harmonic_source::{SourceShape, harmonic_source};
pub use layer_norm::layer_norm;
pub use log_mel::{LogMelFrames, LogMelTables};
pub use matmul::{MatmulShape, Strides, matmul, prepare_linear};
pub use retrieval::{Neighbours, retrieval_blend, retrieval_nearest};
pub use salience::{Decoding, salience};
pub use sola::{sola_join, sola_scores};
pub use swift_f0::SwiftF0Network;
pub use track::{median, octave, pitch_shape};
pub use yin::{YinCandidates, yin};

use super::launch::{Kernel, Op};

/// The ops, by name.
macro_rules! ops {
    ($($op:ident $file:literal),*) => {
        $(static $op: Op = Op { name: $file, text: include_str!(concat!("../../../kernels/", $file, ".cu")) };)*
    };
}

ops! {
    ACTIVATE_OP "activate", ATTENTION_OP "attention", CONV_OP "conv", CONV_TRANSPOSE_OP "conv_transpose",
    CREPE_PATH_OP "crepe_path", ENVELOPE_OP "envelope", GRU_STEP_OP "gru_step", HARMONIC_SOURCE_OP "harmonic_source",
    LAYER_NORM_OP "layer_norm", LOG_MEL_OP "log_mel", MAP_OP "map", MATMUL_OP "matmul", MEDIAN_OP "median",
    OCTAVE_OP "octave", PITCH_SHAPE_OP "pitch_shape", POOL_OP "pool", REDUCE_OP "reduce", RETRIEVAL_OP "retrieval",
    SALIENCE_OP "salience", SELECT_OP "select", SOLA_OP "sola", SUM_PARTS_OP "sum_parts", SWIFT_F0_OP "swift_f0",
    YIN_OP "yin"
}

/// The kernels, each with its file and the threads of its blocks.
macro_rules! kernels {
    ($($kernel:ident $name:literal $op:ident $threads:literal),*) => {
        $(static $kernel: Kernel = Kernel { name: $name, op: &$op, threads: $threads };)*
        /// All kernels.
        pub static KERNELS: &[&Kernel] = &[$(&$kernel),*];
    };
}

kernels! {
    ACTIVATE_ALL "activate_all" ACTIVATE_OP 256,
    GATE "gate" ACTIVATE_OP 256,
    ATTENTION "attention" ATTENTION_OP 128,
    CONV_64X64 "conv_64x64" CONV_OP 256,
    CONV_32X128 "conv_32x128" CONV_OP 256,
    CONV_32X32 "conv_32x32" CONV_OP 128,
    CONV_64X64_TF32 "conv_64x64_tf32" CONV_OP 256,
    CONV_128X64_TF32 "conv_128x64_tf32" CONV_OP 256,
    CONV_32X128_TF32 "conv_32x128_tf32" CONV_OP 256,
    CONV_32X32_TF32 "conv_32x32_tf32" CONV_OP 128,
    CONV_TRANSPOSE_64X64 "conv_transpose_64x64" CONV_TRANSPOSE_OP 256,
    CONV_TRANSPOSE_32X32 "conv_transpose_32x32" CONV_TRANSPOSE_OP 128,
    CONV_TRANSPOSE_64X64_TF32 "conv_transpose_64x64_tf32" CONV_TRANSPOSE_OP 256,
    CONV_TRANSPOSE_32X64_TF32 "conv_transpose_32x64_tf32" CONV_TRANSPOSE_OP 128,
    CREPE_PATH "crepe_path" CREPE_PATH_OP 384,
    CREPE_SMOOTH "crepe_smooth" CREPE_PATH_OP 128,
    ENVELOPE_RMS "envelope_rms" ENVELOPE_OP 256,
    ENVELOPE_MIX "envelope_mix" ENVELOPE_OP 256,
    GRU_STEP "gru_step" GRU_STEP_OP 256,
    HARMONIC_SOURCE "harmonic_source" HARMONIC_SOURCE_OP 256,
    LAYER_NORM "layer_norm" LAYER_NORM_OP 128,
    LOG_MEL "log_mel" LOG_MEL_OP 128,
    MAP "map" MAP_OP 256,
    MATMUL_64X64 "matmul_64x64" MATMUL_OP 256,
    MATMUL_32X32 "matmul_32x32" MATMUL_OP 128,
    MATMUL_64X128_TF32 "matmul_64x128_tf32" MATMUL_OP 256,
    MATMUL_64X64_TF32 "matmul_64x64_tf32" MATMUL_OP 256,
    MATMUL_32X32_TF32 "matmul_32x32_tf32" MATMUL_OP 128,
    MEDIAN "median" MEDIAN_OP 128,
    OCTAVE "octave" OCTAVE_OP 128,
    PITCH_SHAPE "pitch_shape" PITCH_SHAPE_OP 128,
    POOL "pool" POOL_OP 256,
    REDUCE "reduce" REDUCE_OP 128,
    RETRIEVAL_NEAREST "retrieval_nearest" RETRIEVAL_OP 256,
    RETRIEVAL_BLEND "retrieval_blend" RETRIEVAL_OP 256,
    SALIENCE "salience" SALIENCE_OP 128,
    SELECT_ROWS "select_rows" SELECT_OP 256,
    SOLA_SCORES "sola_scores" SOLA_OP 256,
    SOLA_JOIN "sola_join" SOLA_OP 256,
    SUM_PARTS "sum_parts" SUM_PARTS_OP 256,
    SWIFT_F0 "swift_f0" SWIFT_F0_OP 256,
    YIN "yin" YIN_OP 352
}

//! The networks on an NVIDIA GPU against the same networks on the CPU, and against the reference's recordings where there
//! are any; whole conversions, too.
//!
//! Run where `SYRINX_GPU` names a GPU by its number, and left out, with a word, where it does not. Files are found from the
//! current folder, which is the package's under cargo: so the program can be carried to a machine with a GPU and without
//! cargo, beside the repository's files (`make gpu`). One test at a time: `--test-threads=1 --nocapture` shows the table.

mod conversion;
mod device;
mod networks;
#[path = "../kernels/noise.rs"]
mod noise;
#[cfg(feature = "cuda")]
mod strategies;
mod support;

//! NVIDIA GPUs: what there is of them, the networks there, and kernels of our own for the hot path.
//!
//! [`trace`] is a backend that runs the networks by kernels of our own, as graphs that the driver repeats; `networks` (feature
//! `cuda`) opens a GPU for burn to run them. There are kernels for what is done besides the networks and for all that the
//! networks do. Each has a twin on the CPU: the sources are in `kernels/`, one file per op; [`ops`] has their safe wrappers.
//! They and the backend are independent of where they run: [`Machine`] is a CUDA device or, in `tests/kernels`, a CPU that runs
//! the same sources thread by thread, so that kernels, wrappers and whole networks are compared with their twins where there is
//! no GPU. `make test-cuda` does so, and compiles every kernel for the architectures from Turing to Blackwell.
//!
//! On an H100 all agree with their twins (`benches/results`). Those besides the networks **no stage of the path uses yet**.

#[allow(unsafe_code, reason = "launches pass addresses to the driver")]
mod device;
mod lanes;
mod launch;
#[allow(unsafe_code, reason = "the compiler is a C library")]
mod modules;
#[cfg(feature = "cuda")]
pub mod networks;
pub mod ops;
#[allow(unsafe_code, reason = "driver and compiler are C libraries, loaded when asked for")]
pub mod probe;
pub mod trace;
mod view;

pub use device::{Device, DeviceGraph, DeviceMemory};
pub use launch::{Buffer, Graphs, Kernel, Launch, Machine, Op};
pub use modules::{Module, ModuleCache};
pub use probe::{Gap, GpuFacts, Peaks};

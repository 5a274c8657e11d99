//! NVIDIA GPUs: what there is of them, the networks there, and kernels for what the hot path does outside its networks.
//!
//! `networks` (feature `cuda`) opens a GPU for the networks, which burn runs. The kernels have a twin on the CPU each: their
//! sources are in `kernels/`, one file per op; [`ops`] has one safe wrapper per kernel. Both are independent of where they
//! run: [`Machine`] is a CUDA device or, in `tests/kernels`, a CPU that runs the same sources thread by thread, so that
//! wrappers and kernels are compared with their twins where there is no GPU. `make test-cuda` does so, and compiles every
//! kernel for the architectures from Turing to Blackwell.
//!
//! The kernels agree with their twins on an H100 (`benches/results`), but **no stage of the path uses them yet**.

#[allow(unsafe_code, reason = "launches pass addresses to the driver")]
mod device;
mod launch;
#[allow(unsafe_code, reason = "the compiler is a C library")]
mod modules;
#[cfg(feature = "cuda")]
pub mod networks;
pub mod ops;
#[allow(unsafe_code, reason = "driver and compiler are C libraries, loaded when asked for")]
pub mod probe;

pub use device::{Device, DeviceMemory};
pub use launch::{Buffer, Kernel, Launch, Machine, Op};
pub use modules::{Module, ModuleCache};
pub use probe::{Gap, GpuFacts, Peaks};

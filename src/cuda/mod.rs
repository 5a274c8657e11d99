//! Kernels for NVIDIA GPUs: what the hot path does outside its networks, each with a twin on the CPU.
//!
//! The sources are in `kernels/`, one file per op; [`ops`] has one safe wrapper per kernel. Both are independent of where
//! they run: [`Machine`] is a CUDA device or, in `tests/kernels`, a CPU that runs the same sources thread by thread, so
//! that wrappers and kernels are compared with their twins where there is no GPU.
//!
//! **Nothing here has run on a GPU yet**, and no stage of the path uses it yet. `make test-cuda` compiles every kernel for
//! the architectures from Turing to Blackwell and runs it on a CPU; how fast they are on a device is not known.

#[allow(unsafe_code, reason = "launches pass addresses to the driver")]
mod device;
mod launch;
#[allow(unsafe_code, reason = "the compiler is a C library")]
mod modules;
pub mod ops;
#[allow(unsafe_code, reason = "driver and compiler are C libraries, loaded when asked for")]
pub mod probe;

pub use device::{Device, DeviceMemory};
pub use launch::{Buffer, Kernel, Launch, Machine, Op};
pub use modules::{Module, ModuleCache};
pub use probe::{Gap, GpuFacts};

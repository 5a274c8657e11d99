//! The networks through burn's GPU path without a GPU: `CubeCL`'s kernels, compiled to SPIR-V, run on Mesa's lavapipe, a
//! Vulkan device of this CPU, against the networks on the CPU's own kernels. Networks of full size are left out: they take
//! minutes there. `make test-burn-gpu` installs what it needs; without a Vulkan device of the CPU the tests fail.

mod device;
#[path = "../gpu/networks.rs"]
mod networks;
#[path = "../kernels/noise.rs"]
mod noise;
#[path = "../gpu/support.rs"]
mod support;

//! The Vulkan device under test.

use burn_wgpu::WgpuDevice;

/// The part of their bounds that networks may be off here: factors are 32-bit floats.
pub const SHARE: f64 = 1e-2;

/// A Vulkan device that this CPU plays.
pub fn lavapipe() -> WgpuDevice {
    WgpuDevice::Cpu
}

/// Does the same by burn's kernels, on Vulkan: with the backend, its device and what it is called.
macro_rules! on_each_backend {
    (|$B:ident, $device:ident, $name:ident| $body:block) => {{
        type $B = burn_wgpu::Vulkan<f32, i32, u8>;
        let ($device, $name) = (&crate::device::lavapipe(), "Vulkan");
        $body
    }};
}
pub(crate) use on_each_backend;

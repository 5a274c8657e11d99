//! The GPU under test, and its backends.

use syrinx::cuda::trace::TraceDevice;
use syrinx::place::{Place, PlaceChoice};

/// The environment variable with the number of a GPU.
const GPU: &str = "SYRINX_GPU";

/// A device of burn's CUDA backend.
#[cfg(feature = "cuda")]
pub type GpuDevice = burn_cuda::CudaDevice;

/// The part of their bounds that networks may be off here: all of it.
pub const SHARE: f64 = 1.0;

/// The number of the GPU to test, if one is named.
fn number() -> Option<usize> {
    let Some(number) = std::env::var_os(GPU) else {
        eprintln!("left out: {GPU} names no GPU");
        return None;
    };
    Some(number.to_str().and_then(|number| number.parse().ok()).expect("the number of a GPU"))
}

/// The GPU to test for networks by burn's kernels, if one is named.
#[cfg(feature = "cuda")]
pub fn gpu() -> Option<GpuDevice> {
    let place = PlaceChoice::Burn(number()?).open().expect("a GPU with all that CUDA needs");
    let Place::Burn(device) = place else { panic!("a GPU was taken for {place}") };
    Some(device)
}

/// The GPU to test for networks by our own kernels, if one is named.
pub fn graphs() -> Option<TraceDevice> {
    let place = PlaceChoice::Cuda(number()?).open().expect("a GPU with all that our kernels need");
    let Place::Cuda(device) = place else { panic!("a GPU was taken for {place}") };
    Some(device)
}

/// Does the same on the GPU by burn's kernels, where the build has them, and by our own, in full and in reduced precision:
/// with the backend, its device and what it is called.
macro_rules! on_each_backend {
    (|$B:ident, $device:ident, $name:ident| $body:block) => {{
        #[cfg(feature = "cuda")]
        if let Some(device) = crate::device::gpu() {
            type $B = syrinx::nn::Cuda;
            let ($device, $name) = (&device, "burn");
            $body
        }
        if let Some(device) = crate::device::graphs() {
            type $B = syrinx::cuda::trace::Graphs;
            for ($device, $name) in
                [(&device, "ours"), (&<$B as syrinx::nn::ops::VoiceOps>::reduced(&device), "ours, TF32")]
            {
                $body
            }
        }
    }};
}
pub(crate) use on_each_backend;

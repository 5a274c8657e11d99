//! The GPU under test.

use syrinx::place::{Place, PlaceChoice};

/// The environment variable with the number of a GPU.
const GPU: &str = "SYRINX_GPU";

/// The backend under test.
pub type Gpu = syrinx::nn::Cuda;
/// Its devices.
pub type GpuDevice = burn_cuda::CudaDevice;

/// The part of their bounds that networks may be off here: all of it.
pub const SHARE: f64 = 1.0;

/// The GPU to test, if one is named.
pub fn gpu() -> Option<GpuDevice> {
    let Some(number) = std::env::var_os(GPU) else {
        eprintln!("left out: {GPU} names no GPU");
        return None;
    };
    let number = number.to_str().and_then(|number| number.parse().ok()).expect("the number of a GPU");
    match PlaceChoice::Cuda(number).open().expect("a GPU with all that CUDA needs") {
        Place::Cuda(device) => Some(device),
        Place::Cpu => panic!("GPU {number} was taken for the CPU"),
    }
}

//! A GPU for the networks. burn ends the program where something is missing, so that is found out before.

use std::sync::Once;

use burn_cubecl::cubecl::config::cache::CacheConfig;
use burn_cubecl::cubecl::config::{CubeClRuntimeConfig, RuntimeConfig};
use burn_cuda::CudaDevice;
use etcetera::BaseStrategy;

use super::probe::{Gap, gpu, headers, nvrtc};

/// GPU `ordinal`, as CUDA counts, for networks of the backend [`Cuda`](crate::nn::Cuda).
///
/// # Errors
/// [`Gap`]: the first of driver, GPU, run-time compiler and headers that is missing.
pub fn device(ordinal: usize) -> Result<CudaDevice, Gap> {
    gpu(ordinal)?;
    nvrtc()?;
    headers()?;
    configure();
    Ok(CudaDevice::new(ordinal))
}

/// Keeps compiled kernels in `syrinx/networks` of the user's cache folder: compiling all takes far longer than loading a
/// voice. burn would otherwise be told what to do by a file in the current folder.
fn configure() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let mut config = CubeClRuntimeConfig::default();
        let folder = etcetera::choose_base_strategy().map(|strategy| strategy.cache_dir().join("syrinx/networks")).ok();
        config.compilation.cache = folder.map(CacheConfig::File);
        CubeClRuntimeConfig::set(config);
    });
}

//! A GPU for the networks. burn ends the program where something is missing, so that is found out before.

use std::path::{Path, PathBuf};
use std::sync::Once;

use burn_cubecl::cubecl::config::cache::CacheConfig;
use burn_cubecl::cubecl::config::{CubeClRuntimeConfig, RuntimeConfig};
use burn_cuda::CudaDevice;
use etcetera::BaseStrategy;

use super::probe::{Gap, driver, gpu, headers, nvrtc, too_new};
use crate::error::{Error, Result};

/// GPU `ordinal`, as CUDA counts, for networks of the backend [`Cuda`](crate::nn::Cuda).
///
/// # Errors
/// [`Gap`]: the first of driver, GPU, run-time compiler and headers that is missing, or a compiler that is too new for the
/// driver.
pub fn device(ordinal: usize) -> Result<CudaDevice, Gap> {
    let (driver, gpu, compiler) = (driver()?, gpu(ordinal)?, nvrtc()?);
    if let Some(gap) = too_new(compiler, driver) {
        return Err(gap);
    }
    headers()?;
    configure(gpu.capability, compiler);
    Ok(CudaDevice::new(ordinal))
}

/// Keeps compiled kernels in the user's cache folder: compiling all takes far longer than loading a voice. What was compiled
/// for other GPUs, or by another compiler, lies apart, since burn would not tell them apart. burn would otherwise be told
/// what to do by a file in the current folder.
fn configure(capability: [i32; 2], compiler: [i32; 2]) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let mut config = CubeClRuntimeConfig::default();
        let ([major, minor], [of, by]) = (capability, compiler);
        let folder = etcetera::choose_base_strategy().map(|strategy| strategy.cache_dir().join("syrinx/networks")).ok();
        let folder = folder.map(|folder| folder.join(format!("sm_{major}{minor}-nvrtc{of}.{by}")));
        config.compilation.cache = folder.and_then(writable).map(CacheConfig::File);
        CubeClRuntimeConfig::set(config);
    });
}

/// The folder, if something can be written there: burn would end the program.
fn writable(folder: PathBuf) -> Option<PathBuf> {
    let probe = |folder: &Path| std::fs::create_dir_all(folder).and_then(|()| tempfile::tempfile_in(folder));
    match probe(&folder) {
        Ok(_) => Some(folder),
        Err(source) => {
            tracing::warn!("{}; kernels are compiled anew each time", Error::io(&folder, source));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_cannot_be_made_is_done_without() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        std::fs::write(&file, "").expect("a file");
        assert_eq!(writable(file.join("networks")), None);
        let below = folder.path().join("some/networks");
        assert_eq!(writable(below.clone()), Some(below));
    }
}

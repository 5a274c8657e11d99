//! What CUDA needs of a machine, what of it is there, and what to do about the rest. Nothing here panics or waits.

use std::ffi::c_int;
use std::path::{Path, PathBuf};

use cudarc::driver::{CudaContext, DriverError, result, sys};
use serde::Serialize;

use crate::error::{Error, Result};

/// Something that is missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}

impl Gap {
    fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { problem: problem.into(), remedy: remedy.into() }
    }

    /// The gap as an error of what needed it.
    #[must_use]
    pub fn into_error(self) -> Error {
        Error::device("CUDA", self.problem, self.remedy)
    }
}

/// One GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GpuFacts {
    /// Its number, as CUDA counts.
    pub ordinal: usize,
    /// Its name.
    pub name: String,
    /// Its compute capability, major and minor.
    pub capability: [i32; 2],
    /// Its memory in bytes.
    pub memory_bytes: u64,
}

/// What a GPU could do at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peaks {
    /// Multiprocessors.
    pub processors: usize,
    /// Bytes of the cache that all of them share.
    pub l2_bytes: usize,
    /// Operations with 32-bit floats per second, without matrix units.
    pub flops: f64,
    /// The same of factors in TF32 by matrix units; without them on GPUs that have none for TF32.
    pub tensor_flops: f64,
    /// Bytes per second from and to its memory.
    pub bytes_per_second: f64,
}

const INSTALL_DRIVER: &str = "install NVIDIA's driver, version 525 or later, or use `--device cpu`";
const INSTALL_NVRTC: &str = "install CUDA's run-time compiler (`apt install libnvrtc12`, or `pip install \
                             nvidia-cuda-nvrtc` with its folder in LD_LIBRARY_PATH)";
const INSTALL_HEADERS: &str = "install CUDA's headers (`apt install nvidia-cuda-toolkit`, or `pip install \
                               nvidia-cuda-runtime nvidia-cuda-crt`) and set CUDA_PATH to the folder that holds `include`";

/// The newest CUDA version that the driver serves, major and minor.
///
/// # Errors
/// [`Gap`]: there is no driver, or it does not start.
pub fn driver() -> Result<[i32; 2], Gap> {
    // SAFETY: loads the driver's library, whose initialisers are NVIDIA's own.
    if !unsafe { sys::is_culib_present() } {
        return Err(Gap::new("no NVIDIA driver (libcuda) is installed", INSTALL_DRIVER));
    }
    result::init().map_err(no_start)?;
    let mut version: c_int = 0;
    // SAFETY: the driver is loaded, and writes one int.
    unsafe { sys::cuDriverGetVersion(&raw mut version) }.result().map_err(no_start)?;
    Ok([version / 1000, version % 1000 / 10])
}

fn no_start(error: DriverError) -> Gap {
    if error.0 == sys::CUresult::CUDA_ERROR_NO_DEVICE {
        return Gap::new("the NVIDIA driver finds no GPU", "check that the GPU is seated and given to this machine");
    }
    let problem = format!("the NVIDIA driver does not start: {}", name_of(error));
    Gap::new(problem, "see what `nvidia-smi` says; after an update of the driver, restart the machine")
}

/// CUDA's name for an error.
pub(super) fn name_of(error: DriverError) -> String {
    error.error_name().map_or_else(|_| format!("{:?}", error.0), |name| name.to_string_lossy().into_owned())
}

/// The GPUs there are; at least one.
///
/// # Errors
/// [`Gap`]: there is no driver, or no GPU.
pub fn gpus() -> Result<Vec<GpuFacts>, Gap> {
    driver()?;
    let count = result::device::get_count().map_err(no_start)?;
    if count == 0 {
        return Err(no_start(DriverError(sys::CUresult::CUDA_ERROR_NO_DEVICE)));
    }
    (0..count).map(|ordinal| facts(ordinal).map_err(no_start)).collect()
}

fn facts(ordinal: c_int) -> Result<GpuFacts, DriverError> {
    use sys::CUdevice_attribute::{
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as MAJOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as MINOR,
    };
    let device = result::device::get(ordinal)?;
    // SAFETY: the device was got from the driver a moment ago.
    let (major, minor, bytes) = unsafe {
        let attribute = |which| result::device::get_attribute(device, which);
        (attribute(MAJOR)?, attribute(MINOR)?, result::device::total_mem(device)?)
    };
    Ok(GpuFacts {
        ordinal: ordinal as usize,
        name: result::device::get_name(device)?,
        capability: [major, minor],
        memory_bytes: bytes as u64,
    })
}

/// GPU `ordinal`, as CUDA counts.
///
/// # Errors
/// [`Gap`]: there is no driver, or no such GPU.
pub fn gpu(ordinal: usize) -> Result<GpuFacts, Gap> {
    let gpus = gpus()?;
    let count = gpus.len();
    gpus.into_iter().nth(ordinal).ok_or_else(|| {
        let problem = format!("GPU {ordinal} is asked for, but there are {count}");
        Gap::new(problem, format!("choose one from `cuda:0` to `cuda:{}`", count - 1))
    })
}

/// Bytes of the memory of GPU `ordinal` that are in use, by whoever uses it.
///
/// # Errors
/// [`Gap`]: there is no driver, or it refuses.
pub fn memory_in_use(ordinal: usize) -> Result<u64, Gap> {
    driver()?;
    let told = CudaContext::new(ordinal).and_then(|context| context.mem_get_info());
    told.map(|(free, total)| total.saturating_sub(free) as u64).map_err(no_start)
}

/// What GPU `ordinal` could do at most, by the figures that its driver tells.
///
/// # Errors
/// [`Gap`]: there is no driver, or no such GPU.
pub fn peaks(ordinal: usize) -> Result<Peaks, Gap> {
    use sys::CUdevice_attribute::{
        CU_DEVICE_ATTRIBUTE_CLOCK_RATE as CLOCK_KHZ, CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH as BUS_BITS,
        CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE as L2_BYTES, CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE as MEMORY_KHZ,
        CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT as PROCESSORS,
    };
    let capability = gpu(ordinal)?.capability;
    let device = result::device::get(ordinal as c_int).map_err(no_start)?;
    // SAFETY: the device was got from the driver a moment ago.
    let tell = |which| unsafe { result::device::get_attribute(device, which) }.map(f64::from).map_err(no_start);
    let processors = tell(PROCESSORS)?;
    let cycles = processors * tell(CLOCK_KHZ)? * 1e3;
    let [flops, tensor_flops] = per_cycle(capability).map(|each| each * cycles);
    Ok(Peaks {
        processors: processors as usize,
        l2_bytes: tell(L2_BYTES)? as usize,
        flops,
        tensor_flops,
        // Memory moves data at both edges of its clock.
        bytes_per_second: 2.0 * tell(MEMORY_KHZ)? * 1e3 * tell(BUS_BITS)? / 8.0,
    })
}

/// Operations of a multiprocessor in a cycle, a multiplication and an addition as two: with 32-bit floats, and by matrix
/// units with TF32 (dense), as NVIDIA's white papers of the architectures have them.
fn per_cycle([major, minor]: [i32; 2]) -> [f64; 2] {
    match (major, minor) {
        (7, _) => [128.0, 128.0],
        (8, 0) => [128.0, 1024.0],
        (9, _) => [256.0, 2048.0],
        (10, _) => [256.0, 4096.0],
        // GPUs of no data centre.
        _ => [256.0, 256.0],
    }
}

/// The version of the run-time compiler, major and minor. Only ops that are not on disk yet need it.
///
/// # Errors
/// [`Gap`]: it cannot be loaded.
pub fn nvrtc() -> Result<[i32; 2], Gap> {
    // SAFETY: loads the compiler's library, whose initialisers are NVIDIA's own.
    if !unsafe { cudarc::nvrtc::sys::is_culib_present() } {
        return Err(Gap::new("CUDA's run-time compiler (NVRTC) is not found", INSTALL_NVRTC));
    }
    let (mut major, mut minor) = (0, 0);
    // SAFETY: the library is loaded, and writes two ints.
    match unsafe { cudarc::nvrtc::sys::nvrtcVersion(&raw mut major, &raw mut minor) }.result() {
        Ok(()) => Ok([major, minor]),
        Err(error) => Err(Gap::new(format!("CUDA's run-time compiler does not start: {:?}", error.0), INSTALL_NVRTC)),
    }
}

/// What is wrong with a compiler whose kernels the driver cannot load.
#[must_use]
pub fn too_new(compiler: [i32; 2], driver: [i32; 2]) -> Option<Gap> {
    (compiler > driver).then(|| {
        let [major, minor] = driver;
        Gap {
            problem: format!(
                "CUDA's run-time compiler is of version {}.{}, and the driver loads what {major}.{minor} makes",
                compiler[0], compiler[1]
            ),
            remedy: format!("install NVRTC {major}.{minor} or earlier, or a newer driver"),
        }
    })
}

/// The folder of CUDA's headers, which burn's kernels, though not Syrinx's own, are compiled with. They are sought
/// where `CubeCL` will seek them, which would otherwise end the program.
///
/// # Errors
/// [`Gap`]: neither `$CUDA_PATH` nor, where that is not set, the usual place has them.
pub fn headers() -> Result<PathBuf, Gap> {
    let root = std::env::var("CUDA_PATH").map(PathBuf::from).ok().or_else(|| {
        let usual = [("/usr/local/cuda", "/usr/local/cuda"), ("/opt/cuda", "/opt/cuda"), ("/usr/bin/nvcc", "/usr")];
        usual.into_iter().find(|(sign, _)| Path::new(sign).exists()).map(|(_, root)| root.into())
    });
    // NVIDIA's packages part them: products of matrices need the second, too.
    let needed = ["cuda_runtime.h", "crt/mma.h"];
    let Some(folder) = root.map(|root| root.join("include")) else {
        return Err(Gap::new("CUDA's headers are not found", INSTALL_HEADERS));
    };
    match needed.iter().find(|header| !folder.join(header).is_file()) {
        None => Ok(folder),
        Some(missing) => {
            Err(Gap::new(format!("CUDA's header {missing} is not in {}", folder.display()), INSTALL_HEADERS))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compiler_may_be_as_new_as_the_driver() {
        assert_eq!(too_new([12, 9], [13, 0]), None);
        assert_eq!(too_new([13, 0], [13, 0]), None);
        let gap = too_new([13, 1], [13, 0]).expect("too new");
        assert!(gap.problem.contains("13.1") && gap.remedy.contains("13.0"), "{gap:?}");
    }

    #[test]
    fn peaks_are_those_that_nvidia_publishes() {
        // TFLOP/s of an A100, an H100 and an RTX 3090, with their multiprocessors and the clocks of each figure.
        for (capability, processors, hz, published) in [
            ([8, 0], 108.0, [1.41e9; 2], [19.5, 156.0]),
            ([9, 0], 132.0, [1.98e9, 1.83e9], [66.9, 494.7]),
            ([8, 6], 82.0, [1.695e9; 2], [35.6, 35.6]),
        ] {
            let each = per_cycle(capability);
            let found = [0, 1].map(|i| each[i] * processors * hz[i] * 1e-12);
            for (found, published) in found.into_iter().zip(published) {
                assert!((found / published - 1.0).abs() < 0.01, "{capability:?}: {found}, published {published}");
            }
        }
    }
}

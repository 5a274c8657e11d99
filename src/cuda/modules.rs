//! Ops compiled for a GPU, and kept on disk.

use std::ffi::CString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use cudarc::nvrtc::{result, sys};
use etcetera::BaseStrategy;
use sha2::{Digest, Sha256};

use super::launch::Op;
use super::probe::{driver, nvrtc, too_new};
use crate::error::{Error, Result};

/// What every op is compiled with besides its architecture.
const OPTIONS: [&str; 2] = ["--std=c++17", "--dopt=on"];
/// What a file of a module begins with: its own hash tells whether it is whole.
const HASH_BYTES: usize = 32;

/// Compiles ops, each once for an architecture, into a folder that outlives the process.
#[derive(Clone, Debug)]
pub struct ModuleCache {
    folder: Option<PathBuf>,
}

/// An op compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// A cubin, or PTX that ends with 0: what the driver loads.
    pub image: Vec<u8>,
    /// Whether it lay on disk already.
    pub cached: bool,
}

impl ModuleCache {
    /// In `syrinx/kernels` of the user's cache folder; without one, nothing is kept.
    #[must_use]
    pub fn of_user() -> Self {
        let folder = etcetera::choose_base_strategy().ok();
        Self { folder: folder.map(|strategy| strategy.cache_dir().join("syrinx").join("kernels")) }
    }

    /// In `folder`, which need not exist.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self { folder: Some(folder.into()) }
    }

    /// The op for GPUs of compute capability `capability`, from disk or compiled now.
    ///
    /// A file that is damaged is made anew; one that cannot be written is done without.
    ///
    /// # Errors
    /// The op is not on disk and there is no compiler, or the compiler refuses it or the architecture.
    pub fn module(&self, op: &Op, capability: [i32; 2]) -> Result<Module> {
        let source = op.source();
        let path = self.folder.as_deref().map(|folder| folder.join(file_name(op.name, &source, capability)));
        if let Some(image) = path.as_deref().and_then(read_whole) {
            return Ok(Module { image, cached: true });
        }
        let image = compile(op.name, &source, capability)?;
        if let Some(path) = path
            && let Err(error) = write_whole(&path, &image)
        {
            tracing::warn!("{error}; kernels are compiled anew each time");
        }
        Ok(Module { image, cached: false })
    }
}

fn file_name(op: &str, source: &str, [major, minor]: [i32; 2]) -> String {
    let mut hash = Sha256::new();
    hash.update(source);
    OPTIONS.iter().for_each(|option| hash.update(option));
    let hash = hash.finalize().iter().take(8).fold(0_u64, |hash, &byte| hash << 8 | u64::from(byte));
    format!("{op}-sm_{major}{minor}-{hash:016x}.module")
}

/// The image in a file that is there and whole.
fn read_whole(path: &Path) -> Option<Vec<u8>> {
    let bytes = fs::read(path).ok()?;
    let (hash, image) = bytes.split_at_checked(HASH_BYTES)?;
    (!image.is_empty() && hash == Sha256::digest(image).as_slice()).then(|| image.to_vec())
}

/// Writes under another name first: no reader, nor a crash, ever leaves half a file.
fn write_whole(path: &Path, image: &[u8]) -> Result<()> {
    let refused = |error| Error::io(path, error);
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(refused)?;
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(refused)?;
    file.write_all(Sha256::digest(image).as_slice()).and_then(|()| file.write_all(image)).map_err(refused)?;
    file.persist(path).map_err(|error| refused(error.error))?;
    Ok(())
}

/// A program of the compiler, destroyed with this.
struct Program(sys::nvrtcProgram);

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: made by `create_program` and destroyed once.
        let _ = unsafe { result::destroy_program(self.0) };
    }
}

/// Machine code where the compiler knows the architecture, else PTX of the newest one before it, for the driver.
fn compile(op: &str, source: &str, [major, minor]: [i32; 2]) -> Result<Vec<u8>> {
    let version = nvrtc().map_err(super::Gap::into_error)?;
    let wanted = 10 * major + minor;
    let known = architectures();
    let architecture = known.iter().copied().filter(|&known| known <= wanted).max().ok_or_else(|| {
        let known = known.first().map_or_else(|| "none".into(), |first| format!("sm_{first} and later"));
        let problem = format!("NVRTC {}.{} compiles for {known}, this GPU is sm_{wanted}", version[0], version[1]);
        Error::device("CUDA", problem, "install an earlier version of CUDA's run-time compiler")
    })?;
    let exact = architecture == wanted;
    // Machine code of a newer compiler serves the drivers of its major version.
    if let Ok(driver) = driver()
        && (!exact || version[0] > driver[0])
        && let Some(gap) = too_new(version, driver)
    {
        return Err(gap.into_error());
    }
    let kind = if exact { "sm" } else { "compute" };
    let mut options: Vec<String> = OPTIONS.map(str::to_owned).to_vec();
    options.push(format!("--gpu-architecture={kind}_{architecture}"));

    let failed = |problem: String| Error::device(format!("kernel source {op}.cu"), problem, "report this as a bug");
    let text = CString::new(source).map_err(|_| failed("it holds a 0 byte".into()))?;
    let program = Program(result::create_program(&text, None).map_err(|error| failed(format!("{:?}", error.0)))?);
    // SAFETY: the program was made above and lives; `text` outlives it.
    unsafe {
        result::compile_program(program.0, &options).map_err(|error| {
            let log = result::get_program_log(program.0).unwrap_or_default();
            let log: Vec<u8> = log.into_iter().map(|byte| byte as u8).take_while(|&byte| byte != 0).collect();
            failed(format!("NVRTC refuses it, {:?}: {}", error.0, String::from_utf8_lossy(&log)))
        })?;
        let unreadable = |error: result::NvrtcError| failed(format!("NVRTC gives no image, {:?}", error.0));
        if !exact {
            let ptx = result::get_ptx(program.0).map_err(unreadable)?;
            return Ok(ptx.into_iter().map(|byte| byte as u8).collect());
        }
        let mut size = 0;
        sys::nvrtcGetCUBINSize(program.0, &raw mut size).result().map_err(unreadable)?;
        let mut image = vec![0_u8; size];
        sys::nvrtcGetCUBIN(program.0, image.as_mut_ptr().cast()).result().map_err(unreadable)?;
        Ok(image)
    }
}

/// The architectures that the compiler knows, in ascending order: 75, 80, ..; the compiler is loaded.
fn architectures() -> Vec<i32> {
    let mut count = 0;
    // SAFETY: the library is loaded; it writes the count, then so many ints.
    unsafe {
        if sys::nvrtcGetNumSupportedArchs(&raw mut count).result().is_err() {
            return Vec::new();
        }
        let mut known = vec![0; usize::try_from(count).unwrap_or(0)];
        match sys::nvrtcGetSupportedArchs(known.as_mut_ptr()).result() {
            Ok(()) => known,
            Err(_) => Vec::new(),
        }
    }
}

//! A CPU that stands in for a CUDA device: kernels compiled as C++ against `host.hpp`, one thread of a block per fibre. Or,
//! where `SYRINX_GPU` names one, the device itself: the same tests then hold its kernels against their twins.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::collections::{BTreeSet, HashMap};
use std::ffi::{CStr, c_char, c_void};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use libloading::Library;
use sha2::{Digest, Sha256};
use syrinx::cuda::ops::KERNELS;
use syrinx::cuda::trace::{TraceDevice, Traceable};
use syrinx::cuda::{Device, Graphs, Launch, Machine, ModuleCache, Op};
use syrinx::{Error, Result};

/// The environment variable that asks for kernels with sanitizers.
pub const SANITIZED: &str = "SYRINX_KERNELS_SANITIZED";

/// The environment variable with the number of a GPU to run the crate's kernels on.
pub const GPU: &str = "SYRINX_GPU";

/// The order in which the threads of a block take turns; a kernel's result may not depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Order {
    /// The first thread first; the first block first.
    Forwards = 0,
    /// The last thread first; the last block first.
    Backwards = 1,
    /// Shuffled anew after each barrier.
    Shuffled = 2,
}

/// All orders.
pub const ORDERS: [Order; 3] = [Order::Forwards, Order::Backwards, Order::Shuffled];

/// The stand-in.
pub struct Host {
    library: Built,
    order: Order,
    /// Launches to be kept, while they are.
    keeping: Mutex<Option<Vec<Launch>>>,
    /// How often kept launches were repeated.
    repeats: AtomicUsize,
    /// Whether it keeps no launches.
    forgetful: AtomicBool,
    launched: Mutex<BTreeSet<&'static str>>,
    turn: Mutex<()>,
}

enum Built {
    /// The crate's kernels.
    Shared(&'static Library),
    /// Others, to prove the tests.
    Own(Library),
    /// The crate's kernels on a GPU, which orders threads as it likes.
    Gpu(&'static Device),
}

impl Host {
    /// The crate's kernels, their threads in `order`.
    pub fn new(order: Order) -> Self {
        static LIBRARY: OnceLock<Library> = OnceLock::new();
        static DEVICE: OnceLock<Device> = OnceLock::new();
        if std::env::var_os(GPU).is_some() {
            return Self::with(Built::Gpu(DEVICE.get_or_init(open_gpu)), order);
        }
        let library = LIBRARY.get_or_init(|| {
            let ops: Vec<(&str, String)> = ops().into_iter().map(|op| (op.name, op.text.to_owned())).collect();
            build(&ops)
        });
        Self::with(Built::Shared(library), order)
    }

    /// The kernels of one op whose source is `text`.
    pub fn of(name: &str, text: String, order: Order) -> Self {
        Self::with(Built::Own(build(&[(name, text)])), order)
    }

    fn with(library: Built, order: Order) -> Self {
        Self {
            library,
            order,
            launched: Mutex::default(),
            keeping: Mutex::new(None),
            repeats: AtomicUsize::new(0),
            forgetful: AtomicBool::new(false),
            turn: Mutex::default(),
        }
    }

    /// The kernels that were launched, by name.
    pub fn launched(&self) -> Vec<&'static str> {
        self.launched.lock().expect("no launch failed").iter().copied().collect()
    }

    /// Has it keep no launches from now on, as a driver may refuse to.
    pub fn keep_none(&self) {
        self.forgetful.store(true, Ordering::Relaxed);
    }

    /// How often kept launches were repeated.
    pub fn repeats(&self) -> usize {
        self.repeats.load(Ordering::Relaxed)
    }
}

/// The GPU that the environment names.
fn open_gpu() -> Device {
    let number = std::env::var(GPU).ok().and_then(|number| number.parse().ok()).expect("the number of a GPU");
    Device::open(number, ModuleCache::at(std::env::temp_dir())).expect("a GPU")
}

/// The files of `kernels/`, each once.
pub fn ops() -> Vec<&'static Op> {
    let mut ops: Vec<&Op> = KERNELS.iter().map(|kernel| kernel.op).collect();
    ops.dedup_by_key(|op| op.name);
    ops
}

/// The names of the kernels in `text` and the threads they are compiled for, both as they stand there.
pub fn declared(text: &str) -> Vec<(String, String)> {
    let declaration = |line: &str| {
        let (name, threads) = line.strip_prefix("KERNEL(")?.strip_suffix(')')?.split_once(", ")?;
        Some((name.to_owned(), threads.to_owned()))
    };
    text.lines().filter_map(declaration).collect()
}

fn build(ops: &[(&str, String)]) -> Library {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sanitized = std::env::var_os(SANITIZED).is_some();
    let mut flags = vec!["-std=c++17", "-fPIC", "-ffp-contract=off", "-fvisibility=hidden", "-DSYRINX_HOST", "-Wall"];
    flags.extend(["-Wextra", "-Werror", "-Wno-unknown-pragmas"]);
    if sanitized {
        flags.extend(["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]);
        flags.push("-fsanitize-sections=kernel_shared");
    } else {
        flags.push("-O2");
    }
    let headers = ["syrinx", "spectrum", "epilogue", "tiles", "convolve"].map(|name| format!("kernels/{name}.cuh"));
    let headers = headers.into_iter().chain(["tests/kernels/host.hpp".to_owned()]);
    let headers: Vec<_> = headers.map(|path| std::fs::read_to_string(root.join(path)).expect("a header")).collect();
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("kernels");
    std::fs::create_dir_all(&folder).expect("a folder for objects");
    let object = |(name, text): &(&str, String)| {
        let exports: Vec<String> = declared(text).iter().map(|(kernel, _)| format!("EXPORT({kernel})")).collect();
        let unit = format!("{text}\n{}\n", exports.join("\n"));
        let mut hash = Sha256::new();
        [&unit, &flags.join(" ")].into_iter().chain(&headers).for_each(|part| hash.update(part));
        let hash = hash.finalize().iter().take(8).fold(0_u64, |hash, &byte| hash << 8 | u64::from(byte));
        let path = folder.join(format!("{name}-{hash:016x}.o"));
        if !path.exists() {
            compile(&unit, &flags, root, &path);
        }
        path
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let objects: Vec<PathBuf> = std::thread::scope(|scope| {
        let share = |worker| ops.iter().skip(worker).step_by(workers).map(object).collect::<Vec<_>>();
        let started: Vec<_> = (0..workers).map(|worker| scope.spawn(move || share(worker))).collect();
        started.into_iter().flat_map(|worker| worker.join().expect("compiled")).collect()
    });
    let library = tempfile::Builder::new().suffix(".so").tempfile_in(&folder).expect("a place for the library");
    let mut link = Command::new("g++");
    link.arg("-shared").args(sanitized.then_some("-fsanitize=address,undefined"));
    let status = link.arg("-o").arg(library.path()).args(objects).status().expect("g++");
    assert!(status.success(), "the kernels' library does not link");
    // SAFETY: the library was built a moment ago from sources whose initialisers do nothing.
    unsafe { Library::new(library.path()) }.expect("the kernels' library")
}

fn compile(unit: &str, flags: &[&str], root: &Path, object: &Path) {
    // Under another name first: other tests may build the same.
    let partial = tempfile::NamedTempFile::new_in(object.parent().expect("a folder")).expect("a place for an object");
    let mut child = Command::new("g++")
        .args(flags)
        .arg("-I")
        .arg(root.join("tests/kernels"))
        .arg("-I")
        .arg(root.join("kernels"))
        .args(["-x", "c++", "-c", "-", "-o"])
        .arg(partial.path())
        .stdin(Stdio::piped())
        .spawn()
        .expect("g++ is needed: install it");
    child.stdin.take().expect("a pipe").write_all(unit.as_bytes()).expect("g++ reads");
    assert!(child.wait().expect("g++ ends").success(), "{}: g++ refuses the kernel", object.display());
    partial.persist(object).expect("an object");
}

/// Memory of the stand-in, or of the GPU.
pub enum Memory {
    Host(HostMemory),
    Gpu(<Device as Machine>::Memory),
}

impl Memory {
    fn host(&self) -> &HostMemory {
        match self {
            Self::Host(memory) => memory,
            Self::Gpu(_) => panic!("memory of another machine"),
        }
    }
}

/// Memory of exactly the size asked for, so that a sanitizer sees what lies beyond.
pub struct HostMemory {
    at: NonNull<u8>,
    layout: Layout,
}

// SAFETY: plain memory, which launches, one at a time, and copies touch.
unsafe impl Send for HostMemory {}
// SAFETY: as above.
unsafe impl Sync for HostMemory {}

impl Drop for HostMemory {
    fn drop(&mut self) {
        if self.layout.size() > 0 {
            // SAFETY: allocated in `allocate` with this layout, and freed once.
            unsafe { dealloc(self.at.as_ptr(), self.layout) }
        }
    }
}

/// As `host.hpp` declares it.
#[repr(C)]
struct RawLaunch {
    grid: [u32; 3],
    threads: u32,
    shared_bytes: u32,
    order: u32,
}

type Run = unsafe extern "C" fn(*const RawLaunch, *mut *mut c_void, u32) -> *const c_char;

impl Machine for Host {
    type Memory = Memory;

    fn allocate(&self, bytes: usize) -> Result<Memory> {
        if let Built::Gpu(device) = self.library {
            return device.allocate(bytes).map(Memory::Gpu);
        }
        let layout = Layout::from_size_align(bytes, 64).expect("a size that fits");
        if bytes == 0 {
            return Ok(Memory::Host(HostMemory { at: NonNull::dangling(), layout }));
        }
        // SAFETY: the size is not 0.
        let at = NonNull::new(unsafe { alloc_zeroed(layout) });
        let at = at.ok_or_else(|| Error::argument("buffer", "memory for it", "none"))?;
        Ok(Memory::Host(HostMemory { at, layout }))
    }

    fn address(memory: &Memory) -> u64 {
        match memory {
            Memory::Host(memory) => memory.at.as_ptr() as u64,
            Memory::Gpu(memory) => Device::address(memory),
        }
    }

    fn write(&self, memory: &Memory, first: usize, bytes: &[u8]) -> Result<()> {
        if let (Built::Gpu(device), Memory::Gpu(memory)) = (&self.library, memory) {
            return device.write(memory, first, bytes);
        }
        let memory = memory.host();
        assert!(first + bytes.len() <= memory.layout.size());
        // SAFETY: the memory is as long, and nothing else touches it: launches end before they return.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), memory.at.as_ptr().add(first), bytes.len()) };
        Ok(())
    }

    fn read(&self, memory: &Memory, first: usize, bytes: &mut [u8]) -> Result<()> {
        if let (Built::Gpu(device), Memory::Gpu(memory)) = (&self.library, memory) {
            return device.read(memory, first, bytes);
        }
        let memory = memory.host();
        assert!(first + bytes.len() <= memory.layout.size());
        // SAFETY: the memory is as long, was zeroed, and no kernel runs: launches end before they return.
        unsafe { std::ptr::copy_nonoverlapping(memory.at.as_ptr().add(first), bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        /// The stand-in's state is global.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        self.launched.lock().expect("no launch failed").insert(launch.name());
        let library = match &self.library {
            Built::Shared(library) => *library,
            Built::Own(library) => library,
            Built::Gpu(device) => return device.launch(launch),
        };
        if let Some(kept) = &mut *self.keeping.lock().unwrap_or_else(PoisonError::into_inner) {
            kept.push(launch.clone());
            return Ok(());
        }
        let symbol = format!("run_{}", launch.name());
        // SAFETY: `EXPORT` of host.hpp gives every kernel a function of this type.
        let run = unsafe { library.get::<Run>(symbol.as_bytes()) }.expect("an exported kernel");
        let raw = RawLaunch {
            grid: launch.grid(),
            threads: launch.threads(),
            shared_bytes: launch.shared_size(),
            order: self.order as u32,
        };
        let mut words = launch.arguments().to_vec();
        let mut arguments: Vec<*mut c_void> = words.iter_mut().map(|word| std::ptr::from_mut(word).cast()).collect();
        let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the wrappers pass what the kernel declares, which is what these tests, under sanitizers, are for.
        let failure = unsafe { run(std::ptr::from_ref(&raw), arguments.as_mut_ptr(), arguments.len() as u32) };
        if failure.is_null() {
            return Ok(());
        }
        // SAFETY: a string literal of host.hpp.
        let problem = unsafe { CStr::from_ptr(failure) }.to_string_lossy().into_owned();
        Err(Error::device(format!("kernel `{}`", launch.name()), problem, "mend the kernel"))
    }
}

/// Kept launches.
pub enum Kept {
    Host(Vec<Launch>),
    Gpu(<Device as Graphs>::Graph),
}

impl Graphs for Host {
    type Graph = Kept;

    /// Of the tasks that wait for nothing any more the last one goes first: as far from the order in which they stand as what
    /// they wait for allows.
    fn keep(&self, after: &[Vec<usize>], work: &mut dyn FnMut(usize) -> Result<()>) -> Result<Kept> {
        if self.forgetful.load(Ordering::Relaxed) {
            return Err(Error::device("stand-in", "it keeps no launches", "none"));
        }
        if let Built::Gpu(device) = self.library {
            return device.keep(after, work).map(Kept::Gpu);
        }
        let keeping = || self.keeping.lock().unwrap_or_else(PoisonError::into_inner);
        *keeping() = Some(Vec::new());
        let mut done = vec![false; after.len()];
        let worked = (0..after.len()).try_for_each(|_| {
            let free = |&task: &usize| !done[task] && after[task].iter().all(|&other| done[other]);
            let task = (0..after.len()).rev().find(free).expect("a task that waits for nothing");
            done[task] = true;
            work(task)
        });
        let kept = keeping().take().unwrap_or_default();
        worked.map(|()| Kept::Host(kept))
    }

    fn repeat(&self, graph: &Kept) -> Result<()> {
        self.repeats.fetch_add(1, Ordering::Relaxed);
        match (graph, &self.library) {
            (Kept::Host(launches), _) => launches.iter().try_for_each(|launch| self.launch(launch)),
            (Kept::Gpu(graph), Built::Gpu(device)) => device.repeat(graph),
            (Kept::Gpu(_), _) => panic!("launches of another machine"),
        }
    }
}

/// Any name names a stand-in of its own; they differ in the order of threads. Those of a GPU have a stream each, since
/// launches are kept of all that comes to a stream meanwhile.
impl Traceable for Host {
    fn opened(device: TraceDevice) -> Option<Arc<Self>> {
        static HOSTS: OnceLock<Mutex<HashMap<[usize; 2], Arc<Host>>>> = OnceLock::new();
        let mut hosts = HOSTS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
        let order = ORDERS[device.number % ORDERS.len()];
        let host = || match std::env::var_os(GPU) {
            Some(_) => Self::with(Built::Gpu(Box::leak(Box::new(open_gpu()))), order),
            None => Self::new(order),
        };
        Some(Arc::clone(hosts.entry([device.number, device.stream]).or_insert_with(|| Arc::new(host()))))
    }

    fn turn(&self) -> &Mutex<()> {
        &self.turn
    }
}

//! A CUDA device as a [`Machine`]: one stream of its own, on which everything happens in order. Launches that are kept as a graph
//! may run side by side there; the stream waits for all of them.

use std::collections::HashMap;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use cudarc::driver::result::{memcpy_dtoh_async, memcpy_htod_async};
use cudarc::driver::sys::CUevent_flags::CU_EVENT_DEFAULT;
use cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};
use cudarc::driver::{
    CudaContext, CudaFunction, CudaGraph, CudaSlice, CudaStream, DevicePtr, DriverError, LaunchConfig, PushKernelArg,
    result,
};
use cudarc::nvrtc::Ptx;

use super::lanes::{Turn, lanes};
use super::launch::{Graphs, Kernel, Launch, Machine};
use super::modules::ModuleCache;
use super::ops::KERNELS;
use super::probe::{Gap, GpuFacts, gpu, name_of};
use crate::error::{Error, Result};

/// Streams that kept launches run on at the same time: more gained nothing on an H100.
const MOST_LANES: usize = 4;

/// One GPU, opened.
pub struct Device {
    facts: GpuFacts,
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    cache: ModuleCache,
    functions: Mutex<HashMap<&'static str, CudaFunction>>,
    turn: Mutex<()>,
    /// Streams on which kept launches run beside those of `stream`.
    beside: Mutex<Vec<Arc<CudaStream>>>,
    /// The one of them that launches are kept of now.
    lane: Mutex<Option<Arc<CudaStream>>>,
}

/// A stretch of a device's memory, freed in the stream's order.
pub struct DeviceMemory {
    slice: CudaSlice<u8>,
    address: u64,
}

impl DeviceMemory {
    /// Where `len` bytes from byte `first` on are; nowhere, if there are none.
    ///
    /// # Panics
    /// They do not lie within the memory.
    fn stretch(&self, first: usize, len: usize) -> Option<u64> {
        let within = first.checked_add(len).is_some_and(|end| end <= self.slice.len());
        assert!(len == 0 || within, "{len} bytes from {first} on, of {}", self.slice.len());
        (len > 0).then_some(self.address + first as u64)
    }
}

impl Device {
    /// Opens GPU `ordinal`, as CUDA counts.
    ///
    /// # Errors
    /// [`Error::Device`]: there is no driver, no such GPU, or the driver refuses.
    pub fn open(ordinal: usize, cache: ModuleCache) -> Result<Self> {
        let facts = gpu(ordinal).map_err(Gap::into_error)?;
        let context = CudaContext::new(ordinal).map_err(refused("open the GPU"))?;
        // SAFETY: all memory of this context lives and is used on the one stream made here. Graphs, of which branches run side by
        // side, are given to that stream as a whole.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().map_err(refused("make a stream"))?;
        Ok(Self {
            facts,
            context,
            stream,
            cache,
            functions: Mutex::default(),
            turn: Mutex::default(),
            beside: Mutex::default(),
            lane: Mutex::default(),
        })
    }

    /// What networks that share the stream hold by turns: what one of them keeps for later is all that comes to it meanwhile.
    pub(super) fn turn_of_networks(&self) -> &Mutex<()> {
        &self.turn
    }

    /// What the GPU is.
    #[must_use]
    pub fn facts(&self) -> &GpuFacts {
        &self.facts
    }

    /// Free and total memory in bytes.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn memory_bytes(&self) -> Result<[usize; 2]> {
        let (free, total) = self.context.mem_get_info().map_err(refused("tell its memory"))?;
        Ok([free, total])
    }

    /// Compiles and loads all kernels, so that no later launch waits for that.
    ///
    /// # Errors
    /// A kernel cannot be compiled or loaded.
    pub fn prewarm(&self) -> Result<()> {
        KERNELS.iter().try_for_each(|kernel| self.function(kernel).map(drop))
    }

    /// The time in seconds that the GPU takes for what `give` gives it: some hundred launches at most, and nothing that waits
    /// for them. The GPU begins when it has been given everything, so that the time to launch does not count.
    ///
    /// # Errors
    /// What `give` reports, or the driver refuses.
    pub fn seconds_of(&self, give: impl FnOnce() -> Result<()>) -> Result<f64> {
        let gate = Arc::new(Gate::default());
        self.context.bind_to_thread().map_err(refused("answer this thread"))?;
        // SAFETY: the stream is ours and lives; `wait_at` takes over the count that is given away here, once.
        unsafe {
            let argument = Arc::into_raw(gate.clone()).cast_mut().cast();
            result::stream::launch_host_function(self.stream.cu_stream(), wait_at, argument)
        }
        .map_err(refused("hold its stream"))?;
        let event = || self.stream.record_event(Some(CU_EVENT_DEFAULT)).map_err(refused("tell the time"));
        let given = event().and_then(|began| give().and_then(|()| Ok([began, event()?])));
        gate.open();
        self.stream.synchronize().map_err(refused("do what it was given"))?;
        let [began, ended] = given?;
        Ok(f64::from(began.elapsed_ms(&ended).map_err(refused("tell the time"))?) * 1e-3)
    }

    fn function(&self, kernel: &'static Kernel) -> Result<CudaFunction> {
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(function) = functions.get(kernel.name) {
            return Ok(function.clone());
        }
        let image = self.cache.module(kernel.op, self.facts.capability)?.image;
        let module = self.context.load_module(Ptx::from_binary(image));
        let module = module.map_err(refused(&format!("load {}.cu", kernel.op.name)))?;
        for kernel in KERNELS.iter().filter(|other| other.op.name == kernel.op.name) {
            let function = module.load_function(kernel.name);
            functions.insert(kernel.name, function.map_err(refused(&format!("find kernel `{}`", kernel.name)))?);
        }
        Ok(functions[kernel.name].clone())
    }

    /// Has `work` launch each task on a stream of its lane, which the first one waits for at last.
    fn launch_on_lanes(
        &self,
        turns: &[Turn],
        streams: &[Arc<CudaStream>],
        work: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<()> {
        let told = refused("keep launches on several streams");
        if streams.len() > 1 {
            let began = self.stream.record_event(None).map_err(&told)?;
            streams[1..].iter().try_for_each(|stream| stream.wait(&began)).map_err(&told)?;
        }
        let mut done = HashMap::new();
        for (task, turn) in turns.iter().enumerate() {
            let stream = &streams[turn.lane];
            turn.waits_for.iter().try_for_each(|other| stream.wait(&done[other])).map_err(&told)?;
            *self.lane.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream.clone());
            work(task)?;
            if turn.is_awaited {
                done.insert(task, stream.record_event(None).map_err(&told)?);
            }
        }
        streams[1..].iter().try_for_each(|stream| self.stream.join(stream)).map_err(&told)
    }

    /// The stream and others beside it, `count` in all.
    fn streams(&self, count: usize) -> Result<Vec<Arc<CudaStream>>> {
        let mut beside = self.beside.lock().unwrap_or_else(PoisonError::into_inner);
        while beside.len() + 1 < count {
            beside.push(self.context.new_stream().map_err(refused("make a stream"))?);
        }
        Ok([&self.stream].into_iter().chain(&*beside).take(count).cloned().collect())
    }
}

/// What a stream waits at.
#[derive(Default)]
struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    /// Longest wait, should nobody open.
    const MOST: Duration = Duration::from_secs(5);

    fn open(&self) {
        *self.is_open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.opened.notify_all();
    }

    fn wait(&self) {
        let is_open = self.is_open.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.opened.wait_timeout_while(is_open, Self::MOST, |is_open| !*is_open));
    }
}

/// Has a stream wait at the [`Gate`] that `gate` holds one count of.
unsafe extern "C" fn wait_at(gate: *mut c_void) {
    // SAFETY: `Device::seconds_of` gave this count away, and the driver calls once.
    unsafe { Arc::from_raw(gate.cast::<Gate>()) }.wait();
}

/// An error of the driver, and what it was asked for.
fn refused(task: &str) -> impl Fn(DriverError) -> Error {
    move |error| {
        let problem = format!("the driver does not {task}: {}", name_of(error));
        Error::device("CUDA", problem, "see what `nvidia-smi` says; free memory, or use `--device cpu`")
    }
}

impl Machine for Device {
    type Memory = DeviceMemory;

    fn allocate(&self, bytes: usize) -> Result<DeviceMemory> {
        // The driver has no empty stretches.
        let slice = self.stream.alloc_zeros::<u8>(bytes.max(1)).map_err(refused("give memory"))?;
        let address = slice.device_ptr(&self.stream).0;
        Ok(DeviceMemory { slice, address })
    }

    fn address(memory: &DeviceMemory) -> u64 {
        memory.address
    }

    fn write(&self, memory: &DeviceMemory, first: usize, bytes: &[u8]) -> Result<()> {
        let Some(address) = memory.stretch(first, bytes.len()) else { return Ok(()) };
        self.context.bind_to_thread().map_err(refused("answer this thread"))?;
        // SAFETY: the stretch lies within the memory, which lives on this stream, in whose order the copy takes place; the
        // bytes are ours until the stream has come so far.
        let copied = unsafe { memcpy_htod_async(address, bytes, self.stream.cu_stream()) };
        copied.and_then(|()| self.stream.synchronize()).map_err(refused("copy to the GPU"))
    }

    fn read(&self, memory: &DeviceMemory, first: usize, bytes: &mut [u8]) -> Result<()> {
        let Some(address) = memory.stretch(first, bytes.len()) else { return Ok(()) };
        self.context.bind_to_thread().map_err(refused("answer this thread"))?;
        // SAFETY: as above; the bytes are ours until the stream has come so far.
        let copied = unsafe { memcpy_dtoh_async(bytes, address, self.stream.cu_stream()) };
        copied.and_then(|()| self.stream.synchronize()).map_err(refused("copy from the GPU"))
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let function = self.function(launch.kernel)?;
        let [x, y, z] = launch.grid();
        let config = LaunchConfig {
            grid_dim: (x, y, z),
            block_dim: (launch.threads(), 1, 1),
            shared_mem_bytes: launch.shared_size(),
        };
        let lane = self.lane.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut builder = lane.as_ref().unwrap_or(&self.stream).launch_builder(&function);
        for word in launch.arguments() {
            builder.arg(word);
        }
        // SAFETY: only the wrappers of `ops` make launches; they pass what the kernel declares and check that buffers are
        // as long as it reads and writes. Buffers of this machine live on this stream, in whose order they are freed.
        unsafe { builder.launch(config) }.map(drop).map_err(refused(&format!("start kernel `{}`", launch.name())))
    }
}

/// Launches that a device keeps.
pub struct DeviceGraph(Mutex<KeptGraph>);

struct KeptGraph(CudaGraph);

// SAFETY: the driver allows use from any thread, one at a time, which the lock sees to.
unsafe impl Send for KeptGraph {}

impl Graphs for Device {
    type Graph = DeviceGraph;

    fn keep(&self, after: &[Vec<usize>], work: &mut dyn FnMut(usize) -> Result<()>) -> Result<DeviceGraph> {
        // Of this thread alone: others may go on allocating, on other streams.
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        let turns = lanes(after, MOST_LANES);
        let streams = self.streams(turns.iter().map(|turn| turn.lane + 1).max().unwrap_or(1))?;
        self.stream.begin_capture(mode).map_err(refused("begin to keep launches"))?;
        let worked = catch_unwind(AssertUnwindSafe(|| self.launch_on_lanes(&turns, &streams, work)));
        *self.lane.lock().unwrap_or_else(PoisonError::into_inner) = None;
        // In any case: the stream is of no use before.
        let kept = self.stream.end_capture(CUgraphInstantiate_flags(0));
        if !matches!(worked, Ok(Ok(()))) {
            // Those beside may not have come back to it.
            self.beside.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        worked.unwrap_or_else(|panic| resume_unwind(panic))?;
        let kept = kept.map_err(refused("keep launches"))?;
        let graph = kept.ok_or_else(|| Error::device("CUDA", "the driver kept no launches", "update the driver"))?;
        graph.upload().map_err(refused("prepare kept launches"))?;
        Ok(DeviceGraph(Mutex::new(KeptGraph(graph))))
    }

    fn repeat(&self, graph: &DeviceGraph) -> Result<()> {
        let graph = graph.0.lock().unwrap_or_else(PoisonError::into_inner);
        graph.0.launch().map_err(refused("repeat kept launches"))
    }
}

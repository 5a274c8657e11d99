//! GPUs opened for networks, each once.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use super::Traced;
use super::channel::{TraceDevice, Traceable};
use crate::cuda::device::Device;
use crate::cuda::modules::ModuleCache;
use crate::error::Result;

/// The backend of networks on GPUs by our own kernels. Its devices are to be had from [`open`].
pub type Graphs = Traced<Device>;

/// Opens GPU `ordinal`, as CUDA counts, for networks, and compiles the kernels, unless that was done before.
///
/// # Errors
/// There is no driver, no such GPU, no run-time compiler that serves it, or one of them refuses.
pub fn open(ordinal: usize) -> Result<TraceDevice> {
    // Others go on with GPUs that are open.
    static OPENING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = OPENING.lock().unwrap_or_else(PoisonError::into_inner);
    let is_open = opened().contains_key(&[ordinal, 0]);
    if !is_open {
        let device = stream_of(ordinal)?;
        opened().insert([ordinal, 0], Arc::new(device));
    }
    Ok(TraceDevice::new(ordinal))
}

/// A new stream, with all kernels loaded.
fn stream_of(ordinal: usize) -> Result<Device> {
    let device = Device::open(ordinal, ModuleCache::of_user())?;
    device.prewarm()?;
    Ok(device)
}

/// The streams of GPUs that are open, by both numbers: for as long as the program runs, since burn keeps their clients as long.
fn opened() -> MutexGuard<'static, HashMap<[usize; 2], Arc<Device>>> {
    static DEVICES: LazyLock<Mutex<HashMap<[usize; 2], Arc<Device>>>> = LazyLock::new(Mutex::default);
    DEVICES.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Traceable for Device {
    /// Other streams than the first are opened when networks are first loaded for them.
    fn opened(device: TraceDevice) -> Option<Arc<Self>> {
        let name = [device.number, device.stream];
        let (first, found) = {
            let opened = opened();
            (opened.get(&[device.number, 0])?.clone(), opened.get(&name).cloned())
        };
        if found.is_some() {
            return found;
        }
        match stream_of(device.number) {
            Ok(other) => Some(opened().entry(name).or_insert(Arc::new(other)).clone()),
            Err(failure) => {
                tracing::warn!("{failure}; networks take turns on one stream");
                Some(first)
            }
        }
    }

    fn turn(&self) -> &Mutex<()> {
        self.turn_of_networks()
    }
}

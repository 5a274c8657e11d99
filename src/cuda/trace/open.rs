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
    let first = TraceDevice::new(ordinal);
    let is_open = opened().contains_key(&first);
    if !is_open {
        let device = opening(ordinal)?;
        opened().insert(first, Arc::new(device));
    }
    Ok(first)
}

fn opening(ordinal: usize) -> Result<Device> {
    let device = Device::open(ordinal, ModuleCache::of_user())?;
    device.prewarm()?;
    Ok(device)
}

/// Which GPUs are open, once for each name: for as long as the program runs, since burn keeps their clients as long.
fn opened() -> MutexGuard<'static, HashMap<TraceDevice, Arc<Device>>> {
    static DEVICES: LazyLock<Mutex<HashMap<TraceDevice, Arc<Device>>>> = LazyLock::new(Mutex::default);
    DEVICES.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Traceable for Device {
    /// Other streams are opened when networks are first loaded for them.
    fn opened(device: TraceDevice) -> Option<Arc<Self>> {
        let mut opened = opened();
        let first = opened.get(&TraceDevice::new(device.number))?.clone();
        if device.stream == 0 && !device.reduced {
            return Some(first);
        }
        if let Some(other) = opened.get(&device) {
            return Some(other.clone());
        }
        match opening(device.number) {
            Ok(other) => Some(opened.entry(device).or_insert(Arc::new(other)).clone()),
            Err(failure) => {
                tracing::warn!("{failure}; networks take turns on one stream");
                Some(first)
            }
        }
    }
}

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
    let is_open = opened().contains_key(&ordinal);
    if !is_open {
        let device = Device::open(ordinal, ModuleCache::of_user())?;
        device.prewarm()?;
        opened().insert(ordinal, Arc::new(device));
    }
    Ok(TraceDevice { number: ordinal })
}

/// Which GPUs are open: for as long as the program runs, since burn keeps their clients as long.
fn opened() -> MutexGuard<'static, HashMap<usize, Arc<Device>>> {
    static DEVICES: LazyLock<Mutex<HashMap<usize, Arc<Device>>>> = LazyLock::new(Mutex::default);
    DEVICES.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Traceable for Device {
    fn opened(number: usize) -> Option<Arc<Self>> {
        opened().get(&number).cloned()
    }
}

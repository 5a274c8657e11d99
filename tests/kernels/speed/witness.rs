//! A machine that notes what another is given to launch.

use std::any::Any;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use syrinx::cuda::trace::{TraceDevice, Traceable};
use syrinx::cuda::{Graphs, Launch, Machine};
use syrinx::{Error, Result};

/// A machine, and what was launched on it.
pub struct Witness<M: Machine> {
    machine: Arc<M>,
    /// Whether what it notes is launched, too.
    launches: bool,
    launched: Mutex<Vec<Launch>>,
    /// All that it allocated: launches that were noted name it.
    memory: Mutex<Vec<Arc<M::Memory>>>,
    turn: Mutex<()>,
}

impl<M: Machine> Witness<M> {
    pub fn of(machine: Arc<M>) -> Self {
        let (launched, memory, turn) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { machine, launches: true, launched, memory, turn }
    }

    /// One that launches nothing.
    pub fn idle(machine: Arc<M>) -> Self {
        Self { launches: false, ..Self::of(machine) }
    }

    /// What was launched since this was asked last.
    pub fn launched(&self) -> Vec<Launch> {
        std::mem::take(&mut self.launched.lock().expect("whole"))
    }
}

impl<M: Machine> Machine for Witness<M> {
    type Memory = Arc<M::Memory>;

    fn allocate(&self, bytes: usize) -> Result<Self::Memory> {
        let memory = Arc::new(self.machine.allocate(bytes)?);
        self.memory.lock().expect("whole").push(Arc::clone(&memory));
        Ok(memory)
    }

    fn address(memory: &Self::Memory) -> u64 {
        M::address(memory)
    }

    fn write(&self, memory: &Self::Memory, first: usize, bytes: &[u8]) -> Result<()> {
        self.machine.write(memory, first, bytes)
    }

    fn read(&self, memory: &Self::Memory, first: usize, bytes: &mut [u8]) -> Result<()> {
        self.machine.read(memory, first, bytes)
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        self.launched.lock().expect("whole").push(launch.clone());
        if self.launches { self.machine.launch(launch) } else { Ok(()) }
    }
}

/// A machine that threads share.
pub trait Shared: Machine<Memory: Send + Sync> + Send + Sync + 'static {}

impl<M: Machine<Memory: Send + Sync> + Send + Sync + 'static> Shared for M {}

impl<M: Shared> Graphs for Witness<M> {
    type Graph = ();

    fn keep(&self, _after: &[Vec<usize>], _work: &mut dyn FnMut(usize) -> Result<()>) -> Result<()> {
        Err(Error::device("witness", "it keeps no launches", "none"))
    }

    fn repeat(&self, _graph: &()) -> Result<()> {
        Err(Error::device("witness", "it keeps no launches", "none"))
    }
}

/// Witnesses of any machines, by number.
static WITNESSES: LazyLock<Mutex<HashMap<usize, Arc<dyn Any + Send + Sync>>>> = LazyLock::new(Mutex::default);

impl<M: Shared> Traceable for Witness<M> {
    fn opened(device: TraceDevice) -> Option<Arc<Self>> {
        Arc::clone(WITNESSES.lock().expect("whole").get(&device.number)?).downcast().ok()
    }

    fn turn(&self) -> &Mutex<()> {
        &self.turn
    }
}

impl<M: Shared> Witness<M> {
    /// A new one, and what networks know it by.
    pub fn traced(machine: &Arc<M>) -> (Arc<Self>, TraceDevice) {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let (number, witness) = (NUMBER.fetch_add(1, Ordering::Relaxed), Arc::new(Self::of(Arc::clone(machine))));
        WITNESSES.lock().expect("whole").insert(number, Arc::<Self>::clone(&witness));
        (witness, TraceDevice::new(number))
    }
}

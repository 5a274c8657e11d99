//! Reopening: a device that is opened anew on a thread of its own, since servers may take seconds.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::recovery::Cause;
use crate::error::{Error, Result};
use crate::io::live::{Backend, OpenDevice, Release};

/// Time for which the last device is waited for, whose name the next is to have. One whose server hangs is left behind.
const CLOSING: Duration = Duration::from_secs(3);

/// The way to a session's devices.
pub(super) type SharedBackend = Arc<Mutex<Box<dyn Backend>>>;

/// A device that is being opened. Dropped, it is closed again as soon as it is open.
pub(super) struct Reopening {
    /// What makes it necessary.
    cause: Cause,
    thread: JoinHandle<Result<OpenDevice>>,
}

impl Reopening {
    /// Opens the device anew once the last is closed.
    ///
    /// # Errors
    /// A system that grants no thread.
    pub(super) fn begin(backend: &SharedBackend, last: Release, cause: Cause) -> Result<Self> {
        let backend = backend.clone();
        let work = move || {
            if !last.wait(CLOSING) {
                tracing::warn!("the last connection to the device is still being closed");
            }
            // A back end that panicked has left a device that is not open.
            backend.lock().unwrap_or_else(PoisonError::into_inner).open()
        };
        let thread = std::thread::Builder::new().name("reopening".into()).spawn(work);
        let thread = thread.map_err(|error| Error::io("the thread that opens the device", error))?;
        Ok(Self { cause, thread })
    }

    /// Whether the device is open, or will not be.
    pub(super) fn is_done(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for what became of it.
    pub(super) fn finish(self) -> (Cause, Result<OpenDevice>) {
        let panicked = |_| Err(Error::device("the device", "opening it panicked", "this is a fault of Syrinx"));
        (self.cause, self.thread.join().unwrap_or_else(panicked))
    }
}

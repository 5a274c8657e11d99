//! Work that may never end, such as a call to a server that hangs: done on a thread that can be left behind.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Work in progress. Dropping it leaves the work to itself; its result is dropped over there.
pub(super) struct Job<T> {
    thread: JoinHandle<T>,
    began: Instant,
}

impl<T: Send + 'static> Job<T> {
    /// Begins `work`; nothing if the system has no thread left.
    pub(super) fn begin(work: impl FnOnce() -> T + Send + 'static) -> Option<Self> {
        let thread = std::thread::Builder::new().name("syrinx device".into()).spawn(work).ok()?;
        Some(Self { thread, began: Instant::now() })
    }

    pub(super) fn is_done(&self) -> bool {
        self.thread.is_finished()
    }

    /// The time since it began.
    pub(super) fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// The result once it is done, without waiting; nothing if the work panicked.
    ///
    /// # Errors
    /// Gives the job back while it is not done.
    pub(super) fn result(self) -> Result<Option<T>, Self> {
        if self.is_done() { Ok(self.thread.join().ok()) } else { Err(self) }
    }

    /// The result, if there is one when the job is as old as `limit`; otherwise the job is left behind.
    pub(super) fn wait(self, limit: Duration) -> Option<T> {
        let mut job = self;
        loop {
            job = match job.result() {
                Ok(result) => return result,
                Err(job) if job.age() > limit => return None,
                Err(job) => job,
            };
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// What `work` gives, if it gives it within `limit`; otherwise it is left behind.
pub(super) fn within<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    Job::begin(work)?.wait(limit)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn work_that_hangs_is_left_behind_and_its_late_result_is_freed() {
        let (release, hang) = mpsc::channel::<()>();
        let (freed, is_freed) = mpsc::channel::<()>();
        let start = Instant::now();
        let result = within(Duration::from_millis(50), move || {
            let _ = hang.recv();
            freed
        });
        assert!(result.is_none() && start.elapsed() < Duration::from_secs(5));
        drop(release);
        assert_eq!(is_freed.recv(), Err(mpsc::RecvError));
    }

    #[test]
    fn a_panic_is_no_result() {
        assert_eq!(within(Duration::from_secs(5), || -> u8 { panic!("as this test wants") }), None);
        assert_eq!(within(Duration::from_secs(5), || 7), Some(7));
    }
}

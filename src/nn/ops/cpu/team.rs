//! Threads that stay awake together while a network runs.
//!
//! A network is hundreds of operations of a fraction of a millisecond. A thread that sleeps between two of them wakes up
//! when half of the next is over; so those who help wait with open eyes from the first operation to the last.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use super::board::Board;

/// Looks at the board before the processor is offered to other threads: some tens of microseconds.
const LOOKS: u32 = 1 << 11;
/// Looks before other work of the pool is done meanwhile.
const LONG_LOOKS: u32 = LOOKS + (1 << 9);

thread_local! {
    /// The team that this thread leads.
    static LEADS: Cell<Option<*const Team>> = const { Cell::new(None) };
    /// Whether this thread is at a part of some work: what that calls it does alone.
    static AT_WORK: Cell<bool> = const { Cell::new(false) };
}

/// What the parts of a work are done with: a closure, by its address, and how to call it.
#[derive(Clone, Copy)]
struct Task {
    closure: *const (),
    call: unsafe fn(*const (), usize),
}

// SAFETY: the closure may be called by any thread, and lives until all parts are done.
unsafe impl Send for Task {}

impl Task {
    /// Never called.
    const NOTHING: Self = Self { closure: std::ptr::null(), call: |_, _| {} };

    fn new<F: Fn(usize) + Sync>(closure: &F) -> Self {
        unsafe fn call<F: Fn(usize) + Sync>(closure: *const (), part: usize) {
            // SAFETY: `new` made it of such a closure, which the caller knows to live.
            unsafe { (*closure.cast::<F>())(part) }
        }
        Self { closure: std::ptr::from_ref(closure).cast(), call: call::<F> }
    }
}

/// Threads of the pool that share work until it ends.
struct Team {
    board: Board<Task>,
    ended: AtomicBool,
    panicked: AtomicBool,
}

/// Runs `work` on a thread of the pool, with the other threads ready to help its kernels.
pub fn lead<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    let helpers = rayon::current_num_threads() - 1;
    if helpers == 0 || AT_WORK.get() || LEADS.get().is_some() {
        return work();
    }
    let team =
        Team { board: Board::new(Task::NOTHING), ended: AtomicBool::new(false), panicked: AtomicBool::new(false) };
    let team = &team;
    rayon::scope(|scope| {
        for _ in 0..helpers {
            scope.spawn(|_| team.help());
        }
        // Other work that the pool gives this thread meanwhile may lead a team of its own.
        let _end = End { team, before: LEADS.replace(Some(team)) };
        work()
    })
}

/// Calls `task` with each number below `count`, shared with the team that this thread leads, or with one for the occasion.
pub fn share(count: usize, task: &(impl Fn(usize) + Sync)) {
    let alone = || (0..count).for_each(task);
    if count < 2 || AT_WORK.get() || rayon::current_num_threads() == 1 {
        return alone();
    }
    let Ok(parts) = u32::try_from(count) else { return alone() };
    match LEADS.get() {
        // SAFETY: a thread leads a team only while `lead` holds it.
        Some(team) => unsafe { &*team }.share(parts, task),
        None => lead(|| match LEADS.get() {
            // SAFETY: as above.
            Some(team) => unsafe { &*team }.share(parts, task),
            None => alone(),
        }),
    }
}

impl Team {
    /// Posts work, takes part in it, and returns when all of it is done, even where a part panics.
    fn share(&self, parts: u32, task: &(impl Fn(usize) + Sync)) {
        // SAFETY: the thread that leads posts, after all that it has posted before was done.
        unsafe { self.board.post(Task::new(task), parts) };
        let mut looks = 0;
        while self.part() || !self.board.is_done(parts) {
            pause(&mut looks, LOOKS);
        }
        if self.panicked.load(Ordering::Relaxed) {
            resume_unwind(Box::new("a kernel panicked"));
        }
    }

    /// Does a part of the work, if one is left.
    fn part(&self) -> bool {
        let Some((task, part)) = self.board.take() else { return false };
        AT_WORK.set(true);
        // SAFETY: the task lives until this part is done.
        let done = catch_unwind(AssertUnwindSafe(|| unsafe { (task.call)(task.closure, part as usize) }));
        AT_WORK.set(false);
        if done.is_err() {
            self.panicked.store(true, Ordering::Relaxed);
        }
        self.board.done();
        true
    }

    /// Does parts of what is posted until the end.
    fn help(&self) {
        let mut looks = 0;
        while !self.ended.load(Ordering::Relaxed) {
            if self.part() {
                looks = 0;
            } else if looks < LONG_LOOKS {
                pause(&mut looks, LOOKS);
            } else if rayon::yield_now() != Some(rayon::Yield::Executed) {
                std::thread::yield_now();
            }
        }
    }
}

/// Waits for a moment, and after `patience` times lets other threads run.
fn pause(looks: &mut u32, patience: u32) {
    *looks += 1;
    if *looks < patience { std::hint::spin_loop() } else { std::thread::yield_now() }
}

/// Ends a team when it is dropped, so that its helpers go even if the work panics.
struct End<'a> {
    team: &'a Team,
    before: Option<*const Team>,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        LEADS.set(self.before);
        self.team.ended.store(true, Ordering::Relaxed);
    }
}

//! Threads that stay awake together while a network runs.
//!
//! A network is hundreds of operations of a fraction of a millisecond. A thread that sleeps between two of them wakes up
//! when half of the next is over; so those who help wait with open eyes from the first operation to the last.
//!
//! Where several networks run at once, the threads are parted among them; as soon as there are as many networks as threads,
//! each runs on its own thread alone.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::board::Board;

/// Looks at the board before the processor is offered to other threads: some tens of microseconds.
const LOOKS: u32 = 1 << 11;
/// Looks before other work of the pool is done meanwhile.
const LONG_LOOKS: u32 = LOOKS + (1 << 9);

/// Networks that run.
static LEADERS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The team that this thread leads.
    static LEADS: Cell<Option<*const Team>> = const { Cell::new(None) };
    /// Whether this thread is at a part of some work: what that calls it does alone.
    static AT_WORK: Cell<bool> = const { Cell::new(false) };
    /// Whether this thread helps a team: what it takes from the pool meanwhile must not be another.
    static HELPS: Cell<bool> = const { Cell::new(false) };
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

/// Runs `work` on this thread, with the pool's others ready to help its kernels as long as no other network needs them.
pub fn lead<R>(work: impl FnOnce() -> R) -> R {
    let threads = rayon::current_num_threads();
    if threads == 1 || AT_WORK.get() || LEADS.get().is_some() {
        return work();
    }
    LEADERS.fetch_add(1, Ordering::Relaxed);
    if !is_needed(1, threads) {
        AT_WORK.set(true);
        let _end = Alone;
        return work();
    }
    let team =
        Team { board: Board::new(Task::NOTHING), ended: AtomicBool::new(false), panicked: AtomicBool::new(false) };
    let team = &team;
    rayon::in_place_scope(|scope| {
        for number in 1..threads {
            scope.spawn(move |_| team.help(number, threads));
        }
        LEADS.set(Some(team));
        let _end = End { team };
        work()
    })
}

/// Whether a team has its helper of this number, from 1, when all threads are parted among those who lead.
fn is_needed(number: usize, threads: usize) -> bool {
    (number + 1) * LEADERS.load(Ordering::Relaxed) <= threads
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

    /// Does parts of what is posted until the end, or until another network needs the thread.
    fn help(&self, number: usize, threads: usize) {
        if LEADS.get().is_some() || HELPS.replace(true) {
            return;
        }
        let mut looks = 0;
        while !self.ended.load(Ordering::Relaxed) && is_needed(number, threads) {
            if self.part() {
                looks = 0;
            } else if looks < LONG_LOOKS {
                pause(&mut looks, LOOKS);
            } else if rayon::yield_now() != Some(rayon::Yield::Executed) {
                std::thread::yield_now();
            }
        }
        HELPS.set(false);
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
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        LEADS.set(None);
        LEADERS.fetch_sub(1, Ordering::Relaxed);
        self.team.ended.store(true, Ordering::Relaxed);
    }
}

/// Ends work that a thread did alone.
struct Alone;

impl Drop for Alone {
    fn drop(&mut self) {
        AT_WORK.set(false);
        LEADERS.fetch_sub(1, Ordering::Relaxed);
    }
}

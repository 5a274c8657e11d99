//! The real-time core, under an allocator that aborts the process if the real-time side allocates or frees.

mod drift;
mod latency;
mod nodes;
mod passthrough;
mod recorder;
mod slots;
mod snapshot;
mod starvation;
mod support;
mod swap;
mod whole;

#[global_allocator]
static ALLOCATOR: assert_no_alloc::AllocDisabler = assert_no_alloc::AllocDisabler;

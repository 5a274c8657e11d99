//! The back ends of live conversion, each through the real thing, under an allocator that aborts the process if a
//! callback allocates or frees.
//!
//! With feature `jack` a JACK server must be installed, with feature `pipewire` `PipeWire`, `WirePlumber` and its tools
//! (`make test-live` installs them): each test starts servers of its own and stops them, and fails without them.

mod file;
#[cfg(feature = "jack")]
mod jack;
mod null;
#[cfg(feature = "pipewire")]
mod pipewire;
#[cfg(feature = "jack")]
#[path = "../cli/running.rs"]
mod running;
#[cfg(any(feature = "jack", feature = "pipewire"))]
mod server;
mod support;

#[global_allocator]
static ALLOCATOR: assert_no_alloc::AllocDisabler = assert_no_alloc::AllocDisabler;

//! A backend for the networks that notes what is to be computed, and does it when a result is read: in one go.
//!
//! By burn, a network of some hundred small operations costs an H100 less to compute than to be told of. So [`Traced`] computes
//! nothing when it is asked to: each thread's operations are noted as a *trace*. Once something is read, the trace is
//!
//! 1. freed of names: a *program* is what is done to which shapes (`record`, `step`);
//! 2. planned, if no equal program was before: moves of values that strides can express are done by counting otherwise, the
//!    others and all computation become launches of our kernels, on memory that is shared between tensors of which one is
//!    no more when the other is made (`plan`, `order`);
//! 3. run: launch by launch the first time; once it recurs with the same weights, the launches are kept as one graph
//!    of the driver's, in which each waits only for what it needs, and which is repeated from then on (`plans`, `runner`).
//!
//! A network that computes values from values says so ([`compute`](crate::nn::ops::VoiceOps::compute)); once its graph is kept,
//! its operations are not even noted: the values go in, the graph is repeated, the values come out (`recall`).
//!
//! Tensors that were there before and stay, as weights do, are read where they are; others, as audio is, are copied to where
//! the plan has them. A tensor that outlives its trace is copied out. Weights that are dropped take with them what was kept
//! for them.
//!
//! The machine is a stream of a CUDA device or, in tests, its stand-in. On each, threads take turns: one computes at a time.

mod channel;
mod open;
mod order;
mod plan;
mod plans;
mod recall;
mod record;
mod run;
mod runner;
mod step;
mod tensor;
mod voice;

use burn_router::BackendRouter;

pub use channel::{Bridge, Channel, Client, TraceDevice, Traceable};
pub use open::{Graphs, open};

/// The backend of networks on machines of a kind.
pub type Traced<M> = BackendRouter<Channel<M>>;

//! The CUDA kernels without a GPU: the same sources run on this CPU, compared with their twins in Rust, plainly and
//! under sanitizers; and compiled by nvcc for every architecture meant. Needs `g++`; `make test-cuda` runs it all.

mod around;
mod audio;
mod convolutions;
mod device;
#[allow(unsafe_code, reason = "the stand-in calls kernels, as a device would")]
mod host;
mod joins;
mod networks;
mod noise;
mod nvcc;
mod products;
mod proof;
mod recall;
mod retrieval;
mod rows;
mod sanitized;
mod source;
mod spectra;
mod speed;
mod support;
mod trace;
mod tracks;
mod transposed;

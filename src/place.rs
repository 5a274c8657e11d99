//! Where networks run: asked for by name, opened once.

use std::fmt;
use std::str::FromStr;

use crate::error::Result;

/// Where networks shall run, as a person names it: `cpu`, `cuda`, which is the first GPU, `cuda:N` or `auto`; with `+burn`
/// after a GPU, by burn's kernels, each told to it anew, instead of our own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PlaceChoice {
    /// The processor.
    #[default]
    Cpu,
    /// An NVIDIA GPU, as CUDA counts: by our own kernels.
    Cuda(usize),
    /// The same by burn's.
    Burn(usize),
    /// The first GPU, or, where there is none, the processor.
    Auto,
}

/// A place that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The processor: networks of [`Cpu`](crate::nn::Cpu).
    Cpu,
    /// A GPU: networks of [`Graphs`](crate::cuda::trace::Graphs).
    #[cfg(feature = "cuda-kernels")]
    Cuda(crate::cuda::trace::TraceDevice),
    /// A GPU: networks of [`Cuda`](crate::nn::Cuda).
    #[cfg(feature = "cuda")]
    Burn(burn_cuda::CudaDevice),
}

/// What stands after a GPU whose networks run by burn's kernels.
const BURN: &str = "+burn";

impl FromStr for PlaceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (gpu, kind): (_, fn(usize) -> Self) = match text.strip_suffix(BURN) {
            Some(gpu) => (gpu, Self::Burn),
            None => (text, Self::Cuda),
        };
        match (text, gpu, gpu.strip_prefix("cuda:").map(str::parse)) {
            ("cpu", ..) => Ok(Self::Cpu),
            ("auto", ..) => Ok(Self::Auto),
            (_, "cuda", _) => Ok(kind(0)),
            (_, _, Some(Ok(ordinal))) => Ok(kind(ordinal)),
            _ => Err("expected `cpu`, `cuda`, `cuda:N`, one of these with `+burn`, or `auto`".into()),
        }
    }
}

impl fmt::Display for PlaceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
            Self::Burn(ordinal) => write!(f, "cuda:{ordinal}{BURN}"),
            Self::Auto => f.write_str("auto"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            #[cfg(feature = "cuda-kernels")]
            Self::Cuda(device) => write!(f, "cuda:{device}"),
            #[cfg(feature = "cuda")]
            Self::Burn(device) => write!(f, "cuda:{}{BURN}", device.index),
        }
    }
}

impl Place {
    /// Bytes of a GPU's memory that are in use, by whoever uses it; `None` of the processor, or where the driver does not tell.
    #[must_use]
    pub fn memory_bytes(&self) -> Option<u64> {
        match self {
            Self::Cpu => None,
            #[cfg(feature = "cuda-kernels")]
            Self::Cuda(device) => crate::cuda::probe::memory_in_use(device.number).ok(),
            #[cfg(feature = "cuda")]
            Self::Burn(device) => crate::cuda::probe::memory_in_use(device.index).ok(),
        }
    }
}

impl PlaceChoice {
    /// The place, found to be there. Where [`Auto`](Self::Auto) takes the processor, a warning tells why.
    ///
    /// # Errors
    /// [`Error::Device`](crate::error::Error::Device) where a GPU was asked for by name: this build has no CUDA, or something
    /// that it needs is missing.
    pub fn open(self) -> Result<Place> {
        match self {
            Self::Cpu => Ok(Place::Cpu),
            Self::Cuda(ordinal) => gpu(ordinal),
            Self::Burn(ordinal) => burn(ordinal),
            Self::Auto => Ok(gpu(0).unwrap_or_else(|missing| {
                tracing::warn!("networks run on the processor, since there is no GPU for them: {missing}");
                Place::Cpu
            })),
        }
    }
}

#[cfg(feature = "cuda-kernels")]
fn gpu(ordinal: usize) -> Result<Place> {
    crate::cuda::trace::open(ordinal).map(Place::Cuda)
}

#[cfg(not(feature = "cuda-kernels"))]
fn gpu(_ordinal: usize) -> Result<Place> {
    Err(none("cuda-kernels"))
}

#[cfg(feature = "cuda")]
fn burn(ordinal: usize) -> Result<Place> {
    crate::cuda::networks::device(ordinal).map(Place::Burn).map_err(crate::cuda::Gap::into_error)
}

#[cfg(not(feature = "cuda"))]
fn burn(_ordinal: usize) -> Result<Place> {
    Err(none("cuda"))
}

/// A build without `feature`.
#[cfg(not(feature = "cuda"))]
fn none(feature: &str) -> crate::error::Error {
    let remedy = format!("build with `--features {feature}`, or use `--device cpu`");
    crate::error::Error::device("CUDA", "this build has none", remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_known_by_its_name() {
        let places = [
            ("cpu", PlaceChoice::Cpu),
            ("cuda:0", PlaceChoice::Cuda(0)),
            ("cuda:12", PlaceChoice::Cuda(12)),
            ("cuda:1+burn", PlaceChoice::Burn(1)),
            ("auto", PlaceChoice::Auto),
        ];
        for (name, place) in places {
            assert_eq!(name.parse(), Ok(place));
            assert_eq!(place.to_string(), name);
        }
        assert_eq!("cuda".parse(), Ok(PlaceChoice::Cuda(0)));
        assert_eq!("cuda+burn".parse(), Ok(PlaceChoice::Burn(0)));
        for name in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "cuda0", "CPU", "cpu+burn", "auto+burn", "cuda:+burn"] {
            assert!(name.parse::<PlaceChoice>().is_err_and(|told| told.contains("cuda:N")), "{name}");
        }
    }

    #[test]
    fn a_gpu_that_is_not_there_is_an_error_by_name_and_the_processor_otherwise() {
        for choice in [PlaceChoice::Cuda(1000), PlaceChoice::Burn(1000)] {
            let error = choice.open().expect_err("no machine has so many");
            let text = error.to_string();
            assert_eq!(error.exit_code(), 69);
            assert!(text.starts_with("CUDA: ") && !text.contains('\n'), "{text}");
        }
        if PlaceChoice::Cuda(0).open().is_err() {
            let place = PlaceChoice::Auto.open().expect("a place");
            assert_eq!((place.to_string().as_str(), place), ("cpu", Place::Cpu));
        }
    }
}

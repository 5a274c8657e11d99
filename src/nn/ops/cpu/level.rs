//! Which instructions to use, chosen at run time.

use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
use super::vector::Pairs512;
use super::vector::{Portable, Vector};

/// An instruction set the kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Whatever the target guarantees.
    Portable,
    /// AVX2 and FMA: eight lanes, sixteen registers.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512F: sixteen lanes, thirty-two registers.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// The same on pairs of bfloat16: see [`pairs`](Level::pairs).
    #[cfg(target_arch = "x86_64")]
    Avx512Pairs,
}

/// Work written once for any vector, run inside a function compiled for a level.
pub trait Kernel {
    /// What the work returns.
    type Output;

    /// Does the work with vectors `V`. Must be `#[inline(always)]`, so that it is compiled for the level.
    fn run<V: Vector>(self) -> Self::Output;
}

impl Level {
    /// The best level this machine has.
    pub fn best() -> Self {
        static BEST: OnceLock<Level> = OnceLock::new();
        *BEST.get_or_init(|| Self::available().pop().unwrap_or(Self::Portable))
    }

    /// The levels this machine has, slowest first.
    pub fn available() -> Vec<Self> {
        #[allow(unused_mut, reason = "other targets have the portable level only")]
        let mut levels = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            levels.push(Self::Avx2);
            if is_x86_feature_detected!("avx512f") {
                levels.push(Self::Avx512);
            }
        }
        levels
    }

    /// The level at which products are sums of two products of bfloat16, if the machine has it and this is its best.
    pub fn pairs(self) -> Option<Self> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 if is_x86_feature_detected!("avx512bf16") => Some(Self::Avx512Pairs),
            _ => None,
        }
    }

    /// The name shown to people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2+fma",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Pairs => "avx512_bf16",
        }
    }

    /// Output rows that [`TapSum`](super::tap_sum::TapSum) sums at once at this level.
    pub fn rows(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 | Self::Avx512Pairs => 8,
            _ => 6,
        }
    }

    /// Columns that [`TapSum`](super::tap_sum::TapSum) sums at once, of blocks of [`rows`](Self::rows) rows.
    pub fn columns(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 | Self::Avx512Pairs => 3 * self.lanes(),
            _ => 2 * self.lanes(),
        }
    }

    /// Lanes of this level's vectors.
    pub fn lanes(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 | Self::Avx512Pairs => 16,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => 8,
            Self::Portable => <Portable as Vector>::LANES,
        }
    }

    /// Runs `kernel` compiled for this level.
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self {
            Self::Portable => kernel.run::<Portable>(),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: levels other than the portable one come from `available`, which has checked the features.
            Self::Avx2 => unsafe { run_avx2(kernel) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Self::Avx512 => unsafe { run_avx512(kernel) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: this level comes from `pairs`, which has checked the feature.
            Self::Avx512Pairs => unsafe { run_avx512_pairs(kernel) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<std::arch::x86_64::__m256>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<std::arch::x86_64::__m512>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16,avx2,fma")]
fn run_avx512_pairs<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<Pairs512>()
}

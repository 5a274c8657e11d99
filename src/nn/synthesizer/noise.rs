//! Where the synthesizer's noise comes from.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};

/// Standard normal noise for the prior and the source.
#[derive(Clone, Debug)]
pub enum Noise {
    /// No noise at all.
    Zero,
    /// One generator for each use, so that neither depends on how much the other draws.
    Seeded {
        /// Noise of the prior.
        prior: Box<ChaCha8Rng>,
        /// Noise of the source.
        source: Box<ChaCha8Rng>,
    },
    /// Values given, for comparison with recordings; zeros where they end.
    Given {
        /// Noise of the prior, `[inter_channels, hops]`.
        prior: Vec<f32>,
        /// Noise of the source, `[samples]`.
        source: Vec<f32>,
    },
}

impl Noise {
    /// Reproducible noise.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        let generator = |stream| {
            let mut generator = ChaCha8Rng::seed_from_u64(seed);
            generator.set_stream(stream);
            Box::new(generator)
        };
        Self::Seeded { prior: generator(0), source: generator(1) }
    }

    /// `count` values for the prior; `None` means zeros.
    pub fn prior(&mut self, count: usize) -> Option<Vec<f32>> {
        match self {
            Self::Zero => None,
            Self::Seeded { prior, .. } => Some(draw(prior, count)),
            Self::Given { prior, .. } => Some(first(prior, count)),
        }
    }

    /// `count` values for the source; `None` means zeros.
    pub fn source(&mut self, count: usize) -> Option<Vec<f32>> {
        match self {
            Self::Zero => None,
            Self::Seeded { source, .. } => Some(draw(source, count)),
            Self::Given { source, .. } => Some(first(source, count)),
        }
    }
}

fn draw(generator: &mut ChaCha8Rng, count: usize) -> Vec<f32> {
    StandardNormal.sample_iter(generator).take(count).collect()
}

fn first(values: &[f32], count: usize) -> Vec<f32> {
    let mut values = values[..values.len().min(count)].to_vec();
    values.resize(count, 0.0);
    values
}

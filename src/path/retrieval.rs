//! Retrieval: pulls content units towards the nearest units of the voice's training set.
//!
//! The search is the reference's: nearest cell of an inverted file, exact distances inside it, the eight nearest rows
//! blended with weights `1 / distance^4`.

use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;

use crate::checkpoint::index::{Index, Metric};
use crate::error::{Error, Result};
use crate::nn::ops::{Fused, Precision, VoiceOps};
use crate::nn::values;
use crate::units::Units;

/// Rows blended for each unit.
pub const NEIGHBOURS: usize = 8;

/// What happens where a cell holds fewer than [`NEIGHBOURS`] rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmallCell {
    /// The rows there are, are blended (offline reference).
    Blend,
    /// No unit of the whole run is blended (real-time reference).
    SkipRun,
}

/// One training row near a query.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbour {
    /// Position of the row among the index's vectors.
    pub row: usize,
    /// Squared Euclidean distance.
    pub distance: f32,
}

/// An index made ready for search.
#[derive(Clone, Debug)]
pub struct Retrieval<B: VoiceOps> {
    index: Arc<Index>,
    /// Maps a query `q` to `|c|^2 - 2 q c` for every centroid `c`: its distance up to `|q|^2`.
    /// `None` where there is one cell only.
    nearness: Option<B::Linear>,
    device: B::Device,
}

impl<B: VoiceOps> Retrieval<B> {
    /// Prepares `index` for units of `unit_dim` values.
    ///
    /// # Errors
    /// [`Error::Format`] where the index was built for units of another size or another distance.
    pub fn new(index: Arc<Index>, unit_dim: usize, device: &B::Device) -> Result<Self> {
        let refuse = |expected: String, found: String| Err(Error::format(&index.path, expected, found));
        if index.dim != unit_dim {
            let expected = format!("vectors of {unit_dim} values, as the voice's units");
            return refuse(expected, format!("vectors of {}", index.dim));
        }
        if index.metric != Metric::L2 {
            return refuse("an index of Euclidean distance".into(), "one of inner products".into());
        }
        let count = index.centroids.len() / index.dim;
        let squares =
            index.centroids.chunks_exact(index.dim).map(|c| c.iter().map(|v| v * v).sum()).collect::<Vec<f32>>();
        let scaled = index.centroids.iter().map(|v| -2.0 * v).collect::<Vec<f32>>();
        let nearness = (count > 1).then(|| {
            let weight = Tensor::from_data(TensorData::new(scaled, [count, index.dim]), device);
            B::prepare_linear(
                weight,
                Some(Tensor::from_data(TensorData::new(squares, [count]), device)),
                Precision::Full,
            )
        });
        Ok(Self { index, nearness, device: device.clone() })
    }

    /// The nearest rows of each query, nearest first; fewer than [`NEIGHBOURS`] where the cells hold fewer.
    #[must_use]
    pub fn search(&self, queries: &Units) -> Vec<Vec<Neighbour>> {
        if queries.count() == 0 {
            return Vec::new();
        }
        let nearness = self.nearness(queries);
        let nearest = |number: usize| {
            let query = &queries.values[number * queries.dim..][..queries.dim];
            let Some(nearness) = &nearness else { return self.nearest(query, &[0]) };
            let lists = self.index.lists();
            self.nearest(query, &closest_cells(&nearness[number * lists..][..lists], self.index.nprobe))
        };
        let numbers = 0..queries.count();
        if is_quick(self.search_work(queries.count())) {
            numbers.map(nearest).collect()
        } else {
            numbers.into_par_iter().map(nearest).collect()
        }
    }

    /// What is multiplied and added to find so many queries.
    fn search_work(&self, queries: usize) -> usize {
        let of_cells = self.index.vectors.len() / self.index.lists().max(1) * self.index.nprobe;
        queries * (of_cells + self.index.lists())
    }

    /// For each query its row of nearness values, one per cell; `None` where there is one cell only.
    fn nearness(&self, queries: &Units) -> Option<Vec<f32>> {
        let shape = [1, queries.count(), queries.dim];
        let rows = Tensor::from_data(TensorData::new(queries.values.clone(), shape), &self.device);
        Some(values(<B as VoiceOps>::linear(self.nearness.as_ref()?, rows, Fused::default())))
    }

    fn nearest(&self, query: &[f32], cells: &[usize]) -> Vec<Neighbour> {
        let mut found = Nearest::default();
        for row in cells.iter().flat_map(|&cell| self.index.list(cell)) {
            found.offer(Neighbour { row, distance: squared_distance(query, self.index.row(row)) });
        }
        found.rows
    }

    /// Replaces each unit `u` from `first` on by `rate * r + (1 - rate) * u`, with `r` its blend of neighbours. Units
    /// that fall into an empty cell stay as they are.
    pub fn blend(&self, units: &mut Units, first: usize, rate: f32, small_cell: SmallCell) {
        if rate <= 0.0 || first >= units.count() {
            return;
        }
        let dim = units.dim;
        let queries = Units { values: units.values[first * dim..].to_vec(), dim };
        let found = self.search(&queries);
        if small_cell == SmallCell::SkipRun && found.iter().any(|rows| rows.len() < NEIGHBOURS) {
            return;
        }
        let pull = |(unit, neighbours): (&mut [f32], Vec<Neighbour>)| {
            if neighbours.is_empty() {
                return;
            }
            unit.iter_mut().for_each(|value| *value *= 1.0 - rate);
            for (neighbour, weight) in neighbours.iter().zip(blend_weights(&neighbours)) {
                let row = self.index.row(neighbour.row);
                unit.iter_mut().zip(row).for_each(|(value, row)| *value += rate * weight * row);
            }
        };
        let run = &mut units.values[first * dim..];
        if is_quick(queries.values.len() * NEIGHBOURS) {
            run.chunks_exact_mut(dim).zip(found).for_each(pull);
        } else {
            run.par_chunks_exact_mut(dim).zip(found).for_each(pull);
        }
    }
}

/// Whether one thread multiplies and adds that often sooner than others are woken, which takes tens of microseconds.
fn is_quick(work: usize) -> bool {
    const QUICK: usize = 1 << 19;
    work <= QUICK
}

/// The rows found so far, nearest first.
#[derive(Default)]
struct Nearest {
    rows: Vec<Neighbour>,
}

impl Nearest {
    fn offer(&mut self, candidate: Neighbour) {
        let at = self.rows.partition_point(|kept| kept.distance <= candidate.distance);
        if at < NEIGHBOURS {
            self.rows.truncate(NEIGHBOURS - 1);
            self.rows.insert(at, candidate);
        }
    }
}

/// The `count` cells of least nearness value, closest first.
fn closest_cells(nearness: &[f32], count: usize) -> Vec<usize> {
    let mut cells: Vec<usize> = Vec::with_capacity(count + 1);
    for (cell, value) in nearness.iter().enumerate() {
        let at = cells.partition_point(|&kept| nearness[kept] <= *value);
        if at < count {
            cells.insert(at, cell);
            cells.truncate(count);
        }
    }
    cells
}

/// Weights `(1 / distance)^2` that sum to 1. An exact hit, infinitely heavy (NaN in the reference), takes all.
fn blend_weights(neighbours: &[Neighbour]) -> Vec<f32> {
    let exact = neighbours.iter().filter(|n| n.distance <= f32::MIN_POSITIVE).count();
    if exact > 0 {
        return neighbours
            .iter()
            .map(|n| if n.distance <= f32::MIN_POSITIVE { 1.0 / exact as f32 } else { 0.0 })
            .collect();
    }
    // Relative to the nearest, so that no square overflows.
    let nearest = neighbours.first().map_or(1.0, |n| n.distance);
    let weights: Vec<f32> = neighbours.iter().map(|n| (nearest / n.distance).powi(2)).collect();
    let sum: f32 = weights.iter().sum();
    weights.iter().map(|w| w / sum).collect()
}

/// Squared Euclidean distance, in sixteen lanes that the compiler keeps in vector registers.
fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut lanes = [0.0_f32; LANES];
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            let difference = a[lane] - b[lane];
            lanes[lane] += difference * difference;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| (a - b) * (a - b)).sum();
    lanes.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Neighbour, Retrieval, blend_weights, is_quick};
    use crate::checkpoint::seeded;
    use crate::nn::Cpu;
    use crate::units::Units;

    #[test]
    fn many_units_at_once_find_what_each_finds_alone() {
        const DIM: usize = 4;
        let index = Arc::new(seeded::index(4_000, DIM));
        let retrieval = Retrieval::<Cpu>::new(index.clone(), DIM, &Default::default()).expect("an index");
        let units = Units { values: index.vectors.iter().map(|value| value + 0.01).collect(), dim: DIM };
        assert!(is_quick(retrieval.search_work(1)) && !is_quick(retrieval.search_work(units.count())));
        let all = retrieval.search(&units);
        for (number, unit) in units.values.chunks_exact(DIM).enumerate().step_by(97) {
            let alone = retrieval.search(&Units { values: unit.to_vec(), dim: DIM });
            assert_eq!(alone, [all[number].clone()]);
        }
    }

    #[test]
    fn an_exact_hit_takes_all_the_weight() {
        let at = |distance| Neighbour { row: 0, distance };
        assert_eq!(blend_weights(&[at(0.0), at(1.0)]), [1.0, 0.0]);
        assert_eq!(blend_weights(&[at(1.0), at(1.0)]), [0.5, 0.5]);
    }

    #[test]
    fn distances_of_any_size_give_finite_weights() {
        for distance in [1e-30, 1e-10, 1.0, 1e30] {
            let weights =
                blend_weights(&[Neighbour { row: 0, distance }, Neighbour { row: 1, distance: 2.0 * distance }]);
            assert!((weights[0] - 0.8).abs() < 1e-6 && (weights[1] - 0.2).abs() < 1e-6, "{distance}: {weights:?}");
        }
    }
}

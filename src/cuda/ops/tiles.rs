//! How a product of matrices is divided among blocks.

use crate::cuda::launch::Kernel;

/// Products that a block sums at a time, `DEPTH` of `tiles.cuh`.
const DEPTH: usize = 16;
/// Most parts that a sum is made in.
const MOST_PARTS: usize = 32;

/// A kernel that makes tiles of `size`.
pub(super) struct Tile {
    pub kernel: &'static Kernel,
    pub size: [usize; 2],
    /// What a step of 16 products takes a multiprocessor that has other tiles to do while this one waits: 128
    /// multiplications a cycle at best.
    pub cycles: usize,
}

/// Which tiles, and in how many parts their sums are made: where there are few tiles, several blocks share one.
pub(super) struct Tiling {
    pub kernel: &'static Kernel,
    /// Tiles along both sides.
    pub count: [usize; 2],
    pub parts: usize,
    /// Products of each part but the last.
    pub share: usize,
}

impl Tiling {
    /// For `repeated` products of `[m, n]` values, sums of `depth` products each. It depends on nothing else, so that
    /// sums are made in the same order each time.
    ///
    /// Of `tiles`, the earlier where two are as good. Chosen by a rough reckoning in cycles of a multiprocessor of
    /// which there are 132 (H100): a step takes as long as its multiplications, and for want of neighbours no less than
    /// memory takes to answer.
    pub(super) fn new(tiles: &[Tile], repeated: usize, [m, n]: [usize; 2], depth: usize) -> Self {
        const MULTIPROCESSORS: usize = 132;
        const MEMORY_CYCLES: usize = 250;
        const BARRIER_CYCLES: usize = 100;
        const LAUNCH_CYCLES: usize = 3000;
        const VALUES_ADDED_PER_CYCLE: usize = 600;
        let steps = depth.div_ceil(DEPTH).max(1);
        let mut best: Option<(usize, Self)> = None;
        for &Tile { kernel, size, cycles } in tiles {
            let count = [m.div_ceil(size[0]), n.div_ceil(size[1])];
            let blocks = repeated * count[0] * count[1];
            for wanted in 1..=MOST_PARTS.min(steps) {
                let share = steps.div_ceil(wanted);
                let parts = steps.div_ceil(share);
                let each = (blocks * parts).div_ceil(MULTIPROCESSORS);
                let summed = share * ((each * cycles).max(MEMORY_CYCLES) + BARRIER_CYCLES);
                let added =
                    if parts > 1 { LAUNCH_CYCLES + repeated * m * n * parts / VALUES_ADDED_PER_CYCLE } else { 0 };
                if best.as_ref().is_none_or(|(least, _)| summed + added < *least) {
                    best = Some((summed + added, Self { kernel, count, parts, share: share * DEPTH }));
                }
            }
        }
        best.expect("a tile").1
    }

    /// Values of scratch for sums of `total` values.
    pub(super) fn scratch(&self, total: usize) -> usize {
        if self.parts > 1 { self.parts * total } else { 0 }
    }
}

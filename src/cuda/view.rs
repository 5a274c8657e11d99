//! How the values of a tensor lie in memory: what most operations that only move values come to.

use std::ops::Range;

/// Dimensions a kernel counts in, once those that can be counted as one are.
pub(super) const MOST_DIMS: usize = 5;

/// Where each value of a tensor lies, in values from the start of a stretch of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub first: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<isize>,
}

/// What a slice takes of one dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Cut {
    pub first: usize,
    pub step: isize,
    pub len: usize,
}

impl View {
    /// Row by row from the start.
    pub fn rows(shape: &[usize]) -> Self {
        let mut strides = vec![0; shape.len()];
        let mut stride = 1;
        for (place, &extent) in strides.iter_mut().zip(shape).rev() {
            *place = stride;
            stride *= extent.max(1) as isize;
        }
        Self { first: 0, shape: shape.to_vec(), strides }
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the values lie row by row without gaps.
    pub fn is_rows(&self) -> bool {
        let mut stride = 1;
        self.shape.iter().zip(&self.strides).rev().all(|(&extent, &found)| {
            let fits = extent == 1 || found == stride;
            stride *= extent as isize;
            fits
        })
    }

    /// The places that the values lie between.
    ///
    /// # Panics
    /// There are none.
    pub fn span(&self) -> Range<usize> {
        let reach = |of: fn(isize) -> bool| -> isize {
            let reaches = self.shape.iter().zip(&self.strides).filter(|(_, stride)| of(**stride));
            reaches.map(|(&extent, &stride)| (extent as isize - 1) * stride).sum()
        };
        let first = self.first as isize;
        let (least, most) = (first + reach(|stride| stride < 0), first + reach(|stride| stride > 0));
        usize::try_from(least).expect("within the memory")..most as usize + 1
    }

    /// The same values with dimension `axes[i]` in place `i`.
    pub fn permuted(&self, axes: &[usize]) -> Self {
        let shape = axes.iter().map(|&axis| self.shape[axis]).collect();
        let strides = axes.iter().map(|&axis| self.strides[axis]).collect();
        Self { first: self.first, shape, strides }
    }

    /// What `cuts` take, one of each dimension.
    pub fn cut(&self, cuts: &[Cut]) -> Self {
        let mut view = self.clone();
        let mut first = self.first as isize;
        for (dim, cut) in cuts.iter().enumerate() {
            first += cut.first as isize * self.strides[dim];
            view.shape[dim] = cut.len;
            view.strides[dim] = self.strides[dim] * cut.step;
        }
        Self { first: first.max(0) as usize, ..view }
    }

    /// `len` of dimension `dim` from `first` on.
    pub fn narrowed(&self, dim: usize, first: usize, len: usize) -> Self {
        let whole = |&len: &usize| Cut { first: 0, step: 1, len };
        let mut cuts: Vec<Cut> = self.shape.iter().map(whole).collect();
        cuts[dim] = Cut { first, step: 1, len };
        self.cut(&cuts)
    }

    /// Backwards along `axes`.
    pub fn flipped(&self, axes: &[usize]) -> Self {
        let cut = |(dim, &len): (usize, &usize)| {
            if axes.contains(&dim) {
                Cut { first: len.saturating_sub(1), step: -1, len }
            } else {
                Cut { first: 0, step: 1, len }
            }
        };
        let cuts: Vec<Cut> = self.shape.iter().enumerate().map(cut).collect();
        self.cut(&cuts)
    }

    /// Repeated along dimensions of one value, and new ones before the first, to `shape`.
    pub fn expanded(&self, shape: &[usize]) -> Self {
        let new = shape.len() - self.shape.len();
        let stride = |(dim, &extent): (usize, &usize)| match dim.checked_sub(new) {
            Some(own) if self.shape[own] == extent => self.strides[own],
            _ => 0,
        };
        let strides = shape.iter().enumerate().map(stride).collect();
        Self { first: self.first, shape: shape.to_vec(), strides }
    }

    /// The same values in the same order as another shape, where that is a matter of counting.
    pub fn reshaped(&self, shape: &[usize]) -> Option<Self> {
        if self.is_rows() {
            return Some(Self { first: self.first, ..Self::rows(shape) });
        }
        // Dimensions of one value come and go.
        let wide = |shape: &[usize]| shape.iter().copied().filter(|&extent| extent != 1).collect::<Vec<_>>();
        if wide(&self.shape) != wide(shape) {
            return None;
        }
        let mut own =
            self.shape.iter().zip(&self.strides).filter(|(extent, _)| **extent != 1).map(|(_, &stride)| stride);
        let strides = shape.iter().map(|&extent| if extent == 1 { Some(0) } else { own.next() });
        Some(Self { first: self.first, shape: shape.to_vec(), strides: strides.collect::<Option<_>>()? })
    }
}

/// Views of one shape, counted in as few dimensions as all of them allow: the extents, and each view's strides.
///
/// `None` if these are more than [`MOST_DIMS`].
pub(super) fn counted(views: &[&View]) -> Option<([usize; MOST_DIMS], Vec<[isize; MOST_DIMS]>)> {
    let shape = &views.first()?.shape;
    // From the last dimension backwards: a dimension that continues the one after it, in all views, joins it.
    let mut dims: Vec<(usize, Vec<isize>)> = Vec::new();
    for (dim, &extent) in shape.iter().enumerate().rev() {
        if extent == 1 {
            continue;
        }
        let strides: Vec<isize> = views.iter().map(|view| view.strides[dim]).collect();
        match dims.last_mut() {
            Some((inner, inner_strides))
                if strides.iter().zip(&*inner_strides).all(|(outer, own)| *outer == own * *inner as isize) =>
            {
                *inner *= extent;
            }
            _ => dims.push((extent, strides)),
        }
    }
    if dims.len() > MOST_DIMS {
        return None;
    }
    let mut extents = [1; MOST_DIMS];
    let mut strides = vec![[0; MOST_DIMS]; views.len()];
    for (i, (extent, of_views)) in dims.into_iter().enumerate() {
        let dim = MOST_DIMS - 1 - i;
        extents[dim] = extent;
        for (strides, stride) in strides.iter_mut().zip(of_views) {
            strides[dim] = stride;
        }
    }
    Some((extents, strides))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The places of a view's values, in order.
    fn places(view: &View) -> Vec<usize> {
        let count = |mut i: usize| {
            let mut place = view.first as isize;
            for (&extent, &stride) in view.shape.iter().zip(&view.strides).rev() {
                place += (i % extent) as isize * stride;
                i /= extent;
            }
            place as usize
        };
        (0..view.len()).map(count).collect()
    }

    #[test]
    fn views_find_their_values() {
        let rows = View::rows(&[2, 3, 4]);
        assert_eq!(places(&rows), (0..24).collect::<Vec<_>>());
        assert_eq!(places(&rows.permuted(&[2, 0, 1]))[..7], [0, 4, 8, 12, 16, 20, 1]);
        assert_eq!(places(&rows.narrowed(1, 1, 2).narrowed(2, 3, 1)), [7, 11, 19, 23]);
        assert_eq!(places(&rows.narrowed(0, 1, 1).flipped(&[2]))[..5], [15, 14, 13, 12, 19]);
        assert_eq!(rows.flipped(&[0, 2]).span(), 0..24);
        assert_eq!(places(&View::rows(&[1, 2]).expanded(&[2, 3, 2])), [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1]);
        let every_other = rows.cut(&[
            Cut { first: 0, step: 1, len: 1 },
            Cut { first: 2, step: -2, len: 2 },
            Cut { first: 1, step: 2, len: 2 },
        ]);
        assert_eq!(places(&every_other), [9, 11, 1, 3]);
        assert_eq!(every_other.span(), 1..12);
    }

    #[test]
    fn a_reshape_is_free_where_order_is_kept() {
        let rows = View::rows(&[2, 3, 4]);
        assert!(rows.reshaped(&[6, 4]).is_some_and(|view| places(&view) == places(&rows)));
        let turned = rows.permuted(&[1, 0, 2]);
        assert_eq!(turned.reshaped(&[6, 4]), None);
        let apart = turned.reshaped(&[3, 1, 2, 4, 1]).expect("no value moves");
        assert_eq!(places(&apart), places(&turned));
    }

    #[test]
    fn dimensions_that_follow_each_other_are_counted_as_one() {
        let rows = View::rows(&[2, 3, 1, 4]);
        let (extents, strides) = counted(&[&rows]).expect("few");
        assert_eq!((extents, &strides[..]), ([1, 1, 1, 1, 24], &[[0, 0, 0, 0, 1]][..]));
        let bias = View::rows(&[1, 3, 1, 1]).expanded(&[2, 3, 1, 4]);
        let (extents, strides) = counted(&[&rows, &bias]).expect("few");
        assert_eq!(extents, [1, 1, 2, 3, 4]);
        assert_eq!(strides, [[0, 0, 12, 4, 1], [0, 0, 0, 1, 0]]);
        let seven = View::rows(&[2; 7]).permuted(&[6, 5, 4, 3, 2, 1, 0]);
        assert_eq!(counted(&[&seven, &View::rows(&[2; 7])]), None);
    }
}

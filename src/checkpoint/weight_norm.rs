//! Folds weight norm: `weight = g * v / ||v||`, in both of torch's spellings.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::Tensor;

/// Name suffixes of magnitude `g` and direction `v`.
const SPELLINGS: [(&str, &str); 2] =
    [("weight_g", "weight_v"), ("parametrizations.weight.original0", "parametrizations.weight.original1")];

/// Replaces each pair of magnitude and direction by the `weight` it stands for.
///
/// The norm runs over the dimensions in which the magnitude has extent 1
/// (`dim=0` in convolutions: all but the first; `dim=2` in HuBERT's positional convolution).
/// A pair whose shapes do not broadcast stays as it is, and the loader reports `weight` as missing.
pub(super) fn fold(tensors: &mut BTreeMap<String, Tensor>) {
    for (g_suffix, v_suffix) in SPELLINGS {
        let stems: Vec<String> =
            tensors.keys().filter_map(|name| name.strip_suffix(g_suffix)).map(str::to_owned).collect();
        let fold_one = |stem: String| {
            let (g_name, v_name) = (format!("{stem}{g_suffix}"), format!("{stem}{v_suffix}"));
            let weight = folded(tensors.get(&g_name)?, tensors.get(&v_name)?)?;
            Some((stem, weight))
        };
        let folded: Vec<_> = stems.into_par_iter().filter_map(fold_one).collect();
        for (stem, weight) in folded {
            tensors.remove(&format!("{stem}{g_suffix}"));
            tensors.remove(&format!("{stem}{v_suffix}"));
            tensors.insert(format!("{stem}weight"), weight);
        }
    }
}

fn folded(g: &Tensor, v: &Tensor) -> Option<Tensor> {
    let broadcasts = g.shape.len() == v.shape.len()
        && g.shape.iter().zip(&v.shape).all(|(&g, &v)| g == 1 || g == v)
        && !v.is_empty();
    if !broadcasts {
        return None;
    }
    let (magnitude, mut weight) = (g.to_f32(), v.to_f32());
    let is_per_row = g.shape.iter().skip(1).all(|&extent| extent == 1);
    if is_per_row {
        let row = weight.len() / magnitude.len();
        for (values, &magnitude) in weight.chunks_mut(row).zip(&magnitude) {
            let scale = (f64::from(magnitude) / sum_of_squares(values).sqrt()) as f32;
            for value in values {
                *value *= scale;
            }
        }
    } else {
        scale_strided(&g.shape, &magnitude, &v.shape, &mut weight)?;
    }
    Some(Tensor::from_f32(v.shape.clone(), weight))
}

/// In eight lanes, so that it vectorises.
fn sum_of_squares(values: &[f32]) -> f64 {
    let mut lanes = [0.0_f64; 8];
    let mut chunks = values.chunks_exact(8);
    for chunk in &mut chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane += f64::from(value) * f64::from(value);
        }
    }
    let rest = chunks.remainder().iter().map(|&value| f64::from(value) * f64::from(value));
    lanes.into_iter().chain(rest).sum()
}

/// Scales a weight whose magnitude has extent in any dimension.
fn scale_strided(g_shape: &[usize], magnitude: &[f32], v_shape: &[usize], weight: &mut [f32]) -> Option<()> {
    // Stride of each dimension of `v` in the flat magnitude: 0 where the norm runs.
    let mut strides = vec![0; g_shape.len()];
    let mut step = 1;
    for (stride, &extent) in strides.iter_mut().zip(g_shape).rev() {
        *stride = if extent == 1 { 0 } else { step };
        step *= extent;
    }
    let magnitude_of = |flat: usize| {
        let mut rest = flat;
        let mut at = 0;
        for (&extent, &stride) in v_shape.iter().zip(&strides).rev() {
            at += (rest % extent) * stride;
            rest /= extent;
        }
        at
    };
    // The innermost dimension either shares one magnitude or walks through them.
    let row = *v_shape.last()?;
    let walk = *strides.last()?;
    let mut norm = vec![0.0_f64; magnitude.len()];
    for (index, values) in weight.chunks(row).enumerate() {
        let first = magnitude_of(index * row);
        for (i, value) in values.iter().enumerate() {
            norm[first + i * walk] += f64::from(*value) * f64::from(*value);
        }
    }
    let scale: Vec<f32> = magnitude.iter().zip(&norm).map(|(&g, &n)| (f64::from(g) / n.sqrt()) as f32).collect();
    for (index, values) in weight.chunks_mut(row).enumerate() {
        let first = magnitude_of(index * row);
        for (i, value) in values.iter_mut().enumerate() {
            *value *= scale[first + i * walk];
        }
    }
    Some(())
}

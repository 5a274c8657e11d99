//! Folds weight norm: `weight = g * v / ||v||`, in both of torch's spellings.

use std::collections::BTreeMap;

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
        for stem in stems {
            let (g_name, v_name) = (format!("{stem}{g_suffix}"), format!("{stem}{v_suffix}"));
            let folded = match (tensors.get(&g_name), tensors.get(&v_name)) {
                (Some(g), Some(v)) => folded(g, v),
                _ => None,
            };
            if let Some(weight) = folded {
                tensors.remove(&g_name);
                tensors.remove(&v_name);
                tensors.insert(format!("{stem}weight"), weight);
            }
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
    // Stride of each dimension of `v` in the flat magnitude: 0 where the norm runs.
    let mut strides = vec![0; g.shape.len()];
    let mut step = 1;
    for (stride, &extent) in strides.iter_mut().zip(&g.shape).rev() {
        *stride = if extent == 1 { 0 } else { step };
        step *= extent;
    }
    let magnitude_of = |flat: usize| {
        let mut rest = flat;
        let mut at = 0;
        for (&extent, &stride) in v.shape.iter().zip(&strides).rev() {
            at += (rest % extent) * stride;
            rest /= extent;
        }
        at
    };
    let (magnitude, mut weight) = (g.to_f32(), v.to_f32());
    // The innermost dimension either shares one magnitude or walks through them.
    let row = *v.shape.last()?;
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
    Some(Tensor::from_f32(v.shape.clone(), weight))
}

//! Linear resizing of a sequence, in torch's two conventions.

/// Resizes `values` to `length` with sample centres at half steps (torch's `align_corners=False`).
#[must_use]
pub fn resize(values: &[f32], length: usize) -> Vec<f32> {
    if values.is_empty() {
        return vec![0.0; length];
    }
    let step = values.len() as f64 / length as f64;
    (0..length).map(|i| at(values, ((i as f64 + 0.5) * step - 0.5).max(0.0))).collect()
}

/// Resizes `values` to `length` with the end points fixed (torch's `align_corners=True`).
#[must_use]
pub fn resize_ends_fixed(values: &[f32], length: usize) -> Vec<f32> {
    if values.is_empty() {
        return vec![0.0; length];
    }
    let step = if length > 1 { (values.len() - 1) as f64 / (length - 1) as f64 } else { 0.0 };
    (0..length).map(|i| at(values, i as f64 * step)).collect()
}

/// The value at a fractional position, held beyond the end.
fn at(values: &[f32], position: f64) -> f32 {
    let last = values.len() - 1;
    let left = (position as usize).min(last);
    let right = (left + 1).min(last);
    let part = (position - left as f64) as f32;
    values[left] + (values[right] - values[left]) * part
}

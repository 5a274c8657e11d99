//! Two values in a word: bfloat16, the upper half of an `f32`, rounded to nearest.
//!
//! Words are kept as `f32`, so that kernels move them about as they do any value; only their product knows better.

use super::level::{Kernel, Level};
use super::vector::Vector;

/// The word of two values.
#[inline(always)]
pub fn pair(first: f32, second: f32) -> f32 {
    f32::from_bits(u32::from(round(first)) | u32::from(round(second)) << 16)
}

/// The words of every two values of a row; the last of an odd number is paired with 0.
pub fn pair_row(level: Level, row: &[f32], words: &mut [f32]) {
    let (whole, rest) = row.as_chunks::<2>();
    level.run(Chunks { values: whole, words });
    if let ([last], Some(word)) = (rest, words.get_mut(whole.len())) {
        *word = pair(*last, 0.0);
    }
}

/// The words of two rows, value by value.
pub fn pair_rows(level: Level, first: &[f32], second: &[f32], words: &mut [f32]) {
    level.run(Rows { first, second, words });
}

struct Chunks<'a> {
    values: &'a [[f32; 2]],
    words: &'a mut [f32],
}

impl Kernel for Chunks<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        for (word, &[first, second]) in self.words.iter_mut().zip(self.values) {
            *word = pair(first, second);
        }
    }
}

struct Rows<'a> {
    first: &'a [f32],
    second: &'a [f32],
    words: &'a mut [f32],
}

impl Kernel for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        for ((word, &first), &second) in self.words.iter_mut().zip(self.first).zip(self.second) {
            *word = pair(first, second);
        }
    }
}

/// The nearest bfloat16, of two equally near the even one; what is not a number stays so.
#[inline(always)]
fn round(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    let quiet = bits | 0x0040_0000;
    ((if value.is_nan() { quiet } else { rounded }) >> 16) as u16
}

/// The value of `f32` that rounding to bfloat16 leaves.
#[cfg(test)]
pub fn rounded(value: f32) -> f32 {
    f32::from_bits(u32::from(round(value)) << 16)
}

//! Bands of image rows laid out so that a two-dimensional convolution is a one-dimensional one.

use super::level::Level;
use super::tap_sum::OVERREAD;
use super::{Around, activation};

/// Values of input that one band works on.
const BAND_VALUES: usize = 1 << 17;

/// A band of rows of every channel, each row followed by `margin` zeros, which are the next row's left margin too.
#[derive(Clone, Copy, Debug)]
pub struct Band {
    /// Image size.
    pub height: usize,
    /// Image size.
    pub width: usize,
    /// Zeros on each side that the kernel reaches into.
    pub margin: usize,
    /// Rows of output.
    pub rows: usize,
}

impl Band {
    /// A band for images of `channels` channels, as high as the cache suggests.
    pub fn new(channels: usize, height: usize, width: usize, margin: usize) -> Self {
        let rows = (BAND_VALUES / channels.max(1) / (width + margin)).clamp(1, height.max(1));
        // Equal bands, none nearly empty.
        let bands = height.div_ceil(rows).max(1);
        Self { height, width, margin, rows: height.div_ceil(bands) }
    }

    /// Bands in an image.
    pub fn count(self) -> usize {
        self.height.div_ceil(self.rows)
    }

    /// Values from one row to the next.
    pub fn pitch(self) -> usize {
        self.width + self.margin
    }

    /// Values from one channel to the next in the buffer that [`fill`](Self::fill) fills.
    pub fn plane(self) -> usize {
        super::row_stride((self.rows + 2 * self.margin) * self.pitch() + self.margin)
    }

    /// Columns that one sum covers: `rows` rows of output with what lies between them.
    pub fn columns(self, rows: usize) -> usize {
        (rows - 1) * self.pitch() + self.width
    }

    /// Length of a buffer for `channels` channels.
    pub fn buffer(self, channels: usize) -> usize {
        channels * self.plane() + OVERREAD
    }

    /// Copies the rows that output rows from `first` on need: `image` is `[channels, height, width]`.
    /// Row `first + r`, column `c` lands at `(r + margin) * pitch + margin + c` of its plane.
    pub fn fill(self, level: Level, image: &[f32], first: usize, around: Around, buffer: &mut [f32]) {
        let Self { height, width, margin, rows } = self;
        for (image, plane) in image.chunks_exact(height * width).zip(buffer.chunks_exact_mut(self.plane())) {
            plane[..margin].fill(0.0);
            let lines = plane[margin..].chunks_exact_mut(self.pitch());
            for (index, line) in lines.take(rows + 2 * margin).enumerate() {
                match (first + index).checked_sub(margin).filter(|&row| row < height) {
                    Some(row) => {
                        activation::copy(level, &image[row * width..][..width], &mut line[..width], around.before);
                        line[width..].fill(0.0);
                    }
                    None => line.fill(0.0),
                }
            }
        }
    }
}

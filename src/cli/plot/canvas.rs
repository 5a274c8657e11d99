//! A pixel canvas with smooth edges: everything is drawn at twice the size and averaged down.

use std::sync::Once;

use plotters::backend::{BitMapBackend, DrawingBackend};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontStyle, FontTransform, IntoFont, RGBColor, ShapeStyle, TextStyle, register_font};

/// Drawn pixels per pixel of the figure, in each direction.
const OVERSAMPLING: u32 = 2;
const SCALE: f32 = OVERSAMPLING as f32;

const REGULAR: &[u8] = include_bytes!("../assets/Inter-Regular.subset.otf");
const SEMI_BOLD: &[u8] = include_bytes!("../assets/Inter-SemiBold.subset.otf");

/// Where a panel lies, in pixels, and the time it spans.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    pub left: f32,
    pub right: f32,
    pub top: f32,
    pub height: f32,
    pub seconds: f32,
}

impl Frame {
    pub fn bottom(&self) -> f32 {
        self.top + self.height
    }

    pub fn width(&self) -> f32 {
        self.right - self.left
    }

    /// The pixel column of a time.
    pub fn x(&self, seconds: f32) -> f32 {
        self.left + self.width() * seconds / self.seconds.max(1e-6)
    }

    /// The pixel row of a height between 0 (bottom) and 1 (top).
    pub fn y(&self, part: f32) -> f32 {
        self.bottom() - self.height * part
    }
}

/// Which way a text lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    Flat,
    Upwards,
}

/// What is being drawn on; coordinates and sizes are pixels of the finished figure.
pub struct Canvas {
    size: (u32, u32),
    pixels: Vec<u8>,
}

impl Canvas {
    /// A white canvas of `size`.
    pub fn new(size: (u32, u32)) -> Self {
        static FONTS: Once = Once::new();
        FONTS.call_once(|| {
            // Fails only for a broken font file; these are embedded and a test draws with them.
            let _ = register_font("Inter", FontStyle::Normal, REGULAR);
            let _ = register_font("Inter", FontStyle::Bold, SEMI_BOLD);
        });
        let drawn = (size.0 * OVERSAMPLING) as usize * (size.1 * OVERSAMPLING) as usize;
        Self { size, pixels: vec![255; drawn * 3] }
    }

    fn draw(&mut self, with: impl FnOnce(&mut BitMapBackend<'_>)) {
        let drawn = (self.size.0 * OVERSAMPLING, self.size.1 * OVERSAMPLING);
        with(&mut BitMapBackend::with_buffer(&mut self.pixels, drawn));
    }

    /// A line through `points`, `width` thick.
    pub fn line(&mut self, points: &[(f32, f32)], color: RGBColor, width: f32) {
        let path: Vec<_> = points.iter().map(|&point| drawn_point(point)).collect();
        let style = ShapeStyle { color: color.to_rgba(), filled: false, stroke_width: (width * SCALE).round() as u32 };
        // A memory canvas cannot fail to be drawn on.
        self.draw(|backend| drop(backend.draw_path(path, &style)));
    }

    /// A filled rectangle; what lies beyond the canvas is left out.
    pub fn fill(&mut self, from: (f32, f32), to: (f32, f32), color: RGBColor) {
        let (width, height) = (self.size.0 * OVERSAMPLING, self.size.1 * OVERSAMPLING);
        let edge = |value: f32, limit: u32| ((value * SCALE).round().max(0.0) as usize).min(limit as usize);
        let (left, top) = (edge(from.0, width), edge(from.1, height));
        // Never thinner than one drawn pixel.
        let (right, bottom) = (edge(to.0, width).max(left + 1), edge(to.1, height).max(top + 1));
        for row in self.pixels.chunks_exact_mut(width as usize * 3).take(bottom).skip(top) {
            for pixel in row.chunks_exact_mut(3).take(right).skip(left) {
                pixel.copy_from_slice(&[color.0, color.1, color.2]);
            }
        }
    }

    /// The outline of a panel.
    pub fn outline(&mut self, frame: &Frame, color: RGBColor, width: f32) {
        let (left, right, top, bottom) = (frame.left, frame.right, frame.top, frame.bottom());
        for ends in [
            [(left, top), (right, top)],
            [(left, bottom), (right, bottom)],
            [(left, top), (left, bottom)],
            [(right, top), (right, bottom)],
        ] {
            let half = width / 2.0;
            self.fill((ends[0].0 - half, ends[0].1 - half), (ends[1].0 + half, ends[1].1 + half), color);
        }
    }

    /// A text of `size` pixels at `at`, by the given anchor.
    pub fn text(&mut self, text: &str, at: (f32, f32), size: f32, anchor: (HPos, VPos), color: RGBColor) {
        self.styled(text, at, (size, FontStyle::Normal, Lie::Flat), anchor, color);
    }

    /// A text in a weight and direction.
    pub fn styled(
        &mut self,
        text: &str,
        at: (f32, f32),
        (size, weight, lie): (f32, FontStyle, Lie),
        (horizontal, vertical): (HPos, VPos),
        color: RGBColor,
    ) {
        let font = ("Inter", size * SCALE, weight).into_font();
        let font = if lie == Lie::Upwards { font.transform(FontTransform::Rotate270) } else { font };
        let style = TextStyle::from(font).color(&color).pos(Pos::new(horizontal, vertical));
        self.draw(|backend| drop(backend.draw_text(text, &style, drawn_point(at))));
    }

    /// The figure as RGB bytes, row by row.
    pub fn finish(self) -> Vec<u8> {
        let (width, height) = (self.size.0 as usize, self.size.1 as usize);
        let step = OVERSAMPLING as usize;
        let stride = width * step * 3;
        let mut out = Vec::with_capacity(width * height * 3);
        for y in 0..height {
            for x in 0..width * 3 {
                let (pixel, channel) = (x / 3, x % 3);
                let start = y * step * stride + pixel * step * 3 + channel;
                let cells = (0..step).flat_map(|row| (0..step).map(move |column| start + row * stride + column * 3));
                let sum: usize = cells.map(|cell| usize::from(self.pixels[cell])).sum();
                out.push(((sum + step * step / 2) / (step * step)) as u8);
            }
        }
        out
    }
}

fn drawn_point((x, y): (f32, f32)) -> (i32, i32) {
    ((x * SCALE).round() as i32, (y * SCALE).round() as i32)
}

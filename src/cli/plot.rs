//! The figure of a conversion: waveforms, pitch and spectrograms of input and output over one time axis.

use std::path::Path;

use plotters::backend::BitMapBackend;
use plotters::drawing::IntoDrawingArea;

use crate::error::{Error, Result};
use crate::units::Recording;

mod canvas;
mod panels;
mod spectrogram;

use canvas::{Canvas, Frame};

/// Size of the figure in pixels.
const SIZE: (u32, u32) = (2000, 2240);
/// Left and right edge of every panel.
const LEFT: f32 = 190.0;
const RIGHT: f32 = 1790.0;
/// Top edge and height of each panel.
const ROWS: [(f32, f32); 5] = [(90.0, 210.0), (376.0, 210.0), (662.0, 380.0), (1118.0, 450.0), (1644.0, 450.0)];

/// Draws `input` and `output`, and the pitch of each (`f0_hz`, one value per 10 ms, 0 where unvoiced), into the PNG file
/// `path`, which appears under its name only when it is whole.
///
/// # Errors
/// [`Error::Argument`] if the name does not end in `.png`, [`Error::Io`] if the file cannot be written.
pub fn draw(path: &Path, [input, output]: [&Recording; 2], f0_hz: [&[f32]; 2]) -> Result<()> {
    if !path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("png")) {
        return Err(Error::argument("--plot", "a name that ends in .png", path.display()));
    }
    let seconds = input.seconds().max(output.seconds()) as f32;
    let mut canvas = Canvas::new(SIZE);
    let frame = |row: usize| Frame { left: LEFT, right: RIGHT, top: ROWS[row].0, height: ROWS[row].1, seconds };

    let level = panels::shared_level(input, output);
    panels::waveform(&mut canvas, frame(0), input, level, panels::INPUT);
    panels::waveform(&mut canvas, frame(1), output, level, panels::OUTPUT);
    panels::pitch(&mut canvas, frame(2), f0_hz);
    let spectrograms = spectrogram::pair(input, output, frame(3));
    panels::spectrogram(&mut canvas, frame(3), &spectrograms.input);
    panels::spectrogram(&mut canvas, frame(4), &spectrograms.output);
    panels::color_bar(&mut canvas, &frame(3), &frame(4), spectrogram::RANGE_DB);
    let titles =
        ["Input waveform", "Output waveform", "Fundamental frequency", "Input spectrogram", "Output spectrogram"];
    for (row, title) in titles.into_iter().enumerate() {
        panels::title(&mut canvas, &frame(row), row, title);
        panels::time_axis(&mut canvas, &frame(row), row + 1 == titles.len());
    }
    save(path, &canvas.finish())
}

/// Encodes `pixels` (RGB) beside `path` and renames.
fn save(path: &Path, pixels: &[u8]) -> Result<()> {
    let failed = |error: &dyn std::fmt::Display| Error::io(path, std::io::Error::other(error.to_string()));
    crate::io::write::write_aside_by_name(path, ".png", |aside| {
        let mut backend = BitMapBackend::new(aside, SIZE);
        plotters_blit(&mut backend, pixels).map_err(|error| failed(&error))?;
        backend.into_drawing_area().present().map_err(|error| failed(&error))
    })
}

fn plotters_blit(backend: &mut BitMapBackend<'_>, pixels: &[u8]) -> std::result::Result<(), String> {
    use plotters::backend::DrawingBackend;
    backend.blit_bitmap((0, 0), SIZE, pixels).map_err(|error| error.to_string())
}

//! The panels of the figure.

use plotters::style::text_anchor::{HPos, VPos};
use plotters::style::{FontStyle, RGBColor};

use super::canvas::{Canvas, Frame, Lie};
use super::spectrogram::{self, Spectrogram};
use crate::units::Recording;

/// A colour with its lighter companion.
#[derive(Clone, Copy, Debug)]
pub struct Ink {
    strong: RGBColor,
    light: RGBColor,
}

/// The input's colours.
pub const INPUT: Ink = Ink { strong: RGBColor(38, 84, 124), light: RGBColor(154, 181, 206) };
/// The output's colours.
pub const OUTPUT: Ink = Ink { strong: RGBColor(196, 68, 54), light: RGBColor(236, 170, 160) };

const TEXT: RGBColor = RGBColor(34, 34, 34);
const AXIS: RGBColor = RGBColor(90, 90, 90);
const GRID: RGBColor = RGBColor(232, 232, 232);

const TICK_SIZE: f32 = 26.0;
const LABEL_SIZE: f32 = 28.0;
const TITLE_SIZE: f32 = 32.0;
const TICK_LENGTH: f32 = 8.0;
const AXIS_WIDTH: f32 = 1.5;

/// Reach of a waveform's extremes: a period of a low voice, so that the shape is closed.
const EXTREME_SECONDS: f64 = 0.012;
/// Reach of its RMS.
const ENERGY_SECONDS: f64 = 0.03;

/// Nine points of a dark-to-light colour map whose lightness grows evenly.
const COLORS: [[f32; 3]; 9] = [
    [0.0, 0.0, 4.0],
    [28.0, 16.0, 68.0],
    [79.0, 18.0, 123.0],
    [129.0, 37.0, 129.0],
    [181.0, 54.0, 122.0],
    [229.0, 80.0, 100.0],
    [251.0, 135.0, 97.0],
    [254.0, 194.0, 135.0],
    [252.0, 253.0, 191.0],
];

fn color_at(part: f32) -> RGBColor {
    let place = part.clamp(0.0, 1.0) * (COLORS.len() - 1) as f32;
    let low = (place as usize).min(COLORS.len() - 2);
    let mix = |channel: usize| {
        let (from, to) = (COLORS[low][channel], COLORS[low + 1][channel]);
        (from + (to - from) * (place - low as f32)).round() as u8
    };
    RGBColor(mix(0), mix(1), mix(2))
}

/// Panel letter and title above its left edge.
pub fn title(canvas: &mut Canvas, frame: &Frame, row: usize, title: &str) {
    let letter = char::from(b'a' + row as u8).to_string();
    let y = frame.top - 14.0;
    let anchor = (HPos::Left, VPos::Bottom);
    canvas.styled(&letter, (frame.left, y), (TITLE_SIZE + 4.0, FontStyle::Bold, Lie::Flat), anchor, TEXT);
    canvas.text(title, (frame.left + 36.0, y), TITLE_SIZE, anchor, TEXT);
}

fn y_label(canvas: &mut Canvas, frame: &Frame, text: &str) {
    let at = (frame.left - 128.0, frame.y(0.5));
    canvas.styled(text, at, (LABEL_SIZE, FontStyle::Normal, Lie::Upwards), (HPos::Center, VPos::Center), TEXT);
}

fn y_tick(canvas: &mut Canvas, frame: &Frame, part: f32, label: &str) {
    let y = frame.y(part);
    canvas.fill((frame.left - TICK_LENGTH, y - AXIS_WIDTH / 2.0), (frame.left, y + AXIS_WIDTH / 2.0), AXIS);
    canvas.text(label, (frame.left - TICK_LENGTH - 8.0, y), TICK_SIZE, (HPos::Right, VPos::Center), TEXT);
}

/// Time ticks, and their labels where `labelled`.
pub fn time_axis(canvas: &mut Canvas, frame: &Frame, labelled: bool) {
    let step = nice_step(frame.seconds / 8.0);
    let digits = (-step.log10().floor()).max(0.0) as usize;
    for index in 0..=(frame.seconds / step + 1e-3) as usize {
        let (time, bottom) = (index as f32 * step, frame.bottom());
        let x = frame.x(time);
        canvas.fill((x - AXIS_WIDTH / 2.0, bottom), (x + AXIS_WIDTH / 2.0, bottom + TICK_LENGTH), AXIS);
        if labelled {
            let label = format!("{time:.digits$}");
            canvas.text(&label, (x, bottom + TICK_LENGTH + 6.0), TICK_SIZE, (HPos::Center, VPos::Top), TEXT);
        }
    }
    if labelled {
        let at = (f32::midpoint(frame.left, frame.right), frame.bottom() + 52.0);
        canvas.text("Time (s)", at, LABEL_SIZE, (HPos::Center, VPos::Top), TEXT);
    }
}

/// The smallest of 1, 2, 5 times a power of ten that is not below `least`.
fn nice_step(least: f32) -> f32 {
    let power = 10_f32.powf(least.max(1e-3).log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|digit| digit * power).find(|&step| step >= least * 0.999).unwrap_or(power)
}

fn grid(canvas: &mut Canvas, frame: &Frame) {
    let step = nice_step(frame.seconds / 8.0);
    for index in 1..=(frame.seconds / step) as usize {
        let x = frame.x(index as f32 * step);
        canvas.fill((x - 0.5, frame.top), (x + 0.5, frame.bottom()), GRID);
    }
}

/// Largest amplitude of both recordings, so that their waveforms compare.
pub fn shared_level(input: &Recording, output: &Recording) -> f32 {
    let samples = input.samples.iter().chain(&output.samples);
    samples.fold(0.0_f32, |level, sample| level.max(sample.abs())).max(1e-3)
}

/// Extremes around each pixel column in the light colour, the RMS in the strong one.
pub fn waveform(canvas: &mut Canvas, frame: Frame, recording: &Recording, level: f32, ink: Ink) {
    grid(canvas, &frame);
    let full = level * 1.08;
    let half = |amplitude: f32| 0.5 + 0.5 * amplitude / full;
    // Half pixels, since the canvas is drawn at twice the size.
    let columns = frame.width() as usize * 2;
    let rate = f64::from(recording.sample_rate_hz);
    let around = |column: usize, seconds: f64| {
        let centre = (column as f64 + 0.5) / columns as f64 * f64::from(frame.seconds);
        let half = (seconds / 2.0).max(f64::from(frame.seconds) / columns as f64 / 2.0);
        let end = (((centre + half) * rate).ceil() as usize).min(recording.samples.len());
        &recording.samples[(((centre - half) * rate).max(0.0) as usize).min(end)..end]
    };
    for column in 0..columns {
        let (wide, near) = (around(column, ENERGY_SECONDS), around(column, EXTREME_SECONDS));
        if near.is_empty() {
            break;
        }
        let low = near.iter().copied().fold(f32::MAX, f32::min);
        let high = near.iter().copied().fold(f32::MIN, f32::max);
        let rms = (wide.iter().map(|sample| sample * sample).sum::<f32>() / wide.len() as f32).sqrt();
        let x = frame.left + column as f32 / 2.0;
        canvas.fill((x, frame.y(half(high)) - 0.5), (x + 0.5, frame.y(half(low)) + 0.5), ink.light);
        canvas.fill((x, frame.y(half(rms.min(high)))), (x + 0.5, frame.y(half((-rms).max(low)))), ink.strong);
    }
    let tick = nice_step(level * 0.4);
    let digits = (-tick.log10().floor()).max(0.0) as usize;
    for value in [-tick, 0.0, tick] {
        let label = if value < 0.0 { format!("\u{2212}{:.digits$}", -value) } else { format!("{value:.digits$}") };
        let label = if value == 0.0 { "0".into() } else { label };
        y_tick(canvas, &frame, half(value), &label);
    }
    y_label(canvas, &frame, "Amplitude");
    canvas.outline(&frame, AXIS, AXIS_WIDTH);
}

/// Pitch of input and output on a logarithmic axis; gaps where unvoiced.
pub fn pitch(canvas: &mut Canvas, frame: Frame, [before_hz, after_hz]: [&[f32]; 2]) {
    grid(canvas, &frame);
    let voiced = || before_hz.iter().chain(after_hz).copied().filter(|&hertz| hertz > 0.0);
    let (mut low, mut high) = (voiced().fold(f32::MAX, f32::min), voiced().fold(0.0, f32::max));
    if high == 0.0 {
        (low, high) = (50.0, 800.0);
    }
    // At least an octave, and some air.
    let stretch = (2.0 / (high / low)).max(1.0).sqrt() * 1.08;
    (low, high) = (low / stretch, high * stretch);
    let height = |hertz: f32| (hertz / low).ln() / (high / low).ln();
    let fine = [40.0, 50.0, 60.0, 80.0, 100.0, 120.0, 150.0, 200.0, 250.0, 300.0, 400.0, 500.0, 600.0, 800.0, 1000.0];
    let coarse = [30.0, 50.0, 70.0, 100.0, 150.0, 200.0, 300.0, 400.0, 600.0, 800.0, 1100.0, 1600.0];
    let ticks = if high / low < 4.0 { &fine[..] } else { &coarse[..] };
    for hertz in ticks.iter().copied().filter(|&hertz| (low..=high).contains(&hertz)) {
        let y = frame.y(height(hertz));
        canvas.fill((frame.left, y - 0.5), (frame.right, y + 0.5), GRID);
        y_tick(canvas, &frame, height(hertz), &format!("{hertz}"));
    }
    for (curve, ink) in [(before_hz, INPUT), (after_hz, OUTPUT)] {
        let mut run = Vec::new();
        for (hop, &hertz) in curve.iter().chain(&[0.0]).enumerate() {
            if hertz > 0.0 {
                run.push((frame.x(hop as f32 / 100.0), frame.y(height(hertz))));
            } else if !run.is_empty() {
                // A single voiced hop is a dash one hop long.
                if let &[(x, y)] = &run[..] {
                    run.push((x + frame.x(0.01) - frame.left, y));
                }
                canvas.line(&run, ink.strong, 3.5);
                run.clear();
            }
        }
    }
    let y = frame.top - 14.0;
    let mut x = frame.right;
    for (name, ink) in [("output", OUTPUT), ("input", INPUT)] {
        canvas.text(name, (x, y), LABEL_SIZE, (HPos::Right, VPos::Bottom), TEXT);
        x -= if name == "output" { 96.0 } else { 76.0 };
        canvas.fill((x - 52.0, y - 16.0), (x - 10.0, y - 12.0), ink.strong);
        x -= 84.0;
    }
    y_label(canvas, &frame, "F0 (Hz)");
    canvas.outline(&frame, AXIS, AXIS_WIDTH);
}

/// Levels as colours over time and mel-scaled frequency.
pub fn spectrogram(canvas: &mut Canvas, frame: Frame, shown: &Spectrogram) {
    canvas.fill((frame.left, frame.top), (frame.right, frame.bottom()), color_at(0.0));
    for (column, levels) in shown.levels.chunks_exact(shown.rows.max(1)).enumerate().take(shown.columns) {
        let x = frame.left + column as f32;
        for (row, &level) in levels.iter().enumerate() {
            let y = frame.bottom() - row as f32;
            canvas.fill((x, y - 1.0), (x + 1.0, y), color_at(level));
        }
    }
    for hertz in [250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0] {
        let part = spectrogram::height(hertz, shown.highest_hz);
        if part < 1.0 {
            y_tick(canvas, &frame, part, &format!("{}", hertz / 1000.0));
        }
    }
    y_tick(canvas, &frame, 0.0, "0");
    y_label(canvas, &frame, "Frequency (kHz)");
    canvas.outline(&frame, AXIS, AXIS_WIDTH);
}

/// The scale of both spectrograms, to their right.
pub fn color_bar(canvas: &mut Canvas, upper: &Frame, lower: &Frame, range_db: f32) {
    let height = lower.bottom() - upper.top;
    let bar = Frame { left: upper.right + 36.0, right: upper.right + 64.0, top: upper.top, height, seconds: 1.0 };
    for row in 0..bar.height as usize {
        let y = bar.bottom() - row as f32;
        canvas.fill((bar.left, y - 1.0), (bar.right, y), color_at(row as f32 / bar.height));
    }
    canvas.outline(&bar, AXIS, AXIS_WIDTH);
    for index in 0..=4 {
        let part = index as f32 / 4.0;
        let y = bar.y(part);
        canvas.fill((bar.right, y - AXIS_WIDTH / 2.0), (bar.right + TICK_LENGTH, y + AXIS_WIDTH / 2.0), AXIS);
        let below = (1.0 - part) * range_db;
        let label = if below == 0.0 { "0".into() } else { format!("\u{2212}{below:.0}") };
        canvas.text(&label, (bar.right + TICK_LENGTH + 8.0, y), TICK_SIZE, (HPos::Left, VPos::Center), TEXT);
    }
    let at = (bar.right + 92.0, bar.y(0.5));
    let style = (LABEL_SIZE, FontStyle::Normal, Lie::Upwards);
    canvas.styled("Level (dB below the loudest)", at, style, (HPos::Center, VPos::Center), TEXT);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lightness_of_the_colour_map_grows_all_the_way() {
        let lightness = |part| {
            let RGBColor(red, green, blue) = color_at(part);
            0.2126 * f32::from(red) + 0.7152 * f32::from(green) + 0.0722 * f32::from(blue)
        };
        for step in 0..100 {
            let part = step as f32 / 100.0;
            assert!(lightness(part + 0.01) > lightness(part), "at {part}");
        }
    }

    #[test]
    fn steps_are_one_two_or_five() {
        assert!((nice_step(0.3) - 0.5).abs() < 1e-6 && (nice_step(1.1) - 2.0).abs() < 1e-6);
        assert!((nice_step(0.02) - 0.02).abs() < 1e-6 && (nice_step(7.0) - 10.0).abs() < 1e-5);
    }
}

//! Draws a [`View`]: sections of aligned lines, in two columns where there is room, else the essential in one.

use std::ops::Range;
use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Margin, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Padding, Paragraph, Sparkline, SparklineBar};
use tracing::Level;

use super::keys;
use super::view::{Note, Peaks, View};
use crate::cli::live::lines::state_name;
use crate::io::live::DeviceState;
use crate::telemetry::{Percentiles, Stage};

/// Smallest terminal that both columns fit into.
const TWO_COLUMNS: (u16, u16) = (78, 23);
/// Widest picture: beyond, lines are too long to be read across.
const WIDEST: u16 = 112;
/// Rows of the columns.
const COLUMN_ROWS: u16 = 15;
/// Columns of the words at the start of lines.
const LABEL: usize = 8;
/// Columns between the two columns.
const GUTTER: u16 = 4;

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, view: &View) {
    let area = frame.area().inner(Margin { horizontal: 1, vertical: 0 });
    let area = Rect { width: area.width.min(WIDEST), ..area };
    let picture = Picture { view, style: Palette { color: view.color }, width: usize::from(area.width) };
    if area.width + 2 >= TWO_COLUMNS.0 && area.height >= TWO_COLUMNS.1 {
        picture.two_columns(frame, area);
    } else {
        picture.one_column(frame, area);
    }
    if view.help {
        picture.help(frame, area);
    }
}

/// Colours by meaning. Without colours, weight tells what matters.
#[derive(Clone, Copy)]
struct Palette {
    color: bool,
}

impl Palette {
    fn title() -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    fn label() -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    fn colored(self, color: Color) -> Style {
        if self.color { Style::new().fg(color) } else { Style::new() }
    }

    fn accent(self) -> Style {
        self.colored(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    fn good(self) -> Style {
        self.colored(Color::Green)
    }

    fn caution(self) -> Style {
        self.colored(Color::Yellow).add_modifier(Modifier::BOLD)
    }

    fn alarm(self) -> Style {
        let style = Style::new().add_modifier(Modifier::BOLD);
        if self.color { style.fg(Color::Red) } else { style.add_modifier(Modifier::REVERSED) }
    }

    /// Plain while there is nothing to tell.
    fn unless_zero(self, count: u64) -> Style {
        if count == 0 { Self::label() } else { self.caution() }
    }
}

struct Picture<'a> {
    view: &'a View,
    style: Palette,
    width: usize,
}

impl Picture<'_> {
    fn two_columns(&self, frame: &mut Frame<'_>, area: Rect) {
        let facts = self.facts();
        let [header, _, columns, _, settled, _, messages, keys] = area.layout(&Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Length(COLUMN_ROWS),
            Constraint::Length(1),
            Constraint::Length(facts.len() as u16),
            Constraint::Length(u16::from(area.height > TWO_COLUMNS.1 + 2)),
            Constraint::Min(0),
            Constraint::Length(1),
        ]));
        let right_width = 36 + (area.width.saturating_sub(76)) / 3;
        let [left, right] =
            columns.layout(&Layout::horizontal([Constraint::Min(0), Constraint::Length(right_width)]).spacing(GUTTER));
        frame.render_widget(self.header(), header);
        self.left(frame, left);
        let width = usize::from(right.width);
        frame.render_widget(
            Paragraph::new([self.delay(width), vec![Line::default()], self.times(width)].concat()),
            right,
        );
        frame.render_widget(Paragraph::new(facts), settled);
        frame.render_widget(Paragraph::new(self.messages(usize::from(messages.height))), messages);
        frame.render_widget(self.keys(), keys);
    }

    /// What matters most comes first: the end is cut off where there is no room.
    fn one_column(&self, frame: &mut Frame<'_>, area: Rect) {
        let has_keys = area.height > 10;
        let [header, body, keys] = area.layout(&Layout::vertical([
            Constraint::Length(1),
            Constraint::Min(0),
            Constraint::Length(u16::from(has_keys)),
        ]));
        frame.render_widget(self.header(), header);
        let speed = self.speed(self.width);
        let mut lines = self.levels(self.width)[1..].to_vec();
        lines.push(self.pitch_in_a_line());
        lines.extend(speed.into_iter().skip(1));
        lines.extend(self.facts());
        lines.push(self.delay_in_a_line());
        let room = usize::from(body.height).saturating_sub(lines.len());
        lines.extend(self.messages(room));
        frame.render_widget(Paragraph::new(lines), body);
        if has_keys {
            frame.render_widget(Line::styled("? keys   q end", Palette::label()), keys);
        }
    }

    fn header(&self) -> Line<'static> {
        let metrics = &self.view.moment.metrics;
        let device = &metrics.telemetry.device;
        let state = state_name(device.state);
        let state_style = match device.state {
            DeviceState::Running => self.style.good(),
            DeviceState::Lost => self.style.alarm(),
            DeviceState::Silent | DeviceState::Ended => self.style.caution(),
        };
        let right = [
            Span::styled(format!("● {state}"), state_style),
            Span::raw(format!("  {}", clock(metrics.telemetry.running))),
        ];
        let about = format!("  {}  {} Hz  blocks of {}", self.view.about.host, metrics.rate_hz, device.block_frames);
        let mut left = vec![Span::styled("syrinx live", self.style.accent()), Span::styled(about, Palette::label())];
        // How it goes matters more than where.
        if left.iter().chain(&right).map(Span::width).sum::<usize>() >= self.width {
            left.pop();
        }
        spread(left, right.into(), self.width)
    }

    /// Levels, pitch and speed.
    fn left(&self, frame: &mut Frame<'_>, area: Rect) {
        let width = usize::from(area.width);
        let gap = vec![Line::default()];
        let lines = [self.levels(width), gap.clone(), self.pitch(width), gap, self.speed(width)].concat();
        let [above, chart] =
            area.layout(&Layout::vertical([Constraint::Length(lines.len() as u16), Constraint::Min(0)]));
        frame.render_widget(Paragraph::new(lines), above);
        self.chart(frame, chart);
    }

    fn levels(&self, width: usize) -> Vec<Line<'static>> {
        let title = spread(
            vec![Span::styled("Levels", Palette::title())],
            vec![Span::styled("peak   highest dB", Palette::label())],
            width,
        );
        vec![title, self.level("in", &self.view.input, width), self.level("out", &self.view.output, width)]
    }

    fn level(&self, name: &'static str, peaks: &Peaks, width: usize) -> Line<'static> {
        /// Columns of the figures.
        const FIGURES: usize = 18;
        let bar = width.saturating_sub(LABEL + FIGURES);
        let mut spans = vec![label(name)];
        spans.extend(meter(peaks, bar, self.style));
        spans.push(Span::raw(format!("{:>8}", decibels(peaks.peak_db))));
        let style = match peaks.highest_db {
            _ if peaks.clipped > 0 => self.style.alarm(),
            level if level > NEAR_FULL_DB => self.style.caution(),
            _ => Palette::label(),
        };
        let highest = if peaks.clipped > 0 { "clipped".into() } else { decibels(peaks.highest_db) };
        spans.push(Span::styled(format!("{highest:>10}"), style));
        Line::from(spans)
    }

    fn pitch(&self, width: usize) -> Vec<Line<'static>> {
        let pitch = self.view.moment.pitch_hz();
        let line = |name, hz: Option<f32>| {
            let (figure, note) = hz.map_or_else(|| ("-".into(), String::new()), |hz| (format!("{hz:.1} Hz"), note(hz)));
            Line::from(vec![label(name), Span::raw(format!("{figure:>10}")), Span::raw(format!("   {note}"))])
        };
        let params = &self.view.moment.state.params;
        let shift = format!("transposed {}", semitones(params.transpose_semitones));
        vec![
            spread(vec![Span::styled("Pitch", Palette::title())], vec![Span::styled(shift, Palette::label())], width),
            line("in", pitch.map(|(input, _)| input)),
            line("out", pitch.map(|(_, output)| output)),
        ]
    }

    fn pitch_in_a_line(&self) -> Line<'static> {
        let named = |hz: f32| format!("{hz:.1} Hz {}", note(hz));
        let text = self.view.moment.pitch_hz().map(|(input, output)| format!("{} → {}", named(input), named(output)));
        Line::from(vec![label("pitch"), Span::raw(text.unwrap_or_else(|| "-".into()))])
    }

    /// A title and a line.
    fn speed(&self, width: usize) -> Vec<Line<'static>> {
        let worker = &self.view.moment.metrics.telemetry.worker;
        let rtf = |ms| format!("{:>7.2}", worker.rtf_of(ms));
        let style = match worker.rtf {
            rtf if rtf > 1.0 => self.style.alarm(),
            rtf if rtf > 0.8 => self.style.caution(),
            _ => Style::new(),
        };
        let Percentiles { p50, p99, max, .. } = worker.total_ms;
        let head = Span::styled("    p50    p99    max", Palette::label());
        let figures = [p50, p99, max].map(rtf).concat();
        vec![
            spread(vec![Span::styled("Speed", Palette::title())], vec![head], width),
            spread(
                vec![label("RTF"), Span::styled(format!("{:.2}", worker.rtf), style)],
                vec![Span::raw(figures)],
                width,
            ),
        ]
    }

    /// The speed of the last chunks; the top is as long as the chunk lasts.
    fn chart(&self, frame: &mut Frame<'_>, area: Rect) {
        /// Steps of the chart's height.
        const STEPS: f32 = 1000.0;
        let [axis, chart] = area.layout(&Layout::horizontal([Constraint::Length(LABEL as u16), Constraint::Min(0)]));
        let marks = (0..area.height).map(|row| match row {
            0 => Line::styled("1.0", Palette::label()),
            row if row + 1 == area.height => Line::styled("0", Palette::label()),
            _ => Line::default(),
        });
        frame.render_widget(Paragraph::new(marks.collect::<Vec<_>>()), axis);
        let skipped = self.view.rtf.len().saturating_sub(usize::from(chart.width));
        let bars = self.view.rtf.iter().skip(skipped).map(|&rtf| {
            let style = match rtf {
                rtf if rtf > 1.0 => self.style.alarm(),
                rtf if rtf > 0.8 => self.style.caution(),
                _ => self.style.colored(Color::Cyan),
            };
            SparklineBar::from((rtf.clamp(0.0, 1.0) * STEPS) as u64).style(style)
        });
        frame.render_widget(Sparkline::default().data(bars.collect::<Vec<_>>()).max(STEPS as u64), chart);
    }

    fn delay(&self, width: usize) -> Vec<Line<'static>> {
        let (moment, latency) = (&self.view.moment, self.view.moment.metrics.latency);
        let line = |name: &'static str, samples: usize, style| {
            let figure = Span::styled(format!("{:.1}", moment.ms(samples as u64)), style);
            spread(vec![Span::styled(name, Palette::label())], vec![figure], width)
        };
        vec![
            spread(vec![Span::styled("Delay", Palette::title())], vec![Span::styled("ms", Palette::label())], width),
            line("algorithmic", latency.algorithmic, Style::new()),
            line("processing", latency.processing, Style::new()),
            line("device", latency.device, Style::new()),
            line("total", latency.total(), Palette::title()),
        ]
    }

    fn delay_in_a_line(&self) -> Line<'static> {
        let total = self.view.moment.metrics.latency.total() as u64;
        Line::from(vec![label("delay"), Span::raw(format!("{:.1} ms", self.view.moment.ms(total)))])
    }

    fn times(&self, width: usize) -> Vec<Line<'static>> {
        let worker = &self.view.moment.metrics.telemetry.worker;
        let line = |name: &'static str, times: Percentiles, style| {
            let figures = [times.p50, times.p95, times.p99].map(|ms| format!("{ms:>7.1}")).concat();
            spread(vec![Span::styled(name, Palette::label())], vec![Span::styled(figures, style)], width)
        };
        let head = Span::styled("p50    p95    p99", Palette::label());
        let mut lines = vec![spread(vec![Span::styled("Time in ms", Palette::title())], vec![head], width)];
        lines.extend(
            Stage::ALL.into_iter().zip(worker.stage_ms).map(|(stage, times)| line(stage.name(), times, Style::new())),
        );
        lines.push(line("chunk", worker.total_ms, Palette::title()));
        lines.push(line("waiting before", worker.queue_age_ms, Style::new()));
        lines
    }

    /// Voices, settings, what was late, the recording.
    fn facts(&self) -> Vec<Line<'static>> {
        let mut lines = vec![self.voices(), self.settings(), self.late()];
        lines.extend(self.recording());
        lines
    }

    /// The slots around the one that is heard, as far as they fit.
    fn voices(&self) -> Line<'static> {
        let moment = &self.view.moment;
        let names: Vec<String> = (1..)
            .zip(&moment.slots)
            .map(|(number, (name, params))| {
                let shift = Some(params.transpose_semitones).filter(|shift| *shift != 0.0).map(semitones);
                format!("{number} {name}{}", shift.map(|shift| format!(" {shift}")).unwrap_or_default())
            })
            .collect();
        let room = self.width.saturating_sub(LABEL);
        let mut spans = vec![label("voice")];
        for place in fitting(&names, moment.state.slot, room) {
            let style = if place == moment.state.slot { self.style.accent() } else { Style::new() };
            spans.push(Span::styled(shorten(&names[place], room), style));
            spans.push(Span::raw(APART));
        }
        Line::from(spans)
    }

    fn settings(&self) -> Line<'static> {
        let state = &self.view.moment.state;
        let (params, live) = (&state.params, &state.live);
        let mut spans = vec![label("sound")];
        let has_index = params.index_rate > 0.0;
        for (name, value, is_shown) in [
            ("transpose", semitones(params.transpose_semitones), true),
            ("formant", semitones(params.formant_semitones), true),
            ("mix", format!("{:.0} %", 100.0 * live.mix), true),
            ("index", format!("{:.0} %", 100.0 * params.index_rate), has_index),
            ("gain", format!("{:+.0} dB", live.output_gain_db), live.output_gain_db != 0.0),
        ] {
            if is_shown {
                spans.extend([Span::styled(format!("{name} "), Palette::label()), Span::raw(format!("{value}   "))]);
            }
        }
        for (name, is_on) in [(" BYPASS ", live.bypass), (" MUTE ", live.mute)] {
            if is_on {
                spans.extend([
                    Span::styled(name, self.style.caution().add_modifier(Modifier::REVERSED)),
                    Span::raw(" "),
                ]);
            }
        }
        Line::from(spans)
    }

    fn late(&self) -> Line<'static> {
        let telemetry = &self.view.moment.metrics.telemetry;
        let mut spans = vec![label("late")];
        for (name, count) in [
            ("xruns", telemetry.device.xruns),
            ("starved", telemetry.link.starvation.times),
            ("shed", telemetry.worker.shed),
            ("overruns", telemetry.worker.overruns),
            ("failed", telemetry.worker.failed),
        ] {
            let style = self.style.unless_zero(count);
            spans.extend([
                Span::styled(format!("{name} "), Palette::label()),
                Span::styled(format!("{count}   "), style),
            ]);
        }
        let silent = self.view.moment.ms(telemetry.link.starvation.samples);
        if silent > 0.0 {
            spans.push(Span::styled(format!("{:.1} s silent", 1e-3 * silent), self.style.caution()));
        }
        Line::from(spans)
    }

    fn recording(&self) -> Option<Line<'static>> {
        let path = self.view.about.record.as_ref()?;
        let (frames, lost) = self.view.moment.metrics.telemetry.recorded;
        let time = clock(Duration::from_secs_f64(1e-3 * self.view.moment.ms(frames)));
        let mut spans = vec![label("record"), Span::styled("● ", self.style.alarm()), Span::raw(format!("{time}   "))];
        spans.push(Span::styled(path.display().to_string(), Palette::label()));
        if lost > 0 {
            spans.push(Span::styled(format!("   {lost} frames lost"), self.style.alarm()));
        }
        Some(Line::from(spans))
    }

    /// The last messages, the latest at the bottom.
    fn messages(&self, rows: usize) -> Vec<Line<'static>> {
        let notes = &self.view.messages;
        let line = |note: &Note| {
            let style = match note.level {
                Level::ERROR => self.style.alarm(),
                Level::WARN => self.style.caution(),
                _ => Palette::label(),
            };
            let room = self.width.saturating_sub(LABEL);
            let time = Span::styled(format!("{:<LABEL$}", clock(note.at)), Palette::label());
            Line::from(vec![time, Span::styled(shorten(&note.text, room), style)])
        };
        notes[notes.len().saturating_sub(rows)..].iter().map(line).collect()
    }

    fn keys(&self) -> Line<'static> {
        let keys = [
            ("↑↓", "transpose"),
            ("f F", "formant"),
            ("←→", "mix"),
            ("1-9", "voice"),
            ("b", "bypass"),
            ("m", "mute"),
            ("?", "keys"),
            ("q", "end"),
        ];
        let spans = keys.into_iter().flat_map(|(key, what)| {
            [Span::styled(key, self.style.accent()), Span::styled(format!(" {what}  "), Palette::label())]
        });
        Line::from(spans.collect::<Vec<_>>())
    }

    fn help(&self, frame: &mut Frame<'_>, area: Rect) {
        /// Columns of the keys' names.
        const KEYS: usize = 14;
        let lines: Vec<_> = keys::HELP
            .iter()
            .map(|(key, what)| {
                Line::from(vec![Span::styled(format!("{key:<KEYS$}"), self.style.accent()), Span::raw(*what)])
            })
            .collect();
        let (width, height) =
            ((KEYS + 42).min(usize::from(area.width)) as u16, (lines.len() as u16 + 4).min(area.height));
        let area = area.centered(Constraint::Length(width), Constraint::Length(height));
        let block = Block::bordered().title(" Keys ").border_style(Palette::label()).padding(Padding::uniform(1));
        frame.render_widget(Clear, area);
        frame.render_widget(Paragraph::new(lines).block(block), area);
    }
}

/// What stands between two voices.
const APART: &str = "   ";

/// The names around that at `current` that fit into `room` columns: those after it first.
fn fitting(names: &[String], current: usize, room: usize) -> Range<usize> {
    let width = |place: usize| names[place].chars().count() + APART.len();
    let (mut range, mut taken) = (current..current + 1, width(current));
    loop {
        let next = (range.end < names.len()).then(|| width(range.end)).filter(|next| taken + next <= room);
        let before = range.start.checked_sub(1).map(width).filter(|before| taken + before <= room);
        match (next, before) {
            (Some(next), _) => (range.end, taken) = (range.end + 1, taken + next),
            (None, Some(before)) => (range.start, taken) = (range.start - 1, taken + before),
            (None, None) => return range,
        }
    }
}

/// Level from which on a signal is near full scale, in dB.
const NEAR_FULL_DB: f32 = -3.0;

/// A bar from -60 to 0 dB: RMS thick, peak thin, and a mark where the peak was.
fn meter(peaks: &Peaks, width: usize, style: Palette) -> Vec<Span<'static>> {
    const LOWEST_DB: f32 = -60.0;
    let column = |db: f32| ((1.0 - db.clamp(LOWEST_DB, 0.0) / LOWEST_DB) * width as f32).round() as usize;
    let (rms, peak) = (column(peaks.rms_db), column(peaks.peak_db));
    let held = column(peaks.held_db).checked_sub(1);
    let near_full = column(NEAR_FULL_DB);
    (0..width)
        .map(|place| {
            let (char, weak) = match place {
                _ if Some(place) == held => ("│", false),
                _ if place < rms => ("━", false),
                _ if place < peak => ("─", false),
                _ => ("·", true),
            };
            let style = match () {
                () if weak => Palette::label(),
                () if place >= near_full => style.alarm(),
                () => style.good(),
            };
            Span::styled(char, style)
        })
        .collect()
}

/// Words at the start of a line.
fn label(name: &'static str) -> Span<'static> {
    Span::styled(format!("{name:<LABEL$}"), Palette::label())
}

/// `left` and `right` at the ends of a line; what does not fit is cut off on the right.
fn spread(mut left: Vec<Span<'static>>, right: Vec<Span<'static>>, width: usize) -> Line<'static> {
    let taken: usize = left.iter().chain(&right).map(Span::width).sum();
    left.push(Span::raw(" ".repeat(width.saturating_sub(taken).max(1))));
    left.extend(right);
    Line::from(left)
}

/// A level in dB, or that there is none.
fn decibels(db: f32) -> String {
    if db <= -119.5 { "-∞".into() } else { format!("{db:.1}") }
}

/// A shift as people write it: `+12`, `-0.5`, `0`.
fn semitones(shift: f32) -> String {
    if shift == 0.0 {
        "0".into()
    } else if shift.fract() == 0.0 {
        format!("{shift:+.0}")
    } else {
        format!("{shift:+.1}")
    }
}

/// Note and cents of a frequency, at 440 Hz for A4.
fn note(hz: f32) -> String {
    const NAMES: [&str; 12] = ["C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"];
    let midi = 69.0 + 12.0 * (hz / 440.0).log2();
    let (key, cents) = (midi.round() as i32, (100.0 * (midi - midi.round())).round());
    format!("{:<4}{cents:+.0} ct", format!("{}{}", NAMES[key.rem_euclid(12) as usize], key.div_euclid(12) - 1))
}

/// Hours, minutes and seconds; no hours while there are none.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let hours = if hours > 0 { format!("{hours}:{minutes:02}") } else { minutes.to_string() };
    format!("{hours}:{:02}", seconds % 60)
}

/// At most `room` characters of `text`, with a sign where some are missing.
fn shorten(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    text.chars().take(room.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::buffer::Buffer;

    use super::*;
    use crate::cli::live::moment::{Commands, Moment};
    use crate::cli::live::screen::view::About;
    use crate::graph::GraphTelemetry;
    use crate::graph::nodes::Levels;
    use crate::graph::nodes::link::LinkTelemetry;
    use crate::io::live::DeviceTelemetry;
    use crate::io::live::priority::Priority;
    use crate::live::{ControlState, Latency, LiveMetrics, LiveTelemetry, SlotParams, WorkerTelemetry};
    use crate::params::{ConversionParams, LiveParams};

    fn moment(chunks: u64) -> Moment {
        let times = |ms: f32| Percentiles { p50: ms, p95: 1.2 * ms, p99: 1.5 * ms, max: 2.0 * ms };
        let device = DeviceTelemetry {
            state: DeviceState::Running,
            callbacks: 90 * chunks,
            frames: 46_080 * chunks,
            standby_frames: 0,
            xruns: 0,
            block_frames: 512,
            block_changes: 0,
            input_latency_samples: 512,
            output_latency_samples: 512,
            graph_latency_samples: 9000,
            losses: 0,
            returns: 0,
            freewheel: false,
            priority: Priority::RealTime,
            priority_level: 60,
        };
        let worker = WorkerTelemetry {
            chunks,
            // Twice what the synthesizer reads, since the voice is an octave up.
            f0_hz: 2.0 * 184.997,
            rtf: 0.25,
            chunk_ms: 100.0,
            total_ms: times(25.0),
            queue_age_ms: times(0.4),
            stage_ms: [0.1, 2.0, 8.0, 1.0, 13.0, 0.9].map(times),
            ..WorkerTelemetry::default()
        };
        let levels = |peak| Levels { peak, rms: 0.3 * peak, clipped_samples: 0 };
        let telemetry = LiveTelemetry {
            running: Duration::from_millis(3_700_000 + 100 * chunks),
            device,
            graph: GraphTelemetry::default(),
            link: LinkTelemetry::default(),
            worker,
            input: levels(0.1),
            output: levels(0.5),
            recorded: (480_000, 0),
            lost_events: 0,
        };
        let latency = Latency { algorithmic: 6912, processing: 2400, device: 1024 };
        let params = ConversionParams { transpose_semitones: 12.0, ..ConversionParams::default() };
        let slot = |name: &str, transpose_semitones| {
            (name.to_owned(), SlotParams { transpose_semitones, ..SlotParams::default() })
        };
        Moment {
            metrics: LiveMetrics { telemetry, latency, rate_hz: 48_000 },
            state: ControlState { params, live: LiveParams::default(), slot: 1 },
            slots: vec![slot("bass", 0.0), slot("alto", 12.0), slot("robot", -0.5)],
            commands: Commands::default(),
        }
    }

    fn view() -> View {
        let about = About { host: "jack".into(), record: None, budget: Duration::from_millis(50) };
        let mut view = View::new(about, moment(0), true);
        (1..=20).for_each(|chunks| view.update(moment(chunks)));
        view
    }

    fn drawn(view: &View, width: u16, height: u16) -> Buffer {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
        terminal.draw(|frame| draw(frame, view)).expect("a picture");
        terminal.backend().buffer().clone()
    }

    fn lines(buffer: &Buffer) -> Vec<String> {
        let row = |row: &[ratatui::buffer::Cell]| row.iter().map(ratatui::buffer::Cell::symbol).collect::<String>();
        let width = usize::from(buffer.area.width);
        buffer.content.chunks(width).map(|cells| row(cells).trim_end().to_owned()).collect()
    }

    #[test]
    fn a_usual_terminal_shows_everything_in_two_columns() {
        let lines = lines(&drawn(&view(), 80, 24));
        assert!(lines[0].starts_with(" syrinx live  jack  48000 Hz  blocks of 512"), "{lines:#?}");
        assert!(lines[0].ends_with("● running  1:01:42"), "{lines:#?}");
        let facts = [
            "Levels",
            "-20.0",
            "Pitch",
            "185.0 Hz   F#3",
            "370.0 Hz   F#4",
            "Speed",
            "0.25",
            "Delay",
            "144.0",
            "50.0",
            "21.3",
            "215.3",
            "Time in ms",
            "synthesizer",
            "13.0",
            "15.6",
            "19.5",
            "waiting before",
            "2 alto +12",
            "3 robot -0.5",
            "transpose +12",
            "mix 100 %",
            "xruns 0",
            "? keys",
        ];
        for fact in facts {
            assert!(lines.iter().any(|line| line.contains(fact)), "{fact}: {lines:#?}");
        }
        // What stands on the right ends in one column.
        let right = lines[2..17].iter().filter(|line| line.chars().count() > 60);
        assert!(right.clone().count() >= 10 && right.into_iter().all(|line| line.chars().count() == 79), "{lines:#?}");
    }

    #[test]
    fn what_needs_attention_is_told() {
        let mut view = view();
        let mut worse = moment(30);
        let telemetry = &mut worse.metrics.telemetry;
        telemetry.device.state = DeviceState::Lost;
        telemetry.device.xruns = 7;
        telemetry.worker.shed = 3;
        telemetry.link.starvation.times = 2;
        telemetry.link.starvation.samples = 24_000;
        telemetry.worker.f0_hz = 0.0;
        telemetry.output = Levels { peak: 1.0, rms: 0.7, clipped_samples: 12 };
        telemetry.recorded.1 = 100;
        worse.state.live = LiveParams { bypass: true, mute: true, mix: 0.35, ..LiveParams::default() };
        view.about.record = Some("both.wav".into());
        view.update(worse);
        let text = lines(&drawn(&view, 100, 30)).join("\n");
        for fact in [
            "● lost",
            "xruns 7",
            "starved 2",
            "0.5 s silent",
            "shed 3",
            "clipped",
            " BYPASS ",
            " MUTE",
            "mix 35 %",
            "both.wav",
            "100 frames lost",
            "● 0:10",
        ] {
            assert!(text.contains(fact), "{fact}\n{text}");
        }
        assert!(!text.contains(" ct"), "a note without pitch\n{text}");
    }

    #[test]
    fn without_colours_there_are_none() {
        let mut view = view();
        view.help = true;
        let colors = |buffer: &Buffer| buffer.content.iter().filter(|cell| cell.fg != Color::Reset).count();
        assert!(colors(&drawn(&view, 80, 24)) > 50);
        view.color = false;
        assert_eq!(colors(&drawn(&view, 80, 24)), 0);
    }

    #[test]
    fn any_terminal_is_drawn_on_and_small_ones_show_what_matters() {
        let mut view = view();
        for (width, height) in [(0, 0), (1, 1), (3, 2), (20, 5), (77, 50), (78, 22), (78, 23), (300, 100)] {
            for help in [false, true] {
                view.help = help;
                let _ = drawn(&view, width, height);
            }
        }
        view.help = false;
        let text = lines(&drawn(&view, 50, 14)).join("\n");
        for fact in
            ["syrinx live", "running", "185.0 Hz F#3", "RTF", "0.25", "2 alto +12", "xruns 0", "215.3 ms", "q end"]
        {
            assert!(text.contains(fact), "{fact}\n{text}");
        }
    }

    #[test]
    fn many_voices_leave_the_one_that_is_heard_in_sight() {
        let names: Vec<String> = (1..=9).map(|number| format!("{number} voice")).collect();
        for current in 0..9 {
            let shown = fitting(&names, current, 32);
            assert!(shown.contains(&current) && shown.len() == 3, "{current}: {shown:?}");
        }
        assert_eq!((fitting(&names, 0, 500), fitting(&names, 8, 0)), (0..9, 8..9));
    }

    #[test]
    fn keys_are_listed_over_the_picture() {
        let mut view = view();
        view.help = true;
        let text = lines(&drawn(&view, 80, 24)).join("\n");
        assert!(keys::HELP.iter().all(|(key, what)| text.contains(key) && text.contains(what)), "{text}");
    }

    #[test]
    fn figures_are_written_as_people_write_them() {
        assert_eq!(
            (note(440.0), note(261.0), note(54.0)),
            ("A4  +0 ct".into(), "C4  -4 ct".into(), "A1  -32 ct".into())
        );
        assert_eq!([0.0, 12.0, -0.5, -3.0].map(semitones), ["0", "+12", "-0.5", "-3"]);
        assert_eq!(clock(Duration::from_secs(3725)), "1:02:05");
        assert_eq!(clock(Duration::from_secs(65)), "1:05");
        assert_eq!((shorten("alto", 4), shorten("alto", 3)), ("alto".into(), "al…".into()));
    }
}

//! Pitch curves: text files of time and frequency.

use std::path::Path;

use crate::error::{Error, Result};
use crate::units::HOPS_PER_SECOND;

/// Longest curve, in seconds: what a recording of the longest readable kind lasts.
const LONGEST_SECONDS: f64 = 24.0 * 3600.0;
/// Highest frequency, in Hz: half the rate at which pitch is read.
const HIGHEST_HZ: f64 = 8_000.0;

/// Reads lines of `seconds,hertz`, in order of time, into f0 per hop of 10 ms.
///
/// Between two voiced points f0 lies on their line; next to an unvoiced one (0 Hz) the nearer point holds. Empty lines
/// and lines that begin with `#` are passed over.
///
/// # Errors
/// A line that is no such pair, times that do not rise, or values out of range.
pub fn read(path: &Path) -> Result<Vec<f32>> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::io(path, source))?;
    let mut points: Vec<(f64, f64)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let refuse = |expected: &str| Error::format(path, expected, format!("`{line}` in line {}", number + 1));
        let pair = line.split_once(',').and_then(|(t, hz)| Some((t.trim().parse().ok()?, hz.trim().parse().ok()?)));
        let (seconds, hz): (f64, f64) = pair.ok_or_else(|| refuse("lines of `seconds,hertz`"))?;
        if !(0.0..=LONGEST_SECONDS).contains(&seconds) || points.last().is_some_and(|last| last.0 >= seconds) {
            return Err(refuse("times that rise, from 0 to a day"));
        }
        if !(0.0..=HIGHEST_HZ).contains(&hz) {
            return Err(refuse("frequencies from 0 to 8000 Hz"));
        }
        points.push((seconds, hz));
    }
    let Some(last) = points.last() else {
        return Err(Error::format(path, "lines of `seconds,hertz`", "none"));
    };
    let hops = (last.0 * HOPS_PER_SECOND as f64).round() as usize + 1;
    Ok((0..hops).map(|hop| at(&points, hop as f64 / HOPS_PER_SECOND as f64) as f32).collect())
}

/// The curve at `seconds`; unvoiced before the first point.
fn at(points: &[(f64, f64)], seconds: f64) -> f64 {
    /// Times this near count as equal.
    const SAME: f64 = 1e-9;
    let next = points.partition_point(|point| point.0 <= seconds + SAME);
    let Some(&(from, left)) = next.checked_sub(1).and_then(|previous| points.get(previous)) else { return 0.0 };
    let Some(&(to, right)) = points.get(next) else { return left };
    let part = (seconds - from) / (to - from);
    match (left > 0.0 && right > 0.0, part < 0.5) {
        (true, _) => left + (right - left) * part,
        (false, true) => left,
        (false, false) => right,
    }
}

#[cfg(test)]
mod tests {
    use super::read;

    fn parsed(text: &str) -> Result<Vec<f32>, String> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("text");
        read(file.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn points_become_hops_on_their_lines_with_gaps_kept() {
        let curve = parsed("# a curve\n0.01, 100\n0.03,120\n\n0.05,0\n0.06,200\n").expect("a curve");
        assert_eq!(curve, [0.0, 100.0, 110.0, 120.0, 0.0, 0.0, 200.0]);
    }

    #[test]
    fn bad_lines_are_named() {
        for (text, message) in [
            ("0,100\nx", "expected lines of `seconds,hertz`, found `x` in line 2"),
            ("1,100\n1,100", "expected times that rise"),
            ("0,9000", "expected frequencies from 0 to 8000 Hz"),
            ("nan,100", "expected times that rise"),
            ("", "found none"),
        ] {
            let error = parsed(text).expect_err("a refusal");
            assert!(error.contains(message), "{error}");
        }
    }
}

//! Reading a frequency off the salience that pitch networks give each of their bins.

/// Cents from one bin of RMVPE and CREPE to the next.
pub const CENTS_PER_BIN: f64 = 20.0;
/// Cents above 10 Hz of the first bin of RMVPE and CREPE (the note C1, 32.7 Hz, shifted as published).
pub const FIRST_BIN_CENTS: f64 = 1_997.379_408_437_619;
/// Bins on each side of the largest that take part in the weighted mean.
pub const NEIGHBOURS: usize = 4;

/// The centre of bin `bin` of RMVPE and CREPE in cents above 10 Hz.
#[must_use]
pub fn bin_cents(bin: usize) -> f64 {
    CENTS_PER_BIN * bin as f64 + FIRST_BIN_CENTS
}

/// The frequency in Hz of `cents` above 10 Hz.
#[must_use]
pub fn cents_to_hz(cents: f64) -> f64 {
    10.0 * (cents / 1200.0).exp2()
}

/// The first largest bin and its value; `None` where no value is a number.
#[must_use]
pub fn peak(salience: &[f32]) -> Option<(usize, f32)> {
    let larger = |best: Option<(usize, f32)>, (bin, &value): (usize, &f32)| match best {
        Some((_, most)) if value <= most || value.is_nan() => best,
        None if value.is_nan() => None,
        _ => Some((bin, value)),
    };
    salience.iter().enumerate().fold(None, larger)
}

/// The salience-weighted mean of `cents(bin)` over `bins`, in f64; `None` where the weights sum to nothing.
pub(crate) fn weighted_cents(
    salience: &[f32],
    bins: impl Iterator<Item = usize>,
    cents: impl Fn(usize) -> f64,
) -> Option<f64> {
    let (sum, weight) = bins.fold((0.0, 0.0), |(sum, weight), bin| {
        let value = f64::from(salience[bin]);
        (sum + value * cents(bin), weight + value)
    });
    (weight > 0.0).then(|| sum / weight)
}

/// The bins from [`NEIGHBOURS`] below `bin` to as many above, cut off at the ends of `count` bins.
pub(crate) fn around(bin: usize, count: usize) -> std::ops::Range<usize> {
    bin.saturating_sub(NEIGHBOURS)..(bin + NEIGHBOURS + 1).min(count)
}

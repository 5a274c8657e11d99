//! Filterbanks over spectra, mel among them, and log-mel spectrograms.

use std::collections::BTreeMap;

use super::stft::Stft;

/// A mapping from Hz to mel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MelScale {
    /// `2595 log10(1 + f / 700)`, of the Hidden Markov Model Toolkit.
    Htk,
    /// Linear below 1 kHz and logarithmic above, of Slaney's Auditory Toolbox.
    Slaney,
}

/// Hz per mel of Slaney's scale below its break.
const SLANEY_HZ_PER_MEL: f64 = 200.0 / 3.0;
/// Where Slaney's scale turns logarithmic.
const SLANEY_BREAK_HZ: f64 = 1000.0;
/// Mels per factor of 6.4 above the break.
const SLANEY_MELS: f64 = 27.0;

impl MelScale {
    /// The mel value of `hz`.
    #[must_use]
    pub fn from_hz(self, hz: f64) -> f64 {
        match self {
            Self::Htk => 2595.0 * (1.0 + hz / 700.0).log10(),
            Self::Slaney if hz < SLANEY_BREAK_HZ => hz / SLANEY_HZ_PER_MEL,
            Self::Slaney => {
                SLANEY_BREAK_HZ / SLANEY_HZ_PER_MEL + (hz / SLANEY_BREAK_HZ).ln() * SLANEY_MELS / 6.4_f64.ln()
            }
        }
    }

    /// The frequency in Hz of `mel`.
    #[must_use]
    pub fn to_hz(self, mel: f64) -> f64 {
        let above = mel - SLANEY_BREAK_HZ / SLANEY_HZ_PER_MEL;
        match self {
            Self::Htk => 700.0 * (10.0_f64.powf(mel / 2595.0) - 1.0),
            Self::Slaney if above < 0.0 => mel * SLANEY_HZ_PER_MEL,
            Self::Slaney => SLANEY_BREAK_HZ * (above * 6.4_f64.ln() / SLANEY_MELS).exp(),
        }
    }
}

/// One band: its weights and the spectral bin of the first.
#[derive(Clone, Debug)]
struct Band {
    first: usize,
    weights: Vec<f32>,
}

/// Bands that each sum a stretch of a spectrum with weights.
#[derive(Clone, Debug)]
pub struct FilterBank {
    bins: usize,
    bands: Vec<Band>,
}

impl FilterBank {
    /// `bands` triangles of unit area over Hz (Slaney's normalisation), evenly spaced in mel from `range_hz[0]` to
    /// `range_hz[1]`, over a spectrum of `fft_size` samples.
    #[must_use]
    pub fn mel(scale: MelScale, sample_rate_hz: u32, fft_size: usize, bands: usize, range_hz: [f64; 2]) -> Self {
        let [low, high] = range_hz.map(|hz| scale.from_hz(hz));
        let edge = |i: usize| scale.to_hz(low + (high - low) * i as f64 / (bands + 1) as f64);
        let bins = fft_size / 2 + 1;
        let bin_hz = |bin: usize| f64::from(sample_rate_hz) * bin as f64 / fft_size as f64;
        let band = |i: usize| {
            let [left, centre, right] = [edge(i), edge(i + 1), edge(i + 2)];
            let height = 2.0 / (right - left);
            let weight = |bin| {
                let rise = (bin_hz(bin) - left) / (centre - left);
                let fall = (right - bin_hz(bin)) / (right - centre);
                (rise.min(fall).max(0.0) as f32 * height as f32).max(0.0)
            };
            let first = (0..bins).find(|&bin| weight(bin) > 0.0).unwrap_or(0);
            Band { first, weights: (first..bins).map(weight).take_while(|&w| w > 0.0).collect() }
        };
        Self { bins, bands: (0..bands).map(band).collect() }
    }

    /// The bank whose matrix `[bands, bins]` holds these `(band, bin, weight)` and is 0 elsewhere; entries outside it
    /// are dropped.
    #[must_use]
    pub fn from_entries(bands: usize, bins: usize, entries: impl IntoIterator<Item = (usize, usize, f32)>) -> Self {
        let mut columns = vec![BTreeMap::new(); bands];
        for (band, bin, weight) in entries.into_iter().filter(|&(band, bin, _)| band < bands && bin < bins) {
            columns[band].insert(bin, weight);
        }
        let band = |weights: BTreeMap<usize, f32>| {
            let first = weights.keys().next().copied().unwrap_or(0);
            let end = weights.keys().next_back().map_or(0, |last| last + 1);
            Band { first, weights: (first..end).map(|bin| weights.get(&bin).copied().unwrap_or(0.0)).collect() }
        };
        Self { bins, bands: columns.into_iter().map(band).collect() }
    }

    /// Number of bands.
    #[must_use]
    pub fn bands(&self) -> usize {
        self.bands.len()
    }

    /// Bins of the spectra it is for.
    #[must_use]
    pub fn bins(&self) -> usize {
        self.bins
    }

    /// The stretch of the spectrum that each band sums: its first bin and the weights from there on.
    pub fn stretches(&self) -> impl Iterator<Item = (usize, &[f32])> {
        self.bands.iter().map(|band| (band.first, &*band.weights))
    }

    /// The bank as a matrix `[bands, bins]`, row-major.
    #[must_use]
    pub fn matrix(&self) -> Vec<f32> {
        let mut rows = vec![0.0; self.bands.len() * self.bins];
        for (row, band) in rows.chunks_exact_mut(self.bins).zip(&self.bands) {
            row[band.first..][..band.weights.len()].copy_from_slice(&band.weights);
        }
        rows
    }

    /// The weighted sums of one spectrum, band after band.
    pub fn apply<'a>(&'a self, spectrum: &'a [f32]) -> impl Iterator<Item = f32> + 'a {
        self.bands.iter().map(|band| {
            let inside = spectrum.get(band.first..).unwrap_or_default();
            band.weights.iter().zip(inside).map(|(w, s)| w * s).sum()
        })
    }
}

/// The natural logarithm of mel band magnitudes, as pitch networks read audio.
#[derive(Clone, Debug)]
pub struct LogMel {
    /// The transform.
    pub stft: Stft,
    /// The bands.
    pub bank: FilterBank,
    /// Added to each squared magnitude before its root.
    pub power_offset: f32,
    /// Band magnitudes below this count as this.
    pub floor: f32,
}

impl LogMel {
    /// `[frames, bands]`, row-major, of a signal that is already padded.
    #[must_use]
    pub fn compute(&self, padded: &[f32]) -> Vec<f32> {
        let mut mel = Vec::with_capacity(self.stft.frames(padded.len()) * self.bank.bands());
        let mut magnitudes = vec![0.0; self.stft.bins()];
        self.stft.for_each(padded, |spectrum| {
            for (magnitude, value) in magnitudes.iter_mut().zip(spectrum) {
                *magnitude = (value.norm_sqr() + self.power_offset).sqrt();
            }
            mel.extend(self.bank.apply(&magnitudes).map(|band| band.max(self.floor).ln()));
        });
        mel
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_scales_invert_themselves_and_meet_their_published_points() {
        for scale in [MelScale::Htk, MelScale::Slaney] {
            for hz in [0.0, 30.0, 440.0, 999.9, 1000.0, 1000.1, 7999.0] {
                assert!((scale.to_hz(scale.from_hz(hz)) - hz).abs() < 1e-8);
            }
        }
        assert!((MelScale::Htk.from_hz(1000.0) - 1000.0).abs() < 0.02);
        assert!((MelScale::Slaney.from_hz(1000.0) - 15.0).abs() < 1e-12);
        assert!((MelScale::Slaney.from_hz(6400.0) - 42.0).abs() < 1e-12);
    }

    #[test]
    fn every_band_has_unit_area_where_the_spectrum_resolves_it() {
        let bank = FilterBank::mel(MelScale::Slaney, 16_000, 8192, 40, [0.0, 8000.0]);
        let matrix = bank.matrix();
        for row in matrix.chunks_exact(4097) {
            let area: f32 = row.iter().sum::<f32>() * 16_000.0 / 8192.0;
            assert!((area - 1.0).abs() < 1e-3, "{area}");
        }
    }
}

//! The zero-phase high-pass that conditions a recording before pitch and units are read off it.
//!
//! A Butterworth filter of order 5 at 48 Hz for 16 kHz, run forwards and backwards in f64 (the poles lie so near the
//! unit circle that f32 drifts). Same numbers as scipy's `filtfilt(butter(5, 48, "high", fs=16000))`.

/// Order of the filter.
const ORDER: usize = 5;
/// Samples of odd extension at each end: scipy's default, three times the number of coefficients.
const EXTENSION: usize = 3 * (ORDER + 1);

const NUMERATOR: [f64; ORDER + 1] = [
    0.969_960_645_183_844_7,
    -4.849_803_225_919_223,
    9.699_606_451_838_447,
    -9.699_606_451_838_447,
    4.849_803_225_919_223,
    -0.969_960_645_183_844_7,
];
const DENOMINATOR: [f64; ORDER + 1] = [
    1.0,
    -4.939_001_819_168_364,
    9.757_863_526_739_543,
    -9.639_544_849_413_458,
    4.761_506_797_356_209,
    -0.940_823_653_205_460_6,
];
/// State in which a constant input of 1 is already settled.
const SETTLED: [f64; ORDER] = [
    -0.969_960_530_493_927_6,
    3.879_842_128_971_587_6,
    -5.819_763_203_738_301,
    3.879_842_142_541_546,
    -0.969_960_537_280_858_1,
];

/// Filters `audio` (16 kHz) without delay. Fewer than two samples have no slope to filter and come back as they are.
#[must_use]
pub fn zero_phase(audio: &[f32]) -> Vec<f32> {
    let [first, .., last] = audio else { return audio.to_vec() };
    let reach = EXTENSION.min(audio.len() - 1);
    let mirrored = |edge: f32, value: f32| 2.0 * f64::from(edge) - f64::from(value);
    let mut extended: Vec<f64> = Vec::with_capacity(audio.len() + 2 * reach);
    extended.extend(audio[1..=reach].iter().rev().map(|&v| mirrored(*first, v)));
    extended.extend(audio.iter().map(|&v| f64::from(v)));
    extended.extend(audio[audio.len() - 1 - reach..audio.len() - 1].iter().rev().map(|&v| mirrored(*last, v)));
    run(&mut extended);
    extended.reverse();
    run(&mut extended);
    extended.reverse();
    extended[reach..reach + audio.len()].iter().map(|&v| v as f32).collect()
}

/// One pass in transposed direct form II, from the state settled on the first sample.
fn run(signal: &mut [f64]) {
    let Some(&start) = signal.first() else { return };
    let mut state = SETTLED.map(|s| s * start);
    for value in signal {
        let x = *value;
        let y = NUMERATOR[0] * x + state[0];
        for i in 0..ORDER - 1 {
            state[i] = NUMERATOR[i + 1] * x - DENOMINATOR[i + 1] * y + state[i + 1];
        }
        state[ORDER - 1] = NUMERATOR[ORDER] * x - DENOMINATOR[ORDER] * y;
        *value = y;
    }
}

#[cfg(test)]
mod tests {
    use super::zero_phase;

    #[test]
    fn removes_a_constant_and_keeps_speech_frequencies_in_place() {
        let tone = |n: usize| (n as f32 * std::f32::consts::TAU * 440.0 / 16_000.0).sin();
        let audio: Vec<f32> = (0..16_000).map(|n| 0.25 + tone(n)).collect();
        let filtered = zero_phase(&audio);
        let worst = (4_000..12_000).map(|n| (filtered[n] - tone(n)).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-3, "{worst}");
    }

    #[test]
    fn accepts_every_length() {
        for length in 0..64 {
            assert_eq!(zero_phase(&vec![0.5; length]).len(), length);
        }
    }
}

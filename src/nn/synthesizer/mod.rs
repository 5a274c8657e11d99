//! The synthesizer: content units and pitch in, audio of one voice out.
//!
//! A text encoder makes a prior over latents, an inverse flow turns a sample of it into the latents of the speaker, and
//! a generator makes audio of them: the inference half of VITS (Kim et al., 2021) with a harmonic source (NSF).

mod flow;
mod generator;
mod noise;
mod source;
mod text_encoder;

use std::ops::Range;
use std::path::PathBuf;

use burn::tensor::{Tensor, TensorData};

use super::layers::{floats, load, tensor, values};
use super::ops::{Computation, Fed, NetworkId, VoiceOps};
use crate::checkpoint::Weights;
use crate::checkpoint::voice::VoiceConfig;
use crate::error::{Error, Result};
use flow::Flow;
use generator::Generator;
pub use noise::Noise;
use source::Source;
pub use source::{harmonic_sine, harmonic_source};
use text_encoder::TextEncoder;

/// One voice.
#[derive(Clone, Debug)]
pub struct Synthesizer<B: VoiceOps> {
    id: NetworkId,
    config: VoiceConfig,
    text_encoder: TextEncoder<B>,
    flow: Flow<B>,
    generator: Generator<B>,
    source: Option<Source>,
    /// One row per speaker, `[speakers, gin_channels]`.
    speakers: Tensor<B, 2>,
    /// The file it came from, for messages.
    path: PathBuf,
    device: B::Device,
}

/// A Gaussian over the latents of each hop.
#[derive(Clone, Debug)]
pub struct Prior<B: VoiceOps> {
    /// `[1, inter_channels, hops]`.
    pub mean: Tensor<B, 3>,
    /// Logarithm of the standard deviation, `[1, inter_channels, hops]`.
    pub log_deviation: Tensor<B, 3>,
}

/// A stretch of voice that is rendered at once.
#[derive(Clone, Debug)]
pub struct Stretch<'a> {
    /// Who speaks.
    pub speaker: usize,
    /// `[hops, unit_dim]`, row-major.
    pub units: &'a [f32],
    /// Coarse pitch of each hop; not looked at for a voice without pitch.
    pub coarse: &'a [u8],
    /// The hop from which on latents are sampled. The text encoder sees all hops.
    pub first_hop: usize,
    /// Noise of the prior, `[inter_channels, hops - first_hop]`; zeros, if none.
    pub noise: Option<Vec<f32>>,
    /// Latents that were made before, `[inter_channels, settled hops]`.
    pub settled: &'a [f32],
    /// Which of the hops from `first_hop` on follow them.
    pub fresh: Range<usize>,
    /// As long as settled and fresh hops, in samples; none for a voice without pitch.
    pub source: Option<&'a [f32]>,
    /// Which of the settled and fresh hops become audio.
    pub wanted: Range<usize>,
    /// Of which of the settled and fresh hops the latents are to be had; of none, if empty.
    pub kept: Range<usize>,
}

/// What became of a [`Stretch`].
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    /// Audio of the hops that were wanted.
    pub audio: Vec<f32>,
    /// Latents of the hops that are to be kept, `[inter_channels, hops]`.
    pub latents: Vec<f32>,
}

impl<B: VoiceOps> Synthesizer<B> {
    /// Standard deviations of the prior that are sampled.
    const TEMPERATURE: f32 = 0.66666;

    /// Loads a voice.
    ///
    /// # Errors
    /// Tensors that are missing or of other shapes than `config` gives.
    pub fn load(weights: &Weights<'_>, config: &VoiceConfig, device: &B::Device) -> Result<Self> {
        let generator = weights.child("dec");
        let source = config.has_f0.then(|| Source::load(&generator, config)).transpose()?;
        Ok(Self {
            id: NetworkId::unique(),
            text_encoder: TextEncoder::load(&weights.child("enc_p"), config, device)?,
            flow: Flow::load(&weights.child("flow"), config, device)?,
            generator: Generator::load(&generator, config, device)?,
            source,
            speakers: load(weights, "emb_g.weight", [config.speakers, config.gin_channels], device)?,
            config: config.clone(),
            path: weights.path().to_owned(),
            device: device.clone(),
        })
    }

    /// The voice's sizes.
    #[must_use]
    pub fn config(&self) -> &VoiceConfig {
        &self.config
    }

    /// Vector of one speaker, `[1, gin_channels, 1]`.
    ///
    /// # Errors
    /// The voice has no such speaker.
    pub fn speaker(&self, speaker: usize) -> Result<Tensor<B, 3>> {
        self.require_speaker(speaker)?;
        Ok(self.speakers.clone().narrow(0, speaker, 1).reshape([1, self.config.gin_channels, 1]))
    }

    /// Makes sure that there is this speaker.
    ///
    /// # Errors
    /// There is none.
    pub fn require_speaker(&self, speaker: usize) -> Result<()> {
        let count = self.config.speakers;
        if speaker < count {
            return Ok(());
        }
        Err(Error::argument("speaker", format!("0 to {}", count - 1), speaker))
    }

    /// The prior of each hop from `first_hop` on, from units `[hops, unit_dim]` (row-major) and coarse pitch.
    ///
    /// The encoder sees all hops.
    ///
    /// # Errors
    /// No hop at all, or lengths that do not agree.
    pub fn prior(&self, units: &[f32], coarse: &[u8], first_hop: usize) -> Result<Prior<B>> {
        let mut fed = Fed::with(self.prior_values(units, coarse, first_hop)?, &self.device);
        Ok(self.prior_of(&mut fed, first_hop))
    }

    /// What the text encoder is fed with.
    fn prior_values(&self, units: &[f32], coarse: &[u8], first_hop: usize) -> Result<Vec<TensorData>> {
        let dim = self.config.unit_dim;
        let hops = units.len() / dim;
        if hops <= first_hop || units.len() != hops * dim {
            let expected = format!("whole vectors of {dim} values for more than {first_hop} hops");
            return Err(Error::argument("units", expected, format!("{} values", units.len())));
        }
        let mut values = vec![floats(units.to_vec(), [1, hops, dim])];
        if self.config.has_f0 {
            if coarse.len() != hops {
                return Err(Error::argument("coarse pitch", format!("{hops} hops, as units"), coarse.len()));
            }
            values.push(TensorData::new(coarse.iter().map(|&pitch| i32::from(pitch)).collect(), [hops]));
        }
        Ok(values)
    }

    fn prior_of(&self, fed: &mut Fed<B>, first_hop: usize) -> Prior<B> {
        let units = fed.floats();
        let coarse = self.config.has_f0.then(|| fed.rows());
        self.text_encoder.forward(units, coarse, first_hop)
    }

    /// A sample of the prior, carried to the speaker's latents: `[1, inter_channels, hops]`.
    pub fn latents(&self, prior: Prior<B>, speaker: &Tensor<B, 3>, noise: &mut Noise) -> Tensor<B, 3> {
        let shape = prior.mean.dims();
        let noise = noise.prior(shape.iter().product()).map(|values| tensor(values, shape, &self.device));
        self.sample(prior, speaker, noise)
    }

    /// The sample that standard normal `noise` of the prior's shape gives; without it, the mean.
    pub(crate) fn sample(&self, prior: Prior<B>, speaker: &Tensor<B, 3>, noise: Option<Tensor<B, 3>>) -> Tensor<B, 3> {
        let noise = match noise {
            Some(noise) => noise * Self::TEMPERATURE * prior.log_deviation.exp(),
            None => Tensor::zeros(prior.mean.dims(), &self.device),
        };
        self.flow.reverse(prior.mean + noise, speaker)
    }

    /// Renders a stretch at once.
    ///
    /// # Errors
    /// The voice lacks the speaker, lengths do not agree, and as [`audio`](Self::audio).
    pub fn render(&self, stretch: &Stretch<'_>) -> Result<Rendered> {
        self.require_speaker(stretch.speaker)?;
        let values = self.values(stretch)?;
        let Stretch { first_hop, fresh, wanted, kept, .. } = stretch;
        let (has_noise, has_past) = (stretch.noise.is_some(), !stretch.settled.is_empty());
        let forward = |mut fed: Fed<B>| {
            let speaker = self.speaker(stretch.speaker)?;
            let prior = self.prior_of(&mut fed, *first_hop);
            let noise = has_noise.then(|| fed.floats());
            let sampled = self.sample(prior, &speaker, noise).narrow(2, fresh.start, fresh.len());
            let latents = if has_past { Tensor::cat(vec![fed.floats(), sampled], 2) } else { sampled };
            let source = self.config.has_f0.then(|| fed.floats());
            let audio = self.generator.forward(latents.clone(), source, &speaker, wanted.clone());
            let mut parts = vec![audio.flatten::<1>(0, 2)];
            if !kept.is_empty() {
                parts.push(latents.narrow(2, kept.start, kept.len()).flatten(0, 2));
            }
            Ok(Tensor::cat(parts, 0))
        };
        let ranges = [fresh, wanted, kept].map(|range| [range.start, range.end]);
        let flags = [has_noise, has_past].map(usize::from);
        let choices =
            [stretch.speaker, *first_hop].into_iter().chain(flags).chain(ranges.into_iter().flatten()).collect();
        let mut parts = B::compute(Computation { network: self.id, choices }, values, &self.device, forward)?;
        let latents = parts.split_off(wanted.len() * self.config.hop_samples());
        Ok(Rendered { audio: self.finite(parts)?, latents })
    }

    /// What the network is fed with for a stretch.
    fn values(&self, stretch: &Stretch<'_>) -> Result<Vec<TensorData>> {
        let mut values = self.prior_values(stretch.units, stretch.coarse, stretch.first_hop)?;
        let (channels, fresh) = (self.config.inter_channels, &stretch.fresh);
        let sampled = stretch.units.len() / self.config.unit_dim - stretch.first_hop;
        if let Some(noise) = &stretch.noise {
            if noise.len() != channels * sampled {
                let expected = format!("{sampled} hops of {channels} values");
                return Err(Error::argument("noise", expected, format!("{} values", noise.len())));
            }
            values.push(floats(noise.clone(), [1, channels, sampled]));
        }
        let settled = stretch.settled.len() / channels;
        if settled * channels != stretch.settled.len() {
            let expected = format!("{channels} values of each hop");
            return Err(Error::argument("settled latents", expected, format!("{} values", stretch.settled.len())));
        }
        if fresh.is_empty() || fresh.end > sampled {
            return Err(Error::argument("fresh hops", format!("some of {sampled}"), format!("{fresh:?}")));
        }
        let hops = settled + fresh.len();
        if stretch.kept.end > hops {
            return Err(Error::argument("hops to keep", format!("some of {hops}"), format!("{:?}", stretch.kept)));
        }
        if settled > 0 {
            values.push(floats(stretch.settled.to_vec(), [1, channels, settled]));
        }
        values.extend(self.source_values(hops, stretch.source, &stretch.wanted)?);
        Ok(values)
    }

    /// The harmonic source of f0 in Hz per hop, `hops * hop_samples` samples; its phase, in cycles, goes on from `phase`.
    ///
    /// `None` for a voice without pitch.
    pub fn source(&self, f0_hz: &[f32], phase: &mut f64, noise: &mut Noise) -> Option<Vec<f32>> {
        self.source.as_ref().map(|source| source.render(f0_hz, phase, noise))
    }

    /// Audio of the hops `wanted` of latents `[1, inter_channels, hops]` and, for a voice with pitch, as long a source:
    /// `wanted.len() * hop_samples` samples.
    ///
    /// # Errors
    /// Hops that the latents lack, or a source that is missing or not as long as the latents.
    pub fn generate(
        &self,
        latents: Tensor<B, 3>,
        source: Option<&[f32]>,
        speaker: &Tensor<B, 3>,
        wanted: Range<usize>,
    ) -> Result<Tensor<B, 3>> {
        let source = self.source_values(latents.dims()[2], source, &wanted)?;
        let source = source.map(|source| Tensor::from_data(source, &self.device));
        Ok(self.generator.forward(latents, source, speaker, wanted))
    }

    /// What the generator is fed with besides the latents of `hops` hops: the source, if the voice has pitch.
    fn source_values(&self, hops: usize, source: Option<&[f32]>, wanted: &Range<usize>) -> Result<Option<TensorData>> {
        if wanted.is_empty() || wanted.end > hops {
            return Err(Error::argument("hops to generate", format!("some of {hops}"), format!("{wanted:?}")));
        }
        let samples = hops * self.config.hop_samples();
        match (self.config.has_f0, source) {
            (false, _) => Ok(None),
            (true, Some(source)) if source.len() == samples => Ok(Some(floats(source.to_vec(), [1, 1, samples]))),
            (true, source) => {
                let found = source.map_or(0, <[f32]>::len);
                Err(Error::argument("source", format!("{samples} samples, as the latents"), found))
            }
        }
    }

    /// The samples of [`generate`](Self::generate).
    ///
    /// # Errors
    /// As there, and [`Error::Format`] where the voice's values exceed what `f32` can hold.
    pub fn audio(
        &self,
        latents: Tensor<B, 3>,
        source: Option<&[f32]>,
        speaker: &Tensor<B, 3>,
        wanted: Range<usize>,
    ) -> Result<Vec<f32>> {
        self.finite(values(self.generate(latents, source, speaker, wanted)?))
    }

    /// Audio, unless some sample of it is none.
    fn finite(&self, audio: Vec<f32>) -> Result<Vec<f32>> {
        match audio.iter().find(|sample| !sample.is_finite()) {
            Some(bad) => Err(Error::format(&self.path, "a voice whose samples are finite", bad)),
            None => Ok(audio),
        }
    }

    /// Hops on each side that a sample of the generator's output depends on.
    #[must_use]
    pub fn generator_reach_hops(&self) -> usize {
        generator::reach_hops(&self.config)
    }

    /// Hops on each side that a latent depends on through the flow.
    #[must_use]
    pub fn flow_reach_hops(&self) -> usize {
        self.flow.reach_hops()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::voice::VoiceCheckpoint;
    use crate::nn::Cpu;
    use crate::nn::recorded::Recorded;

    fn small_voice() -> Synthesizer<Cpu> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/synth_small_v2_40k.pth");
        let file = VoiceCheckpoint::open(path).expect("a voice");
        Synthesizer::load(&file.tensors.weights(), &file.config, &Default::default()).expect("a voice")
    }

    #[test]
    fn the_prior_of_the_last_hops_is_that_of_all_hops() {
        let voice = small_voice();
        let recorded = Recorded::open("synth_small_v2_40k_off");
        let coarse = recorded.bytes("in.pitch");
        let units = crate::nn::values(recorded.tensor::<3>("in.phone"));
        let mean = |first| voice.prior(&units, &coarse, first).expect("a prior").mean;
        let all = mean(0);
        let [_, channels, hops] = all.dims();
        for first in [1, 2, 5, hops - 1] {
            let expected = crate::nn::values(all.clone().narrow(2, first, hops - first));
            let found = crate::nn::values(mean(first));
            assert_eq!(found.len(), channels * (hops - first));
            let off = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off < 1e-4, "from hop {first}: off by {off}");
        }
    }

    #[test]
    fn a_stretch_is_rendered_as_by_its_parts_and_goes_on_from_latents_of_before() {
        let voice = small_voice();
        let recorded = Recorded::open("synth_small_v2_40k_off");
        let (coarse, units) = (recorded.bytes("in.pitch"), crate::nn::values(recorded.tensor::<3>("in.phone")));
        let (hops, hop, channels) = (coarse.len(), voice.config().hop_samples(), voice.config().inter_channels);
        let first_hop = 2;
        let sampled = hops - first_hop;
        let noise = Noise::seeded(3).prior(channels * sampled);
        let speaker = voice.speaker(0).expect("a speaker");
        let prior = voice.prior(&units, &coarse, first_hop).expect("a prior");
        let latents = voice.latents(prior, &speaker, &mut Noise::seeded(3));
        let source = voice.source(&vec![180.0; sampled], &mut 0.0, &mut Noise::Zero).expect("a voice with pitch");
        let wanted = 3..sampled - 1;
        let audio = voice.audio(latents.clone(), Some(&source), &speaker, wanted.clone()).expect("audio");
        let whole = Stretch {
            speaker: 0,
            units: &units,
            coarse: &coarse,
            first_hop,
            noise: noise.clone(),
            settled: &[],
            fresh: 0..sampled,
            source: Some(&source),
            wanted: wanted.clone(),
            kept: 0..2,
        };
        let rendered = voice.render(&whole).expect("audio");
        assert_eq!(rendered.audio, audio);
        assert_eq!(rendered.latents, crate::nn::values(latents.narrow(2, 0, 2)));

        let rest = Stretch { settled: &rendered.latents, fresh: 2..sampled, kept: 0..0, ..whole.clone() };
        assert_eq!(voice.render(&rest).expect("audio"), Rendered { audio, latents: Vec::new() });

        let refused = |stretch: Stretch<'_>| voice.render(&stretch).expect_err("refused").to_string();
        assert!(refused(Stretch { speaker: 1_000, ..whole.clone() }).contains("speaker"));
        assert!(refused(Stretch { noise: Some(vec![0.0; 5]), ..whole.clone() }).contains("noise"));
        assert!(refused(Stretch { settled: &[0.0; 5], ..whole.clone() }).contains("settled latents"));
        assert!(refused(Stretch { fresh: 0..sampled + 1, ..whole.clone() }).contains("fresh hops"));
        assert!(refused(Stretch { kept: 1..sampled + 1, ..whole.clone() }).contains("hops to keep"));
        assert!(refused(Stretch { source: Some(&source[hop..]), ..whole.clone() }).contains("source"));
        assert!(refused(Stretch { first_hop: hops, ..whole }).contains("units"));
    }

    #[test]
    fn every_part_of_the_network_gives_what_the_reference_recorded() {
        /// Sums in another order, of values up to 14.
        const TOLERANCE: f32 = 4e-5;
        let voice = small_voice();
        let recorded = Recorded::open("synth_small_v2_40k_off");
        let coarse = recorded.bytes("in.pitch");
        voice.text_encoder.check_parts(recorded.tensor("in.phone"), &coarse, &recorded, TOLERANCE);
        let speaker = voice.speaker(recorded.bytes("in.sid")[0].into()).expect("a speaker");
        let latents = voice.flow.check_parts(recorded.tensor("out.z_p"), &speaker, &recorded, TOLERANCE);
        let source = recorded.tensor("mid.dec.har_source");
        voice.generator.check_parts(latents, &source, &speaker, &recorded, TOLERANCE);
    }
}

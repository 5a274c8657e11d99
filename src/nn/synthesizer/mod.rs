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

use burn::tensor::Tensor;

use super::layers::{load, tensor, values};
use super::ops::VoiceOps;
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
        let count = self.config.speakers;
        if speaker >= count {
            return Err(Error::argument("speaker", format!("0 to {}", count - 1), speaker));
        }
        Ok(self.speakers.clone().narrow(0, speaker, 1).reshape([1, self.config.gin_channels, 1]))
    }

    /// The prior of each hop from `first_hop` on, from units `[hops, unit_dim]` (row-major) and coarse pitch.
    ///
    /// The encoder sees all hops.
    ///
    /// # Errors
    /// No hop at all, or lengths that do not agree.
    pub fn prior(&self, units: &[f32], coarse: &[u8], first_hop: usize) -> Result<Prior<B>> {
        let dim = self.config.unit_dim;
        let hops = units.len() / dim;
        if hops <= first_hop || units.len() != hops * dim {
            let expected = format!("whole vectors of {dim} values for more than {first_hop} hops");
            return Err(Error::argument("units", expected, format!("{} values", units.len())));
        }
        if self.config.has_f0 && coarse.len() != hops {
            return Err(Error::argument("coarse pitch", format!("{hops} hops, as units"), coarse.len()));
        }
        let units = tensor(units.to_vec(), [1, hops, dim], &self.device);
        Ok(self.text_encoder.forward(units, coarse, first_hop))
    }

    /// A sample of the prior, carried to the speaker's latents: `[1, inter_channels, hops]`.
    pub fn latents(&self, prior: Prior<B>, speaker: &Tensor<B, 3>, noise: &mut Noise) -> Tensor<B, 3> {
        let shape = prior.mean.dims();
        let noise = match noise.prior(shape.iter().product()) {
            Some(values) => tensor::<B, 3>(values, shape, &self.device) * Self::TEMPERATURE * prior.log_deviation.exp(),
            None => Tensor::zeros(shape, &self.device),
        };
        self.flow.reverse(prior.mean + noise, speaker)
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
        let hops = latents.dims()[2];
        if wanted.is_empty() || wanted.end > hops {
            return Err(Error::argument("hops to generate", format!("some of {hops}"), format!("{wanted:?}")));
        }
        let samples = hops * self.config.hop_samples();
        let source = match (self.config.has_f0, source) {
            (false, _) => None,
            (true, Some(source)) if source.len() == samples => {
                Some(tensor(source.to_vec(), [1, 1, samples], &self.device))
            }
            (true, source) => {
                let found = source.map_or(0, <[f32]>::len);
                return Err(Error::argument("source", format!("{samples} samples, as the latents"), found));
            }
        };
        Ok(self.generator.forward(latents, source, speaker, wanted))
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
        let audio = values(self.generate(latents, source, speaker, wanted)?);
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

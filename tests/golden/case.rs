//! The recorded models, put together as a converter.

use std::sync::Arc;

use syrinx::checkpoint::Tensors;
use syrinx::checkpoint::index::Index;
use syrinx::checkpoint::voice::VoiceCheckpoint;
use syrinx::nn::Cpu;
use syrinx::nn::hubert::Hubert;
use syrinx::nn::rmvpe::Rmvpe;
use syrinx::nn::synthesizer::Synthesizer;
use syrinx::path::Converter;
use syrinx::path::pitch::Tracker;
use syrinx::path::retrieval::Retrieval;
use syrinx::path::synth::Synth;
use syrinx::path::units::UnitEncoder;

use crate::hubert;
use crate::support::data;

/// A voice with the encoder and the index it was recorded with.
pub struct Case {
    voice: &'static str,
    index: Option<&'static str>,
}

impl Case {
    pub const V1: Self = Self { voice: "synth_small_v1_32k.pth", index: None };
    pub const V1_INDEXED: Self = Self { index: Some("added_IVF15_Flat_nprobe_1_small_v1.index"), ..Self::V1 };
    pub const V2: Self = Self { voice: "synth_small_v2_40k.pth", index: None };
    pub const V2_INDEXED: Self = Self { index: Some("added_IVF7_Flat_nprobe_1_small_v2.index"), ..Self::V2 };

    /// All stages, loaded.
    pub fn converter(&self) -> Converter<Cpu> {
        let device = Default::default();
        let voice = VoiceCheckpoint::open(data(self.voice)).expect("a voice");
        let (encoder, config) = if voice.config.unit_dim == 256 { hubert::small_v1() } else { hubert::small_v2() };
        let hubert =
            Hubert::load(&encoder.weights(), &config, voice.config.version.into(), &device).expect("an encoder");
        let synthesizer = Synthesizer::load(&voice.tensors.weights(), &voice.config, &device).expect("a voice");
        let rmvpe = Tensors::open(data("rmvpe_small.pt")).expect("a checkpoint");
        let rmvpe = Rmvpe::load(&rmvpe.weights(), &device).expect("a pitch network");
        let index = self.index.map(|name| Arc::new(Index::open(data(name)).expect("an index")));
        let retrieval = index.map(|index| Retrieval::new(index, voice.config.unit_dim, &device).expect("an index"));
        Converter {
            units: UnitEncoder::new(Arc::new(hubert)),
            retrieval: retrieval.map(Arc::new),
            tracker: Tracker::Rmvpe(Arc::new(rmvpe)),
            synth: Synth::new(Arc::new(synthesizer)),
        }
    }
}

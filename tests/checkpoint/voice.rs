//! Every form of voice gives the same config and the same folded weights.

use syrinx::checkpoint::Tensors;
use syrinx::checkpoint::voice::{Resblock, Version, VoiceCheckpoint};

use crate::support::{Draft, assert_same, data, folder};

/// Both sides fold the same values by the same code.
const EXACT: f32 = 0.0;

fn open(name: &str) -> VoiceCheckpoint {
    VoiceCheckpoint::open(data(name)).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn a_v2_voice_tells_its_config_and_folds_its_weights() {
    let voice = open("synth_small_v2_40k.pth");
    let c = &voice.config;
    assert_eq!((c.version, c.sample_rate_hz, c.has_f0, c.speakers), (Version::V2, 40_000, true, 3));
    assert_eq!((c.inter_channels, c.hidden_channels, c.filter_channels), (32, 32, 64));
    assert_eq!((c.heads, c.layers, c.kernel_size, c.resblock), (2, 2, 3, Resblock::One));
    assert_eq!(c.upsample_rates, [10, 10, 2, 2]);
    assert_eq!(c.upsample_kernel_sizes, [16, 16, 4, 4]);
    assert_eq!(c.resblock_kernel_sizes, [3, 7, 11]);
    assert_eq!(c.resblock_dilation_sizes, vec![vec![1, 3, 5]; 3]);
    assert_eq!((c.upsample_initial_channel, c.gin_channels, c.unit_dim), (64, 16, 768));
    assert_eq!(c.hop_samples(), 400);
    assert_same(&voice.tensors, &Tensors::open(data("synth_small_v2_40k.weights.safetensors")).unwrap(), EXACT);
}

#[test]
fn a_v1_voice_of_five_stages_tells_its_config() {
    let c = open("synth_small_v1_32k.pth").config;
    assert_eq!((c.version, c.sample_rate_hz, c.unit_dim), (Version::V1, 32_000, 256));
    assert_eq!((c.upsample_rates.as_slice(), c.hop_samples()), ([10, 4, 2, 2, 2].as_slice(), 320));
}

#[test]
fn weight_norm_gives_each_row_its_magnitude() {
    let file = Tensors::open(data("synth_small_v2_40k.pth")).unwrap();
    let weight = file.get("dec.ups.0.weight").unwrap();
    let norm: f64 = weight.to_f32()[..32 * 16].iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
    // The seeded magnitude of row 0: 0.8 + 0.2 u, read from the file by hand.
    let magnitude = magnitude_of_first_row();
    assert!((norm - magnitude).abs() < 1e-6, "{norm} is not {magnitude}");
}

/// `weight_g[0]` of the same layer, straight from the recording's bytes.
fn magnitude_of_first_row() -> f64 {
    let bytes = std::fs::read(data("synth_small_v2_40k.weights.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let magnitude = file.tensor("dec.ups.0.weight_g").unwrap();
    half::f16::from_le_bytes([magnitude.data()[0], magnitude.data()[1]]).to_f64()
}

#[test]
fn every_container_and_spelling_gives_the_same_voice() {
    let expected = open("voice_zip.pth");
    assert_eq!((expected.config.speakers, expected.config.sample_rate_hz), (2, 8000));
    assert_eq!(expected.config.info, "7epoch");
    assert!(expected.tensors.iter().all(|(name, _)| !name.contains("enc_q")), "the posterior encoder was read");
    for other in ["voice_legacy.pth", "voice_f32.pth", "voice_parametrizations.pth", "voice_views.pth"] {
        let voice = open(other);
        assert_eq!(voice.config, expected.config, "{other}");
        assert_same(&voice.tensors, &expected.tensors, EXACT);
    }
}

#[test]
fn a_voice_without_f0_needs_no_harmonic_source() {
    let voice = open("voice_no_f0.pth");
    assert!(!voice.config.has_f0);
    assert!(voice.tensors.get("dec.m_source.l_linear.weight").is_none());
}

#[test]
fn a_voice_saved_as_safetensors_comes_back_whole() {
    let folder = folder();
    let saved = VoiceCheckpoint::open(Draft::new().save(folder.path())).unwrap();
    let expected = open("voice_zip.pth");
    assert_eq!(saved.config, expected.config);
    assert_same(&saved.tensors, &expected.tensors, EXACT);
}

#[test]
fn the_speaker_count_is_that_of_the_embedding() {
    let folder = folder();
    let voice = VoiceCheckpoint::open(Draft::new().set(15, 109).save(folder.path())).unwrap();
    assert_eq!(voice.config.speakers, 2);
}

#[test]
fn a_sample_rate_may_be_a_text() {
    let folder = folder();
    let voice = VoiceCheckpoint::open(Draft::new().set(17, "8k").save(folder.path())).unwrap();
    assert_eq!(voice.config.sample_rate_hz, 8000);
}

#[test]
fn a_voice_that_does_not_say_its_version_is_v1() {
    let folder = folder();
    let mut draft = Draft::new();
    draft.metadata.remove("version");
    draft.metadata.remove("f0");
    let config = VoiceCheckpoint::open(draft.save(folder.path())).unwrap().config;
    assert_eq!((config.version, config.has_f0), (Version::V1, true));
}

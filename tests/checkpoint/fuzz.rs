//! Damaged files, by the thousand: never a panic, and never more memory than a small multiple of the file.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Once};

use proptest::prelude::*;
use syrinx::Result;
use syrinx::checkpoint::hubert::EncoderCheckpoint;
use syrinx::checkpoint::index::Index;
use syrinx::checkpoint::pitch::{PitchCheckpoint, PitchNetwork};
use syrinx::checkpoint::voice::VoiceCheckpoint;
use syrinx::checkpoint::{Tensors, summarise};
use syrinx::nn::Cpu;
use syrinx::nn::crepe::Crepe;
use syrinx::nn::fcpe::Fcpe;
use syrinx::nn::hubert::{Hubert, Projection};
use syrinx::nn::rmvpe::Rmvpe;
use syrinx::nn::synthesizer::{Noise, Synthesizer};
use syrinx::path::pitch::Tracker;
use zip::CompressionMethod;

use crate::support::{Draft, data, folder, save_zip, unzip};

/// Address space of the whole test process. The files are below 100 kB; the rest is the program,
/// its threads' stacks and the other tests. An allocation by a number a file claims would abort.
#[cfg(unix)]
const ADDRESS_SPACE_BYTES: u64 = 4 << 30;

/// Makes an allocation by a number that a file claims abort this process.
pub fn limit_memory() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        #[cfg(unix)]
        {
            use nix::sys::resource::{Resource, getrlimit, setrlimit};
            let (_, hard) = getrlimit(Resource::RLIMIT_AS).expect("a limit");
            setrlimit(Resource::RLIMIT_AS, ADDRESS_SPACE_BYTES.min(hard), hard).expect("a limit");
        }
    });
}

/// One change to a file: where (as a share of its length), and what.
#[derive(Clone, Debug)]
enum Damage {
    Byte(f64, u8),
    Word(f64, u64),
    Cut(f64),
    Double(f64, usize),
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let at = |share: f64| (share * bytes.len() as f64) as usize;
        match *self {
            _ if bytes.is_empty() => {}
            Self::Byte(share, value) => {
                let at = at(share);
                bytes[at] = value;
            }
            Self::Word(share, value) => {
                let at = at(share);
                for (byte, new) in bytes.iter_mut().skip(at).zip(value.to_le_bytes()) {
                    *byte = new;
                }
            }
            Self::Cut(share) => bytes.truncate(at(share)),
            Self::Double(share, length) => {
                let at = at(share);
                let copy: Vec<u8> = bytes.iter().skip(at).take(length).copied().collect();
                bytes.splice(at..at, copy);
            }
        }
    }
}

fn damage() -> impl Strategy<Value = Vec<Damage>> {
    let share = 0.0..1.0_f64;
    // Headers are where a change matters most.
    let place = prop_oneof![share.clone(), 0.0..0.02_f64, 0.9..1.0_f64];
    let word = prop_oneof![any::<u64>(), Just(u64::MAX), Just(1 << 31), Just(1 << 62), 0..70_000_u64];
    let one = prop_oneof![
        8 => (place.clone(), any::<u8>()).prop_map(|(at, value)| Damage::Byte(at, value)),
        3 => (place.clone(), word).prop_map(|(at, value)| Damage::Word(at, value)),
        1 => share.prop_map(Damage::Cut),
        1 => (place, 1..64_usize).prop_map(|(at, length)| Damage::Double(at, length)),
    ];
    prop::collection::vec(one, 1..6)
}

fn damaged(bytes: &[u8], damages: &[Damage]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for damage in damages {
        damage.apply(&mut bytes);
    }
    bytes
}

/// Reads a file in every way there is, and runs what it builds; only a panic or an abort can fail.
fn read(path: &Path) {
    let _ = summarise(path);
    let _ = Tensors::open(path);
    let _ = Index::open(path);
    let _ = speak(path);
    let _ = encode(path);
    let _ = track(path);
}

/// Half a second of a voice.
fn speak(path: &Path) -> Result<()> {
    const HOPS: usize = 50;
    let file = VoiceCheckpoint::open(path)?;
    let voice = Synthesizer::<Cpu>::load(&file.tensors.weights(), &file.config, &Default::default())?;
    let speaker = voice.speaker(0)?;
    let mut noise = Noise::seeded(1);
    let prior = voice.prior(&vec![0.1; HOPS * file.config.unit_dim], &[100; HOPS], 0)?;
    let latents = voice.latents(prior, &speaker, &mut noise);
    let source = voice.source(&[200.0; HOPS], &mut 0.0, &mut noise);
    let audio = voice.audio(latents, source.as_deref(), &speaker, 0..HOPS)?;
    assert_eq!(audio.len(), HOPS * file.config.hop_samples());
    Ok(())
}

/// The units of a quarter of a second.
fn encode(path: &Path) -> Result<()> {
    let file = EncoderCheckpoint::open(path)?;
    let projection = if file.config.final_proj.is_some() { Projection::Layer9Projected } else { Projection::Layer12 };
    let encoder = Hubert::<Cpu>::load(&file.tensors.weights(), &file.config, projection, &Default::default())?;
    encoder.units(&tone(4000)).map(drop)
}

/// The pitch of a quarter of a second.
fn track(path: &Path) -> Result<()> {
    let file = PitchCheckpoint::open(path)?;
    let (weights, device) = (file.tensors.weights(), Default::default());
    let tracker = match file.network {
        PitchNetwork::Rmvpe => Tracker::<Cpu>::Rmvpe(Arc::new(Rmvpe::load(&weights, &device)?)),
        PitchNetwork::Fcpe => Tracker::Fcpe(Arc::new(Fcpe::load(&weights, &device)?)),
        PitchNetwork::Crepe => Tracker::Crepe(Arc::new(Crepe::load(&weights, &device)?)),
    };
    assert_eq!(tracker.track(&tone(4000))?.len(), 26);
    Ok(())
}

fn tone(samples: usize) -> Vec<f32> {
    (0..samples).map(|n| 0.3 * (n as f32 * 0.08).sin()).collect()
}

#[test]
fn what_the_damaged_files_were_builds_and_runs() {
    let folder = folder();
    speak(&Draft::whole().save(folder.path())).unwrap();
    encode(&data("encoder_fairseq.pt")).unwrap();
    for name in PITCH_FILES {
        track(&data(name)).unwrap();
    }
}

const PITCH_FILES: [&str; 3] = ["rmvpe_small.pt", "fcpe_small.weights.safetensors", "crepe_small.weights.safetensors"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_indexes_never_panic(name in prop::sample::select(&["sparse_mapped.index", "flat.index", "trained_empty.index"][..]), damages in damage()) {
        limit_memory();
        let folder = folder();
        let path = folder.path().join("damaged.index");
        fs::write(&path, damaged(&fs::read(data(name)).unwrap(), &damages)).unwrap();
        read(&path);
    }

    #[test]
    fn damaged_voices_never_panic(name in prop::sample::select(&["voice_zip.pth", "voice_legacy.pth", "encoder_fairseq.pt"][..]), damages in damage()) {
        limit_memory();
        let folder = folder();
        let path = folder.path().join("damaged.pth");
        fs::write(&path, damaged(&fs::read(data(name)).unwrap(), &damages)).unwrap();
        read(&path);
    }

    #[test]
    fn damaged_pitch_networks_never_panic(name in prop::sample::select(&PITCH_FILES[1..]), damages in damage()) {
        limit_memory();
        let folder = folder();
        let path = folder.path().join("damaged.safetensors");
        fs::write(&path, damaged(&fs::read(data(name)).unwrap(), &damages)).unwrap();
        read(&path);
    }

    #[test]
    fn damaged_pickles_behind_good_checksums_never_panic(damages in damage()) {
        limit_memory();
        let folder = folder();
        let path = folder.path().join("damaged.pth");
        let mut entries = unzip(&data("voice_zip.pth"));
        let pickle = entries.iter_mut().find(|(name, _)| name.ends_with("data.pkl")).unwrap();
        pickle.1 = damaged(&pickle.1, &damages);
        let entries: Vec<(&str, &[u8])> = entries.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
        save_zip(&path, &entries, CompressionMethod::Stored);
        read(&path);
    }

    #[test]
    fn damaged_safetensors_never_panic(damages in damage()) {
        limit_memory();
        let folder = folder();
        let path = Draft::whole().save(folder.path());
        fs::write(&path, damaged(&fs::read(&path).unwrap(), &damages)).unwrap();
        read(&path);
    }
}

//! Damaged files, by the thousand: never a panic, and never more memory than a small multiple of the file.

use std::fs;
use std::path::Path;
use std::sync::Once;

use proptest::prelude::*;
use syrinx::checkpoint::index::Index;
use syrinx::checkpoint::{Tensors, summarise};
use zip::CompressionMethod;

use crate::support::{Draft, data, folder, save_zip, unzip};

/// Address space of the whole test process. The files are below 100 kB; the rest is the program,
/// its threads' stacks and the other tests. An allocation by a number a file claims would abort.
#[cfg(unix)]
const ADDRESS_SPACE_BYTES: u64 = 4 << 30;

fn limit_memory() {
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

/// Reads a file in every way there is; only a panic or an abort can fail.
fn read(path: &Path) {
    let _ = summarise(path);
    let _ = Tensors::open(path);
    let _ = Index::open(path);
}

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
        let path = Draft::new().save(folder.path());
        fs::write(&path, damaged(&fs::read(&path).unwrap(), &damages)).unwrap();
        read(&path);
    }
}

//! Uploads: what a stranger sent, sorted by what it is.
//!
//! Names are only kept to be shown; files lie under names of ours. What is packed is unpacked by its bytes, counted as they
//! come, never by what its directory claims.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use zip::ZipArchive;

use crate::checkpoint::index::Index;
use crate::checkpoint::voice::VoiceCheckpoint;
use crate::checkpoint::{Kind, identify, summarise};
use crate::error::{Error, Result};
use crate::nn::Cpu;
use crate::nn::synthesizer::Synthesizer;
use crate::path::retrieval::Retrieval;

/// Most files in an archive.
const MOST_ENTRIES: usize = 1000;

/// A file that was received.
#[derive(Debug)]
pub struct Received {
    /// What its sender calls it.
    pub name: String,
    /// Where it lies.
    pub path: PathBuf,
}

/// A voice that was checked.
#[derive(Debug)]
pub struct VoiceFiles {
    /// The voice.
    pub voice: Received,
    /// Its index.
    pub index: Option<Received>,
    /// The folder of an encoder of its own.
    pub encoder: Option<Received>,
    /// Hash of both, by which a voice is known.
    pub id: String,
    /// Bytes of both.
    pub bytes: u64,
    /// What the voice is like: version, rate, pitch and more.
    pub facts: serde_json::Value,
}

impl VoiceFiles {
    /// Finds a voice, and perhaps its index, among what was received, and checks both as if they were used.
    /// Archives are unpacked into `folder`, up to `most_bytes` in all.
    ///
    /// # Errors
    /// Nothing that is a voice, more than one, and whatever loading one would refuse. Files are named as their sender does.
    pub fn recognise(received: Vec<Received>, folder: &Path, most_bytes: u64) -> Result<Self> {
        let (mut voice, mut index) = (None, None);
        let mut left = most_bytes;
        for file in received {
            for file in unpacked(file, folder, &mut left)? {
                let kind = identify(&file.path).map_err(|error| renamed(error, &file))?;
                let place = match kind {
                    Kind::Voice => &mut voice,
                    Kind::Index => &mut index,
                    other => return Err(Error::format(&file.name, "a voice or its index", other.name())),
                };
                if let Some(first) = place.replace(file) {
                    let found = format!("another {} beside it", kind.name());
                    return Err(Error::format(first.name, "one voice and at most one index", found));
                }
            }
        }
        let voice = voice.ok_or_else(|| Error::argument("pth_file", "an RVC voice", "none"))?;
        check(&voice, index.as_ref())?;
        Self::known(voice, index)
    }

    /// A voice that was checked before.
    fn known(voice: Received, index: Option<Received>) -> Result<Self> {
        let facts = facts(&voice)?;
        let mut hash = Sha256::new();
        let mut bytes = 0;
        for file in [Some(&voice), index.as_ref()].into_iter().flatten() {
            bytes += hash_file(file, &mut hash)?;
            hash.update([0]);
        }
        let hash = hash.finalize();
        let id = format!("{:016x}", hash.iter().take(8).fold(0_u64, |id, byte| id << 8 | u64::from(*byte)));
        Ok(Self { voice, index, encoder: None, id, bytes, facts })
    }
}

#[cfg(feature = "default-voice")]
impl VoiceFiles {
    /// The voice that is part of the program, copied into `folder`. Without its index, which is too small for the usual rate.
    /// It was checked when the program was built, by the tests, so that a service's first start need not.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn built_in(folder: &Path) -> Result<Self> {
        use crate::checkpoint::built_in::BuiltIn;
        let files = BuiltIn::unpacked_in(folder)?;
        let received = |path: PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Received { name, path }
        };
        Ok(Self { encoder: Some(received(files.encoder())), ..Self::known(received(files.voice()), None)? })
    }
}

/// Loads voice and index as for use.
fn check(voice: &Received, index: Option<&Received>) -> Result<()> {
    let device = Default::default();
    let checkpoint = VoiceCheckpoint::open(&voice.path).map_err(|error| renamed(error, voice))?;
    Synthesizer::<Cpu>::load(&checkpoint.tensors.weights(), &checkpoint.config, &device)
        .map_err(|error| renamed(error, voice))?;
    if let Some(index) = index {
        Index::open(&index.path)
            .and_then(|rows| Retrieval::<Cpu>::new(rows.into(), checkpoint.config.unit_dim, &device))
            .map_err(|error| renamed(error, index))?;
    }
    Ok(())
}

/// What a voice is like.
fn facts(voice: &Received) -> Result<serde_json::Value> {
    let summary = summarise(&voice.path).map_err(|error| renamed(error, voice))?;
    let mut facts: serde_json::Map<String, serde_json::Value> =
        summary.facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    facts.insert("parameters".into(), summary.parameters.into());
    Ok(facts.into())
}

/// The same error about the file as its sender knows it.
fn renamed(error: Error, file: &Received) -> Error {
    let path = PathBuf::from(&file.name);
    match error {
        Error::Io { source, .. } => Error::Io { path, source },
        Error::Format { expected, found, .. } => Error::Format { path, expected, found },
        Error::Tensor { tensor, expected, found, .. } => Error::Tensor { path, tensor, expected, found },
        Error::Limit { what, claimed, limit, .. } => Error::Limit { path, what, claimed, limit },
        other => other,
    }
}

fn hash_file(file: &Received, hash: &mut Sha256) -> Result<u64> {
    let failed = |source| Error::io(&file.name, source);
    let mut reader = File::open(&file.path).map_err(failed)?;
    let mut buffer = vec![0; 1 << 16];
    let mut bytes = 0;
    loop {
        let count = reader.read(&mut buffer).map_err(failed)?;
        if count == 0 {
            return Ok(bytes);
        }
        hash.update(&buffer[..count]);
        bytes += count as u64;
    }
}

/// The models in an archive, or the file itself if it is none. A voice is an archive too, but of tensors.
fn unpacked(file: Received, folder: &Path, left: &mut u64) -> Result<Vec<Received>> {
    let opened = File::open(&file.path).map_err(|source| Error::io(&file.name, source))?;
    let Ok(mut archive) = ZipArchive::new(opened) else { return Ok(vec![file]) };
    if archive.file_names().any(|name| name.is_ok_and(|name| name.ends_with("data.pkl"))) {
        return Ok(vec![file]);
    }
    if archive.len() > MOST_ENTRIES {
        let (claimed, limit) = (archive.len() as u64, MOST_ENTRIES as u64);
        return Err(Error::Limit { path: file.name.into(), what: "its number of files".into(), claimed, limit });
    }
    let mut found = Vec::new();
    for place in 0..archive.len() {
        let damaged = |error| Error::format(&file.name, "an archive that can be unpacked", error);
        let mut entry = archive.by_index(place).map_err(|error| damaged(error.to_string()))?;
        let name = entry.name().map_err(|error| damaged(error.to_string()))?.into_owned();
        let extension = Path::new(&name).extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        // What comes beside a voice, as read-me files and folders of another system, is left.
        let is_model = ["pth", "safetensors", "index"].contains(&extension.to_ascii_lowercase().as_str());
        if !entry.is_file() || !is_model || name.contains("__MACOSX") {
            continue;
        }
        let path = folder.join(format!("unpacked-{place}"));
        let mut output = File::create(&path).map_err(|source| Error::io(&path, source))?;
        // One more than allowed tells that there is more.
        let copied = std::io::copy(&mut entry.by_ref().take(*left + 1), &mut output);
        let copied = copied.map_err(|error| damaged(error.to_string()))?;
        output.flush().map_err(|source| Error::io(&path, source))?;
        if copied > *left {
            let what = format!("`{name}`, unpacked,");
            return Err(Error::Limit { path: file.name.into(), what, claimed: copied, limit: *left });
        }
        *left -= copied;
        let shown = Path::new(&name).file_name().map(|name| name.to_string_lossy().into_owned());
        found.push(Received { name: shown.unwrap_or(name), path });
    }
    if found.is_empty() {
        return Err(Error::format(&file.name, "an archive with a .pth or .index", "one without"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use zip::write::SimpleFileOptions;

    const MOST: u64 = 64 << 20;

    fn data(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
    }

    fn received(name: &str) -> Received {
        Received { name: name.into(), path: data(name) }
    }

    fn archive(folder: &Path, entries: &[(&str, &[u8])]) -> Received {
        let path = folder.join("upload");
        let mut archive = zip::ZipWriter::new(File::create(&path).expect("a file"));
        for (name, bytes) in entries {
            archive.start_file(*name, SimpleFileOptions::default()).expect("an entry");
            archive.write_all(bytes).expect("bytes");
        }
        archive.finish().expect("an archive");
        Received { name: "upload.zip".into(), path }
    }

    const VOICE: &str = "synth_small_v1_32k.pth";
    const INDEX: &str = "added_IVF15_Flat_nprobe_1_small_v1.index";

    #[test]
    fn voice_and_index_are_known_by_content_in_any_order_and_packing() {
        let folder = tempfile::tempdir().expect("a folder");
        let loose =
            VoiceFiles::recognise(vec![received(INDEX), received(VOICE)], folder.path(), MOST).expect("a voice");
        assert_eq!((loose.voice.name.as_str(), loose.facts["sample_rate_hz"].as_u64()), (VOICE, Some(32_000)));
        let (voice, index) = (std::fs::read(data(VOICE)).expect("bytes"), std::fs::read(data(INDEX)).expect("bytes"));
        let packed = archive(
            folder.path(),
            &[("read me.txt", b"hi"), ("../../etc/evil.index", &index), ("/abs/VOICE.PTH", &voice)],
        );
        let packed = VoiceFiles::recognise(vec![packed], folder.path(), MOST).expect("a voice");
        assert_eq!((packed.id, packed.bytes), (loose.id.clone(), loose.bytes));
        assert_eq!(packed.index.map(|index| index.name).as_deref(), Some("evil.index"));
        assert!(packed.voice.path.starts_with(folder.path()));
        let alone = VoiceFiles::recognise(vec![received(VOICE)], folder.path(), MOST).expect("a voice");
        assert_ne!(alone.id, loose.id);
    }

    #[cfg(feature = "default-voice")]
    #[test]
    fn the_voice_of_the_program_would_pass_the_check_of_uploads_as_what_it_is_known_as() {
        let folder = tempfile::tempdir().expect("a folder");
        let known = VoiceFiles::built_in(folder.path()).expect("the voice");
        let sent = Received { name: known.voice.name.clone(), path: known.voice.path.clone() };
        let checked = VoiceFiles::recognise(vec![sent], folder.path(), MOST).expect("a voice");
        assert_eq!((checked.id, checked.bytes, checked.facts), (known.id, known.bytes, known.facts));
    }

    #[test]
    fn what_is_no_voice_is_refused_by_the_name_that_its_sender_gave() {
        let folder = tempfile::tempdir().expect("a folder");
        for (names, told) in [
            (&[INDEX][..], "pth_file: expected an RVC voice"),
            (&["hubert_small_v1.weights.safetensors"], "expected a voice or its index"),
            (&[VOICE, "synth_small_v2_40k.pth"], "one voice and at most one index"),
            (&["audio/speech1.wav"], "audio/speech1.wav: expected"),
            // Units of another version.
            (&[VOICE, "added_IVF7_Flat_nprobe_1_small_v2.index"], "vectors of"),
        ] {
            let files = names.iter().map(|name| received(name)).collect();
            let error = VoiceFiles::recognise(files, folder.path(), MOST).expect_err(told).to_string();
            assert!(error.contains(told) && !error.contains("/tests/data/"), "{error}");
        }
    }

    #[test]
    fn an_archive_that_unpacks_to_too_much_is_refused_before_it_has() {
        let folder = tempfile::tempdir().expect("a folder");
        let bomb = archive(folder.path(), &[("bomb.pth", &vec![0; 4 << 20])]);
        assert!(std::fs::metadata(&bomb.path).expect("a file").len() < 64 << 10);
        let error = VoiceFiles::recognise(vec![bomb], folder.path(), 1 << 20).expect_err("a bomb").to_string();
        assert!(error.contains("at most 1048576 is possible"), "{error}");
        assert!(std::fs::metadata(folder.path().join("unpacked-0")).expect("a file").len() <= (1 << 20) + 1);
    }
}

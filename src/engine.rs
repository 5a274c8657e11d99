//! Control: loads models, keeps them for the next use, and puts them together as converters.

use std::collections::HashMap;
use std::hash::Hash;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::checkpoint::hubert::{EncoderCheckpoint, weights_of_folder};
use crate::checkpoint::index::Index;
use crate::checkpoint::pitch::{PitchCheckpoint, PitchNetwork};
use crate::checkpoint::voice::VoiceCheckpoint;
use crate::dsp::yin::Yin;
use crate::error::{Error, Result};
use crate::nn::crepe::Crepe;
use crate::nn::fcpe::Fcpe;
use crate::nn::hubert::{Hubert, Projection};
use crate::nn::ops::{Precision, VoiceOps};
use crate::nn::rmvpe::Rmvpe;
use crate::nn::swift_f0::SwiftF0;
use crate::nn::synthesizer::Synthesizer;
use crate::path::Converter;
use crate::path::pitch::Tracker;
use crate::path::retrieval::Retrieval;
use crate::path::synth::Synth;
use crate::path::units::UnitEncoder;

/// The files a conversion needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFiles {
    /// The voice.
    pub voice: PathBuf,
    /// Its training units, if they shall be retrieved.
    pub index: Option<PathBuf>,
    /// The content encoder: a file or a Hugging Face folder.
    pub encoder: PathBuf,
    /// What reads the pitch.
    pub tracker: TrackerFile,
}

/// A pitch tracker with the file of its weights, where it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrackerFile {
    /// A network whose weights come in a file.
    Network(PitchNetwork, PathBuf),
    /// The network whose weights are embedded.
    SwiftF0,
    /// No weights.
    Yin,
}

/// Loads models onto one device; what was loaded stays, and is read again only when its file has changed.
pub struct Engine<B: VoiceOps> {
    device: B::Device,
    /// The same for networks.
    networks_device: B::Device,
    voices: Cache<PathBuf, Arc<Synthesizer<B>>>,
    encoders: Cache<(PathBuf, Projection, Precision), Arc<Hubert<B>>>,
    encoder_precision: Precision,
    indexes: Cache<(PathBuf, usize), Arc<Retrieval<B>>>,
    networks: Cache<PathBuf, Tracker<B>>,
    swift_f0: Option<Arc<SwiftF0<B>>>,
}

impl<B: VoiceOps> Engine<B> {
    /// An engine that has loaded nothing yet.
    #[must_use]
    pub fn new(device: B::Device) -> Self {
        Self {
            networks_device: device.clone(),
            device,
            voices: Cache::default(),
            encoders: Cache::default(),
            encoder_precision: Precision::Full,
            indexes: Cache::default(),
            networks: Cache::default(),
            swift_f0: None,
        }
    }

    /// The same, with encoders of some precision: reduced, on GPUs that have it, all networks. Before anything is loaded.
    #[must_use]
    pub fn with_encoder_precision(self, encoder_precision: Precision) -> Self {
        let networks_device = match encoder_precision {
            Precision::Full => self.device.clone(),
            Precision::Reduced => B::reduced(&self.device),
        };
        Self { networks_device, encoder_precision, ..self }
    }

    /// A converter over these models.
    ///
    /// # Errors
    /// Files that are missing, damaged or not what they are used as, and models that do not fit together.
    pub fn converter(&mut self, files: &ModelFiles) -> Result<Converter<B>> {
        let voice = self.voice(&files.voice)?;
        let unit_dim = voice.config().unit_dim;
        let encoder = self.fitting(&files.voice, &voice, &files.encoder)?;
        let retrieval = files.index.as_ref().map(|index| self.retrieval(index, unit_dim)).transpose()?;
        Ok(assemble(voice, encoder, retrieval, self.tracker(&files.tracker)?))
    }

    /// A converter over a voice that is kept elsewhere; encoder and tracker are kept here.
    ///
    /// # Errors
    /// As [`converter`](Self::converter).
    pub fn around(
        &mut self,
        voice: Arc<Synthesizer<B>>,
        retrieval: Option<Arc<Retrieval<B>>>,
        encoder: &Path,
        tracker: &TrackerFile,
    ) -> Result<Converter<B>> {
        let encoder = self.fitting(Path::new("the voice"), &voice, encoder)?;
        Ok(assemble(voice, encoder, retrieval, self.tracker(tracker)?))
    }

    /// The encoder, if it fits the voice.
    fn fitting(&mut self, path: &Path, voice: &Synthesizer<B>, encoder: &Path) -> Result<Arc<Hubert<B>>> {
        let (version, unit_dim) = (voice.config().version, voice.config().unit_dim);
        let loaded = self.encoder(encoder, version.into())?;
        if loaded.unit_dim() == unit_dim {
            return Ok(loaded);
        }
        let expected = format!("units of {unit_dim} values, as the voice {} reads", path.display());
        Err(Error::format(encoder, expected, format!("units of {}", loaded.unit_dim())))
    }

    /// The voice in `path`.
    ///
    /// # Errors
    /// The file is missing or no voice.
    pub fn voice(&mut self, path: &Path) -> Result<Arc<Synthesizer<B>>> {
        self.voices.get(path, path.to_owned(), || {
            let file = VoiceCheckpoint::open(path)?;
            Synthesizer::load(&file.tensors.weights(), &file.config, &self.networks_device).map(Arc::new)
        })
    }

    /// The content encoder in `path`, a file or a folder.
    ///
    /// # Errors
    /// The file is missing, no encoder, or lacks the projection.
    pub fn encoder(&mut self, path: &Path, projection: Projection) -> Result<Arc<Hubert<B>>> {
        // A folder's own time does not tell that a file in it was written over.
        let weights = if path.is_dir() { weights_of_folder(path)? } else { path.to_owned() };
        let precision = self.encoder_precision;
        self.encoders.get(&weights, (path.to_owned(), projection, precision), || {
            let file = EncoderCheckpoint::open(path)?;
            Hubert::load_for(&file.tensors.weights(), &file.config, projection, precision, &self.networks_device)
                .map(Arc::new)
        })
    }

    fn retrieval(&mut self, path: &Path, unit_dim: usize) -> Result<Arc<Retrieval<B>>> {
        self.indexes.get(path, (path.to_owned(), unit_dim), || {
            Retrieval::new(Arc::new(Index::open(path)?), unit_dim, &self.device).map(Arc::new)
        })
    }

    /// A pitch tracker.
    ///
    /// # Errors
    /// Its file is missing or holds another network.
    pub fn tracker(&mut self, tracker: &TrackerFile) -> Result<Tracker<B>> {
        Ok(match tracker {
            TrackerFile::Yin => Tracker::Yin(Arc::new(Yin::default())),
            TrackerFile::SwiftF0 => {
                let loaded = match &self.swift_f0 {
                    Some(loaded) => loaded.clone(),
                    None => Arc::new(SwiftF0::embedded(&B::beside(&self.networks_device))?),
                };
                Tracker::SwiftF0(self.swift_f0.insert(loaded).clone())
            }
            TrackerFile::Network(network, path) => self.networks.get(path, path.clone(), || {
                let device = B::beside(&self.networks_device);
                let file = PitchCheckpoint::open_as(path, *network)?;
                let weights = file.tensors.weights();
                Ok(match network {
                    PitchNetwork::Rmvpe => Tracker::Rmvpe(Arc::new(Rmvpe::load(&weights, &device)?)),
                    PitchNetwork::Fcpe => Tracker::Fcpe(Arc::new(Fcpe::load(&weights, &device)?)),
                    PitchNetwork::Crepe => Tracker::Crepe(Arc::new(Crepe::load(&weights, &device)?)),
                })
            })?,
        })
    }
}

/// A converter over networks whose units agree.
#[must_use]
pub fn assemble<B: VoiceOps>(
    voice: Arc<Synthesizer<B>>,
    encoder: Arc<Hubert<B>>,
    retrieval: Option<Arc<Retrieval<B>>>,
    tracker: Tracker<B>,
) -> Converter<B> {
    Converter { units: UnitEncoder::new(encoder), retrieval, tracker, synth: Synth::new(voice) }
}

/// What was read from files, by key, with the state of the file it was read from.
struct Cache<K, V> {
    entries: HashMap<K, (FileState, V)>,
}

/// Size and time of a file: a change of either means that the content may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileState {
    length: u64,
    modified: Option<SystemTime>,
}

impl<K, V> Default for Cache<K, V> {
    fn default() -> Self {
        Self { entries: HashMap::new() }
    }
}

impl<K: Hash + Eq, V: Clone> Cache<K, V> {
    fn get(&mut self, path: &Path, key: K, read: impl FnOnce() -> Result<V>) -> Result<V> {
        let metadata = std::fs::metadata(path).map_err(|source| Error::io(path, source))?;
        let state = FileState { length: metadata.len(), modified: metadata.modified().ok() };
        if let Some((known, value)) = self.entries.get(&key)
            && *known == state
        {
            return Ok(value.clone());
        }
        let value = read()?;
        self.entries.insert(key, (state, value.clone()));
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Cpu;

    #[test]
    fn a_voice_is_read_once_until_its_file_changes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("voice.pth");
        let data = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
        std::fs::copy(data("synth_small_v1_32k.pth"), &path).expect("a copy");
        let mut engine = Engine::<Cpu>::new(Default::default());
        let first = engine.voice(&path).expect("a voice");
        assert!(Arc::ptr_eq(&first, &engine.voice(&path).expect("a voice")));
        std::fs::copy(data("synth_small_v2_40k.pth"), &path).expect("a copy");
        assert_eq!(engine.voice(&path).expect("a voice").config().sample_rate_hz, 40_000);
    }

    #[test]
    fn a_voice_and_an_encoder_that_do_not_fit_are_refused_with_both_names() {
        let data = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
        let files = ModelFiles {
            voice: data("synth_small_v2_40k.pth"),
            index: None,
            encoder: data("hubert_small_v1.weights.safetensors"),
            tracker: TrackerFile::Yin,
        };
        let error = Engine::<Cpu>::new(Default::default()).converter(&files).err().expect("a misfit").to_string();
        assert!(error.contains("hubert_small_v1") && error.contains("synth_small_v2_40k.pth"), "{error}");
        assert!(error.ends_with("found units of 48"), "{error}");
    }
}

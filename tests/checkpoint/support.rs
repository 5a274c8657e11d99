//! Finds recordings, and writes the files that tests make up.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, TensorView};
use syrinx::checkpoint::Tensors;
use syrinx::checkpoint::voice::{VoiceCheckpoint, metadata, tensor_shapes};
use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

/// A file below `tests/data`.
pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// A fresh folder for files that a test makes up.
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Asserts that two checkpoints hold the same names, shapes and values within `tolerance`.
#[track_caller]
pub fn assert_same(found: &Tensors, expected: &Tensors, tolerance: f32) {
    let names = |tensors: &Tensors| tensors.iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
    assert_eq!(names(found), names(expected));
    for ((name, a), (_, b)) in found.iter().zip(expected.iter()) {
        assert_eq!(a.shape, b.shape, "{name}");
        let worst = a.to_f32().iter().zip(b.to_f32()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= tolerance, "{name}: differs by {worst:e}, allowed {tolerance:e}");
    }
}

/// Asserts that `refuses` holds for a file of these bytes cut to `count` lengths, evenly from whole to empty.
#[track_caller]
pub fn cut_everywhere(path: &Path, bytes: &[u8], count: usize, refuses: impl Fn(&Path) -> bool) {
    std::fs::write(path, bytes).expect("a file");
    assert!(!refuses(path), "the whole file is refused");
    for cut in 1..=count {
        let length = bytes.len() - bytes.len() * cut / count;
        // Shortened in place: rewriting a file waits for the disk.
        std::fs::OpenOptions::new()
            .write(true)
            .open(path)
            .expect("a file")
            .set_len(length as u64)
            .expect("a shorter file");
        assert!(refuses(path), "{} was read when cut to {length} bytes", path.display());
    }
}

/// A voice's text metadata and its tensors, to be changed before it is saved.
pub struct Draft {
    pub metadata: HashMap<String, String>,
    pub tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

impl Draft {
    /// The small seeded voice.
    pub fn new() -> Self {
        let voice = VoiceCheckpoint::open(data("voice_zip.pth")).expect("a voice");
        let tensors = voice.tensors.iter().map(|(name, t)| (name.to_owned(), (t.shape.clone(), t.to_f32())));
        Self { metadata: metadata(&voice.config), tensors: tensors.collect() }
    }

    /// The same with all tensors that its network reads, so that it can be built and run.
    pub fn whole() -> Self {
        let mut draft = Self::new();
        let config = VoiceCheckpoint::open(data("voice_zip.pth")).expect("a voice").config;
        for (name, shape) in tensor_shapes(&config) {
            let count = shape.iter().product();
            let values = (0..count).map(|n: usize| 0.2 - 0.4 * ((n * 7919) % 101) as f32 / 100.0).collect();
            draft.tensors.entry(name).or_insert((shape, values));
        }
        draft
    }

    /// Replaces the value at `at` of the positional config.
    pub fn set(mut self, at: usize, value: impl Into<serde_json::Value>) -> Self {
        let mut config: Vec<serde_json::Value> = serde_json::from_str(&self.metadata["config"]).expect("a list");
        config[at] = value.into();
        self.metadata.insert("config".into(), serde_json::Value::from(config).to_string());
        self
    }

    /// Saves it as safetensors.
    pub fn save(&self, folder: &Path) -> PathBuf {
        let path = folder.join("voice.safetensors");
        let views = self.tensors.iter().map(|(name, (shape, values))| {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytemuck::cast_slice(values)).expect("a tensor");
            (name.clone(), view)
        });
        let bytes = safetensors::serialize(views, Some(self.metadata.clone())).expect("safetensors");
        std::fs::write(&path, bytes).expect("a file");
        path
    }
}

/// Saves entries as an archive, as `torch.save` does.
pub fn save_zip(path: &Path, entries: &[(&str, &[u8])], compression: CompressionMethod) {
    let mut archive = ZipWriter::new(std::fs::File::create(path).expect("a file"));
    for (name, bytes) in entries {
        archive.start_file(*name, SimpleFileOptions::default().compression_method(compression)).expect("an entry");
        archive.write_all(bytes).expect("an entry");
    }
    archive.finish().expect("an archive");
}

/// Saves a lone pickle in an archive.
pub fn save_pickle(folder: &Path, pickle: &[u8]) -> PathBuf {
    let path = folder.join("voice.pth");
    save_zip(&path, &[("archive/data.pkl", pickle)], CompressionMethod::Stored);
    path
}

/// The entries of an archive.
pub fn unzip(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut archive = zip::ZipArchive::new(std::fs::File::open(path).expect("a file")).expect("an archive");
    let mut entries = Vec::new();
    for at in 0..archive.len() {
        let mut entry = archive.by_index(at).expect("an entry");
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).expect("an entry");
        entries.push((entry.name().expect("a name").into_owned(), bytes));
    }
    entries
}

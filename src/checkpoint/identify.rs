//! Tells what a file is by its content, and sums it up for people and scripts.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::File;
use std::io;
use std::path::Path;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::container::Container;
use super::index::Index;
use super::pitch::PitchNetwork;
use super::{hubert, index, pitch, voice};
use crate::error::{Error, Result};

/// What a file is to Syrinx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An RVC voice.
    Voice,
    /// A content encoder, a file or a folder.
    Encoder,
    /// A pitch network.
    Pitch(PitchNetwork),
    /// A retrieval index.
    Index,
}

impl Kind {
    /// The name shown to people and scripts.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Voice => "voice",
            Self::Encoder => "encoder",
            Self::Pitch(network) => network.name(),
            Self::Index => "index",
        }
    }
}

/// What a file or folder is, by its content; reads no tensors.
///
/// # Errors
/// Unreadable files, and files that are none of these.
pub fn identify(path: impl AsRef<Path>) -> Result<Kind> {
    let path = path.as_ref();
    if path.is_dir() {
        let weights = hubert::weights_of_folder(path)?;
        return kind_of(&Container::open(&weights)?);
    }
    if index::recognises(path)? {
        return Ok(Kind::Index);
    }
    kind_of(&Container::open(path)?)
}

fn kind_of(container: &Container) -> Result<Kind> {
    if voice::recognises(container) {
        return Ok(Kind::Voice);
    }
    if hubert::recognises(container) {
        return Ok(Kind::Encoder);
    }
    if let Some(network) = pitch::recognise(container) {
        return Ok(Kind::Pitch(network));
    }
    let expected = "an RVC voice, a HuBERT or ContentVec encoder, RMVPE, FCPE, CREPE or a FAISS index";
    let found = match container.entries.first() {
        None => "no tensors".to_owned(),
        Some(first) => format!("{} other tensors, such as `{}`", container.entries.len(), first.name),
    };
    Err(Error::format(&container.path, expected, found))
}

/// One tensor of a [`Summary`].
#[derive(Clone, Debug, Serialize)]
pub struct TensorSummary {
    /// Its name in the file, without the outer key.
    pub name: String,
    /// Its shape, outermost first.
    pub shape: Vec<usize>,
    /// Its element type.
    pub precision: &'static str,
}

/// Everything `syrinx inspect` tells about a file.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The file or folder as given.
    pub path: String,
    /// What it is: [`Kind::name`].
    pub kind: &'static str,
    /// How it is stored.
    pub format: &'static str,
    /// Length of the file that holds the weights or rows.
    pub bytes: u64,
    /// SHA-256 of that file, hexadecimal.
    pub sha256: String,
    /// What is particular to the kind, such as `sample_rate_hz` or `rows`, in the order to show.
    pub facts: Vec<(&'static str, serde_json::Value)>,
    /// Number of stored tensors.
    pub tensor_count: usize,
    /// Number of floating-point values in all tensors, as stored.
    pub parameters: usize,
    /// Tensors per element type.
    pub precisions: BTreeMap<&'static str, usize>,
    /// Every stored tensor.
    pub tensors: Vec<TensorSummary>,
}

/// Sums up a file or folder. Checks all that can be checked without reading tensors.
///
/// # Errors
/// As [`identify`], and whatever opening the file for use would refuse about its sizes.
pub fn summarise(path: impl AsRef<Path>) -> Result<Summary> {
    let path = path.as_ref();
    let kind = identify(path)?;
    let mut summary = Summary {
        path: path.display().to_string(),
        kind: kind.name(),
        format: "FAISS",
        bytes: 0,
        sha256: String::new(),
        facts: Vec::new(),
        tensor_count: 0,
        parameters: 0,
        precisions: BTreeMap::new(),
        tensors: Vec::new(),
    };
    let file = match kind {
        Kind::Index => {
            summary.facts = index_facts(&Index::open(path)?);
            path.to_owned()
        }
        Kind::Encoder => {
            let (container, config) = hubert::open_checked(path)?;
            summary.facts = encoder_facts(&config);
            summary.describe(&container);
            container.path
        }
        Kind::Voice => {
            let container = Container::open(path)?;
            summary.facts = voice_facts(&voice::read_config(&container)?);
            let embedder = container.values.get("embedder_model").filter(|value| value.is_string());
            summary.facts.extend(embedder.map(|name| ("embedder_model", name.clone())));
            summary.describe(&container);
            container.path
        }
        Kind::Pitch(_) => {
            let container = Container::open(path)?;
            summary.describe(&container);
            container.path
        }
    };
    (summary.bytes, summary.sha256) = digest(&file)?;
    Ok(summary)
}

impl Summary {
    fn describe(&mut self, container: &Container) {
        self.format = container.format.name();
        self.tensor_count = container.entries.len();
        for entry in &container.entries {
            *self.precisions.entry(entry.precision.name()).or_default() += 1;
            self.parameters += if entry.precision.is_float() { entry.parameters() } else { 0 };
            let (name, shape) = (entry.name.clone(), entry.shape.clone());
            self.tensors.push(TensorSummary { name, shape, precision: entry.precision.name() });
        }
    }
}

fn voice_facts(c: &voice::VoiceConfig) -> Vec<(&'static str, serde_json::Value)> {
    vec![
        ("version", c.version.name().into()),
        ("sample_rate_hz", c.sample_rate_hz.into()),
        ("f0", c.has_f0.into()),
        ("speakers", c.speakers.into()),
        ("unit_dim", c.unit_dim.into()),
        ("pitch_hz", c.pitch_hz.into()),
        ("hop_samples", c.hop_samples().into()),
        ("info", c.info.as_str().into()),
        ("inter_channels", c.inter_channels.into()),
        ("hidden_channels", c.hidden_channels.into()),
        ("filter_channels", c.filter_channels.into()),
        ("heads", c.heads.into()),
        ("layers", c.layers.into()),
        ("kernel_size", c.kernel_size.into()),
        ("resblock", if c.resblock == voice::Resblock::One { 1 } else { 2 }.into()),
        ("resblock_kernel_sizes", c.resblock_kernel_sizes.clone().into()),
        ("resblock_dilation_sizes", c.resblock_dilation_sizes.clone().into()),
        ("upsample_rates", c.upsample_rates.clone().into()),
        ("upsample_initial_channel", c.upsample_initial_channel.into()),
        ("upsample_kernel_sizes", c.upsample_kernel_sizes.clone().into()),
        ("gin_channels", c.gin_channels.into()),
    ]
}

fn encoder_facts(c: &hubert::EncoderConfig) -> Vec<(&'static str, serde_json::Value)> {
    vec![
        ("hidden_size", c.hidden_size.into()),
        ("layers", c.layers.into()),
        ("heads", c.heads.into()),
        ("intermediate_size", c.intermediate_size.into()),
        ("conv_dim", c.conv_dim.clone().into()),
        ("conv_kernel", c.conv_kernel.clone().into()),
        ("conv_stride", c.conv_stride.clone().into()),
        ("feature_norm", if c.feature_norm == hubert::FeatureNorm::PerFrame { "layer" } else { "group" }.into()),
        ("position_taps", c.position_taps.into()),
        ("position_groups", c.position_groups.into()),
        ("attention_span", c.attention_span.map(Vec::from).into()),
        ("final_proj", c.final_proj.into()),
    ]
}

fn index_facts(index: &Index) -> Vec<(&'static str, serde_json::Value)> {
    vec![
        ("rows", index.rows().into()),
        ("dim", index.dim.into()),
        ("lists", index.lists().into()),
        ("nprobe", index.nprobe.into()),
        ("metric", if index.metric == index::Metric::L2 { "L2" } else { "inner product" }.into()),
    ]
}

/// Length and SHA-256 (hexadecimal) of a file.
///
/// # Errors
/// The file cannot be read.
pub(super) fn digest(path: &Path) -> Result<(u64, String)> {
    let mut file = File::open(path).map_err(|e| Error::io(path, e))?;
    let mut hasher = HashWriter { hasher: Sha256::new(), length: 0 };
    io::copy(&mut file, &mut hasher).map_err(|e| Error::io(path, e))?;
    let mut hexadecimal = String::with_capacity(64);
    for byte in hasher.hasher.finalize() {
        let _ = write!(hexadecimal, "{byte:02x}");
    }
    Ok((hasher.length, hexadecimal))
}

struct HashWriter {
    hasher: Sha256,
    length: u64,
}

impl io::Write for HashWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

//! Content encoders: HuBERT base and ContentVec, from fairseq or in Hugging Face form.
//!
//! Whatever the source, tensors come out under Hugging Face's names
//! (`feature_extractor.conv_layers.0.conv.weight`, ...), which the network reads.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::Tensors;
use super::container::Container;
use crate::error::{Error, Result};

/// Everything an encoder's shape depends on. Checked against the file's tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct EncoderConfig {
    /// Width of the transformer.
    pub hidden_size: usize,
    /// Transformer layers.
    pub layers: usize,
    /// Attention heads; a divisor of the width.
    pub heads: usize,
    /// Inner width of the feed-forward layers.
    pub intermediate_size: usize,
    /// Output channels of each feature convolution.
    pub conv_dim: Vec<usize>,
    /// Taps of each feature convolution.
    pub conv_kernel: Vec<usize>,
    /// Stride of each feature convolution; their product is the hop, 320 samples at 16 kHz.
    pub conv_stride: Vec<usize>,
    /// What follows the feature convolutions.
    pub feature_norm: FeatureNorm,
    /// Taps of the positional convolution.
    pub position_taps: usize,
    /// Groups of the positional convolution.
    pub position_groups: usize,
    /// Epsilon of every layer norm.
    pub layer_norm_eps: f64,
    /// Frames before and after its own that a frame attends to (`attention_left` and `attention_right` of the config);
    /// all of them, if none.
    pub attention_span: Option<[usize; 2]>,
    /// Width of `final_proj`, which v1 voices need; `None` where the file has none.
    pub final_proj: Option<usize>,
}

impl EncoderConfig {
    /// Input samples per unit.
    #[must_use]
    pub fn hop_samples(&self) -> usize {
        self.conv_stride.iter().product()
    }
}

/// Normalisation between the feature convolutions (`feat_extract_norm`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeatureNorm {
    /// `group`, of HuBERT base: each channel of the first convolution over the whole time.
    OverTime,
    /// `layer`: each frame of every convolution, which needs to know nothing of the future.
    PerFrame,
}

/// A content encoder read from a file or folder.
#[derive(Clone, Debug)]
pub struct EncoderCheckpoint {
    /// The sizes, checked.
    pub config: EncoderConfig,
    /// The tensors under Hugging Face's names, weight norm folded.
    pub tensors: Tensors,
}

impl EncoderCheckpoint {
    /// Reads fairseq's `.pt`, a Hugging Face folder, or bare weights with a config beside them
    /// (`config.json`, or `NAME.config.json` beside `NAME.safetensors` or `NAME.weights.safetensors`).
    ///
    /// # Errors
    /// Files that are no HuBERT, damaged, of a variant RVC does not use, or whose config disagrees
    /// with their tensors.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let (container, config) = open_checked(path.as_ref())?;
        let tensors = container.read(|name| !DROPPED.contains(&name))?;
        Ok(Self { config, tensors: Tensors::new(&container.path, tensors) })
    }
}

/// Tensors of training that inference does not read.
const DROPPED: [&str; 2] = ["label_embs_concat", "masked_spec_embed"];

/// Whether the container holds a HuBERT, whatever its names.
pub(super) fn recognises(container: &Container) -> bool {
    let marks = [
        "post_extract_proj.weight",
        "feature_projection.projection.weight",
        "hubert.feature_projection.projection.weight",
    ];
    marks.iter().any(|mark| container.has(mark))
}

/// Opens an encoder with its tensors renamed, and derives its config.
pub(super) fn open_checked(path: &Path) -> Result<(Container, EncoderConfig)> {
    let weights = if path.is_dir() { weights_of_folder(path)? } else { path.to_owned() };
    let mut container = Container::open(&weights)?;
    if !recognises(&container) {
        return Err(Error::format(&weights, "a HuBERT or ContentVec encoder", "other tensors"));
    }
    for entry in &mut container.entries {
        entry.name = hugging_face_name(&entry.name);
    }
    container.entries.sort_by(|a, b| a.name.cmp(&b.name));
    let config = Derivation { container: &container, json: config_beside(&weights)? }.config()?;
    Ok((container, config))
}

/// The weights of a Hugging Face folder.
pub(crate) fn weights_of_folder(folder: &Path) -> Result<PathBuf> {
    let names = ["model.safetensors", "pytorch_model.bin"];
    let found = names.iter().map(|name| folder.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| Error::NotFound {
        what: format!("encoder weights in {}", folder.display()),
        hint: format!("a Hugging Face folder holds config.json and {} or {}", names[0], names[1]),
    })
}

/// Hugging Face's name of a tensor that fairseq or an outer model may have named.
fn hugging_face_name(name: &str) -> String {
    let name = name.strip_prefix("hubert.").unwrap_or(name);
    let outer = [
        ("mask_emb", "masked_spec_embed"),
        ("layer_norm.", "feature_projection.layer_norm."),
        ("post_extract_proj.", "feature_projection.projection."),
        ("encoder.pos_conv.0.", "encoder.pos_conv_embed.conv."),
        ("feature_extractor.conv_layers.0.2.", "feature_extractor.conv_layers.0.layer_norm."),
    ];
    for (theirs, ours) in outer {
        if let Some(rest) = name.strip_prefix(theirs) {
            return format!("{ours}{rest}");
        }
    }
    if let Some(rest) = name.strip_prefix("feature_extractor.conv_layers.")
        && let Some((layer, "0.weight")) = rest.split_once('.')
    {
        return format!("feature_extractor.conv_layers.{layer}.conv.weight");
    }
    let inner = [
        (".self_attn.", ".attention."),
        (".self_attn_layer_norm.", ".layer_norm."),
        (".fc1.", ".feed_forward.intermediate_dense."),
        (".fc2.", ".feed_forward.output_dense."),
    ];
    for (theirs, ours) in inner {
        if name.starts_with("encoder.layers.") && name.contains(theirs) {
            return name.replacen(theirs, ours, 1);
        }
    }
    name.to_owned()
}

/// The JSON config beside the weights, if any.
fn config_beside(weights: &Path) -> Result<Option<Map<String, Value>>> {
    let stem = weights.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let stem = stem.strip_suffix(".weights").unwrap_or(&stem);
    let own = weights.with_file_name(format!("{stem}.config.json"));
    let shared = weights.with_file_name("config.json");
    // A folder's config.json describes `model.safetensors` or `pytorch_model.bin`, not any other file in it.
    let is_folder_weights = ["model", "pytorch_model"].contains(&stem);
    let Some(path) = [own, shared].into_iter().take(if is_folder_weights { 2 } else { 1 }).find(|p| p.is_file()) else {
        return Ok(None);
    };
    let length = std::fs::metadata(&path).map_err(|e| Error::io(&path, e))?.len();
    if length > limit::CONFIG_BYTES {
        let what = "the size of the config in bytes".into();
        return Err(Error::Limit { path, what, claimed: length, limit: limit::CONFIG_BYTES });
    }
    let text = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
    serde_json::from_slice(&text).map(Some).map_err(|e| Error::format(&path, "a JSON object", e))
}

/// Samples at 16 kHz from one unit to the next, which the rest of the path counts on.
const UNIT_SAMPLES: usize = 320;

/// Largest values that any encoder worth loading has.
mod limit {
    pub const CONFIG_BYTES: u64 = 1 << 20;
    pub const LAYERS: usize = 64;
    pub const WIDTH: usize = 8192;
    pub const CONVOLUTIONS: usize = 16;
    pub const STRIDE: usize = 320;
    pub const TAPS: usize = 512;
    /// More than an hour of frames.
    pub const SPAN: u64 = 1 << 18;
}

/// Derives the config: sizes from shapes, and from JSON what shapes do not show.
struct Derivation<'a> {
    container: &'a Container,
    json: Option<Map<String, Value>>,
}

impl Derivation<'_> {
    fn error(&self, what: &str, expected: impl std::fmt::Display, found: impl std::fmt::Display) -> Error {
        Error::format(&self.container.path, format!("{what}: {expected}"), found)
    }

    fn shape<const D: usize>(&self, name: &str) -> Result<[usize; D]> {
        let shape = self.container.shape(name);
        let found = || shape.map_or("nothing".to_owned(), |s| format!("{s:?}"));
        let error = |expected: String| Error::tensor(&self.container.path, name, expected, found());
        let extents: [usize; D] =
            shape.and_then(|s| s.try_into().ok()).ok_or_else(|| error(format!("{D} dimensions")))?;
        if extents.iter().all(|extent| (1..=limit::WIDTH).contains(extent)) {
            Ok(extents)
        } else {
            Err(error(format!("extents of 1 to {}", limit::WIDTH)))
        }
    }

    fn expect(&self, name: &str, shape: &[usize]) -> Result<()> {
        let found = self.container.shape(name);
        if found == Some(shape) {
            return Ok(());
        }
        let found = found.map_or("nothing".to_owned(), |s| format!("{s:?}"));
        Err(Error::tensor(&self.container.path, name, format!("{shape:?}"), found))
    }

    fn config(&self) -> Result<EncoderConfig> {
        self.refuse_variants()?;
        let feature_norm = self.feature_norm()?;
        let (conv_dim, conv_kernel) = self.convolutions(feature_norm)?;
        let [hidden_size, last_dim] = self.shape("feature_projection.projection.weight")?;
        if conv_dim.last() != Some(&last_dim) {
            let expected = format!("{:?} columns", conv_dim.last());
            return Err(self.error("feature_projection.projection.weight", expected, last_dim));
        }
        let [position_out, position_in, position_taps] = self.position_weight()?;
        if position_out != hidden_size || !hidden_size.is_multiple_of(position_in) {
            let found = format!("[{position_out}, {position_in}, {position_taps}]");
            return Err(self.error("positional convolution", format!("{hidden_size} channels in equal groups"), found));
        }
        let [intermediate_size, _] = self.shape("encoder.layers.0.feed_forward.intermediate_dense.weight")?;
        let config = EncoderConfig {
            hidden_size,
            layers: self.layers(hidden_size, intermediate_size)?,
            heads: self.heads(hidden_size)?,
            intermediate_size,
            conv_stride: self.strides(conv_dim.len())?,
            conv_dim,
            conv_kernel,
            feature_norm,
            position_taps,
            position_groups: hidden_size / position_in,
            layer_norm_eps: self.eps()?,
            attention_span: self.attention_span()?,
            final_proj: self.final_proj(hidden_size)?,
        };
        self.agree("hidden_size", hidden_size)?;
        self.agree("num_hidden_layers", config.layers)?;
        self.agree("intermediate_size", intermediate_size)?;
        self.agree("num_conv_pos_embeddings", position_taps)?;
        self.agree("num_conv_pos_embedding_groups", config.position_groups)?;
        Ok(config)
    }

    fn key(&self, key: &str) -> Option<&Value> {
        self.json.as_ref()?.get(key).filter(|value| !value.is_null())
    }

    /// A size that the config states must be the one the tensors have.
    fn agree(&self, key: &str, found: usize) -> Result<()> {
        match self.key(key) {
            Some(stated) if stated.as_u64() != Some(found as u64) => {
                Err(self.error(key, format!("{stated}, as the config says"), format!("{found} in the tensors")))
            }
            _ => Ok(()),
        }
    }

    /// HuBERT base is the variant RVC uses; those that need another forward pass are not taken.
    fn refuse_variants(&self) -> Result<()> {
        let unsupported = [
            ("feat_extract_activation", Value::from("gelu")),
            ("hidden_act", Value::from("gelu")),
            ("do_stable_layer_norm", Value::from(false)),
            ("feat_proj_layer_norm", Value::from(true)),
            ("conv_pos_batch_norm", Value::from(false)),
        ];
        for (key, expected) in unsupported {
            if let Some(found) = self.key(key).filter(|found| **found != expected) {
                return Err(self.error(key, format!("{expected}, as in HuBERT base"), found));
            }
        }
        if self.container.has("feature_extractor.conv_layers.1.2.1.weight") {
            return Err(self.error("feature extractor", "HuBERT base", "fairseq's HuBERT large"));
        }
        Ok(())
    }

    /// As the tensors show it, and the config agrees.
    fn feature_norm(&self) -> Result<FeatureNorm> {
        let is_per_frame = self.container.has("feature_extractor.conv_layers.1.layer_norm.weight");
        let (norm, name) =
            if is_per_frame { (FeatureNorm::PerFrame, "layer") } else { (FeatureNorm::OverTime, "group") };
        match self.key("feat_extract_norm") {
            Some(stated) if stated != name => {
                let found = format!("the tensors of `{name}`");
                Err(self.error("feat_extract_norm", format!("{stated}, as the config says"), found))
            }
            _ => Ok(norm),
        }
    }

    fn convolutions(&self, norm: FeatureNorm) -> Result<(Vec<usize>, Vec<usize>)> {
        let mut channels = 1;
        let (mut dims, mut kernels) = (Vec::new(), Vec::new());
        for layer in 0..limit::CONVOLUTIONS {
            let name = format!("feature_extractor.conv_layers.{layer}.conv.weight");
            if layer > 0 && !self.container.has(&name) {
                break;
            }
            let [out, input, taps] = self.shape(&name)?;
            self.expect(&name, &[out, channels, taps])?;
            if taps > limit::TAPS {
                return Err(Error::tensor(&self.container.path, name, format!("1 to {} taps", limit::TAPS), taps));
            }
            debug_assert_eq!(input, channels);
            let stem = format!("feature_extractor.conv_layers.{layer}");
            let has_bias = self.container.has(&format!("{stem}.conv.bias"));
            if has_bias && norm == FeatureNorm::OverTime {
                return Err(self.error(&format!("{stem}.conv"), "no bias, as in HuBERT base", "a bias"));
            }
            if layer == 0 || norm == FeatureNorm::PerFrame {
                self.expect(&format!("{stem}.layer_norm.weight"), &[out])?;
                self.expect(&format!("{stem}.layer_norm.bias"), &[out])?;
            }
            dims.push(out);
            kernels.push(taps);
            channels = out;
        }
        Ok((dims, kernels))
    }

    fn position_weight(&self) -> Result<[usize; 3]> {
        let stem = "encoder.pos_conv_embed.conv";
        let spellings = ["weight_v", "parametrizations.weight.original1", "weight"];
        let stored = spellings.map(|suffix| format!("{stem}.{suffix}"));
        self.shape(stored.iter().find(|name| self.container.has(name)).unwrap_or(&stored[0]))
    }

    fn layers(&self, hidden: usize, intermediate: usize) -> Result<usize> {
        let mut count = 0;
        while self.container.has(&format!("encoder.layers.{count}.attention.q_proj.weight")) {
            let stem = format!("encoder.layers.{count}");
            for part in ["q_proj", "k_proj", "v_proj", "out_proj"] {
                self.expect(&format!("{stem}.attention.{part}.weight"), &[hidden, hidden])?;
            }
            self.expect(&format!("{stem}.feed_forward.intermediate_dense.weight"), &[intermediate, hidden])?;
            self.expect(&format!("{stem}.feed_forward.output_dense.weight"), &[hidden, intermediate])?;
            count += 1;
        }
        if (1..=limit::LAYERS).contains(&count) {
            return Ok(count);
        }
        Err(self.error("encoder.layers", format!("1 to {}", limit::LAYERS), count))
    }

    fn heads(&self, hidden: usize) -> Result<usize> {
        // Every published HuBERT has heads of 64 values; without a config there is no other sign.
        let heads = match self.key("num_attention_heads") {
            Some(value) => value.as_u64().unwrap_or(0) as usize,
            None => (hidden / 64).max(1),
        };
        if (1..=hidden).contains(&heads) && hidden.is_multiple_of(heads) {
            return Ok(heads);
        }
        Err(self.error("num_attention_heads", format!("a divisor of {hidden}"), heads))
    }

    fn strides(&self, count: usize) -> Result<Vec<usize>> {
        let strides: Vec<usize> = match self.key("conv_stride") {
            Some(value) => value
                .as_array()
                .map_or(Vec::new(), |items| items.iter().map(|item| item.as_u64().unwrap_or(0) as usize).collect()),
            None => vec![5, 2, 2, 2, 2, 2, 2],
        };
        if strides.len() != count || !strides.iter().all(|stride| (1..=limit::STRIDE).contains(stride)) {
            let expected = format!("{count} strides of 1 to {}", limit::STRIDE);
            return Err(self.error("conv_stride", expected, format!("{strides:?}")));
        }
        if strides.iter().try_fold(1_usize, |hop, &stride| hop.checked_mul(stride)) != Some(UNIT_SAMPLES) {
            let expected = format!("a product of {UNIT_SAMPLES}, one unit of 20 ms");
            return Err(self.error("conv_stride", expected, format!("{strides:?}")));
        }
        Ok(strides)
    }

    fn eps(&self) -> Result<f64> {
        let eps = self.key("layer_norm_eps").map_or(Some(1e-5), Value::as_f64);
        eps.filter(|eps| *eps > 0.0 && *eps < 1.0).ok_or_else(|| {
            self.error("layer_norm_eps", "a number between 0 and 1", self.key("layer_norm_eps").unwrap_or(&Value::Null))
        })
    }

    fn attention_span(&self) -> Result<Option<[usize; 2]>> {
        let side = |key: &str| -> Result<Option<usize>> {
            let Some(value) = self.key(key) else { return Ok(None) };
            let frames = value.as_u64().filter(|&frames| frames <= limit::SPAN);
            let frames = frames.ok_or_else(|| self.error(key, format!("0 to {} frames", limit::SPAN), value))?;
            Ok(Some(frames as usize))
        };
        match (side("attention_left")?, side("attention_right")?) {
            (Some(left), Some(right)) => Ok(Some([left, right])),
            (None, None) => Ok(None),
            _ => Err(self.error("attention_left and attention_right", "both or none", "one of them")),
        }
    }

    fn final_proj(&self, hidden: usize) -> Result<Option<usize>> {
        if !self.container.has("final_proj.weight") {
            return Ok(None);
        }
        let [out, _] = self.shape("final_proj.weight")?;
        self.expect("final_proj.weight", &[out, hidden])?;
        Ok(Some(out))
    }
}

//! RVC voices: the small `.pth` that training exports, and the same as safetensors.
//!
//! A `.pth` is a dictionary of `weight` (tensors), `config` (18 positional values), `sr`, `f0`,
//! `version` and `info`; ours adds `pitch_hz`, the speaker's usual pitch. A voice in safetensors has
//! the same tensors without the `weight.` prefix, and the other keys as text in `__metadata__`,
//! `config` being a JSON array.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;

use super::Tensors;
use super::container::Container;
pub use super::voice_shapes::tensor_shapes;
use crate::error::{Error, Result};

/// The generation of the RVC recipe a voice was trained with: it decides which HuBERT layer feeds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Layer 9 through HuBERT's final projection: units of 256 values.
    V1,
    /// Layer 12: units of 768 values.
    V2,
}

impl Version {
    /// `v1` or `v2`, as files spell it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}

/// Which residual block the generator uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resblock {
    /// HiFi-GAN's ResBlock1: each dilated convolution is followed by one of dilation 1.
    One,
    /// HiFi-GAN's ResBlock2: dilated convolutions alone.
    Two,
}

/// Everything a synthesizer's shape depends on. Checked: every number is bounded and agrees with
/// the file's tensors, so a network can be built from it without further checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoiceConfig {
    /// The recipe's generation.
    pub version: Version,
    /// Output sample rate.
    pub sample_rate_hz: u32,
    /// Whether the voice takes pitch; if not, the generator has no harmonic source.
    pub has_f0: bool,
    /// What training wrote about itself, such as `200epoch`.
    pub info: String,
    /// Number of speakers: rows of `emb_g.weight`.
    pub speakers: usize,
    /// Channels of the latent that the flow maps.
    pub inter_channels: usize,
    /// Channels of the text encoder and of the flow's inner network.
    pub hidden_channels: usize,
    /// Inner channels of the text encoder's feed-forward layers.
    pub filter_channels: usize,
    /// Attention heads of the text encoder.
    pub heads: usize,
    /// Layers of the text encoder.
    pub layers: usize,
    /// Taps of the text encoder's feed-forward convolutions; odd.
    pub kernel_size: usize,
    /// The generator's residual block.
    pub resblock: Resblock,
    /// Taps of each of a stage's residual blocks; odd.
    pub resblock_kernel_sizes: Vec<usize>,
    /// Dilations within each residual block; as long as the kernel sizes.
    pub resblock_dilation_sizes: Vec<Vec<usize>>,
    /// Upsampling factor of each generator stage; their product is [`Self::hop_samples`].
    pub upsample_rates: Vec<usize>,
    /// Generator channels before the first stage; each stage halves them.
    pub upsample_initial_channel: usize,
    /// Taps of each stage's transposed convolution: `kernel >= rate` and `kernel - rate` even.
    pub upsample_kernel_sizes: Vec<usize>,
    /// Values of a speaker embedding.
    pub gin_channels: usize,
    /// The usual pitch of who speaks, in Hz, if the voice tells it; upstream's do not.
    pub pitch_hz: Option<u32>,
    /// Values of a content unit: columns of `enc_p.emb_phone.weight`, 256 in v1 and 768 in v2.
    pub unit_dim: usize,
}

impl VoiceConfig {
    /// Output samples per 10 ms hop.
    #[must_use]
    pub fn hop_samples(&self) -> usize {
        self.upsample_rates.iter().product()
    }
}

/// A voice read from a file.
#[derive(Clone, Debug)]
pub struct VoiceCheckpoint {
    /// The sizes, checked.
    pub config: VoiceConfig,
    /// The tensors inference needs, weight norm folded; the posterior encoder is never read.
    pub tensors: Tensors,
}

/// The modules inference runs; everything else in the file is left unread.
const MODULES: [&str; 4] = ["enc_p.", "flow.", "dec.", "emb_g."];

impl VoiceCheckpoint {
    /// Reads a voice, `.pth` or safetensors.
    ///
    /// # Errors
    /// Files that are no voice, damaged, or whose config disagrees with their tensors.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let container = Container::open(path.as_ref())?;
        let config = read_config(&container)?;
        let tensors = container.read(|name| MODULES.iter().any(|module| name.starts_with(module)))?;
        Ok(Self { config, tensors: Tensors::new(path.as_ref(), tensors) })
    }
}

/// Whether the container holds a voice's tensors.
pub(super) fn recognises(container: &Container) -> bool {
    container.has("enc_p.emb_phone.weight") || container.has("emb_g.weight")
}

/// The checked config of a voice.
pub(super) fn read_config(container: &Container) -> Result<VoiceConfig> {
    let facts = Facts { container };
    let config = facts.config()?;
    super::voice_shapes::check(container, &config)?;
    Ok(config)
}

/// Largest values that any network worth loading has; they bound what is allocated while building.
mod limit {
    pub const CHANNELS: usize = 4096;
    pub const FILTER_CHANNELS: usize = 16_384;
    pub const LAYERS: usize = 64;
    pub const KERNEL: usize = 63;
    pub const DILATION: usize = 64;
    pub const STAGES: usize = 8;
    pub const UPSAMPLE_KERNEL: usize = 512;
    pub const SPEAKERS: usize = 65_536;
    pub const INFO_CHARS: usize = 200;
}

/// Usual pitches that a voice may have.
const VOICE_PITCH_HZ: std::ops::RangeInclusive<f64> = 30.0..=1000.0;

/// The plain values of a voice, with typed and checked access.
struct Facts<'a> {
    container: &'a Container,
}

impl Facts<'_> {
    fn error(&self, what: &str, expected: impl std::fmt::Display, found: impl std::fmt::Display) -> Error {
        Error::format(&self.container.path, format!("{what}: {expected}"), found)
    }

    fn value(&self, key: &str) -> Option<&Value> {
        self.container.values.get(key)
    }

    fn config(&self) -> Result<VoiceConfig> {
        let list = self.list()?;
        self.refuse_other_vocoders()?;
        let sizes = Sizes { facts: self, list: &list };
        let [speakers, gin_channels] = self.table("emb_g.weight")?;
        let [_, unit_dim] = self.table("enc_p.emb_phone.weight")?;
        self.within("emb_g.weight", speakers, limit::SPEAKERS)?;
        self.within("enc_p.emb_phone.weight", unit_dim, limit::CHANNELS)?;
        let config = VoiceConfig {
            version: self.version(unit_dim)?,
            sample_rate_hz: self.sample_rate(&list[17])?,
            has_f0: self.has_f0()?,
            info: self.info(),
            speakers,
            inter_channels: sizes.one(2, "inter_channels", limit::CHANNELS)?,
            hidden_channels: sizes.one(3, "hidden_channels", limit::CHANNELS)?,
            filter_channels: sizes.one(4, "filter_channels", limit::FILTER_CHANNELS)?,
            heads: sizes.one(5, "n_heads", limit::CHANNELS)?,
            layers: sizes.one(6, "n_layers", limit::LAYERS)?,
            kernel_size: sizes.one(7, "kernel_size", limit::KERNEL)?,
            resblock: sizes.resblock()?,
            resblock_kernel_sizes: sizes.many(&list[10], "resblock_kernel_sizes", limit::STAGES, limit::KERNEL)?,
            resblock_dilation_sizes: sizes.dilations()?,
            upsample_rates: sizes.many(&list[12], "upsample_rates", limit::STAGES, limit::UPSAMPLE_KERNEL)?,
            upsample_initial_channel: sizes.one(13, "upsample_initial_channel", limit::CHANNELS)?,
            upsample_kernel_sizes: sizes.many(
                &list[14],
                "upsample_kernel_sizes",
                limit::STAGES,
                limit::UPSAMPLE_KERNEL,
            )?,
            gin_channels,
            pitch_hz: self.pitch_hz(),
            unit_dim,
        };
        self.relations(&config)?;
        Ok(config)
    }

    /// The 18 positional values of `config`.
    fn list(&self) -> Result<Vec<Value>> {
        let Some(value) = self.value("config") else {
            let found = if self.value("optimizer").is_some() || self.value("iteration").is_some() {
                "a training checkpoint (G_*.pth or D_*.pth); export the small voice model from it"
            } else {
                "no `config`"
            };
            return Err(Error::format(&self.container.path, "an RVC voice with `config`", found));
        };
        let parsed = match value {
            Value::String(text) => serde_json::from_str(text).unwrap_or(Value::Null),
            other => other.clone(),
        };
        match parsed {
            Value::Array(list) if list.len() == 18 => Ok(list),
            Value::Array(list) => Err(self.error("config", "a list of 18 values", format!("{} values", list.len()))),
            other => Err(self.error("config", "a list of 18 values", describe(&other))),
        }
    }

    /// Applio saves voices with other generators under the same names.
    fn refuse_other_vocoders(&self) -> Result<()> {
        match self.value("vocoder").and_then(Value::as_str) {
            None | Some("HiFi-GAN" | "Default") => Ok(()),
            Some(other) => Err(self.error("vocoder", "HiFi-GAN", other.chars().take(60).collect::<String>())),
        }
    }

    /// The extents of a matrix.
    fn table(&self, name: &str) -> Result<[usize; 2]> {
        let shape = self.container.shape(name);
        shape.and_then(|s| s.try_into().ok()).ok_or_else(|| {
            let found = shape.map_or("nothing".to_owned(), |s| format!("{s:?}"));
            Error::tensor(&self.container.path, name, "2 dimensions", found)
        })
    }

    fn within(&self, name: &str, count: usize, most: usize) -> Result<()> {
        if (1..=most).contains(&count) {
            return Ok(());
        }
        Err(Error::tensor(&self.container.path, name, format!("an extent of 1 to {most}"), count))
    }

    fn version(&self, unit_dim: usize) -> Result<Version> {
        match self.value("version") {
            // Files from before v2 existed do not say; upstream reads them as v1.
            None | Some(Value::Null) => Ok(if unit_dim == 768 { Version::V2 } else { Version::V1 }),
            Some(Value::String(text)) if text == "v1" => Ok(Version::V1),
            Some(Value::String(text)) if text == "v2" => Ok(Version::V2),
            Some(other) => Err(self.error("version", "v1 or v2", describe(other))),
        }
    }

    /// `config` ends in the rate; older files have a text such as `40k` there.
    fn sample_rate(&self, value: &Value) -> Result<u32> {
        let rate = match value {
            Value::Number(n) => n.as_u64(),
            Value::String(text) => match text.strip_suffix('k') {
                Some(thousands) => thousands.parse::<u64>().ok().and_then(|n| n.checked_mul(1000)),
                None => text.parse().ok(),
            },
            _ => None,
        };
        rate.filter(|rate| (8000..=192_000).contains(rate) && rate % 100 == 0)
            .map(|rate| rate as u32)
            .ok_or_else(|| self.error("sample rate", "8000 to 192000 Hz in steps of 100", describe(value)))
    }

    fn has_f0(&self) -> Result<bool> {
        match self.value("f0") {
            None | Some(Value::Null) => Ok(true),
            Some(Value::Bool(b)) => Ok(*b),
            Some(Value::Number(n)) if n.as_u64() == Some(0) => Ok(false),
            Some(Value::Number(n)) if n.as_u64() == Some(1) => Ok(true),
            Some(Value::String(text)) if text == "0" => Ok(false),
            Some(Value::String(text)) if text == "1" => Ok(true),
            Some(other) => Err(self.error("f0", "0 or 1", describe(other))),
        }
    }

    fn info(&self) -> String {
        let info = self.value("info").and_then(Value::as_str).unwrap_or_default();
        info.chars().filter(|c| !c.is_control()).take(limit::INFO_CHARS).collect()
    }

    /// What is no pitch that a voice may have is taken as not told: nothing but a default depends on it.
    fn pitch_hz(&self) -> Option<u32> {
        let hz = match self.value("pitch_hz")? {
            Value::String(text) => text.parse().ok(),
            other => other.as_f64(),
        };
        hz.filter(|hz| VOICE_PITCH_HZ.contains(hz)).map(|hz| hz.round() as u32)
    }

    fn relations(&self, c: &VoiceConfig) -> Result<()> {
        let hop = c.sample_rate_hz as usize / 100;
        let product = c.upsample_rates.iter().try_fold(1_usize, |p, &r| p.checked_mul(r));
        if product != Some(hop) {
            let found = format!("{:?}", c.upsample_rates);
            return Err(self.error("upsample_rates", format!("a product of {hop}, one hop of 10 ms"), found));
        }
        // The source comes down to a stage by the rates after it; by an odd number it would end one sample early.
        let mut later = (1..c.upsample_rates.len()).map(|stage| c.upsample_rates[stage..].iter().product::<usize>());
        if let Some(odd) = later.find(|product| c.has_f0 && product % 2 == 1) {
            return Err(self.error("upsample_rates", "an even product after every stage but the last", odd));
        }
        if !c.inter_channels.is_multiple_of(2) {
            return Err(self.error("inter_channels", "an even number", c.inter_channels));
        }
        if !c.hidden_channels.is_multiple_of(c.heads) {
            return Err(self.error("n_heads", format!("a divisor of {}", c.hidden_channels), c.heads));
        }
        if let Some(even) = c.resblock_kernel_sizes.iter().chain([&c.kernel_size]).find(|&k| k % 2 == 0) {
            return Err(self.error("kernel sizes", "odd numbers", even));
        }
        if c.resblock_dilation_sizes.len() != c.resblock_kernel_sizes.len() {
            let expected = format!("{} lists, one per kernel size", c.resblock_kernel_sizes.len());
            return Err(self.error("resblock_dilation_sizes", expected, c.resblock_dilation_sizes.len()));
        }
        if c.upsample_kernel_sizes.len() != c.upsample_rates.len() {
            let expected = format!("{} values, one per upsample rate", c.upsample_rates.len());
            return Err(self.error("upsample_kernel_sizes", expected, c.upsample_kernel_sizes.len()));
        }
        let misfit = c.upsample_rates.iter().zip(&c.upsample_kernel_sizes).find(|&(&r, &k)| k < r || (k - r) % 2 != 0);
        if let Some((rate, kernel)) = misfit {
            let expected = format!("at least the rate {rate}, and of its parity");
            return Err(self.error("upsample_kernel_sizes", expected, kernel));
        }
        if !c.upsample_initial_channel.is_multiple_of(1 << c.upsample_rates.len()) {
            let expected = format!("a multiple of {}, since each stage halves it", 1 << c.upsample_rates.len());
            return Err(self.error("upsample_initial_channel", expected, c.upsample_initial_channel));
        }
        Ok(())
    }
}

/// The sizes in `config`, by position.
struct Sizes<'a> {
    facts: &'a Facts<'a>,
    list: &'a [Value],
}

impl Sizes<'_> {
    fn number(&self, value: &Value, what: &str, most: usize) -> Result<usize> {
        let number = value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| (1..=most).contains(n));
        number.ok_or_else(|| self.facts.error(what, format!("1 to {most}"), describe(value)))
    }

    fn one(&self, at: usize, what: &str, most: usize) -> Result<usize> {
        self.number(&self.list[at], what, most)
    }

    fn many(&self, value: &Value, what: &str, most_items: usize, most: usize) -> Result<Vec<usize>> {
        match value.as_array().filter(|items| (1..=most_items).contains(&items.len())) {
            Some(items) => items.iter().map(|item| self.number(item, what, most)).collect(),
            None => Err(self.facts.error(what, format!("a list of 1 to {most_items} numbers"), describe(value))),
        }
    }

    /// Of the units that blocks have: the reference builds three in type 1 and two in type 2, even if more are listed.
    fn dilations(&self) -> Result<Vec<Vec<usize>>> {
        let what = "resblock_dilation_sizes";
        let units = if self.resblock()? == Resblock::One { 3 } else { 2 };
        let block = |item: &Value| -> Result<Vec<usize>> {
            let mut dilations = self.many(item, what, limit::STAGES, limit::DILATION)?;
            dilations.truncate(units);
            Ok(dilations)
        };
        match self.list[11].as_array().filter(|items| (1..=limit::STAGES).contains(&items.len())) {
            Some(items) => items.iter().map(block).collect(),
            None => Err(self.facts.error(what, "a list of lists", describe(&self.list[11]))),
        }
    }

    fn resblock(&self) -> Result<Resblock> {
        match &self.list[9] {
            Value::String(text) if text == "1" => Ok(Resblock::One),
            Value::String(text) if text == "2" => Ok(Resblock::Two),
            Value::Number(n) if n.as_u64() == Some(1) => Ok(Resblock::One),
            Value::Number(n) if n.as_u64() == Some(2) => Ok(Resblock::Two),
            other => Err(self.facts.error("resblock", "\"1\" or \"2\"", describe(other))),
        }
    }
}

/// A value in a message: short, and naming the type of Python objects.
fn describe(value: &Value) -> String {
    if let Some(name) = value.get("__type__").and_then(Value::as_str) {
        return format!("an object of type {}", name.chars().take(60).collect::<String>());
    }
    let text = value.to_string();
    if text.chars().count() <= 60 { text } else { format!("{}...", text.chars().take(57).collect::<String>()) }
}

/// The plain values of a voice as safetensors metadata, to save one with.
#[must_use]
pub fn metadata(config: &VoiceConfig) -> HashMap<String, String> {
    let resblock = if config.resblock == Resblock::One { "1" } else { "2" };
    let spectrogram_bins = if config.sample_rate_hz == 32_000 { 513 } else { 1025 };
    let list = serde_json::json!([
        spectrogram_bins,
        32,
        config.inter_channels,
        config.hidden_channels,
        config.filter_channels,
        config.heads,
        config.layers,
        config.kernel_size,
        0,
        resblock,
        config.resblock_kernel_sizes,
        config.resblock_dilation_sizes,
        config.upsample_rates,
        config.upsample_initial_channel,
        config.upsample_kernel_sizes,
        config.speakers,
        config.gin_channels,
        config.sample_rate_hz
    ]);
    let texts = [
        ("config", list.to_string()),
        ("sr", config.sample_rate_hz.to_string()),
        ("f0", u8::from(config.has_f0).to_string()),
        ("version", config.version.name().to_owned()),
        ("info", config.info.clone()),
    ];
    let pitch = config.pitch_hz.map(|hz| ("pitch_hz", hz.to_string()));
    texts.into_iter().chain(pitch).map(|(key, text)| (key.to_owned(), text)).collect()
}

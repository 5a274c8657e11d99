//! The tensors of a voice, by name and shape: one list for the reader that checks a file before any of it is read, and for
//! voices that are made up.

use super::container::Container;
use super::voice::{Resblock, VoiceConfig};
use crate::error::{Error, Result};

/// Distances of the published voices' relative positions, -10 to 10 hops. Files may have others.
const DISTANCES: usize = 21;

/// Name and shape of every tensor of a voice of these sizes, weight norm folded, in the order of the path.
#[must_use]
pub fn tensor_shapes(config: &VoiceConfig) -> Vec<(String, Vec<usize>)> {
    let mut shapes = Shapes::default();
    shapes.add("emb_g.weight", &[config.speakers, config.gin_channels]);
    shapes.text_encoder(config);
    shapes.flow(config);
    shapes.generator(config);
    shapes.0
}

/// Checks the shape of every tensor that a size of the config decides. What follows from these (norms, the flow's inner
/// layers, relative positions of any reach) the network checks when it is built.
pub(super) fn check(container: &Container, config: &VoiceConfig) -> Result<()> {
    let is_left = |name: &str| {
        let follows = name.contains(".norm_layers_") || name.contains(".emb_rel_");
        let is_inner = name.starts_with("flow.") && name.contains(".enc.");
        let is_absent_bias = name.strip_suffix(".bias").is_some() && !container.has(name);
        follows || is_inner || is_absent_bias
    };
    for (name, shape) in tensor_shapes(config).iter().filter(|(name, _)| !is_left(name)) {
        expect(container, name, shape)?;
    }
    let beyond = format!("enc_p.encoder.attn_layers.{}.conv_q.weight", config.layers);
    if container.has(&beyond) {
        return Err(Error::tensor(&container.path, beyond, format!("{} layers", config.layers), "one more"));
    }
    Ok(())
}

/// A tensor that may be stored whole or, where it is normed, as magnitude and direction in either spelling.
fn expect(container: &Container, name: &str, shape: &[usize]) -> Result<()> {
    let stem = name.strip_suffix("weight").filter(|stem| is_normed(stem));
    let spellings =
        stem.map(|stem| ["weight", "weight_v", "parametrizations.weight.original1"].map(|s| format!("{stem}{s}")));
    let stored = match &spellings {
        Some(spellings) => spellings.iter().find(|name| container.has(name)).unwrap_or(&spellings[1]),
        None => name,
    };
    let found = container.shape(stored);
    if found == Some(shape) {
        return Ok(());
    }
    let found = found.map_or("nothing".to_owned(), |s| format!("{s:?}"));
    Err(Error::tensor(&container.path, stored, format!("{shape:?}"), found))
}

/// Whether training norms the weights below a name.
fn is_normed(stem: &str) -> bool {
    stem.starts_with("dec.ups.")
        || stem.starts_with("dec.resblocks.")
        || (stem.starts_with("flow.") && stem.contains(".enc."))
}

/// Names and shapes as they are collected.
#[derive(Default)]
struct Shapes(Vec<(String, Vec<usize>)>);

impl Shapes {
    fn add(&mut self, name: impl Into<String>, shape: &[usize]) {
        self.0.push((name.into(), shape.to_vec()));
    }

    /// A layer with weight and bias.
    fn layer(&mut self, name: &str, shape: &[usize]) {
        self.add(format!("{name}.weight"), shape);
        self.add(format!("{name}.bias"), &shape[..1]);
    }

    fn text_encoder(&mut self, c: &VoiceConfig) {
        let (hidden, inner, taps) = (c.hidden_channels, c.filter_channels, c.kernel_size);
        self.layer("enc_p.emb_phone", &[hidden, c.unit_dim]);
        if c.has_f0 {
            self.add("enc_p.emb_pitch.weight", &[256, hidden]);
        }
        for layer in 0..c.layers {
            let attention = format!("enc_p.encoder.attn_layers.{layer}");
            for part in ["conv_q", "conv_k", "conv_v", "conv_o"] {
                self.layer(&format!("{attention}.{part}"), &[hidden, hidden, 1]);
            }
            for part in ["emb_rel_k", "emb_rel_v"] {
                self.add(format!("{attention}.{part}"), &[1, DISTANCES, hidden / c.heads.max(1)]);
            }
            for norm in ["norm_layers_1", "norm_layers_2"] {
                self.add(format!("enc_p.encoder.{norm}.{layer}.gamma"), &[hidden]);
                self.add(format!("enc_p.encoder.{norm}.{layer}.beta"), &[hidden]);
            }
            self.layer(&format!("enc_p.encoder.ffn_layers.{layer}.conv_1"), &[inner, hidden, taps]);
            self.layer(&format!("enc_p.encoder.ffn_layers.{layer}.conv_2"), &[hidden, inner, taps]);
        }
        self.layer("enc_p.proj", &[2 * c.inter_channels, hidden, 1]);
    }

    fn flow(&mut self, c: &VoiceConfig) {
        /// Taps of the published voices' gated layers. Files may have others.
        const TAPS: usize = 5;
        let (half, hidden) = (c.inter_channels / 2, c.hidden_channels);
        for coupling in [0, 2, 4, 6] {
            let name = |part: &str| format!("flow.flows.{coupling}.{part}");
            self.layer(&name("pre"), &[hidden, half, 1]);
            self.layer(&name("post"), &[half, hidden, 1]);
            self.layer(&name("enc.cond_layer"), &[6 * hidden, c.gin_channels, 1]);
            for layer in 0..3 {
                let width = if layer < 2 { 2 * hidden } else { hidden };
                self.layer(&name(&format!("enc.in_layers.{layer}")), &[2 * hidden, hidden, TAPS]);
                self.layer(&name(&format!("enc.res_skip_layers.{layer}")), &[width, hidden, 1]);
            }
        }
    }

    fn generator(&mut self, c: &VoiceConfig) {
        let initial = c.upsample_initial_channel;
        self.layer("dec.conv_pre", &[initial, c.inter_channels, 7]);
        self.layer("dec.cond", &[initial, c.gin_channels, 1]);
        for (stage, &taps) in c.upsample_kernel_sizes.iter().enumerate() {
            let (wide, narrow) = (initial >> stage, initial >> (stage + 1));
            self.add(format!("dec.ups.{stage}.weight"), &[wide, narrow, taps]);
            self.add(format!("dec.ups.{stage}.bias"), &[narrow]);
            let blocks = c.resblock_kernel_sizes.iter().zip(&c.resblock_dilation_sizes);
            for (block, (&taps, dilations)) in blocks.enumerate() {
                let index = stage * c.resblock_kernel_sizes.len() + block;
                for step in 0..dilations.len() {
                    for list in resblock_lists(c.resblock) {
                        self.layer(&format!("dec.resblocks.{index}.{list}.{step}"), &[narrow, narrow, taps]);
                    }
                }
            }
            if c.has_f0 {
                let stride: usize = c.upsample_rates[stage + 1..].iter().product();
                let taps = if stage + 1 < c.upsample_rates.len() { 2 * stride } else { 1 };
                self.layer(&format!("dec.noise_convs.{stage}"), &[narrow, 1, taps]);
            }
        }
        if c.has_f0 {
            self.layer("dec.m_source.l_linear", &[1, 1]);
        }
        self.add("dec.conv_post.weight", &[1, initial >> c.upsample_rates.len(), 7]);
    }
}

/// The names of a residual block's lists of convolutions.
fn resblock_lists(resblock: Resblock) -> &'static [&'static str] {
    match resblock {
        Resblock::One => &["convs1", "convs2"],
        Resblock::Two => &["convs"],
    }
}

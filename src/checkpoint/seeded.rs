//! Untrained networks of the published sizes, made in memory: for measuring speed where no model is at hand.
//!
//! Names and shapes are those of the published files; values are uniform, scaled so that signals neither die nor explode.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, Uniform};
use rayon::prelude::*;

use super::hubert::{EncoderCheckpoint, EncoderConfig, FeatureNorm};
use super::index::{Index, Metric};
use super::voice::{Resblock, Version, VoiceCheckpoint, VoiceConfig, tensor_shapes};
use super::{Tensor, Tensors};

/// HuBERT base, as voices of this version use it.
#[must_use]
pub fn encoder(version: Version) -> EncoderCheckpoint {
    let config = EncoderConfig {
        hidden_size: 768,
        layers: 12,
        heads: 12,
        intermediate_size: 3072,
        conv_dim: vec![512; 7],
        conv_kernel: vec![10, 3, 3, 3, 3, 2, 2],
        conv_stride: vec![5, 2, 2, 2, 2, 2, 2],
        feature_norm: FeatureNorm::OverTime,
        position_taps: 128,
        position_groups: 16,
        layer_norm_eps: 1e-5,
        attention_span: None,
        final_proj: (version == Version::V1).then_some(256),
    };
    let tensors = fill("seeded HuBERT base", encoder_shapes(&config));
    EncoderCheckpoint { config, tensors }
}

/// RMVPE.
#[must_use]
pub fn rmvpe() -> Tensors {
    fill("seeded RMVPE", rmvpe_shapes())
}

/// FCPE.
#[must_use]
pub fn fcpe() -> Tensors {
    const BINS: usize = 360;
    let mut shapes = Shapes::default();
    shapes.layer("input_stack.0", &[512, 128, 3]);
    shapes.layer("input_stack.1", &[512]);
    shapes.layer("input_stack.3", &[512, 512, 3]);
    for i in 0..6 {
        let name = |part: &str| format!("net.encoder_layers.{i}.{part}");
        shapes.layer(&name("norm"), &[512]);
        shapes.layer(&name("conformer.net.0"), &[512]);
        shapes.layer(&name("conformer.net.2"), &[2048, 512, 1]);
        shapes.layer(&name("conformer.net.4.conv"), &[1024, 1, 31]);
        shapes.layer(&name("conformer.net.6"), &[512, 1024, 1]);
    }
    shapes.layer("norm", &[512]);
    shapes.layer("output_proj", &[BINS, 512]);
    // 32.7 to 1975.5 Hz, evenly in cents.
    let [low, high] = [32.7_f32, 1975.5].map(|hz| 1200.0 * (hz / 10.0).log2());
    let cents = (0..BINS).map(|bin| low + (high - low) * bin as f32 / (BINS - 1) as f32).collect();
    let table = ("cent_table".to_owned(), Tensor::from_f32(vec![BINS], cents));
    Tensors::new("seeded FCPE", filled(shapes).into_iter().chain([table]))
}

/// CREPE, full size.
#[must_use]
pub fn crepe() -> Tensors {
    let mut shapes = Shapes::default();
    let mut input = 1;
    for (i, out) in [1024, 128, 128, 128, 256, 512].into_iter().enumerate() {
        let number = i + 1;
        shapes.layer(&format!("conv{number}"), &[out, input, if i == 0 { 512 } else { 64 }, 1]);
        shapes.batch_norm(&format!("conv{number}_BN"), out);
        input = out;
    }
    shapes.layer("classifier", &[360, 4 * input]);
    fill("seeded CREPE", shapes)
}

/// A voice of version 2 at 40 kHz with one speaker.
#[must_use]
pub fn voice() -> VoiceCheckpoint {
    let config = VoiceConfig {
        version: Version::V2,
        sample_rate_hz: 40_000,
        has_f0: true,
        info: "seeded".into(),
        speakers: 1,
        inter_channels: 192,
        hidden_channels: 192,
        filter_channels: 768,
        heads: 2,
        layers: 6,
        kernel_size: 3,
        resblock: Resblock::One,
        resblock_kernel_sizes: vec![3, 7, 11],
        resblock_dilation_sizes: vec![vec![1, 3, 5]; 3],
        upsample_rates: vec![10, 10, 2, 2],
        upsample_initial_channel: 512,
        upsample_kernel_sizes: vec![16, 16, 4, 4],
        gin_channels: 256,
        pitch_hz: None,
        unit_dim: 768,
    };
    let tensors = fill("seeded v2 voice", Shapes(tensor_shapes(&config)));
    VoiceCheckpoint { config, tensors }
}

/// An index of `rows` random rows of `dim` values in as many lists as RVC's training makes of them, all about as long. Which
/// list a row is in says nothing about where it lies: a search takes as long as in a trained index, and finds something else.
#[must_use]
pub fn index(rows: usize, dim: usize) -> Index {
    let lists = ((16.0 * (rows as f64).sqrt()) as usize).min(rows / 39).max(1);
    Index {
        path: "seeded index".into(),
        dim,
        metric: Metric::L2,
        nprobe: 1,
        centroids: if lists > 1 { values(0, "centroids", &[lists, dim]) } else { Vec::new() },
        vectors: values(1, "vectors", &[rows, dim]),
        ids: (0..rows as i64).collect(),
        offsets: (0..=lists).map(|list| list * rows / lists).collect(),
    }
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

    fn batch_norm(&mut self, name: &str, channels: usize) {
        self.layer(name, &[channels]);
        self.add(format!("{name}.running_mean"), &[channels]);
        self.add(format!("{name}.running_var"), &[channels]);
    }
}

fn encoder_shapes(config: &EncoderConfig) -> Shapes {
    let mut shapes = Shapes::default();
    let (hidden, inner, channels) = (config.hidden_size, config.intermediate_size, config.conv_dim[0]);
    for (i, taps) in config.conv_kernel.iter().enumerate() {
        let input = if i == 0 { 1 } else { channels };
        shapes.add(format!("feature_extractor.conv_layers.{i}.conv.weight"), &[channels, input, *taps]);
    }
    shapes.layer("feature_extractor.conv_layers.0.layer_norm", &[channels]);
    shapes.layer("feature_projection.layer_norm", &[channels]);
    shapes.layer("feature_projection.projection", &[hidden, channels]);
    shapes.layer("encoder.pos_conv_embed.conv", &[hidden, hidden / config.position_groups, config.position_taps]);
    shapes.layer("encoder.layer_norm", &[hidden]);
    for i in 0..config.layers {
        let name = |part: &str| format!("encoder.layers.{i}.{part}");
        for part in ["q_proj", "k_proj", "v_proj", "out_proj"] {
            shapes.layer(&name(&format!("attention.{part}")), &[hidden, hidden]);
        }
        shapes.layer(&name("layer_norm"), &[hidden]);
        shapes.layer(&name("feed_forward.intermediate_dense"), &[inner, hidden]);
        shapes.layer(&name("feed_forward.output_dense"), &[hidden, inner]);
        shapes.layer(&name("final_layer_norm"), &[hidden]);
    }
    if let Some(units) = config.final_proj {
        shapes.layer("final_proj", &[units, hidden]);
    }
    shapes
}

/// Channels of RMVPE's first level; each level doubles them.
const RMVPE_CHANNELS: usize = 16;
/// Levels of its U-Net.
const RMVPE_LEVELS: usize = 5;
/// Residual blocks per level.
const RMVPE_BLOCKS: usize = 4;

fn rmvpe_shapes() -> Shapes {
    let mut shapes = Shapes::default();
    shapes.batch_norm("unet.encoder.bn", 1);
    let width = |level: usize| RMVPE_CHANNELS << level;
    for level in 0..RMVPE_LEVELS {
        let input = if level == 0 { 1 } else { width(level - 1) };
        residual_blocks(&mut shapes, &format!("unet.encoder.layers.{level}.conv"), input, width(level));
        // The bridge has one group of blocks less than there are levels.
        if level + 1 < RMVPE_LEVELS {
            let (widest, input) =
                (width(RMVPE_LEVELS), if level == 0 { width(RMVPE_LEVELS - 1) } else { width(RMVPE_LEVELS) });
            residual_blocks(&mut shapes, &format!("unet.intermediate.layers.{level}.conv"), input, widest);
        }
        let (input, output) = (width(RMVPE_LEVELS - level), width(RMVPE_LEVELS - level - 1));
        let decoder = format!("unet.decoder.layers.{level}");
        shapes.add(format!("{decoder}.conv1.0.weight"), &[input, output, 3, 3]);
        shapes.batch_norm(&format!("{decoder}.conv1.1"), output);
        residual_blocks(&mut shapes, &format!("{decoder}.conv2"), 2 * output, output);
    }
    shapes.layer("cnn", &[3, RMVPE_CHANNELS, 3, 3]);
    for direction in ["", "_reverse"] {
        shapes.add(format!("fc.0.gru.weight_ih_l0{direction}"), &[768, 384]);
        shapes.add(format!("fc.0.gru.weight_hh_l0{direction}"), &[768, 256]);
        shapes.add(format!("fc.0.gru.bias_ih_l0{direction}"), &[768]);
        shapes.add(format!("fc.0.gru.bias_hh_l0{direction}"), &[768]);
    }
    shapes.layer("fc.1", &[360, 512]);
    shapes
}

fn residual_blocks(shapes: &mut Shapes, name: &str, input: usize, output: usize) {
    for block in 0..RMVPE_BLOCKS {
        let input = if block == 0 { input } else { output };
        let name = format!("{name}.{block}");
        shapes.add(format!("{name}.conv.0.weight"), &[output, input, 3, 3]);
        shapes.batch_norm(&format!("{name}.conv.1"), output);
        shapes.add(format!("{name}.conv.3.weight"), &[output, output, 3, 3]);
        shapes.batch_norm(&format!("{name}.conv.4"), output);
        if input != output {
            shapes.layer(&format!("{name}.shortcut"), &[output, input, 1, 1]);
        }
    }
}

/// Values for every shape: the same on every machine.
fn fill(name: &str, shapes: Shapes) -> Tensors {
    Tensors::new(name, filled(shapes))
}

fn filled(shapes: Shapes) -> Vec<(String, Tensor)> {
    shapes
        .0
        .into_par_iter()
        .enumerate()
        .map(|(index, (name, shape))| {
            let values = values(index as u64, &name, &shape);
            (name, Tensor::from_f32(shape, values))
        })
        .collect()
}

fn values(seed: u64, name: &str, shape: &[usize]) -> Vec<f32> {
    let count = shape.iter().product();
    let is_scale = name.ends_with("gamma") || name.ends_with("running_var") || name.contains("norm.weight");
    let is_norm = shape.len() == 1 && name.ends_with("weight");
    if is_scale || is_norm {
        return vec![1.0; count];
    }
    let fan_in: usize = shape.iter().skip(1).product();
    let reach = if shape.len() > 1 { 0.8 * (3.0 / fan_in as f32).sqrt() } else { 0.05 };
    let Ok(uniform) = Uniform::new_inclusive(-reach, reach) else { return vec![0.0; count] };
    uniform.sample_iter(ChaCha8Rng::seed_from_u64(seed)).take(count).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn rmvpe_has_the_names_and_shapes_of_the_published_file() {
        let listing = include_str!("../../tests/data/rmvpe_listing.txt");
        let published: std::collections::BTreeMap<&str, String> = listing
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(name, shape)| (name, shape.replace(' ', ",")))
            .filter(|(name, _)| !name.ends_with("num_batches_tracked"))
            .collect();
        let seeded = super::rmvpe();
        for (name, tensor) in seeded.iter() {
            let shape = tensor.shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            assert_eq!(published.get(name), Some(&shape), "{name}");
        }
        assert_eq!(seeded.iter().count(), published.len());
    }
}

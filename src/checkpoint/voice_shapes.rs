//! Holds a voice's config against the shapes of its tensors, before any of them is read.

use super::container::Container;
use super::voice::{Resblock, VoiceConfig};
use crate::error::{Error, Result};

/// Checks the shape of every tensor that a size of the config decides.
pub(super) fn check(container: &Container, c: &VoiceConfig) -> Result<()> {
    let shapes = Shapes { container };
    shapes.check_text_encoder(c)?;
    shapes.check_flow(c)?;
    shapes.check_generator(c)
}

struct Shapes<'a> {
    container: &'a Container,
}

impl Shapes<'_> {
    fn expect(&self, name: &str, shape: &[usize]) -> Result<()> {
        let found = self.container.shape(name);
        if found == Some(shape) {
            return Ok(());
        }
        let found = found.map_or("nothing".to_owned(), |s| format!("{s:?}"));
        Err(Error::tensor(&self.container.path, name, format!("{shape:?}"), found))
    }

    /// A weight that may be stored whole, or as magnitude and direction in either spelling.
    fn expect_normed(&self, stem: &str, shape: &[usize]) -> Result<()> {
        let spellings = ["weight", "weight_v", "parametrizations.weight.original1"];
        let stored = spellings.map(|suffix| format!("{stem}.{suffix}"));
        let name = stored.iter().find(|name| self.container.has(name)).unwrap_or(&stored[1]);
        self.expect(name, shape)
    }

    fn check_text_encoder(&self, c: &VoiceConfig) -> Result<()> {
        let (hidden, filter) = (c.hidden_channels, c.filter_channels);
        self.expect("enc_p.emb_phone.weight", &[hidden, c.unit_dim])?;
        if c.has_f0 {
            self.expect("enc_p.emb_pitch.weight", &[256, hidden])?;
        }
        for layer in 0..c.layers {
            for part in ["q", "k", "v", "o"] {
                let name = format!("enc_p.encoder.attn_layers.{layer}.conv_{part}.weight");
                self.expect(&name, &[hidden, hidden, 1])?;
            }
            let ffn = format!("enc_p.encoder.ffn_layers.{layer}");
            self.expect(&format!("{ffn}.conv_1.weight"), &[filter, hidden, c.kernel_size])?;
            self.expect(&format!("{ffn}.conv_2.weight"), &[hidden, filter, c.kernel_size])?;
        }
        let beyond = format!("enc_p.encoder.attn_layers.{}.conv_q.weight", c.layers);
        if self.container.has(&beyond) {
            return Err(Error::tensor(&self.container.path, beyond, format!("{} layers", c.layers), "one more"));
        }
        self.expect("enc_p.proj.weight", &[2 * c.inter_channels, hidden, 1])
    }

    fn check_flow(&self, c: &VoiceConfig) -> Result<()> {
        let (half, hidden) = (c.inter_channels / 2, c.hidden_channels);
        for flow in [0, 2, 4, 6] {
            self.expect(&format!("flow.flows.{flow}.pre.weight"), &[hidden, half, 1])?;
            self.expect(&format!("flow.flows.{flow}.post.weight"), &[half, hidden, 1])?;
        }
        Ok(())
    }

    fn check_generator(&self, c: &VoiceConfig) -> Result<()> {
        let initial = c.upsample_initial_channel;
        self.expect("dec.conv_pre.weight", &[initial, c.inter_channels, 7])?;
        self.expect("dec.cond.weight", &[initial, c.gin_channels, 1])?;
        for (stage, &kernel) in c.upsample_kernel_sizes.iter().enumerate() {
            let (wide, narrow) = (initial >> stage, initial >> (stage + 1));
            self.expect_normed(&format!("dec.ups.{stage}"), &[wide, narrow, kernel])?;
            let blocks = c.resblock_kernel_sizes.iter().zip(&c.resblock_dilation_sizes);
            for (block, (&taps, dilations)) in blocks.enumerate() {
                let index = stage * c.resblock_kernel_sizes.len() + block;
                for step in 0..dilations.len() {
                    for list in resblock_lists(c.resblock) {
                        let stem = format!("dec.resblocks.{index}.{list}.{step}");
                        self.expect_normed(&stem, &[narrow, narrow, taps])?;
                    }
                }
            }
            if c.has_f0 {
                let stride: usize = c.upsample_rates[stage + 1..].iter().product();
                let taps = if stage + 1 < c.upsample_rates.len() { 2 * stride } else { 1 };
                self.expect(&format!("dec.noise_convs.{stage}.weight"), &[narrow, 1, taps])?;
            }
        }
        if c.has_f0 {
            self.expect("dec.m_source.l_linear.weight", &[1, 1])?;
        }
        self.expect("dec.conv_post.weight", &[1, initial >> c.upsample_rates.len(), 7])
    }
}

/// The names of a residual block's lists of convolutions.
fn resblock_lists(resblock: Resblock) -> &'static [&'static str] {
    match resblock {
        Resblock::One => &["convs1", "convs2"],
        Resblock::Two => &["convs"],
    }
}

//! Resampler: from one rate of the graph to another.

use crate::error::Result;
use crate::rt::resample::StreamResampler;
use crate::rt::{Block, Node, Ports, RtNode, Setup};

/// Changes the rate, by a windowed sinc of 64 taps.
///
/// Both rates follow the device's clock, so its ratio is fixed; a clock of its own enters a graph through
/// [`Capture`](super::Capture), whose ratio is trimmed while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resampler {
    output_rate_hz: u32,
}

impl Resampler {
    /// From the rate at which it is added to `output_rate_hz`.
    #[must_use]
    pub const fn to(output_rate_hz: u32) -> Self {
        Self { output_rate_hz }
    }
}

impl Node for Resampler {
    fn ports(&self, rate_hz: u32) -> Ports {
        Ports { inputs: 1, input_rate_hz: rate_hz, outputs: 1, output_rate_hz: self.output_rate_hz }
    }

    fn prepare(self: Box<Self>, setup: &Setup) -> Result<Box<dyn RtNode>> {
        let stream = StreamResampler::new(setup.rate_hz, self.output_rate_hz, setup.max_block, setup.max_output_block)?;
        Ok(Box::new(RtResampler { stream }))
    }
}

struct RtResampler {
    stream: StreamResampler,
}

impl RtNode for RtResampler {
    fn process(&mut self, _: &mut Block<'_>, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) {
        self.stream.push(inputs[0]);
        self.stream.pull(outputs[0]);
    }

    fn latency_samples(&self) -> f64 {
        self.stream.latency_samples()
    }

    fn reset(&mut self) {
        self.stream.reset();
    }
}

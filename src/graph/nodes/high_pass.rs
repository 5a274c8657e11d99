//! High-pass: takes rumble, handling noise and offset out of the microphone.

use biquad::{Biquad, Coefficients, DirectForm2Transposed, Q_BUTTERWORTH_F64, Type};

use super::SMOOTHING_MS;
use crate::error::Result;
use crate::params::HighPassParams;
use crate::rt::smooth::Smoothed;
use crate::rt::{Block, Node, Ports, RtNode, Setup};

/// A Butterworth filter of second order that fades in and out. Live parameters:
/// [`LiveParams::high_pass`](crate::params::LiveParams::high_pass).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HighPass;

impl Node for HighPass {
    fn ports(&self, rate_hz: u32) -> Ports {
        Ports::at(rate_hz, 1, 1)
    }

    fn prepare(self: Box<Self>, setup: &Setup) -> Result<Box<dyn RtNode>> {
        let HighPassParams { on, cutoff_hz: hz } = setup.live.high_pass;
        let amount = if on { 1.0 } else { 0.0 };
        let ramp = setup.samples(SMOOTHING_MS);
        Ok(Box::new(RtHighPass {
            rate_hz: f64::from(setup.rate_hz),
            filter: DirectForm2Transposed::new(coefficients(f64::from(setup.rate_hz), hz)),
            hz: Smoothed::new(hz, ramp),
            amount: Smoothed::new(amount, ramp),
        }))
    }
}

/// The filter for a cut-off that is kept below the Nyquist frequency.
fn coefficients(rate_hz: f64, hz: f32) -> Coefficients<f64> {
    // As a share of the Nyquist frequency: `from_params` of biquad 0.5 is wrong by a factor of 4.
    let share = (2.0 * f64::from(hz) / rate_hz).clamp(1e-6, 0.98);
    let through = Coefficients { a1: 0.0, a2: 0.0, b0: 1.0, b1: 0.0, b2: 0.0 };
    Coefficients::from_normalized_params(Type::HighPass, share, Q_BUTTERWORTH_F64).unwrap_or(through)
}

struct RtHighPass {
    rate_hz: f64,
    filter: DirectForm2Transposed<f64>,
    hz: Smoothed,
    amount: Smoothed,
}

impl RtNode for RtHighPass {
    fn process(&mut self, block: &mut Block<'_>, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) {
        let HighPassParams { on, cutoff_hz } = block.live.high_pass;
        self.hz.aim(cutoff_hz);
        self.amount.aim(if on { 1.0 } else { 0.0 });
        for (out, &x) in outputs[0].iter_mut().zip(inputs[0]) {
            if self.hz.settled().is_none() {
                self.filter.update_coefficients(coefficients(self.rate_hz, self.hz.advance()));
            }
            // One value that is no number must not stay in the filter for ever.
            let filtered = self.filter.run(if x.is_finite() { f64::from(x) } else { 0.0 }) as f32;
            *out = x + (filtered - x) * self.amount.advance();
        }
    }

    fn reset(&mut self) {
        self.hz.finish();
        self.amount.finish();
        self.filter = DirectForm2Transposed::new(coefficients(self.rate_hz, self.hz.advance()));
    }
}

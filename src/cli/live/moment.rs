//! One moment of a session: what every way of telling it reads.

use crate::live::own_pitch::Heard;
use crate::live::{Control, ControlState, LiveMetrics, Session, SlotParams};
use crate::nn::ops::VoiceOps;
use crate::path::Converter;
use crate::path::stream::Stream;
use crate::units::semitones_to_ratio;

/// All there is to tell.
#[derive(Clone, Debug)]
pub struct Moment {
    /// What is counted.
    pub metrics: LiveMetrics,
    /// What the session was told to be like.
    pub state: ControlState,
    /// Names of the voices, and what belongs to each.
    pub slots: Vec<(String, SlotParams)>,
    /// Commands done, and refused, so far.
    pub commands: Commands,
}

/// Commands of one session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Commands {
    /// Done.
    pub done: u64,
    /// Refused, since they were out of range or made no sense.
    pub refused: u64,
}

impl Moment {
    /// This moment.
    pub fn of<B: VoiceOps>(session: &mut Session<B>, control: &Control<B>, commands: Commands) -> Self
    where
        Stream<B>: Send + 'static,
        Converter<B>: Send + 'static,
    {
        let (latency, rate_hz) = (session.latency(), session.device().format().rate_hz);
        Self {
            metrics: LiveMetrics { telemetry: session.telemetry(), latency, rate_hz },
            state: *control.state(),
            slots: control.slots().iter().map(|slot| (slot.name.clone(), slot.params)).collect(),
            commands,
        }
    }

    /// Pitch in Hz of the input and of the voice, if the latest chunk has one.
    #[must_use]
    pub fn pitch_hz(&self) -> Option<(f32, f32)> {
        let params = &self.state.params;
        // What the synthesizer reads: a formant shift plays it faster, and raises it to what is heard.
        let shaped = Some(self.metrics.telemetry.worker.f0_hz).filter(|hz| *hz > 0.0)?;
        let heard = shaped * semitones_to_ratio(params.formant_semitones);
        Some((heard / semitones_to_ratio(params.transpose_semitones), heard))
    }

    /// What tells the pitch of who speaks.
    #[must_use]
    pub fn heard(&self) -> Heard {
        let worker = &self.metrics.telemetry.worker;
        let input_hz = self.pitch_hz().map(|(input_hz, _)| input_hz);
        Heard { chunks: worker.chunks, chunk_ms: worker.chunk_ms, input_hz }
    }

    /// Samples of the device as milliseconds.
    #[must_use]
    pub fn ms(&self, samples: u64) -> f64 {
        samples as f64 / f64::from(self.metrics.rate_hz) * 1e3
    }
}

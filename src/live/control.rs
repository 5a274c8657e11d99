//! Control of a running session: one vocabulary for keys, OSC, MIDI and whatever else has a hand in it.

use std::ops::RangeInclusive;

use super::session::{Session, SessionSettings};
use crate::error::{Error, Result};
use crate::nn::ops::VoiceOps;
use crate::params::{ConversionParams, LiveParams};
use crate::path::Converter;
use crate::path::stream::Stream;

/// Something that a session is told to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Command {
    /// Gives a setting this value; one out of range is refused.
    Set(Setting, f32),
    /// Moves a setting by this much, as far as its range goes.
    Step(Setting, f32),
    /// Turns a switch on or off.
    Switch(Switch, bool),
    /// Turns a switch over.
    Toggle(Switch),
    /// Goes on with the voice of this slot, counted from 1.
    Slot(usize),
}

/// A value that can be set while audio runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Pitch shift in semitones, of the slot that is heard.
    Transpose,
    /// Formant shift in semitones, of the slot that is heard.
    Formant,
    /// Share of the retrieved units.
    IndexRate,
    /// Share of retrieval kept in unvoiced sounds.
    Protect,
    /// Whose loudness the output takes.
    RmsMixRate,
    /// Share of the voice at the output.
    Mix,
    /// Gain of the input in dB.
    InputGain,
    /// Gain of the output in dB.
    OutputGain,
    /// Level in dB at which the noise gate opens.
    GateThreshold,
    /// Cut-off of the high-pass in Hz.
    HighPassCutoff,
    /// Level in dB that the limiter never lets pass.
    Ceiling,
}

impl Setting {
    /// All settings.
    pub const ALL: [Self; 11] = [
        Self::Transpose,
        Self::Formant,
        Self::IndexRate,
        Self::Protect,
        Self::RmsMixRate,
        Self::Mix,
        Self::InputGain,
        Self::OutputGain,
        Self::GateThreshold,
        Self::HighPassCutoff,
        Self::Ceiling,
    ];

    /// The setting's name, as the command line and OSC addresses spell it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Transpose => "transpose",
            Self::Formant => "formant",
            Self::IndexRate => "index-rate",
            Self::Protect => "protect",
            Self::RmsMixRate => "rms-mix-rate",
            Self::Mix => "mix",
            Self::InputGain => "input-gain",
            Self::OutputGain => "output-gain",
            Self::GateThreshold => "gate-threshold",
            Self::HighPassCutoff => "high-pass-cutoff",
            Self::Ceiling => "ceiling",
        }
    }

    /// The setting of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|setting| setting.name() == name)
    }

    /// The values it may have: those that [`ConversionParams::validate`] and [`LiveParams::validate`] accept.
    #[must_use]
    pub fn range(self) -> RangeInclusive<f32> {
        match self {
            Self::Transpose => -48.0..=48.0,
            Self::Formant => -12.0..=12.0,
            Self::Protect => 0.0..=0.5,
            Self::IndexRate | Self::RmsMixRate | Self::Mix => 0.0..=1.0,
            Self::InputGain | Self::OutputGain => -60.0..=36.0,
            Self::GateThreshold => -100.0..=0.0,
            Self::HighPassCutoff => 20.0..=2000.0,
            Self::Ceiling => -40.0..=0.0,
        }
    }

    fn place(self, ControlState { params, live, .. }: &mut ControlState) -> &mut f32 {
        match self {
            Self::Transpose => &mut params.transpose_semitones,
            Self::Formant => &mut params.formant_semitones,
            Self::IndexRate => &mut params.index_rate,
            Self::Protect => &mut params.protect,
            Self::RmsMixRate => &mut params.rms_mix_rate,
            Self::Mix => &mut live.mix,
            Self::InputGain => &mut live.input_gain_db,
            Self::OutputGain => &mut live.output_gain_db,
            Self::GateThreshold => &mut live.gate.threshold_db,
            Self::HighPassCutoff => &mut live.high_pass.cutoff_hz,
            Self::Ceiling => &mut live.ceiling_db,
        }
    }
}

/// Something that is on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// Only the input is heard, delayed to match.
    Bypass,
    /// The output is silent.
    Mute,
    /// The monitor is heard.
    Monitor,
    /// The noise gate gates.
    Gate,
    /// The high-pass is in the way.
    HighPass,
}

impl Switch {
    /// All switches.
    pub const ALL: [Self; 5] = [Self::Bypass, Self::Mute, Self::Monitor, Self::Gate, Self::HighPass];

    /// The switch's name, as OSC addresses spell it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Mute => "mute",
            Self::Monitor => "monitor",
            Self::Gate => "gate",
            Self::HighPass => "high-pass",
        }
    }

    /// The switch of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|switch| switch.name() == name)
    }

    fn place(self, live: &mut LiveParams) -> &mut bool {
        match self {
            Self::Bypass => &mut live.bypass,
            Self::Mute => &mut live.mute,
            Self::Monitor => &mut live.monitor,
            Self::Gate => &mut live.gate.on,
            Self::HighPass => &mut live.high_pass.on,
        }
    }
}

/// A voice that is loaded and ready to be heard.
pub struct Slot<B: VoiceOps> {
    /// What people call it.
    pub name: String,
    /// Its networks. A clone shares the weights, so that the slot keeps them while it is heard.
    pub converter: Converter<B>,
    /// How it speaks.
    pub params: SlotParams,
}

/// What belongs to the voice of a slot: it comes back with the slot, and changes are kept for it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SlotParams {
    /// Pitch shift in semitones.
    pub transpose_semitones: f32,
    /// Formant shift in semitones.
    pub formant_semitones: f32,
    /// Which of the voice's speakers to use.
    pub speaker: usize,
}

impl SlotParams {
    /// `params` with what belongs to this voice.
    #[must_use]
    pub fn within(self, params: ConversionParams) -> ConversionParams {
        ConversionParams {
            transpose_semitones: self.transpose_semitones,
            formant_semitones: self.formant_semitones,
            speaker: self.speaker,
            ..params
        }
    }
}

/// What a session was told to be like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ControlState {
    /// How to convert.
    pub params: ConversionParams,
    /// Levels, gate, mix.
    pub live: LiveParams,
    /// Place of the slot that is heard, from 0.
    pub slot: usize,
}

/// Applies commands to a session, and keeps its voices.
pub struct Control<B: VoiceOps> {
    slots: Vec<Slot<B>>,
    state: ControlState,
    /// Whether the session has been given the voice that is to be heard.
    handed_over: bool,
}

impl<B: VoiceOps> Control<B>
where
    Stream<B>: Send + 'static,
    Converter<B>: Send + 'static,
{
    /// Control of a session that starts with `settings` and the voice of the first slot.
    ///
    /// # Errors
    /// There is no slot, or values are out of range.
    pub fn new(slots: Vec<Slot<B>>, settings: &SessionSettings) -> Result<Self> {
        let first = slots.first().ok_or_else(|| Error::argument("slots", "at least 1", 0))?;
        let state = ControlState { params: first.params.within(settings.params), live: settings.live, slot: 0 };
        for slot in &slots {
            slot.params.within(settings.params).validate()?;
        }
        state.live.validate()?;
        Ok(Self { slots, state, handed_over: true })
    }

    /// What the session was told to be like.
    #[must_use]
    pub fn state(&self) -> &ControlState {
        &self.state
    }

    /// The voices, in order.
    #[must_use]
    pub fn slots(&self) -> &[Slot<B>] {
        &self.slots
    }

    /// The voice that is to be heard.
    #[must_use]
    pub fn converter(&self) -> Converter<B> {
        self.slots[self.state.slot].converter.clone()
    }

    /// Does what it is told. A voice is heard from the next chunk on, faded in, all else from the next block or chunk.
    ///
    /// # Errors
    /// A value out of its range, or a slot that is not there; nothing is changed then.
    pub fn apply(&mut self, command: Command, session: &mut Session<B>) -> Result<()> {
        match command {
            Command::Set(setting, value) => self.set(setting, value)?,
            Command::Step(setting, by) => {
                let range = setting.range();
                let value = *setting.place(&mut self.state.clone()) + by;
                self.set(setting, value.clamp(*range.start(), *range.end()))?;
            }
            Command::Switch(switch, on) => *switch.place(&mut self.state.live) = on,
            Command::Toggle(switch) => {
                let on = switch.place(&mut self.state.live);
                *on = !*on;
            }
            Command::Slot(number) => self.choose(number)?,
        }
        session.set_live(self.state.live)?;
        self.hand_over(session)?;
        if self.handed_over { session.set_params(self.state.params) } else { Ok(()) }
    }

    /// Gives the session a voice that it had no room for before. To be called every few milliseconds.
    ///
    /// # Errors
    /// None that a state built by [`apply`](Self::apply) could cause.
    pub fn hand_over(&mut self, session: &mut Session<B>) -> Result<()> {
        if !self.handed_over {
            self.state.params.validate()?;
            self.handed_over = session.replace_voice(self.converter(), self.state.params).is_ok();
        }
        Ok(())
    }

    fn set(&mut self, setting: Setting, value: f32) -> Result<()> {
        let range = setting.range();
        // Also refuses NaN.
        if !range.contains(&value) {
            return Err(Error::argument(setting.name(), format!("{} to {}", range.start(), range.end()), value));
        }
        *setting.place(&mut self.state) = value;
        let (params, slot) = (&self.state.params, &mut self.slots[self.state.slot].params);
        slot.transpose_semitones = params.transpose_semitones;
        slot.formant_semitones = params.formant_semitones;
        Ok(())
    }

    fn choose(&mut self, number: usize) -> Result<()> {
        let place = number.checked_sub(1).filter(|place| *place < self.slots.len());
        let place = place.ok_or_else(|| Error::argument("slot", format!("1 to {}", self.slots.len()), number))?;
        if place != self.state.slot {
            self.state.slot = place;
            self.state.params = self.slots[place].params.within(self.state.params);
            self.handed_over = false;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_that_parameters_are_held_to() {
        for setting in Setting::ALL {
            let accepts = |value: f32| {
                let mut state =
                    ControlState { params: ConversionParams::default(), live: LiveParams::default(), slot: 0 };
                *setting.place(&mut state) = value;
                state.params.validate().and(state.live.validate()).is_ok()
            };
            let (low, high) = setting.range().into_inner();
            assert!(accepts(low) && accepts(high), "{setting:?}");
            assert!(!accepts(low - 0.01) && !accepts(high + 0.01) && !accepts(f32::NAN), "{setting:?}");
        }
    }

    #[test]
    fn names_lead_back_to_what_they_name() {
        assert!(Setting::ALL.into_iter().all(|setting| Setting::named(setting.name()) == Some(setting)));
        assert!(Switch::ALL.into_iter().all(|switch| Switch::named(switch.name()) == Some(switch)));
        assert_eq!((Setting::named("bypass"), Switch::named("mix")), (None, None));
    }
}

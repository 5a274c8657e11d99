//! Map: what keys, pads, pedals and wheels do.
//!
//! What a control does is written `EVENT=ACTION`. Events, each on one channel only where `@C` follows:
//!
//! | event | is |
//! |---|---|
//! | `noteN` | key or pad N, 0 to 127 |
//! | `ccN` | controller N, 0 to 127; from 64 on a pedal is down |
//! | `program` | a program change |
//! | `bend` | the pitch wheel |
//!
//! | action | does | of |
//! |---|---|---|
//! | `SETTING`, `SETTING:LOW..HIGH` | follows the control through the setting's range, or this part of it | `cc`, `bend` |
//! | `SETTING:+X`, `SETTING:-X` | moves by so much when pressed | `note`, `cc` |
//! | `SWITCH` | turns over when the key is pressed; is on while the pedal is down | `note`, `cc` |
//! | `SWITCH:held` | is on while the key is held | `note` |
//! | `slot` | changes to the voice of the program's number, from 1 | `program` |
//! | `slot:N` | changes to voice N when pressed | `note`, `cc` |
//!
//! SETTING is one of [`Setting`]'s names, SWITCH one of [`Switch`]'s.

use std::ops::Range;
use std::str::FromStr;

use midly::MidiMessage;
use midly::live::LiveEvent;

use crate::live::{Command, Setting, Switch};

/// What controls do unless a map is given. None moves by itself when an instrument is plugged in.
const DEFAULT_MAP: [&str; 3] = ["program=slot", "cc64=bypass", "cc67=mute"];

/// Value from which on a controller that is a pedal or a button is down.
const DOWN: u8 = 64;

/// What one control does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Binding {
    control: ControlId,
    /// From 0; all channels if there is none.
    channel: Option<u8>,
    action: Action,
}

/// Which control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ControlId {
    Note(u8),
    Controller(u8),
    Program,
    Bend,
}

/// What a control does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Action {
    Follow { setting: Setting, low: f32, high: f32 },
    Step(Setting, f32),
    Switch(Switch),
    Hold(Switch),
    AnySlot,
    Slot(usize),
}

/// What a control has done.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Gesture {
    /// Down or up.
    Press(bool),
    /// Somewhere on its way, 0 to 1.
    Position(f32),
    /// A number of its own.
    Number(u8),
}

impl FromStr for Binding {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (event, action) = text.split_once('=').ok_or("EVENT=ACTION expected, as in note60=transpose:+12")?;
        let (event, channel) = match event.split_once('@') {
            Some((event, channel)) => (event, Some(number(channel, 1..17, "channel")? as u8 - 1)),
            None => (event, None),
        };
        let control: ControlId = event.parse()?;
        let action: Action = action.parse()?;
        let fits = match action {
            Action::Follow { .. } => matches!(control, ControlId::Controller(_) | ControlId::Bend),
            Action::Step(..) | Action::Switch(_) | Action::Slot(_) => {
                matches!(control, ControlId::Controller(_) | ControlId::Note(_))
            }
            Action::Hold(_) => matches!(control, ControlId::Note(_)),
            Action::AnySlot => control == ControlId::Program,
        };
        if fits { Ok(Self { control, channel, action }) } else { Err(format!("`{event}` cannot do this")) }
    }
}

impl FromStr for ControlId {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let of = |prefix, what| text.strip_prefix(prefix).map(|rest| number(rest, 0..128, what).map(|n| n as u8));
        match (text, of("note", "note"), of("cc", "controller")) {
            ("program", ..) => Ok(Self::Program),
            ("bend", ..) => Ok(Self::Bend),
            (_, Some(note), _) => note.map(Self::Note),
            (_, _, Some(controller)) => controller.map(Self::Controller),
            _ => Err(format!("`{text}` is none of noteN, ccN, program, bend")),
        }
    }
}

impl FromStr for Action {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (name, manner) = text.split_once(':').map_or((text, None), |(name, manner)| (name, Some(manner)));
        match (Setting::named(name), Switch::named(name), manner) {
            (Some(setting), ..) => Self::of_setting(setting, manner),
            (_, Some(switch), None) => Ok(Self::Switch(switch)),
            (_, Some(switch), Some("held")) => Ok(Self::Hold(switch)),
            (_, Some(_), Some(manner)) => Err(format!("`{manner}` is no manner of a switch: none or `held`")),
            (None, None, None) if name == "slot" => Ok(Self::AnySlot),
            (None, None, Some(slot)) if name == "slot" => Ok(Self::Slot(number(slot, 1..1000, "slot")?)),
            _ => Err(format!("`{name}` can be none of {}", actions())),
        }
    }
}

impl Action {
    fn of_setting(setting: Setting, manner: Option<&str>) -> std::result::Result<Self, String> {
        let whole = setting.range();
        let value = |text: &str| text.parse::<f32>().map_err(|_| format!("`{text}` is no number"));
        match manner {
            None => Ok(Self::Follow { setting, low: *whole.start(), high: *whole.end() }),
            Some(step) if step.starts_with(['+', '-']) && !step.contains("..") => {
                let by = value(step)?;
                if by.is_finite() { Ok(Self::Step(setting, by)) } else { Err(format!("`{step}` is no step")) }
            }
            Some(part) => {
                let (low, high) = part.split_once("..").ok_or("LOW..HIGH, +X or -X expected after `:`")?;
                let (low, high) = (value(low)?, value(high)?);
                if whole.contains(&low) && whole.contains(&high) {
                    return Ok(Self::Follow { setting, low, high });
                }
                Err(format!("`{part}` is not within {} to {}, as {} is", whole.start(), whole.end(), setting.name()))
            }
        }
    }

    fn command(self, gesture: Gesture) -> Option<Command> {
        match (self, gesture) {
            (Self::Follow { setting, low, high }, Gesture::Position(at)) => {
                Some(Command::Set(setting, low + (high - low) * at))
            }
            (Self::Step(setting, by), Gesture::Press(true)) => Some(Command::Step(setting, by)),
            (Self::Switch(switch), Gesture::Press(true)) => Some(Command::Toggle(switch)),
            (Self::Hold(switch), Gesture::Press(down)) => Some(Command::Switch(switch, down)),
            (Self::AnySlot, Gesture::Number(number)) => Some(Command::Slot(usize::from(number) + 1)),
            (Self::Slot(slot), Gesture::Press(true)) => Some(Command::Slot(slot)),
            _ => None,
        }
    }
}

/// A whole number in `range`.
fn number(text: &str, range: Range<usize>, what: &str) -> std::result::Result<usize, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("`{text}` is no {what}: {} to {} expected", range.start, range.end - 1))
}

fn actions() -> String {
    let settings = Setting::ALL.into_iter().map(Setting::name);
    settings.chain(Switch::ALL.into_iter().map(Switch::name)).chain(["slot"]).collect::<Vec<_>>().join(", ")
}

/// What all controls do.
#[derive(Clone, Debug, PartialEq)]
pub struct Map(Vec<Binding>);

impl Map {
    /// `bindings`, or those of everyone.
    #[must_use]
    pub fn of(bindings: &[Binding]) -> Self {
        if !bindings.is_empty() {
            return Self(bindings.to_vec());
        }
        Self(DEFAULT_MAP.iter().filter_map(|binding| binding.parse().ok()).collect())
    }

    /// What a message orders: nothing, if it is no control's.
    pub(super) fn commands(&self, message: &[u8]) -> Vec<Command> {
        let Ok(LiveEvent::Midi { channel, message }) = LiveEvent::parse(message) else { return Vec::new() };
        let (control, value, number) = match message {
            MidiMessage::NoteOn { key, vel } => (ControlId::Note(key.as_int()), vel.as_int(), None),
            MidiMessage::NoteOff { key, .. } => (ControlId::Note(key.as_int()), 0, None),
            MidiMessage::Controller { controller, value } => {
                (ControlId::Controller(controller.as_int()), value.as_int(), None)
            }
            MidiMessage::ProgramChange { program } => (ControlId::Program, 0, Some(program.as_int())),
            MidiMessage::PitchBend { bend } => {
                return self.moved(ControlId::Bend, channel.as_int(), |_| {
                    Gesture::Position((bend.as_f32() + 1.0).clamp(0.0, 2.0) / 2.0)
                });
            }
            MidiMessage::Aftertouch { .. } | MidiMessage::ChannelAftertouch { .. } => return Vec::new(),
        };
        self.moved(control, channel.as_int(), |action| match (control, number, action) {
            (_, Some(number), _) => Gesture::Number(number),
            (ControlId::Controller(_), _, Action::Follow { .. }) => Gesture::Position(f32::from(value) / 127.0),
            (ControlId::Controller(_), ..) => Gesture::Press(value >= DOWN),
            _ => Gesture::Press(value > 0),
        })
    }

    /// What `control` orders, which has made a gesture, seen as each action needs it.
    fn moved(&self, control: ControlId, channel: u8, gesture: impl Fn(Action) -> Gesture) -> Vec<Command> {
        let bound = |binding: &&Binding| {
            binding.control == control && binding.channel.is_none_or(|expected| expected == channel)
        };
        let command = |binding: &Binding| {
            // A pedal is a switch that is held.
            let action = match (binding.action, control) {
                (Action::Switch(switch), ControlId::Controller(_)) => Action::Hold(switch),
                (action, _) => action,
            };
            action.command(gesture(action))
        };
        self.0.iter().filter(bound).filter_map(command).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn map(bindings: &[&str]) -> Map {
        Map(bindings.iter().map(|binding| binding.parse().expect("a binding")).collect())
    }

    #[test]
    fn controls_do_what_the_map_says() {
        let map = map(&[
            "program=slot",
            "cc1=mix",
            "cc7@2=output-gain:-40..0",
            "cc20=transpose:-12",
            "cc64=bypass",
            "note36=slot:3",
            "note60=transpose:+12",
            "note61=mute",
            "note62=mute:held",
            "bend=formant:-2..2",
        ]);
        for (message, expected) in [
            (&[0xc0, 4][..], Some(Command::Slot(5))),
            (&[0xb5, 1, 127], Some(Command::Set(Setting::Mix, 1.0))),
            (&[0xb1, 7, 0], Some(Command::Set(Setting::OutputGain, -40.0))),
            (&[0xb0, 7, 0], None),
            (&[0xb0, 20, 64], Some(Command::Step(Setting::Transpose, -12.0))),
            (&[0xb0, 20, 63], None),
            (&[0xb0, 64, 127], Some(Command::Switch(Switch::Bypass, true))),
            (&[0xb0, 64, 0], Some(Command::Switch(Switch::Bypass, false))),
            (&[0x90, 36, 1], Some(Command::Slot(3))),
            (&[0x90, 60, 100], Some(Command::Step(Setting::Transpose, 12.0))),
            (&[0x90, 60, 0], None),
            (&[0x90, 61, 9], Some(Command::Toggle(Switch::Mute))),
            (&[0x80, 61, 9], None),
            (&[0x90, 62, 9], Some(Command::Switch(Switch::Mute, true))),
            (&[0x80, 62, 9], Some(Command::Switch(Switch::Mute, false))),
            (&[0x90, 62, 0], Some(Command::Switch(Switch::Mute, false))),
            (&[0xe0, 0, 64], Some(Command::Set(Setting::Formant, 0.0))),
            (&[0xe0, 0, 0], Some(Command::Set(Setting::Formant, -2.0))),
            (&[0xa0, 60, 9], None),
            (&[0xf8], None),
        ] {
            assert_eq!(map.commands(message), expected.into_iter().collect::<Vec<_>>(), "{message:x?}");
        }
    }

    #[test]
    fn the_map_of_everyone_moves_nothing_that_an_instrument_sends_when_it_is_plugged_in() {
        let map = Map::of(&[]);
        assert_eq!(map.0.len(), DEFAULT_MAP.len());
        assert_eq!(map.commands(&[0xc3, 1, 0]), [Command::Slot(2)]);
        for controller in [1, 7, 10, 11, 121, 123] {
            assert_eq!(map.commands(&[0xb0, controller, 0]), [], "controller {controller}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused_with_a_reason() {
        for (text, reason) in [
            ("cc1", "EVENT=ACTION expected"),
            ("cc128=mix", "`128` is no controller: 0 to 127 expected"),
            ("note-1=mute", "`-1` is no note"),
            ("key60=mute", "`key60` is none of noteN, ccN, program, bend"),
            ("cc1@17=mix", "`17` is no channel: 1 to 16 expected"),
            ("cc1=volume", "`volume` can be none of transpose, formant"),
            ("cc1=mix:0..2", "`0..2` is not within 0 to 1, as mix is"),
            ("cc1=mix:loud", "LOW..HIGH, +X or -X expected"),
            ("cc1=mix:+inf", "`+inf` is no step"),
            ("cc1=slot:0", "`0` is no slot"),
            ("note1=mute:on", "`on` is no manner of a switch"),
            ("note1=mix", "`note1` cannot do this"),
            ("program=mute", "`program` cannot do this"),
            ("bend=slot", "`bend` cannot do this"),
        ] {
            let error = text.parse::<Binding>().expect_err(text);
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_harm_the_decoder(bytes in prop::collection::vec(any::<u8>(), 0..6)) {
            let map = map(&["program=slot", "cc1=mix", "note1=mute:held", "bend=mix"]);
            for command in map.commands(&bytes) {
                prop_assert!(!matches!(command, Command::Set(_, value) if !(0.0..=1.0).contains(&value)));
            }
        }
    }
}

//! Keys and what they mean.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::live::{Command, Setting, Switch};

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Key {
    /// Something of the session.
    Order(Command),
    /// To forget the highest peaks so far.
    ResetPeaks,
    /// To show or hide the list of keys.
    Help,
    /// To hide what covers the picture.
    Back,
    /// To end the session.
    End,
}

/// Keys by what they do, for the list of keys.
pub const HELP: [(&str, &str); 14] = [
    ("up down, ] [", "transpose by a semitone"),
    ("} {", "transpose by an octave"),
    ("f F", "formants up, down by half a semitone"),
    ("right left", "more, less of the voice in the mix"),
    ("+ -", "output louder, softer by 1 dB"),
    ("1 to 9", "voice of this slot"),
    ("b, space", "bypass: only the input is heard"),
    ("m", "mute"),
    ("g", "noise gate"),
    ("> <", "gate opens at 3 dB more, less"),
    ("p; L l", "high-pass; limit 1 dB higher, lower"),
    ("r", "forget the highest peaks"),
    ("?", "show or hide this list"),
    ("q, Ctrl-C", "end"),
];

/// What a key means, if anything.
#[must_use]
pub fn meaning(key: KeyEvent) -> Option<Key> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return matches!(key.code, KeyCode::Char('c' | 'd')).then_some(Key::End);
    }
    let step = |setting, by| Some(Key::Order(Command::Step(setting, by)));
    match key.code {
        KeyCode::Up | KeyCode::Char(']') => step(Setting::Transpose, 1.0),
        KeyCode::Down | KeyCode::Char('[') => step(Setting::Transpose, -1.0),
        KeyCode::Char('}') => step(Setting::Transpose, 12.0),
        KeyCode::Char('{') => step(Setting::Transpose, -12.0),
        KeyCode::Char('f') => step(Setting::Formant, 0.5),
        KeyCode::Char('F') => step(Setting::Formant, -0.5),
        KeyCode::Right => step(Setting::Mix, 0.05),
        KeyCode::Left => step(Setting::Mix, -0.05),
        KeyCode::Char('+' | '=') => step(Setting::OutputGain, 1.0),
        KeyCode::Char('-') => step(Setting::OutputGain, -1.0),
        KeyCode::Char('b' | ' ') => Some(Key::Order(Command::Toggle(Switch::Bypass))),
        KeyCode::Char('m') => Some(Key::Order(Command::Toggle(Switch::Mute))),
        KeyCode::Char('g') => Some(Key::Order(Command::Toggle(Switch::Gate))),
        KeyCode::Char('>') => step(Setting::GateThreshold, 3.0),
        KeyCode::Char('<') => step(Setting::GateThreshold, -3.0),
        KeyCode::Char('p') => Some(Key::Order(Command::Toggle(Switch::HighPass))),
        KeyCode::Char('L') => step(Setting::Ceiling, 1.0),
        KeyCode::Char('l') => step(Setting::Ceiling, -1.0),
        KeyCode::Char(digit @ '1'..='9') => Some(Key::Order(Command::Slot(digit as usize - '0' as usize))),
        KeyCode::Char('r') => Some(Key::ResetPeaks),
        KeyCode::Char('?' | 'h') => Some(Key::Help),
        KeyCode::Esc => Some(Key::Back),
        KeyCode::Char('q') => Some(Key::End),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_mean_what_the_list_says() {
        let plain = |code| meaning(KeyEvent::new(code, KeyModifiers::NONE));
        assert_eq!(plain(KeyCode::Up), Some(Key::Order(Command::Step(Setting::Transpose, 1.0))));
        assert_eq!(plain(KeyCode::Up), plain(KeyCode::Char(']')));
        assert_eq!(plain(KeyCode::Char('3')), Some(Key::Order(Command::Slot(3))));
        assert_eq!(plain(KeyCode::Char(' ')), plain(KeyCode::Char('b')));
        assert_eq!(plain(KeyCode::Char('p')), Some(Key::Order(Command::Toggle(Switch::HighPass))));
        assert_eq!(plain(KeyCode::Char('<')), Some(Key::Order(Command::Step(Setting::GateThreshold, -3.0))));
        assert_eq!((plain(KeyCode::Char('0')), plain(KeyCode::Char('x'))), (None, None));
        let control = |code| meaning(KeyEvent::new(code, KeyModifiers::CONTROL));
        assert_eq!((control(KeyCode::Char('c')), control(KeyCode::Char('b'))), (Some(Key::End), None));
        let mut released = KeyEvent::new(KeyCode::Char('m'), KeyModifiers::NONE);
        released.kind = KeyEventKind::Release;
        assert_eq!(meaning(released), None);
    }
}

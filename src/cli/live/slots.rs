//! Voice slots: voices that are loaded before audio runs, so that a change is a hand-over.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, Instant};

use crate::cli::conversion::ModelChoice;
use crate::engine::Engine;
use crate::error::Result;
use crate::live::session::prepare;
use crate::live::{SessionSettings, Slot, SlotParams};
use crate::nn::ops::{Precision, VoiceOps};

/// A voice as `--slot` names it: `VOICE[,index=FILE][,pitch=N][,formant=N][,speaker=N]`.
#[derive(Clone, Debug, PartialEq)]
pub struct SlotChoice {
    voice: PathBuf,
    index: Option<PathBuf>,
    /// What the slot has of its own; the rest is as for the first voice.
    pitch: Option<f32>,
    formant: Option<f32>,
    speaker: Option<usize>,
}

impl FromStr for SlotChoice {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let mut parts = text.split(',');
        let voice = PathBuf::from(parts.next().filter(|voice| !voice.is_empty()).ok_or("a slot needs a voice")?);
        let mut choice = Self { voice, index: None, pitch: None, formant: None, speaker: None };
        for part in parts {
            match part.split_once('=') {
                Some(("index", path)) if !path.is_empty() => choice.index = Some(path.into()),
                Some(("pitch", value)) => choice.pitch = Some(semitones("pitch", value, 48.0)?),
                Some(("formant", value)) => choice.formant = Some(semitones("formant", value, 12.0)?),
                Some(("speaker", value)) => {
                    choice.speaker = Some(value.parse().map_err(|_| "speaker: a whole number is expected")?);
                }
                _ => return Err(format!("`{part}`: expected index=FILE, pitch=N, formant=N or speaker=N")),
            }
        }
        Ok(choice)
    }
}

fn semitones(name: &str, text: &str, most: f32) -> std::result::Result<f32, String> {
    let value = text.parse().ok().filter(|value: &f32| value.abs() <= most);
    value.ok_or_else(|| format!("{name}: {} to {most} semitones are expected, found {text}", -most))
}

impl SlotChoice {
    fn params(&self, first: SlotParams) -> SlotParams {
        SlotParams {
            transpose_semitones: self.pitch.unwrap_or(first.transpose_semitones),
            formant_semitones: self.formant.unwrap_or(first.formant_semitones),
            speaker: self.speaker.unwrap_or(first.speaker),
        }
    }
}

/// Loads the first voice and those of `choices`, and makes them ready.
///
/// Where there are several and no budget is given, `settings` are given one in which the slowest of them fits.
///
/// # Errors
/// Models that are missing, damaged or do not fit together, speakers that a voice lacks.
pub fn load<B: VoiceOps>(
    device: B::Device,
    models: &ModelChoice,
    choices: &[SlotChoice],
    settings: &mut SessionSettings,
) -> Result<Vec<Slot<B>>> {
    let mut engine = models.engine(device, Precision::Reduced);
    let params = SlotParams {
        transpose_semitones: settings.params.transpose_semitones,
        formant_semitones: settings.params.formant_semitones,
        speaker: settings.params.speaker,
    };
    let mut slots = vec![slot(&mut engine, models, params)?];
    for choice in choices {
        let models = models.with_voice(choice.voice.clone(), choice.index.clone());
        slots.push(slot(&mut engine, &models, choice.params(params))?);
    }
    if slots.len() > 1 {
        let mut budget = Duration::ZERO;
        for (slot, number) in slots.iter().zip(1..) {
            let began = Instant::now();
            let own = SessionSettings { params: slot.params.within(settings.params), ..settings.clone() };
            let granted = prepare(&slot.converter, &own, USUAL_RATE_HZ)?;
            tracing::info!("slot {number}: {} is ready after {:.1} s", slot.name, began.elapsed().as_secs_f64());
            budget = budget.max(granted);
        }
        settings.budget.get_or_insert(budget);
    }
    Ok(slots)
}

/// Rate at which voices are made ready before the device's is known; what they cost depends little on it.
const USUAL_RATE_HZ: u32 = 48_000;

fn slot<B: VoiceOps>(engine: &mut Engine<B>, models: &ModelChoice, params: SlotParams) -> Result<Slot<B>> {
    let files = models.files()?;
    if let Some(note) = models.index_note(&files) {
        tracing::warn!("{note}");
    }
    let name = files.voice.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(Slot { name, converter: engine.converter(&files)?, params })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_a_voice_with_what_is_its_own() {
        let slot: SlotChoice = "a b/alto.pth,index=alto.index,pitch=-12,formant=1.5,speaker=2".parse().expect("a slot");
        assert_eq!(
            (slot.voice.as_path(), slot.index.as_deref()),
            ("a b/alto.pth".as_ref(), Some("alto.index".as_ref()))
        );
        let first = SlotParams { transpose_semitones: 7.0, formant_semitones: 1.0, speaker: 1 };
        let own = SlotParams { transpose_semitones: -12.0, formant_semitones: 1.5, speaker: 2 };
        assert_eq!(slot.params(first), own);
        assert_eq!("alto".parse::<SlotChoice>().expect("a slot").params(first), first);
    }

    #[test]
    fn what_is_no_slot_is_refused_with_what_would_be_one() {
        for (text, problem) in [
            ("", "a slot needs a voice"),
            ("a.pth,b.index", "`b.index`: expected index=FILE"),
            ("a.pth,pitch=loud", "pitch: -48 to 48 semitones are expected, found loud"),
            ("a.pth,pitch=NaN", "found NaN"),
            ("a.pth,formant=13", "formant: -12 to 12"),
            ("a.pth,speaker=-1", "speaker: a whole number"),
        ] {
            let error = text.parse::<SlotChoice>().expect_err("no slot");
            assert!(error.contains(problem), "{error}");
        }
    }
}
